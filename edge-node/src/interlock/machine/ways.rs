//! Ways that the machine permits under rules that are tripped: away from people, back into a fence, home.

use shared::units::Uptime;

use super::Machine;
use crate::ground::Point;
use crate::interlock::obey::Sight;
use crate::interlock::rules::envelope::MARGIN_M;
use crate::interlock::rules::keep_out::{self, LANDING_M};
use crate::interlock::rules::retreat::{Going, from_people, into_fence, is_on};
use crate::interlock::words::Rule;
use crate::vehicle::command::Target;

/// It has arrived this near, metres.
const ARRIVED_M: f64 = 1.5;

impl Machine {
    /// Where a vehicle is and how it goes, if that is known now.
    fn going(&self, index: usize, now: Uptime) -> Option<Going> {
        let (config, vehicle) = (self.policy.vehicles.get(index)?, self.vehicles.get(index)?);
        let sight = Sight::new(config, &vehicle.state);
        let at = keep_out::place(&sight, self.policy.origin.as_ref()?, now)?;
        let (north, east) = vehicle.state.velocity_mps;
        Some(Going { at, velocity: Point { east: f64::from(east), north: f64::from(north) } })
    }

    /// Whether going straight there makes better what is tripped, and nothing worse; `None`: nothing of that is tripped.
    fn is_better(&mut self, index: usize, to: Point, now: Uptime) -> Option<bool> {
        let going = self.going(index, now);
        let out = self.vehicles.get(index)?.trips(Rule::Fence);
        let mut near = false;
        let mut away = true;
        for (rule, zone) in self.policy.keep_out.iter().zip(&mut self.zones) {
            let own = rule.vehicles.iter().zip(&zone.near).any(|(of, near)| *of == index && near.hazard().is_some());
            near |= own;
            let threat = zone.watch.threat(rule, now).filter(|_| own);
            let known = threat.zip(rule.ground.as_ref()).zip(going.as_ref());
            away &= !own || known.is_some_and(|((threat, ground), going)| from_people(&threat, ground, going, to));
        }
        let own = || self.policy.fences.iter().filter(|fence| fence.vehicles.contains(&index));
        let inwards = going.is_some_and(|going| into_fence(own(), &going, to, MARGIN_M));
        (out || near).then_some(away && (!out || inwards))
    }

    /// Where a go-to under rules that are tripped may lead, since it only makes things better.
    pub(super) fn retreat(&mut self, index: usize, target: &Target, now: Uptime) -> Option<Point> {
        let origin = self.policy.origin?;
        let to = origin.point(f64::from(target.lat_e7) / 1e7, f64::from(target.lon_e7) / 1e7);
        self.is_better(index, to, now).filter(|better| *better).map(|_| to)
    }

    /// Retreats that are over: it has arrived, nothing is tripped any more, or it would no longer make things better.
    pub(super) fn look_at_retreats(&mut self, now: Uptime) {
        for index in 0..self.vehicles.len() {
            let Some(retreat) = self.vehicles.get(index).and_then(|vehicle| vehicle.retreat) else { continue };
            let arrived = self.going(index, now).is_some_and(|going| going.at.distance(retreat.to) < ARRIVED_M);
            let better = self.is_better(index, retreat.to, now) == Some(true);
            if (arrived || !better || now >= retreat.until)
                && let Some(vehicle) = self.vehicles.get_mut(index)
            {
                vehicle.retreat = None;
            }
        }
    }

    /// Whether a vehicle that its fence stops could go straight home: inside the fence, and nobody is on the way.
    pub(super) fn look_at_ways_home(&mut self, now: Uptime) {
        for index in 0..self.vehicles.len() {
            if !self.vehicles.get(index).is_some_and(|vehicle| vehicle.trips(Rule::Fence)) {
                continue;
            }
            let home = self.vehicles.get(index).and_then(|vehicle| vehicle.state.home_deg);
            let way = self.going(index, now).zip(home).zip(self.policy.origin);
            let clear = way.is_some_and(|((going, (lat, lon)), origin)| {
                let home = origin.point(lat, lon);
                let own = self.policy.fences.iter().filter(|fence| fence.vehicles.contains(&index));
                // However it drifts now, RTL stops it first.
                let stopped = Going { velocity: Point::default(), ..going };
                let mut watched = self.policy.keep_out.iter().zip(&mut self.zones);
                into_fence(own, &stopped, home, 0.0)
                    && !watched.any(|(rule, zone)| match (zone.watch.threat(rule, now), &rule.ground) {
                        (Some(threat), Some(ground)) => is_on(&threat, ground, going.at, home, LANDING_M),
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
