//! The picture that is drawn: colour, depth and whose each pixel is. Everything is made of tapered capsules and convex
//! polygons in space.

use super::space::{Lens, Seen, Vec3, v};

/// One pixel.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pixel {
    /// Its colour.
    pub colour: Vec3,
    /// One over its distance, 1/m; 0: the sky.
    pub near: f32,
    /// Whose it is; 0: the surroundings.
    pub owner: u16,
    stamp: u16,
    shadow: bool,
}

/// Light of the scene.
#[derive(Debug, Clone, Copy)]
pub struct Light {
    /// Towards the sun or the lamp, length 1.
    pub towards: Vec3,
    /// Its colour.
    pub direct: Vec3,
    /// What comes from everywhere.
    pub ambient: Vec3,
}

impl Light {
    /// A colour on a surface of this normal.
    pub fn on(&self, colour: Vec3, normal: Vec3) -> Vec3 {
        colour.times(self.ambient + self.direct * normal.dot(self.towards).max(0.0))
    }
}

/// The picture.
#[derive(Debug)]
pub struct Canvas {
    /// Pixels across.
    pub width: usize,
    /// Pixels down.
    pub height: usize,
    /// Row by row.
    pub pixels: Vec<Pixel>,
    /// How it is looked at.
    pub lens: Lens,
    /// How it is lit.
    pub light: Light,
    owner: u16,
    areas: Vec<u32>,
}

/// A whole number of pixels, kept inside the picture.
pub fn whole(value: f32, most: usize) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "kept from 0 to the picture's side")]
    let value = value.clamp(0.0, most as f32) as usize;
    value
}

impl Canvas {
    /// An empty picture.
    pub fn new((width, height): (usize, usize), lens: Lens, light: Light) -> Self {
        let pixels = vec![Pixel::default(); width * height];
        Self { width, height, pixels, lens, light, owner: 0, areas: vec![0] }
    }

    /// What is drawn from here on belongs to a new thing: its number.
    pub fn begin(&mut self) -> u16 {
        self.areas.push(0);
        self.owner = u16::try_from(self.areas.len() - 1).unwrap_or(u16::MAX);
        self.owner
    }

    /// What is drawn from here on belongs to the surroundings.
    pub fn surroundings(&mut self) {
        self.owner = 0;
    }

    /// Pixels that a thing would cover if nothing stood before it.
    pub fn area(&self, owner: u16) -> u32 {
        self.areas.get(usize::from(owner)).copied().unwrap_or(0)
    }

    /// Asks for each pixel of a rectangle what is there: one over its distance, its colour, how much of it.
    fn paint(&mut self, (low, high): ((f32, f32), (f32, f32)), at: impl Fn(f32, f32) -> Option<(f32, Vec3, f32)>) {
        let (left, right) = (whole(low.0.floor(), self.width), whole(high.0.ceil() + 1.0, self.width));
        let (top, bottom) = (whole(low.1.floor(), self.height), whole(high.1.ceil() + 1.0, self.height));
        let mut area = 0;
        for (y, row) in self.pixels.chunks_exact_mut(self.width).enumerate().take(bottom).skip(top) {
            for (x, pixel) in row.iter_mut().enumerate().take(right).skip(left) {
                let Some((near, colour, cover)) = at(x as f32 + 0.5, y as f32 + 0.5) else { continue };
                if self.owner != 0 && pixel.stamp != self.owner {
                    pixel.stamp = self.owner;
                    area += 1;
                }
                if near <= pixel.near {
                    continue;
                }
                pixel.colour = pixel.colour.mix(colour, cover);
                if cover > 0.5 {
                    pixel.near = near;
                    pixel.owner = self.owner;
                }
            }
        }
        if let Some(sum) = self.areas.get_mut(usize::from(self.owner)) {
            *sum += area;
        }
    }

    /// A capsule that grows from one radius to another; lit as round.
    pub fn capsule(&mut self, a: Vec3, ra: f32, b: Vec3, rb: f32, colour: Vec3) {
        let (Some(sa), Some(sb)) = (self.lens.see(a), self.lens.see(b)) else { return };
        let focal = self.lens.focal_px;
        let (pa, pb) = (ra * focal * sa.near, rb * focal * sb.near);
        let light = self.light;
        self.round(sa, pa, sb, pb, |across, t| {
            let axis = v(sb.x - sa.x, sa.y - sb.y, 0.0).unit();
            let side = v(axis.y, -axis.x, 0.0);
            let normal = side * across + v(0.0, 0.25, -(1.0 - across * across).max(0.0).sqrt());
            (light.on(colour, normal.unit()), t)
        });
    }

    fn round(&mut self, a: Seen, pa: f32, b: Seen, pb: f32, colour: impl Fn(f32, f32) -> (Vec3, f32)) {
        let most = pa.max(pb);
        let low = (a.x.min(b.x) - most, a.y.min(b.y) - most);
        let high = (a.x.max(b.x) + most, a.y.max(b.y) + most);
        let (dx, dy) = (b.x - a.x, b.y - a.y);
        let length2 = (dx * dx + dy * dy).max(1e-6);
        self.paint((low, high), |x, y| {
            let (px, py) = (x - a.x, y - a.y);
            let t = ((px * dx + py * dy) / length2).clamp(0.0, 1.0);
            let (ex, ey) = (px - t * dx, py - t * dy);
            let radius = pa + (pb - pa) * t;
            let distance = (ex * ex + ey * ey).sqrt();
            // Thinner than a pixel it is fainter, not gone.
            let reach = radius.max(0.5);
            if distance > reach {
                return None;
            }
            let side = (px * dy - py * dx) / length2.sqrt() / reach;
            let (colour, t) = colour(side.clamp(-1.0, 1.0), t);
            Some((a.near + (b.near - a.near) * t, colour, (radius / reach).min(1.0)))
        });
    }

