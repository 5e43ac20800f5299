//! The interlock's decision: `step(state, input, now) -> effects`. Pure and total: no I/O, no clock, no panic.
//!
//! Two rules so far: `estop` (Stop, whole site) and `keep-out` (Hold while somebody is in a zone, or while the camera
//! that watches it is stale). Each hazard has its demand; per vehicle the strongest wins, so a hazard more can never
//! lower it. Clearing the e-stop needs a named person and a durable record; tripping needs neither.

use std::time::Duration;

use shared::ids::EventId;
use shared::units::Uptime;

use super::action::{Action, SILENT, Todo, Why};
pub use super::words::{Demand, Effect, Input, KeepOut, Policy, RuleView, Verb};
use crate::vehicle::Class;
use crate::vehicle::command::{ARM_DISARM, DO_SET_MODE, Order};
use crate::vehicle::link::Report;
use crate::vehicle::state::{Heard, VehicleState};

/// MAV_RESULT_ACCEPTED.
const ACCEPTED: u8 = 0;
/// MAV_RESULT_IN_PROGRESS: another ack will follow.
const IN_PROGRESS: u8 = 5;
/// An ack that has not come after this time will not come.
const ACK_LIFE: Duration = Duration::from_secs(3);
/// Orders of that time at 5 Hz.
const ACKS_MAX: u32 = 15;
/// Commands that carry orders.
const ORDERS: [u16; 2] = [DO_SET_MODE, ARM_DISARM];

#[derive(Debug, Clone, Default)]
struct Vehicle {
    state: VehicleState,
    action: Option<Action>,
    estop: bool,
    acks: Acks,
}

/// Which acks answer the order in force: each order sent brings one, in order, and those of orders before it say
/// nothing about this one. A lost ack only makes a refusal go unheard; the timers then decide.
#[derive(Debug, Clone, Copy, Default)]
struct Acks {
    awaited: u32,
    of_older: u32,
    sent: Uptime,
}

impl Acks {
    fn sent(&mut self, new: bool, now: Uptime) {
        if now.since(self.sent) > ACK_LIFE {
            self.awaited = 0;
        }
        self.sent = now;
        if new {
            self.of_older = self.awaited;
        }
        self.awaited = (self.awaited + 1).min(ACKS_MAX);
    }

    /// Whether this ack answers the order in force.
    fn came(&mut self) -> bool {
        let older = self.of_older > 0;
        self.awaited = self.awaited.saturating_sub(1);
        self.of_older = self.of_older.saturating_sub(1);
        !older
    }
}

#[derive(Debug, Clone)]
struct ZoneRule {
    last_frame: Uptime,
    last_present: Option<Uptime>,
    stale: bool,
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

impl Machine {
    /// A machine. `pressed`: the latch says so, or is not readable. No frame was seen: every zone begins as stale.
    pub fn new(policy: Policy, pressed: bool) -> Self {
        let vehicles = vec![Vehicle::default(); policy.vehicles.len()];
        let zones =
            vec![
                ZoneRule { last_frame: Uptime(0), last_present: None, stale: true, back_since: None, tripped: None };
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
        // What time alone has tripped comes first: a request is judged on the present.
        self.judge_zones(now, out);
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
        let Heard::Ack { command, result, .. } = report.heard else { return };
        if !ORDERS.contains(&command) || result == IN_PROGRESS {
            return;
        }
        let ours = vehicle.acks.came();
        if let Some(action) = vehicle.action.as_mut().filter(|_| ours && result != ACCEPTED) {
            let todo = action.refused(class, command, now);
            tell(report.vehicle, action.demand(), todo, (&mut vehicle.acks, now), out);
        }
    }

    fn see(&mut self, zone: usize, present: bool, captured: Uptime) {
        let watching = self.policy.keep_out.iter().zip(&mut self.zones).filter(|(rule, _)| rule.zone_index == zone);
        for (_, state) in watching {
            state.last_frame = state.last_frame.max(captured);
            if present {
                state.last_present = state.last_present.max(Some(captured));
            }
        }
    }

    fn judge_zones(&mut self, now: Uptime, out: &mut Vec<Effect>) {
        for (rule, zone) in self.policy.keep_out.iter().zip(&mut self.zones) {
            let stale = now.since(zone.last_frame) > rule.stale_after;
            if zone.stale && !stale {
                zone.back_since = Some(zone.last_frame);
            }
            zone.stale = stale;
            // A hazard lasts until fresh frames have shown nobody for the clear time.
            let lasts = |since: Option<Uptime>| since.is_some_and(|at| zone.last_frame.since(at) <= rule.clear_after);
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
                tell(index, demand, todo, (&mut vehicle.acks, now), out);
            }
        }
    }

    fn request(&mut self, id: EventId, vehicle: usize, verb: Verb, now: Uptime, out: &mut Vec<Effect>) {
        let config = self.policy.vehicles.get(vehicle);
        let (Some(config), Some(state)) = (config, self.vehicles.get(vehicle)) else {
            out.push(Effect::Decided { id, vehicle, reasons: vec!["unknown vehicle".into()] });
            return;
        };
        let silent = state.state.heartbeat_at.is_none_or(|at| now.since(at) >= SILENT);
        let never_heard = state.state.packet_at.is_none();
        let (order, reasons) = match verb {
            // Under a demand the vehicle is already told something at least as strong, and must not be told less.
            Verb::Hold if self.demand(vehicle) != Demand::None => {
                out.push(Effect::Decided { id, vehicle, reasons: Vec::new() });
                return;
            }
            Verb::Hold if never_heard => (Order::Mode(0), vec!["link: never heard".into()]),
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
            if let Some(state) = self.vehicles.get_mut(vehicle) {
                state.acks.sent(true, now);
            }
            out.push(Effect::Send(vehicle, order));
        }
        out.push(Effect::Decided { id, vehicle, reasons });
    }
}

const ESTOP_REASON: &str = "e-stop is latched";

fn tell(vehicle: usize, demand: Demand, todo: Todo, (acks, now): (&mut Acks, Uptime), out: &mut Vec<Effect>) {
    if let Some(order) = todo.send {
        acks.sent(todo.began.is_some(), now);
        out.push(Effect::Send(vehicle, order));
    }
    if let Some((order, why)) = todo.began {
        out.push(Effect::Demanded { vehicle, demand, order: Some(order), why });
    }
}
