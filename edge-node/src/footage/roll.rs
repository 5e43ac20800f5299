//! What of one camera's stream is kept: the seconds before, and clips of what somebody must see. A pure step.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use shared::units::Uptime;

use crate::sensor::camera::clip::ClipConfig;
use crate::sensor::camera::h264::Parameters;
use crate::sensor::camera::rtsp::Unit;

/// Most bytes of the seconds before: ten seconds of 12 Mbit/s. More is kept from a later beginning.
const KEPT_MAX: usize = 16 * 1024 * 1024;

/// What a step asks for, in order.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Begin a file with these units, the first one a key frame.
    Begin(Vec<Unit>),
    /// Add one.
    Add(Unit),
    /// It is whole.
    End,
}

#[derive(Debug)]
struct Clip {
    began: Uptime,
    /// When nobody was in any zone any more.
    clear: Option<Uptime>,
}

/// One camera's roll.
#[derive(Debug)]
pub struct Roll {
    config: ClipConfig,
    units: VecDeque<Unit>,
    bytes: usize,
    occupied: BTreeSet<usize>,
    clip: Option<Clip>,
    /// Those of the unit before.
    parameters: Option<Arc<Parameters>>,
    /// After a loss nothing is shown up to the next key frame.
    broken: bool,
}

impl Roll {
    /// An empty one.
    pub fn new(config: ClipConfig) -> Self {
        Self {
            config,
            units: VecDeque::new(),
            bytes: 0,
            occupied: BTreeSet::new(),
            clip: None,
            parameters: None,
            broken: true,
        }
    }

    /// Somebody is in a zone.
    pub fn occupied(&mut self, zone: usize) -> Vec<Effect> {
        self.occupied.insert(zone);
        match &mut self.clip {
            Some(clip) => {
                clip.clear = None;
                Vec::new()
            }
            None => self.begin(),
        }
    }

    /// A zone is clear.
    pub fn cleared(&mut self, zone: usize, now: Uptime) {
        self.occupied.remove(&zone);
        if let (Some(clip), true) = (&mut self.clip, self.occupied.is_empty()) {
            clip.clear.get_or_insert(now);
        }
    }

    /// The next unit of the stream.
    pub fn unit(&mut self, unit: Unit) -> Vec<Effect> {
        let mut effects = Vec::new();
        // Another session or other parameter sets: another file.
        let last = self.parameters.replace(unit.parameters.clone());
        let same = last.is_none_or(|last| Arc::ptr_eq(&last, &unit.parameters));
        if !same {
            effects.extend(self.end());
            self.units.clear();
            self.bytes = 0;
        }
        let now = unit.received;
        let over = |clip: &Clip| {
            let cleared = clip.clear.is_some_and(|clear| now.since(clear) >= self.config.after);
            let long = now.since(clip.began);
            // At a key frame, with which the next one begins; of a stream that has none, at last.
            cleared || (long >= self.config.longest && unit.key) || long >= 2 * self.config.longest
        };
        if self.clip.as_ref().is_some_and(over) {
            effects.extend(self.end());
        }
        self.broken = !unit.key && (self.broken || unit.lost || !same);
        if self.broken {
            return effects;
        }
        self.bytes += unit.data.len();
        self.units.push_back(unit.clone());
        self.forget(now);
        match self.clip {
            Some(_) => effects.push(Effect::Add(unit)),
            // Since it began somebody has been there: what follows is the next clip, from here on.
            None if !self.occupied.is_empty() && unit.key => effects.extend(self.begin_with(vec![unit])),
            None => {}
        }
        effects
    }

    /// Bytes of the seconds before.
    pub const fn kept_bytes(&self) -> usize {
        self.bytes
    }

    /// The stream has ended.
    pub fn end(&mut self) -> Option<Effect> {
        self.clip.take().map(|_| Effect::End)
    }

    fn begin(&mut self) -> Vec<Effect> {
        // More than is kept: a group of pictures may have lost its beginning.
        self.begin_with(self.units.iter().skip_while(|unit| !unit.key).cloned().collect())
    }

    fn begin_with(&mut self, units: Vec<Unit>) -> Vec<Effect> {
        let Some(first) = units.first() else { return Vec::new() };
        self.clip = Some(Clip { began: first.received, clear: None });
        vec![Effect::Begin(units)]
    }

    /// Lets go of whole groups of pictures that are too old or too much.
    fn forget(&mut self, now: Uptime) {
        loop {
            let next = self.units.iter().enumerate().skip(1).find(|(_, unit)| unit.key);
            let next = next.map(|(at, unit)| (at, now.since(unit.received) >= self.config.before));
            let (count, old) = next.unwrap_or((self.units.len(), false));
            if !old && self.bytes <= KEPT_MAX {
                return;
            }
            for unit in self.units.drain(..count) {
                self.bytes -= unit.data.len();
            }
        }
    }
}
