//! The interlock's decision: `step(state, input, now) -> effects`. Pure and total: no I/O, no clock, no panic.
//!
//! Two rules so far: `estop` (Stop, whole site) and `keep-out` (Hold while somebody is in a zone, or while the camera
//! that watches it is stale). Each hazard has its demand; per vehicle the strongest wins, so a hazard more can never
//! lower it. Clearing the e-stop needs a named person and a durable record; tripping needs neither.

use std::time::Duration;

use shared::ids::EventId;
use shared::units::Uptime;

use super::action::{Action, SILENT, Todo, Why};
use crate::vehicle::command::Order;
use crate::vehicle::link::Report;
use crate::vehicle::state::{Heard, VehicleState};
use crate::vehicle::{Class, VehicleConfig};

/// MAV_RESULT_ACCEPTED and MAV_RESULT_IN_PROGRESS.
const NOT_REFUSED: [u8; 2] = [0, 5];

/// What a vehicle must do now, weakest to strongest. Limit, Return and Land come with the rules that need them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Demand {
    /// Nothing.
    #[default]
    None,
    /// Stand still.
    Hold,
    /// Stand still, then disarm or land.
    Stop,
}

impl Demand {
    /// For events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Hold => "hold",
            Self::Stop => "stop",
        }
    }
}

/// One keep-out rule.
#[derive(Debug, Clone)]
pub struct KeepOut {
    /// Name of the zone.
    pub zone: String,
    /// Index of the zone in the configuration.
    pub zone_index: usize,
    /// Indices of the vehicles.
    pub vehicles: Vec<usize>,
    /// Clear when fresh frames have shown nobody for this time.
    pub clear_after: Duration,
    /// A frame older than this is no evidence.
    pub stale_after: Duration,
}

/// What the machine enforces.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Vehicles.
    pub vehicles: Vec<VehicleConfig>,
    /// Keep-out rules.
    pub keep_out: Vec<KeepOut>,
}

/// What a person may ask of a vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Stand still. Never denied.
    Hold,
    /// Go on with the mission.
    Resume,
}

/// What happens to the machine.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Time passed.
    Tick,
    /// Somebody or something pressed the e-stop.
    Press {
        /// Source.
        source: &'static str,
        /// Who, where known.
        by: String,
    },
    /// A named person wants to reset. Acts only once the release is durable ([`Input::Released`]).
    Reset {
        /// Who.
        by: String,
    },
    /// The latch file says released.
    Released {
        /// Number of the press that was released; a newer press keeps the latch.
        press: u64,
        /// Who reset.
        by: String,
    },
    /// A vehicle was heard.
    Vehicle(Report),
    /// A frame was looked at.
    Seen {
        /// Index of the zone.
        zone: usize,
        /// Whether somebody is in it.
        present: bool,
        /// When the frame was captured.
        captured: Uptime,
    },
    /// Somebody asks for a command.
    Request {
        /// Request id.
        id: EventId,
        /// Index of the vehicle.
        vehicle: usize,
        /// What.
        verb: Verb,
    },
}

/// What the driver must do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Write an order to a vehicle, now.
    Send(usize, Order),
    /// A rule tripped or cleared.
    Rule {
        /// Whether it tripped.
        tripped: bool,
        /// Rule.
        rule: &'static str,
        /// Index of the vehicle.
        vehicle: usize,
        /// Its demand.
        demand: Demand,
        /// Why.
        reason: String,
    },
    /// A demand or its order changed.
    Demanded {
        /// Index of the vehicle.
        vehicle: usize,
        /// Demand.
        demand: Demand,
        /// Order, if any.
        order: Option<Order>,
        /// Why.
        why: Why,
    },
    /// The latch must be written: pressed now, or released once durable.
    Latch {
        /// Whether pressed.
        pressed: bool,
        /// Number of the press.
        press: u64,
        /// Source.
        source: &'static str,
        /// Who.
        by: String,
    },
    /// The latch is released.
    LatchReleased {
        /// Who.
        by: String,
    },
    /// Answer to a request: no reasons mean permitted.
    Decided {
        /// Request id.
        id: EventId,
        /// Index of the vehicle.
        vehicle: usize,
        /// Every reason against it.
        reasons: Vec<String>,
    },
}

#[derive(Debug, Clone, Default)]
struct Vehicle {
    state: VehicleState,
    action: Option<Action>,
    estop: bool,
}

