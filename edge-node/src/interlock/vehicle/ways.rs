//! A vehicle on ways that are permitted under rules that are tripped, and one that goes on by itself.

use std::time::Duration;

use shared::units::Uptime;

use super::Vehicle;
use crate::interlock::resume::Known;
use crate::interlock::rules::retreat::Retreat;
use crate::interlock::transaction::Outcome;
use crate::interlock::words::Demand;
use crate::vehicle::VehicleConfig;
use crate::vehicle::class::Meaning;

/// A way that was permitted shows its mode within this time.
const SHOWS: Duration = Duration::from_secs(5);

impl Vehicle {
    /// What is left of the demand of a rule that its retreat makes better.
    pub fn eased(&self, demand: Demand) -> Demand {
        if self.retreat.is_some() { demand.min(Demand::Limit) } else { demand }
    }

    /// Whether what it is told now only slows it.
    pub(super) fn only_slowed(&self, config: &VehicleConfig) -> bool {
        self.action.is_none_or(|action| action.slows(&self.sight(config)))
    }

    /// It is let go there, as this command says; what it was told before begins anew.
    pub fn let_go(&mut self, retreat: Retreat) {
        (self.retreat, self.action) = (Some(retreat), None);
    }

    /// Whether it may not hold at its fence.
    pub const fn runs(&self) -> bool {
        self.fence.may_run()
    }

    /// Whether its retreat is over for reasons of its own: another demand, nobody who answers, its pilot, another mode, or a
    /// command that was not taken.
    pub fn retreat_is_over(&self, retreat: &Retreat, config: &VehicleConfig, now: Uptime) -> bool {
        let told = self.told().filter(|told| told.id == retreat.id);
        let failed = told.and_then(|told| told.ended).is_some_and(|(outcome, _)| outcome.0 != Outcome::Done.as_str());
        let guided = self.state.mode == config.class.guided();
        let astray = if retreat.shown { !guided } else { now >= retreat.begun.plus(SHOWS) };
        let other = self.asked != Demand::None || self.estop.tripped() || self.steered() || !self.lease.live(now);
        failed || astray || other || !self.state.armed
    }

    /// In whose name it goes on now after keep-out stopped it. `around`: other keep-out rules are against it; a siren sounds.
    pub fn go_on(
        &mut self,
        config: &VehicleConfig,
        keep_out: Demand,
        around: (bool, bool),
        now: Uptime,
    ) -> Option<&str> {
        let (meaning, armed) = (config.class.meaning(self.state.mode), self.state.armed);
        let known = Known {
            keep_out,
            other: around.0 || self.demand(config) != Demand::None || self.steered() || self.commands.moves(),
            on_mission: armed && meaning == Meaning::Auto,
            held: armed && meaning == Meaning::Hold,
            mission: (self.state.plans.mission, self.state.plans.mission_sum),
            answered: self.lease.live(now),
            sounds: around.1,
        };
        if self.resume.judge(&known, now) { self.lease.holder(now).or(self.lease.patrol(now)) } else { None }
    }
}
