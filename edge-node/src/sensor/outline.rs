//! Areas and lines of a picture, in shares of its sides: (0, 0) is top left, (1, 1) bottom right.

use serde::Deserialize;

use crate::ground::Point;
use crate::ground::polygon::{contains, crossing};

/// Cells of a picture in which two areas are compared, in each direction.
const CELLS: u16 = 200;

/// The corners of an area.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Outline(pub Vec<[f32; 2]>);

impl Outline {
    /// What is wrong with it, if anything.
    pub fn problem(&self) -> Option<String> {
        if self.0.len() < 3 {
            return Some(format!("expected at least 3 corners, found {}", self.0.len()));
        }
        if self.0.iter().flatten().any(|v| !(0.0..=1.0).contains(v)) {
            return Some("expected coordinates from 0 to 1".into());
        }
        crossing(self.corners()).map(|_| "expected a polygon whose sides do not cross".into())
    }

    /// Whether the bottom-centre point of a box (pixels of a picture of `size`) is in it. A box that reaches below the
    /// picture stands at its edge.
    pub fn holds(&self, edges: &[f32; 4], size: (u32, u32)) -> bool {
        contains(self.corners(), point(foot(edges, size)))
    }

    /// Whether it has anything in common with another one, of at least a two-hundredth of the picture's sides.
    pub fn overlaps(&self, other: &Self) -> bool {
        // Looked at as a camera does, in small cells: areas that share a corner, a side or their middle are all found.
        let place = |n: u16| (f64::from(n) + 0.5) / f64::from(CELLS);
        let mut cells = (0..CELLS).flat_map(|y| (0..CELLS).map(move |x| (x, y)));
        cells.any(|(x, y)| {
            let at = Point { east: place(x), north: place(y) };
            contains(self.corners(), at) && contains(other.corners(), at)
        })
    }

    /// Its corners as points of a plane.
    pub fn corners(&self) -> impl Iterator<Item = Point> + Clone + '_ {
        self.0.iter().copied().map(point)
    }
}

/// The bottom-centre point of a box, kept inside the picture.
pub fn foot([left, _, right, bottom]: &[f32; 4], size: (u32, u32)) -> [f32; 2] {
    let x = ((left + right) / 2.0 / size.0.max(1) as f32).clamp(0.0, 1.0);
    // A hair inside, so that a person cut by the picture's edge is in an area that ends there.
    [x, (bottom / size.1.max(1) as f32).clamp(0.0, 0.9999)]
}

/// The picture as a plane.
fn point([x, y]: [f32; 2]) -> Point {
    Point { east: f64::from(x), north: f64::from(y) }
}
