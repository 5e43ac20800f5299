//! People and vehicles keep apart. A camera that shows nothing fresh counts as a person everywhere it should see.
//!
//! Without a calibration of the camera's ground a person in the zone holds every vehicle of the rule. With one, each vehicle
//! has its own distance: nearer than R it holds, nearer than 2 R it goes slowly (INTERLOCKS, "keep-out"). R is what it drives
//! and the person walks until it stands, seen from a frame of some age, and what positions may be wrong by.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

use super::Hazard;
use crate::ground::people::{MOST as PLACES, People};
use crate::ground::polygon::Polygon;
use crate::ground::{Origin, Point};
use crate::interlock::fixed::Text;
use crate::interlock::obey::Sight;
use crate::interlock::words::{Demand, KeepOut};

/// From a decision to the vehicle's reaction, seconds.
const REACTION_S: f64 = 0.25;
/// A person walks this fast, m/s (ISO 13855).
pub const WALK_MPS: f64 = 1.6;
/// Two places this near to each other may be one person's, metres.
const SAME_M: f64 = 0.5;
/// And only within this time: longer ago it is another's.
const SAME_FOR: Duration = Duration::from_secs(1);
/// A vehicle's own position may be wrong by this much, metres.
pub const POSITION_ERROR_M: f64 = 2.0;
/// Nobody may be this near to where something lands, metres.
pub const LANDING_M: f64 = 5.0;
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

/// Somebody at a place, and when they were seen there.
pub type Seen = (Point, Uptime);

/// Where somebody may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threat {
    /// What was seen, or not.
    pub why: &'static str,
    /// Who was seen where.
    pub seen: [Option<Seen>; PLACES],
    /// Somebody may be anywhere in the zone, seen then.
    pub anywhere: Option<Uptime>,
}

/// What was seen of a zone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Watch {
    last_frame: Uptime,
    last_present: Option<Uptime>,
    /// People who were seen within the clear time: who is not seen for a frame is not gone.
    seen: [Option<Seen>; PLACES],
    /// When somebody was last seen of whom no place is known.
    anywhere: Option<Uptime>,
    stale: bool,
    /// When it was last told that what its camera shows cannot be believed.
    blind: Option<Uptime>,
    /// The first frame after the camera was stale: frames must show the zone empty for the clear time from here.
    back_since: Option<Uptime>,
}

impl Watch {
    /// No frame was seen: a zone begins as stale.
    pub fn unseen() -> Self {
        let (seen, anywhere) = ([None; PLACES], None);
        Self { last_frame: Uptime(0), last_present: None, seen, anywhere, stale: true, blind: None, back_since: None }
    }

    /// Whether its camera shows nothing fresh, or nothing that can be believed.
    pub const fn is_stale(&self) -> bool {
        self.stale
    }

    /// What its camera shows cannot be believed, which is told with each frame, or can again.
    pub fn blind(&mut self, blind: bool, now: Uptime) {
        self.blind = blind.then_some(now);
    }

    /// A frame was looked at.
    pub fn saw(&mut self, present: bool, people: People, captured: Uptime) {
        self.last_frame = self.last_frame.max(captured);
        if !present {
            return;
        }
        self.last_present = self.last_present.max(Some(captured));
        if people.is_anywhere() {
            self.anywhere = self.anywhere.max(Some(captured));
        }
        for place in people.places() {
            self.keep(place, captured);
        }
    }

    /// Keeps a place: instead of one that the same person can have walked from, or of the oldest, who is then anywhere.
    fn keep(&mut self, place: Point, captured: Uptime) {
        let walked = |(from, at): Seen| {
            let passed = captured.since(at);
            let near = from.distance(place) <= SAME_M + WALK_MPS * passed.as_secs_f64();
            captured > at && passed <= SAME_FOR && near
        };
        let age = |slot: &Option<Seen>| slot.map(|(_, at)| at);
        // Of whom was seen last: who is hidden for a while is not the one who passes by.
        let same = self.seen.iter().enumerate().filter(|(_, slot)| slot.is_some_and(walked));
        let same = same.max_by_key(|(_, slot)| age(slot)).map(|(n, _)| n);
        let index = same.or_else(|| self.seen.iter().position(Option::is_none));
        let oldest = || self.seen.iter().enumerate().min_by_key(|(_, slot)| age(slot)).map_or(0, |(n, _)| n);
        let index = index.unwrap_or_else(oldest);
        if let Some(slot) = self.seen.get_mut(index) {
            if same.is_none() && slot.is_some() {
                self.anywhere = self.anywhere.max(slot.map(|(_, at)| at));
            }
            *slot = Some((place, captured));
        }
    }

