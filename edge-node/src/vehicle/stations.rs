//! The ground stations behind links: who is there, how much they may send, and what they are told. Pure.

use std::time::Duration;

use serde::Deserialize;
use shared::units::Uptime;

use super::LinkConfig;
use super::gate::Allowed;
use super::way::Way;

/// One that was silent for this long is told nothing more: its heartbeats come once a second.
const SILENT: Duration = Duration::from_secs(10);
/// Ground stations of one link.
const MOST: usize = 8;
/// Lines for people a second.
const TOLD: u32 = 1;
/// How far a sender may get ahead of its rate.
const BURST: Duration = Duration::from_secs(1);

/// What is asked of the interlock a second.
const ASKED: u32 = 20;

/// Whether one more keeps to a rate; what it has paid for so far moves on.
fn charge(paid: &mut Uptime, per_second: u32, now: Uptime) -> bool {
    let next = (*paid).max(now).plus(Duration::from_secs(1) / per_second.max(1));
    let may = next.since(now) <= BURST;
    if may {
        *paid = next;
    }
    may
}

/// What ground stations of a link may do.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StationConfig {
    /// In whose name they ask; without it in the link's, who is nobody's operator where the site names its people.
    pub operator: Option<String>,
    /// What they may send besides questions.
    #[serde(default)]
    pub allow: Vec<Allowed>,
    /// Packets a second towards vehicles.
    #[serde(default = "default_rate")]
    pub per_second: u32,
}

fn default_rate() -> u32 {
    50
}

/// How a ground station is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Index of the link.
    pub link: usize,
    /// Where it is.
    pub way: Way,
    /// Index of the vehicle it asked.
    pub vehicle: Option<usize>,
    /// Component of the vehicle that it asked.
    pub component: u8,
    /// Command number, where it was one.
    pub command: Option<u16>,
    /// Its system and component.
    pub asker: (u8, u8),
}

struct Link {
    config: StationConfig,
    name: String,
    /// Where they are, and when each was heard; `None`: known from the link itself.
    ways: Vec<(Way, Option<Uptime>)>,
    /// When what was sent so far would have been sent at the rate.
    paid: Uptime,
    /// The same of what is asked of the interlock.
    asked: Uptime,
    /// And of lines for people.
    told: Uptime,
}

/// The ground stations of all links.
pub struct Stations(Vec<Option<Link>>);

impl Stations {
    /// Nobody is there.
    pub fn new(links: &[LinkConfig]) -> Self {
        let link = |link: &LinkConfig| {
            let config = link.ground_stations.clone()?;
            Some(Link {
                config,
                name: link.name.to_string(),
                ways: Vec::new(),
                paid: Uptime(0),
                asked: Uptime(0),
                told: Uptime(0),
            })
        };
        Self(links.iter().map(link).collect())
    }

    fn link(&mut self, link: usize) -> Option<&mut Link> {
        self.0.get_mut(link).and_then(Option::as_mut)
    }

    /// Whether a link is one of ground stations.
    pub fn is_station(&self, link: usize) -> bool {
        matches!(self.0.get(link), Some(Some(_)))
    }

    /// A way of a link is there before anything was heard.
    pub fn opened(&mut self, link: usize, way: &Way) {
        if let Some(link) = self.link(link) {
            link.ways.push((way.clone(), None));
        }
    }

    /// A way is no more.
    pub fn closed(&mut self, link: usize, way: &Way) {
        if let Some(link) = self.link(link) {
            link.ways.retain(|(known, _)| known != way);
        }
    }

    /// One was heard; false: there are as many already as a link has.
    pub fn hear(&mut self, link: usize, way: &Way, now: Uptime) -> bool {
        let Some(link) = self.link(link) else { return false };
        if let Some((_, heard)) = link.ways.iter_mut().find(|(known, _)| known == way) {
            *heard = heard.map(|_| now);
            return true;
        }
        let room = link.ways.len() < MOST;
        if room {
            link.ways.push((way.clone(), Some(now)));
        }
        room
    }

    /// Forgets who was silent for too long.
    pub fn forget(&mut self, now: Uptime) {
        for link in self.0.iter_mut().flatten() {
            link.ways.retain(|(_, heard)| heard.is_none_or(|at| now.since(at) < SILENT));
        }
    }

    /// In whose name a link's ground stations ask.
    pub fn operator(&self, link: usize) -> String {
        let link = self.0.get(link).and_then(Option::as_ref);
        link.map(|link| link.config.operator.clone().unwrap_or_else(|| link.name.clone())).unwrap_or_default()
    }

    /// What they may send besides questions.
    pub fn allowed(&self, link: usize) -> &[Allowed] {
        self.0.get(link).and_then(Option::as_ref).map_or(&[], |link| &link.config.allow)
    }

    /// Whether one packet more keeps to the link's rate.
    pub fn may_send(&mut self, link: usize, now: Uptime) -> bool {
        self.link(link).is_some_and(|link| charge(&mut link.paid, link.config.per_second, now))
    }

    /// Whether the interlock may be asked once more: a flood must not fill its queue. Questions do not use this up.
    pub fn may_ask(&mut self, link: usize, now: Uptime) -> bool {
        self.link(link).is_some_and(|link| charge(&mut link.asked, ASKED, now))
    }

    /// Whether a link's people may be told a line more.
    pub fn may_be_told(&mut self, link: usize, now: Uptime) -> bool {
        self.link(link).is_some_and(|link| charge(&mut link.told, TOLD, now))
    }

    /// Where each of them is.
    pub fn ways(&self) -> impl Iterator<Item = (usize, &Way)> {
        let links = self.0.iter().enumerate().filter_map(|(index, link)| Some((index, link.as_ref()?)));
        links.flat_map(|(index, link)| link.ways.iter().map(move |(way, _)| (index, way)))
    }
}
