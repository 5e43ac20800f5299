//! Ways that the machine permits under rules that are tripped: away from people, back into a fence, home.

use shared::units::Uptime;

use super::Machine;
use crate::ground::Point;
use crate::interlock::obey::{Sight, over_limit};
use crate::interlock::rules::envelope::MARGIN_M;
use crate::interlock::rules::keep_out::{self, LANDING_M};
use crate::interlock::rules::retreat::{Going, from_people, into_fence, is_on};
use crate::interlock::words::Rule;
use crate::vehicle::command::Target;

/// It has arrived this near, metres.
const ARRIVED_M: f64 = 1.5;
/// Upwards by more than this is no noise, m/s.
const CLIMBING_MPS: f32 = 0.3;

impl Machine {
    /// Where a vehicle is and how it goes, if that is known now.
    fn going(&self, index: usize, now: Uptime) -> Option<Going> {
        let (config, vehicle) = (self.policy.vehicles.get(index)?, self.vehicles.get(index)?);
        let sight = Sight::new(config, &vehicle.state);
        let at = keep_out::place(&sight, self.policy.origin.as_ref()?, now)?;
        let (north, east) = vehicle.state.velocity_mps;
        Some(Going { at, velocity: Point { east: f64::from(east), north: f64::from(north) } })
    }

    /// Whether going straight there makes better what is tripped, and nothing worse; `None`: nothing of that is tripped. Only
    /// what stands or goes slowly may: what runs is held first.
    fn is_better(&mut self, index: usize, to: Point, now: Uptime) -> Option<bool> {
        let going = self.going(index, now);
        let config = self.policy.vehicles.get(index)?;
        let out = self.vehicles.get(index)?.trips(Rule::Fence);
        let slow = going.is_some_and(|going| going.speed() <= f64::from(over_limit(config.slow_cmps())));
        let (mut near, mut away) = (false, true);
        for (rule, zone) in self.policy.keep_out.iter().zip(&mut self.zones) {
            let own = rule.vehicles.iter().zip(&zone.near).any(|(of, near)| *of == index && near.hazard().is_some());
            if own {
                near = true;
                let known = zone.watch.threat(rule, now).zip(rule.ground.as_ref()).zip(going.as_ref());
                away &= known.is_some_and(|((threat, ground), going)| from_people(&threat, ground, going, to, now));
            }
        }
        let inwards = !out || going.is_some_and(|going| self.leads_in(index, &going, to));
        (out || near).then_some(slow && away && inwards)
    }

    /// Whether a straight way leads back into the fence; what is over its ceiling does not climb.
    fn leads_in(&self, index: usize, going: &Going, to: Point) -> bool {
        let own = self.policy.fences.iter().filter(|fence| fence.vehicles.contains(&index));
        let state = self.vehicles.get(index).map(|vehicle| vehicle.state).unwrap_or_default();
        let high = own.clone().filter_map(|fence| fence.ceiling_m).any(|ceiling| state.relative_alt_m > ceiling - 1.0);
        let climbs = high && state.climb_mps > CLIMBING_MPS;
        !climbs && into_fence(own, going, to, MARGIN_M)
    }

    /// Where a go-to under rules that are tripped may lead, since it only makes things better.
    pub(super) fn retreat(&mut self, index: usize, target: &Target, now: Uptime) -> Option<Point> {
        let origin = self.policy.origin?;
        let to = origin.point(f64::from(target.lat_e7) / 1e7, f64::from(target.lon_e7) / 1e7);
        self.is_better(index, to, now).filter(|better| *better).map(|_| to)
    }

    /// Retreats that are over: it has arrived or does not get on, nothing is tripped any more, or they would no longer make
    /// things better.
    pub(super) fn look_at_retreats(&mut self, now: Uptime) {
        for index in 0..self.vehicles.len() {
            let Some(mut retreat) = self.vehicles.get(index).and_then(|vehicle| vehicle.retreat) else { continue };
            let better = self.is_better(index, retreat.to, now) == Some(true);
            let away_m = self.going(index, now).map(|going| going.at.distance(retreat.to));
            let on = away_m.is_some_and(|away_m| away_m >= ARRIVED_M && retreat.gets_on(away_m, now));
            let of = self.policy.vehicles.get(index).zip(self.vehicles.get_mut(index));
            let Some((config, vehicle)) = of else { continue };
            retreat.shown |= vehicle.state.mode == config.class.guided();
            let over = !better || !on || vehicle.retreat_is_over(&retreat, config, now);
            vehicle.retreat = if over { None } else { Some(retreat) };
        }
    }

    /// Whether a vehicle that does not hold at its fence could go straight home: inside the fence, and nobody is on the way.
    pub(super) fn look_at_ways_home(&mut self, now: Uptime) {
        for index in 0..self.vehicles.len() {
            let Some(vehicle) = self.vehicles.get(index).filter(|vehicle| vehicle.runs()) else { continue };
            let way = self.going(index, now).zip(vehicle.state.home_deg).zip(self.policy.origin);
            let clear = way.is_some_and(|((going, (lat, lon)), origin)| {
                let home = origin.point(lat, lon);
                let own = self.policy.fences.iter().filter(|fence| fence.vehicles.contains(&index));
                // However it drifts now, RTL stops it first.
                let stopped = Going { velocity: Point::default(), ..going };
                let mut watched = self.policy.keep_out.iter().zip(&mut self.zones);
                into_fence(own, &stopped, home, 0.0)
                    && !watched.any(|(rule, zone)| match (zone.watch.threat(rule, now), &rule.ground) {
                        (Some(threat), Some(ground)) => is_on(&threat, ground, (going.at, home), LANDING_M, now),
                        (Some(_), None) => rule.vehicles.contains(&index),
                        (None, _) => false,
                    })
            });
            if let Some(vehicle) = self.vehicles.get_mut(index) {
                vehicle.home_clear = clear;
            }
        }
    }
}
