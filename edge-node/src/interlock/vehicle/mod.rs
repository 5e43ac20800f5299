//! One vehicle as the interlock has it: what it said, which of its rules are tripped, what it is being told. Pure.

mod ways;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::ids::EventId;
use shared::units::Uptime;

use super::acks::{AckBook, Acks};
use super::action::{Action, Todo, Why};
use super::around::Around;
use super::commands::{Commands, Told, wire};
use super::obey::Sight;
use super::resume::Resume;
use super::rules::autonomy::{Autonomy, of_class};
use super::rules::fence::Outs;
use super::rules::lease::{self, Lease};
use super::rules::link::{self, Beats};
use super::rules::retreat::Retreat;
use super::rules::separation;
use super::rules::trip::Trip;
use super::rules::{Hazard, energy, fence, position, worse};
use super::transaction::Steps;
use super::words::{Demand, Effect, Rule, RuleView};
use crate::vehicle::VehicleConfig;
use crate::vehicle::message::{ACCEPTED, IN_PROGRESS};
use crate::vehicle::state::{Heard, Report, VehicleState};

/// The supervisor's heartbeat is sent this often: ArduPilot waits two seconds (FS_GCS_TIMEOUT).
const BEAT: Duration = Duration::from_millis(500);
/// A vehicle's own rules, in the order in which they are shown.
const OWN: [Rule; 11] = [
    Rule::Link,
    Rule::Foreign,
    Rule::Pilot,
    Rule::Lease,
    Rule::Asked,
    Rule::Fence,
    Rule::Separation,
    Rule::Energy,
    Rule::Position,
    Rule::Weather,
    Rule::Node,
];
/// Why everything stands.
const PRESSED: Hazard = Some((Demand::Stop, "e-stop is latched"));

/// One vehicle.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Vehicle {
    index: usize,
    /// What it said.
    pub state: VehicleState,
    /// Who answers for it.
    pub lease: Lease,
    /// What it does by itself.
    pub autonomy: Autonomy,
    action: Option<Action>,
    commands: Commands,
    /// It may move without a brake test until then.
    trial: Option<(EventId, Uptime)>,
    acks: AckBook,
    beats: Beats,
    fence: fence::Watch,
    position: position::Watch,
    energy: energy::Watch,
    asked: Demand,
    /// Somebody may be where it would land, and it can wait.
    pub below: bool,
    /// Whether it goes on by itself.
    pub resume: Resume,
    /// It is on a way that makes better what is tripped.
    pub retreat: Option<Retreat>,
    /// The straight way home is inside its fence, and nobody is on it.
    pub home_clear: bool,
    beaten: Option<Uptime>,
    /// Of the lease and of the patrol.
    lapse_told: [bool; 2],
    estop: Trip,
    own: [Trip; OWN.len()],
}

impl Vehicle {
    /// Nothing was heard of it.
    pub fn new(index: usize) -> Self {
        Self {
            index,
            state: VehicleState::default(),
            lease: Lease::default(),
            autonomy: Autonomy::default(),
            action: None,
            commands: Commands::default(),
            trial: None,
            acks: AckBook::default(),
            beats: Beats::default(),
            fence: fence::Watch::default(),
            position: position::Watch::default(),
            energy: energy::Watch::default(),
            asked: Demand::None,
            below: false,
            resume: Resume::No,
            retreat: None,
            home_clear: false,
            beaten: None,
            lapse_told: [false; 2],
            estop: Trip::default(),
            own: [Trip::default(); OWN.len()],
        }
    }

    /// As its action and its rules see it.
    pub fn sight<'a>(&'a self, config: &'a VehicleConfig) -> Sight<'a> {
        Sight { below: self.below, ..Sight::new(config, &self.state) }
    }

    fn hazards(&self) -> impl Iterator<Item = (&'static str, &Trip)> {
        let own = OWN.iter().zip(&self.own).map(|(rule, trip)| (rule.as_str(), trip));
        std::iter::once(("estop", &self.estop)).chain(own)
    }