#[derive(Debug, Clone)]
struct ZoneRule {
    last_frame: Uptime,
    last_present: Option<Uptime>,
    /// The first frame after the camera was stale: frames must show the zone empty for the clear time from here.
    back_since: Option<Uptime>,
    tripped: Option<&'static str>,
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Machine {
    policy: Policy,
    pressed: bool,
    presses: u64,
    vehicles: Vec<Vehicle>,
    zones: Vec<ZoneRule>,
}

/// One rule on one vehicle, for the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleView {
    /// Rule.
    pub rule: &'static str,
    /// Index of the vehicle.
    pub vehicle: usize,
    /// Why it is tripped; absent while it is not.
    pub reason: Option<String>,
}

impl Machine {
    /// A machine at `now`. `pressed`: the latch says so, or is not readable. No frame counts as seen.
    pub fn new(policy: Policy, pressed: bool, now: Uptime) -> Self {
        let vehicles = vec![Vehicle::default(); policy.vehicles.len()];
        let zones = vec![
            ZoneRule { last_frame: now, last_present: None, back_since: None, tripped: None };
            policy.keep_out.len()
        ];
        Self { policy, pressed, presses: 1, vehicles, zones }
    }

    /// Whether the e-stop is latched.
    pub fn pressed(&self) -> bool {
        self.pressed
    }

    /// The strongest demand on a vehicle.
    pub fn demand(&self, vehicle: usize) -> Demand {
        let estop = if self.pressed { Demand::Stop } else { Demand::None };
        let zones = self.policy.keep_out.iter().zip(&self.zones);
        let held = zones.filter(|(rule, zone)| zone.tripped.is_some() && rule.vehicles.contains(&vehicle));
        held.map(|_| Demand::Hold).fold(estop, Demand::max)
    }

    /// Every rule on every vehicle it concerns.
    pub fn rules(&self) -> Vec<RuleView> {
        let estop = (0..self.vehicles.len()).map(|vehicle| RuleView {
            rule: "estop",
            vehicle,
            reason: self.pressed.then(|| ESTOP_REASON.to_owned()),
        });
        let keep_out = self.policy.keep_out.iter().zip(&self.zones).flat_map(|(rule, zone)| {
            rule.vehicles.iter().map(|vehicle| RuleView {
                rule: "keep-out",
                vehicle: *vehicle,
                reason: zone.tripped.map(|why| format!("{why} in zone {}", rule.zone)),
            })
        });
        estop.chain(keep_out).collect()
    }

    /// Takes an input; appends what must be done.
    pub fn step(&mut self, input: Input, now: Uptime, out: &mut Vec<Effect>) {
        match input {
            Input::Tick => {}
            Input::Press { source, by } => {
                self.pressed = true;
                self.presses += 1;
                out.push(Effect::Latch { pressed: true, press: self.presses, source, by });
            }
            Input::Reset { by } if self.pressed => {
                out.push(Effect::Latch { pressed: false, press: self.presses, source: "reset", by });
            }
            Input::Released { press, by } if self.pressed && press == self.presses => {
                self.pressed = false;
                out.push(Effect::LatchReleased { by });
            }
            Input::Reset { .. } | Input::Released { .. } => {}
            Input::Vehicle(report) => self.hear(report, now, out),
            Input::Seen { zone, present, captured } => self.see(zone, present, captured),
            Input::Request { id, vehicle, verb } => self.request(id, vehicle, verb, now, out),
        }
        self.judge_zones(now, out);
        self.judge_estop(out);
        self.act(now, out);
    }

    fn hear(&mut self, report: Report, now: Uptime, out: &mut Vec<Effect>) {
        let class = self.policy.vehicles.get(report.vehicle).map(|v| v.class);
        let (Some(class), Some(vehicle)) = (class, self.vehicles.get_mut(report.vehicle)) else { return };
        vehicle.state = report.state;
        if let (Heard::Ack { command, result }, Some(action)) = (report.heard, &mut vehicle.action)
            && !NOT_REFUSED.contains(&result)
        {
            let todo = action.refused(class, command, now);
            tell(report.vehicle, action.demand(), todo, out);
        }
    }

    fn see(&mut self, zone: usize, present: bool, captured: Uptime) {
        let watching = self.policy.keep_out.iter().zip(&mut self.zones).filter(|(rule, _)| rule.zone_index == zone);
        for (rule, state) in watching {
            if captured.since(state.last_frame) > rule.stale_after {
                state.back_since = Some(captured);
            }
            state.last_frame = state.last_frame.max(captured);
            if present {
                state.last_present = state.last_present.max(Some(captured));
            }
        }
    }

