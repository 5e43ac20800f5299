//! The site's ground in metres: an origin, points east and north of it, and polygons on it. Pure.
//!
//! Degrees become metres on the plane that touches the WGS-84 ellipsoid at the origin: two kilometres away that is wrong by
//! less than half a metre.

pub mod polygon;
pub mod calibration;
pub mod people;

use serde::{Deserialize, Serialize};

/// Half the larger axis of WGS-84, metres.
const AXIS_M: f64 = 6_378_137.0;
/// Square of its first eccentricity.
const ECCENTRICITY_2: f64 = 6.694_379_990_14e-3;

/// Latitude and longitude in degrees, WGS-84.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "[f64; 2]")]
pub struct Place {
    /// Latitude.
    pub lat_deg: f64,
    /// Longitude.
    pub lon_deg: f64,
}

impl TryFrom<[f64; 2]> for Place {
    type Error = String;

    fn try_from([lat_deg, lon_deg]: [f64; 2]) -> Result<Self, String> {
        // What is no number is in no range.
        match (-85.0..=85.0).contains(&lat_deg) && (-180.0..=180.0).contains(&lon_deg) {
            true => Ok(Self { lat_deg, lon_deg }),
            false => Err(format!("expected latitude and longitude in degrees, found [{lat_deg}, {lon_deg}]")),
        }
    }
}

/// Metres east and north of the origin.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Point {
    /// East.
    pub east: f64,
    /// North.
    pub north: f64,
}

impl Point {
    /// So far from here.
    pub fn plus(self, east: f64, north: f64) -> Self {
        Self { east: self.east + east, north: self.north + north }
    }

    /// Metres to the nearest place of a straight way.
    pub fn distance_to_way(self, (a, b): (Self, Self)) -> f64 {
        let (east, north) = (b.east - a.east, b.north - a.north);
        let length = east * east + north * north;
        let along = ((self.east - a.east) * east + (self.north - a.north) * north) / length.max(f64::MIN_POSITIVE);
        let along = along.clamp(0.0, 1.0);
        self.distance(a.plus(east * along, north * along))
    }

    /// Metres between two points.
    pub fn distance(self, other: Self) -> f64 {
        (self.east - other.east).hypot(self.north - other.north)
    }
}

/// Where the plane touches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Origin {
    at: Place,
    east_per_deg: f64,
    north_per_deg: f64,
}

impl Origin {
    /// A plane at a place. Radii of curvature of the meridian and the prime vertical: NIMA TR8350.2, "Department of Defense
    /// World Geodetic System 1984".
    pub fn new(at: Place) -> Self {
        let (sine, cosine) = at.lat_deg.to_radians().sin_cos();
        let part = 1.0 - ECCENTRICITY_2 * sine * sine;
        let meridian = AXIS_M * (1.0 - ECCENTRICITY_2) / part.powf(1.5);
        let vertical = AXIS_M / part.sqrt();
        let per_deg = |radius: f64| radius.to_radians();
        Self { at, east_per_deg: per_deg(vertical) * cosine, north_per_deg: per_deg(meridian) }
    }

    /// A place in metres.
    pub fn point(&self, lat_deg: f64, lon_deg: f64) -> Point {
        // The shorter way round.
        let east_deg = (lon_deg - self.at.lon_deg + 540.0).rem_euclid(360.0) - 180.0;
        Point { east: east_deg * self.east_per_deg, north: (lat_deg - self.at.lat_deg) * self.north_per_deg }
    }
}
