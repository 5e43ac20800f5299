//! The interlock's decision: `step(state, input, now) -> effects`. Pure and total: no I/O, no clock, no panic.
//!
//! Each rule looks at what is known and finds a hazard or none (`rules`). Each hazard has its demand; it becomes the class's
//! action, then per vehicle the strongest wins, so a hazard more can never lower it. Clearing the e-stop needs a supervisor
//! and a durable record; tripping needs neither.

mod lines;
mod ways;

use serde::{Deserialize, Serialize};
use shared::ids::EventId;
use shared::units::Uptime;

use super::around::Around;
use super::commands::Told;
use super::obey::Sight;
use super::output::Line;
use super::permit::{Asking, decide};
use super::rules::autonomy::of_class;
use super::rules::estop::{Estop, Latched, Reset, Scope};
use super::rules::keep_out::{self, Near, Threat, Watch};
use super::rules::node::Loop;
use super::rules::retreat::Retreat;
use super::rules::separation::Track;
use super::rules::weather::Gauge;
use super::vehicle::Vehicle;
pub use super::words::{Demand, Effect, Input, KeepOut, Policy, Role, Rule, RuleView, Source, Verb};
use crate::vehicle::VehicleConfig;
use crate::vehicle::class::Class;

/// One zone's watch, and what it means for each of its vehicles.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Zone {
    watch: Watch,
    near: Vec<Near>,
    /// It demands something of one of them.
    held: bool,
}

/// The machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    #[serde(skip)]
    policy: Policy,
    estop: Estop,
    pass: Loop,
    vehicles: Vec<Vehicle>,
    zones: Vec<Zone>,
    /// Made anew with each input, in place.
    tracks: Vec<Option<Track>>,
    gauges: Vec<Gauge>,
    lines: Vec<Line>,
    /// A zone demands something of somebody.
    held: bool,
    /// The node ends: nothing is energised any more.
    ending: bool,
}

impl Machine {
    /// A machine. `latched`: as the latch has it. No frame was seen: every zone begins as stale.
    pub fn new(policy: Policy, latched: Latched, now: Uptime) -> Self {
        let mut vehicles: Vec<Vehicle> = (0..policy.vehicles.len()).map(Vehicle::new).collect();
        wait_for_a_command(&policy, &latched, &mut vehicles);
        let zone = |rule: &KeepOut| Zone {
            watch: Watch::unseen(),
            near: vec![Near::default(); rule.vehicles.len()],
            held: false,
        };
        let zones = policy.keep_out.iter().map(zone).collect();
        let estop = Estop::new(latched, policy.line, now);
        let tracks = vec![None; policy.vehicles.len()];
        let gauges = vec![Gauge::new(now); policy.weather.len()];
        let lines = vec![Line::new(now); policy.outputs.len()];
        Self { policy, estop, pass: Loop::new(now), vehicles, zones, tracks, gauges, lines, held: false, ending: false }
    }

    /// The same state under another policy, which a stored one must be given.
    ///
    /// # Errors
    /// When the policy is of another site: its vehicles or keep-out rules are not as many.
    pub fn under(mut self, policy: Policy) -> Result<Self, String> {
        let (vehicles, zones) = (policy.vehicles.len(), policy.keep_out.len());
        let same = policy.weather.len() == self.gauges.len()
            && policy.outputs.len() == self.lines.len()
            && policy.keep_out.iter().zip(&self.zones).all(|(rule, zone)| rule.vehicles.len() == zone.near.len());
        if !same {
            return Err(
                "expected as many weather rules, outputs, and vehicles of each keep-out rule, as recorded".into()
            );
        }
        if (vehicles, zones) != (self.vehicles.len(), self.zones.len()) {
            let (had, watched) = (self.vehicles.len(), self.zones.len());
            return Err(format!(
                "expected {had} vehicles and {watched} keep-out rules as recorded, found {vehicles} and {zones}"
            ));
        }
        self.policy = policy;
        Ok(self)
    }

    /// What the e-stop has latched.
    pub fn latched(&self) -> &Latched {
        self.estop.latched()
    }

    /// The strongest demand on a vehicle.
    pub fn demand(&self, vehicle: usize) -> Demand {
        let (Some(config), Some(own)) = (self.policy.vehicles.get(vehicle), self.vehicles.get(vehicle)) else {
            return Demand::None;
        };
        let keep_out = [true, false].map(|resumes| self.keep_out(vehicle, config.class, resumes));
        keep_out.into_iter().fold(own.demand(config), Demand::max)
    }

