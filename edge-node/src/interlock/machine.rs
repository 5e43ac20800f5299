//! The interlock's decision: `step(state, input, now) -> effects`. Pure and total: no I/O, no clock, no panic.
//!
//! Rules so far: `estop` (Stop, whole site), `keep-out` (Hold while somebody is in a zone, or while the camera that watches
//! it is stale), `link` (Hold while the vehicle is not heard), `foreign` (what the autopilot does by itself, so that nothing
//! of ours weakens it) and `pilot` (who steers by radio control is sent nothing but an e-stop). Each hazard has its demand;
//! it becomes the class's action, then per vehicle the strongest wins, so a hazard more can never lower it. Clearing the
//! e-stop needs a named person and a durable record; tripping needs neither.

use shared::ids::EventId;
use shared::units::Uptime;

use super::acks::Acks;
use super::action::{Action, Todo, Why};
use super::obey::Sight;
use super::rules::autonomy::{Autonomy, of_class};
use super::rules::link::{self, Beats};
use super::rules::trip::Trip;
pub use super::words::{Demand, Effect, Input, KeepOut, Policy, RuleView, Verb};
use crate::vehicle::Class;
use crate::vehicle::command::{ARM_DISARM, DO_LAND_START, DO_REPOSITION, DO_SET_MODE, Order};
use crate::vehicle::link::Report;
use crate::vehicle::state::{Heard, VehicleState};

/// MAV_RESULT_ACCEPTED.
const ACCEPTED: u8 = 0;
/// MAV_RESULT_IN_PROGRESS: another ack will follow.
const IN_PROGRESS: u8 = 5;
/// Commands that carry orders.
const ORDERS: [u16; 4] = [DO_SET_MODE, ARM_DISARM, DO_LAND_START, DO_REPOSITION];

#[derive(Debug, Clone, Default)]
struct Vehicle {
    state: VehicleState,
    action: Option<Action>,
    estop: bool,
    acks: Acks,
    beats: Beats,
    autonomy: Autonomy,
    link: Trip,
    foreign: Trip,
    pilot: Trip,
}

