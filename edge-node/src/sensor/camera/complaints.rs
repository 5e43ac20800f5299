//! What is logged of a camera that gives nothing, or nothing that can be used: what is new, so that one that is away or broken
//! for weeks fills no log. The counters have all of it.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shared::units::Uptime;
use tracing::warn;

use crate::health::{Metrics, Of};

/// Pictures that cannot be used are told of once in this time.
const TELLS: Duration = Duration::from_secs(60);

/// Sessions that have failed.
#[derive(Debug, Default)]
pub struct Failures(Option<(String, u64)>);

impl Failures {
    /// Whether this is another failure than the last, or pictures have come between; `pictures`: how many have come so far.
    pub fn is_new(&mut self, text: &str, pictures: u64) -> bool {
        let this = Some((text.to_owned(), pictures));
        let new = self.0 != this;
        self.0 = this;
        new
    }
}

/// Pictures of one camera that cannot be used.
#[derive(Debug)]
pub struct Bad {
    of: Of,
    metrics: Metrics,
    told: Mutex<Option<Uptime>>,
}

impl Bad {
    /// None yet.
    pub fn new(camera: &str, metrics: Metrics) -> Self {
        Self { of: Of::new(camera), metrics, told: Mutex::default() }
    }

    /// Counts one, and logs it if none was for a while: whether it did.
    pub fn picture(&self, error: &dyn Display, now: Uptime) -> bool {
        self.metrics.frames_bad.get_or_create(&self.of).inc();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let due = told.is_none_or(|told| now.since(told) >= TELLS);
        if due {
            *told = Some(now);
            warn!(camera = self.of.name, %error, "picture is passed over; the next of a minute are only counted");
        }
        due
    }
}
