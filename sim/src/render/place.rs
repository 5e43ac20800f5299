//! The yard: sky, ground, and what stands in it and is nobody.

use super::canvas::{Canvas, Light};
use super::shape::Shape;
use super::space::{Dice, Vec3, v};

/// When and in what weather.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sky {
    /// Sun and shadows.
    #[default]
    Day,
    /// Clouds.
    Overcast,
    /// Low light of one colour.
    Dusk,
    /// An infrared lamp at the camera, no colour.
    Night,
    /// Clouds, streaks, wet ground.
    Rain,
}

/// Colours and roughness of the ground and of what is far away.
#[derive(Debug, Clone, Copy)]
pub struct Ground {
    base: Vec3,
    spots: Vec3,
    scale: f32,
    rough: f32,
    lanes: Option<f32>,
    trees: Vec3,
    skyline: f32,
    zenith: Vec3,
    horizon: Vec3,
    offset: (f32, f32),
}

/// How the scene is lit.
pub fn light(dice: &Dice, sky: Sky) -> Light {
    let (azimuth, height) = (dice.range(0.0, std::f32::consts::TAU), dice.range(0.5, 1.3));
    let sun = v(azimuth.sin() * height.cos(), height.sin(), azimuth.cos() * height.cos());
    let grey = |level: f32| v(level, level, level);
    match sky {
        Sky::Day => Light { towards: sun, direct: grey(dice.range(0.55, 0.85)), ambient: grey(dice.range(0.25, 0.45)) },
        Sky::Overcast | Sky::Rain => {
            Light { towards: v(0.1, 1.0, -0.2).unit(), direct: grey(0.25), ambient: grey(dice.range(0.4, 0.65)) }
        }
        Sky::Dusk => Light {
            towards: v(sun.x, 0.25, sun.z).unit(),
            direct: v(0.4, 0.24, 0.14) * dice.range(0.4, 1.0),
            ambient: v(0.15, 0.15, 0.24) * dice.range(0.5, 1.1),
        },
        Sky::Night => Light { towards: v(0.0, 0.15, -1.0).unit(), direct: grey(0.65), ambient: grey(0.3) },
    }
}

impl Ground {
    /// A ground for a scene.
    pub fn draw(dice: &Dice, sky: Sky) -> Self {
        let bases = [
            (v(0.3, 0.3, 0.31), v(0.2, 0.2, 0.21)),
            (v(0.5, 0.49, 0.46), v(0.4, 0.38, 0.35)),
            (v(0.2, 0.34, 0.12), v(0.34, 0.36, 0.16)),
            (v(0.48, 0.4, 0.28), v(0.36, 0.29, 0.2)),
            (v(0.16, 0.16, 0.17), v(0.24, 0.24, 0.25)),
        ];
        let (base, spots) = bases.get(dice.below(bases.len())).copied().unwrap_or_default();
        let (zenith, horizon) = match sky {
            Sky::Day => (v(0.25, 0.45, 0.85), v(0.7, 0.8, 0.92)),
            Sky::Overcast | Sky::Rain => (v(0.6, 0.62, 0.66), v(0.78, 0.79, 0.8)),
            Sky::Dusk => (v(0.1, 0.12, 0.25), v(0.55, 0.32, 0.22)),
            Sky::Night => (v(0.02, 0.02, 0.02), v(0.04, 0.04, 0.04)),
        };
        let wet = if sky == Sky::Rain { 0.7 } else { 1.0 };
        Self {
            base: base * (dice.range(0.8, 1.2) * wet),
            spots: spots * (dice.range(0.8, 1.2) * wet),
            scale: dice.range(0.4, 4.0),
            rough: dice.range(0.02, 0.12),
            lanes: dice.chance(0.35).then(|| dice.range(2.5, 6.0)),
            trees: dice.shade(v(0.05, 0.12, 0.04), v(0.2, 0.3, 0.15)),
            skyline: if dice.chance(0.75) { dice.range(0.02, 0.2) } else { 0.0 },
            zenith: zenith * dice.range(0.85, 1.1),
            horizon: horizon * dice.range(0.85, 1.1),
            offset: (dice.range(0.0, 500.0), dice.range(0.0, 500.0)),
        }
    }

    /// Fills the canvas with ground and sky; two by two pixels are one.
    pub fn fill(&self, canvas: &mut Canvas) {
        let (lens, light, width) = (canvas.lens, canvas.light, canvas.width);
        let flat = light.on(v(1.0, 1.0, 1.0), v(0.0, 1.0, 0.0));
        for (y, rows) in canvas.pixels.chunks_exact_mut(width * 2).enumerate() {
            let (upper, lower) = rows.split_at_mut(width);
            for (x, (above, below)) in upper.chunks_exact_mut(2).zip(lower.chunks_exact_mut(2)).enumerate() {
                let ray = lens.ray(x as f32 * 2.0 + 1.0, y as f32 * 2.0 + 1.0);
                let (near, colour) = self.at(ray, lens.height_m, flat);
                for pixel in above.iter_mut().chain(below) {
                    pixel.colour = colour;
                    pixel.near = near;
                }
            }
        }
    }

