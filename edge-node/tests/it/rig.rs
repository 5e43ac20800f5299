//! The interlock under test: a machine, two vehicles, simulated time.

use std::collections::BTreeMap;
use std::time::Duration;

use edge_node::ground::people::People;
use edge_node::interlock::machine::{Demand, Effect, Input, KeepOut, Machine, Policy, Source, Verb};
use edge_node::interlock::rules::estop::{Latched, Scope};
use edge_node::interlock::rules::node::Ill;
use edge_node::vehicle::audit::Audit;
use edge_node::vehicle::codec::Packet;
use edge_node::vehicle::command::Order;
use edge_node::vehicle::plan::{Plans, Verdict};
use edge_node::vehicle::state::Report;
use edge_node::vehicle::state::{Estimate, Heard, VehicleState};
use edge_node::vehicle::stop::StopTable;
use edge_node::vehicle::{Class, Limits, Needs, VehicleConfig};
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
        links: vec!["radio".parse().unwrap()],
        brake: brake(),
        battery: Needs::default(),
        mode_channel: None,
        limits: Limits::default(),
        outputs: BTreeMap::new(),
    };
    Policy {
        vehicles: vec![vehicle("rover", Class::Rover, 1), vehicle("copter", Class::Copter, 2)],
        keep_out: vec![KeepOut {
            zone: "yard".into(),
            zone_index: 0,
            vehicles: vec![ROVER, COPTER],
            clear_after: Duration::from_secs(2),
            stale_after: Duration::from_secs(1),
            resumes: false,
            ground: None,
        }],
        supervisor_sysid: 255,
        ..Policy::default()
    }
}

/// PARAM_VALUE, as a vehicle sends it.
pub fn told(name: &str, value: f32) -> Packet {
    let mut payload = vec![0; 25];
    payload[..4].copy_from_slice(&value.to_le_bytes());
    payload[8..8 + name.len()].copy_from_slice(name.as_bytes());
    Packet { sysid: 1, compid: 1, id: 22, payload, ..Packet::default() }
}

/// Failsafes as INTERLOCKS wants them.
pub fn set_up(class: Class) -> Audit {
    let mut audit = Audit::default();
    let values = [("MAV_GCS_SYSID", 255.0), ("FS_GCS_ENABLE", 5.0), ("FS_GCS_TIMEOUT", 2.0), ("FS_OPTIONS", 0.0)];
    let more = [("FS_ACTION", 2.0), ("FS_TIMEOUT", 1.0), ("FENCE_ENABLE", 1.0)];
    values.iter().chain(&more).for_each(|(name, value)| audit.hear(class, &told(name, *value)));
    audit
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
    pub people: People,
    /// Whether somebody looks how the node is.
    pub looked: bool,
    pub landed: bool,
    /// Whether it knows where it is.
    pub fixed: bool,
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
        let driving = |mode, class| VehicleState {
            mode,
            audit: set_up(class),
            plans: Plans { fence: Verdict::Good, mission: Verdict::Good, mission_sum: 0 },
            armed: true,
            speed_mps: 2.0,
            battery_pct: Some(80),
            ..VehicleState::default()
        };
        Self {
            machine: Machine::new(policy, Latched::new(2, false), now),
            now,
            state: [driving(10, Class::Rover), driving(3, Class::Copter)],
            sent: Vec::new(),
            effects: Vec::new(),
            obeys: true,
            watched: true,
            present: false,
            people: People::default(),
            looked: true,
            landed: false,
            fixed: true,
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
            if let Effect::Send(vehicle, order) | Effect::Pulse(vehicle, order, _) = effect {
                self.sent.push((self.now, *vehicle, *order));
                if self.obeys {
                    match order {
                        Order::Disarm => self.state[*vehicle].armed = false,
                        Order::Arm => self.state[*vehicle].armed = true,
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
        self.state[vehicle].battery_at = Some(self.now);
        if self.fixed {
            self.state[vehicle].fixed_at = Some(self.now);
            self.state[vehicle].estimate = Some(Estimate { absolute: true, glitch: false, at: self.now });
        }
        self.state[vehicle].packet_at = Some(self.now);
        self.give(Input::Vehicle(Report { vehicle, state: self.state[vehicle], heard }));
    }

    /// Lets `ms` pass: heartbeats at 5 Hz, frames at 10 fps while watched.
    pub fn pass(&mut self, ms: u64) {
        for n in 0..ms / 20 {
            self.now = self.now.plus(Duration::from_millis(20));
            for (state, hold) in self.state.iter_mut().zip([4, 17]).filter(|_| self.slows) {
                // As INTERLOCKS' measured rover.
                let braked = if state.mode == hold || !state.armed { 1.25 * 0.02 } else { 0.0 };
                let slower = (state.speed_mps - braked).max(0.0);
                let part = if state.speed_mps > 0.0 { slower / state.speed_mps } else { 1.0 };
                state.velocity_mps = (state.velocity_mps.0 * part, state.velocity_mps.1 * part);
                state.speed_mps = slower;
            }
            if n % 10 == 0 {
                self.hear(ROVER, Heard::Heartbeat);
                self.hear(COPTER, Heard::Heartbeat);
            }
            if n % 5 == 0 && self.watched {
                self.give(Input::Seen { zone: 0, present: self.present, people: self.people, captured: self.now });
            }
            if n % 50 == 0 && self.looked {
                self.give(Input::Node(Ill::default()));
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
        self.give(Input::Press { source: Source::Console, by: String::new(), scope: Scope::Site });
    }

    pub fn pressed(&self) -> bool {
        self.machine.latched().any()
    }

    /// Whether a rule is tripped on a vehicle.
    pub fn tripped(&self, vehicle: usize, rule: &str) -> bool {
        self.machine.rules().iter().any(|view| view.rule == rule && view.vehicle == vehicle && view.reason.is_some())
    }

    pub fn reset(&mut self) {
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
