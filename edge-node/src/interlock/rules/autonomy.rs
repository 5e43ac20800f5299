//! Who else steers: the autopilot's own failsafe (rule *foreign*) and the pilot at the radio control (rule *pilot*).
//!
//! A Hold of ours would cancel the autopilot's own Return or Land; so what it does without our order becomes a demand. A
//! mode change together with a move of the RC mode channel is the pilot's: then nothing but a ground e-stop is sent.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

use super::Hazard;
use crate::interlock::fixed::Text;
use crate::interlock::obey::Sight;
use crate::interlock::words::Demand;
use crate::vehicle::class::{Class, Meaning};

/// A mode that shows within this time of its order is ours.
const OURS: Duration = Duration::from_secs(5);
/// Orders that are remembered.
const ORDERS: usize = 4;
/// Mode and channel change within this time of each other, or they have nothing to do with each other.
const TOGETHER: Duration = Duration::from_secs(1);
/// After a mode change that nobody ordered, the radio control has this long to show whether it was the pilot: three of its
/// reports.
const SETTLES: Duration = Duration::from_millis(350);
/// Pulse widths that a channel can have, microseconds.
const PULSES_US: std::ops::RangeInclusive<u16> = 800..=2200;
/// A channel that moves by this much was switched, microseconds.
const SWITCHED_US: u16 = 100;

/// What was ordered, and what the vehicle did by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Autonomy {
    ordered: [Option<(u32, Uptime)>; ORDERS],
    mode: Option<u32>,
    mode_changed: Option<Uptime>,
    channel_us: u16,
    switched: Option<Uptime>,
    unsettled: Option<Uptime>,
    own: Option<(Demand, Text)>,
    pilot: bool,
}

impl Autonomy {
    /// A mode was ordered.
    pub fn ordered(&mut self, mode: u32, now: Uptime) {
        let known = self.ordered.iter_mut().find(|entry| entry.is_some_and(|(known, _)| known == mode));
        if let Some(entry) = known {
            *entry = Some((mode, now));
            return;
        }
        self.ordered.rotate_right(1);
        if let Some(first) = self.ordered.first_mut() {
            *first = Some((mode, now));
        }
    }

    fn is_ours(&self, mode: u32, now: Uptime) -> bool {
        self.ordered.iter().flatten().any(|(known, at)| *known == mode && now.since(*at) <= OURS)
    }

    /// A heartbeat came.
    pub fn heartbeat(&mut self, sight: &Sight, now: Uptime) {
        let mode = sight.state.mode;
        if self.mode.replace(mode) != Some(mode) {
            let ours = self.is_ours(mode, now);
            self.mode_changed = (!ours).then_some(now);
            // Modes that keep changing do not keep it waiting.
            if !ours && self.unsettled.is_none_or(|at| now.since(at) > OURS) {
                self.unsettled = Some(now);
            }
            let hazard = match sight.class.meaning(mode) {
                Meaning::Return => Some((Demand::Return, "returns on its own")),
                Meaning::Land => Some((Demand::Land, "lands on its own")),
                _ => None,
            };
            if sight.state.armed && !ours && hazard.is_some() {
                self.own = hazard.map(|(demand, why)| (demand, Text(why)));
            }
        }
        if !sight.state.armed && sight.on_ground(now) {
            (self.own, self.pilot) = (None, false);
        }
        self.look_for_pilot(now);
    }

    /// The radio control's channels came.
    pub fn channel(&mut self, us: u16, now: Uptime) {
        // Zero and 65535 mean that there is none.
        if !PULSES_US.contains(&us) {
            return;
        }
        let before = std::mem::replace(&mut self.channel_us, us);
        if before != 0 && before.abs_diff(us) >= SWITCHED_US {
            self.switched = Some(now);
        }
        self.look_for_pilot(now);
    }

    fn look_for_pilot(&mut self, now: Uptime) {
        let recent = |at: Uptime| now.since(at) <= TOGETHER;
        if let (Some(changed), Some(switched)) = (self.mode_changed, self.switched)
            && recent(changed)
            && recent(switched)
        {
            // What the pilot chose is not the autopilot's own doing.
            (self.pilot, self.own) = (true, None);
        }
    }

    /// Whether a mode has just changed without an order and the radio control may still tell that it was the pilot: until
    /// then the vehicle is not told again, or it would be taken from the pilot's hands.
    pub fn unsettled(&self, now: Uptime) -> bool {
        self.channel_us != 0 && self.unsettled.is_some_and(|at| now.since(at) < SETTLES)
    }

    /// A supervisor says that it has ended.
    pub fn clear(&mut self) {
        (self.own, self.pilot) = (None, false);
        (self.mode_changed, self.switched) = (None, None);
    }

    /// Whether there is anything to clear.
    pub const fn is_clear(&self) -> bool {
        self.own.is_none() && !self.pilot
    }

    /// What the vehicle does on its own.
    pub fn foreign(&self) -> Hazard {
        self.own.map(|(demand, why)| (demand, why.0))
    }

    /// Whether its pilot has it.
    pub fn pilot(&self) -> Hazard {
        self.pilot.then_some((Demand::None, "its pilot has it"))
    }
}

/// What a demand becomes for a class: what drives cannot return or land, what cannot hover lands to stop.
pub const fn of_class(class: Class, demand: Demand) -> Demand {
    match (class, demand) {
        (Class::Rover, Demand::Return | Demand::Land) => Demand::Hold,
        (Class::Plane, Demand::Stop) => Demand::Land,
        (_, demand) => demand,
    }
}
