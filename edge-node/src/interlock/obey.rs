//! Whether a vehicle that shows an order does it: it slows down as its brake test says, or it gets on home or down. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

use crate::vehicle::VehicleConfig;
use crate::vehicle::class::{Class, Meaning};
use crate::vehicle::command::Order;
use crate::vehicle::state::VehicleState;
use crate::vehicle::stop::StopTable;

/// A report older than this says nothing about now.
const FRESH: Duration = Duration::from_secs(2);
/// Faster than allowed for this time is no noise.
pub const FOR: Duration = Duration::from_millis(600);
/// What wind may do to a vehicle that stays in its place in the air, m/s.
pub const GUST_MPS: f32 = 1.0;
/// Without progress for this time a vehicle does not return or land.
const PROGRESS: Duration = Duration::from_secs(15);
/// What counts as progress, metres: height, or distance over ground in hundred-thousandths of a degree.
const HEIGHT_M: f32 = 0.5;
const PLACE_DEG: f64 = 1e-5;

/// A vehicle as its action sees it.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    /// Kind.
    pub class: Class,
    /// Its brake test.
    pub stops: &'a StopTable,
    /// What it said.
    pub state: &'a VehicleState,
    /// Somebody may be where it would land.
    pub below: bool,
    /// How fast it may go near people, centimetres a second; zero: it cannot go slowly.
    pub slow_cmps: u16,
}

impl<'a> Sight<'a> {
    /// Of a vehicle.
    pub fn new(config: &'a VehicleConfig, state: &'a VehicleState) -> Self {
        Self { class: config.class, stops: &config.brake, state, below: false, slow_cmps: config.slow_cmps() }
    }

    /// Whether it says now that it stands on the ground. What drives always does.
    pub fn on_ground(&self, now: Uptime) -> bool {
        !self.class.flies() || self.state.landed_at.is_some_and(|at| now.since(at) < FRESH)
    }

    /// Its speed over ground, m/s, if that is known now.
    pub fn speed_now(&self, now: Uptime) -> Option<f32> {
        // Without an absolute position the speed is false.
        let known = self.state.estimate.is_none_or(|estimate| estimate.absolute);
        self.state.position_at.filter(|at| known && now.since(*at) < FRESH).map(|_| self.state.speed_mps)
    }

    /// How long its slowest stop may take.
    pub fn stop_time(&self) -> Duration {
        let (_, seconds) = self.stops.needs(self.stops.fastest_mps().max(self.state.speed_mps));
        Duration::from_secs_f32(seconds.clamp(1.0, 120.0))
    }
}

/// What a limited speed may become: a quarter more, and noise; m/s.
pub fn over_limit(cmps: u16) -> f32 {
    f32::from(cmps) / 100.0 * 1.25 + 0.5
}

/// What was seen since the vehicle showed the order in force.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Obey {
    shown: Option<(Uptime, f32)>,
    over_since: Option<Uptime>,
    moved: Option<(Uptime, f32, (f64, f64))>,
}

impl Obey {
    /// Nothing yet.
    pub const NEW: Self = Self { shown: None, over_since: None, moved: None };

    /// Whether the vehicle shows the order and does not do it. Without a speed or a place nothing is said.
    pub fn broken(&mut self, order: Order, sight: &Sight, now: Uptime) -> bool {
        let Some(speed) = sight.speed_now(now) else {
            *self = Self::NEW;
            return false;
        };
        let (since, from) = *self.shown.get_or_insert((now, speed));
        let meaning = order.mode().map_or(Meaning::Other, |mode| sight.class.meaning(mode));
        match meaning {
            Meaning::Return | Meaning::Land => self.stuck(sight, now),
            // What cannot stop has no profile: it circles.
            _ if sight.class == Class::Plane => false,
            _ => {
                let after_s = now.since(since).as_secs_f32();
                let allowed = match order {
                    // It slows down more gently than it stops.
                    Order::Speed(cmps) => sight.stops.profile_mps(from, after_s / 2.0).max(over_limit(cmps)),
                    _ => sight.stops.profile_mps(from, after_s),
                };
                self.over(speed > allowed + if sight.class.flies() { GUST_MPS } else { 0.0 }, now)
            }
        }
    }

    fn over(&mut self, over: bool, now: Uptime) -> bool {
        if !over {
            self.over_since = None;
            return false;
        }
        now.since(*self.over_since.get_or_insert(now)) >= FOR
    }

    fn stuck(&mut self, sight: &Sight, now: Uptime) -> bool {
        let (height, (lat, lon)) = (sight.state.relative_alt_m, sight.state.position_deg.unwrap_or_default());
        let (at, was_high, (was_lat, was_lon)) = *self.moved.get_or_insert((now, height, (lat, lon)));
        let gone = (height - was_high).abs() >= HEIGHT_M || (lat - was_lat).hypot(lon - was_lon) >= PLACE_DEG;
        if gone || sight.on_ground(now) || !sight.state.armed {
            self.moved = Some((now, height, (lat, lon)));
            return false;
        }
        now.since(at) >= PROGRESS
    }
}
