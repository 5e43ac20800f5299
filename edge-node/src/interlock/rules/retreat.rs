//! Ways that only make things better: away from everybody who is seen, and back into a fence. Asked before a go-to under a
//! keep-out or fence that is tripped, and looked at again with each report while it lasts.

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

use super::fence::{Fence, Side};
use super::keep_out::{Ground, Threat};
use crate::ground::Point;

/// Somebody nearer than this and what places may be wrong by: nobody knows which way is away.
const NEAR_M: f64 = 2.0;
/// Places that a way is looked at by.
const PLACES: u32 = 64;
/// What a margin may shrink by and still count as kept: noise of positions, metres.
const NOISE_M: f64 = 0.2;
/// A speed of less than this is noise, m/s.
const STANDING_MPS: f64 = 0.3;
/// How far ahead it is looked where it goes, seconds.
const AHEAD_S: f64 = 0.5;

/// A way that somebody was permitted under a rule that is tripped.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Retreat {
    /// Where to.
    pub to: Point,
    /// It ends then at the latest.
    pub until: Uptime,
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
    fn stands(&self) -> bool {
        self.velocity.distance(Point::default()) < STANDING_MPS
    }
}

/// Metres that a place is inside what is allowed; negative outside.
pub fn margin<'a>(fences: impl Iterator<Item = &'a Fence> + Clone, at: Point) -> f64 {
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
    // What lies between two places: nothing is entered that is not allowed.
    let through = fences.clone().filter(|fence| fence.side == Side::Exclusion);
    let through = through.filter(|fence| !fence.polygon.contains(from)).any(|fence| fence.polygon.crossed_by(from, to));
    let ahead = from.plus(going.velocity.east * AHEAD_S, going.velocity.north * AHEAD_S);
    let strays =
        !going.stands() && margin(fences.clone(), ahead) < margin(fences.clone(), from).min(margin_m) - NOISE_M;
    kept && !through && !strays && margin(fences, to) >= margin_m
}

/// Whether the straight way leads away from everybody who was seen, and the vehicle goes to nobody now. Who may be anywhere,
/// or is so near that places do not tell, forbids it.
pub fn from_people(threat: &Threat, ground: &Ground, going: &Going, to: Point) -> bool {
    let step = |at: Point, towards: Point, from: Point| {
        (towards.east - at.east) * (at.east - from.east) + (towards.north - at.north) * (at.north - from.north)
    };
    let ahead = going.at.plus(going.velocity.east, going.velocity.north);
    threat.anywhere.is_none()
        && threat.seen.iter().flatten().all(|(who, _)| {
            let far = going.at.distance(*who) > NEAR_M + ground.error_m;
            far && step(going.at, to, *who) > 0.0 && (going.stands() || step(going.at, ahead, *who) >= 0.0)
        })
}

/// Whether somebody is on a straight way, or may be: within a landing's distance of it.
pub fn is_on(threat: &Threat, ground: &Ground, from: Point, to: Point, near_m: f64) -> bool {
    let near = near_m + ground.error_m;
    let on = |n: u32| {
        let part = f64::from(n) / f64::from(PLACES);
        from.plus((to.east - from.east) * part, (to.north - from.north) * part)
    };
    (0..=PLACES).any(|n| {
        let seen = threat.seen.iter().flatten().any(|(who, _)| who.distance(on(n)) < near);
        seen || threat.anywhere.is_some() && ground.zone.distance(on(n)) < near
    })
}