    /// Its strongest demand by its own rules and the e-stop.
    pub fn demand(&self, config: &VehicleConfig) -> Demand {
        let hazards = self.hazards().filter_map(|(rule, trip)| {
            let (demand, _) = trip.hazard()?;
            // On its way back into its fence it goes slowly.
            Some(if rule == Rule::Fence.as_str() { self.eased(demand) } else { demand })
        });
        hazards.map(|demand| of_class(config.class, demand)).fold(Demand::None, Demand::max)
    }

    /// Whether a rule of its own is tripped.
    pub fn trips(&self, rule: Rule) -> bool {
        self.trip(rule).is_some()
    }

    /// Its own rules and the e-stop.
    pub fn rules(&self) -> impl Iterator<Item = RuleView> {
        let clears = std::iter::once(ESTOP_CLEARS).chain(OWN.iter().map(|rule| rule.clears()));
        self.hazards().zip(clears).map(|((rule, trip), clears)| RuleView {
            rule,
            vehicle: self.index,
            reason: trip.hazard().map(|(_, why)| why.to_owned()),
            since: trip.since(),
            clears,
        })
    }

    fn trip(&self, rule: Rule) -> Hazard {
        OWN.iter().zip(&self.own).find(|(own, _)| **own == rule).and_then(|(_, trip)| trip.hazard())
    }

    /// Whether a pilot has it and nothing is sent to it: an e-stop still is.
    pub fn steered(&self) -> bool {
        !self.estop.tripped() && self.trip(Rule::Pilot).is_some()
    }

    /// What an operator has asked for.
    pub const fn asked(&self) -> Demand {
        self.asked
    }

    /// Whether it lands only where nobody is: it flies, has charge left, and does not land by its autopilot's own decision,
    /// which nothing of ours weakens.
    pub fn waits_for_room(&self, config: &VehicleConfig, now: Uptime) -> bool {
        let lands = |hazard: Hazard| hazard.is_some_and(|(demand, _)| demand == Demand::Land);
        let empty = self.state.battery_pct.is_some_and(|charge| charge < config.battery.land_pct);
        let down = self.sight(config).on_ground(now);
        !(down || empty || lands(self.trip(Rule::Energy)) || lands(self.autonomy.foreign()))
    }

    /// An operator asks for a demand, or for none any more.
    pub fn ask(&mut self, demand: Demand) {
        self.asked = demand;
    }

    /// It stands until it is sent on; what is stronger stays.
    pub fn hold(&mut self) {
        self.asked = self.asked.max(Demand::Hold);
    }

    /// Whether somebody tries how it stops: whoever holds its lease.
    pub fn on_trial(&self, now: Uptime) -> bool {
        self.trial.is_some_and(|(lease, until)| now < until && self.lease.held(now) == Some(lease))
    }

    /// Lets it be tried until then, under the lease that is live now and no other.
    pub fn try_until(&mut self, until: Uptime, now: Uptime) {
        self.trial = self.lease.held(now).map(|lease| (lease, until));
    }

