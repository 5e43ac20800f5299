//! Detections of successive frames into tracks with stable numbers: a pure step.
//!
//! A track is confirmed by one detection of at least [`SURE`] or by two of three of at least [`LIKELY`]; before that
//! nobody hears of it. Detections are matched greedily by overlap, best pair first, within one class.

use std::collections::VecDeque;
use std::time::Duration;

use shared::event::TrackPhase;
use shared::units::Uptime;

use super::Detection;
use super::head::iou;
use super::zone::{LIKELY, SURE};

/// Least overlap of a track's last box and its next detection.
const OVERLAP: f32 = 0.2;
/// A track not seen for this long has ended.
const PATIENCE: Duration = Duration::from_secs(1);
/// A track that changes nothing is told of this often.
const UPDATE: Duration = Duration::from_secs(1);
/// Scores kept for the median.
const HISTORY: usize = 9;
/// Most tracks of a camera: beyond this a picture is noise.
const TRACKS_MAX: usize = 200;

/// A followed object.
#[derive(Debug, Clone)]
pub struct Track {
    /// Number, unique for the camera.
    pub number: u64,
    /// Class number.
    pub class: usize,
    /// Last box.
    pub box_xyxy_px: [f32; 4],
    /// When it was last detected.
    pub seen: Uptime,
    /// Whether it is real.
    pub confirmed: bool,
    scores: VecDeque<f32>,
    recent: [bool; 3],
    told: Option<Uptime>,
    zones: Vec<usize>,
}

impl Track {
    /// Median of the recent scores.
    pub fn score(&self) -> f32 {
        let mut sorted: Vec<f32> = self.scores.iter().copied().collect();
        sorted.sort_by(f32::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
    }

    fn new(number: u64, found: &Detection, now: Uptime) -> Self {
        let (scores, recent, zones) = (VecDeque::new(), [false; 3], Vec::new());
        let (class, box_xyxy_px) = (found.class, found.box_xyxy_px);
        let mut made =
            Self { number, class, box_xyxy_px, seen: now, confirmed: false, scores, recent, told: None, zones };
        made.see(found, now);
        made
    }

    fn see(&mut self, found: &Detection, now: Uptime) {
        self.box_xyxy_px = found.box_xyxy_px;
        self.seen = now;
        self.scores.push_back(found.score);
        if self.scores.len() > HISTORY {
            self.scores.pop_front();
        }
        self.recent = [true, self.recent[0], self.recent[1]];
        self.confirmed |= found.score >= SURE || self.recent.iter().filter(|seen| **seen).count() >= 2;
    }

    fn miss(&mut self) {
        self.recent = [false, self.recent[0], self.recent[1]];
    }
}

/// The tracks of one camera.
#[derive(Debug, Default)]
pub struct Tracker {
    tracks: Vec<Track>,
    made: u64,
}

/// What became of a track.
#[derive(Debug, Clone)]
pub struct Change {
    /// New, update or end.
    pub phase: TrackPhase,
    /// The track.
    pub track: Track,
    /// Zones its bottom-centre point is in.
    pub zones: Vec<usize>,
}

impl Tracker {
    /// Confirmed tracks.
    pub fn confirmed(&self) -> impl Iterator<Item = &Track> {
        self.tracks.iter().filter(|track| track.confirmed)
    }

    /// A frame in which nothing moved: what the last look saw is still there.
    pub fn hold(&mut self, now: Uptime) {
        self.tracks.iter_mut().filter(|track| track.recent[0]).for_each(|track| track.seen = now);
    }

    /// Whether something that is followed was not found in the newest frame but in the one before; and whether something is
    /// found again that was not in the frame before but in the one before that.
    pub fn flicker(&self) -> (bool, bool) {
        let any = |pattern: &[bool]| self.confirmed().any(|track| track.recent.starts_with(pattern));
        (any(&[false, true]), any(&[true, false, true]))
    }

    /// Ends all tracks: what there is to tell of them.
    pub fn end(&mut self) -> Vec<Change> {
        let told = std::mem::take(&mut self.tracks).into_iter().filter(|track| track.told.is_some());
        told.map(|track| Change { phase: TrackPhase::End, zones: track.zones.clone(), track }).collect()
    }

    /// Takes the detections of a frame; gives what is worth telling. `zones_of` names the zones of a box.
    pub fn step(
        &mut self,
        found: &[Detection],
        now: Uptime,
        zones_of: impl Fn(&[f32; 4]) -> Vec<usize>,
    ) -> Vec<Change> {
        let found: Vec<&Detection> = found.iter().filter(|d| d.score >= LIKELY).collect();
        let mut pairs: Vec<(f32, usize, usize)> = Vec::new();
        for (t, track) in self.tracks.iter().enumerate() {
            for (d, detection) in found.iter().enumerate().filter(|(_, d)| d.class == track.class) {
                let overlap = iou(&track.box_xyxy_px, &detection.box_xyxy_px);
                if overlap >= OVERLAP {
                    pairs.push((overlap, t, d));
                }
            }
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (mut track_of, mut matched) = (vec![None; found.len()], vec![false; self.tracks.len()]);
        for (_, t, d) in pairs {
            if let (Some(owner @ None), Some(taken @ false)) = (track_of.get_mut(d), matched.get_mut(t)) {
                (*owner, *taken) = (Some(t), true);
            }
        }
        for (track, _) in self.tracks.iter_mut().zip(&matched).filter(|(_, matched)| !**matched) {
            track.miss();
        }
        for (detection, owner) in found.iter().zip(track_of) {
            let room = self.tracks.len() < TRACKS_MAX;
            match owner.and_then(|t| self.tracks.get_mut(t)) {
                Some(track) => track.see(detection, now),
                None if room => {
                    self.made += 1;
                    self.tracks.push(Track::new(self.made, detection, now));
                }
                None => {}
            }
        }
        self.tell(now, zones_of)
    }

    fn tell(&mut self, now: Uptime, zones_of: impl Fn(&[f32; 4]) -> Vec<usize>) -> Vec<Change> {
        let mut changes = Vec::new();
        for track in self.tracks.iter_mut().filter(|track| track.confirmed) {
            let zones = zones_of(&track.box_xyxy_px);
            let phase = match track.told {
                _ if now.since(track.seen) > PATIENCE => TrackPhase::End,
                None => TrackPhase::New,
                Some(told) if now.since(told) >= UPDATE || zones != track.zones => TrackPhase::Update,
                Some(_) => continue,
            };
            track.told = Some(now);
            track.zones.clone_from(&zones);
            changes.push(Change { phase, track: track.clone(), zones });
        }
        self.tracks.retain(|track| now.since(track.seen) <= PATIENCE);
        changes
    }
}
