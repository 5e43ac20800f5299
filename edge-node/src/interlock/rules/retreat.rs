//! Ways that only make things better: away from everybody who is seen, and back into a fence. Asked before a go-to under a
//! keep-out or fence that is tripped, and looked at again with each input while it lasts.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::ids::EventId;
use shared::units::Uptime;

use super::fence::{Fence, Side};
use super::keep_out::{Ground, POSITION_ERROR_M, Threat, WALK_MPS};
use super::lease::MOVING_MPS;
use crate::ground::Point;

/// Places that a way is looked at by, beside the edges that it crosses.
const PLACES: u32 = 64;
/// What a margin may shrink by and still count as kept: noise of positions, metres.
const NOISE_M: f64 = 0.2;
/// How far ahead it is looked where it goes, seconds.
const AHEAD_S: f64 = 0.5;
/// A retreat lasts as long as this.
const LASTS: Duration = Duration::from_secs(60);
/// Without coming a metre nearer for this time it is none.
const PROGRESS: Duration = Duration::from_secs(10);
const PROGRESS_M: f64 = 1.0;

/// A way that somebody was permitted under a rule that is tripped.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Retreat {
    /// The request it follows from.
    pub id: EventId,
    /// Where to.
    pub to: Point,
    /// When it was permitted.
    pub begun: Uptime,
    /// The vehicle has shown the mode that it goes in.
    pub shown: bool,
    /// The nearest that it came to where it goes, metres, and when.
    nearest: Option<(f64, Uptime)>,
}

impl Retreat {
    /// A way to there.
    pub const fn new(id: EventId, to: Point, now: Uptime) -> Self {
        Self { id, to, begun: now, shown: false, nearest: None }
    }

    /// Whether it gets on: nearer to where it goes, not farther, and within its time.
    pub fn gets_on(&mut self, away_m: f64, now: Uptime) -> bool {
        let (nearest, at) = *self.nearest.get_or_insert((away_m, now));
        if away_m <= nearest - PROGRESS_M {
            self.nearest = Some((away_m, now));
        }
        away_m <= nearest + PROGRESS_M && now.since(at) < PROGRESS && now.since(self.begun) < LASTS
    }
}

/// Where a vehicle is and how it goes, metres and m/s east and north.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Going {
    /// Place.
    pub at: Point,
    /// Velocity.
    pub velocity: Point,
}

impl Going {
    /// Speed over ground, m/s.
    pub fn speed(&self) -> f64 {
        self.velocity.distance(Point::default())
    }

    fn stands(&self) -> bool {
        self.speed() < f64::from(MOVING_MPS)
    }
}

/// Metres that a place is inside what is allowed; negative outside.
fn margin<'a>(fences: impl Iterator<Item = &'a Fence> + Clone, at: Point) -> f64 {
    let inside = |fence: &Fence| {
        let edge = fence.polygon.edge_distance(at);
        if fence.polygon.contains(at) { edge } else { -edge }
    };
    let inclusions = fences.clone().filter(|fence| fence.side == Side::Inclusion).map(inside);
    let within = inclusions.fold(None, |best: Option<f64>, own| Some(best.map_or(own, |best| best.max(own))));
    let exclusions = fences.filter(|fence| fence.side == Side::Exclusion).map(|fence| -inside(fence));
    exclusions.fold(within.unwrap_or(f64::INFINITY), f64::min)
}

/// Whether the straight way never comes nearer to what is not allowed, nor farther out, and ends inside by a margin.
pub fn into_fence<'a>(
    fences: impl Iterator<Item = &'a Fence> + Clone,
    going: &Going,
    to: Point,
    margin_m: f64,
) -> bool {
    let from = going.at;
    let on = |n: u32| {
        let part = f64::from(n) / f64::from(PLACES);
        from.plus((to.east - from.east) * part, (to.north - from.north) * part)
    };
    let mut least = f64::NEG_INFINITY;
    // Once it is inside by the margin it may be nearer to another edge.
    let kept = (0..=PLACES).all(|n| {
        let own = margin(fences.clone(), on(n));
        let kept = own >= least.min(margin_m) - NOISE_M;
        least = least.max(own);
        kept
    });
    // What lies between two places: an exclusion is left and not entered, an inclusion entered and not left.
    let mut inclusions = fences.clone().filter(|fence| fence.side == Side::Inclusion);
    let alone = inclusions.next().filter(|_| inclusions.next().is_none());
    let edges = |fence: &Fence| fence.polygon.crossings(from, to);
    let leaves = |fence: &Fence| edges(fence) > usize::from(!fence.polygon.contains(from));
    let enters = |fence: &Fence| edges(fence) > usize::from(fence.polygon.contains(from));
    let mut exclusions = fences.clone().filter(|fence| fence.side == Side::Exclusion);
    let through = alone.is_some_and(leaves) || exclusions.any(enters);
    let ahead = from.plus(going.velocity.east * AHEAD_S, going.velocity.north * AHEAD_S);
    let own = margin(fences.clone(), from).min(margin_m);
    let strays = !going.stands() && margin(fences.clone(), ahead) < own - NOISE_M;
    kept && !through && !strays && margin(fences, to) >= margin_m
}

/// Whether the straight way leads away from everybody who was seen, wherever they are by now, and the vehicle goes to nobody.
/// Who may be anywhere forbids it, and whoever is nearer than places tell.
///
/// Somebody is within r of where they were seen: what places may be wrong by, and what they have walked since. Along a unit
/// vector u the distance to each place of that disc grows exactly where u·(vehicle − seen) > r.
pub fn from_people(threat: &Threat, ground: &Ground, going: &Going, to: Point, now: Uptime) -> bool {
    let (east, north) = (to.east - going.at.east, to.north - going.at.north);
    let length = east.hypot(north);
    let along = |(east, north): (f64, f64), who: Point| {
        east * (going.at.east - who.east) + north * (going.at.north - who.north)
    };
    length > 0.0
        && threat.anywhere.is_none()
        && threat.seen.iter().flatten().all(|(who, seen)| {
            let walked = WALK_MPS * now.since(*seen).as_secs_f64();
            let away = along((east / length, north / length), *who) > POSITION_ERROR_M + ground.error_m + walked;
            away && (going.stands() || along((going.velocity.east, going.velocity.north), *who) >= 0.0)
        })
}

/// Whether somebody is on a straight way, or may be: within so many metres of it, and what is not known of places.
pub fn is_on(threat: &Threat, ground: &Ground, way: (Point, Point), near_m: f64, now: Uptime) -> bool {
    let near = near_m + POSITION_ERROR_M + ground.error_m;
    let seen = threat.seen.iter().flatten().any(|(who, seen)| {
        let walked = WALK_MPS * now.since(*seen).as_secs_f64();
        who.distance_to_way(way) < near + walked
    });
    seen || threat.anywhere.is_some() && ground.zone.distance_to_way(way) < near
}
