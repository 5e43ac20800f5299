//! Where a vehicle may be sent at all, how fast and how high: asked before a command, not watched after it (rule *fence*
//! does that). Every reason at once.

use std::time::Duration;

use shared::units::Uptime;

use super::fence::{Fence, way_breach};
use crate::ground::{Origin, Point};
use crate::interlock::obey::Sight;
use crate::interlock::words::Verb;
use crate::vehicle::command::Target;
use crate::vehicle::{Class, VehicleConfig};

/// A place older than this is not where it is.
const FRESH: Duration = Duration::from_secs(2);
/// Targets keep this far from the edge, metres: a vehicle holds its place by that.
pub const MARGIN_M: f64 = 2.0;
/// The lowest flight to somewhere, metres above home.
pub const LOWEST_M: f64 = 2.0;
/// The tightest circle, metres.
const TIGHTEST_M: f64 = 2.0;
/// The fastest that brakes are tried at, m/s.
const TRIAL_MPS: f32 = 20.0;
/// Corners that a circle is looked at by.
const CORNERS: u32 = 24;

/// What it is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// Index of the vehicle.
    pub index: usize,
    /// Its configuration.
    pub config: &'a VehicleConfig,
    /// What it said.
    pub sight: Sight<'a>,
    /// Fences of the site.
    pub fences: &'a [Fence],
    /// Where metres are counted from.
    pub origin: Option<&'a Origin>,
    /// Its brakes are being tried: there is no measured speed.
    pub trial: bool,
    /// It goes back into its fence: its way begins where it may not be, and was looked at.
    pub back: bool,
    /// Now.
    pub now: Uptime,
}

/// The highest that a vehicle may be sent, metres above home: a metre below a ceiling, or a gust would lift it over.
pub fn highest_m<'a>(config: &VehicleConfig, fences: impl Iterator<Item = &'a Fence>) -> f64 {
    let ceilings = fences.filter_map(|fence| fence.ceiling_m).map(|ceiling| f64::from(ceiling) - 1.0);
    ceilings.fold(f64::from(config.limits.height_m()), f64::min)
}

impl Envelope<'_> {
    /// Every reason against a command's target.
    pub fn reasons(&self, verb: Verb) -> Vec<String> {
        let class = self.config.class;
        let mut reasons = match verb {
            Verb::TakeOff(_) if !matches!(class, Class::Copter | Class::Px4Copter) => {
                vec!["it is no copter: it takes off by its mission, or not at all".into()]
            }
            Verb::TakeOff(height) => self.height(height.above_home_cm).into_iter().collect(),
            Verb::GoTo(_) if class.has_wing() => {
                vec!["a plane circles where it is sent, how wide is not known: it flies by its mission".into()]
            }
            Verb::GoTo(target) => self.target(&target, None),
            Verb::Orbit(..) if !matches!(class, Class::Copter | Class::Px4Copter) => {
                vec!["only a copter goes around a place".into()]
            }
            Verb::Orbit(target, circle) => {
                let radius_m = f64::from(circle.radius_cm) / 100.0;
                let tight = (radius_m < TIGHTEST_M).then(|| format!("expected a radius of {TIGHTEST_M} m or more"));
                let target = self.target(&target, Some(radius_m));
                target.into_iter().chain(self.speed(circle.speed_cmps)).chain(tight).collect()
            }
            Verb::Speed(cmps) => self.speed(cmps).into_iter().collect(),
            _ => Vec::new(),
        };
        let down = matches!(verb, Verb::GoTo(_) | Verb::Orbit(..)) && class.flies() && self.sight.on_ground(self.now);
        reasons.extend(down.then(|| "it is on the ground: it takes off first".to_owned()));
        let up = matches!(verb, Verb::Arm | Verb::TakeOff(_)) && !self.sight.on_ground(self.now);
        reasons.extend(up.then(|| "it is not known to stand on the ground".to_owned()));
        let off = matches!(verb, Verb::TakeOff(_) | Verb::GoTo(_) | Verb::Orbit(..) | Verb::Speed(_));
        let off = off && !self.sight.state.armed;
        reasons.extend(off.then(|| "it is not armed".to_owned()));
        reasons.into_iter().map(|reason| format!("envelope: {reason}")).collect()
    }

    fn height(&self, above_home_cm: i32) -> Option<String> {
        let metres = f64::from(above_home_cm) / 100.0;
        let own = self.fences.iter().filter(|fence| fence.vehicles.contains(&self.index));
        let highest = highest_m(self.config, own);
        let fits = (LOWEST_M..=highest).contains(&metres);
        (!fits).then(|| format!("expected a height of {LOWEST_M} to {highest} m above home, found {metres}"))
    }

    fn speed(&self, cmps: u16) -> Option<String> {
        let (speed, limits) = (f32::from(cmps) / 100.0, self.config.limits);
        let fastest = self.fastest_mps();
        match limits.slowest_mps {
            None if self.config.class.has_wing() => Some("no slowest speed is configured, and a wing stalls".into()),
            slowest if !(slowest.unwrap_or(0.1)..=fastest).contains(&speed) => {
                let slowest = slowest.unwrap_or(0.1);
                Some(format!(
                    "expected {slowest} to {fastest} m/s (configured, and measured by its brake test), found {speed}"
                ))
            }
            _ => None,
        }
    }

    /// The fastest that it may go, m/s: as configured, and as was measured.
    pub fn fastest_mps(&self) -> f32 {
        match self.trial {
            true => self.config.limits.speed_mps.unwrap_or(TRIAL_MPS).min(TRIAL_MPS),
            false => self.config.fastest_mps(),
        }
    }

    /// A target, and the circle around it: inside the fences, and the straight way there too.
    fn target(&self, target: &Target, radius_m: Option<f64>) -> Vec<String> {
        let flies = self.config.class.flies();
        let mut reasons: Vec<String> =
            if flies { self.height(target.height.above_home_cm).into_iter().collect() } else { Vec::new() };
        let fenced = self.fences.iter().any(|fence| fence.vehicles.contains(&self.index));
        let (Some(origin), true) = (self.origin, fenced) else {
            reasons.push("it has no fence, so no place is known to be allowed".into());
            return reasons;
        };
        let state = self.sight.state;
        let fresh = state.position_at.is_some_and(|at| self.now.since(at) < FRESH);
        let Some((lat, lon)) = state.position_deg.filter(|_| fresh) else {
            reasons.push("it is not known where it is".into());
            return reasons;
        };
        let here = origin.point(lat, lon);
        let centre = origin.point(f64::from(target.lat_e7) / 1e7, f64::from(target.lon_e7) / 1e7);
        let breach = match radius_m {
            None if self.back => None,
            None => self.breach(here, centre),
            Some(radius) => {
                // Chords that go around the circle, not within it.
                let radius = radius / (std::f64::consts::PI / f64::from(CORNERS)).cos();
                let on = |n: u32| {
                    let (north, east) = (f64::from(n) * std::f64::consts::TAU / f64::from(CORNERS)).sin_cos();
                    centre.plus(east * radius, north * radius)
                };
                // It enters the circle anywhere.
                (0..CORNERS).find_map(|n| self.breach(here, on(n)).or_else(|| self.breach(on(n), on(n + 1))))
            }
        };
        reasons.extend(breach.map(|why| format!("the way there is not allowed: {why}")));
        reasons
    }

    fn breach(&self, from: Point, to: Point) -> Option<&'static str> {
        let own = self.fences.iter().filter(|fence| fence.vehicles.contains(&self.index));
        way_breach(own, from, to, MARGIN_M)
    }
}
