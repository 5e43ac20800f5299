//! Second looks: what a classifier says of a followed thing, from the part of the picture that it is in. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;
use shared::ids::Name;
use shared::units::Uptime;

use super::gate::Part;

/// Looks whose mean decides.
const LOOKS: usize = 5;
/// Fewest looks that decide.
const LEAST: usize = 3;
/// Least mean score of a class that is told.
const SURE: f32 = 0.6;
/// What is around the box belongs to the crop: this share of its larger side at each edge.
const AROUND: f32 = 0.15;
/// Smallest side of a crop, pixels.
const SIDE_LEAST: f32 = 16.0;

/// A classifier behind the detector: `[[chain]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// Name.
    pub name: Name,
    /// What is looked at a second time.
    pub labels: Vec<String>,
    /// Name of the classifier in the manifest.
    pub model: String,
    /// Least size of a box, its larger side as a share of the picture's height.
    #[serde(default = "default_size")]
    pub min_size: f32,
    /// Time between two looks at one thing.
    #[serde(default = "default_every", with = "shared::config::duration")]
    pub every: Duration,
}

fn default_size() -> f32 {
    0.08
}

fn default_every() -> Duration {
    Duration::from_millis(500)
}

impl ChainConfig {
    /// What is wrong with it: key, and what was expected.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        if self.labels.is_empty() {
            return Some(("labels", "expected at least one label".into()));
        }
        if !(0.0..=1.0).contains(&self.min_size) {
            return Some(("min_size", format!("expected 0 to 1, found {}", self.min_size)));
        }
        let every = (50..=60_000).contains(&self.every.as_millis());
        (!every).then(|| ("every", "expected 50ms to 1m".into()))
    }
}

/// What a classifier has said of one followed thing.
#[derive(Debug, Clone, Default)]
pub struct Votes {
    looks: VecDeque<Vec<f32>>,
    last: Option<Uptime>,
    /// Class that was told.
    pub told: Option<usize>,
}

impl Votes {
    /// When it was last looked at; `None`: it is not time for another look.
    pub fn due(&self, every: Duration, now: Uptime) -> Option<Uptime> {
        match self.last {
            Some(last) => (now.since(last) >= every).then_some(last),
            None => Some(Uptime::default()),
        }
    }

    /// It is looked at, whatever comes of it.
    pub const fn tried(&mut self, now: Uptime) {
        self.last = Some(now);
    }

    /// One more look, scores by class: the class and its mean score, where that is another than was told.
    pub fn step(&mut self, scores: Vec<f32>) -> Option<(usize, f32)> {
        self.looks.push_back(scores);
        if self.looks.len() > LOOKS {
            self.looks.pop_front();
        }
        if self.looks.len() < LEAST {
            return None;
        }
        let classes = self.looks.iter().map(Vec::len).min().unwrap_or(0);
        let mean =
            |class: usize| self.looks.iter().filter_map(|look| look.get(class)).sum::<f32>() / self.looks.len() as f32;
        let (class, score) = (0..classes).map(|class| (class, mean(class))).max_by(|a, b| a.1.total_cmp(&b.1))?;
        if score < SURE || self.told == Some(class) {
            return None;
        }
        self.told = Some(class);
        Some((class, score))
    }
}

/// The part of a picture that a box is in, with what is around it: even numbers, inside the picture; `None`: too small.
pub fn part([left, top, right, bottom]: &[f32; 4], (width, height): (u32, u32)) -> Option<Part> {
    let around = (right - left).max(bottom - top) * AROUND;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "kept inside the picture")]
    let place = |value: f32, most: u32| value.clamp(0.0, most as f32) as u32 / 2 * 2;
    let (x0, x1) = (place(left - around, width), place(right + around + 1.0, width));
    let (y0, y1) = (place(top - around, height), place(bottom + around + 1.0, height));
    let (wide, high) = (x1.checked_sub(x0)?, y1.checked_sub(y0)?);
    ((wide.min(high) as f32) >= SIDE_LEAST).then_some((x0, y0, wide, high))
}
