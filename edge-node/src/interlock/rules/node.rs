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
/// Whoever looks how the node is looks once a second; this long without a word is no good sign.
const UNSEEN: Duration = Duration::from_secs(10);

/// What somebody who looked has found wrong with the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ill {
    /// The journal did not commit what it was given.
    pub journal: bool,
    /// Its disk has less room than it should.
    pub disk: bool,
    /// The wall clock has jumped.
    pub clock: bool,
}

/// When the safety loop ran, and what else was wrong when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Loop {
    last: Option<Uptime>,
    late: Option<Uptime>,
    seen: Option<Uptime>,
    journal: Option<Uptime>,
    disk: Option<Uptime>,
    clock: Option<Uptime>,
}

impl Loop {
    /// It begins; somebody has as long to look as ever.
    pub fn new(now: Uptime) -> Self {
        Self { seen: Some(now), ..Self::default() }
    }

    /// The loop runs.
    pub fn pass(&mut self, now: Uptime) {
        if self.last.is_some_and(|last| now.since(last) >= OVERRUN) {
            self.late = Some(now);
        }
        self.last = Some(now);
    }

    /// Somebody has looked.
    pub fn look(&mut self, ill: Ill, now: Uptime) {
        self.seen = Some(now);
        for (at, wrong) in [(&mut self.journal, ill.journal), (&mut self.disk, ill.disk), (&mut self.clock, ill.clock)]
        {
            *at = if wrong { Some(now) } else { *at };
        }
    }

    /// Whether it is on time.
    pub fn on_time(&self, now: Uptime) -> bool {
        self.late.is_none_or(|late| now.since(late) >= NO_BEAT)
    }

    /// What is wrong.
    pub fn hazard(&self, now: Uptime) -> Hazard {
        let lately = |at: Option<Uptime>| at.is_some_and(|at| now.since(at) < WELL);
        let unseen = self.seen.is_some_and(|at| now.since(at) >= UNSEEN);
        let wrong = [
            (lately(self.late), "the safety loop was late within 10 s"),
            (lately(self.journal), "the journal does not commit, or did not within 10 s"),
            (lately(self.disk), "the disk has too little room"),
            (lately(self.clock), "the clock has jumped within 10 s"),
            (unseen, "nobody looks how the node is"),
        ];
        wrong.into_iter().find(|(wrong, _)| *wrong).map(|(_, why)| (Demand::None, why))
    }
}
