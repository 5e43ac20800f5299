//! What things are made of, before it is known who looks.

use super::canvas::Canvas;
use super::space::{Vec3, v};

/// One part of a thing.
#[derive(Debug, Clone)]
pub enum Shape {
    /// A capsule from one ball to another: centres, radii in metres, colour.
    Capsule(Vec3, f32, Vec3, f32, Vec3),
    /// A convex polygon: corners, colour, how much of what is behind it is hidden.
    Polygon(Vec<Vec3>, Vec3, f32),
    /// A box: middle of its base, half width and half length, height, yaw, share of the upper face, colour.
    Prism(Vec3, (f32, f32), f32, f32, (f32, f32), Vec3),
}

impl Shape {
    /// Draws it.
    pub fn draw(&self, canvas: &mut Canvas) {
        match self {
            Self::Capsule(a, ra, b, rb, colour) => canvas.capsule(*a, *ra, *b, *rb, *colour),
            Self::Polygon(corners, colour, cover) => canvas.polygon(corners, *colour, *cover),
            Self::Prism(base, half, height, yaw, top, colour) => {
                canvas.prism(*base, *half, *height, *yaw, *top, *colour);
            }
        }
    }

    /// Throws its shadow on the ground.
    pub fn cast(&self, canvas: &mut Canvas) {
        match self {
            Self::Capsule(a, ra, b, rb, _) => canvas.shadow(*a, *ra, *b, *rb),
            Self::Polygon(..) => {}
            Self::Prism(base, half, height, yaw, _, _) => {
                let (wide, long) = *half;
                let end = v(0.0, height / 2.0, (long - wide).max(0.0)).turned(*yaw);
                let back = v(0.0, height / 2.0, -(long - wide).max(0.0)).turned(*yaw);
                canvas.shadow(*base + end, wide, *base + back, wide);
                let up = v(0.0, *height, 0.0);
                canvas.shadow(*base, wide * 0.8, *base + up, wide * 0.8);
            }
        }
    }

    /// The same, moved and turned: it was made around the origin.
    pub fn placed(self, at: Vec3, yaw: f32) -> Self {
        let put = |p: Vec3| p.turned(yaw) + at;
        match self {
            Self::Capsule(a, ra, b, rb, colour) => Self::Capsule(put(a), ra, put(b), rb, colour),
            Self::Polygon(corners, colour, cover) => {
                Self::Polygon(corners.into_iter().map(put).collect(), colour, cover)
            }
            Self::Prism(base, half, height, own, top, colour) => {
                Self::Prism(put(base), half, height, own + yaw, top, colour)
            }
        }
    }
}
