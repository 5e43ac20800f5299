//! A vehicle must be able to stop inside its fence: where it would stand if it were told to hold now is what counts.
//!
//! From its last report on: the report's age and 0.25 s at its speed, then its measured stop, straight on. Slowly moving
//! vehicles need three reports in a row, so that a position that jitters at the edge trips nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

use super::Hazard;
use crate::ground::polygon::Polygon;
use crate::ground::{Origin, Point};
use crate::interlock::obey::{FOR, GUST_MPS, Sight};
use crate::interlock::words::Demand;
use crate::vehicle::Class;

/// From a report to the vehicle's reaction, seconds.
const REACTION_S: f64 = 0.25;
/// Slower than this a single report is no evidence, m/s.
const SLOW_MPS: f32 = 1.0;
/// Reports in a row that trip it then.
const IN_A_ROW: u8 = 3;
/// Cleared when it stands inside by this much, metres...
const MARGIN_M: f64 = 2.0;
/// ...for this time.
const INSIDE_FOR: Duration = Duration::from_secs(3);

/// A hold is taken within this time, seconds.
const TAKES_S: f32 = 1.0;
/// A way home that was not clear must be for this time.
const CLEAR_FOR: Duration = Duration::from_secs(3);

/// Which side of a fence is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Inside. With several such fences, inside one of them.
    Inclusion,
    /// Outside.
    Exclusion,
}

/// One fence.
#[derive(Debug, Clone)]
pub struct Fence {
    /// Name.
    pub name: String,
    /// Which side is allowed.
    pub side: Side,
    /// Where.
    pub polygon: Polygon,
    /// Indices of the vehicles it is for.
    pub vehicles: Vec<usize>,
    /// Highest flight of these vehicles, metres above home.
    pub ceiling_m: Option<f32>,
}

/// What was seen of one vehicle and its fences.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    judged: Option<Uptime>,
    out: u8,
    inside_since: Option<Uptime>,
    /// Since when it is told to hold, and how fast it was then.
    held: Option<(Uptime, f32)>,
    /// Since when it is faster than its brake test allows.
    over_since: Option<Uptime>,
    /// It did not hold: what was chosen instead.
    runs: Option<Demand>,
    /// Since when something weaker would do.
    weaker_since: Option<Uptime>,
}

/// What there is besides to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outs {
    /// The straight way home is inside the fence, and nobody is on it.
    pub home_clear: bool,
    /// Somebody may be where it would land.
    pub below: bool,
    /// It is on a permitted way back in, or a pilot has it.
    pub let_be: bool,
    /// It is told to hold, and nothing else.
    pub held: bool,
}

/// A vehicle and where it would stand.
struct Way {
    from: Point,
    to: Point,
    height_m: f32,
}

impl Watch {
    /// What is wrong. `tripped` is what was wrong before.
    pub fn hazard(
        &mut self,
        of: (usize, &[Fence], &Origin),
        outs: Outs,
        sight: &Sight,
        tripped: Hazard,
        now: Uptime,
    ) -> Hazard {
        let (vehicle, fences, origin) = of;
        let state = sight.state;
        let (Some(at), Some((lat, lon))) = (state.position_at, state.position_deg) else { return tripped };
        let new = self.judged.replace(at) != Some(at);
        if !new && state.speed_mps < SLOW_MPS {
            return tripped;
        }
        let from = origin.point(lat, lon);
        let speed = f64::from(state.speed_mps.max(0.0));
        // It has gone on since the report.
        let gone = now.since(at).as_secs_f64() + REACTION_S;
        let ahead = speed * gone + f64::from(sight.stops.needs(state.speed_mps).0);
        let (north, east) = state.velocity_mps;
        // Straight on; one that stands stays.
        let part = if speed > 0.0 { ahead / speed } else { 0.0 };
        let to = from.plus(f64::from(east) * part, f64::from(north) * part);
        let way = Way { from, to, height_m: state.relative_alt_m + state.climb_mps.max(0.0) };
        let own = || fences.iter().filter(|fence| fence.vehicles.contains(&vehicle));
        let found = breach(own(), &way, sight.class.flies(), 0.0);
        self.out = if found.is_some() { self.out.saturating_add(1) } else { 0 };
        let enough = if state.speed_mps < SLOW_MPS { IN_A_ROW } else { 1 };
        let clear = breach(own(), &way, sight.class.flies(), MARGIN_M).is_none();
        self.inside_since = if clear { self.inside_since.or(Some(now)) } else { None };
        let inside = self.inside_since.is_some_and(|since| now.since(since) >= INSIDE_FOR);
        let why = match found.filter(|_| self.out >= enough) {
            Some(why) => Some(why),
            None => tripped.filter(|_| !inside).map(|(_, why)| why),
        };
        if why.is_none() || outs.let_be {
            (self.held, self.over_since, self.runs, self.weaker_since) = (None, None, None, None);
        } else if self.runs.is_some() || outs.held && self.goes_on(sight, now) {
            self.choose(outs, now);
        }
        why.map(|why| self.runs.map_or((Demand::Hold, why), |chosen| (chosen, instead(chosen))))
    }

