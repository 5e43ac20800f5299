//! Replacing the model while the node runs: a trial before, a probation after, and the way back.
//!
//! A candidate is loaded and warmed up beside the model in use, must find about the same in kept pictures and in what the
//! cameras show, and must not take longer than its budget. Then it is written down and takes over between two pictures.
//! While it is on probation the model before it stays loaded and looks at a picture now and then: what fails, becomes slow
//! or finds something else altogether is replaced by itself. Owns the choice, the probation and the shadow.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use shared::event::{ModelChanged, ModelCompared, Payload};
use shared::units::Uptime;
use tracing::{info, warn};

use super::choice::{Choice, Pinned};
use super::compare::{Compared, Limits, median, ms};
use super::shadow::{Shadow, Shown, Sift, Trial, counts, trial};
use super::{UpkeepConfig, Want};
use crate::detect::Looked;
use crate::detect::current::Current;
use crate::detect::model::Model;
use crate::journal::Journal;

/// Pictures after which what a shadow has seen is written down, and counting begins anew.
const SHADOW_PICTURES: u64 = 200;
/// Looks whose median must be within the budget while a model is on probation.
const LOOKS: usize = 30;
/// A trial goes on with what it has seen by then: whoever asked waits.
const TRIAL: Duration = Duration::from_secs(60);
/// A probation ends after this time more, however little was seen.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Failures that end a probation: one can be the picture's.
const FAILURES: u64 = 3;

struct Probation {
    until: Uptime,
    times: VecDeque<Duration>,
    forced: bool,
    /// Whether it was written down that the node lives with it.
    survived: bool,
}

/// The models of a running node.
pub struct Change<L> {
    config: UpkeepConfig,
    configured: String,
    folder: PathBuf,
    labels: Vec<String>,
    heeded: Vec<String>,
    sure: HashMap<String, f32>,
    current: Current,
    load: L,
    journal: Journal,
    choice: Option<Choice>,
    before: Option<Shadow>,
    probation: Option<Probation>,
    shadow: Option<Shadow>,
    sift: Sift,
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
    /// Labels that the interlock heeds.
    pub heeded: Vec<String>,
    /// Of some labels, the least score that counts.
    pub sure: HashMap<String, f32>,
    /// The model in use.
    pub current: Current,
    /// Loads a model by name, if it knows what the site watches for.
    pub load: L,
    /// What of a model's detections counts.
    pub sift: Sift,
    /// Takes events.
    pub journal: Journal,
    /// What was chosen before the node started.
    pub choice: Option<Choice>,
}

impl<L: Fn(&str) -> anyhow::Result<Model>> Change<L> {
    /// As it was before the node started.
    pub fn new(parts: Parts<L>, now: Uptime) -> Self {
        let Parts { config, configured, folder, labels, heeded, sure, current, load, sift, journal, choice } = parts;
        let mut made = Self {
            config,
            configured,
            folder,
            labels,
            heeded,
            sure,
            current,
            load,
            journal,
            choice,
            before: None,
            probation: None,
            shadow: None,
            sift,
        };
        if let Some(choice) = made.choice.clone().filter(|choice| choice.probation.is_some()) {
            // Without it the probation is of failures and times alone.
            let before = choice.before.and_then(|before| {
                // One that is not in use must not keep the node from its start.
                made.pinned(&before).ok()
            });
            made.before = before.map(|model| made.shadow_of(model, String::new()));
            made.begin_probation(choice.forced, now);
        }
        made
    }

    fn shadow_of(&self, model: Model, by: String) -> Shadow {
        Shadow::new(model, by, Compared::new(self.sure.clone()))
    }

    fn begin_probation(&mut self, forced: bool, now: Uptime) {
        let until = now.plus(self.config.probation);
        self.probation = Some(Probation { until, times: VecDeque::new(), forced, survived: false });
    }

    /// Loads what was written down, if it is that still.
    fn pinned(&self, wanted: &Pinned) -> anyhow::Result<Model> {
        wanted.check((self.load)(&wanted.name)?)
    }

