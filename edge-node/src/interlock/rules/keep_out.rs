//! A zone that nobody may be in while vehicles move in it. A camera that shows nothing fresh counts as a person.

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

use crate::interlock::words::KeepOut;

/// What was seen of a zone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Watch {
    last_frame: Uptime,
    last_present: Option<Uptime>,
    stale: bool,
    /// The first frame after the camera was stale: frames must show the zone empty for the clear time from here.
    back_since: Option<Uptime>,
}

impl Watch {
    /// No frame was seen: a zone begins as stale.
    pub const NEW: Self = Self { last_frame: Uptime(0), last_present: None, stale: true, back_since: None };

    /// A frame was looked at.
    pub fn saw(&mut self, present: bool, captured: Uptime) {
        self.last_frame = self.last_frame.max(captured);
        if present {
            self.last_present = self.last_present.max(Some(captured));
        }
    }

    /// What is wrong with the zone: a hazard lasts until fresh frames have shown nobody for the clear time.
    pub fn hazard(&mut self, rule: &KeepOut, now: Uptime) -> Option<&'static str> {
        let stale = now.since(self.last_frame) > rule.stale_after;
        if self.stale && !stale {
            self.back_since = Some(self.last_frame);
        }
        self.stale = stale;
        let lasts = |since: Option<Uptime>| since.is_some_and(|at| self.last_frame.since(at) <= rule.clear_after);
        match (lasts(self.last_present), stale, lasts(self.back_since)) {
            (true, _, _) => Some("person"),
            (false, true, _) => Some("camera stale: a person is assumed"),
            (false, false, true) => Some("camera was stale: not yet seen clear"),
            (false, false, false) => None,
        }
    }
}
