//! From a demand to orders on the wire, for one vehicle: acceptance, refusal, the next different action. Pure.
//!
//! An order counts as accepted when the vehicle's HEARTBEAT shows it; an ack is not evidence. Refused: the next action
//! at once. Not accepted within [`ACCEPT`]: the next action. No telemetry: never escalate, repeat at 1 Hz.

use std::time::Duration;

use shared::units::Uptime;

use super::words::Demand;
use crate::vehicle::Class;
use crate::vehicle::command::{COPTER_LAND, Order};
use crate::vehicle::state::VehicleState;

/// An action not shown by a heartbeat within this time is followed by the next.
pub const ACCEPT: Duration = Duration::from_secs(2);
/// Stop on the ground: disarm at once if hold is not accepted in this time.
const STOP_ACCEPT: Duration = Duration::from_millis(500);
/// Orders are repeated this often.
const REPEAT: Duration = Duration::from_millis(200);
/// And this often while the vehicle is silent.
const REPEAT_SILENT: Duration = Duration::from_secs(1);
/// A vehicle without heartbeat for this time is silent.
pub const SILENT: Duration = Duration::from_millis(3500);
/// Stop on the ground: disarm below this speed, m/s.
const STANDING: f32 = 0.1;
/// Or after this time: until a brake test gives the vehicle's own, that of INTERLOCKS' measured rover.
const STOP_TIME: Duration = Duration::from_secs(8);
/// Stop in the air: land below this speed, m/s.
const SLOW: f32 = 1.0;
/// Or after this time.
const BRAKE_TIME: Duration = Duration::from_secs(6);

/// The orders that carry out a demand, first choice first (INTERLOCKS, "Demand -> DO_SET_MODE").
const fn orders(class: Class, demand: Demand) -> &'static [Order] {
    match (class, demand) {
        (_, Demand::None) => &[],
        (Class::Rover, Demand::Hold | Demand::Stop) => &[Order::Mode(4), Order::Disarm],
        (Class::Copter, Demand::Hold) => &[Order::Mode(17), Order::GuidedStill(4), Order::Mode(COPTER_LAND)],
        (Class::Copter, Demand::Stop) => &[Order::Mode(17), Order::Mode(COPTER_LAND), Order::Disarm],
    }
}

/// Why an order is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The demand is new.
    Demanded,
    /// The vehicle refused the one before.
    Refused,
    /// The vehicle did not show the one before in time.
    NotAccepted,
    /// The vehicle has stopped enough for the next.
    Stopped,
}

impl Why {
    /// For events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Demanded => "demanded",
            Self::Refused => "refused",
            Self::NotAccepted => "not accepted",
            Self::Stopped => "stopped",
        }
    }
}

/// What a demand on one vehicle is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    demand: Demand,
    since: Uptime,
    step: usize,
    step_since: Uptime,
    sent: Option<Uptime>,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Todo {
    /// An order to write.
    pub send: Option<Order>,
    /// An order that began, for the record.
    pub began: Option<(Order, Why)>,
}

impl Action {
    /// Begins to carry out a demand.
    pub const fn new(demand: Demand, now: Uptime) -> Self {
        Self { demand, since: now, step: 0, step_since: now, sent: None }
    }

    /// The demand.
    pub const fn demand(&self) -> Demand {
        self.demand
    }

    /// The order in force.
    pub fn order(&self, class: Class) -> Option<Order> {
        let orders = orders(class, self.demand);
        orders.get(self.step).or(orders.last()).copied()
    }

