//! Replacing the model while the node runs: a trial before, a probation after, and the way back.
//!
//! A candidate is loaded and warmed up beside the model in use, must find about the same in kept pictures and in what the
//! cameras show, and must not take longer than its budget. Then it is written down and takes over between two pictures.
//! While it is on probation the model before it stays loaded and looks at a picture now and then: what fails, becomes slow
//! or finds something else altogether is replaced by itself. Owns the choice, the probation and the shadow.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use shared::event::{ModelChanged, ModelCompared, Payload};
use shared::units::Uptime;
use tracing::{info, warn};

use super::UpkeepConfig;
use super::choice::{Choice, Pinned};
use super::compare::{Compared, Limits, median};
use crate::clock;
use crate::detect::Looked;
use crate::detect::current::Current;
use crate::detect::model::Model;
use crate::detect::zone::LIKELY;
use crate::journal::Journal;
use crate::sensor::frame::Picture;

/// A shadow looks at one picture in this time.
const SHADOW_PERIOD: Duration = Duration::from_secs(1);
/// Pictures after which what a shadow has seen is written down, and counting begins anew.
const SHADOW_PICTURES: u64 = 200;
/// Looks whose median must be within the budget while a model is on probation.
const LOOKS: usize = 30;
/// Failures that end a probation: one can be the picture's.
const FAILURES: u64 = 3;
/// Fewest looks that tell how long a model takes.
const TIMED: usize = 5;

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

struct Probation {
    until: Uptime,
    times: VecDeque<Duration>,
    forced: bool,
}

struct Shadow {
    model: Model,
    by: String,
    compared: Compared,
    last: Option<Uptime>,
}

/// The models of a running node.
pub struct Change<L> {
    config: UpkeepConfig,
    configured: String,
    folder: PathBuf,
    labels: Vec<String>,
    current: Current,
    load: L,
    journal: Journal,
    choice: Option<Choice>,
    before: Option<Shadow>,
    probation: Option<Probation>,
    shadow: Option<Shadow>,
}

/// Everything it is made of.
pub struct Parts<L> {
    /// What is asked of models.
    pub config: UpkeepConfig,
    /// Name of the configuration's model.
    pub configured: String,
    /// Data folder.
    pub folder: PathBuf,
    /// Labels that zones and lines watch for; empty: all.
    pub labels: Vec<String>,
    /// The model in use.
    pub current: Current,
    /// Loads a model by name, if it knows what the site watches for.
    pub load: L,
    /// Takes events.
    pub journal: Journal,
    /// What was chosen before the node started.
    pub choice: Option<Choice>,
}

fn ms(time: Duration) -> f32 {
    time.as_secs_f32() * 1000.0
}

impl<L: Fn(&str) -> anyhow::Result<Model>> Change<L> {
    /// As it was before the node started.
    pub fn new(parts: Parts<L>, now: Uptime) -> Self {
        let Parts { config, configured, folder, labels, current, load, journal, choice } = parts;
        let mut made = Self {
            config,
            configured,
            folder,
            labels,
            current,
            load,
            journal,
            choice,
            before: None,
            probation: None,
            shadow: None,
        };
        if made.choice.as_ref().is_some_and(|choice| choice.probation.is_some()) {
            let before = made.choice.as_ref().and_then(|choice| choice.before.clone());
            // Without it the probation is of failures and times alone.
            made.before = before.and_then(|before| made.pinned(&before).ok()).map(|model| shadow(model, String::new()));
            made.begin_probation(false, now);
        }
        made
    }

    fn begin_probation(&mut self, forced: bool, now: Uptime) {
        let until = now.plus(self.config.probation);
        self.probation = Some(Probation { until, times: VecDeque::new(), forced });
    }

    /// Loads what was written down, if it is that still.
    fn pinned(&self, wanted: &Pinned) -> anyhow::Result<Model> {
        wanted.check((self.load)(&wanted.name)?)
    }

    /// Does what somebody wants. `pictures`: kept ones and what the cameras show.
    ///
    /// # Errors
    /// A sentence; the model in use is then as it was.
    pub fn ask(&mut self, want: &Want, by: &str, pictures: &[Picture], now: Uptime) -> Result<Value, String> {
        match want {
            Want::Use { name, force } => self.replace(name, *force, by, pictures, now),
            Want::Rollback => {
                self.roll_back(by, "rollback")?;
                Ok(self.about(now))
            }
            Want::Shadow(None) => {
                self.note_shadow("ended");
                self.shadow = None;
                Ok(self.about(now))
            }
            Want::Shadow(Some(name)) => {
                let model = self.other(name)?;
                self.note_shadow("ended");
                self.shadow = Some(shadow(model, by.to_owned()));
                Ok(self.about(now))
            }
        }
    }

