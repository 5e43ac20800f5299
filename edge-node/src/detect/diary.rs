//! What the detector's thread writes down: events of tracks, zones and lines, and what is to be kept of alerts.

use std::time::Duration;

use shared::event::{
    DetectionTrack, LineCrossed, Payload, TrackClassified, TrackEnded, TrackPhase, ZoneDwelt, ZonePresence,
};
use shared::units::Uptime;

use super::journey::{Happening, Journey};
use super::track::Track;
use super::zone::{Turn, ZoneConfig};
use crate::clock;
use crate::footage::{Cause, Footage, Told};
use crate::health::{Of, Times};
use crate::journal::Journal;
use crate::sensor::frame::Frame;

/// Takes what has happened.
pub struct Diary {
    /// Takes events.
    pub journal: Journal,
    /// Keeps clips and pictures of alerts.
    pub footage: Footage,
    /// Time from a frame's capture until the events of its tracks are on disk.
    pub kept: Times,
}

/// Milliseconds of a duration, for events.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Diary {
    /// Keeps an event.
    pub fn keep(&self, about: String, payload: Payload) {
        // A closed journal is the end of the node.
        let _ = self.journal.record(self.journal.event(about, payload));
    }

    /// A track appeared, changed or went; `frame`: number of the frame that shows it, and when it was captured.
    pub fn track(
        &self,
        phase: TrackPhase,
        track: &Track,
        label: &str,
        zones: Vec<String>,
        (frame, captured): (u64, Uptime),
        of: &Of,
    ) {
        let payload = Payload::DetectionTrack(DetectionTrack {
            camera: of.name.clone(),
            track: track.number,
            phase,
            label: label.to_owned(),
            score: track.score(),
            box_xyxy_px: track.box_xyxy_px,
            zones,
            frame,
        });
        let about = format!("camera/{}", of.name);
        if phase == TrackPhase::End {
            // It is gone since a while: no frame shows it.
            return self.keep(about, payload);
        }
        let (kept, of) = (self.kept.clone(), of.clone());
        let then = Box::new(move || kept.observe(&of, clock::uptime().since(captured)));
        // A closed journal is the end of the node.
        let _ = self.journal.record_then(self.journal.event(about, payload), then);
    }

    /// How a track that has gone had moved; `stays`: by zone, milliseconds.
    pub fn journey(
        &self,
        journey: &Journey,
        track: &Track,
        label: &str,
        stays: Vec<(String, u64)>,
        size: (u32, u32),
        of: &Of,
    ) {
        let (from, to) = journey.ends().unwrap_or_default();
        let payload = Payload::TrackEnded(TrackEnded {
            camera: of.name.clone(),
            track: track.number,
            label: label.to_owned(),
            score: track.score(),
            seen_ms: millis(journey.length()),
            zones_ms: stays,
            from,
            to,
            direction_deg: journey.direction_deg(size),
            speed_mps: journey.speed_mps(),
        });
        self.keep(format!("camera/{}", of.name), payload);
    }

    /// A second look says what a track is.
    pub fn classified(&self, chain: &str, label: &str, score: f32, track: u64, frame: u64, of: &Of) {
        let (camera, chain, label) = (of.name.clone(), chain.to_owned(), label.to_owned());
        let payload = Payload::TrackClassified(TrackClassified { camera, track, chain, label, score, frame });
        self.keep(format!("camera/{}", of.name), payload);
    }

    /// Something on a track's way; `name`: of the line or zone.
    pub fn happening(&self, happening: Happening, name: String, track: u64, label: &str, frame: u64, of: &Of) {
        let (camera, label) = (of.name.clone(), label.to_owned());
        match happening {
            Happening::Crossed(_, forwards) => {
                let about = format!("line/{name}");
                self.keep(
                    about,
                    Payload::LineCrossed(LineCrossed { line: name, camera, track, label, forwards, frame }),
                );
            }
            Happening::Dwelt(_, long) => {
                let (about, stayed_ms) = (format!("zone/{name}"), millis(long));
                self.keep(about, Payload::ZoneDwelt(ZoneDwelt { zone: name, camera, track, label, stayed_ms, frame }));
            }
        }
    }

    /// A zone became occupied or clear; of one with an alert a clip and pictures are kept. `boxes`: what is in the frame.
    pub fn zone(&self, index: usize, zone: &ZoneConfig, turn: Turn, frame: &Frame, boxes: Vec<[f32; 4]>) {
        let presence = |episode| ZonePresence {
            zone: zone.name.to_string(),
            camera: zone.camera.to_string(),
            episode,
            frame: frame.number,
        };
        let payload = match turn {
            Turn::Occupied(episode) => Payload::ZoneOccupied(presence(episode)),
            Turn::Cleared(episode) => Payload::ZoneCleared(presence(episode)),
        };
        let event = self.journal.event(format!("zone/{}", zone.name), payload);
        if zone.alert {
            let cause = Cause { event: event.event_id, trace: event.trace_id };
            // What has no room there is counted there.
            let _ = match turn {
                Turn::Occupied(_) => {
                    self.footage.tell(Told::Occupied(frame.camera, index, cause));
                    self.footage.tell(Told::Picture(frame.camera, frame.picture.clone(), boxes, cause))
                }
                Turn::Cleared(_) => self.footage.tell(Told::Cleared(frame.camera, index, frame.captured)),
            };
        }
        // A closed journal is the end of the node.
        let _ = self.journal.record(event);
    }
}
