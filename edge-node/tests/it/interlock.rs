//! Properties and scenarios of the interlock's decision, without any I/O.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use edge_node::interlock::machine::{Demand, Effect, Input, KeepOut, Machine, Policy, Verb};
use edge_node::interlock::rules::estop::{Latched, Scope};
use edge_node::vehicle::command::Order;
use edge_node::vehicle::link::Report;
use edge_node::vehicle::state::{Heard, VehicleState};
use edge_node::vehicle::stop::StopTable;
use edge_node::vehicle::{Class, VehicleConfig};
use shared::ids::EventId;
use shared::units::Uptime;
use uuid::Uuid;

/// Index of the rover.
pub const ROVER: usize = 0;
/// Index of the copter.
pub const COPTER: usize = 1;

/// INTERLOCKS' measured rover, and more than its copter needs.
pub fn brake() -> StopTable {
    toml::from_str::<BTreeMap<String, StopTable>>("brake = [{ speed_mps = 5.3, distance_m = 11.2, time_s = 7.7 }]")
        .unwrap()
        .remove("brake")
        .unwrap()
}

/// A rover and a copter that share one keep-out zone.
pub fn policy() -> Policy {
    let vehicle = |name: &str, class, sysid| VehicleConfig {
        name: name.parse().unwrap(),
        sysid,
        class,
        link: "radio".parse().unwrap(),
        brake: brake(),
        mode_channel: None,
    };
    Policy {
        vehicles: vec![vehicle("rover", Class::Rover, 1), vehicle("copter", Class::Copter, 2)],
        keep_out: vec![KeepOut {
            zone: "yard".into(),
            zone_index: 0,
            vehicles: vec![ROVER, COPTER],
            clear_after: Duration::from_secs(2),
            stale_after: Duration::from_secs(1),
        }],
        ..Policy::default()
    }
}

/// A machine and simulated time: every step is 20 ms, as the safety thread's.
pub struct Rig {
    pub machine: Machine,
    pub now: Uptime,
    pub state: [VehicleState; 2],
    pub sent: Vec<(Uptime, usize, Order)>,
    pub effects: Vec<Effect>,
    pub obeys: bool,
    pub watched: bool,
    pub present: bool,
    pub landed: bool,
    /// Whether it brakes while it holds.
    pub slows: bool,
}

impl Rig {
    pub fn new() -> Self {
        let mut rig = Self::begin(policy());
        // Somebody answers for what they do.
        for vehicle in [ROVER, COPTER] {
            assert!(rig.ask(vehicle, Verb::Patrol(Duration::from_secs(12 * 3600))).is_empty());
        }
        rig.settle();
        rig
    }

    /// A rig whose machine has just begun.
    pub fn begin(policy: Policy) -> Self {
        let now = Uptime::from_millis(100_000);
        let driving = |mode| VehicleState { mode, armed: true, speed_mps: 2.0, ..VehicleState::default() };
        Self {
            machine: Machine::new(policy, Latched::new(2, false), now),
            now,
            state: [driving(10), driving(3)],
            sent: Vec::new(),
            effects: Vec::new(),
            obeys: true,
            watched: true,
            present: false,
            landed: false,
            slows: true,
        }
    }

    /// Until nothing is tripped any more.
    pub fn settle(&mut self) {
        let rig = self;
        // Every zone begins as stale: frames must show it empty for the clear time first.
        rig.obeys = false;
        rig.pass(6000);
        rig.obeys = true;
        assert_eq!(rig.machine.demand(ROVER), Demand::None);
        rig.state.iter_mut().zip([10, 3]).for_each(|(state, mode)| (state.mode, state.armed) = (mode, true));
        (rig.sent, rig.effects) = (Vec::new(), Vec::new());
    }

    pub fn give(&mut self, input: Input) {
        let mut out = Vec::new();
        self.machine.step(input, self.now, &mut out);
        for effect in &out {
            if let Effect::Send(vehicle, order) = effect {
                self.sent.push((self.now, *vehicle, *order));
                if self.obeys {
                    match order {
                        Order::Disarm => self.state[*vehicle].armed = false,
                        other => self.state[*vehicle].mode = other.mode().unwrap_or(self.state[*vehicle].mode),
                    }
                }
            }
        }
        self.effects.extend(out);
    }