    /// Loads another model than the one in use.
    fn other(&self, name: &str) -> Result<Model, String> {
        if self.current.get().0.entry().name == name {
            return Err(format!("model {name} is in use"));
        }
        (self.load)(name).map_err(|error| format!("{error:#}"))
    }

    fn replace(
        &mut self,
        name: &str,
        force: bool,
        by: &str,
        pictures: &[Picture],
        now: Uptime,
    ) -> Result<Value, String> {
        let mut candidate = self.other(name)?;
        let (mut ours, _) = self.current.get();
        let compared = trial(&mut ours, &mut candidate, pictures, &self.labels)?;
        let limits = Limits { budget: self.config.budget, agreement: Some(self.config.agreement).filter(|_| !force) };
        let verdict = compared.verdict(limits);
        let word = verdict.as_ref().err().map_or("accepted", String::as_str);
        self.note(&compared, &candidate.entry().name, by, word);
        verdict.map_err(|why| format!("model {name}: {why}"))?;
        let choice = Choice {
            configured: self.configured.clone(),
            model: Pinned::of(candidate.entry()),
            before: Some(Pinned::of(ours.entry())),
            probation: Some(0),
        };
        choice.write(&self.folder).map_err(|error| format!("write down the choice: {error}"))?;
        self.choice = Some(choice);
        let before = self.current.replace(candidate);
        self.told(&before, by, "use");
        self.before = Some(shadow(before, String::new()));
        self.begin_probation(force, now);
        self.shadow = None;
        Ok(self.about(now))
    }

    /// The model before is used again. `why`: for the event.
    fn roll_back(&mut self, by: &str, why: &str) -> Result<(), String> {
        let back = self.choice.clone().and_then(Choice::back).ok_or("there is no model to go back to")?;
        let model = match self.before.take() {
            Some(before) => before.model,
            None => self.pinned(&back.model).map_err(|error| format!("{error:#}"))?,
        };
        self.probation = None;
        let left = self.current.replace(model);
        self.told(&left, by, why);
        // What cannot be written is used all the same; a start would then try the other once more.
        if let Err(error) = back.write(&self.folder) {
            warn!(%error, "the choice of the model is not written down");
        }
        self.choice = Some(back);
        Ok(())
    }

    /// A look of the model in use: whether another model finds something else in it.
    pub fn looked(&mut self, looked: &Looked, now: Uptime) -> bool {
        if looked.number != self.current.number() {
            return false;
        }
        if let Some(probation) = &mut self.probation {
            probation.times.push_back(looked.took);
            if probation.times.len() > LOOKS {
                probation.times.pop_front();
            }
        }
        let ours = self.current.get().0.named(&looked.found);
        let mut differ = false;
        for shadow in [&mut self.before, &mut self.shadow].into_iter().flatten() {
            if shadow.last.is_some_and(|last| now.since(last) < SHADOW_PERIOD) {
                continue;
            }
            shadow.last = Some(now);
            let begun = clock::thread_time();
            match shadow.model.detect(&looked.frame.picture, LIKELY) {
                Ok(found) => {
                    let (theirs, took) = (shadow.model.named(&found), clock::thread_time().saturating_sub(begun));
                    differ |= shadow.compared.add(&self.labels, (&ours, looked.took), (&theirs, took));
                }
                Err(error) => warn!(%error, "a shadow fails on a picture"),
            }
        }
        if self.shadow.as_ref().is_some_and(|shadow| shadow.compared.pictures >= SHADOW_PICTURES) {
            self.note_shadow("shadow");
        }
        differ
    }

    /// Whether the probation is over, one way or the other.
    pub fn judge(&mut self, now: Uptime) {
        let Some(probation) = &self.probation else { return };
        let took = median(&probation.times);
        let apart = self.before.as_ref().map(|before| &before.compared).filter(|_| !probation.forced);
        let apart = apart.and_then(|compared| compared.agreement()).filter(|share| *share < self.config.agreement);
        let failures = self.current.failures();
        let why = if failures >= FAILURES {
            Some(format!("it has failed on {failures} pictures"))
        } else if probation.times.len() >= LOOKS && took > self.config.budget {
            Some(format!("it takes {:.0} ms for a picture, expected at most {:.0}", ms(took), ms(self.config.budget)))
        } else {
            apart.map(|share| format!("{share:.2} of what it and the model before find is agreed on"))
        };
        match why {
            Some(why) => {
                warn!(why, "the model is replaced by the one before");
                if let Err(error) = self.roll_back("", &format!("automatic: {why}")) {
                    // There is no other: it goes on as well as it can.
                    warn!(error, "the model before cannot be used");
                    self.probation = None;
                }
            }
            None if now >= probation.until => {
                info!("the model has passed its probation");
                self.probation = None;
                self.before = None;
                if let Some(choice) = &mut self.choice {
                    choice.probation = None;
                    if let Err(error) = choice.write(&self.folder) {
                        warn!(%error, "the end of the probation is not written down");
                    }
                }
            }
            None => {}
        }
    }

