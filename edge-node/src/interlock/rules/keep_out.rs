//! People and vehicles keep apart. A camera that shows nothing fresh counts as a person everywhere it should see.
//!
//! Without a calibration of the camera's ground a person in the zone holds every vehicle of the rule. With one, each vehicle
//! has its own distance: nearer than R it holds, nearer than 2 R it goes slowly (INTERLOCKS, "keep-out"). R is what it drives
//! and the person walks until it stands, seen from a frame of some age, and what positions may be wrong by.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

use super::Hazard;
use crate::ground::people::People;
use crate::ground::polygon::Polygon;
use crate::ground::{Origin, Point};
use crate::interlock::fixed::Text;
use crate::interlock::obey::Sight;
use crate::interlock::words::{Demand, KeepOut};

/// From a decision to the vehicle's reaction, seconds.
const REACTION_S: f64 = 0.25;
/// A person walks this fast, m/s (ISO 13855).
const WALK_MPS: f64 = 1.6;
/// A vehicle's own position may be wrong by this much, metres.
const POSITION_ERROR_M: f64 = 2.0;
/// Nobody may be this near to where something lands, metres.
const LANDING_M: f64 = 5.0;
/// A vehicle's position older than this is none.
const FRESH: Duration = Duration::from_secs(2);

/// A zone on the ground.
#[derive(Debug, Clone, PartialEq)]
pub struct Ground {
    /// The zone's corners there.
    pub zone: Polygon,
    /// What its calibration may be wrong by, metres.
    pub error_m: f64,
}

/// Where somebody may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threat {
    /// What was seen, or not.
    pub why: &'static str,
    /// Who was seen where; `None`: anywhere in the zone.
    people: Option<People>,
    /// When.
    captured: Uptime,
}

/// What was seen of a zone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Watch {
    last_frame: Uptime,
    last_present: Option<Uptime>,
    people: People,
    stale: bool,
    /// The first frame after the camera was stale: frames must show the zone empty for the clear time from here.
    back_since: Option<Uptime>,
}

impl Watch {
    /// No frame was seen: a zone begins as stale.
    pub fn unseen() -> Self {
        let people = People::default();
        Self { last_frame: Uptime(0), last_present: None, people, stale: true, back_since: None }
    }

    /// Whether its camera shows nothing fresh.
    pub const fn is_stale(&self) -> bool {
        self.stale
    }

    /// A frame was looked at.
    pub fn saw(&mut self, present: bool, people: People, captured: Uptime) {
        self.last_frame = self.last_frame.max(captured);
        if present && self.last_present.is_none_or(|last| captured >= last) {
            (self.last_present, self.people) = (Some(captured), people);
        }
    }

    /// Who may be in the zone: until fresh frames have shown nobody for the clear time.
    pub fn threat(&mut self, rule: &KeepOut, now: Uptime) -> Option<Threat> {
        let stale = now.since(self.last_frame) > rule.stale_after;
        if self.stale && !stale {
            self.back_since = Some(self.last_frame);
        }
        self.stale = stale;
        let lasts = |since: Option<Uptime>| since.is_some_and(|at| self.last_frame.since(at) <= rule.clear_after);
        let (person, back) = (lasts(self.last_present), lasts(self.back_since));
        let anywhere = |why| Some(Threat { why, people: None, captured: now });
        match (stale, back, person.then_some(self.last_present).flatten()) {
            (true, ..) if person => anywhere("person"),
            (true, ..) => anywhere("camera stale: a person is assumed"),
            (false, true, _) => anywhere("camera was stale: not yet seen clear"),
            (false, false, Some(captured)) => Some(Threat { why: "person", people: Some(self.people), captured }),
            (false, false, None) => None,
        }
    }
}

/// One vehicle of one rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Near {
    /// What it demands and why.
    hazard: Option<(Demand, Text)>,
    /// Since when it demands anything.
    since: Option<Uptime>,
    /// How fast it was when it came too near: a vehicle that stands for a person is not let go because it stands.
    speed_mps: f32,
    /// When somebody was last nearer than R, and than 2 R.
    last: [Option<Uptime>; 2],
}

impl Near {
    /// What it demands and why.
    pub fn hazard(&self) -> Hazard {
        self.hazard.map(|(demand, why)| (demand, why.0))
    }

