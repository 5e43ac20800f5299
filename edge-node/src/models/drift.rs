//! Whether a camera's pictures are still of the kind that the model was first used on: pure.
//!
//! Population stability index (Siddiqi, Credit Risk Scorecards, 2006): the sum over the bins of two histograms of
//! (p − q) · ln(p / q); below 0.1 nothing has changed, above 0.25 much has. Looks are taken seldom, so that one thing that
//! stands for an hour is not the whole histogram, and windows are days, so that day and night are in each.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

/// Above this much has changed.
pub const MUCH: f64 = 0.25;
/// Looks of a window, at most.
const LOOKS: u32 = 2000;
/// Looks, or things, that a histogram needs before it says anything: by chance alone two of these are 0.1 apart.
const LEAST: u64 = 200;
/// A bin that nothing is in counts as this share of one.
const NONE: f64 = 0.5;
const BINS: usize = 10;

/// What one look shows of one thing.
#[derive(Debug, Clone, Copy)]
pub struct Thing {
    /// Class number.
    pub class: usize,
    /// Score, 0 to 1.
    pub score: f32,
    /// Height of its box as a share of the picture's.
    pub height: f32,
}

/// Counts of one window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Histograms {
    looks: u64,
    things: u64,
    classes: Vec<u64>,
    scores: [u64; BINS],
    heights: [u64; BINS],
    brightness: [u64; BINS],
    counts: [u64; BINS],
}

/// How far two windows are apart; `None`: too little was seen to tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Psi {
    /// Which classes are found.
    pub classes: Option<f64>,
    /// How sure the model is.
    pub scores: Option<f64>,
    /// How large things are.
    pub heights: Option<f64>,
    /// How bright pictures are.
    pub brightness: Option<f64>,
    /// How many things are in a picture.
    pub counts: Option<f64>,
}

impl Psi {
    /// All of them.
    pub const fn all(&self) -> [Option<f64>; 5] {
        [self.classes, self.scores, self.heights, self.brightness, self.counts]
    }
}

impl Histograms {
    fn add(&mut self, brightness: f32, things: &[Thing]) {
        self.looks += 1;
        count(&mut self.brightness, brightness);
        // None, one, two and so on, nine and more.
        count(&mut self.counts, (things.len() as f32 + 0.5) / BINS as f32);
        for thing in things {
            self.things += 1;
            if thing.class >= self.classes.len() && thing.class < 1024 {
                self.classes.resize(thing.class + 1, 0);
            }
            self.classes.get_mut(thing.class).into_iter().for_each(|count| *count += 1);
            count(&mut self.scores, thing.score);
            // Octaves from a 512th of the picture to all of it.
            count(&mut self.heights, 1.0 + thing.height.max(1e-6).log2() / BINS as f32);
        }
    }

    fn apart(&self, now: &Self) -> Psi {
        let enough = |then: u64, now: u64| then >= LEAST && now >= LEAST;
        let things = enough(self.things, now.things);
        Psi {
            classes: things.then(|| psi(&self.classes, &now.classes)),
            scores: things.then(|| psi(&self.scores, &now.scores)),
            heights: things.then(|| psi(&self.heights, &now.heights)),
            brightness: enough(self.looks, now.looks).then(|| psi(&self.brightness, &now.brightness)),
            counts: enough(self.looks, now.looks).then(|| psi(&self.counts, &now.counts)),
        }
    }
}

/// Counts a share of 0 to 1 in its bin.
fn count(bins: &mut [u64; BINS], share: f32) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "kept inside the bins")]
    let bin = (share * BINS as f32).clamp(0.0, BINS as f32 - 1.0) as usize;
    bins.get_mut(bin).into_iter().for_each(|count| *count += 1);
}

/// The index of two histograms; bins that one of them has not are empty there.
pub fn psi(then: &[u64], now: &[u64]) -> f64 {
    let bins = then.len().max(now.len());
    let share = |of: &[u64], bin: usize| {
        let total: u64 = of.iter().sum();
        (of.get(bin).map_or(0.0, |count| *count as f64)).max(NONE) / (total as f64).max(1.0)
    };
    // A bin that is empty in both says nothing.
    let seen = |bin: &usize| [then, now].iter().any(|of| of.get(*bin).is_some_and(|count| *count > 0));
    (0..bins).filter(seen).map(|bin| (share(then, bin), share(now, bin))).map(|(p, q)| (q - p) * (q / p).ln()).sum()
}

/// A window that has begun.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Unfinished {
    window: Histograms,
    seconds: u64,
}

/// Watches one camera.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// What is normal: the first whole window.
    pub normal: Option<Histograms>,
    window: Histograms,
    begun: Option<Uptime>,
    /// How long it had lasted when the node was started.
    before: Duration,
    last: Option<Uptime>,
    /// How far the newest whole window was from what is normal.
    pub psi: Psi,
}

/// What the end of a window has shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Window {
    /// What is normal from now on.
    Normal,
    /// How far it is from that.
    Apart(Psi),
}

impl Watch {
    /// With what was normal before the node started, and what had come since.
    pub fn new(normal: Option<Histograms>, unfinished: Unfinished) -> Self {
        let before = Duration::from_secs(unfinished.seconds);
        Self { normal, window: unfinished.window, before, ..Self::default() }
    }

    /// The window that has begun.
    pub fn unfinished(&self, now: Uptime) -> Unfinished {
        let lasted = self.begun.map_or(Duration::ZERO, |begun| now.since(begun));
        Unfinished { window: self.window.clone(), seconds: (self.before.saturating_add(lasted)).as_secs() }
    }

    /// Whether a look at this time is taken.
    pub fn wants(&self, length: Duration, now: Uptime) -> bool {
        self.last.is_none_or(|last| now.since(last) >= length / LOOKS)
    }

    /// A look that is taken: brightness (0 to 1) and things; what its window has shown, if it ends here.
    pub fn step(&mut self, length: Duration, brightness: f32, things: &[Thing], now: Uptime) -> Option<Window> {
        self.last = Some(now);
        self.window.add(brightness, things);
        let begun = *self.begun.get_or_insert(now);
        if now.since(begun).saturating_add(self.before) < length || self.window.looks < LEAST {
            return None;
        }
        (self.begun, self.before) = (Some(now), Duration::ZERO);
        let window = std::mem::take(&mut self.window);
        let Some(normal) = &self.normal else {
            self.normal = Some(window);
            return Some(Window::Normal);
        };
        self.psi = normal.apart(&window);
        Some(Window::Apart(self.psi))
    }
}