    /// Does what somebody wants. `pictures`: kept ones and what the cameras show; `go_on`: whether anybody still waits for it.
    ///
    /// # Errors
    /// A sentence; the model in use is then as it was.
    pub fn ask(
        &mut self,
        want: &Want,
        by: &str,
        pictures: &mut dyn Iterator<Item = Shown>,
        go_on: &dyn Fn() -> bool,
        now: Uptime,
    ) -> Result<Value, String> {
        match want {
            Want::Use { name, force } => self.replace((name, *force), by, pictures, go_on, now)?,
            Want::Rollback => self.roll_back(by, "rollback")?,
            Want::Shadow(None) => self.end_shadow(),
            Want::Shadow(Some(name)) => {
                let model = self.other(name)?;
                self.end_shadow();
                self.shadow = Some(self.shadow_of(model, by.to_owned()));
            }
        }
        Ok(self.about(now))
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
        (name, force): (&str, bool),
        by: &str,
        pictures: &mut dyn Iterator<Item = Shown>,
        go_on: &dyn Fn() -> bool,
        now: Uptime,
    ) -> Result<(), String> {
        let (mut ours, _) = self.current.get();
        if self.probation.is_some() {
            // Else the way back would lead to one that has proved nothing.
            return Err(format!("model {} is on probation: roll it back, or wait (a day at most)", ours.entry().name));
        }
        let mut candidate = self.other(name)?;
        let held = Trial {
            labels: &self.labels,
            sift: Some(&self.sift),
            compared: Compared::new(self.sure.clone()),
            limit: Some(TRIAL),
            go_on,
        };
        // A model or a picture that makes the library panic is refused; it is no reason to end the node.
        let tried = std::panic::catch_unwind(AssertUnwindSafe(|| trial(&mut ours, &mut candidate, pictures, held)));
        let tried = tried.unwrap_or_else(|_| Err("it breaks the library that runs it".into()));
        let (compared, verdict) = match tried {
            Ok(compared) => {
                let agreement = Some(self.config.agreement).filter(|_| !force);
                let verdict = compared.verdict(Limits { budget: self.config.budget, agreement, heeded: &self.heeded });
                (compared, verdict)
            }
            Err(why) => (Compared::default(), Err(why)),
        };
        let choice = Choice {
            configured: self.configured.clone(),
            model: Pinned::of(candidate.entry()),
            before: Some(Pinned::of(ours.entry())),
            probation: Some(0),
            forced: force,
        };
        let written = verdict
            .and_then(|()| choice.write(&self.folder).map_err(|error| format!("write down the choice: {error}")));
        self.note(&compared, name, by, written.as_ref().err().map_or("accepted", String::as_str));
        written.map_err(|why| format!("model {name}: {why}"))?;
        self.end_shadow();
        self.choice = Some(choice);
        let before = self.current.replace(candidate);
        self.told(&before, by, "use");
        self.before = Some(self.shadow_of(before, String::new()));
        self.begin_probation(force, now);
        Ok(())
    }

    /// The model before is used again. `why`: for the event.
    fn roll_back(&mut self, by: &str, why: &str) -> Result<(), String> {
        let back = self.choice.clone().and_then(Choice::back).ok_or("there is no model to go back to")?;
        let model = match self.before.take() {
            Some(before) => before.model,
            None => self.pinned(&back.model).map_err(|error| format!("{error:#}"))?,
        };
        self.end_shadow();
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
        if let Some(probation) = self.probation.as_mut().filter(|_| looked.whole) {
            probation.times.push_back(looked.took);
            if probation.times.len() > LOOKS {
                probation.times.pop_front();
            }
        }
        if !looked.whole || (self.before.is_none() && self.shadow.is_none()) {
            return false;
        }
        let ours = self.current.get().0.named(&looked.found);
        let shadows = [&mut self.before, &mut self.shadow].into_iter().flatten();
        let differ = shadows.map(|shadow| shadow.look(looked, &ours, &self.labels, &self.sift, now));
        let differ = differ.fold(false, |any, one| any | one);
        if self.shadow.as_ref().is_some_and(|shadow| shadow.compared.pictures >= SHADOW_PICTURES) {
            self.note_shadow("shadow");
        }
        differ
    }

