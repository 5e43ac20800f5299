//! Output lines: sirens, lights, gates, stop relays. What each is energised for. Pure.
//!
//! A line is energised only by pulses of the safety loop, and drops when they cease: at the start, at the end, when the loop
//! is late, when the node hangs or dies. `pin` drives lines of this box; a vehicle's relay is pulsed by DO_REPEAT_RELAY, which
//! opens it again by itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

/// A vehicle's relay is pulsed this often; it is closed for the first half of it.
pub const PULSE: Duration = Duration::from_secs(2);
/// A pulse whose ack has not come for this time did not sound.
const HEARD: Duration = Duration::from_secs(3);

/// What a line is energised for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum While {
    /// One of its vehicles is armed.
    Armed,
    /// One of its vehicles is told to hold, or more.
    Held,
    /// One of its vehicles will go on by itself in a moment.
    Resuming,
    /// The e-stop is pressed for none of its vehicles: a stop relay, a gate.
    Released,
}

/// A line, as the site wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Name.
    pub name: String,
    /// Indices of the vehicles it is for.
    pub vehicles: Vec<usize>,
    /// Energised while any of these is so.
    pub energised_while: Vec<While>,
    /// A vehicle's relay: index of the vehicle, number of the relay. Otherwise a pin of this box.
    pub relay: Option<(usize, u8)>,
}

/// A line now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    energised: bool,
    faulty: bool,
    pulsed: Option<Uptime>,
    heard: Option<Uptime>,
}

/// What to do about a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    Nothing,
    /// A vehicle's relay is pulsed; true: it was not energised before.
    Pulse(bool),
    /// It is energised from now on; a pin is pulsed with each pass.
    Energise,
    /// It drops.
    Drop,
}

impl Line {
    /// Whether it is energised.
    pub const fn energised(&self) -> bool {
        self.energised
    }

    /// Whether it could not be written, or the vehicle refused its relay.
    pub const fn faulty(&self) -> bool {
        self.faulty
    }

    /// Whether it can be told that it does what it is energised for.
    pub fn works(&self, output: &Output, now: Uptime) -> bool {
        let heard = output.relay.is_none() || self.heard.is_some_and(|at| now.since(at) < HEARD);
        self.energised && !self.faulty && heard
    }

    /// It was found faulty, or works again; true: that is new.
    pub fn found(&mut self, faulty: bool) -> bool {
        std::mem::replace(&mut self.faulty, faulty) != faulty
    }

    /// The vehicle answered a pulse; true: what is known of the line has changed.
    pub fn answered(&mut self, accepted: bool, now: Uptime) -> bool {
        if accepted {
            self.heard = Some(now);
        }
        self.found(!accepted)
    }

    /// What to do, if it shall be energised or not.
    pub fn turn(&mut self, output: &Output, energised: bool, now: Uptime) -> Turn {
        let before = std::mem::replace(&mut self.energised, energised);
        if !energised {
            (self.pulsed, self.heard) = (None, None);
        }
        let due = self.pulsed.is_none_or(|at| now.since(at) >= PULSE);
        match (before, energised, output.relay) {
            (_, true, Some(_)) if due => {
                self.pulsed = Some(now);
                Turn::Pulse(!before)
            }
            (false, true, None) => Turn::Energise,
            (true, false, _) => Turn::Drop,
            _ => Turn::Nothing,
        }
    }
}