    fn judge_zones(&mut self, now: Uptime, out: &mut Vec<Effect>) {
        for (rule, zone) in self.policy.keep_out.iter().zip(&mut self.zones) {
            let stale = now.since(zone.last_frame) > rule.stale_after;
            // A hazard lasts until fresh frames have shown nobody for the clear time.
            let lasts = |since: Option<Uptime>| since.is_some_and(|at| zone.last_frame.since(at) < rule.clear_after);
            let hazard = match (lasts(zone.last_present), stale, lasts(zone.back_since)) {
                (true, _, _) => Some("person"),
                (false, true, _) => Some("camera stale: a person is assumed"),
                (false, false, true) => Some("camera was stale: not yet seen clear"),
                (false, false, false) => None,
            };
            if hazard.is_some() == zone.tripped.is_some() {
                // A person seen while blind is the same trip, with a better reason.
                zone.tripped = hazard.or(zone.tripped);
                continue;
            }
            zone.tripped = hazard;
            let (tripped, why) = (hazard.is_some(), hazard.unwrap_or("nobody"));
            for vehicle in &rule.vehicles {
                let reason = format!("{why} in zone {}", rule.zone);
                out.push(Effect::Rule { tripped, rule: "keep-out", vehicle: *vehicle, demand: Demand::Hold, reason });
            }
        }
    }

    fn judge_estop(&mut self, out: &mut Vec<Effect>) {
        for (index, vehicle) in self.vehicles.iter_mut().enumerate() {
            if vehicle.estop != self.pressed {
                vehicle.estop = self.pressed;
                let (tripped, reason) = (self.pressed, ESTOP_REASON.to_owned());
                out.push(Effect::Rule { tripped, rule: "estop", vehicle: index, demand: Demand::Stop, reason });
            }
        }
    }

    fn act(&mut self, now: Uptime, out: &mut Vec<Effect>) {
        for index in 0..self.vehicles.len() {
            let demand = self.demand(index);
            let class = self.policy.vehicles.get(index).map_or(Class::Rover, |v| v.class);
            let Some(vehicle) = self.vehicles.get_mut(index) else { continue };
            if vehicle.action.map_or(Demand::None, |action| action.demand()) != demand {
                vehicle.action = (demand != Demand::None).then(|| Action::new(demand, now));
                if demand == Demand::None {
                    out.push(Effect::Demanded { vehicle: index, demand, order: None, why: Why::Demanded });
                }
            }
            if let Some(action) = &mut vehicle.action {
                let todo = action.tick(class, &vehicle.state, now);
                tell(index, demand, todo, out);
            }
        }
    }

    fn request(&self, id: EventId, vehicle: usize, verb: Verb, now: Uptime, out: &mut Vec<Effect>) {
        let config = self.policy.vehicles.get(vehicle);
        let (Some(config), Some(state)) = (config, self.vehicles.get(vehicle)) else {
            out.push(Effect::Decided { id, vehicle, reasons: vec!["unknown vehicle".into()] });
            return;
        };
        let silent = state.state.heartbeat_at.is_none_or(|at| now.since(at) >= SILENT);
        let (order, reasons) = match verb {
            Verb::Hold => (Order::Mode(config.class.hold()), Vec::new()),
            Verb::Resume => {
                let tripped = self.rules().into_iter().filter(|rule| rule.vehicle == vehicle);
                let mut reasons: Vec<String> =
                    tripped.filter_map(|rule| rule.reason.map(|why| format!("{}: {why}", rule.rule))).collect();
                if silent {
                    reasons.push("link: no heartbeat".into());
                }
                (Order::Mode(config.class.auto()), reasons)
            }
        };
        if reasons.is_empty() {
            out.push(Effect::Send(vehicle, order));
        }
        out.push(Effect::Decided { id, vehicle, reasons });
    }
}

const ESTOP_REASON: &str = "e-stop is latched";

fn tell(vehicle: usize, demand: Demand, todo: Todo, out: &mut Vec<Effect>) {
    if let Some(order) = todo.send {
        out.push(Effect::Send(vehicle, order));
    }
    if let Some((order, why)) = todo.began {
        out.push(Effect::Demanded { vehicle, demand, order: Some(order), why });
    }
}