    /// What keep-out rules demand of a vehicle: those after which it goes on by itself, or the others.
    fn keep_out(&self, vehicle: usize, class: Class, resumes: bool) -> Demand {
        if !self.held {
            return Demand::None;
        }
        let zones =
            self.policy.keep_out.iter().zip(&self.zones).filter(|(rule, zone)| zone.held && rule.resumes == resumes);
        let near = zones.flat_map(|(rule, zone)| rule.vehicles.iter().zip(&zone.near));
        let near = near.filter(|(of, _)| **of == vehicle).filter_map(|(_, near)| near.hazard());
        let own = self.vehicles.get(vehicle);
        let eased = |demand| own.map_or(demand, |own| own.eased(demand));
        near.map(|(demand, _)| of_class(class, eased(demand))).fold(Demand::None, Demand::max)
    }

    /// Whether a vehicle is on a way that makes better what is tripped.
    pub fn retreats(&self, vehicle: usize) -> bool {
        self.vehicles.get(vehicle).is_some_and(|own| own.retreat.is_some())
    }

    /// Whether an output line is energised.
    pub fn energised(&self, output: usize) -> bool {
        self.lines.get(output).is_some_and(Line::energised)
    }

    /// Output lines: whether each is energised, and faulty.
    pub fn outputs(&self) -> Vec<(bool, bool)> {
        self.lines.iter().map(|line| (line.energised(), line.faulty())).collect()
    }

    /// Every rule on every vehicle it concerns.
    pub fn rules(&self) -> Vec<RuleView> {
        let keep_out = self.policy.keep_out.iter().zip(&self.zones).flat_map(|(rule, zone)| {
            rule.vehicles.iter().zip(&zone.near).map(|(vehicle, near)| RuleView {
                rule: Rule::KeepOut.as_str(),
                vehicle: *vehicle,
                reason: near.hazard().map(|(_, why)| format!("{why} in zone {}", rule.zone)),
                since: near.since(),
                clears: Rule::KeepOut.clears(),
            })
        });
        self.vehicles.iter().flat_map(Vehicle::rules).chain(keep_out).collect()
    }

    /// Who holds a live lease of a vehicle, and who has authorised its patrol.
    pub fn responsible(&self, vehicle: usize, now: Uptime) -> (Option<&str>, Option<&str>) {
        self.vehicles.get(vehicle).map_or((None, None), |own| (own.lease.holder(now), own.lease.patrol(now)))
    }

    /// The last command of a vehicle that was permitted.
    pub fn told(&self, vehicle: usize) -> Option<Told> {
        self.vehicles.get(vehicle).and_then(Vehicle::told)
    }

