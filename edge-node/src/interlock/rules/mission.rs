//! A mission that a vehicle may be sent on: known items, inside the fences, below the ceiling, no faster than measured. Pure.

use super::envelope::{LOWEST_M, MARGIN_M, highest_m};
use super::fence::{Fence, way_breach};
use crate::ground::{Origin, Point};
use crate::interlock::words::Policy;
use crate::vehicle::VehicleConfig;
use crate::vehicle::message::{
    ABOVE_HOME, DO_CHANGE_SPEED, DO_LAND_START, NAV_LAND, NAV_LOITER_TIME, NAV_RETURN_TO_LAUNCH, NAV_TAKEOFF,
    NAV_WAYPOINT,
};
use crate::vehicle::plan::{CAMERA, DELAYS, Item, JUMP, Verdict};

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
            NAV_WAYPOINT | NAV_LOITER_TIME | NAV_LAND | NAV_TAKEOFF => {
                let wrong = self.placed(item, number, &mut last);
                wrong.or_else(|| item.params.iter().any(|value| value.is_infinite()).then_some(Verdict::Item(number)))
            }
            DO_CHANGE_SPEED => {
                let slowest = self.config.limits.slowest_mps.unwrap_or(0.0);
                let [_, speed, ..] = item.params;
                let fits = speed > 0.0 && (slowest..=self.config.fastest_mps()).contains(&speed);
                (!fits).then_some(Verdict::Fast(number))
            }
            JUMP => self.jumped(items, item, number, last),
            NAV_RETURN_TO_LAUNCH | DO_LAND_START => None,
            command if DELAYS.contains(&command) || CAMERA.contains(&command) => None,
            _ => Some(Verdict::Item(number)),
        });
        found.unwrap_or(Verdict::Good)
    }

    /// The way from the last place to that of the item that is jumped to: PX4 counts from 0, ArduPilot's item 0 is home.
    fn jumped(&self, items: &[Item], item: &Item, number: u16, last: Option<Point>) -> Option<Verdict> {
        let [to, ..] = item.params;
        let steps = to - f32::from(u8::from(self.config.class.counts_home()));
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
        let placed = matches!(item.command, NAV_WAYPOINT | NAV_LOITER_TIME | NAV_LAND | NAV_TAKEOFF);
        let origin = self.origin.filter(|_| placed && (item.lat_e7, item.lon_e7) != (0, 0))?;
        Some(origin.point(f64::from(item.lat_e7) / 1e7, f64::from(item.lon_e7) / 1e7))
    }

    fn placed(&self, item: &Item, number: u16, last: &mut Option<Point>) -> Option<Verdict> {
        // A landing is at the ground whatever it says.
        let high = item.command != NAV_LAND && self.config.class.flies() && !self.is_height(item);
        if high {
            return Some(Verdict::High(number));
        }
        // Without a place it is where the vehicle is then.
        if (item.lat_e7, item.lon_e7) == (0, 0) {
            return (item.command == NAV_WAYPOINT).then_some(Verdict::Item(number));
        }
        let at = self.place(item)?;
        let from = last.replace(at).unwrap_or(at);
        way_breach(self.fences.iter(), from, at, MARGIN_M).map(|_| Verdict::Outside(number))
    }

    fn is_height(&self, item: &Item) -> bool {
        let highest = highest_m(&self.config, self.fences.iter());
        let lowest = if item.command == NAV_TAKEOFF { 0.5 } else { LOWEST_M };
        matches!(item.frame, ABOVE_HOME | 6) && (lowest..=highest).contains(&f64::from(item.height_m))
    }
}