    pub fn hear(&mut self, vehicle: usize, heard: Heard) {
        self.state[vehicle].heartbeat_at = Some(self.now);
        self.state[vehicle].landed_at = self.landed.then_some(self.now);
        self.state[vehicle].position_at = Some(self.now);
        self.state[vehicle].packet_at = Some(self.now);
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        self.give(Input::Vehicle(Report { vehicle, peer, state: self.state[vehicle], heard }));
    }

    /// Lets `ms` pass: heartbeats at 5 Hz, frames at 10 fps while watched.
    pub fn pass(&mut self, ms: u64) {
        for n in 0..ms / 20 {
            self.now = self.now.plus(Duration::from_millis(20));
            for (state, hold) in self.state.iter_mut().zip([4, 17]).filter(|_| self.slows) {
                // As INTERLOCKS' measured rover.
                let braked = if state.mode == hold || !state.armed { 1.25 * 0.02 } else { 0.0 };
                state.speed_mps = (state.speed_mps - braked).max(0.0);
            }
            if n % 10 == 0 {
                self.hear(ROVER, Heard::Heartbeat);
                self.hear(COPTER, Heard::Heartbeat);
            }
            if n % 5 == 0 && self.watched {
                self.give(Input::Seen { zone: 0, present: self.present, captured: self.now });
            }
            self.give(Input::Tick);
        }
    }

    pub fn orders(&self, vehicle: usize) -> Vec<Order> {
        let mut orders: Vec<Order> = self.sent.iter().filter(|(_, v, _)| *v == vehicle).map(|(_, _, o)| *o).collect();
        orders.dedup();
        orders
    }

    pub fn press(&mut self) {
        self.give(Input::Press { source: "console", by: String::new(), scope: Scope::Site });
    }

    pub fn pressed(&self) -> bool {
        self.machine.latched().any()
    }

    /// Whether a rule is tripped on a vehicle.
    pub fn tripped(&self, vehicle: usize, rule: &str) -> bool {
        self.machine.rules().iter().any(|view| view.rule == rule && view.vehicle == vehicle && view.reason.is_some())
    }

    fn reset(&mut self) {
        self.give(Input::Reset { id: EventId(Uuid::now_v7()), by: "ann".into(), scope: Scope::Site });
        let latched = self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Latch { pressed: false, press, .. } => Some(*press),
            _ => None,
        });
        self.give(Input::Released { press: latched.unwrap(), by: "ann".into() });
    }

    pub fn resume(&mut self) -> Vec<String> {
        self.ask(ROVER, Verb::Resume)
    }

    /// Every reason against a request.
    pub fn ask(&mut self, vehicle: usize, verb: Verb) -> Vec<String> {
        let id = EventId(Uuid::now_v7());
        self.ask_as("ann", id, vehicle, verb)
    }

    /// Every reason against a request of somebody.
    pub fn ask_as(&mut self, by: &str, id: EventId, vehicle: usize, verb: Verb) -> Vec<String> {
        self.give(Input::Request { id, vehicle, verb, by: by.into() });
        let decided = self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Decided { id: of, reasons, .. } if *of == id => Some(reasons.clone()),
            _ => None,
        });
        decided.unwrap()
    }
}

#[test]
fn a_person_in_the_zone_holds_the_vehicles_at_once_and_until_it_is_clear() {
    let mut rig = Rig::new();
    rig.pass(1000);
    assert!(rig.sent.is_empty(), "nothing tripped yet: {:?}", rig.sent);
    rig.present = true;
    let seen = rig.now;
    rig.pass(100);
    assert_eq!(rig.orders(ROVER), [Order::Mode(4)]);
    assert_eq!(rig.orders(COPTER), [Order::Mode(17)]);
    assert!(rig.sent[0].0.since(seen) <= Duration::from_millis(40));
    rig.present = false;
    rig.pass(1900);
    assert_eq!(rig.machine.demand(ROVER), Demand::Hold);
    rig.pass(300);
    assert_eq!(rig.machine.demand(ROVER), Demand::None);
    assert_eq!(rig.orders(ROVER), [Order::Mode(4)], "clearing starts nothing");
    assert!(rig.resume().is_empty());
    assert_eq!(rig.orders(ROVER), [Order::Mode(4), Order::Mode(10)]);
}