    /// Takes an input; appends what must be done.
    pub fn step(&mut self, input: Input, now: Uptime, out: &mut Vec<Effect>) {
        self.pass.pass(now);
        if self.estop.tick(now) {
            self.press(Source::Line, "not read".into(), Scope::Site, out);
        }
        // A request is judged on the present: what time alone has tripped comes first.
        let asks = matches!(input, Input::Request { .. });
        if asks {
            self.judge(now, out);
        }
        match input {
            Input::Tick => {}
            Input::Press { source, by, scope } => self.press(source, by, scope, out),
            Input::Line { pressed } => {
                if self.policy.line && self.estop.read(pressed, now) {
                    self.press(Source::Line, String::new(), Scope::Site, out);
                }
            }
            Input::Reset { id, by, scope } => self.reset(id, by, scope, now, out),
            Input::Confirm { id, by } => {
                let reset = match self.policy.role(&by) {
                    Some(_) => self.estop.confirm(&by, now),
                    None => Reset::Denied("authority: that is nobody of this site"),
                };
                self.answer(id, by, reset, out);
            }
            Input::Released { press, by } => {
                if let Some(scope) = self.estop.released(press) {
                    let pressed = match scope {
                        Scope::Vehicle(vehicle) => self.estop.latched().holds(vehicle),
                        Scope::Site | Scope::Zone(_) => self.estop.latched().any(),
                    };
                    out.push(Effect::LatchReleased { by, scope, pressed });
                }
            }
            Input::Reading { weather, value } => {
                if let (Some(rule), Some(gauge)) = (self.policy.weather.get(weather), self.gauges.get_mut(weather)) {
                    gauge.read(rule, value, now);
                }
            }
            Input::Node(ill) => self.pass.look(ill, now),
            Input::Pin { output, faulty } => self.hear_pin(output, faulty, now, out),
            Input::Ending => {
                self.ending = true;
                self.vehicles.iter_mut().for_each(Vehicle::hold);
            }
            Input::Vehicle(report) => {
                let config = self.policy.vehicles.get(report.vehicle);
                if let (Some(config), Some(vehicle)) = (config, self.vehicles.get_mut(report.vehicle)) {
                    vehicle.hear(report, config, now, out);
                }
                self.hear_relay(&report, now, out);
            }
            Input::Seen { zone, present, people, captured } => {
                self.watches(zone, |watch| watch.saw(present, people, captured));
            }
            Input::Blind { zone, blind } => self.watches(zone, |watch| watch.blind(blind, now)),
            Input::Request { id, vehicle, verb, by } => self.request(id, vehicle, (verb, by), now, out),
        }
        self.judge(now, out);
        self.look_at_retreats(now);
        self.go_on(now, out);
        for index in 0..self.vehicles.len() {
            let (demand, around) =
                (self.demand(index), around((&self.policy, &self.tracks), &self.gauges, &self.pass, now));
            if let (Some(config), Some(vehicle)) = (self.policy.vehicles.get(index), self.vehicles.get_mut(index)) {
                vehicle.act(config, demand, &around, now, out);
            }
        }
        self.energise(now, out);
    }

    /// Every keep-out rule of a zone.
    fn watches(&mut self, zone: usize, change: impl Fn(&mut Watch)) {
        let watching = self.policy.keep_out.iter().zip(&mut self.zones);
        watching.filter(|(rule, _)| rule.zone_index == zone).for_each(|(_, state)| change(&mut state.watch));
    }

    fn press(&mut self, source: Source, by: String, scope: Scope, out: &mut Vec<Effect>) {
        let zone = self.policy.keep_out.iter().filter(|rule| Scope::Zone(rule.zone_index) == scope);
        self.estop.press(scope, zone.flat_map(|rule| rule.vehicles.iter().copied()));
        wait_for_a_command(&self.policy, self.estop.latched(), &mut self.vehicles);
        let (latched, press) = (self.estop.latched().clone(), self.estop.presses());
        out.push(Effect::Latch { latched, pressed: true, scope, press, source, by });
    }

    fn reset(&mut self, id: EventId, by: String, scope: Scope, now: Uptime, out: &mut Vec<Effect>) {
        let reset = match self.policy.role(&by) {
            Some(Role::Supervisor) => self.estop.reset(by.clone(), scope, self.policy.two_person, now),
            _ => Reset::Denied("authority: only a supervisor resets the e-stop"),
        };
        self.answer(id, by, reset, out);
    }

    fn answer(&self, id: EventId, by: String, reset: Reset, out: &mut Vec<Effect>) {
        let reasons = match reset {
            Reset::Denied(reason) => vec![reason.to_owned()],
            Reset::Waits => Vec::new(),
            Reset::Write(latched, press) => {
                out.push(Effect::Latch {
                    latched,
                    pressed: false,
                    scope: Scope::Site,
                    press,
                    source: Source::Reset,
                    by,
                });
                Vec::new()
            }
        };
        out.push(Effect::Answered { id, reasons });
    }