    /// Home, where the straight way is inside and clear, else down, where nobody is. At once where that is safer, and back only
    /// after a while: a way that is clear for a moment is not.
    fn choose(&mut self, outs: Outs, now: Uptime) {
        let best = match outs {
            Outs { home_clear: true, .. } => Demand::Return,
            Outs { below: true, .. } => Demand::Hold,
            _ => Demand::Land,
        };
        let at_once = match (self.runs, best) {
            (None, _) | (Some(Demand::Return), _) | (Some(Demand::Land), Demand::Hold) => true,
            (Some(chosen), best) => chosen == best,
        };
        let since = if at_once { None } else { Some(*self.weaker_since.get_or_insert(now)) };
        if since.is_none_or(|since| now.since(since) >= CLEAR_FOR) {
            (self.runs, self.weaker_since) = (Some(best), None);
        }
    }

    /// Whether it does not hold, or so it seems: the way home is looked at then.
    pub const fn may_run(&self) -> bool {
        self.runs.is_some() || self.over_since.is_some()
    }

    /// Whether it goes on, faster than its brake test allows, in the time that a hold needs to be taken and done.
    fn goes_on(&mut self, sight: &Sight, now: Uptime) -> bool {
        let speed = sight.state.speed_mps;
        let (since, from) = *self.held.get_or_insert((now, speed));
        let after_s = (now.since(since).as_secs_f32() - TAKES_S).max(0.0);
        // What cannot stop has no profile: it circles. What drives has its own next actions.
        let stops = sight.class.flies() && sight.class != Class::Plane && sight.state.armed;
        let over = stops && speed > sight.stops.profile_mps(from, after_s) + GUST_MPS;
        self.over_since = if over { self.over_since.or(Some(now)) } else { None };
        self.over_since.is_some_and(|since| now.since(since) >= FOR)
    }
}

/// Why something is demanded of a vehicle that does not hold.
const fn instead(chosen: Demand) -> &'static str {
    match chosen {
        Demand::Return => "it does not hold at its fence: the way home is inside and clear",
        Demand::Land => "it does not hold at its fence, and the way home is not clear",
        _ => "it does not hold at its fence, the way home is not clear, and somebody may be below",
    }
}

/// What of a straight way at an allowed height is not allowed, its end kept so far from the edges, in metres.
pub fn way_breach<'a>(
    fences: impl Iterator<Item = &'a Fence> + Clone,
    from: Point,
    to: Point,
    margin_m: f64,
) -> Option<&'static str> {
    breach(fences, &Way { from, to, height_m: 0.0 }, false, margin_m)
}

/// What of the way is not allowed, the edge counted as so much nearer.
fn breach<'a>(
    fences: impl Iterator<Item = &'a Fence> + Clone,
    way: &Way,
    flies: bool,
    margin_m: f64,
) -> Option<&'static str> {
    if ![way.to.east, way.to.north].iter().all(|metres| metres.is_finite()) {
        return Some("its speed is no number");
    }
    let near = |fence: &Fence| margin_m > 0.0 && fence.polygon.edge_distance(way.to) < margin_m;
    let touched = |fence: &Fence| fence.polygon.crossed_by(way.from, way.to) || near(fence);
    let mut inclusions = fences.clone().filter(|fence| fence.side == Side::Inclusion).peekable();
    let fenced = inclusions.peek().is_some();
    if fenced && !inclusions.any(|fence| fence.polygon.contains(way.to) && !touched(fence)) {
        return Some("it would stop outside its fence");
    }
    let mut exclusions = fences.clone().filter(|fence| fence.side == Side::Exclusion);
    if exclusions.any(|fence| fence.polygon.contains(way.to) || touched(fence)) {
        return Some("it would stop where nothing may be, or go through it");
    }
    let mut ceilings = fences.filter_map(|fence| fence.ceiling_m);
    let high = flies && ceilings.any(|ceiling| way.height_m > ceiling - if margin_m > 0.0 { 1.0 } else { 0.0 });
    high.then_some("it flies higher than its fence")
}
