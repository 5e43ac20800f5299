//! The ways of what is followed: lines, stays, what became of tracks, and the end of them all with another model.

use shared::event::TrackPhase;
use shared::units::Uptime;
use tracing::warn;

use super::chain::part;
use super::diary::millis;
use super::journey::Happening;
use super::track::{Change, Track};
use super::worker::{Camera, Worker};
use super::zone::{ZoneConfig, feet};
use crate::health::Of;
use crate::sensor::frame::Frame;
use crate::sensor::outline::foot;

/// Crops of one frame: the next frame of another camera must not wait for a crowd.
const CROPS: usize = 2;

impl Worker {
    /// Follows the ways of tracked things, and writes down what became of them.
    pub(super) fn travel(
        &self,
        camera: &mut Camera,
        zones: &[(usize, &ZoneConfig)],
        changes: &[Change],
        of: &Of,
        now: Uptime,
    ) {
        let (frame, size) = camera.last;
        let index = self.cameras.iter().position(|config| config.name.as_str() == of.name);
        let ground = index.and_then(|index| self.ground.get(index)).and_then(Option::as_ref);
        let names = |index: &usize| self.zones.get(*index).map(|zone| zone.name.to_string());
        for track in camera.tracker.confirmed().filter(|track| track.seen == now) {
            let label = self.finder.model.label(track.class);
            let within = zones.iter().filter(|(_, zone)| zone.counts(label, track.score(), &track.box_xyxy_px, size));
            let within: Vec<_> = within.map(|(index, zone)| (*index, zone.dwell)).collect();
            let lines = self.lines.iter().enumerate();
            let lines = lines.filter(|(_, line)| {
                line.camera.as_str() == of.name && line.labels.iter().any(|wanted| wanted == label)
            });
            let place = ground.and_then(|ground| ground.place(feet(&track.box_xyxy_px, size)?));
            let journey = camera.journeys.entry(track.number).or_default();
            for happening in journey.step(foot(&track.box_xyxy_px, size), &within, place, lines, now) {
                let name = match happening {
                    Happening::Crossed(line, _) => self.lines.get(line).map(|line| line.name.to_string()),
                    Happening::Dwelt(zone, _) => names(&zone),
                };
                self.diary.happening(happening, name.unwrap_or_default(), track.number, label, frame, of);
            }
        }
        self.tell(camera, changes, of);
    }

    /// Writes down what became of tracks.
    fn tell(&self, camera: &mut Camera, changes: &[Change], of: &Of) {
        let (frame, size) = camera.last;
        let names = |index: &usize| self.zones.get(*index).map(|zone| zone.name.to_string());
        for Change { phase, track, zones } in changes {
            let label = self.finder.model.label(track.class);
            let zones = zones.iter().filter_map(names).collect();
            self.diary.track(*phase, track, label, zones, (frame, camera.newest), of);
            let gone = *phase == TrackPhase::End;
            camera.votes.retain(|(number, _), _| !gone || *number != track.number);
            let ended = gone.then(|| camera.journeys.remove(&track.number)).flatten();
            if let Some(journey) = ended {
                let stays = journey.stays().filter_map(|(zone, long)| Some((names(&zone)?, millis(long)))).collect();
                self.diary.journey(&journey, track, label, stays, size, of);
            }
        }
    }

    /// Has the classifiers look at what is followed: at most so many crops of a frame, whoever has waited longest first.
    pub(super) fn look_again(&mut self, camera: &mut Camera, frame: &Frame, of: &Of, now: Uptime) {
        if self.chains.is_empty() {
            return;
        }
        let size = camera.last.1;
        let mut waiting = Vec::new();
        for track in camera.tracker.confirmed().filter(|track| track.seen == now) {
            let label = self.finder.model.label(track.class);
            let [left, top, right, bottom] = track.box_xyxy_px;
            let large = (right - left).max(bottom - top) / (size.1 as f32).max(1.0);
            for (index, (chain, _)) in self.chains.iter().enumerate() {
                if large >= chain.min_size && chain.labels.iter().any(|wanted| wanted == label) {
                    let votes = camera.votes.entry((track.number, index)).or_default();
                    let due = votes.due(chain.every, now).zip(part(&track.box_xyxy_px, size));
                    waiting.extend(due.map(|(last, part)| (last, track.number, index, part)));
                }
            }
        }
        waiting.sort_unstable();
        for (_, number, index, place) in waiting.into_iter().take(CROPS) {
            let (Some((chain, model)), Some(votes)) =
                (self.chains.get_mut(index), camera.votes.get_mut(&(number, index)))
            else {
                continue;
            };
            votes.tried(now);
            let Some(crop) = frame.picture.part(place) else { continue };
            match model.classify(&crop) {
                Ok(scores) => {
                    let Some((class, score)) = votes.step(scores) else { continue };
                    let label = model.label(class);
                    self.diary.classified(chain.name.as_str(), label, score, number, frame.number, of);
                }
                Err(error) => {
                    self.metrics.inference_failures.get_or_create(of).inc();
                    warn!(camera = of.name, chain = %chain.name, %error, "a second look fails");
                }
            }
        }
    }

    /// What is shown of a track: its label, and what second looks have said.
    pub(super) fn words(&self, camera: &Camera, track: &Track) -> String {
        let label = self.finder.model.label(track.class);
        let second = self.chains.iter().enumerate().filter_map(|(index, (_, model))| {
            camera.votes.get(&(track.number, index)).and_then(|votes| votes.told).map(|class| model.label(class))
        });
        std::iter::once(label).chain(second).collect::<Vec<_>>().join(", ")
    }

    /// Another model is in use: what the one before followed has ended, since its classes are not this one's; who is in a
    /// zone is there until a look shows otherwise.
    pub(super) fn take_over(&mut self, cameras: &mut [Camera]) {
        for (camera, config) in cameras.iter_mut().zip(&self.cameras) {
            let ended = camera.tracker.end();
            self.tell(camera, &ended, &Of::new(config.name.as_str()));
            camera.seen.forget();
        }
        (self.finder.model, self.number) = self.current.get();
    }
}