    /// A flat convex polygon, lit by its normal, with a pattern: a factor from where on it (two corners' shares).
    pub fn polygon(&mut self, corners: &[Vec3], colour: Vec3, cover: f32) {
        let [first, second, third, ..] = corners else { return };
        let mut normal = (*second - *first).cross(*third - *first).unit();
        // Seen from the camera's side.
        if normal.dot(*first - v(0.0, self.lens.height_m, 0.0)) > 0.0 {
            normal = normal * -1.0;
        }
        let lit = self.light.on(colour, normal);
        let seen: Option<Vec<Seen>> = corners.iter().map(|corner| self.lens.see(*corner)).collect();
        let Some(seen) = seen else { return };
        for pair in seen.windows(2).skip(1) {
            if let (Some(first), [second, third]) = (seen.first(), pair) {
                self.triangle([*first, *second, *third], lit, cover);
            }
        }
    }

    fn triangle(&mut self, [a, b, c]: [Seen; 3], colour: Vec3, cover: f32) {
        let area = (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x);
        if area.abs() < 1e-4 {
            return;
        }
        let low = (a.x.min(b.x).min(c.x), a.y.min(b.y).min(c.y));
        let high = (a.x.max(b.x).max(c.x), a.y.max(b.y).max(c.y));
        self.paint((low, high), |x, y| {
            let wb = ((x - a.x) * (c.y - a.y) - (y - a.y) * (c.x - a.x)) / area;
            let wc = ((b.x - a.x) * (y - a.y) - (b.y - a.y) * (x - a.x)) / area;
            let inside = wb >= 0.0 && wc >= 0.0 && wb + wc <= 1.0;
            inside.then_some((a.near + (b.near - a.near) * wb + (c.near - a.near) * wc, colour, cover))
        });
    }

    /// A box on its base: centre of the base, half width (x), height, half length (z), turned by `yaw`; `top` shrinks
    /// its upper face.
    pub fn prism(&mut self, base: Vec3, half: (f32, f32), height: f32, yaw: f32, top: (f32, f32), colour: Vec3) {
        let ring = |y: f32, scale: (f32, f32)| {
            [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]
                .map(|(sx, sz)| base + v(sx * half.0 * scale.0, y, sz * half.1 * scale.1).turned(yaw))
        };
        let (low, high) = (ring(0.0, (1.0, 1.0)), ring(height, top));
        self.polygon(&high, colour, 1.0);
        let [a, b, c, d] = low;
        let [e, f, g, h] = high;
        for side in [[a, b, f, e], [b, c, g, f], [c, d, h, g], [d, a, e, h]] {
            self.polygon(&side, colour, 1.0);
        }
    }

    /// Darkens the ground where a capsule takes the sun away. Everything that casts is told before it is drawn.
    pub fn shadow(&mut self, a: Vec3, ra: f32, b: Vec3, rb: f32) {
        let fall = |p: Vec3| p - self.light.towards * (p.y / self.light.towards.y.max(0.2));
        let (fa, fb) = (fall(a), fall(b));
        let (Some(sa), Some(sb)) = (self.lens.see(fa), self.lens.see(fb)) else { return };
        let focal = self.lens.focal_px;
        let (pa, pb) = (ra * focal * sa.near, rb * focal * sb.near);
        let most = pa.max(pb);
        let (left, right) = (whole(sa.x.min(sb.x) - most, self.width), whole(sa.x.max(sb.x) + most + 1.0, self.width));
        let (top, bottom) =
            (whole(sa.y.min(sb.y) - most, self.height), whole(sa.y.max(sb.y) + most + 1.0, self.height));
        let (dx, dy) = (sb.x - sa.x, sb.y - sa.y);
        let length2 = (dx * dx + dy * dy).max(1e-6);
        for (y, row) in self.pixels.chunks_exact_mut(self.width).enumerate().take(bottom).skip(top) {
            for (x, pixel) in row.iter_mut().enumerate().take(right).skip(left) {
                let (px, py) = (x as f32 - sa.x, y as f32 - sa.y);
                let t = ((px * dx + py * dy) / length2).clamp(0.0, 1.0);
                let (ex, ey) = (px - t * dx, (py - t * dy) * 1.8);
                let radius = pa + (pb - pa) * t;
                if pixel.owner == 0 && ex * ex + ey * ey < radius * radius {
                    pixel.shadow = true;
                }
            }
        }
    }

    /// Darkens what was told to be in shadow.
    pub fn shade(&mut self, left: f32) {
        for pixel in &mut self.pixels {
            if std::mem::take(&mut pixel.shadow) {
                pixel.colour = pixel.colour * left;
            }
        }
    }
}
