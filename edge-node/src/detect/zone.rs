//! Zones in the picture and who is in them: pure steps.

use std::time::Duration;

use serde::Deserialize;
use shared::ids::Name;
use shared::units::Uptime;

use crate::ground::calibration::Calibration;
use crate::ground::polygon::Polygon;
use crate::sensor::outline::Outline;

/// One zone of a camera's picture.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneConfig {
    /// Name.
    pub name: Name,
    /// Camera whose picture it lies in.
    pub camera: Name,
    /// Corners in normalised image coordinates: (0, 0) is top left, (1, 1) bottom right.
    pub polygon: Outline,
    /// Class labels that count as presence.
    #[serde(default = "person")]
    pub labels: Vec<String>,
    /// Least score of what counts in it; more than one frame's doubt is settled by [`LIKELY`] and [`SURE`].
    #[serde(default)]
    pub min_score: f32,
    /// Least height of a box that counts in it, as a share of the picture's: what is smaller is beyond it, or no person.
    #[serde(default)]
    pub min_height: f32,
    /// After this time in it somebody has dwelt there, which is told; zero: never.
    #[serde(default, with = "shared::config::duration")]
    pub dwell: Duration,
    /// The zone is clear when nobody was seen for this time.
    #[serde(default = "default_clear", with = "shared::config::duration")]
    pub clear_after: Duration,
    /// Whether presence raises an alert.
    #[serde(default)]
    pub alert: bool,
}

/// A box that reaches below this part of the picture's height is cut off.
const CUT_OFF: f32 = 0.995;

fn person() -> Vec<String> {
    vec!["person".into()]
}

fn default_clear() -> Duration {
    Duration::from_secs(5)
}

impl ZoneConfig {
    /// Key and expectation of what is wrong with it, if anything.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        if let Some(problem) = self.polygon.problem() {
            return Some(("polygon", problem));
        }
        for (key, value) in [("min_score", self.min_score), ("min_height", self.min_height)] {
            if !(0.0..=1.0).contains(&value) {
                return Some((key, format!("expected 0 to 1, found {value}")));
            }
        }
        None
    }

    /// Whether a thing with this box (pixels of a picture of `size`) stands in it: its bottom-centre point does, and it is
    /// large enough.
    pub fn holds(&self, edges: &[f32; 4], size: (u32, u32)) -> bool {
        let [_, top, _, bottom] = edges;
        (bottom - top) / size.1.max(1) as f32 >= self.min_height && self.polygon.holds(edges, size)
    }

    /// Whether a thing counts in it: of a label that is watched for, sure enough, and standing there.
    pub fn counts(&self, label: &str, score: f32, edges: &[f32; 4], size: (u32, u32)) -> bool {
        score >= self.min_score && self.labels.iter().any(|wanted| wanted == label) && self.holds(edges, size)
    }

    /// Where it is on the ground; `None`: it reaches the horizon.
    pub fn on_ground(&self, calibration: &Calibration) -> Option<Polygon> {
        let place = |[x, y]: &[f32; 2]| calibration.place([f64::from(*x), f64::from(*y)]);
        self.polygon.0.iter().map(place).collect::<Option<Vec<_>>>().map(Polygon::of_points)
    }
}

/// Where somebody's feet are in the picture; `None`: they are cut off by its edge, so the place is not known.
pub fn feet([left, _, right, bottom]: &[f32; 4], size: (u32, u32)) -> Option<[f64; 2]> {
    let (width, height) = (size.0.max(1) as f32, size.1.max(1) as f32);
    let (x, y) = ((left + right) / 2.0 / width, bottom / height);
    ((0.0..=1.0).contains(&x) && (0.0..CUT_OFF).contains(&y)).then_some([f64::from(x), f64::from(y)])
}

/// One detection of this score in a zone is somebody.
pub const SURE: f32 = 0.6;
/// Two of three frames with this score in a zone are somebody; nothing below it is looked at.
pub const LIKELY: f32 = 0.35;

/// Whether somebody is in a zone, frame by frame. It looks at detections, not at tracks: a runner who moves more than
/// a box width between two frames is a new track each time, and still somebody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Confirmation {
    recent: [bool; 3],
}

impl Confirmation {
    /// Takes the best score of a frame's detections in the zone, 0 for none.
    pub fn step(&mut self, best: f32) -> bool {
        let likely = best >= LIKELY;
        self.recent = [likely, self.recent[0], self.recent[1]];
        best >= SURE || (likely && self.recent.iter().filter(|seen| **seen).count() >= 2)
    }
}

/// Presence in one zone over time.
#[derive(Debug, Clone, Default)]
pub struct Presence {
    occupied: bool,
    seen: Uptime,
    episodes: u64,
}

/// What became of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Somebody is in it: episode number.
    Occupied(u64),
    /// It has been clear for its clear time: episode number.
    Cleared(u64),
}

impl Presence {
    /// Whether the zone counts as occupied.
    pub fn occupied(&self) -> bool {
        self.occupied
    }

    /// Takes whether a frame shows somebody. Only frames clear a zone: without a picture nobody knows.
    pub fn step(&mut self, present: bool, clear_after: Duration, now: Uptime) -> Option<Turn> {
        if present {
            self.seen = now;
        }
        match (self.occupied, present) {
            (false, true) => {
                self.occupied = true;
                self.episodes += 1;
                Some(Turn::Occupied(self.episodes))
            }
            (true, false) if now.since(self.seen) >= clear_after => {
                self.occupied = false;
                Some(Turn::Cleared(self.episodes))
            }
            _ => None,
        }
    }
}