    /// Whether the probation is over, one way or the other.
    pub fn judge(&mut self, now: Uptime) {
        let Some(probation) = &self.probation else { return };
        let (looked, broken) = (probation.times.len() >= LOOKS, self.before.as_ref().is_some_and(Shadow::broken));
        // What has seen nothing has proved nothing, up to a day: two models in memory are not for ever.
        let seen = |before: &Shadow| probation.forced || before.compared.agreement(&self.heeded).is_some();
        let proved = broken || self.before.as_ref().is_none_or(seen) || now >= probation.until.plus(DAY);
        let took = median(&probation.times);
        let apart = self.before.as_ref().map(|before| &before.compared).filter(|_| !probation.forced);
        let apart =
            apart.and_then(|compared| compared.agreement(&self.heeded)).filter(|share| *share < self.config.agreement);
        let failures = self.current.failures();
        let why = if failures >= FAILURES {
            Some(format!("it has failed on {failures} pictures"))
        } else if probation.times.len() >= LOOKS && took > self.config.budget {
            Some(format!("it takes {:.0} ms for a picture, expected at most {:.0}", ms(took), ms(self.config.budget)))
        } else {
            apart.map(|share| format!("{share:.2} of what it and the model before find is agreed on"))
        };
        match why {
            Some(why) if broken => {
                warn!(why, "the model would be replaced, but the one before cannot be used");
                self.pass();
            }
            Some(why) => {
                warn!(why, "the model is replaced by the one before");
                if let Err(error) = self.roll_back("", &format!("automatic: {why}")) {
                    // There is no other: it goes on as well as it can.
                    warn!(error, "the model before cannot be used");
                    self.pass();
                }
            }
            None if looked && proved && now >= probation.until => {
                info!("the model has passed its probation");
                self.pass();
            }
            None if looked && now >= probation.until && !probation.survived => self.survive(),
            None => {}
        }
    }

    /// The probation is over: the model stays.
    fn pass(&mut self) {
        self.probation = None;
        self.before = None;
        self.count_starts(None);
    }

    /// It has seen too little to be judged, but the node lives with it: starts are counted anew.
    fn survive(&mut self) {
        if let Some(probation) = &mut self.probation {
            probation.survived = true;
        }
        self.count_starts(Some(0));
    }

    fn count_starts(&mut self, starts: Option<u32>) {
        let Some(choice) = &mut self.choice else { return };
        choice.probation = starts;
        if let Err(error) = choice.write(&self.folder) {
            warn!(%error, "how far the probation is is not written down");
        }
    }

    /// For people and programs.
    pub fn about(&self, now: Uptime) -> Value {
        let (model, number) = self.current.get();
        let about = |shadow: &Shadow| {
            let mut about = counts(&shadow.compared);
            if let Some(about) = about.as_object_mut() {
                about.insert("model".into(), shadow.model.entry().name.clone().into());
            }
            about
        };
        let left = self.probation.as_ref().map(|probation| probation.until.since(now).as_secs());
        json!({
            "model": model.entry().name, "sha256": model.entry().sha256, "changes": number - 1,
            "failures": self.current.failures(), "probation_left_s": left,
            "before": self.choice.as_ref().and_then(|choice| choice.before.as_ref()).map(|before| &before.name),
            "against_before": self.before.as_ref().map(about),
            "shadow": self.shadow.as_ref().map(about),
        })
    }

    fn told(&self, before: &Model, by: &str, why: &str) {
        let model = self.current.get().0.entry().name.clone();
        let before = before.entry().name.clone();
        info!(model, before, why, by, "another model is in use");
        let changed = ModelChanged { model, before, why: why.into(), by: by.into() };
        let _ = self.journal.record(self.journal.event("models", Payload::ModelChanged(changed)));
    }

    fn end_shadow(&mut self) {
        self.note_shadow("ended");
        self.shadow = None;
    }

    /// Writes down what the shadow has seen, and counts anew.
    fn note_shadow(&mut self, verdict: &str) {
        if let Some(shadow) = &mut self.shadow {
            let again = shadow.compared.again();
            let compared = std::mem::replace(&mut shadow.compared, again);
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
            both: compared.all.both,
            only_model: compared.all.only_first,
            only_candidate: compared.all.only_second,
            model_ms: ms(ours),
            candidate_ms: ms(theirs),
            verdict: verdict.into(),
            by: by.into(),
        };
        let _ = self.journal.record(self.journal.event("models", Payload::ModelCompared(note)));
    }
}
