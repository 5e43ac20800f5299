//! A mission that a vehicle may be sent on: known items, inside the fences, below the ceiling, no faster than measured. Pure.

use super::envelope::{LOWEST_M, MARGIN_M};
use super::fence::{Fence, way_breach};
use crate::ground::{Origin, Point};
use crate::interlock::words::Policy;
use crate::vehicle::VehicleConfig;
use crate::vehicle::plan::{
    ABOVE_HOME, CAMERA, DELAYS, Item, JUMP, LAND, LAND_START, LOITER_TIME, RETURN, SPEED, TAKE_OFF, Verdict, WAYPOINT,
};

/// What a mission is held against.
#[derive(Debug, Clone)]
pub struct MissionRule {
    config: VehicleConfig,
    fences: Vec<Fence>,
    origin: Option<Origin>,
}

impl MissionRule {
    /// Of a vehicle, by its index.
    pub fn new(index: usize, config: &VehicleConfig, policy: &Policy) -> Self {
        let fences = policy.fences.iter().filter(|fence| fence.vehicles.contains(&index)).cloned().collect();
        Self { config: config.clone(), fences, origin: policy.origin }
    }

    /// Judges a mission without its home: each item is known, each way from one to the next inside the fences, each height
    /// below the ceiling and above home. The way to the first, and home, is the fence's rule's.
    pub fn check(&self, items: &[Item]) -> Verdict {
        let mut last = None;
        let found = items.iter().zip(1..).find_map(|(item, number): (&Item, u16)| match item.command {
            WAYPOINT | LOITER_TIME | LAND | TAKE_OFF => {
                let wrong = self.placed(item, number, &mut last);
                wrong.or_else(|| item.params.iter().any(|value| value.is_infinite()).then_some(Verdict::Item(number)))
            }
            SPEED => {
                let fastest = self.config.limits.speed_mps.unwrap_or(f32::MAX).min(self.config.brake.fastest_mps());
                let [_, speed, ..] = item.params;
                (!(speed > 0.0 && speed <= fastest)).then_some(Verdict::Fast(number))
            }
            JUMP if item.params.first().is_some_and(|to| !(1.0..=f32::from(u16::MAX)).contains(to)) => {
                Some(Verdict::Item(number))
            }
            RETURN | JUMP | LAND_START => None,
            command if DELAYS.contains(&command) || CAMERA.contains(&command) => None,
            _ => Some(Verdict::Item(number)),
        });
        found.unwrap_or(Verdict::Good)
    }

    fn placed(&self, item: &Item, number: u16, last: &mut Option<Point>) -> Option<Verdict> {
        // A landing is at the ground whatever it says.
        let high = item.command != LAND && self.config.class.flies() && !self.is_height(item);
        if high {
            return Some(Verdict::High(number));
        }
        // Without a place it is where the vehicle is then.
        if (item.lat_e7, item.lon_e7) == (0, 0) {
            return (item.command == WAYPOINT).then_some(Verdict::Item(number));
        }
        let origin = self.origin?;
        let at = origin.point(f64::from(item.lat_e7) / 1e7, f64::from(item.lon_e7) / 1e7);
        let from = last.replace(at).unwrap_or(at);
        way_breach(self.fences.iter(), from, at, MARGIN_M).map(|_| Verdict::Outside(number))
    }

    fn is_height(&self, item: &Item) -> bool {
        let ceilings = self.fences.iter().filter_map(|fence| fence.ceiling_m).map(|ceiling| ceiling - 1.0);
        let highest = ceilings.fold(self.config.limits.height_m(), f32::min);
        let lowest = if item.command == TAKE_OFF { 0.5 } else { LOWEST_M };
        matches!(item.frame, ABOVE_HOME | 6) && (lowest..=f64::from(highest)).contains(&f64::from(item.height_m))
    }
}