    /// Time passed: what to send.
    pub fn tick(&mut self, class: Class, state: &VehicleState, now: Uptime) -> Todo {
        let Some(order) = self.order(class) else { return Todo::default() };
        if state.packet_at.is_none() {
            // Never heard: there is no address to send to.
            return Todo::default();
        }
        let first = self.sent.is_none();
        let silent = state.heartbeat_at.is_none_or(|at| now.since(at) >= SILENT);
        if silent || first {
            // Timers run from an order that was sent to a vehicle that answers.
            (self.since, self.step_since) = (now, now);
        } else {
            let done = shown(order, state);
            if done {
                self.step_since = now;
            }
            if class == Class::Copter && order == Order::Disarm && !on_ground(state, now) {
                return self.back_to_land(now);
            }
            if let Some(why) = self.next_step(class, order, done, state, now) {
                return self.advance(class, why, now);
            }
        }
        let period = if silent { REPEAT_SILENT } else { REPEAT };
        if self.sent.is_some_and(|at| now.since(at) < period) {
            return Todo::default();
        }
        self.sent = Some(now);
        Todo { send: Some(order), began: first.then_some((order, Why::Demanded)) }
    }

    /// The vehicle refused `command`.
    pub fn refused(&mut self, class: Class, command: u16, now: Uptime) -> Todo {
        match self.order(class) {
            // The next action at once; the last one is repeated, and so is LAND: after it comes disarming, on the ground.
            Some(Order::Mode(COPTER_LAND)) => Todo::default(),
            Some(order) if order.command() == command && self.sent.is_some() => self.advance(class, Why::Refused, now),
            _ => Todo::default(),
        }
    }

    /// What was taken for the ground was not, or is no longer said: LAND again.
    fn back_to_land(&mut self, now: Uptime) -> Todo {
        self.step = self.step.saturating_sub(1);
        (self.step_since, self.sent) = (now, Some(now));
        let order = Order::Mode(COPTER_LAND);
        Todo { send: Some(order), began: Some((order, Why::NotAccepted)) }
    }

    fn advance(&mut self, class: Class, why: Why, now: Uptime) -> Todo {
        if self.step + 1 >= orders(class, self.demand).len() {
            return Todo::default();
        }
        self.step += 1;
        (self.step_since, self.sent) = (now, Some(now));
        let order = self.order(class);
        Todo { send: order, began: order.map(|order| (order, why)) }
    }

    fn next_step(&self, class: Class, order: Order, done: bool, state: &VehicleState, now: Uptime) -> Option<Why> {
        let (in_step, in_all) = (now.since(self.step_since), now.since(self.since));
        // A heartbeat since the order shows that it was not taken; silence shows nothing.
        let answered = state.heartbeat_at.is_some_and(|at| at > self.step_since);
        let position_known = state.position_at.is_some_and(|at| now.since(at) < ACCEPT);
        match (class, self.demand, self.step) {
            (Class::Rover, Demand::Stop, 0) if done => {
                let standing = position_known && state.speed_mps < STANDING;
                (standing || in_all >= STOP_TIME).then_some(Why::Stopped)
            }
            (Class::Rover, Demand::Stop, 0) => (answered && in_step >= STOP_ACCEPT).then_some(Why::NotAccepted),
            (Class::Copter, Demand::Stop, 0) if done => {
                let slow = position_known && state.speed_mps < SLOW;
                (slow || in_all >= BRAKE_TIME).then_some(Why::Stopped)
            }
            // Never disarm in the air; unknown counts as airborne.
            (Class::Copter, Demand::Stop, 1) => (on_ground(state, now) && state.armed).then_some(Why::Stopped),
            _ if done || order == Order::Disarm => None,
            _ => (answered && in_step >= ACCEPT).then_some(Why::NotAccepted),
        }
    }
}

/// Whether the vehicle says now that it stands on the ground.
fn on_ground(state: &VehicleState, now: Uptime) -> bool {
    state.landed_at.is_some_and(|at| now.since(at) < ACCEPT)
}

/// Whether the heartbeat shows that an order was taken.
fn shown(order: Order, state: &VehicleState) -> bool {
    match order {
        Order::Mode(mode) | Order::GuidedStill(mode) => state.mode == mode,
        Order::Disarm => !state.armed,
    }
}
