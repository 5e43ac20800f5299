//! Whether a rule is tripped, and when that changes.

use super::Hazard;

/// One rule on one vehicle.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Trip(Hazard);

impl Trip {
    /// What it demands and why, while tripped.
    pub const fn hazard(&self) -> Hazard {
        self.0
    }

    /// Whether it is tripped.
    pub const fn tripped(&self) -> bool {
        self.0.is_some()
    }

    /// Takes what the rule finds now. True when what it demands has changed.
    pub fn judge(&mut self, found: Hazard) -> bool {
        let before = std::mem::replace(&mut self.0, found);
        before.map(|(demand, _)| demand) != found.map(|(demand, _)| demand)
    }
}
