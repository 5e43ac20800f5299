//! What two models find in the same pictures: pure.
//!
//! A thing counts where one model is sure of it ([`SURE`]); the other has it if it finds it at all ([`LIKELY`]) with the
//! same label and an overlap of half. So a score that lies a little above a threshold here and a little below there is no
//! disagreement.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::detect::head::iou;
use crate::detect::model::Named;
use crate::detect::zone::{LIKELY, SURE};

/// Least overlap of two boxes that are one thing.
const OVERLAP: f32 = 0.5;
/// Times kept for the median.
const TIMES: usize = 101;
/// Fewer things than these say nothing about a model.
pub const THINGS_LEAST: u64 = 10;

/// Things of one label, or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Things {
    /// That both have found.
    pub both: u64,
    /// That only the first has found.
    pub only_first: u64,
    /// That only the second has found.
    pub only_second: u64,
}

impl Things {
    /// Share that both have found; `None`: there are too few to tell.
    fn agreement(self) -> Option<f32> {
        let all = self.both + self.only_first + self.only_second;
        (all >= THINGS_LEAST).then(|| self.both as f32 / all as f32)
    }
}

/// Counts over the pictures that both have seen.
#[derive(Debug, Clone, Default)]
pub struct Compared {
    /// Pictures.
    pub pictures: u64,
    /// Things of all labels.
    pub all: Things,
    labels: HashMap<String, Things>,
    sure: HashMap<String, f32>,
    first: VecDeque<Duration>,
    second: VecDeque<Duration>,
}

/// What is asked of a model before it is used.
#[derive(Debug, Clone, Copy)]
pub struct Limits<'a> {
    /// Longest time of a look, in the median.
    pub budget: Duration,
    /// Least share of things that both find; `None`: whatever they find.
    pub agreement: Option<f32>,
    /// Labels that the interlock heeds: each is judged by itself, since one that is blind to people may well agree on cars.
    pub heeded: &'a [String],
}

impl Compared {
    /// Nothing yet. `sure`: of some labels, the score from which a thing counts at all, where that is above [`SURE`].
    pub fn new(sure: HashMap<String, f32>) -> Self {
        Self { sure, ..Self::default() }
    }

    /// Nothing yet, by the same scores.
    pub fn again(&self) -> Self {
        Self::new(self.sure.clone())
    }

    fn sure(&self, found: &Named) -> bool {
        found.score >= self.sure.get(&found.label).copied().unwrap_or(SURE).max(SURE)
    }

    /// One more picture: what each has found in it and how long it took. `labels`: what counts; empty: everything. Gives
    /// whether they differ.
    pub fn add(&mut self, labels: &[String], first: (&[Named], Duration), second: (&[Named], Duration)) -> bool {
        let counts = |found: &&Named| found.score >= LIKELY && (labels.is_empty() || labels.contains(&found.label));
        let ours: Vec<&Named> = first.0.iter().filter(counts).collect();
        let theirs: Vec<&Named> = second.0.iter().filter(counts).collect();
        let mut free = vec![true; theirs.len()];
        let before = self.all;
        for one in &ours {
            let at = |same: bool| {
                theirs.iter().zip(&free).position(|(other, free)| {
                    *free && (other.label == one.label) == same && iou(&one.box_xyxy_px, &other.box_xyxy_px) >= OVERLAP
                })
            };
            // The same thing by another name is one disagreement, not two.
            let (found, same) = match at(true) {
                Some(found) => (Some(found), true),
                None => (at(false), false),
            };
            let pair = found.and_then(|at| Some((*theirs.get(at)?, free.get_mut(at)?)));
            let sure = self.sure(one) || pair.as_ref().is_some_and(|(other, _)| same && self.sure(other));
            if let Some((_, free)) = pair.filter(|_| same || sure) {
                *free = false;
            }
            if sure {
                self.count(&one.label, |things| if same { things.both += 1 } else { things.only_first += 1 });
            }
        }
        for (other, _) in theirs.iter().zip(&free).filter(|(_, free)| **free) {
            if self.sure(other) {
                self.count(&other.label, |things| things.only_second += 1);
            }
        }
        self.pictures += 1;
        keep(&mut self.first, first.1);
        keep(&mut self.second, second.1);
        (self.all.only_first, self.all.only_second) != (before.only_first, before.only_second)
    }

    fn count(&mut self, label: &str, one: impl Fn(&mut Things)) {
        one(&mut self.all);
        one(self.labels.entry(label.to_owned()).or_default());
    }

    /// How long a look of the second took on a picture of which nothing else can be said.
    pub fn timed(&mut self, second: Duration) {
        keep(&mut self.second, second);
    }

    /// Looks of the second whose time is known.
    pub fn looks(&self) -> usize {
        self.second.len()
    }

    /// Share of things that both have found, of all or of the heeded label with the least of it; `None`: there are too few to
    /// tell.
    pub fn agreement(&self, heeded: &[String]) -> Option<f32> {
        let heeded = heeded.iter().filter_map(|label| self.labels.get(label)).copied();
        heeded.chain([self.all]).filter_map(Things::agreement).reduce(f32::min)
    }

    /// How long a look of each takes, in the median of the newest.
    pub fn medians(&self) -> (Duration, Duration) {
        (median(&self.first), median(&self.second))
    }

    /// Whether the second may take the place of the first; else why not.
    ///
    /// # Errors
    /// A sentence with what was measured and what was expected.
    pub fn verdict(&self, limits: Limits<'_>) -> Result<(), String> {
        let (_, took) = self.medians();
        if took > limits.budget {
            let [took, budget] = [took, limits.budget].map(ms);
            return Err(format!(
                "it takes {took:.0} ms for a picture, expected at most {budget:.0} (model.upkeep.budget)"
            ));
        }
        match (self.agreement(limits.heeded), limits.agreement) {
            (Some(found), Some(least)) if found < least => Err(format!(
                "in {} pictures both find {} things, only the model in use {}, only this one {}: {found:.2} of them, or of \
                 those of one label, are agreed on, expected at least {least:.2} (model.upkeep.agreement)",
                self.pictures, self.all.both, self.all.only_first, self.all.only_second,
            )),
            _ => Ok(()),
        }
    }
}

fn keep(times: &mut VecDeque<Duration>, time: Duration) {
    times.push_back(time);
    if times.len() > TIMES {
        times.pop_front();
    }
}

/// Milliseconds.
pub fn ms(time: Duration) -> f32 {
    time.as_secs_f32() * 1000.0
}

/// The middle one; nothing of none.
pub fn median(times: &VecDeque<Duration>) -> Duration {
    let mut sorted: Vec<Duration> = times.iter().copied().collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
