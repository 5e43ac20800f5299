//! Whether a vehicle knows where it is. Without an absolute position its speed is false too (`obey` then goes by its mode).
//!
//! Flags of EKF_STATUS_REPORT (ArduPilot) and ESTIMATOR_STATUS (PX4): <https://mavlink.io/en/messages/ardupilotmega.html>,
//! <https://mavlink.io/en/messages/common.html>.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

use super::{Hazard, worse};
use crate::interlock::obey::Sight;
use crate::interlock::words::Demand;

/// Longest time without a satellite fix, and without word of the position's estimate.
const LOST: Duration = Duration::from_secs(3);
/// Good again after this time.
const GOOD_FOR: Duration = Duration::from_secs(5);

/// Since when its position is good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    good_since: Option<Uptime>,
    /// Since when it is heard: what it has not told yet it may still tell.
    heard_since: Option<Uptime>,
}

impl Watch {
    /// What is wrong. `tripped` is what was wrong before.
    pub fn hazard(&mut self, sight: &Sight, tripped: Hazard, now: Uptime) -> Hazard {
        let found = self.found(sight, now);
        self.good_since = if found.is_some() { None } else { self.good_since.or(Some(now)) };
        let good = self.good_since.is_some_and(|since| now.since(since) >= GOOD_FOR);
        // What is disarmed on the ground is told nothing.
        let still = !sight.state.armed && sight.on_ground(now);
        // What is worse stays until it was good for a while.
        let before = tripped.filter(|_| !good);
        worse(found, before).map(|(demand, why)| (if still { Demand::None } else { demand }, why))
    }

    fn found(&mut self, sight: &Sight, now: Uptime) -> Hazard {
        let state = sight.state;
        // Of a vehicle that was not heard the link's rule speaks.
        state.packet_at?;
        let since = *self.heard_since.get_or_insert(now);
        let lost = |at: Option<Uptime>| now.since(at.unwrap_or(since)) >= LOST;
        if state.estimate.is_some_and(|estimate| !estimate.absolute) {
            return Some((Demand::Land, "it has no absolute position"));
        }
        if state.estimate.is_some_and(|estimate| estimate.glitch) {
            return Some((Demand::Hold, "its position jumps"));
        }
        if lost(state.estimate.map(|estimate| estimate.at)) {
            return Some((Demand::Hold, "it does not tell how good its position is"));
        }
        if lost(state.position_at) {
            return Some((Demand::Hold, "it does not tell its position"));
        }
        lost(state.fixed_at).then_some((Demand::Hold, "it has had no satellite fix for 3 s"))
    }
}