#[test]
fn a_silent_camera_is_a_person_and_must_show_the_zone_empty_again() {
    let mut rig = Rig::new();
    rig.pass(500);
    rig.watched = false;
    rig.pass(900);
    assert_eq!(rig.machine.demand(ROVER), Demand::None);
    rig.pass(300);
    assert_eq!(rig.machine.demand(ROVER), Demand::Hold);
    assert!(rig.resume()[0].contains("camera stale"));
    rig.watched = true;
    rig.pass(1000);
    assert_eq!(rig.machine.demand(ROVER), Demand::Hold);
    rig.pass(2000);
    assert_eq!(rig.machine.demand(ROVER), Demand::None);
}

#[test]
fn a_hold_that_is_obeyed_is_repeated_and_never_escalates() {
    let mut rig = Rig::new();
    rig.present = true;
    rig.pass(10_000);
    assert_eq!(rig.orders(ROVER), [Order::Mode(4)]);
    let count = rig.sent.iter().filter(|(_, v, _)| *v == ROVER).count();
    assert!((45..=51).contains(&count), "5 Hz for 10 s, found {count}");
}

#[test]
fn a_hold_that_is_not_accepted_goes_to_the_next_action_after_two_seconds() {
    let mut rig = Rig::new();
    (rig.obeys, rig.present) = (false, true);
    let begun = rig.now;
    rig.pass(2500);
    assert_eq!(rig.orders(ROVER), [Order::Mode(4), Order::Disarm]);
    let disarmed = rig.sent.iter().find(|(_, _, order)| *order == Order::Disarm).unwrap().0;
    assert!((2000..2200).contains(&disarmed.since(begun).as_millis()));
    rig.pass(3000);
    assert_eq!(rig.orders(COPTER), [Order::Mode(17), Order::GuidedStill(4), Order::Mode(9)]);
}

#[test]
fn a_refused_hold_goes_to_the_next_action_at_once() {
    let mut rig = Rig::new();
    (rig.obeys, rig.present) = (false, true);
    rig.pass(100);
    rig.hear(COPTER, Heard::Ack { command: 176, result: 4, to: 245 });
    assert_eq!(rig.orders(COPTER), [Order::Mode(17), Order::GuidedStill(4)]);
    rig.hear(COPTER, Heard::Ack { command: 176, result: 5, to: 245 });
    rig.hear(COPTER, Heard::Ack { command: 400, result: 4, to: 245 });
    assert_eq!(rig.orders(COPTER), [Order::Mode(17), Order::GuidedStill(4)], "in progress, or another command");
}

#[test]
fn without_telemetry_nothing_escalates_and_the_order_is_repeated_each_second() {
    let mut rig = Rig::new();
    rig.obeys = false;
    rig.now = rig.now.plus(Duration::from_secs(4));
    rig.press();
    for _ in 0..500 {
        rig.now = rig.now.plus(Duration::from_millis(20));
        rig.give(Input::Tick);
    }
    assert_eq!(rig.orders(ROVER), [Order::Mode(4)]);
    let count = rig.sent.iter().filter(|(_, v, _)| *v == ROVER).count();
    assert!((9..=12).contains(&count), "1 Hz for 10 s, found {count}");
}

#[test]
fn an_estop_on_the_ground_holds_then_disarms_below_walking_speed() {
    let mut rig = Rig::new();
    rig.pass(500);
    rig.press();
    assert_eq!(rig.sent[0].2, Order::Mode(4), "in the same step as the press");
    rig.pass(1000);
    assert_eq!(rig.orders(ROVER), [Order::Mode(4)], "still rolling");
    rig.state[ROVER].speed_mps = 0.05;
    rig.pass(500);
    assert_eq!(rig.orders(ROVER), [Order::Mode(4), Order::Disarm]);
}

#[test]
fn an_estop_whose_hold_is_ignored_disarms_a_rover_after_half_a_second() {
    let mut rig = Rig::new();
    rig.pass(500);
    rig.obeys = false;
    let begun = rig.now;
    rig.press();
    rig.pass(1000);
    let disarmed = rig.sent.iter().find(|(_, v, order)| *v == ROVER && *order == Order::Disarm).unwrap().0;
    assert!((500..700).contains(&disarmed.since(begun).as_millis()));
}

