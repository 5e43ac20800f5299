//! Who is responsible for a vehicle that moves: the operator who holds its lease and renews it, or a patrol that somebody
//! has authorised until a time. With neither, what moves is told to hold (rule *lease*). Leases end, missions do not.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::ids::EventId;
use shared::units::Uptime;

use super::Hazard;
use crate::interlock::obey::Sight;
use crate::interlock::words::Demand;
use crate::vehicle::class::Meaning;

/// A lease that was not renewed for this time is not live: the dead man's switch.
pub const RENEWAL: Duration = Duration::from_secs(2);
/// The longest patrol that can be authorised.
pub const PATROL_MAX: Duration = Duration::from_secs(12 * 3600);
/// Slower than this is standing: noise of a satellite receiver, m/s.
pub const MOVING_MPS: f32 = 0.3;

/// And upwards or downwards, m/s.
const CLIMBING_MPS: f32 = 0.5;

/// One operator's control of one vehicle.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Held {
    id: EventId,
    by: String,
    renewed: Uptime,
}

/// Who answers for one vehicle.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lease {
    held: Option<Held>,
    patrol: Option<(String, Uptime)>,
}

impl Lease {
    /// Who holds a live lease.
    pub fn holder(&self, now: Uptime) -> Option<&str> {
        self.held.as_ref().filter(|held| now.since(held.renewed) <= RENEWAL).map(|held| held.by.as_str())
    }

    /// Number of the live lease.
    pub fn held(&self, now: Uptime) -> Option<EventId> {
        self.held.as_ref().filter(|held| now.since(held.renewed) <= RENEWAL).map(|held| held.id)
    }

    /// Who has authorised a patrol that has not ended.
    pub fn patrol(&self, now: Uptime) -> Option<&str> {
        self.patrol.as_ref().filter(|(_, until)| now < *until).map(|(by, _)| by.as_str())
    }

    /// Whether somebody answers for what the vehicle does.
    pub fn live(&self, now: Uptime) -> bool {
        self.holder(now).is_some() || self.patrol(now).is_some()
    }

    /// Gives the lease to somebody; whoever had it has it no longer.
    pub fn give(&mut self, id: EventId, by: String, now: Uptime) {
        self.held = Some(Held { id, by, renewed: now });
    }

    /// Whether this lease is the one in force, live or not, and this person's.
    pub fn is(&self, id: EventId, by: &str) -> bool {
        self.held.as_ref().is_some_and(|held| held.id == id && held.by == by)
    }

    /// Whether a patrol is authorised beyond a time.
    pub fn patrol_lasts_beyond(&self, time: Uptime) -> bool {
        self.patrol.as_ref().is_some_and(|(_, until)| *until > time)
    }

    /// Whose lease, and whose patrol, time has ended; `None` where it has not, or somebody did.
    pub fn lapsed(&self, now: Uptime) -> [Option<&str>; 2] {
        let held = self.held.as_ref().filter(|held| now.since(held.renewed) > RENEWAL).map(|held| held.by.as_str());
        let patrol = self.patrol.as_ref().filter(|(_, until)| now >= *until).map(|(by, _)| by.as_str());
        [held, patrol]
    }

    /// Renews the lease in force.
    pub fn renew(&mut self, now: Uptime) {
        if let Some(held) = &mut self.held {
            held.renewed = now;
        }
    }

    /// Ends the lease.
    pub fn end(&mut self) {
        self.held = None;
    }

    /// Authorises a patrol, in the place of any before it.
    pub fn authorise(&mut self, by: String, until: Uptime) {
        self.patrol = Some((by, until));
    }

    /// Ends the patrol's authorisation; false when there was none.
    pub fn end_patrol(&mut self) -> bool {
        self.patrol.take().is_some()
    }
}

/// Whether a vehicle moves, or may: one whose speed is not known stands only in a mode that holds it.
pub fn moving(sight: &Sight, now: Uptime) -> bool {
    let climbs = sight.class.flies() && sight.state.climb_mps.abs() > CLIMBING_MPS;
    let shown = sight.speed_now(now).map(|speed| speed > MOVING_MPS || !speed.is_finite() || climbs);
    sight.state.armed && shown.unwrap_or(sight.class.meaning(sight.state.mode) != Meaning::Hold)
}

/// What is wrong: it moves and nobody answers for it. Standing still afterwards does not clear it; a live lease does, or
/// that it is disarmed.
pub fn hazard(lease: &Lease, sight: &Sight, tripped: Hazard, now: Uptime) -> Hazard {
    if lease.live(now) || !sight.state.armed {
        return None;
    }
    let found = moving(sight, now).then_some((Demand::Hold, "it moves without a live lease or an authorised patrol"));
    tripped.or(found)
}
