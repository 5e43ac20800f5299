//! From the drawn canvas to what a camera gives: light, fog, rain, blur, noise, eight bits.

use super::canvas::Canvas;
use super::place::Sky;
use super::space::{Dice, Vec3, v};

/// An 8-bit picture, R G B.
#[derive(Debug, Clone)]
pub struct Shot {
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// Row by row.
    pub rgb: Vec<u8>,
}

/// What this camera does to a picture: the same for a whole clip.
#[derive(Debug, Clone, Copy)]
pub struct Grade {
    sky: Sky,
    fog: f32,
    lamp_m: f32,
    exposure: f32,
    gamma: f32,
    tint: Vec3,
    vignette: f32,
    noise: f32,
    blur: usize,
    smear: usize,
    streaks: usize,
}

impl Grade {
    /// A camera for a scene.
    pub fn draw(dice: &Dice, sky: Sky) -> Self {
        let dark = matches!(sky, Sky::Night | Sky::Dusk);
        let tint = v(dice.range(0.92, 1.08), 1.0, dice.range(0.92, 1.08));
        Self {
            sky,
            fog: if dice.chance(0.15) { dice.range(0.005, 0.03) } else { 0.0 },
            lamp_m: dice.range(14.0, 34.0),
            exposure: dice.range(0.85, 1.25),
            gamma: dice.range(0.75, 1.1),
            tint,
            vignette: dice.range(0.0, 0.35),
            noise: if dark { dice.range(0.008, 0.05) } else { dice.range(0.002, 0.02) },
            blur: if dice.chance(0.3) { 1 + dice.below(2) } else { 0 },
            smear: if dice.chance(0.1) { 2 + dice.below(4) } else { 0 },
            streaks: if sky == Sky::Rain { 60 + dice.below(300) } else { 0 },
        }
    }

    /// Strength of its noise, of 1.
    pub const fn noise(&self) -> f32 {
        self.noise
    }

    /// The picture, half as wide and high as the canvas. `dice` is for what changes from picture to picture.
    pub fn finish(&self, canvas: &Canvas, dice: &Dice) -> Shot {
        let (width, height) = (canvas.width / 2, canvas.height / 2);
        let mut picture = Vec::with_capacity(width * height);
        for (y, rows) in canvas.pixels.chunks_exact(canvas.width * 2).enumerate() {
            let (upper, lower) = rows.split_at(canvas.width);
            for (x, (above, below)) in upper.chunks_exact(2).zip(lower.chunks_exact(2)).enumerate() {
                let four = above.iter().chain(below);
                let (colour, near) = four.fold((Vec3::default(), 0.0f32), |(sum, near), pixel| {
                    (sum + pixel.colour * 0.25, near.max(pixel.near))
                });
                let (dx, dy) = (x as f32 / width as f32 - 0.5, y as f32 / height as f32 - 0.5);
                picture.push(self.tone(colour, near, dx * dx + dy * dy));
            }
        }
        let gain = self.expose(&mut picture);
        self.rain(&mut picture, width, dice);
        for _ in 0..self.blur {
            picture = blurred(&picture, width, 1);
            picture = transposed(&blurred(&transposed(&picture, width), height, 1), height);
        }
        if self.smear > 0 {
            picture = blurred(&picture, width, self.smear);
        }
        let mut rgb = Vec::with_capacity(picture.len() * 3);
        for colour in picture {
            let noise = self.noise * gain.sqrt();
            let grain = dice.about() * noise;
            let own = if self.sky == Sky::Night { 0.0 } else { noise };
            for level in [colour.x, colour.y, colour.z] {
                rgb.push(byte(level + grain + own * 0.5 * dice.about()));
            }
        }
        Shot { width, height, rgb }
    }

    fn tone(&self, colour: Vec3, near: f32, off: f32) -> Vec3 {
        let away = 1.0 / near.max(1e-3);
        let mut colour = colour;
        if self.sky == Sky::Night {
            let lit = (self.lamp_m / away).powi(2).min(1.6) * (1.0 - 1.1 * off);
            let level = colour.luma() * lit.max(0.015) + 0.012;
            colour = v(level, level, level);
        } else {
            colour = colour.times(self.tint);
        }
        let clear = (-self.fog * away.min(300.0)).exp();
        colour = v(0.7, 0.7, 0.72).mix(colour, if self.sky == Sky::Night { 1.0 } else { clear });
        colour * (1.0 - self.vignette * off * 2.0)
    }

    /// Automatic exposure, as every camera has it, and its gamma. Gives the gain.
    fn expose(&self, picture: &mut [Vec3]) -> f32 {
        let mean = picture.iter().map(|colour| colour.luma()).sum::<f32>() / picture.len().max(1) as f32;
        let (wanted, most) = match self.sky {
            Sky::Day | Sky::Overcast | Sky::Rain => (0.38, 2.0),
            Sky::Dusk => (0.26, 5.0),
            Sky::Night => (0.22, 3.0),
        };
        let gain = (wanted / mean.max(1e-3)).clamp(0.6, most);
        let bend = |c: f32| (c * gain * self.exposure).max(0.0).powf(self.gamma);
        for colour in picture {
            *colour = v(bend(colour.x), bend(colour.y), bend(colour.z));
        }
        gain.max(1.0)
    }

    fn rain(&self, picture: &mut [Vec3], width: usize, dice: &Dice) {
        for _ in 0..self.streaks {
            let (start, length, slant) = (dice.below(picture.len()), 4 + dice.below(14), dice.below(3));
            let bright = dice.range(0.05, 0.25);
            for step in 0..length {
                if let Some(pixel) = picture.get_mut(start + step * width + step * slant / 6) {
                    *pixel = pixel.mix(v(0.85, 0.85, 0.88), bright);
                }
            }
        }
    }
}

fn byte(level: f32) -> u8 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "kept from 0 to 255")]
    let byte = (level * 255.0).round().clamp(0.0, 255.0) as u8;
    byte
}

/// The mean of each pixel and so many on both sides of it in its row.
fn blurred(picture: &[Vec3], width: usize, reach: usize) -> Vec<Vec3> {
    let mut out = Vec::with_capacity(picture.len());
    for row in picture.chunks_exact(width) {
        for x in 0..width {
            let (from, to) = (x.saturating_sub(reach), (x + reach + 1).min(width));
            let window = row.get(from..to).unwrap_or_default();
            let sum = window.iter().fold(Vec3::default(), |sum, colour| sum + *colour);
            out.push(sum * (1.0 / window.len().max(1) as f32));
        }
    }
    out
}

fn transposed(picture: &[Vec3], width: usize) -> Vec<Vec3> {
    (0..width).flat_map(|x| picture.iter().skip(x).step_by(width).copied()).collect()
}
