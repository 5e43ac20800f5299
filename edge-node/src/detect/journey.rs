//! How one tracked thing moves: lines it crosses, how long it is in zones, its direction and speed. A pure step.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Deserialize;
use shared::ids::Name;
use shared::units::Uptime;

use crate::ground::Point;

/// Speed is that of the last seconds.
const SPEED_OVER: Duration = Duration::from_secs(2);
/// Less than this long a way of time says nothing about speed.
const SPEED_LEAST: Duration = Duration::from_millis(400);
/// So far from a line somebody is on a side of it, as a share of the picture: boxes tremble.
const SIDE: f32 = 0.01;
/// A shorter way than this is no direction, as a share of the picture.
const WAY_LEAST: f32 = 0.03;

/// One line of a camera's picture, told of when something crosses it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineConfig {
    /// Name.
    pub name: Name,
    /// Camera whose picture it lies in.
    pub camera: Name,
    /// One end, in shares of the picture's sides: (0, 0) is top left.
    pub from: [f32; 2],
    /// The other end. Forwards is from its left to its right, looking from `from` to `to`.
    pub to: [f32; 2],
    /// Class labels that are told of.
    #[serde(default = "person")]
    pub labels: Vec<String>,
}

fn person() -> Vec<String> {
    vec!["person".into()]
}

impl LineConfig {
    /// Key and expectation of what is wrong with it, if anything.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        for (key, end) in [("from", self.from), ("to", self.to)] {
            if end.iter().any(|v| !(0.0..=1.0).contains(v)) {
                return Some((key, "expected coordinates from 0 to 1".into()));
            }
        }
        let (dx, dy) = (self.to[0] - self.from[0], self.to[1] - self.from[1]);
        (dx.hypot(dy) < 2.0 * SIDE).then(|| ("to", "expected another place than from".into()))
    }

    /// How far to the right of it a point is, and where along it, 0 to 1 between its ends.
    fn beside(&self, at: [f32; 2]) -> (f32, f32) {
        let (dx, dy) = (self.to[0] - self.from[0], self.to[1] - self.from[1]);
        let (px, py) = (at[0] - self.from[0], at[1] - self.from[1]);
        let length = dx.hypot(dy).max(f32::MIN_POSITIVE);
        // y grows downwards: the right hand is where the cross product is positive.
        ((dx * py - dy * px) / length, (dx * px + dy * py) / (length * length))
    }
}

/// What has happened on the way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Happening {
    /// A line was crossed: index, whether forwards.
    Crossed(usize, bool),
    /// It has been in a zone for the zone's dwell time: index, how long.
    Dwelt(usize, Duration),
}

#[derive(Debug, Clone, Copy, Default)]
struct Stay {
    since: Option<Uptime>,
    before: Duration,
    told: bool,
}

/// One thing's way.
#[derive(Debug, Clone, Default)]
pub struct Journey {
    begun: Option<(Uptime, [f32; 2])>,
    last: Option<(Uptime, [f32; 2])>,
    /// By line, the side it was last surely on, and where.
    sides: BTreeMap<usize, (bool, [f32; 2])>,
    stays: BTreeMap<usize, Stay>,
    ground: VecDeque<(Uptime, Point)>,
}

impl Journey {
    /// Takes where its foot is (shares of the picture), the zones it is in with their dwell times, its place on the ground if
    /// that is known, and the lines it is told of.
    pub fn step<'a>(
        &mut self,
        foot: [f32; 2],
        zones: &[(usize, Duration)],
        ground: Option<Point>,
        lines: impl Iterator<Item = (usize, &'a LineConfig)>,
        now: Uptime,
    ) -> Vec<Happening> {
        self.begun.get_or_insert((now, foot));
        self.last = Some((now, foot));
        if let Some(place) = ground {
            self.ground.push_back((now, place));
            while self.ground.front().is_some_and(|(at, _)| now.since(*at) > SPEED_OVER) {
                self.ground.pop_front();
            }
        }
        let mut happened = Vec::new();
        for (index, line) in lines {
            let (beside, _) = line.beside(foot);
            if beside.abs() < SIDE {
                continue;
            }
            let now = (beside > 0.0, foot);
            if let Some((side, from)) = self.sides.insert(index, now)
                && side != now.0
                && between(line, from, foot)
            {
                happened.push(Happening::Crossed(index, now.0));
            }
        }
        for (zone, stay) in &mut self.stays {
            if let (Some(since), false) = (stay.since, zones.iter().any(|(index, _)| index == zone)) {
                stay.before += now.since(since);
                stay.since = None;
            }
        }
        for (zone, dwell) in zones {
            let stay = self.stays.entry(*zone).or_default();
            let since = *stay.since.get_or_insert(now);
            let long = stay.before + now.since(since);
            if !dwell.is_zero() && long >= *dwell && !stay.told {
                stay.told = true;
                happened.push(Happening::Dwelt(*zone, long));
            }
        }
        happened
    }

    /// How long it was seen.
    pub fn length(&self) -> Duration {
        self.begun.zip(self.last).map_or(Duration::ZERO, |((begun, _), (last, _))| last.since(begun))
    }

    /// How long it was in each zone so far.
    pub fn stays(&self) -> impl Iterator<Item = (usize, Duration)> + '_ {
        let now = self.last.map(|(at, _)| at).unwrap_or_default();
        self.stays
            .iter()
            .map(move |(zone, stay)| (*zone, stay.before + stay.since.map_or(Duration::ZERO, |since| now.since(since))))
    }

    /// Where in the picture it began and was last, shares of its sides.
    pub fn ends(&self) -> Option<([f32; 2], [f32; 2])> {
        self.begun.zip(self.last).map(|((_, from), (_, to))| (from, to))
    }

    /// Direction of its way in the picture, degrees clockwise from up; `None`: it has not gone far enough. The picture's sides
    /// are `size` pixels.
    pub fn direction_deg(&self, size: (u32, u32)) -> Option<f32> {
        let (from, to) = self.ends()?;
        let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
        let (x, y) = (dx * size.0 as f32, dy * size.1 as f32);
        (dx.hypot(dy) >= WAY_LEAST).then(|| x.atan2(-y).to_degrees().rem_euclid(360.0))
    }

    /// Speed over the ground of the last two seconds, m/s; `None`: the camera does not know its ground, or it is too early.
    pub fn speed_mps(&self) -> Option<f64> {
        let ((begun, from), (ended, to)) = (self.ground.front()?, self.ground.back()?);
        let time = ended.since(*begun);
        (time >= SPEED_LEAST).then(|| (to.east - from.east).hypot(to.north - from.north) / time.as_secs_f64())
    }
}

/// Whether the straight way from one side of a line to the other passes between its ends.
fn between(line: &LineConfig, from: [f32; 2], to: [f32; 2]) -> bool {
    let ((before, at), (after, end)) = (line.beside(from), line.beside(to));
    let share = before / (before - after);
    (0.0..=1.0).contains(&(at + (end - at) * share))
}