    fn at(&self, ray: Vec3, height_m: f32, flat: Vec3) -> (f32, Vec3) {
        let away = if ray.y < -1e-4 { height_m / -ray.y } else { f32::INFINITY };
        if away < 250.0 {
            let (x, z) = (ray.x * away + self.offset.0, ray.z * away + self.offset.1);
            let broad = noise(x / self.scale, z / self.scale);
            let fine = noise(x * 9.0, z * 9.0);
            let mut colour = self.base.mix(self.spots, broad) * (1.0 + self.rough * (fine - 0.5) * 4.0);
            if let Some(gap) = self.lanes {
                let across = ((ray.x * away + 0.2 * ray.z * away) / gap).rem_euclid(1.0) * gap;
                if across < 0.14 && noise(x * 2.0, z * 2.0) > 0.25 {
                    colour = colour.mix(v(0.85, 0.85, 0.8), 0.75);
                }
            }
            let haze = (away / 250.0).powi(2);
            return (0.9999 / away, colour.times(flat).mix(self.horizon.times(flat), haze * 0.6));
        }
        let (side, up) = (ray.x.atan2(ray.z), ray.y / (ray.x * ray.x + ray.z * ray.z).sqrt());
        let line = self.skyline * (0.4 + noise(side * 14.0 + self.offset.0, 3.0) * 0.5 + noise(side * 60.0, 7.0) * 0.2);
        if up < line {
            let leaf = 0.7 + 0.6 * noise(side * 160.0, up * 160.0);
            return (1e-6, self.trees.times(flat) * leaf);
        }
        let cloud = noise(side * 5.0 + self.offset.1, up * 9.0) * noise(side * 11.0, up * 23.0 + self.offset.0);
        (0.0, self.horizon.mix(self.zenith, (up * 1.6).clamp(0.0, 1.0)).mix(self.horizon, cloud * 0.7))
    }
}

/// Smooth noise from 0 to 1 of two coordinates.
pub fn noise(x: f32, y: f32) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let (fx, fy) = (x - left, y - top);
    let (sx, sy) = (fx * fx * (3.0 - 2.0 * fx), fy * fy * (3.0 - 2.0 * fy));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a lattice point's hash")]
    let corner = |x: f32, y: f32| {
        let mut h = (x as i32 as u32).wrapping_mul(0x9e37_79b1) ^ (y as i32 as u32).wrapping_mul(0x85eb_ca77);
        h = (h ^ (h >> 15)).wrapping_mul(0x2c1b_3c6d);
        (h ^ (h >> 13)) as f32 / u32::MAX as f32
    };
    let upper = corner(left, top) * (1.0 - sx) + corner(left + 1.0, top) * sx;
    let lower = corner(left, top + 1.0) * (1.0 - sx) + corner(left + 1.0, top + 1.0) * sx;
    upper * (1.0 - sy) + lower * sy
}

/// Things that stand about, people-like ones among them; nothing of it is labelled.
pub fn furniture(dice: &Dice) -> Vec<Vec<Shape>> {
    let mut things = Vec::new();
    let count = 3 + dice.below(14);
    for _ in 0..count {
        let at = v(dice.range(-16.0, 16.0), 0.0, dice.range(5.0, 45.0));
        let shapes = match dice.below(12) {
            0 => posts(dice),
            1 => cone(),
            2 => barrel(dice),
            3 => bush(dice),
            4 => tree(dice),
            5 => sign(dice),
            6 => crates(dice),
            7 => transformer(dice),
            8 => pole(dice),
            9 => container(dice),
            10 => panels(dice),
            _ => pipes(dice),
        };
        let yaw = dice.range(0.0, std::f32::consts::TAU);
        things.push(shapes.into_iter().map(|shape| shape.placed(at, yaw)).collect());
    }
    for _ in 0..dice.below(4) {
        things.push(building(dice));
    }
    if dice.chance(0.4) {
        things.push(fence(dice));
    }
    things
}

fn grey(dice: &Dice) -> Vec3 {
    let level = dice.range(0.15, 0.75);
    v(level, level * dice.range(0.95, 1.02), level * dice.range(0.9, 1.05))
}

fn posts(dice: &Dice) -> Vec<Shape> {
    let (height, radius, colour) = (dice.range(0.7, 1.3), dice.range(0.05, 0.13), grey(dice));
    (0..=dice.below(4))
        .map(|n| v(n as f32 * 1.6, 0.0, 0.0))
        .map(|foot| Shape::Capsule(foot, radius, foot + v(0.0, height, 0.0), radius, colour))
        .collect()
}