    /// For people and programs.
    pub fn about(&self, now: Uptime) -> Value {
        let (model, number) = self.current.get();
        let shadow = self.shadow.as_ref().map(|shadow| {
            let mut about = counts(&shadow.compared);
            if let Some(about) = about.as_object_mut() {
                about.insert("model".into(), shadow.model.entry().name.clone().into());
            }
            about
        });
        let left = self.probation.as_ref().map(|probation| probation.until.since(now).as_secs());
        json!({
            "model": model.entry().name, "sha256": model.entry().sha256, "changes": number - 1,
            "failures": self.current.failures(), "probation_left_s": left,
            "before": self.choice.as_ref().and_then(|choice| choice.before.as_ref()).map(|before| &before.name),
            "against_before": self.before.as_ref().map(|before| counts(&before.compared)),
            "shadow": shadow,
        })
    }

    fn told(&self, before: &Model, by: &str, why: &str) {
        let model = self.current.get().0.entry().name.clone();
        let before = before.entry().name.clone();
        info!(model, before, why, by, "another model is in use");
        let changed = ModelChanged { model, before, why: why.into(), by: by.into() };
        let _ = self.journal.record(self.journal.event("models", Payload::ModelChanged(changed)));
    }

    fn note_shadow(&mut self, verdict: &str) {
        if let Some(shadow) = &mut self.shadow {
            let compared = std::mem::take(&mut shadow.compared);
            let (name, by) = (shadow.model.entry().name.clone(), shadow.by.clone());
            self.note(&compared, &name, &by, verdict);
        }
    }

    fn note(&self, compared: &Compared, candidate: &str, by: &str, verdict: &str) {
        let (ours, theirs) = compared.medians();
        let note = ModelCompared {
            model: self.current.get().0.entry().name.clone(),
            candidate: candidate.into(),
            pictures: compared.pictures,
            both: compared.both,
            only_model: compared.only_first,
            only_candidate: compared.only_second,
            model_ms: ms(ours),
            candidate_ms: ms(theirs),
            verdict: verdict.into(),
            by: by.into(),
        };
        let _ = self.journal.record(self.journal.event("models", Payload::ModelCompared(note)));
    }
}

fn shadow(model: Model, by: String) -> Shadow {
    Shadow { model, by, compared: Compared::default(), last: None }
}

/// What of a comparison is shown.
pub fn counts(compared: &Compared) -> Value {
    let (ours, theirs) = compared.medians();
    json!({
        "pictures": compared.pictures, "both": compared.both, "only_first": compared.only_first,
        "only_second": compared.only_second, "agreement": compared.agreement(),
        "first_ms": ms(ours), "second_ms": ms(theirs),
    })
}

/// Runs both over the pictures; with none, over an empty one for the time alone.
///
/// # Errors
/// The candidate fails on a picture.
pub fn trial(
    ours: &mut Model,
    candidate: &mut Model,
    pictures: &[Picture],
    labels: &[String],
) -> Result<Compared, String> {
    let mut compared = Compared::default();
    let grey = [Picture::rgb(64, 64, vec![114; 64 * 64 * 3])];
    let shown = if pictures.is_empty() { &grey[..] } else { pictures };
    let look = |model: &mut Model, picture: &Picture| {
        let begun = clock::thread_time();
        let found = model.detect(picture, LIKELY);
        found.map(|found| (model.named(&found), clock::thread_time().saturating_sub(begun)))
    };
    for picture in shown {
        let theirs = look(candidate, picture).map_err(|error| error.to_string())?;
        // Of one that the model in use fails on nothing can be said.
        match look(ours, picture) {
            Ok(found) => _ = compared.add(labels, (&found.0, found.1), (&theirs.0, theirs.1)),
            Err(_) => compared.timed(theirs.1),
        }
    }
    for picture in shown.iter().cycle().take(TIMED.saturating_sub(shown.len())) {
        compared.timed(look(candidate, picture).map_err(|error| error.to_string())?.1);
    }
    Ok(compared)
}
