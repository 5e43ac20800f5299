//! A model that looks on: at some of the pictures that the model in use has looked at, and at those of a trial.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use serde_json::{Value, json};
use shared::units::Uptime;
use tracing::warn;

use super::compare::{Compared, ms};
use crate::clock;
use crate::detect::manifest::ModelError;
use crate::detect::model::{Model, Named};
use crate::detect::zone::LIKELY;
use crate::detect::{Detection, Looked};
use crate::sensor::frame::Picture;

/// It looks at one picture in this time, of each camera in turn.
const PERIOD: Duration = Duration::from_secs(1);
/// Fewest looks that tell how long a model takes.
const TIMED: usize = 5;
/// One that fails on so many pictures in a row looks on no more.
const FAILURES: u32 = 3;

/// What of a model's detections counts for a camera, by its masks and the classes' sizes: camera, size of the picture.
pub type Sift = Box<dyn Fn(&Model, usize, (u32, u32), Vec<Detection>) -> Vec<Detection> + Send>;

/// One that looks on.
pub struct Shadow {
    /// What looks.
    pub model: Model,
    /// Who wanted it.
    pub by: String,
    /// What it has seen, beside the model in use.
    pub compared: Compared,
    last: HashMap<usize, Uptime>,
    failures: u32,
}

impl Shadow {
    /// It has seen nothing yet.
    pub fn new(model: Model, by: String, compared: Compared) -> Self {
        Self { model, by, compared, last: HashMap::new(), failures: 0 }
    }

    /// Whether it cannot be used: it says nothing of another, and nobody should go back to it.
    pub const fn broken(&self) -> bool {
        self.failures >= FAILURES
    }

    /// Looks at what the model in use has looked at, if it is its turn; whether they differ. `ours`: what that has found.
    pub fn look(&mut self, looked: &Looked, ours: &[Named], labels: &[String], sift: &Sift, now: Uptime) -> bool {
        let (camera, picture) = (looked.frame.camera, &looked.frame.picture);
        let each = PERIOD * u32::try_from(self.last.len()).unwrap_or(1).max(1);
        if self.broken() || self.last.get(&camera).is_some_and(|last| now.since(*last) < each) {
            return false;
        }
        self.last.insert(camera, now);
        let begun = clock::thread_time();
        // A model that makes the library panic is no reason to end the node: it looks on no more.
        let found = std::panic::catch_unwind(AssertUnwindSafe(|| self.model.detect(picture, LIKELY)));
        match found {
            Ok(Ok(found)) => {
                let took = clock::thread_time().saturating_sub(begun);
                self.failures = 0;
                let found = sift(&self.model, camera, (picture.width, picture.height), found);
                let theirs = self.model.named(&found);
                self.compared.add(labels, (ours, looked.took), (&theirs, took))
            }
            Ok(Err(error)) => {
                warn!(%error, "a shadow fails on a picture");
                self.failures += 1;
                false
            }
            Err(_) => {
                warn!(model = self.model.entry().name, "a shadow breaks the library that runs it: it looks on no more");
                self.failures = FAILURES;
                false
            }
        }
    }
}

/// A picture of a trial, and the camera that shows it, where one does.
pub type Shown = Result<(Option<usize>, Picture), String>;

/// How a trial is held.
pub struct Trial<'a> {
    /// What counts; empty: everything.
    pub labels: &'a [String],
    /// By what is sifted what is found in a camera's picture.
    pub sift: Option<&'a Sift>,
    /// What is to be counted: nothing yet.
    pub compared: Compared,
    /// It goes on with what it has seen by then.
    pub limit: Option<Duration>,
    /// Whether anybody still waits for it.
    pub go_on: &'a dyn Fn() -> bool,
}

/// Runs both over the pictures; how long the second takes is found out in any case.
///
/// # Errors
/// A picture that cannot be read, the second fails on one, or it is not to go on.
pub fn trial(
    ours: &mut Model,
    candidate: &mut Model,
    pictures: &mut dyn Iterator<Item = Shown>,
    trial: Trial<'_>,
) -> Result<Compared, String> {
    let Trial { labels, sift, mut compared, limit, go_on } = trial;
    let begun = clock::uptime();
    let look =
        |model: &mut Model, camera: Option<usize>, picture: &Picture| -> Result<(Vec<Named>, Duration), ModelError> {
            let begun = clock::thread_time();
            let mut found = model.detect(picture, LIKELY)?;
            let took = clock::thread_time().saturating_sub(begun);
            if let (Some(camera), Some(sift)) = (camera, sift) {
                found = sift(model, camera, (picture.width, picture.height), found);
            }
            Ok((model.named(&found), took))
        };
    let mut last = None;
    for picture in pictures {
        if !go_on() {
            return Err("whoever asked has gone, or the node is stopping".into());
        }
        let (camera, picture) = picture?;
        let theirs = look(candidate, camera, &picture).map_err(|error| error.to_string())?;
        // Of one that the model in use fails on nothing can be said.
        match look(ours, camera, &picture) {
            Ok(found) => _ = compared.add(labels, (&found.0, found.1), (&theirs.0, theirs.1)),
            Err(_) => compared.timed(theirs.1),
        }
        last = Some(picture);
        if limit.is_some_and(|limit| clock::uptime().since(begun) >= limit) {
            break;
        }
    }
    let shown = last.unwrap_or_else(|| Picture::rgb(64, 64, vec![114; 64 * 64 * 3]));
    while compared.looks() < TIMED {
        compared.timed(look(candidate, None, &shown).map_err(|error| error.to_string())?.1);
    }
    Ok(compared)
}

/// What of a comparison is shown.
pub fn counts(compared: &Compared) -> Value {
    let (ours, theirs) = compared.medians();
    json!({
        "pictures": compared.pictures, "both": compared.all.both, "only_first": compared.all.only_first,
        "only_second": compared.all.only_second, "agreement": compared.agreement(&[]),
        "first_ms": ms(ours), "second_ms": ms(theirs),
    })
}
