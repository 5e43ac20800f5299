//! Whether a rule is tripped, and when that changes.

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

use super::Hazard;
use crate::interlock::fixed::Text;
use crate::interlock::words::Demand;

/// One rule on one vehicle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Trip {
    hazard: Option<(Demand, Text)>,
    since: Option<Uptime>,
}

impl Trip {
    /// What it demands and why, while tripped.
    pub fn hazard(&self) -> Hazard {
        self.hazard.map(|(demand, why)| (demand, why.0))
    }

    /// Whether it is tripped.
    pub const fn tripped(&self) -> bool {
        self.hazard.is_some()
    }

    /// Since when it is tripped.
    pub const fn since(&self) -> Option<Uptime> {
        self.since
    }

    /// Takes what the rule finds now. True when what it demands has changed.
    pub fn judge(&mut self, found: Hazard, now: Uptime) -> bool {
        let before = std::mem::replace(&mut self.hazard, found.map(|(demand, why)| (demand, Text(why))));
        if before.is_some() != found.is_some() {
            self.since = found.map(|_| now);
        }
        before.map(|(demand, _)| demand) != found.map(|(demand, _)| demand)
    }
}
