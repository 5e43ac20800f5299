//! Vehicles keep apart: if two will be nearer than they may within the horizon, the one of less importance holds. The other
//! holds too once its own way to stop leads it too near, wherever the first one then stands.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

use super::Hazard;
use crate::ground::{Origin, Point};
use crate::interlock::words::Demand;
use crate::vehicle::VehicleConfig;
use crate::vehicle::state::VehicleState;

/// How far ahead is looked, seconds; longer where a stop takes longer.
const HORIZON_S: f64 = 5.0;
/// From a report to a vehicle's reaction, seconds.
const REACTION_S: f64 = 0.25;
/// A vehicle that is not heard goes on for this long before its own failsafe acts (FS_GCS_TIMEOUT and a beat), seconds.
const FAILSAFE_S: f64 = 3.0;
/// Two heights above the sea may be wrong by this much, metres.
const HEIGHT_ERROR_M: f64 = 5.0;
/// A position older than this says nothing.
const FRESH: Duration = Duration::from_secs(2);
/// Apart again when they are so much farther than they must be.
const MORE: f64 = 1.2;

/// How far vehicles must be apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Apart {
    /// Metres.
    pub metres: f64,
}

/// Where a vehicle is and goes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Track {
    at: Point,
    /// Above the sea: heights above different homes cannot be compared.
    height_m: f64,
    /// How far it may be from there, where it was not heard lately.
    unknown_m: f64,
    north_mps: f64,
    east_mps: f64,
    stop_s: f64,
    /// Metres until it stands, its reaction included.
    ahead_m: f64,
    speed_mps: f64,
    armed: bool,
}

impl Track {
    /// Of a vehicle whose position is known now.
    pub fn of(state: &VehicleState, config: &VehicleConfig, origin: &Origin, now: Uptime) -> Option<Self> {
        let fresh = state.position_at.is_some_and(|at| now.since(at) < FRESH);
        let (lat, lon) = state.position_deg.filter(|_| fresh)?;
        let (north, east) = state.velocity_mps;
        let height_m = f64::from(state.alt_m);
        let (stop_m, stop_s) = config.brake.needs(state.speed_mps);
        let (stop_s, ahead_m) = (f64::from(stop_s), f64::from(state.speed_mps) * REACTION_S + f64::from(stop_m));
        let (north_mps, east_mps) = (f64::from(north), f64::from(east));
        Some(Self {
            at: origin.point(lat, lon),
            height_m,
            unknown_m: 0.0,
            north_mps,
            east_mps,
            stop_s,
            ahead_m,
            speed_mps: f64::from(state.speed_mps),
            armed: state.armed,
        })
    }

    /// Where it was when it was last heard; it goes on until its own failsafe stops it.
    pub fn lost(self) -> Self {
        let unknown_m = self.speed_mps * FAILSAFE_S + self.ahead_m;
        Self { unknown_m: unknown_m.max(self.unknown_m), north_mps: 0.0, east_mps: 0.0, speed_mps: 0.0, ..self }
    }

    fn above(&self, other: &Self) -> f64 {
        ((other.height_m - self.height_m).abs() - HEIGHT_ERROR_M).max(0.0)
    }

    /// How far ahead two are looked at, seconds.
    fn horizon_s(&self, other: &Self) -> f64 {
        HORIZON_S.max(self.stop_s.max(other.stop_s) + 1.0)
    }

    /// Whether it is too far from another to matter.
    fn is_far(&self, other: &Self, needed: f64) -> bool {
        let (east, north) = (other.at.east - self.at.east, other.at.north - self.at.north);
        let reach = needed + self.ahead_m + (self.speed_mps + other.speed_mps) * self.horizon_s(other);
        east * east + north * north > reach * reach
    }

    /// The least distance to another within the horizon if both go straight on; metres.
    fn nearest(&self, other: &Self) -> f64 {
        let (east, north) = (other.at.east - self.at.east, other.at.north - self.at.north);
        let (v_east, v_north) = (other.east_mps - self.east_mps, other.north_mps - self.north_mps);
        let height = self.above(other);
        let speed_2 = v_east * v_east + v_north * v_north;
        let meet_s = if speed_2 > 0.0 { -(east * v_east + north * v_north) / speed_2 } else { 0.0 };
        let ahead_s = meet_s.clamp(0.0, self.horizon_s(other));
        (east + v_east * ahead_s).hypot(north + v_north * ahead_s).hypot(height)
    }

    /// The least distance to where another is now, on the way to a stop; metres.
    fn nearest_stopping(&self, other: &Self) -> f64 {
        let (east, north) = (other.at.east - self.at.east, other.at.north - self.at.north);
        let speed = self.east_mps.hypot(self.north_mps);
        let along = |part: f64| if speed > 0.0 { part / speed } else { 0.0 };
        let (to_east, to_north) = (along(self.east_mps), along(self.north_mps));
        let ahead = (east * to_east + north * to_north).max(0.0).min(self.ahead_m);
        (east - to_east * ahead).hypot(north - to_north * ahead).hypot(self.above(other))
    }
}

/// What is wrong for a vehicle, by its index: those before it in the configuration are of more importance.
pub fn hazard(apart: Apart, tracks: &[Option<Track>], index: usize, tripped: Hazard) -> Hazard {
    let Some(own) = tracks.get(index).copied().flatten() else { return tripped };
    if !own.armed {
        return None;
    }
    let least = if tripped.is_some() { apart.metres * MORE } else { apart.metres };
    let others = tracks.iter().enumerate().filter(|(other, _)| *other != index);
    let mut others = others.filter_map(|(other, track)| track.map(|track| (other, track)));
    let short = |(other, track): (usize, Track)| {
        let needed = least + track.unknown_m;
        if own.is_far(&track, needed) {
            return false;
        }
        (other < index && own.nearest(&track) < needed) || own.nearest_stopping(&track) < needed
    };
    others.any(short).then_some((Demand::Hold, "it comes too near to another vehicle"))
}