impl Vehicle {
    /// Its own rules, by name.
    const fn trips(&self) -> [(&'static str, &Trip); 3] {
        [("link", &self.link), ("foreign", &self.foreign), ("pilot", &self.pilot)]
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
        let class = self.policy.vehicles.get(vehicle).map_or(Class::Rover, |config| config.class);
        let own = self.vehicles.get(vehicle).map_or(Demand::None, |own| {
            own.trips()
                .into_iter()
                .filter_map(|(_, trip)| trip.hazard())
                .map(|(demand, _)| demand)
                .fold(Demand::None, Demand::max)
        });
        held.map(|_| Demand::Hold)
            .chain([own, estop])
            .map(|demand| of_class(class, demand))
            .fold(Demand::None, Demand::max)
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
        let own = self.vehicles.iter().enumerate().flat_map(|(vehicle, own)| {
            own.trips().map(|(rule, trip)| RuleView {
                rule,
                vehicle,
                reason: trip.hazard().map(|(_, why)| why.to_owned()),
            })
        });
        estop.chain(keep_out).chain(own).collect()
    }

    /// Takes an input; appends what must be done.
    pub fn step(&mut self, input: Input, now: Uptime, out: &mut Vec<Effect>) {
        // What time alone has tripped comes first: a request is judged on the present.
        self.judge_zones(now, out);
        self.judge_vehicles(now, out);
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
        self.judge_vehicles(now, out);
        self.judge_estop(out);
        self.act(now, out);
    }

    fn hear(&mut self, report: Report, now: Uptime, out: &mut Vec<Effect>) {
        let config = self.policy.vehicles.get(report.vehicle);
        let (Some(config), Some(vehicle)) = (config, self.vehicles.get_mut(report.vehicle)) else { return };
        let beat = report.state.heartbeat_at.filter(|at| Some(*at) != vehicle.state.heartbeat_at);
        vehicle.state = report.state;
        // Of what drives nobody is hurt when it is held.
        if config.class.flies() {
            vehicle.autonomy.channel(vehicle.state.channel(config.mode_channel()), now);
        }
        if let Some(at) = beat {
            vehicle.beats.came(at);
            let sight = Sight { class: config.class, stops: &config.brake, state: &vehicle.state };
            vehicle.autonomy.heartbeat(&sight, now);
        }
        let Heard::Ack { command, result, .. } = report.heard else { return };
        if !ORDERS.contains(&command) || result == IN_PROGRESS {
            return;
        }
        let ours = vehicle.acks.came();
        if let Some(mut action) = vehicle.action.filter(|_| ours) {
            let todo = action.answered(config.class, command, result == ACCEPTED, now);
            vehicle.action = Some(action);
            tell(report.vehicle, action.demand(), todo, (vehicle, now), out);
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

    fn judge_vehicles(&mut self, now: Uptime, out: &mut Vec<Effect>) {
        for (index, vehicle) in self.vehicles.iter_mut().enumerate() {
            let link = link::hazard(&vehicle.state, &vehicle.beats, vehicle.link.hazard(), now);
            let (foreign, pilot) = (vehicle.autonomy.foreign(), vehicle.autonomy.pilot());
            let Vehicle { link: own_link, foreign: own_foreign, pilot: own_pilot, .. } = vehicle;
            let judged = [
                ("link", own_link, link, "heard again"),
                ("foreign", own_foreign, foreign, "has ended"),
                ("pilot", own_pilot, pilot, "has ended"),
            ];
            for (rule, trip, found, cleared) in judged {
                if trip.judge(found) {
                    let (tripped, (demand, reason)) = (found.is_some(), found.unwrap_or((Demand::None, cleared)));
                    out.push(Effect::Rule { tripped, rule, vehicle: index, demand, reason: reason.to_owned() });
                }
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
            let steered = self.steered(index);
            let demand = if steered { Demand::None } else { self.demand(index) };
            let (Some(config), Some(vehicle)) = (self.policy.vehicles.get(index), self.vehicles.get_mut(index)) else {
                continue;
            };
            if vehicle.action.map_or(Demand::None, |action| action.demand()) != demand {
                vehicle.action = (demand != Demand::None).then(|| Action::new(demand, now));
                if demand == Demand::None {
                    out.push(Effect::Demanded { vehicle: index, demand, order: None, why: Why::Demanded });
                }
            }
            let waits =
                !self.pressed && vehicle.action.is_some_and(|action| action.begun()) && vehicle.autonomy.unsettled(now);
            if let Some(mut action) = vehicle.action.filter(|_| !waits) {
                let sight = Sight { class: config.class, stops: &config.brake, state: &vehicle.state };
                let todo = action.tick(&sight, now);
                vehicle.action = Some(action);
                tell(index, demand, todo, (vehicle, now), out);
            }
        }
    }

    /// Whether a pilot has the vehicle and nothing is sent to it: an e-stop still is.
    fn steered(&self, vehicle: usize) -> bool {
        !self.pressed && self.vehicles.get(vehicle).is_some_and(|own| own.pilot.tripped())
    }

    fn request(&mut self, id: EventId, vehicle: usize, verb: Verb, now: Uptime, out: &mut Vec<Effect>) {
        let (demand, steered, rules) = (self.demand(vehicle), self.steered(vehicle), self.rules());
        let (Some(config), Some(own)) = (self.policy.vehicles.get(vehicle), self.vehicles.get_mut(vehicle)) else {
            out.push(Effect::Decided { id, vehicle, reasons: vec!["unknown vehicle".into()] });
            return;
        };
        let (order, reasons): (Option<u32>, Vec<String>) = match verb {
            Verb::Clear if own.autonomy.is_clear() => (None, vec!["there is nothing to clear".into()]),
            Verb::Clear => {
                own.autonomy.clear();
                (None, Vec::new())
            }
            Verb::Hold if steered => (None, vec!["pilot: its pilot has it".into()]),
            // Under a demand the vehicle is already told something at least as strong, and must not be told less.
            Verb::Hold if demand != Demand::None => (None, Vec::new()),
            Verb::Hold => (Some(config.class.hold()), Vec::new()),
            Verb::Resume => {
                let tripped = rules.into_iter().filter(|rule| rule.vehicle == vehicle);
                let reasons = tripped.filter_map(|rule| rule.reason.map(|why| format!("{}: {why}", rule.rule)));
                (Some(config.class.auto()), reasons.collect())
            }
        };
        if let Some(mode) = order.filter(|_| reasons.is_empty()) {
            own.acks.sent(true, now);
            own.autonomy.ordered(mode, now);
            out.push(Effect::Send(vehicle, Order::Mode(mode)));
        }
        out.push(Effect::Decided { id, vehicle, reasons });
    }
}

const ESTOP_REASON: &str = "e-stop is latched";

fn tell(index: usize, demand: Demand, todo: Todo, (vehicle, now): (&mut Vehicle, Uptime), out: &mut Vec<Effect>) {
    if let Some(order) = todo.send {
        vehicle.acks.sent(todo.began.is_some(), now);
        if let Some(mode) = order.mode() {
            vehicle.autonomy.ordered(mode, now);
        }
        out.push(Effect::Send(index, order));
    }
    if let Some((order, why)) = todo.began {
        out.push(Effect::Demanded { vehicle: index, demand, order: Some(order), why });
    }
}
