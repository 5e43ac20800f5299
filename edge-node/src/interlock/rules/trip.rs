//! How long a trip lasts: a stronger hazard counts at once, a weaker one or none only after it has lasted for the rule's
//! clear time.

use std::time::Duration;

use shared::units::Uptime;

use super::Hazard;

/// One rule on one vehicle.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Trip {
    now: Hazard,
    since: Option<Uptime>,
    weaker_since: Option<Uptime>,
}

impl Trip {
    /// What it demands and why, while tripped.
    pub const fn hazard(&self) -> Hazard {
        self.now
    }

    /// Whether it is tripped.
    pub const fn tripped(&self) -> bool {
        self.now.is_some()
    }

    /// Since when it demands what it does.
    pub const fn since(&self) -> Option<Uptime> {
        self.since
    }

    /// Takes what the rule finds now. True when what it demands has changed.
    pub fn judge(&mut self, found: Hazard, clear_after: Duration, now: Uptime) -> bool {
        let (before, after) = (self.now.map(|(demand, _)| demand), found.map(|(demand, _)| demand));
        if after >= before {
            self.now = found;
            self.weaker_since = None;
        } else {
            let since = *self.weaker_since.get_or_insert(now);
            if now.since(since) < clear_after {
                return false;
            }
            (self.now, self.weaker_since) = (found, None);
        }
        let changed = before != after;
        if changed {
            self.since = Some(now);
        }
        changed
    }
}
