//! Whether cameras give frames and what they show can be believed: what is told of it, to the interlock first.

use std::time::Duration;

use shared::event::{CameraHealth, CameraState, CameraViewChanged, Payload};
use shared::units::Uptime;
use tracing::{info, warn};

use super::diary::millis;
use super::worker::{Camera, News, Worker};
use crate::clock;
use crate::health::Of;
use crate::sensor::camera::view::Fault;

/// Longer than its pictures may be apart by this, without one that is late, a camera that was stale is fresh: one that is a
/// little slower than that is not told of with each picture.
const GOOD_AFTER: Duration = Duration::from_secs(1);

/// Whether a camera gives frames, as it is told: to people, alerts, the journal. The interlock goes by each frame.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// It does not.
    pub stale: bool,
    /// Why, if it says so.
    pub error: String,
    /// Whether that is told.
    told: bool,
    /// Since when none was late.
    good_since: Option<Uptime>,
}

impl Health {
    /// Takes the age of its newest frame, how old that may be, and what it says; whether something is to be told. Of what it
    /// says while it is stale only the first is: it tries again each second.
    pub fn step(&mut self, age: Duration, stale_after: Duration, said: Option<String>, now: Uptime) -> bool {
        let late = age > stale_after;
        self.good_since = if late { None } else { self.good_since.or(Some(now)) };
        let good = self.good_since.is_some_and(|since| now.since(since) >= stale_after + GOOD_AFTER);
        let stale = late || (self.stale && !good);
        if let Some(said) = said {
            self.error = said;
        }
        let turned = stale != self.stale;
        self.stale = stale;
        let why = stale && !self.error.is_empty();
        let tell = turned || (why && !self.told);
        self.told = stale && (self.told || why);
        tell
    }
}

impl Worker {
    /// Looks at which cameras give frames.
    pub(super) fn judge_health(&mut self, cameras: &mut [Camera]) {
        for (late, config) in self.mailbox.late().into_iter().zip(&self.cameras).filter(|(late, _)| *late > 0) {
            self.metrics.frames_late.get_or_create(&Of::new(config.name.as_str())).inc_by(late);
        }
        let now = clock::uptime();
        let (first, each) = self.part;
        let troubles = self.mailbox.troubles();
        let known = cameras.iter_mut().zip(&self.cameras).zip(troubles).enumerate().skip(first).step_by(each);
        for (index, ((camera, config), trouble)) in known {
            let of = Of::new(config.name.as_str());
            if trouble.as_ref().is_some_and(|trouble| trouble.frozen) {
                let turn = camera.view.freeze(now);
                self.tell_view(index, camera.view.fault(), turn, &of);
            }
            let age = now.since(camera.newest);
            let (before, said) = (camera.health.stale, trouble.is_some());
            let tell = camera.health.step(age, config.stale_after, trouble.map(|trouble| trouble.text), now);
            let stale = camera.health.stale;
            if stale != before {
                (self.news)(News::Camera { camera: index, stale });
            }
            if !tell && !said {
                continue;
            }
            let error = camera.health.error.clone();
            if tell {
                let state = if stale { CameraState::Stale } else { CameraState::Fresh };
                let health = CameraHealth { camera: of.name.clone(), state, age_ms: millis(age), error: error.clone() };
                self.diary.keep(format!("camera/{}", of.name), Payload::CameraHealth(health));
            }
            self.view.send_modify(|views| {
                if let Some(view) = views.get_mut(index) {
                    (view.stale, view.error, view.fault) = (stale, error, camera.view.fault());
                }
            });
        }
    }

    /// Tells what is wrong with what a camera shows.
    pub(super) fn tell_view(&self, camera: usize, fault: Option<Fault>, turn: Option<Option<Fault>>, of: &Of) {
        if fault.is_some() || turn.is_some() {
            // With each frame: what is told once may find no room.
            let zones = self.zones.iter().enumerate().filter(|(_, zone)| zone.camera.as_str() == of.name);
            zones.for_each(|(zone, _)| (self.news)(News::Blind { zone, blind: fault.is_some() }));
        }
        if let Some(fault) = turn {
            (self.news)(News::View { camera, fault });
            let view = fault.map_or("good", Fault::as_str).to_owned();
            match fault {
                Some(fault) => warn!(camera = of.name, fault = fault.as_str(), "camera is not believed"),
                None => info!(camera = of.name, "camera is believed again"),
            }
            let changed = CameraViewChanged { camera: of.name.clone(), view, by: String::new() };
            self.diary.keep(format!("camera/{}", of.name), Payload::CameraView(changed));
        }
    }
}
