//! Whether this node is well enough to let something begin to move. What moves already is not stopped for it; but while the
//! safety loop is late the supervisor's heartbeat is not sent, and the autopilot's own failsafe then acts.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

use super::Hazard;
use crate::interlock::words::Demand;

/// The loop runs every 20 ms; this long without a pass is an overrun.
const OVERRUN: Duration = Duration::from_millis(250);
/// No heartbeat of the supervisor for this time after an overrun.
const NO_BEAT: Duration = Duration::from_secs(1);
/// Well again after this time.
const WELL: Duration = Duration::from_secs(10);

/// When the safety loop ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Loop {
    last: Option<Uptime>,
    late: Option<Uptime>,
}

impl Loop {
    /// The loop runs.
    pub fn pass(&mut self, now: Uptime) {
        if self.last.is_some_and(|last| now.since(last) >= OVERRUN) {
            self.late = Some(now);
        }
        self.last = Some(now);
    }

    /// Whether it is on time.
    pub fn on_time(&self, now: Uptime) -> bool {
        self.late.is_none_or(|late| now.since(late) >= NO_BEAT)
    }

    /// What is wrong.
    pub fn hazard(&self, now: Uptime) -> Hazard {
        let late = self.late.is_some_and(|late| now.since(late) < WELL);
        late.then_some((Demand::None, "the safety loop was late within 10 s"))
    }
}
