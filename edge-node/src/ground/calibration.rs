//! Where on the ground a point of a camera's picture is: a plane homography through four places or more that somebody has
//! marked in the picture and on the map. Pure.
//!
//! Least squares of the direct linear transformation with normalised points (Hartley and Zisserman, "Multiple View Geometry
//! in Computer Vision", 2nd ed., algorithm 4.2 with h33 = 1, which no camera above its ground breaks).

use serde::Deserialize;

use super::{Origin, Place, Point};

/// Marks of one camera.
const MARKS_MAX: usize = 64;
/// A mark may be wrong by this much at most, metres: more, and one of them is not where it was said to be.
const ERROR_MAX_M: f64 = 5.0;
/// What one of four marks may be wrong by, metres.
const UNSEEN_M: f64 = 1.0;
/// A mark, and a person's feet, are found in the picture to this part of its height.
const BLUR: f64 = 0.003;
/// Unknowns of a homography.
const UNKNOWNS: usize = 8;
/// A pivot smaller than this: the marks do not span a plane.
const SINGULAR: f64 = 1e-9;

/// One mark: a place that is seen.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// Where in the picture: (0, 0) is top left, (1, 1) bottom right.
    pub image: [f64; 2],
    /// Where on the map, latitude and longitude in degrees.
    pub place_deg: Place,
}

/// From a picture to the ground.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calibration {
    /// Row by row.
    matrix: [[f64; 3]; 3],
    /// What a place at a mark may be wrong by, metres: the worst of them, and what a few pixels mean at the farthest.
    pub error_m: f64,
}

/// A shift and a scale that bring points around zero.
#[derive(Debug, Clone, Copy)]
struct Frame {
    centre: [f64; 2],
    scale: f64,
}

impl Frame {
    fn of(points: &[[f64; 2]]) -> Self {
        let count = points.len().max(1) as f64;
        let mean = |n: usize| points.iter().filter_map(|point| point.get(n)).sum::<f64>() / count;
        let centre = [mean(0), mean(1)];
        let far = points.iter().map(|[x, y]| (x - centre[0]).hypot(y - centre[1])).sum::<f64>() / count;
        Self { centre, scale: std::f64::consts::SQRT_2 / far.max(1e-12) }
    }

    fn to(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        [(x - self.centre[0]) * self.scale, (y - self.centre[1]) * self.scale]
    }
}

impl Calibration {
    /// Through these marks.
    ///
    /// # Errors
    /// What is wrong with them, for people: fewer than four, outside the picture, on one line, beyond the horizon, or one that
    /// is off by more than five metres.
    pub fn new(marks: &[Mark], origin: &Origin) -> Result<Self, String> {
        if !(4..=MARKS_MAX).contains(&marks.len()) {
            return Err(format!("expected 4 to {MARKS_MAX} marks, found {}", marks.len()));
        }
        if let Some(n) = marks.iter().position(|mark| !mark.image.iter().all(|part| (0.0..=1.0).contains(part))) {
            return Err(format!("expected marks in the picture, 0 to 1, mark {n} is not"));
        }
        let seen: Vec<[f64; 2]> = marks.iter().map(|mark| mark.image).collect();
        let ground: Vec<[f64; 2]> = marks
            .iter()
            .map(|mark| origin.point(mark.place_deg.lat_deg, mark.place_deg.lon_deg))
            .map(|point| [point.east, point.north])
            .collect();
        let (picture, map) = (Frame::of(&seen), Frame::of(&ground));
        let mut sums = [[0.0; UNKNOWNS + 1]; UNKNOWNS];
        for (seen, ground) in seen.iter().zip(&ground) {
            let ([x, y], [u, v]) = (picture.to(*seen), map.to(*ground));
            add(&mut sums, [x, y, 1.0, 0.0, 0.0, 0.0, -u * x, -u * y], u);
            add(&mut sums, [0.0, 0.0, 0.0, x, y, 1.0, -v * x, -v * y], v);
        }
        let h = solve(sums).ok_or("expected marks that span a plane, these lie on a line")?;
        let inner = [[h[0], h[1], h[2]], [h[3], h[4], h[5]], [h[6], h[7], 1.0]];
        let mut found = Self { matrix: compose(&inner, &picture, &map), error_m: 0.0 };
        let mut worst = (0, 0.0);
        for (n, (seen, ground)) in seen.iter().zip(&ground).enumerate() {
            let at = found.place(*seen).ok_or_else(|| format!("expected marks below the horizon, mark {n} is not"))?;
            let off = (at.east - ground[0]).hypot(at.north - ground[1]);
            worst = if off > worst.1 { (n, off) } else { worst };
        }
        // Four marks always agree: nothing shows that one of them is wrong.
        let unseen = if marks.len() == 4 { UNSEEN_M } else { 0.0 };
        found.error_m = worst.1 + unseen + found.blur(&seen);
        if found.is_mirrored() {
            return Err("expected marks as a camera above its ground sees them, these are mirrored".into());
        }
        match worst {
            (n, off) if off > ERROR_MAX_M || !off.is_finite() => {
                Err(format!("expected marks that agree within {ERROR_MAX_M} m, mark {n} is off by {off:.1} m"))
            }
            _ => Ok(found),
        }
    }

