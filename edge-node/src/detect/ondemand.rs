//! Pictures that somebody sends to be looked at, on a thread of their own: cameras wait for nobody.
//!
//! Four pictures wait at most: more would be answered late and are refused at once.

use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::warn;

use super::current::Current;
use super::model::{Named, Timing};
use crate::sensor::picture;

/// Pictures that wait.
const WAITING: usize = 4;
/// How often the thread looks whether it is to end.
const WAIT: Duration = Duration::from_millis(200);
/// Niceness: below everything that watches the site.
const NICE: i32 = 15;

/// A picture as it came, JPEG or PNG, and the least score that is wanted.
#[derive(Debug)]
struct Ask {
    bytes: Vec<u8>,
    min_score: f32,
    answer: oneshot::Sender<Result<Answer, Refusal>>,
}

/// What was found in a picture.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Name of the model.
    pub model: String,
    /// Width and height of the picture, pixels.
    pub size: (u32, u32),
    /// What was found, best first.
    pub found: Vec<Named>,
    /// How long each part took.
    pub timing: Timing,
}

/// Why a picture is not answered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// Others wait already.
    #[error("{WAITING} pictures are waiting already")]
    Busy,
    /// It cannot be read.
    #[error("{0}")]
    Picture(String),
    /// The model cannot be used.
    #[error("{0}")]
    Model(String),
}

/// Where pictures go; cheap to clone.
#[derive(Debug, Clone)]
pub struct OnDemand(SyncSender<Ask>);

/// What the thread takes.
#[derive(Debug)]
pub struct Asks(Receiver<Ask>);

/// Both ends.
pub fn new() -> (OnDemand, Asks) {
    let (sender, asks) = sync_channel(WAITING);
    (OnDemand(sender), Asks(asks))
}

impl OnDemand {
    /// Looks at a picture.
    ///
    /// # Errors
    /// [`Refusal`]; pictures of others are unaffected.
    pub async fn ask(&self, bytes: Vec<u8>, min_score: f32) -> Result<Answer, Refusal> {
        let (answer, answered) = oneshot::channel();
        match self.0.try_send(Ask { bytes, min_score, answer }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(Refusal::Busy),
            Err(TrySendError::Disconnected(_)) => return Err(Refusal::Model("the node has no detector".into())),
        }
        answered.await.unwrap_or_else(|_| Err(Refusal::Model("the node is stopping".into())))
    }
}

impl Asks {
    /// Answers with what `look` says of a picture, JPEG or PNG, and the least score that is wanted, until `stopped`.
    pub fn run(self, look: impl Fn(&[u8], f32) -> Result<Answer, Refusal>, stopped: impl Fn() -> bool) {
        if let Err(error) = rustix::process::nice(NICE) {
            warn!(%error, "the thread of pictures on demand keeps its priority");
        }
        while !stopped() {
            let ask = match self.0.recv_timeout(WAIT) {
                Ok(ask) => ask,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            // A stranger's picture meets decoders that others have written: what makes them panic is an answer, not the end.
            let looked = std::panic::catch_unwind(AssertUnwindSafe(|| look(&ask.bytes, ask.min_score)));
            let answer = looked.unwrap_or_else(|_| Err(Refusal::Picture("body: it breaks the decoder".into())));
            // Whoever asked has gone.
            let _ = ask.answer.send(answer);
        }
    }
}

/// Looks with the model in use.
///
/// # Errors
/// [`Refusal`] for a picture that cannot be read, and where the model fails.
pub fn look(current: &Current, bytes: &[u8], min_score: f32) -> Result<Answer, Refusal> {
    let picture = picture::decode(bytes, "body").map_err(|error| Refusal::Picture(error.to_string()))?;
    let (mut model, _) = current.get();
    let looked = model.detect_timed(&picture, min_score);
    let (found, timing) = looked.map_err(|error| Refusal::Model(error.to_string()))?;
    let found = model.named(&found);
    Ok(Answer { model: model.entry().name.clone(), size: (picture.width, picture.height), found, timing })
}