    /// Since when it demands anything.
    pub const fn since(&self) -> Option<Uptime> {
        self.since
    }

    /// Looks at it; true when what it demands has changed.
    pub fn judge(
        &mut self,
        rule: &KeepOut,
        origin: Option<&Origin>,
        threat: Option<&Threat>,
        sight: &Sight,
        now: Uptime,
    ) -> bool {
        let found = threat.and_then(|threat| Some((self.find(rule, origin, threat, sight, now)?, Text(threat.why))));
        let before = std::mem::replace(&mut self.hazard, found);
        if found.is_some() != before.is_some() {
            self.since = found.map(|_| now);
        }
        if found.is_none() {
            (self.speed_mps, self.last) = (0.0, [None; 2]);
        }
        before.map(|(demand, _)| demand) != found.map(|(demand, _)| demand)
    }

    fn find(
        &mut self,
        rule: &KeepOut,
        origin: Option<&Origin>,
        threat: &Threat,
        sight: &Sight,
        now: Uptime,
    ) -> Option<Demand> {
        let (Some(ground), Some(origin)) = (&rule.ground, origin) else { return Some(Demand::Hold) };
        let speed = sight.speed_now(now).unwrap_or_else(|| sight.stops.fastest_mps()).max(self.speed_mps);
        let (distance, radius) = match place(sight, origin, now) {
            Some(at) => (distance(ground, threat, at), radius(speed, threat, ground, sight, now)),
            // It may be anywhere.
            None => (0.0, 1.0),
        };
        // What is no number is near.
        let near =
            [radius, 2.0 * radius].map(|reach| distance.partial_cmp(&reach).is_none_or(std::cmp::Ordering::is_lt));
        for (last, near) in self.last.iter_mut().zip(near) {
            *last = if near { Some(now) } else { last.filter(|at| now.since(*at) <= rule.clear_after) };
        }
        let demand = match self.last {
            [Some(_), _] => Some(Demand::Hold),
            [None, Some(_)] => Some(Demand::Limit),
            [None, None] => None,
        };
        self.speed_mps = if demand == Some(Demand::Hold) { speed } else { 0.0 };
        demand
    }
}

/// Whether somebody may be where a vehicle would land: within five metres and what is not known of places. A blind camera is
/// somebody everywhere in its zone. Without a calibration nobody knows, and it lands.
pub fn below(rule: &KeepOut, origin: Option<&Origin>, threat: &Threat, sight: &Sight, now: Uptime) -> bool {
    let (Some(ground), Some(origin)) = (&rule.ground, origin) else { return false };
    let Some(at) = place(sight, origin, now) else { return false };
    let walked = WALK_MPS * now.since(threat.captured).as_secs_f64();
    distance(ground, threat, at) < LANDING_M + POSITION_ERROR_M + ground.error_m + walked
}

/// Where it is, if that is known now.
fn place(sight: &Sight, origin: &Origin, now: Uptime) -> Option<Point> {
    let absolute = sight.state.estimate.is_none_or(|estimate| estimate.absolute);
    let fresh = sight.state.position_at.is_some_and(|at| now.since(at) < FRESH);
    let (lat, lon) = sight.state.position_deg.filter(|_| fresh && absolute)?;
    Some(origin.point(lat, lon))
}

fn distance(ground: &Ground, threat: &Threat, at: Point) -> f64 {
    let known = threat.people.and_then(|people| people.distance(at));
    let anywhere = threat.people.is_none_or(|people| people.is_anywhere());
    let zone = if anywhere { ground.zone.distance(at) } else { f64::INFINITY };
    known.map_or(zone, |known| known.min(zone))
}

/// R, metres: `v·(age + 0.25 s) + d_stop(v) + 1.6 m/s·(age + 0.25 s + t_stop(v)) + errors`.
fn radius(speed_mps: f32, threat: &Threat, ground: &Ground, sight: &Sight, now: Uptime) -> f64 {
    let (stop_m, stop_s) = sight.stops.needs(speed_mps);
    let wait_s = now.since(threat.captured).as_secs_f64() + REACTION_S;
    let drives = f64::from(speed_mps) * wait_s + f64::from(stop_m);
    drives + WALK_MPS * (wait_s + f64::from(stop_s)) + POSITION_ERROR_M + ground.error_m
}
