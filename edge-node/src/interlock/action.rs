//! From a demand to orders on the wire, for one vehicle: acceptance, obedience, refusal, the next different action. Pure.
//!
//! An order is sent at once, then at 5 Hz; it counts as accepted when the vehicle's HEARTBEAT shows it: an ack is not
//! evidence. To what flies it is not repeated while it shows: a repeat could cancel the Return or Land that the autopilot
//! begins by itself, before its heartbeat tells. Refused: the next action at once. Not shown within [`ACCEPT`], or faster
//! than the measured stop allows, or without progress on the way home or down: the next *different* action, the last one
//! again. No telemetry: never escalate, repeat at 1 Hz.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

use super::obey::{Obey, Sight, over_limit};
use super::rules::link::HEARTBEAT as SILENT;
use super::words::Demand;
use crate::vehicle::class::{Class, Meaning, px4, px4_auto};
use crate::vehicle::command::Order;

/// An action not shown by a heartbeat within this time is followed by the next.
pub const ACCEPT: Duration = Duration::from_secs(2);
/// Stop on the ground: disarm at once if hold is not accepted in this time.
const STOP_ACCEPT: Duration = Duration::from_millis(500);
/// Orders are repeated this often.
const REPEAT: Duration = Duration::from_millis(200);
/// And this often while the vehicle is silent.
const REPEAT_SILENT: Duration = Duration::from_secs(1);
/// Stop on the ground: disarm below this speed, m/s.
const STANDING: f32 = 0.1;
/// Stop in the air: land below this speed, m/s.
const SLOW: f32 = 1.0;
/// Or after this time.
const BRAKE_TIME: Duration = Duration::from_secs(6);
/// Most actions of one demand.
const STEPS: usize = 4;

/// The orders that carry out a demand, first choice first (INTERLOCKS, "Demand -> DO_SET_MODE").
const fn orders(sight: &Sight, demand: Demand) -> [Option<Order>; STEPS] {
    let class = sight.class;
    const fn mode(mode: u32) -> Option<Order> {
        Some(Order::Mode(mode))
    }
    let (hold, home, land) = (mode(class.hold()), mode(class.home()), mode(class.land()));
    let (disarm, still) = (Some(Order::Disarm), Some(Order::GuidedStill(class.guided())));
    match (class, demand) {
        (_, Demand::None) => [None; STEPS],
        // A plane that has no slowest speed has none to be limited to.
        (Class::Plane | Class::Vtol, Demand::Limit) if sight.slow_cmps == 0 => [hold, None, None, None],
        (Class::Rover, Demand::Limit) => [Some(Order::Speed(sight.slow_cmps)), hold, disarm, None],
        (Class::Copter, Demand::Limit) => [Some(Order::Speed(sight.slow_cmps)), hold, still, land],
        (Class::Px4Copter, Demand::Limit) => [Some(Order::Speed(sight.slow_cmps)), Some(Order::StayHere), land, None],
        (_, Demand::Limit) => [Some(Order::Speed(sight.slow_cmps)), hold, None, None],
        (Class::Rover, _) => [hold, disarm, None, None],
        (Class::Copter, Demand::Hold) => [hold, still, land, None],
        (Class::Copter | Class::Px4Copter, Demand::Return) => [home, land, None, None],
        (Class::Copter | Class::Vtol | Class::Px4Copter, Demand::Land) => [land, None, None, None],
        (Class::Copter | Class::Vtol, Demand::Stop) => [hold, land, disarm, None],
        (Class::Px4Copter, Demand::Stop) => [Some(Order::StayHere), land, disarm, None],
        (Class::Plane | Class::Vtol, Demand::Hold) => [hold, None, None, None],
        (Class::Plane | Class::Vtol, Demand::Return) => [home, None, None, None],
        (Class::Plane, Demand::Land | Demand::Stop) => [Some(Order::LandStart), land, home, None],
        // PX4 goes to a place in the mode in which it stands: that mode alone would stop nothing.
        (Class::Px4Copter, Demand::Hold) => [Some(Order::StayHere), hold, mode(px4_auto(px4::LAND)), None],
    }
}

/// Why an order is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// The demand is new.
    Demanded,
    /// The vehicle refused the one before.
    Refused,
    /// The vehicle did not show the one before in time.
    NotAccepted,
    /// The vehicle shows the one before and does not do it.
    NotObeyed,
    /// The vehicle has stopped enough for the next.
    Stopped,
    /// Somebody is where it would land.
    Below,
}

impl Why {
    /// For events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Demanded => "demanded",
            Self::Refused => "refused",
            Self::NotAccepted => "not accepted",
            Self::NotObeyed => "not obeyed",
            Self::Stopped => "stopped",
            Self::Below => "somebody is below",
        }
    }
}

/// What a demand on one vehicle is doing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Action {
    demand: Demand,
    since: Uptime,
    step: usize,
    step_since: Uptime,
    sent: Option<Uptime>,
    acked: bool,
    /// Since when packets come; a heartbeat may still be on its way.
    heard: Option<Uptime>,
    /// The mode in which it was told its speed.
    in_mode: Option<u32>,
    obey: Obey,
}