    /// What a few pixels up or down mean, at the worst of these points; metres.
    pub fn blur(&self, seen: &[[f64; 2]]) -> f64 {
        let moved = |[x, y]: [f64; 2]| {
            let at = self.place([x, y])?;
            let there =
                [y - BLUR, y + BLUR].map(|y| self.place([x, y]).map_or(f64::INFINITY, |there| at.distance(there)));
            Some(there.into_iter().fold(0.0, f64::max))
        };
        seen.iter().filter_map(|point| moved(*point)).fold(0.0, f64::max)
    }

    /// Whether left is right on the ground: a picture's height counts downwards, so a true one turns the other way round.
    fn is_mirrored(&self) -> bool {
        let [a, b, c] = self.matrix;
        let minor = |n: usize, m: usize| {
            let at = |row: [f64; 3], column: usize| row.get(column).copied().unwrap_or(0.0);
            at(b, n) * at(c, m) - at(b, m) * at(c, n)
        };
        a[0] * minor(1, 2) - a[1] * minor(0, 2) + a[2] * minor(0, 1) >= 0.0
    }

    /// Where a point of the picture is; `None`: at the horizon or above it, or so far that it is no place of a site.
    pub fn place(&self, [x, y]: [f64; 2]) -> Option<Point> {
        let [a, b, c] = self.matrix;
        let row = |row: [f64; 3]| row[0] * x + row[1] * y + row[2];
        let depth = row(c);
        if depth < 1e-6 {
            return None;
        }
        let point = Point { east: row(a) / depth, north: row(b) / depth };
        (point.east.abs() < 20_000.0 && point.north.abs() < 20_000.0).then_some(point)
    }
}

/// One equation's part of the normal equations.
fn add(sums: &mut [[f64; UNKNOWNS + 1]; UNKNOWNS], row: [f64; UNKNOWNS], right: f64) {
    for (sum, own) in sums.iter_mut().zip(row) {
        for (cell, other) in sum.iter_mut().zip(row.into_iter().chain([right])) {
            *cell += own * other;
        }
    }
}

/// Gauss's elimination with the largest pivot first.
fn solve(mut rows: [[f64; UNKNOWNS + 1]; UNKNOWNS]) -> Option<[f64; UNKNOWNS]> {
    let at = |row: &[f64; UNKNOWNS + 1], column: usize| row.get(column).copied().unwrap_or(0.0);
    for column in 0..UNKNOWNS {
        let (best, pivot) = rows
            .iter()
            .copied()
            .enumerate()
            .skip(column)
            .max_by(|(_, a), (_, b)| at(a, column).abs().total_cmp(&at(b, column).abs()))?;
        if at(&pivot, column).abs() < SINGULAR {
            return None;
        }
        rows.swap(column, best);
        for (_, row) in rows.iter_mut().enumerate().filter(|(n, _)| *n != column) {
            let times = at(row, column) / at(&pivot, column);
            for (cell, other) in row.iter_mut().zip(pivot) {
                *cell -= times * other;
            }
        }
    }
    let mut found = [0.0; UNKNOWNS];
    for (n, (value, row)) in found.iter_mut().zip(rows).enumerate() {
        *value = at(&row, UNKNOWNS) / at(&row, n);
    }
    Some(found)
}

/// The homography between unnormalised points, its sign such that what is below the horizon has a positive depth.
fn compose(inner: &[[f64; 3]; 3], picture: &Frame, map: &Frame) -> [[f64; 3]; 3] {
    // Of what the columns 1, x and y become: a homography is linear in them.
    let column = |[x, y, w]: [f64; 3]| {
        let seen = [(x - picture.centre[0] * w) * picture.scale, (y - picture.centre[1] * w) * picture.scale, w];
        let row = |row: &[f64; 3]| row.iter().zip(seen).map(|(a, b)| a * b).sum::<f64>();
        let [u, v, depth] = [row(&inner[0]), row(&inner[1]), row(&inner[2])];
        [u / map.scale + map.centre[0] * depth, v / map.scale + map.centre[1] * depth, depth]
    };
    let [x, y, w] = [column([1.0, 0.0, 0.0]), column([0.0, 1.0, 0.0]), column([0.0, 0.0, 1.0])];
    [[x[0], y[0], w[0]], [x[1], y[1], w[1]], [x[2], y[2], w[2]]]
}
