//! By which links one vehicle is reached, and which of them it is listened to on. Pure.
//!
//! A vehicle is heard on one link at a time: what another one brings late must not take the place of what is fresh, and what
//! comes twice counts once. Demands go out on all of them.

use std::time::Duration;

use shared::units::Uptime;

use super::way::Way;

/// Another link is listened to when the one in use was silent for this long: more than a second, since heartbeats may come
/// once a second, and less than the 1.5 s after which silence trips.
const SILENT: Duration = Duration::from_millis(1100);
/// A link named earlier is gone back to once it has brought something all the time for this long.
const STEADY: Duration = Duration::from_secs(5);
/// Where no heartbeat of the right kind came for this long, one of another kind is believed to be what is there.
const BEATS: Duration = Duration::from_secs(2);
/// On one link another address is believed only when the one in use was silent for this long: whoever has the same system id
/// does not take the vehicle's place.
const MOVED: Duration = Duration::from_secs(1);

/// One link of a vehicle.
#[derive(Debug, Clone)]
pub struct Road {
    /// Index of the link in the configuration.
    pub link: usize,
    /// Where the vehicle is there, once that is known.
    pub way: Option<Way>,
    /// When it was last heard there.
    pub heard: Option<Uptime>,
    /// When a heartbeat of the right kind came there.
    beat: Option<Uptime>,
    /// Since when without a pause.
    steady: Option<Uptime>,
    /// When streams were last asked for.
    pub asked: Option<Uptime>,
}

/// What a packet over a way means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearing {
    /// The vehicle is listened to there.
    Taken {
        /// And was not until now.
        moved: bool,
        /// It is at a new address of the link.
        found: bool,
    },
    /// It is heard there, and listened to elsewhere.
    Aside {
        /// It is at a new address of the link.
        found: bool,
    },
    /// Somebody with its system id speaks from elsewhere.
    Stranger,
}

/// The links of a vehicle, in the order of the configuration.
#[derive(Debug, Clone)]
pub struct Roads {
    /// Each of them.
    pub all: Vec<Road>,
    active: Option<usize>,
}

impl Roads {
    /// Nothing was heard yet.
    pub fn new(links: impl Iterator<Item = usize>) -> Self {
        let road = |link| Road { link, way: None, heard: None, beat: None, steady: None, asked: None };
        Self { all: links.map(road).collect(), active: None }
    }

    /// The link that the vehicle is listened to on.
    pub fn active(&self) -> Option<&Road> {
        self.active.and_then(|index| self.all.get(index))
    }

    /// A packet of the vehicle came over a way of a link; `None`: it has no such link. Only a `heartbeat` shows where the
    /// vehicle is: it says of which kind it is, too.
    pub fn hear(&mut self, link: usize, way: &Way, heartbeat: bool, now: Uptime) -> Option<Hearing> {
        let index = self.all.iter().position(|road| road.link == link)?;
        let fresh = |road: &Road, within| road.heard.is_some_and(|at| now.since(at) <= within);
        let road = self.all.get_mut(index)?;
        let found = road.way.as_ref() != Some(way);
        if found && (fresh(road, MOVED) || !heartbeat) {
            return Some(Hearing::Stranger);
        }
        if found {
            road.way = Some(way.clone());
            road.asked = None;
        }
        if !fresh(road, SILENT) {
            road.steady = Some(now);
        }
        road.heard = Some(now);
        if heartbeat {
            road.beat = Some(now);
        }
        let steady = road.steady.is_some_and(|since| now.since(since) >= STEADY);
        let moved = match self.active.and_then(|active| Some((active, self.all.get(active)?))) {
            Some((active, _)) if active == index => false,
            Some((active, road)) if fresh(road, SILENT) && !(index < active && steady) => {
                return Some(Hearing::Aside { found });
            }
            _ => true,
        };
        self.active = Some(index);
        Some(Hearing::Taken { moved, found })
    }

    /// A way of a link that whoever is there will be heard on; whether it is new.
    pub fn open(&mut self, link: usize, way: &Way) -> bool {
        let road = self.all.iter_mut().find(|road| road.link == link && road.way.is_none());
        road.map(|road| road.way = Some(way.clone())).is_some()
    }

    /// Whether a heartbeat of the right kind came over a way of late: another kind that is heard there is a stranger on the
    /// same radio.
    pub fn beats(&self, link: usize, way: &Way, now: Uptime) -> bool {
        let road = self.all.iter().find(|road| road.link == link && road.way.as_ref() == Some(way));
        road.and_then(|road| road.beat).is_some_and(|at| now.since(at) <= BEATS)
    }

    /// A way is no more; whether the vehicle was there.
    pub fn close(&mut self, link: usize, way: &Way) -> bool {
        let Some(index) = self.all.iter().position(|road| road.link == link && road.way.as_ref() == Some(way)) else {
            return false;
        };
        if let Some(road) = self.all.get_mut(index) {
            (road.way, road.heard, road.beat, road.asked) = (None, None, None, None);
        }
        if self.active == Some(index) {
            self.active = None;
        }
        true
    }
}
