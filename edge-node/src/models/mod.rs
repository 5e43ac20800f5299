//! What keeps the model in use a good one: changes with a trial and a way back, shadows, drift, hard frames.
//!
//! `choice`, `compare` and `drift` are pure; `change` owns which model is in use, `keeper` is the thread.

pub mod choice;
pub mod compare;
pub mod drift;
pub mod hard;
pub mod shadow;
pub mod change;
pub mod keeper;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{oneshot, watch};

use crate::sensor::frame::Picture;

/// Wishes that wait: a person has one at a time.
const WORDS: usize = 4;
/// Looks that wait: more would hold the memory of their pictures.
pub const LOOKS: usize = 2;

/// `[model.upkeep]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpkeepConfig {
    /// Most time of a core that a look of a new model may take, in the median.
    #[serde(with = "shared::config::duration")]
    pub budget: Duration,
    /// Least share of things that a new model and the one before both find.
    pub agreement: f32,
    /// How long a new model has to prove itself.
    #[serde(with = "shared::config::duration")]
    pub probation: Duration,
    /// Time whose pictures are compared with what is normal.
    #[serde(with = "shared::config::duration")]
    pub drift_window: Duration,
    /// Room for hard frames, in MiB; 0: none are kept.
    pub hard_mib: u32,
}

impl Default for UpkeepConfig {
    fn default() -> Self {
        Self {
            budget: Duration::from_millis(250),
            agreement: 0.3,
            probation: Duration::from_secs(600),
            drift_window: Duration::from_secs(24 * 3600),
            hard_mib: 128,
        }
    }
}

impl UpkeepConfig {
    /// What is wrong with it: key, and what was expected.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        let (second, week) = (Duration::from_secs(1), Duration::from_secs(7 * 24 * 3600));
        if !(Duration::from_millis(1)..=Duration::from_secs(10)).contains(&self.budget) {
            return Some(("budget", "expected 1ms to 10s".into()));
        }
        if !(0.0..=1.0).contains(&self.agreement) {
            return Some(("agreement", format!("expected 0 to 1, found {}", self.agreement)));
        }
        if !(second..=week).contains(&self.probation) {
            return Some(("probation", "expected 1s to 168h".into()));
        }
        if !(second..=week).contains(&self.drift_window) {
            return Some(("drift_window", "expected 1s to 168h".into()));
        }
        (self.hard_mib > 1 << 20).then(|| ("hard_mib", "expected at most 1048576 (1 TiB)".into()))
    }
}

/// What somebody wants of the models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// Another is to be used; `force`: whatever it finds.
    Use {
        /// Name in the manifest.
        name: String,
        /// Disagreement is no reason to refuse it.
        force: bool,
    },
    /// The one before is to be used again.
    Rollback,
    /// Another is to look at some pictures beside the one in use; `None`: no more.
    Shadow(Option<String>),
}

/// Somebody wants something of the models.
#[derive(Debug)]
pub struct Ask {
    want: Want,
    by: String,
    answer: oneshot::Sender<Result<Value, String>>,
}

/// What the thread is told by people.
#[derive(Debug)]
pub enum Word {
    /// A wish.
    Ask(Ask),
    /// What a camera's boxes say is wrong.
    Corrected {
        /// Index of the camera.
        camera: usize,
        /// What it showed.
        picture: Arc<Picture>,
        /// Whether something was not found; else something is not there.
        missed: bool,
        /// Who says so.
        by: String,
        /// What became of it.
        answer: oneshot::Sender<Result<Value, String>>,
    },
}

/// Why a wish is not granted.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Others wait already, or there is no detector.
    #[error("{0}")]
    Unavailable(&'static str),
    /// It is not granted.
    #[error("{0}")]
    Refused(String),
}

/// Where wishes go, and where it is seen what is in use; cheap to clone.
#[derive(Debug, Clone)]
pub struct Models {
    words: SyncSender<Word>,
    /// What is in use, by and by.
    pub view: watch::Receiver<Value>,
}

/// Both ends: wishes, what the thread takes, and where it shows.
pub fn new() -> (Models, Receiver<Word>, watch::Sender<Value>) {
    let (words, taken) = sync_channel(WORDS);
    let (show, view) = watch::channel(Value::Null);
    (Models { words, view }, taken, show)
}

impl Models {
    /// Wants something; waits for what becomes of it.
    ///
    /// # Errors
    /// [`Refusal`]; the model in use is then as it was.
    pub async fn ask(&self, want: Want, by: String) -> Result<Value, Refusal> {
        self.say(|answer| Word::Ask(Ask { want, by, answer })).await
    }

    /// Says that what is shown of a camera is wrong; its picture is kept.
    ///
    /// # Errors
    /// [`Refusal`]; it is not kept.
    pub async fn correct(
        &self,
        camera: usize,
        picture: Arc<Picture>,
        missed: bool,
        by: String,
    ) -> Result<Value, Refusal> {
        self.say(|answer| Word::Corrected { camera, picture, missed, by, answer }).await
    }

    async fn say(&self, word: impl FnOnce(oneshot::Sender<Result<Value, String>>) -> Word) -> Result<Value, Refusal> {
        let (answer, answered) = oneshot::channel();
        match self.words.try_send(word(answer)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(Refusal::Unavailable("others are waiting already")),
            Err(TrySendError::Disconnected(_)) => return Err(Refusal::Unavailable("the node has no detector")),
        }
        let answer = answered.await.map_err(|_| Refusal::Unavailable("the node has no detector, or is stopping"))?;
        answer.map_err(Refusal::Refused)
    }
}
