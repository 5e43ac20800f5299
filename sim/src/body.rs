//! How a vehicle moves: a point with a speed that follows its target within limits, towards the next corner of its mission or
//! a place it was sent to. Pure.
//!
//! Stopping follows the facts measured on ArduPilot SITL (INTERLOCKS, "Measured"): a rover in HOLD coasts
//! v²/(2·1.25) m; a copter in BRAKE needs 1.4 s·v + v²/15.

use crate::scenario::Class;

/// Acceleration of either vehicle, m/s².
const ACCELERATION: f64 = 1.0;
const ROVER_BRAKING: f64 = 1.25;
const COPTER_BRAKING: f64 = 7.5;
/// A copter flies on for this long before it brakes, seconds.
const COPTER_DELAY: f64 = 1.4;
/// Towards a place where it will stand both brake early and gently, m/s².
const GENTLE: f64 = 0.5;
/// Nearer than this it is there, metres.
const THERE_M: f64 = 0.2;
/// Climb and descent, m/s.
const CLIMB: f64 = 1.5;
/// Height of a copter's mission, metres.
pub const CRUISE_ALT_M: f64 = 10.0;

/// What the autopilot wants of the body.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wish {
    /// Drive or fly the mission at this speed.
    Go(f64),
    /// To this place, metres east and north of home, at this height and speed, and stand there.
    To([f64; 2], f64, f64),
    /// Stand still, keep height.
    Stop,
    /// Stand still and descend.
    Land,
    /// Motors off: a rover coasts, a copter is on the ground.
    Off,
}

/// A body.
#[derive(Debug, Clone)]
pub struct Body {
    class: Class,
    /// Corners of its mission, a closed way, metres east and north of home.
    pub mission: Vec<[f64; 2]>,
    /// The corner it goes to.
    pub next: usize,
    at: [f64; 2],
    direction: [f64; 2],
    braking_for: f64,
    /// Speed over ground, m/s.
    pub speed: f64,
    /// Height above home, metres.
    pub alt: f64,
}

impl Body {
    /// A body at the start of its path; a copter that starts flying is at cruise height.
    pub fn new(class: Class, mission: Vec<[f64; 2]>, flying: bool) -> Self {
        let alt = if flying && class == Class::Copter { CRUISE_ALT_M } else { 0.0 };
        let at = mission.first().copied().unwrap_or_default();
        Self { class, mission, next: 1, at, direction: [0.0, 1.0], braking_for: 0.0, speed: 0.0, alt }
    }

    /// Whether it stands on the ground.
    pub fn landed(&self) -> bool {
        self.class == Class::Rover || self.alt <= 0.01
    }

    /// East and north of home in metres, and the direction of motion as a unit vector.
    pub const fn place(&self) -> ([f64; 2], [f64; 2]) {
        (self.at, self.direction)
    }

    fn corner(&self) -> Option<[f64; 2]> {
        self.mission.get(self.next % self.mission.len().max(1)).copied()
    }

    /// Metres to a place, and the way there.
    fn towards(&self, [east, north]: [f64; 2]) -> (f64, [f64; 2]) {
        let (east, north) = (east - self.at[0], north - self.at[1]);
        let distance = east.hypot(north);
        (distance, [east / distance.max(1e-6), north / distance.max(1e-6)])
    }

    /// Moves for `dt` seconds.
    pub fn step(&mut self, wish: Wish, dt: f64) {
        let low = self.class == Class::Copter && self.alt < CRUISE_ALT_M - 0.5;
        let (target, goal) = match (wish, self.corner()) {
            (Wish::Go(_), Some(corner)) if low => (0.0, Some(corner)),
            (Wish::Go(speed), Some(corner)) => (speed, Some(corner)),
            (Wish::To(place, _, speed), _) => {
                let (left, _) = self.towards(place);
                (if left < THERE_M { 0.0 } else { speed.min((2.0 * GENTLE * left).sqrt()) }, Some(place))
            }
            _ => (0.0, None),
        };
        if let Some((distance, way)) = goal.map(|goal| self.towards(goal)) {
            // It turns where it stands.
            self.direction = if distance > THERE_M { way } else { self.direction };
        }
        if target >= self.speed {
            self.braking_for = 0.0;
            self.speed = (self.speed + ACCELERATION * dt).min(target);
        } else {
            self.braking_for += dt;
            let braking = match (self.class, wish) {
                (Class::Rover, _) => ROVER_BRAKING,
                // It leans back already.
                (Class::Copter, Wish::To(..)) => COPTER_BRAKING,
                (Class::Copter, _) if self.braking_for < COPTER_DELAY => 0.0,
                (Class::Copter, _) => COPTER_BRAKING,
            };
            self.speed = (self.speed - braking * dt).max(target);
        }
        if self.class == Class::Copter {
            let to = |alt: f64| self.alt + (alt - self.alt).clamp(-CLIMB * dt, CLIMB * dt);
            self.alt = match wish {
                Wish::Go(_) => to(CRUISE_ALT_M),
                Wish::To(_, alt, _) => to(alt),
                Wish::Land => to(0.0),
                Wish::Stop => self.alt,
                Wish::Off => 0.0,
            };
        }
        let moved = self.speed * dt;
        let left = goal.map(|goal| self.towards(goal).0);
        self.at = [self.at[0] + self.direction[0] * moved, self.at[1] + self.direction[1] * moved];
        if matches!(wish, Wish::Go(_)) && left.is_some_and(|left| moved >= left || left < THERE_M) {
            self.next = (self.next + 1) % self.mission.len().max(1);
        }
    }
}