/// What a limit means for a vehicle now.
enum Slowing {
    /// It is told.
    Tell,
    /// It stands, or is slow enough.
    Watch,
    /// It goes in a way that no speed limits.
    Cannot,
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
        Self {
            demand,
            since: now,
            step: 0,
            step_since: now,
            sent: None,
            acked: false,
            heard: None,
            in_mode: None,
            obey: Obey::NEW,
        }
    }

    /// The demand.
    pub const fn demand(&self) -> Demand {
        self.demand
    }

    /// Whether its first order was sent.
    pub const fn begun(&self) -> bool {
        self.sent.is_some()
    }

    /// Whether the order in force only slows it.
    pub fn slows(&self, sight: &Sight) -> bool {
        matches!(self.order(sight), None | Some(Order::Speed(_)))
    }

    /// The order in force.
    fn order(&self, sight: &Sight) -> Option<Order> {
        orders(sight, self.demand).get(self.step).copied().flatten()
    }

    /// Time passed: what to send.
    pub fn tick(&mut self, sight: &Sight, now: Uptime) -> Todo {
        let Some(order) = self.order(sight) else { return Todo::default() };
        let state = sight.state;
        if let Order::Speed(cmps) = order {
            match self.slowing(cmps, sight, now) {
                Slowing::Tell => {}
                Slowing::Watch => return Todo::default(),
                Slowing::Cannot => return self.advance(sight, Why::NotAccepted, now).unwrap_or_default(),
            }
        }
        if state.packet_at.is_none() {
            // Never heard: there is no address to send to.
            return Todo::default();
        }
        let heard = *self.heard.get_or_insert(now);
        let stop = self.demand == Demand::Stop;
        if sight.class.flies() && !stop && state.heartbeat_at.is_none() && now.since(heard) < SILENT {
            // Its heartbeat tells whether the autopilot or a pilot is about something that must not be cancelled.
            return Todo::default();
        }
        let first = self.sent.is_none();
        let silent = state.heartbeat_at.is_none_or(|at| now.since(at) >= SILENT);
        let done = self.shown(order, sight);
        if first && done && self.by_itself(sight) {
            // It is at it already, in its own way.
            self.begin_step(now);
            return Todo::default();
        }
        if silent || first {
            // Timers run from an order that was sent to a vehicle that answers.
            (self.since, self.step_since, self.obey) = (now, now, Obey::NEW);
        } else {
            if done {
                self.step_since = now;
            } else {
                // What was shown before was another stop.
                self.obey = Obey::NEW;
            }
            if sight.class.hovers() && stop && sight.below && self.step == 1 && !sight.on_ground(now) {
                return self.wait_above(sight, now);
            }
            if sight.class.hovers() && order == Order::Disarm && !sight.on_ground(now) {
                return self.back_to_land(sight.class, now);
            }
            let next = self.next_step(order, done, sight, now);
            // Nothing lands on anybody: what does not hold is told to hold again.
            let next = next.filter(|_| !self.waits_above(sight, now));
            // The last action is repeated for as long as it is not shown.
            if let Some(todo) = next.and_then(|why| self.advance(sight, why, now)) {
                return todo;
            }
        }
        let period = if silent { REPEAT_SILENT } else { REPEAT };
        // A speed is a setting: set once in each mode.
        let settled = sight.class.flies() && !self.still_stopping(order, sight, now);
        let quiet = done && !first && !silent && (settled || matches!(order, Order::Speed(_)));
        if quiet || self.sent.is_some_and(|at| now.since(at) < period) {
            return Todo::default();
        }
        self.sent = Some(now);
        Todo { send: Some(order), began: first.then_some((order, Why::Demanded)) }
    }

    /// The vehicle answered `command`; `accepted`: it took it.
    pub fn answered(&mut self, sight: &Sight, command: u16, accepted: bool, now: Uptime) -> Todo {
        let class = sight.class;
        let Some(order) = self.order(sight).filter(|order| order.command() == command && self.sent.is_some()) else {
            return Todo::default();
        };
        self.acked |= accepted;
        // After landing comes disarming, on the ground only: a refused LAND is repeated.
        let stays = self.demand == Demand::Stop && order == Order::Mode(class.land()) && class.hovers();
        let stays = stays || self.waits_above(sight, now);
        let next = if accepted || stays { None } else { self.advance(sight, Why::Refused, now) };
        next.unwrap_or_default()
    }

    /// Whether the next action would be to land, and somebody is there.
    fn waits_above(&self, sight: &Sight, now: Uptime) -> bool {
        let next = orders(sight, self.demand).get(self.step + 1).copied().flatten();
        let lands = next == Some(Order::Mode(sight.class.land())) && sight.class.hovers();
        lands && sight.below && !sight.on_ground(now)
    }

    /// Somebody has come to where it would land: it holds again until they are gone.
    fn wait_above(&mut self, sight: &Sight, now: Uptime) -> Todo {
        self.step = 0;
        self.begin_step(now);
        let order = self.order(sight);
        Todo { send: order, began: order.map(|order| (order, Why::Below)) }
    }

    /// What was taken for the ground was not, or is no longer said: LAND again.
    fn back_to_land(&mut self, class: Class, now: Uptime) -> Todo {
        self.step = self.step.saturating_sub(1);
        self.begin_step(now);
        let order = Order::Mode(class.land());
        Todo { send: Some(order), began: Some((order, Why::NotAccepted)) }
    }

    /// What a limit means for it now: it is told its speed once in each mode in which it goes by itself; what goes otherwise
    /// cannot be slowed, only held.
    fn slowing(&mut self, cmps: u16, sight: &Sight, now: Uptime) -> Slowing {
        let mode = sight.state.mode;
        let speed = sight.speed_now(now).unwrap_or(f32::MAX);
        let goes = match sight.class.meaning(mode) {
            Meaning::Auto | Meaning::Guided => true,
            // PX4 goes to a place in the mode in which it stands.
            Meaning::Hold if sight.class == Class::Px4Copter => speed > over_limit(cmps),
            // In LOITER and POSHOLD sticks move it.
            Meaning::Hold if mode != sight.class.hold() && speed > over_limit(cmps) => return Slowing::Cannot,
            Meaning::Hold | Meaning::Land => false,
            Meaning::Return | Meaning::Other if sight.state.armed && speed > over_limit(cmps) => {
                return Slowing::Cannot;
            }
            Meaning::Return | Meaning::Other => false,
        };
        if !goes || self.in_mode != Some(mode) {
            (self.sent, self.acked) = (None, false);
        }
        self.in_mode = goes.then_some(mode);
        // Nothing is made faster by it.
        let slow = self.sent.is_none() && speed <= f32::from(cmps) / 100.0;
        if goes && !slow { Slowing::Tell } else { Slowing::Watch }
    }

    /// Whether it shows a mode in which it may still be on its way: the order is more than the mode.
    fn still_stopping(&self, order: Order, sight: &Sight, now: Uptime) -> bool {
        matches!(order, Order::GuidedStill(_)) && sight.speed_now(now).is_none_or(|speed| speed >= SLOW)
    }

    fn begin_step(&mut self, now: Uptime) {
        (self.step_since, self.sent, self.acked, self.obey) = (now, Some(now), false, Obey::NEW);
    }

    fn advance(&mut self, sight: &Sight, why: Why, now: Uptime) -> Option<Todo> {
        let order = orders(sight, self.demand).get(self.step + 1).copied().flatten()?;
        self.step += 1;
        self.begin_step(now);
        Some(Todo { send: Some(order), began: Some((order, why)) })
    }

    /// Whether the vehicle returns or lands as demanded, in whatever mode of its own: SMART_RTL needs no RTL.
    fn by_itself(&self, sight: &Sight) -> bool {
        match (self.demand, sight.class.meaning(sight.state.mode)) {
            (Demand::Return, Meaning::Return | Meaning::Land) | (Demand::Land, Meaning::Land) => sight.class.flies(),
            _ => false,
        }
    }

    /// Whether the vehicle shows that it took an order. Orders without a mode of their own have only their ack.
    fn shown(&self, order: Order, sight: &Sight) -> bool {
        let meaning = sight.class.meaning(sight.state.mode);
        match order {
            _ if self.by_itself(sight) => true,
            Order::Mode(mode) | Order::GuidedStill(mode) => sight.state.mode == mode,
            Order::Disarm => !sight.state.armed,
            Order::LandStart => self.acked && meaning == Meaning::Auto,
            Order::StayHere => self.acked && meaning == Meaning::Hold,
            Order::Speed(_) => self.acked,
            // No demand orders anything else.
            _ => false,
        }
    }

    fn next_step(&mut self, order: Order, done: bool, sight: &Sight, now: Uptime) -> Option<Why> {
        let (in_step, in_all) = (now.since(self.step_since), now.since(self.since));
        // A heartbeat since the order shows that it was not taken; silence shows nothing.
        let answered = sight.state.heartbeat_at.is_some_and(|at| at > self.step_since);
        let late = |limit: Duration| (answered && in_step >= limit).then_some(Why::NotAccepted);
        match (sight.class, self.demand, self.step) {
            (Class::Rover, Demand::Stop, 0) if done => {
                let standing = sight.speed_now(now).is_some_and(|speed| speed < STANDING);
                (standing || in_all >= sight.stop_time()).then_some(Why::Stopped)
            }
            (Class::Rover, Demand::Stop, 0) => late(STOP_ACCEPT),
            (class, Demand::Stop, 0) if done && class.hovers() => {
                let slow = sight.speed_now(now).is_some_and(|speed| speed < SLOW);
                (!sight.below && (slow || in_all >= BRAKE_TIME)).then_some(Why::Stopped)
            }
            // Never disarm in the air; unknown counts as airborne.
            (class, Demand::Stop, 1) if class.hovers() => {
                (sight.on_ground(now) && sight.state.armed).then_some(Why::Stopped)
            }
            _ if order == Order::Disarm => None,
            _ if done => self.obey.broken(order, sight, now).then_some(Why::NotObeyed),
            _ => late(ACCEPT),
        }
    }
}