    /// Who may be in the zone: until fresh frames have shown nobody for the clear time.
    pub fn threat(&mut self, rule: &KeepOut, now: Uptime) -> Option<Threat> {
        let blind = self.blind.is_some_and(|at| now.since(at) <= rule.stale_after);
        let stale = blind || now.since(self.last_frame) > rule.stale_after;
        if self.stale && !stale {
            self.back_since = Some(self.last_frame);
        }
        self.stale = stale;
        let last_frame = self.last_frame;
        let lasts = |since: Option<Uptime>| since.is_some_and(|at| last_frame.since(at) <= rule.clear_after);
        let (person, back) = (lasts(self.last_present), lasts(self.back_since));
        if self.last_present.is_some() {
            for slot in &mut self.seen {
                *slot = slot.filter(|(_, at)| lasts(Some(*at)));
            }
            self.anywhere = self.anywhere.filter(|at| lasts(Some(*at)));
            self.last_present = self.last_present.filter(|_| person);
        }
        let why = match (person, stale, back) {
            (true, ..) => "person",
            (false, true, _) if blind => "camera blind: a person is assumed",
            (false, true, _) => "camera stale: a person is assumed",
            (false, false, true) => "camera was stale: not yet seen clear",
            (false, false, false) => return None,
        };
        let anywhere = if stale || back { Some(now) } else { self.anywhere };
        Some(Threat { why, seen: self.seen, anywhere })
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

    /// Looks at it; true when what it demands, or why, has changed.
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
        // Another reason is worth telling, too.
        before != found
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
        let at = place(sight, origin, now);
        // How many times R the nearest is away; what is no number, and a vehicle that may be anywhere, is near.
        let times = at.map_or(0.0, |at| {
            let times = people(threat, ground, at).map(|(away, seen)| away / radius(speed, seen, ground, sight, now));
            times.fold(f64::INFINITY, |least, times| if times.is_nan() { 0.0 } else { least.min(times) })
        });
        let near = [times < 1.0, times < 2.0];
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
    people(threat, ground, at).any(|(distance, seen)| {
        let walked = WALK_MPS * now.since(seen).as_secs_f64();
        distance < LANDING_M + POSITION_ERROR_M + ground.error_m + walked
    })
}

/// Where it is, if that is known now.
pub fn place(sight: &Sight, origin: &Origin, now: Uptime) -> Option<Point> {
    let absolute = sight.state.estimate.is_none_or(|estimate| estimate.absolute);
    let fresh = sight.state.position_at.is_some_and(|at| now.since(at) < FRESH);
    let (lat, lon) = sight.state.position_deg.filter(|_| fresh && absolute)?;
    Some(origin.point(lat, lon))
}

/// Metres from a vehicle to everybody, and when they were seen.
fn people<'a>(threat: &'a Threat, ground: &'a Ground, at: Point) -> impl Iterator<Item = (f64, Uptime)> + 'a {
    let seen = threat.seen.iter().flatten().map(move |(place, seen)| (place.distance(at), *seen));
    seen.chain(threat.anywhere.map(|seen| (ground.zone.distance(at), seen)))
}

/// R, metres: `v·(age + 0.25 s) + d_stop(v) + 1.6 m/s·(age + 0.25 s + t_stop(v)) + errors`, and what the vehicle has gone since
/// it told where it is.
fn radius(speed_mps: f32, seen: Uptime, ground: &Ground, sight: &Sight, now: Uptime) -> f64 {
    let (stop_m, stop_s) = sight.stops.needs(speed_mps);
    let wait_s = now.since(seen).as_secs_f64() + REACTION_S;
    let gone_s = sight.state.position_at.map_or(0.0, |at| now.since(at).as_secs_f64());
    let drives = f64::from(speed_mps) * (wait_s + gone_s) + f64::from(stop_m);
    drives + WALK_MPS * (wait_s + f64::from(stop_s)) + POSITION_ERROR_M + ground.error_m
}