fn cone() -> Vec<Shape> {
    let orange = v(0.9, 0.3, 0.04);
    vec![
        Shape::Capsule(v(0.0, 0.05, 0.0), 0.17, v(0.0, 0.68, 0.0), 0.03, orange),
        Shape::Capsule(v(0.0, 0.34, 0.0), 0.118, v(0.0, 0.44, 0.0), 0.095, v(0.9, 0.9, 0.9)),
    ]
}

fn barrel(dice: &Dice) -> Vec<Shape> {
    let colour = dice.shade(v(0.05, 0.05, 0.05), v(0.6, 0.4, 0.5));
    vec![Shape::Capsule(v(0.0, 0.25, 0.0), 0.29, v(0.0, 0.7, 0.0), 0.29, colour)]
}

fn bush(dice: &Dice) -> Vec<Shape> {
    let size = dice.range(0.3, 1.0);
    (0..9)
        .map(|_| {
            let at = v(dice.about() * size * 0.4, size * dice.range(0.3, 1.1), dice.about() * size * 0.4);
            let green = dice.shade(v(0.06, 0.15, 0.04), v(0.2, 0.36, 0.12));
            Shape::Capsule(at, size * dice.range(0.3, 0.55), at, size * 0.3, green)
        })
        .collect()
}

fn tree(dice: &Dice) -> Vec<Shape> {
    let tall = dice.range(2.5, 6.0);
    let mut shapes = vec![Shape::Capsule(v(0.0, 0.0, 0.0), 0.16, v(0.0, tall, 0.0), 0.1, v(0.2, 0.14, 0.09))];
    shapes.extend(bush(dice).into_iter().map(|shape| shape.placed(v(0.0, tall * 0.8, 0.0), 0.0)));
    shapes.extend(bush(dice).into_iter().map(|shape| shape.placed(v(0.2, tall * 0.6, 0.0), 1.0)));
    shapes
}

fn sign(dice: &Dice) -> Vec<Shape> {
    let (tall, half) = (dice.range(1.6, 2.6), dice.range(0.2, 0.45));
    let board =
        [v(-half, tall - half, 0.0), v(half, tall - half, 0.0), v(half, tall + half, 0.0), v(-half, tall + half, 0.0)];
    let colour = dice.pick(&[v(0.9, 0.8, 0.1), v(0.9, 0.9, 0.9), v(0.7, 0.05, 0.05), v(0.1, 0.2, 0.6)]);
    vec![
        Shape::Capsule(v(0.0, 0.0, 0.02), 0.04, v(0.0, tall, 0.02), 0.04, grey(dice)),
        Shape::Polygon(board.to_vec(), colour, 1.0),
    ]
}

fn crates(dice: &Dice) -> Vec<Shape> {
    let wood = dice.shade(v(0.3, 0.22, 0.12), v(0.6, 0.48, 0.3));
    let mut height = 0.0;
    (0..=dice.below(3))
        .map(|_| {
            let (half, tall) = (dice.range(0.3, 0.7), dice.range(0.3, 0.8));
            let shape = Shape::Prism(v(0.0, height, 0.0), (half, half), tall, dice.range(0.0, 1.0), (1.0, 1.0), wood);
            height += tall;
            shape
        })
        .collect()
}

fn transformer(dice: &Dice) -> Vec<Shape> {
    let paint = grey(dice);
    let (half, tall) = (dice.range(0.8, 1.6), dice.range(1.4, 2.6));
    let mut shapes = vec![Shape::Prism(v(0.0, 0.2, 0.0), (half, half * 1.4), tall, 0.0, (1.0, 1.0), paint)];
    for fin in 0..6 {
        let z = (fin as f32 - 2.5) * half * 0.42;
        shapes.push(Shape::Prism(v(half + 0.2, 0.4, z), (0.2, 0.05), tall * 0.8, 0.0, (1.0, 1.0), paint * 0.8));
    }
    for z in [-0.6, 0.0, 0.6] {
        let foot = v(0.0, tall + 0.2, z * half);
        shapes.push(Shape::Capsule(foot, 0.12, foot + v(0.0, 0.7, 0.0), 0.05, v(0.45, 0.25, 0.18)));
    }
    shapes
}

fn pole(dice: &Dice) -> Vec<Shape> {
    let (tall, colour) = (dice.range(4.0, 9.0), grey(dice));
    let top = v(0.0, tall, 0.0);
    vec![
        Shape::Capsule(v(0.0, 0.0, 0.0), 0.11, top, 0.07, colour),
        Shape::Capsule(top, 0.05, top + v(1.1, 0.15, 0.0), 0.05, colour),
        Shape::Capsule(top + v(1.0, 0.1, 0.0), 0.13, top + v(1.3, 0.1, 0.0), 0.13, v(0.7, 0.7, 0.65)),
    ]
}

