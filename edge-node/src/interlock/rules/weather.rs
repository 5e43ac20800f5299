//! Wind, and whatever else a site measures that keeps aircraft on the ground: too much, or a sensor that says nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

use super::{Hazard, worse};
use crate::interlock::words::Demand;

/// Good again when nothing was too much for this time; and what flies comes home when the sensor says nothing for as long.
const LONG: Duration = Duration::from_secs(60);

/// One reading that is watched.
#[derive(Debug, Clone, PartialEq)]
pub struct Weather {
    /// Name of the sensor.
    pub sensor: String,
    /// More than this is too much, in the sensor's unit.
    pub most: f64,
    /// Without a reading for this time the sensor is silent.
    pub silent_after: Duration,
    /// Indices of the vehicles it is for.
    pub vehicles: Vec<usize>,
}

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gauge {
    read: Option<Uptime>,
    over: Option<Uptime>,
    begun: Uptime,
}

impl Gauge {
    /// Nothing was read: nothing takes off until something is, and what flies has until the silence counts.
    pub const fn new(now: Uptime) -> Self {
        Self { read: None, over: None, begun: now }
    }

    /// A reading came.
    pub fn read(&mut self, rule: &Weather, value: f64, now: Uptime) {
        self.read = Some(now);
        // What is no number is too much.
        if !value.is_finite() || value > rule.most {
            self.over = Some(now);
        }
    }

    /// What is wrong. `flies`: it is in the air.
    pub fn hazard(&self, rule: &Weather, flies: bool, now: Uptime) -> Hazard {
        let since = |at: Option<Uptime>| at.map_or(Duration::MAX, |at| now.since(at));
        let come_home = if flies { Demand::Return } else { Demand::None };
        let over = (since(self.over) < LONG).then_some((come_home, "the weather is, or was a minute ago, too bad"));
        let silent = self.read.is_none() || since(self.read) > rule.silent_after;
        let long = silent && now.since(self.read.unwrap_or(self.begun)) >= LONG.max(rule.silent_after);
        let silent = silent.then_some((if long { come_home } else { Demand::None }, "the weather is not told"));
        worse(over, silent)
    }
}
