//! Polygons on the ground, refused when no fence can be made of them.

use super::{Origin, Place, Point};

/// Corners that ArduPilot's fence can hold (MAV_MISSION_TYPE_FENCE, one byte of count in its storage, half of its room).
pub const CORNERS_MAX: usize = 84;
/// Corners nearer to each other than this are one, metres.
const APART_M: f64 = 0.1;
/// The farthest corner from the origin, metres: beyond it the plane is not the ground.
const FAR_M: f64 = 20_000.0;

/// A polygon whose sides do not cross.
#[derive(Debug, Clone, PartialEq)]
pub struct Polygon(Vec<Point>);

impl Polygon {
    /// A polygon of places.
    ///
    /// # Errors
    /// What is wrong with it, for people: fewer than three corners or more than 84, two of them at one place, sides that
    /// cross, no area, or larger than 20 km.
    pub fn new(places: &[Place], origin: &Origin) -> Result<Self, String> {
        if !(3..=CORNERS_MAX).contains(&places.len()) {
            return Err(format!("expected 3 to {CORNERS_MAX} corners, found {}", places.len()));
        }
        let corners: Vec<Point> = places.iter().map(|place| origin.point(place.lat_deg, place.lon_deg)).collect();
        for (n, corner) in corners.iter().enumerate() {
            if corner.distance(Point::default()) > FAR_M {
                return Err(format!("expected corners within 20 km of the origin, corner {n} is farther"));
            }
            if let Some(twin) = corners.iter().take(n).position(|other| other.distance(*corner) < APART_M) {
                return Err(format!("expected each corner once, corners {twin} and {n} are at one place"));
            }
        }
        if let Some((one, other)) = crossing(corners.iter().copied()) {
            return Err(format!("expected sides that do not cross, sides {one} and {other} do"));
        }
        let polygon = Self(corners);
        match polygon.area() < 1.0 {
            true => Err("expected an area of at least a square metre".into()),
            false => Ok(polygon),
        }
    }

    /// A polygon of points that somebody has made sure of: a zone of a picture on its ground.
    pub fn of_points(corners: Vec<Point>) -> Self {
        Self(corners)
    }

    /// Metres from a point to it; none within.
    pub fn distance(&self, at: Point) -> f64 {
        if self.contains(at) { 0.0 } else { self.edge_distance(at) }
    }

    fn sides(&self) -> impl Iterator<Item = (Point, Point)> + Clone + '_ {
        sides(self.0.iter().copied())
    }

    /// Square metres (the shoelace formula).
    fn area(&self) -> f64 {
        (self.sides().map(|(a, b)| a.east * b.north - b.east * a.north).sum::<f64>() / 2.0).abs()
    }

    /// Whether a point is in it.
    pub fn contains(&self, at: Point) -> bool {
        contains(self.0.iter().copied(), at)
    }

    /// Whether the straight way between two points touches its edge.
    pub fn crossed_by(&self, from: Point, to: Point) -> bool {
        self.sides().any(|side| cross(side, (from, to)))
    }

    /// How many of its sides the straight way between two points crosses.
    pub fn crossings(&self, from: Point, to: Point) -> usize {
        self.sides().filter(|side| cross(*side, (from, to))).count()
    }

    /// Metres from a straight way to it; none where the way leads through it.
    pub fn distance_to_way(&self, way: (Point, Point)) -> f64 {
        let (from, to) = way;
        if self.contains(from) || self.contains(to) || self.crossed_by(from, to) {
            return 0.0;
        }
        let corners = self.0.iter().map(|corner| corner.distance_to_way(way));
        corners.fold(self.edge_distance(from).min(self.edge_distance(to)), f64::min)
    }

    /// Metres from a point to its edge.
    pub fn edge_distance(&self, at: Point) -> f64 {
        self.sides().map(|side| at.distance_to_way(side)).fold(f64::INFINITY, f64::min)
    }
}

fn sides(corners: impl Iterator<Item = Point> + Clone) -> impl Iterator<Item = (Point, Point)> + Clone {
    corners.clone().zip(corners.cycle().skip(1))
}

/// Whether a point is in the polygon of these corners: the even-odd rule (Shimrat, 1962).
pub fn contains(corners: impl Iterator<Item = Point> + Clone, at: Point) -> bool {
    let crossed = sides(corners).filter(|(a, b)| {
        let spans = (a.north > at.north) != (b.north > at.north);
        spans && at.east < (b.east - a.east) * (at.north - a.north) / (b.north - a.north) + a.east
    });
    crossed.count() % 2 == 1
}

/// The first two sides of the polygon of these corners that cross, by number.
pub fn crossing(corners: impl Iterator<Item = Point> + Clone) -> Option<(usize, usize)> {
    sides(corners.clone()).enumerate().find_map(|(n, one)| {
        let other = sides(corners.clone()).skip(n + 1).position(|other| cross(one, other))?;
        Some((n, n + 1 + other))
    })
}

fn cross((a, b): (Point, Point), (c, d): (Point, Point)) -> bool {
    let turn = |a: Point, b: Point, c: Point| {
        (b.east - a.east) * (c.north - a.north) - (b.north - a.north) * (c.east - a.east)
    };
    turn(a, b, c) * turn(a, b, d) < 0.0 && turn(c, d, a) * turn(c, d, b) < 0.0
}