fn container(dice: &Dice) -> Vec<Shape> {
    let paint = dice.shade(v(0.08, 0.08, 0.08), v(0.6, 0.4, 0.45));
    let mut shapes =
        vec![Shape::Prism(v(0.0, 0.1, 0.0), (1.22, dice.pick(&[1.5, 3.0, 6.0])), 2.55, 0.0, (1.0, 1.0), paint)];
    if dice.chance(0.3) {
        shapes.push(Shape::Prism(v(0.3, 2.65, 0.0), (1.22, 3.0), 2.55, 0.0, (1.0, 1.0), paint * 0.8));
    }
    shapes
}

fn panels(dice: &Dice) -> Vec<Shape> {
    let (tilt, glass) = (dice.range(0.2, 0.6), dice.shade(v(0.02, 0.03, 0.08), v(0.06, 0.09, 0.2)));
    let mut shapes = Vec::new();
    for n in 0..(2 + dice.below(5)) {
        let (x, rise) = (n as f32 * 1.15, 1.8 * tilt.sin());
        let low = v(x, 0.6, 0.0);
        let (wide, deep) = (v(1.1, 0.0, 0.0), v(0.0, rise, 1.8 * tilt.cos()));
        shapes.push(Shape::Polygon(vec![low, low + wide, low + wide + deep, low + deep], glass, 1.0));
        shapes.push(Shape::Capsule(v(x, 0.0, 0.9), 0.04, v(x, 0.6 + rise / 2.0, 0.9), 0.04, grey(dice)));
    }
    shapes
}

fn pipes(dice: &Dice) -> Vec<Shape> {
    let (colour, tall) = (grey(dice), dice.range(0.6, 1.9));
    let (low, high, over) = (v(0.0, 0.0, 0.0), v(0.0, tall, 0.0), v(dice.range(0.5, 3.0), tall, 0.0));
    let radius = dice.range(0.06, 0.18);
    vec![
        Shape::Capsule(low, radius, high, radius, colour),
        Shape::Capsule(high, radius, over, radius, colour),
        Shape::Capsule(over, radius, v(over.x, 0.0, 0.0), radius, colour),
        Shape::Capsule(
            high,
            radius * 1.5,
            high + v(0.0, 0.15, 0.0),
            radius * 1.2,
            dice.pick(&[v(0.7, 0.1, 0.05), colour]),
        ),
    ]
}

fn building(dice: &Dice) -> Vec<Shape> {
    let (half, tall, z) = (dice.range(3.0, 14.0), dice.range(3.0, 11.0), dice.range(28.0, 80.0));
    let (x, paint) = (dice.range(-40.0, 40.0), dice.shade(v(0.25, 0.22, 0.2), v(0.75, 0.7, 0.66)));
    let mut shapes = vec![Shape::Prism(v(x, 0.0, z), (half, 5.0), tall, 0.0, (1.0, 1.0), paint)];
    let face = z - 5.03;
    let (mut y, pane) = (1.0, dice.shade(v(0.04, 0.05, 0.06), v(0.3, 0.35, 0.4)));
    while y + 1.4 < tall {
        let mut left = x - half + 0.7;
        while left + 1.3 < x + half {
            let corners =
                [v(left, y, face), v(left + 1.2, y, face), v(left + 1.2, y + 1.3, face), v(left, y + 1.3, face)];
            shapes.push(Shape::Polygon(corners.to_vec(), pane, 1.0));
            left += 2.4;
        }
        y += 3.0;
    }
    shapes
}

fn fence(dice: &Dice) -> Vec<Shape> {
    let (z, slope, tall) = (dice.range(4.0, 30.0), dice.range(-0.3, 0.3), dice.range(1.4, 2.4));
    let (steel, mesh) = (grey(dice), dice.range(0.15, 0.4));
    let at = |x: f32, y: f32| v(x, y, (z + x * slope).max(2.0));
    let mut shapes = Vec::new();
    for n in -8..8i8 {
        let x = f32::from(n) * 2.5;
        shapes.push(Shape::Capsule(at(x, 0.0), 0.04, at(x, tall), 0.04, steel));
        for rail in [0.08, 0.5, 0.95] {
            shapes.push(Shape::Capsule(at(x, tall * rail), 0.016, at(x + 2.5, tall * rail), 0.016, steel));
        }
        // Wire mesh: from afar it is a veil.
        let veil = [at(x, 0.05), at(x + 2.5, 0.05), at(x + 2.5, tall), at(x, tall)];
        shapes.push(Shape::Polygon(veil.to_vec(), steel, mesh));
    }
    shapes
}