#[test]
fn an_estop_in_the_air_brakes_then_lands_and_disarms_only_on_the_ground() {
    let mut rig = Rig::new();
    rig.pass(500);
    rig.press();
    (rig.state[COPTER].speed_mps, rig.slows) = (4.0, false);
    rig.pass(3000);
    assert_eq!(rig.orders(COPTER), [Order::Mode(17)]);
    rig.pass(3500);
    assert_eq!(rig.orders(COPTER), [Order::Mode(17), Order::Mode(9)], "6 s at most");
    rig.pass(60_000);
    assert_eq!(rig.orders(COPTER), [Order::Mode(17), Order::Mode(9)], "never disarmed in the air");
    rig.landed = true;
    rig.pass(500);
    assert_eq!(rig.orders(COPTER), [Order::Mode(17), Order::Mode(9), Order::Disarm]);
}

#[test]
fn a_reset_needs_a_durable_release_and_starts_nothing() {
    let mut rig = Rig::new();
    rig.pass(500);
    rig.press();
    rig.give(Input::Reset { id: EventId(Uuid::now_v7()), by: "ann".into(), scope: Scope::Site });
    assert!(rig.pressed(), "not durable yet");
    rig.press();
    rig.give(Input::Released { press: 2, by: "ann".into() });
    assert!(rig.pressed(), "a newer press keeps the latch");
    rig.reset();
    assert!(!rig.pressed());
    let sent = rig.sent.len();
    rig.pass(1000);
    assert_eq!(rig.sent.len(), sent, "a reset permits motion and starts none");
}

#[test]
fn refusals_of_brake_never_become_a_disarm_in_the_air() {
    let mut rig = Rig::new();
    rig.obeys = false;
    rig.press();
    // BRAKE was sent several times before the first refusal arrives, as on a slow radio.
    rig.pass(900);
    for _ in 0..12 {
        rig.hear(COPTER, Heard::Ack { command: 176, result: 4, to: 245 });
        rig.pass(100);
    }
    assert_eq!(rig.orders(COPTER), [Order::Mode(17), Order::Mode(9)]);
    rig.pass(20_000);
    assert_eq!(rig.orders(COPTER), [Order::Mode(17), Order::Mode(9)], "LAND is repeated until it is on the ground");
    let last = rig.sent.iter().rev().find(|(_, vehicle, _)| *vehicle == COPTER).unwrap().0;
    assert!(rig.now.since(last) <= Duration::from_millis(220));
}

#[test]
fn an_old_acceptance_gives_no_reason_to_escalate() {
    let mut rig = Rig::new();
    rig.present = true;
    rig.pass(30_000);
    rig.state[ROVER].mode = 10;
    rig.pass(400);
    assert_eq!(rig.orders(ROVER), [Order::Mode(4)], "somebody set AUTO: HOLD again, not disarm");
    assert_eq!(rig.state[ROVER].mode, 4);
}

#[test]
fn a_vehicle_first_heard_late_is_told_the_first_action_first() {
    let mut rig = Rig::new();
    for state in &mut rig.state {
        *state = VehicleState { mode: state.mode, armed: true, speed_mps: 2.0, ..VehicleState::default() };
    }
    rig.machine = Machine::new(policy(), Latched::new(2, true), rig.now);
    for _ in 0..200 {
        rig.now = rig.now.plus(Duration::from_millis(20));
        rig.give(Input::Tick);
    }
    assert!(rig.sent.is_empty(), "there is no address yet");
    rig.pass(400);
    assert_eq!(rig.orders(ROVER), [Order::Mode(4)]);
}

#[test]
fn a_hold_asked_for_under_a_demand_sends_nothing_weaker() {
    let mut rig = Rig::new();
    (rig.obeys, rig.present) = (false, true);
    rig.pass(6000);
    let told = [Order::Mode(17), Order::GuidedStill(4), Order::Mode(9)];
    assert_eq!(rig.orders(COPTER), told);
    assert!(rig.ask(COPTER, Verb::Hold).is_empty(), "never denied");
    assert_eq!(rig.orders(COPTER), told, "no BRAKE over LAND");
}
