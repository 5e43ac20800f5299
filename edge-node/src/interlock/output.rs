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
/// Without a word that it works for this time it does not.
const HEARD: Duration = Duration::from_secs(3);
/// More pulses than these without an answer: it does not work.
const UNHEARD: u8 = 3;
/// A relay is told so often to open.
const OPENED: u8 = 3;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    energised: bool,
    faulty: bool,
    pulsed: Option<Uptime>,
    /// Opened so often since it dropped: an order may be lost.
    opened: u8,
    /// When it was last known to work, or was begun.
    heard: Uptime,
    /// It was heard to work since it was energised.
    works: bool,
    /// Pulses that were not answered.
    unheard: u8,
}

/// What to do about a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    Nothing,
    /// A vehicle's relay is closed for a moment, from wherever it is.
    Pulse,
    /// A vehicle's relay is opened.
    Open,
}

impl Line {
    /// Nothing is known of it.
    pub const fn new(now: Uptime) -> Self {
        Self { energised: false, faulty: false, pulsed: None, opened: 0, heard: now, works: false, unheard: 0 }
    }

    /// Whether it is energised.
    pub const fn energised(&self) -> bool {
        self.energised
    }

    /// Whether it does not work: its pin cannot be written, or nobody says that it can; the vehicle refused its relay.
    pub const fn faulty(&self) -> bool {
        self.faulty
    }

    /// Whether it can be told that it does what it is energised for.
    pub fn works(&self, now: Uptime) -> bool {
        self.energised && self.works && !self.faulty && now.since(self.heard) < HEARD
    }

    /// It was found faulty, or to work: by its pin, which says so each second, or by the vehicle's answer to a pulse; true: that
    /// is new.
    pub fn found(&mut self, faulty: bool, now: Uptime) -> bool {
        if !faulty {
            (self.heard, self.works, self.unheard) = (now, true, 0);
        }
        std::mem::replace(&mut self.faulty, faulty) != faulty
    }

    /// It shall be energised or not: what to do, and whether what is known of it has changed.
    pub fn turn(&mut self, output: &Output, energised: bool, now: Uptime) -> (Turn, bool) {
        let before = std::mem::replace(&mut self.energised, energised);
        if energised != before {
            (self.works, self.opened, self.unheard) = (false, 0, 0);
        }
        let due = self.pulsed.is_none_or(|at| now.since(at) >= PULSE);
        let turn = match output.relay {
            None => {
                // A pin that hangs says nothing.
                let silent = now.since(self.heard) >= HEARD;
                let new = silent && !self.faulty;
                self.faulty |= silent;
                return (Turn::Nothing, new || before != energised);
            }
            Some(_) if energised && (due || !before) => {
                self.unheard = self.unheard.saturating_add(1);
                Turn::Pulse
            }
            Some(_) if !energised && (before || due && self.opened < OPENED) => Turn::Open,
            Some(_) => Turn::Nothing,
        };
        // Nobody has answered these pulses: there is none, or no way there.
        let silent = energised && self.unheard > UNHEARD && !std::mem::replace(&mut self.faulty, true);
        if turn != Turn::Nothing {
            self.pulsed = Some(now);
        }
        if turn == Turn::Open {
            self.opened += 1;
        }
        (turn, before != energised || silent)
    }

    /// Which of the ways to its vehicle is tried: another one after each pulse that was not answered.
    pub fn attempt(&self) -> usize {
        usize::from(self.unheard.saturating_sub(1))
    }

    /// Its vehicle is heard again: its relay is opened again.
    pub const fn open_again(&mut self) {
        self.opened = 0;
    }
}