    fn judge(&mut self, now: Uptime, out: &mut Vec<Effect>) {
        let off = self.policy.off.contains(&Rule::KeepOut);
        self.vehicles.iter_mut().for_each(|vehicle| vehicle.below = false);
        for (rule, zone) in self.policy.keep_out.iter().zip(&mut self.zones) {
            let threat = zone.watch.threat(rule, now).filter(|_| !off);
            let origin = self.policy.origin.as_ref();
            for (index, near) in rule.vehicles.iter().zip(&mut zone.near) {
                if threat.is_none() && near.hazard().is_none() {
                    continue;
                }
                let of = self.policy.vehicles.get(*index).zip(self.vehicles.get_mut(*index));
                let Some((config, vehicle)) = of else { continue };
                let sight = Sight::new(config, &vehicle.state);
                let near_below = |threat: &Threat| keep_out::below(rule, origin, threat, &sight, now);
                let below = threat.as_ref().is_some_and(near_below) && vehicle.waits_for_room(config, now);
                vehicle.below |= below;
                if near.judge(rule, origin, threat.as_ref(), &sight, now) {
                    let hazard = near.hazard();
                    let (demand, why) = hazard.unwrap_or((Demand::None, Rule::KeepOut.cleared()));
                    let reason = format!("{why} in zone {}", rule.zone);
                    let (tripped, rule) = (hazard.is_some(), Rule::KeepOut.as_str());
                    out.push(Effect::Rule { tripped, rule, vehicle: *index, demand, reason });
                }
            }
            zone.held = zone.near.iter().any(|near| near.hazard().is_some());
        }
        self.held = self.zones.iter().any(|zone| zone.held);
        if let (Some(origin), true) = (&self.policy.origin, self.policy.apart.is_some()) {
            let vehicles = self.policy.vehicles.iter().zip(&self.vehicles);
            for (track, (config, vehicle)) in self.tracks.iter_mut().zip(vehicles) {
                let known = Track::of(&vehicle.state, config, origin, now);
                *track = known.or(track.map(Track::lost));
            }
        }
        self.look_at_ways_home(now);
        let around = around((&self.policy, &self.tracks), &self.gauges, &self.pass, now);
        for (index, (config, vehicle)) in self.policy.vehicles.iter().zip(&mut self.vehicles).enumerate() {
            vehicle.judge(config, self.estop.latched().holds(index), &around, now, out);
        }
    }

    fn request(&mut self, id: EventId, index: usize, asked: (Verb, String), now: Uptime, out: &mut Vec<Effect>) {
        let (verb, by) = asked;
        let retreat = match &verb {
            Verb::GoTo(target) => self.retreat(index, target, now),
            _ => None,
        };
        // Only motion asks for them: a renewal twice a second need not ask for memory.
        let rules = match verb.moves() || verb == Verb::Ready {
            true => self.rules().into_iter().filter(|rule| rule.vehicle == index).collect(),
            false => Vec::new(),
        };
        let watched = self.policy.keep_out.iter().zip(&self.zones).filter(|(rule, _)| rule.vehicles.contains(&index));
        let stale: Vec<&str> = match verb.moves() || verb == Verb::Ready {
            true => watched.filter(|(_, zone)| zone.watch.is_stale()).map(|(rule, _)| rule.zone.as_str()).collect(),
            false => Vec::new(),
        };
        let config: Option<&VehicleConfig> = self.policy.vehicles.get(index);
        let (Some(config), Some(vehicle)) = (config, self.vehicles.get_mut(index)) else {
            let reasons = vec!["unknown vehicle".into()];
            out.push(Effect::Decided { id, vehicle: index, reasons, kept: true });
            return;
        };
        let asking =
            Asking { policy: &self.policy, index, config, rules: &rules, stale: &stale, by: &by, retreat, now };
        let decision = decide(verb, &asking, vehicle);
        if let Some(steps) = decision.steps {
            vehicle.begin(id, (verb.as_str(), steps), now, out);
            if let Some(to) = retreat {
                vehicle.let_go(Retreat::new(id, to, now));
            }
        }
        if let Some((change, lasts)) = decision.lease {
            out.push(Effect::Lease { vehicle: index, change, by, lasts });
        }
        let kept = !(verb == Verb::Ready || matches!(verb, Verb::Renew(_)) && decision.reasons.is_empty());
        out.push(Effect::Decided { id, vehicle: index, reasons: decision.reasons, kept });
    }
}

/// What drives and is stopped waits for a new command after the reset: disarmed in AUTO it would drive off when somebody arms
/// it.
fn wait_for_a_command(policy: &Policy, latched: &Latched, vehicles: &mut [Vehicle]) {
    for (index, (config, vehicle)) in policy.vehicles.iter().zip(vehicles).enumerate() {
        if latched.holds(index) && !config.class.flies() {
            vehicle.hold();
        }
    }
}

fn around<'a>(
    (policy, tracks): (&'a Policy, &'a [Option<Track>]),
    gauges: &'a [Gauge],
    pass: &Loop,
    now: Uptime,
) -> Around<'a> {
    Around { policy, tracks, gauges, node: pass.hazard(now), on_time: pass.on_time(now) }
}
