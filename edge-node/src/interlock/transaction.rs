//! A command on its way to a vehicle: sent, sent again without an answer, given up (MAVLink's command protocol,
//! <https://mavlink.io/en/services/command.html>). Of a mode, and of arming, the heartbeat is the evidence, not the ack. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::ids::EventId;
use shared::units::Uptime;

use super::fixed::Text;
use super::obey::Sight;
use crate::vehicle::command::Order;
use crate::vehicle::message::{ACCEPTED, CANCELLED, DENIED, FAILED, IN_PROGRESS, TEMPORARILY_REJECTED, UNSUPPORTED};

/// Without an answer for this time it is sent again: an autopilot answers in milliseconds, a slow radio in a few hundred.
const ANSWER: Duration = Duration::from_secs(1);
/// Times that a step is sent.
const TRIES: u8 = 3;
/// A vehicle that says that it is at it has so long to say it again, or to end.
const PROGRESS: Duration = Duration::from_secs(30);
/// What was taken shows within this time.
const SHOWS: Duration = Duration::from_secs(3);
/// Steps of one command.
pub const STEPS: usize = 3;

/// The orders of one command, in turn.
pub type Steps = [Option<Order>; STEPS];

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The vehicle took it, and shows it where that can be seen.
    Done,
    /// It said no, with this MAV_RESULT.
    Refused(u8),
    /// It said nothing.
    Unanswered,
    /// It said yes and does not show it.
    NotShown,
    /// It was given up: why.
    Cancelled(&'static str),
}

impl Outcome {
    /// For events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused(_) => "refused",
            Self::Unanswered => "unanswered",
            Self::NotShown => "not shown",
            Self::Cancelled(_) => "cancelled",
        }
    }

    /// Why, for people; MAV_RESULT by name.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Done => "",
            Self::Refused(TEMPORARILY_REJECTED) => "not now",
            Self::Refused(DENIED) => "denied: its parameters, or its state",
            Self::Refused(UNSUPPORTED) => "it does not know this command",
            Self::Refused(FAILED) => "it failed",
            Self::Refused(CANCELLED) => "it was given up by the vehicle",
            Self::Refused(_) => "with a result that is not known",
            Self::Unanswered => "no answer in three seconds",
            Self::NotShown => "it said yes, and its heartbeat does not show it",
            Self::Cancelled(why) => why,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Stage {
    /// For an answer.
    Waits,
    /// It said that it is at it.
    Works(Uptime),
    /// It said yes.
    Taken(Uptime),
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Turn {
    /// Nothing yet.
    Wait,
    /// Write this, sent so often before.
    Send(Order, u8),
    /// It has ended.
    Ended(Outcome),
}

/// A command on its way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Transaction {
    id: EventId,
    verb: Text,
    steps: Steps,
    at: usize,
    tries: u8,
    sent: Uptime,
    stage: Stage,
}

impl Transaction {
    /// A command that nothing was sent of yet.
    pub const fn new(id: EventId, verb: &'static str, steps: Steps, now: Uptime) -> Self {
        Self { id, verb: Text(verb), steps, at: 0, tries: 0, sent: now, stage: Stage::Waits }
    }

    /// The request it follows from, and its verb.
    pub const fn of(&self) -> (EventId, &'static str) {
        (self.id, self.verb.0)
    }

    /// Whether it moves the vehicle: motors off, a light, a camera do not.
    pub fn moves(&self) -> bool {
        !self.steps.iter().flatten().all(|order| order.is_aside() || *order == Order::Disarm)
    }

    /// Whether it is to switch its motors on.
    pub fn arms(&self) -> bool {
        self.steps.contains(&Some(Order::Arm))
    }

    fn order(&self) -> Option<Order> {
        self.steps.get(self.at).copied().flatten()
    }

    /// Time passed, or a heartbeat came.
    pub fn tick(&mut self, sight: &Sight, now: Uptime) -> Turn {
        let Some(order) = self.order() else { return Turn::Ended(Outcome::Done) };
        let beat = sight.state.heartbeat_at.is_some_and(|at| at > self.sent);
        match (self.stage, shows(order, sight)) {
            (Stage::Waits, _) if self.tries == 0 => self.send(order, now),
            (_, Some(true)) if beat => self.advance(now),
            (Stage::Taken(_), None) => self.advance(now),
            (Stage::Taken(at), _) if now.since(at) >= SHOWS => Turn::Ended(Outcome::NotShown),
            (Stage::Works(at), _) if now.since(at) >= PROGRESS => Turn::Ended(Outcome::Unanswered),
            (Stage::Waits, _) if now.since(self.sent) < ANSWER => Turn::Wait,
            (Stage::Waits, _) if self.tries >= TRIES => Turn::Ended(Outcome::Unanswered),
            (Stage::Waits, _) => self.send(order, now),
            _ => Turn::Wait,
        }
    }

    /// The vehicle answered a command. `ours`: the ack belongs to what was sent last.
    pub fn answered(&mut self, command: u16, result: u8, ours: bool, now: Uptime) -> Turn {
        if self.tries == 0 || self.order().is_none_or(|order| order.command() != command) {
            return Turn::Wait;
        }
        match result {
            // Of a command before it: its own answer is still to come.
            _ if !ours => {}
            // What comes next is sent when the rules have been looked at.
            ACCEPTED => self.stage = Stage::Taken(now),
            IN_PROGRESS => self.stage = Stage::Works(now),
            // It is asked again, as after silence.
            TEMPORARILY_REJECTED if self.tries < TRIES => self.stage = Stage::Waits,
            _ => return Turn::Ended(Outcome::Refused(result)),
        }
        Turn::Wait
    }

    fn send(&mut self, order: Order, now: Uptime) -> Turn {
        let before = self.tries;
        (self.tries, self.sent) = (before + 1, now);
        Turn::Send(order, before)
    }

    fn advance(&mut self, now: Uptime) -> Turn {
        (self.at, self.tries, self.stage) = (self.at + 1, 0, Stage::Waits);
        match self.order() {
            Some(order) => self.send(order, now),
            None => Turn::Ended(Outcome::Done),
        }
    }
}

/// Whether the heartbeat shows an order; `None`: it does not show such orders.
fn shows(order: Order, sight: &Sight) -> Option<bool> {
    match order {
        Order::Mode(mode) => Some(sight.state.mode == mode),
        Order::Arm => Some(sight.state.armed),
        Order::Disarm => Some(!sight.state.armed),
        _ => None,
    }
}
