//! A mission that a vehicle may be sent on: known items, inside the fences, below the ceiling, no faster than measured. Pure.

use super::envelope::{LOWEST_M, MARGIN_M};
use super::fence::{Fence, way_breach};
use crate::ground::{Origin, Point};
use crate::interlock::words::Policy;
use crate::vehicle::plan::{
    ABOVE_HOME, CAMERA, DELAYS, Item, JUMP, LAND, LAND_START, LOITER_TIME, RETURN, SPEED, TAKE_OFF, Verdict, WAYPOINT,
};
use crate::vehicle::{Class, VehicleConfig};

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
                let limits = self.config.limits;
                let fastest = limits.speed_mps.unwrap_or(f32::MAX).min(self.config.brake.fastest_mps());
                let [_, speed, ..] = item.params;
                let fits = speed > 0.0 && (limits.slowest_mps.unwrap_or(0.0)..=fastest).contains(&speed);
                (!fits).then_some(Verdict::Fast(number))
            }
            JUMP => self.jumped(items, item, number, last),
            RETURN | LAND_START => None,
            command if DELAYS.contains(&command) || CAMERA.contains(&command) => None,
            _ => Some(Verdict::Item(number)),
        });
        found.unwrap_or(Verdict::Good)
    }

    /// The way from the last place to that of the item that is jumped to: PX4 counts from 0, ArduPilot's item 0 is home.
    fn jumped(&self, items: &[Item], item: &Item, number: u16, last: Option<Point>) -> Option<Verdict> {
        let first: u8 = if self.config.class == Class::Px4Copter { 0 } else { 1 };
        let [to, ..] = item.params;
        let steps = to - f32::from(first);
        let whole = (0.0..f32::from(u16::MAX)).contains(&steps) && steps.fract() == 0.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number in range")]
        let rest = items.get(steps as usize..).filter(|rest| whole && !rest.is_empty());
        let Some(rest) = rest else { return Some(Verdict::Item(number)) };
        let to = rest.iter().find_map(|item| self.place(item));
        let breach = last.zip(to).and_then(|(last, to)| way_breach(self.fences.iter(), last, to, MARGIN_M));
        breach.map(|_| Verdict::Outside(number))
    }

    /// Where an item is on the site's ground, if it has a place.
    fn place(&self, item: &Item) -> Option<Point> {
        let placed = matches!(item.command, WAYPOINT | LOITER_TIME | LAND | TAKE_OFF);
        let origin = self.origin.filter(|_| placed && (item.lat_e7, item.lon_e7) != (0, 0))?;
        Some(origin.point(f64::from(item.lat_e7) / 1e7, f64::from(item.lon_e7) / 1e7))
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
        let at = self.place(item)?;
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
