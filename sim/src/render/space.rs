//! Points, colours and the pinhole camera that looks at the yard.
//!
//! World: x to the right, y up, z away from the camera, metres; the ground is y = 0. Colours are linear red, green,
//! blue, 0 to 1.

use std::ops::{Add, Mul, Sub};

use crate::random::Random;

/// A point, a direction or a colour.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Vec3 {
    /// Right, or red.
    pub x: f32,
    /// Up, or green.
    pub y: f32,
    /// Away, or blue.
    pub z: f32,
}

/// A vector of three numbers.
pub const fn v(x: f32, y: f32, z: f32) -> Vec3 {
    Vec3 { x, y, z }
}

impl Add for Vec3 {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        v(self.x + o.x, self.y + o.y, self.z + o.z)
    }
}

impl Sub for Vec3 {
    type Output = Self;
    fn sub(self, o: Self) -> Self {
        v(self.x - o.x, self.y - o.y, self.z - o.z)
    }
}

impl Mul<f32> for Vec3 {
    type Output = Self;
    fn mul(self, by: f32) -> Self {
        v(self.x * by, self.y * by, self.z * by)
    }
}

impl Vec3 {
    /// Scalar product.
    pub fn dot(self, o: Self) -> f32 {
        self.x * o.x + self.y * o.y + self.z * o.z
    }

    /// Vector product.
    pub fn cross(self, o: Self) -> Self {
        v(self.y * o.z - self.z * o.y, self.z * o.x - self.x * o.z, self.x * o.y - self.y * o.x)
    }

    /// The same direction, of length 1.
    pub fn unit(self) -> Self {
        self * (1.0 / self.dot(self).sqrt().max(1e-6))
    }

    /// Component by component.
    pub fn times(self, o: Self) -> Self {
        v(self.x * o.x, self.y * o.y, self.z * o.z)
    }

    /// Between this and another.
    pub fn mix(self, o: Self, share: f32) -> Self {
        self * (1.0 - share) + o * share
    }

    /// Turned around the vertical: 0 leaves z where it is, growing to the right.
    pub fn turned(self, yaw: f32) -> Self {
        let (sin, cos) = yaw.sin_cos();
        v(self.x * cos + self.z * sin, self.y, self.z * cos - self.x * sin)
    }

    /// Brightness as the eye sees it (ITU-R BT.601).
    pub fn luma(self) -> f32 {
        0.299 * self.x + 0.587 * self.y + 0.114 * self.z
    }
}

/// Draws of one scene.
#[derive(Debug)]
pub struct Dice(Random);

impl Dice {
    /// The draws of a seed.
    pub fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    /// Between two numbers, evenly.
    pub fn range(&self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.0.draw(1 << 24) as f32 / (1 << 24) as f32
    }

    /// Whether something of this probability happens.
    pub fn chance(&self, probability: f32) -> bool {
        self.range(0.0, 1.0) < probability
    }

    /// A whole number from 0 to below a bound.
    pub fn below(&self, bound: usize) -> usize {
        usize::try_from(self.0.draw(bound as u64)).unwrap_or(0)
    }

    /// One of several.
    pub fn pick<T: Copy + Default>(&self, of: &[T]) -> T {
        of.get(self.below(of.len())).copied().unwrap_or_default()
    }

    /// About 0, mostly within one, never beyond three: a sum of three evens.
    pub fn about(&self) -> f32 {
        self.range(-1.0, 1.0) + self.range(-1.0, 1.0) + self.range(-1.0, 1.0)
    }

    /// A colour between two.
    pub fn shade(&self, low: Vec3, high: Vec3) -> Vec3 {
        v(self.range(low.x, high.x), self.range(low.y, high.y), self.range(low.z, high.z))
    }
}

/// A pinhole camera above the ground, looking along z and down.
#[derive(Debug, Clone, Copy)]
pub struct Lens {
    /// Metres above the ground.
    pub height_m: f32,
    pitch: (f32, f32),
    roll: (f32, f32),
    /// Focal length, pixels.
    pub focal_px: f32,
    centre: (f32, f32),
}

/// Where a point is in the picture.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Pixels from the left.
    pub x: f32,
    /// Pixels from the top.
    pub y: f32,
    /// One over the distance along the axis, 1/m.
    pub near: f32,
}

/// Nearer than this nothing is drawn, metres.
const NEAREST_M: f32 = 0.4;

impl Lens {
    /// A camera; angles in radians, the picture's size in pixels.
    pub fn new(height_m: f32, pitch: f32, roll: f32, across: f32, size: (f32, f32)) -> Self {
        let focal_px = size.0 / 2.0 / (across / 2.0).tan();
        Self { height_m, pitch: pitch.sin_cos(), roll: roll.sin_cos(), focal_px, centre: (size.0 / 2.0, size.1 / 2.0) }
    }

    /// A point in the picture; `None` behind or too near.
    pub fn see(&self, p: Vec3) -> Option<Seen> {
        let ((sin, cos), up) = (self.pitch, p.y - self.height_m);
        let (y, z) = (up * cos + p.z * sin, p.z * cos - up * sin);
        if z < NEAREST_M {
            return None;
        }
        let (rs, rc) = self.roll;
        let (x, y) = (p.x * rc - y * rs, p.x * rs + y * rc);
        Some(Seen { x: self.centre.0 + self.focal_px * x / z, y: self.centre.1 - self.focal_px * y / z, near: 1.0 / z })
    }

    /// The direction that a pixel looks in; not of length 1: its component along the axis is 1.
    pub fn ray(&self, x: f32, y: f32) -> Vec3 {
        let (sx, sy) = ((x - self.centre.0) / self.focal_px, (self.centre.1 - y) / self.focal_px);
        let (rs, rc) = self.roll;
        let (sx, sy) = (sx * rc + sy * rs, sy * rc - sx * rs);
        let (sin, cos) = self.pitch;
        v(sx, sy * cos - sin, sy * sin + cos)
    }

    /// Where on the ground a thing of this height stands that is so many pixels high in the picture, about.
    pub fn distance_m(&self, height_m: f32, height_px: f32) -> f32 {
        (self.focal_px * height_m / height_px).max(1.0)
    }
}
