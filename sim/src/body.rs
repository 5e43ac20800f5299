//! How a vehicle moves: a point on a closed path with a speed that follows its target within limits. Pure.
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
/// Climb and descent, m/s.
const CLIMB: f64 = 1.5;
/// Height of a copter's mission, metres.
pub const CRUISE_ALT_M: f64 = 10.0;

/// What the autopilot wants of the body.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wish {
    /// Drive or fly the mission at this speed.
    Go(f64),
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
    path: Vec<[f64; 2]>,
    leg: usize,
    along: f64,
    braking_for: f64,
    /// Speed over ground, m/s.
    pub speed: f64,
    /// Height above home, metres.
    pub alt: f64,
}

impl Body {
    /// A body at the start of its path; a copter that starts flying is at cruise height.
    pub fn new(class: Class, path: Vec<[f64; 2]>, flying: bool) -> Self {
        let alt = if flying && class == Class::Copter { CRUISE_ALT_M } else { 0.0 };
        Self { class, path, leg: 0, along: 0.0, braking_for: 0.0, speed: 0.0, alt }
    }

    /// Whether it stands on the ground.
    pub fn landed(&self) -> bool {
        self.class == Class::Rover || self.alt <= 0.01
    }

    fn ends(&self) -> ([f64; 2], [f64; 2]) {
        let corner = |n: usize| self.path.get(n % self.path.len().max(1)).copied().unwrap_or([0.0, 0.0]);
        (corner(self.leg), corner(self.leg + 1))
    }

    /// East and north of home in metres, and the direction of motion as a unit vector.
    pub fn place(&self) -> ([f64; 2], [f64; 2]) {
        let ([ax, ay], [bx, by]) = self.ends();
        let length = (bx - ax).hypot(by - ay).max(1e-6);
        let direction = [(bx - ax) / length, (by - ay) / length];
        ([ax + direction[0] * self.along, ay + direction[1] * self.along], direction)
    }

    /// Moves for `dt` seconds.
    pub fn step(&mut self, wish: Wish, dt: f64) {
        let target = match wish {
            Wish::Go(_) if self.class == Class::Copter && self.alt < CRUISE_ALT_M - 0.5 => 0.0,
            Wish::Go(speed) => speed,
            Wish::Stop | Wish::Land | Wish::Off => 0.0,
        };
        if target >= self.speed {
            self.braking_for = 0.0;
            self.speed = (self.speed + ACCELERATION * dt).min(target);
        } else {
            self.braking_for += dt;
            let braking = match self.class {
                Class::Rover => ROVER_BRAKING,
                Class::Copter if self.braking_for < COPTER_DELAY => 0.0,
                Class::Copter => COPTER_BRAKING,
            };
            self.speed = (self.speed - braking * dt).max(target);
        }
        if self.class == Class::Copter {
            self.alt = match wish {
                Wish::Go(_) => (self.alt + CLIMB * dt).min(CRUISE_ALT_M),
                Wish::Land => (self.alt - CLIMB * dt).max(0.0),
                Wish::Stop => self.alt,
                Wish::Off => 0.0,
            };
        }
        self.along += self.speed * dt;
        let ([ax, ay], [bx, by]) = self.ends();
        let length = (bx - ax).hypot(by - ay);
        if self.along >= length {
            self.along -= length;
            self.leg = (self.leg + 1) % self.path.len().max(1);
        }
    }
}
