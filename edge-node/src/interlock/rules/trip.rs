//! Whether a rule is tripped, and when that changes.

use shared::units::Uptime;

use super::Hazard;

/// One rule on one vehicle.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Trip {
    hazard: Hazard,
    since: Option<Uptime>,
}

impl Trip {
    /// What it demands and why, while tripped.
    pub const fn hazard(&self) -> Hazard {
        self.hazard
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
        let before = std::mem::replace(&mut self.hazard, found);
        if before.is_some() != found.is_some() {
            self.since = found.map(|_| now);
        }
        before.map(|(demand, _)| demand) != found.map(|(demand, _)| demand)
    }
}