    /// A command that somebody asked for and that is permitted, in the place of any before it.
    pub fn begin(&mut self, id: EventId, command: (&'static str, Steps), now: Uptime, out: &mut Vec<Effect>) {
        let aside = command.1.iter().flatten().all(|order| order.is_aside());
        self.retreat = self.retreat.filter(|_| aside);
        self.commands.begin(id, command, now, &mut wire(self.index, &mut self.acks, &mut self.autonomy, out));
    }

    /// Whether a command comes too soon after another.
    pub fn too_soon(&self, steps: &Steps, now: Uptime) -> bool {
        self.commands.too_soon(steps, now)
    }

    /// The last command.
    pub const fn told(&self) -> Option<Told> {
        self.commands.told()
    }

    /// Commands go on, or are given up: nothing moves it that a rule, its pilot or the end of a lease is against.
    fn carry_on(&mut self, config: &VehicleConfig, demand: Demand, now: Uptime, out: &mut Vec<Effect>) {
        let against = match demand {
            _ if self.steered() => Some("its pilot has it"),
            Demand::None if self.lease.live(now) => None,
            // On a way that makes things better, while nothing but its speed is told.
            Demand::Limit if self.retreat.is_some() && self.lease.live(now) && self.only_slowed(config) => None,
            Demand::None => Some("nobody answers for it any more"),
            _ => Some("the interlock demands otherwise"),
        };
        let sight = Sight::new(config, &self.state);
        let mut wire = wire(self.index, &mut self.acks, &mut self.autonomy, out);
        self.commands.tick(&sight, against, now, &mut wire);
        if self.commands.arming_failed() && !config.class.flies() {
            // What waited for a command waits on: somebody else may arm it in the mode that it is in.
            self.hold();
        }
    }

    /// It was heard.
    pub fn hear(&mut self, report: Report, config: &VehicleConfig, now: Uptime, out: &mut Vec<Effect>) {
        let beat = report.state.heartbeat_at.filter(|at| Some(*at) != self.state.heartbeat_at);
        self.state = report.state;
        // Of what drives nobody is hurt when it is held.
        if config.class.flies() {
            self.autonomy.channel(self.state.channel(config.mode_channel()), now);
        }
        if let Some(at) = beat {
            self.beats.came(at);
            let sight = Sight::new(config, &self.state);
            self.autonomy.heartbeat(&sight, now);
            if !self.state.armed && sight.on_ground(now) && self.asked != Demand::Hold {
                // It came home, or down.
                self.asked = Demand::None;
            }
        }
        let Heard::Ack { command, result, .. } = report.heard else { return };
        let acks = self.acks.of(command).filter(|_| result != IN_PROGRESS);
        let counts = acks.is_some();
        let ours = acks.is_none_or(Acks::came);
        let mut wire = wire(self.index, &mut self.acks, &mut self.autonomy, out);
        self.commands.answered((command, result), ours, now, &mut wire);
        if !counts {
            return;
        }
        if let Some(mut action) = self.action.filter(|_| ours) {
            let todo = action.answered(&self.sight(config), command, result == ACCEPTED, now);
            self.action = Some(action);
            self.tell(action.demand(), todo, now, out);
        }
    }

    fn find(&mut self, rule: Rule, config: &VehicleConfig, around: &Around, now: Uptime) -> Hazard {
        let tripped = self.trip(rule);
        let outs = Outs {
            home_clear: self.home_clear,
            below: self.below,
            let_be: self.retreat.is_some() || self.steered(),
            held: self.action.is_some_and(|action| action.demand() == Demand::Hold && action.begun()),
        };
        let sight = Sight::new(config, &self.state);
        match rule {
            Rule::Link => link::hazard(&self.state, &self.beats, tripped, now),
            Rule::Foreign => self.autonomy.foreign(),
            Rule::Pilot => self.autonomy.pilot(),
            Rule::Lease => lease::hazard(&self.lease, &sight, tripped, now),
            // Nothing lands on anybody.
            Rule::Asked if self.asked == Demand::Land && self.below => {
                Some((Demand::Hold, "somebody is where it would land, or nobody can see: it waits"))
            }
            Rule::Asked => (self.asked != Demand::None).then_some((self.asked, "an operator asked for it")),
            Rule::Fence => around.policy.origin.as_ref().and_then(|origin| {
                self.fence.hazard((self.index, &around.policy.fences, origin), outs, &sight, tripped, now)
            }),
            Rule::Separation => {
                around.policy.apart.and_then(|apart| separation::hazard(apart, around.tracks, self.index, tripped))
            }
            Rule::Energy => self.energy.hazard(&config.battery, &sight, tripped, now),
            Rule::Position => self.position.hazard(&sight, tripped, now),
            Rule::Node => around.node,
            Rule::Weather if config.class.flies() => {
                let flies = self.state.armed && !sight.on_ground(now);
                let rules = around.policy.weather.iter().zip(around.gauges);
                let own = rules.filter(|(rule, _)| rule.vehicles.contains(&self.index));
                own.fold(None, |found, (rule, gauge)| worse(gauge.hazard(rule, flies, now), found))
            }
            Rule::Weather => None,
            Rule::KeepOut | Rule::Audit => None,
        }
    }

    /// Looks at each of its rules.
    pub fn judge(
        &mut self,
        config: &VehicleConfig,
        pressed: bool,
        around: &Around,
        now: Uptime,
        out: &mut Vec<Effect>,
    ) {
        if self.autonomy.pilot().is_some() {
            // What was asked of us is the pilot's affair now.
            self.asked = Demand::None;
        }
        let found = OWN.map(|rule| {
            let found = self.find(rule, config, around, now);
            // What a person asks for cannot be switched off.
            found.filter(|_| rule == Rule::Asked || !around.policy.off.contains(&rule))
        });
        let own = OWN.iter().zip(&mut self.own).zip(found);
        let own = own.map(|((rule, trip), found)| (rule.as_str(), rule.cleared(), trip, found));
        let estop = ("estop", "was reset", &mut self.estop, PRESSED.filter(|_| pressed));
        for (rule, cleared, trip, found) in std::iter::once(estop).chain(own) {
            if trip.judge(found, now) {
                let (tripped, (demand, reason)) = (found.is_some(), found.unwrap_or((Demand::None, cleared)));
                out.push(Effect::Rule { tripped, rule, vehicle: self.index, demand, reason: reason.to_owned() });
            }
        }
    }

    /// Carries out the strongest demand.
    pub fn act(&mut self, config: &VehicleConfig, demand: Demand, around: &Around, now: Uptime, out: &mut Vec<Effect>) {
        let demand = if self.steered() { Demand::None } else { demand };
        if self.action.map_or(Demand::None, |action| action.demand()) != demand {
            self.action = (demand != Demand::None).then(|| Action::new(demand, now));
            if demand == Demand::None {
                out.push(Effect::Demanded { vehicle: self.index, demand, order: None, why: Why::Demanded });
            }
        }
        let begun = self.action.is_some_and(|action| action.begun());
        let waits = !self.estop.tripped() && begun && self.autonomy.unsettled(now);
        if let Some(mut action) = self.action.filter(|_| !waits) {
            let todo = action.tick(&self.sight(config), now);
            self.action = Some(action);
            self.tell(demand, todo, now, out);
        }
        self.carry_on(config, demand, now, out);
        self.note_lapse(now, out);
        let due = self.beaten.is_none_or(|at| now.since(at) >= BEAT);
        if due && around.on_time && self.state.packet_at.is_some() && self.lease.live(now) {
            self.beaten = Some(now);
            out.push(Effect::Beat(self.index));
        }
    }

    /// Nobody says that a lease has lapsed, or that a patrol's time is over: time does.
    fn note_lapse(&mut self, now: Uptime, out: &mut Vec<Effect>) {
        for (lapsed, told) in self.lease.lapsed(now).into_iter().zip(&mut self.lapse_told) {
            if let Some(by) = lapsed.filter(|_| !*told) {
                out.push(Effect::Lease { vehicle: self.index, change: "lapsed", by: by.to_owned(), lasts: None });
            }
            *told = lapsed.is_some();
        }
    }

    fn tell(&mut self, demand: Demand, todo: Todo, now: Uptime, out: &mut Vec<Effect>) {
        if let Some(order) = todo.send {
            wire(self.index, &mut self.acks, &mut self.autonomy, out).send(order, todo.began.is_some(), now);
        }
        if let Some((order, why)) = todo.began {
            out.push(Effect::Demanded { vehicle: self.index, demand, order: Some(order), why });
        }
    }
}

const ESTOP_CLEARS: &str = "a reset by a supervisor, once it is on disk";
