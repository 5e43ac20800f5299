//! The inference thread: newest frames through model, tracker and zones; what it finds goes to journal, interlock,
//! alerts and console. Runs at a lower priority, so that it never takes the safety thread's core.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shared::units::Uptime;
use tokio::sync::watch;
use tracing::{info, warn};

use super::camera_health::Health;
use super::chain::{ChainConfig, Votes};
use super::current::Current;
use super::diary::{Diary, millis};
use super::finder::{Finder, Seen};
use super::journey::{Journey, LineConfig};
use super::model::Model;
use super::track::Tracker;
use super::zone::{Confirmation, LIKELY, Presence, Turn, ZoneConfig, feet};
use super::{Detection, Looked};
use crate::clock;
use crate::ground::calibration::Calibration;
use crate::ground::people::People;
use crate::health::{Metrics, Of};
use crate::sensor::camera::CameraConfig;
use crate::sensor::camera::view::{self, Fault, View, ViewConfig};
use crate::sensor::camera::view_store::{ViewStore, WRITES};
use crate::sensor::frame::{Frame, Mailbox};

/// How long a take waits before cameras are looked at for staleness.
const WAIT: Duration = Duration::from_millis(100);
/// Niceness of the inference thread.
const NICE: i32 = 10;

/// A box as shown on the console.
#[derive(Debug, Clone)]
pub struct ShownBox {
    /// Track number.
    pub track: u64,
    /// Label.
    pub label: String,
    /// Score.
    pub score: f32,
    /// Box in pixels.
    pub box_xyxy_px: [f32; 4],
}

/// A camera as shown on the console.
#[derive(Debug, Clone, Default)]
pub struct CameraView {
    /// Width and height of the newest looked-at picture, in pixels.
    pub size: Option<(u32, u32)>,
    /// Frame number.
    pub frame: u64,
    /// When it was captured.
    pub captured: Uptime,
    /// Whether it is stale.
    pub stale: bool,
    /// Why it gives nothing, if it says so.
    pub error: String,
    /// What is wrong with what it shows.
    pub fault: Option<Fault>,
    /// Confirmed tracks.
    pub boxes: Vec<ShownBox>,
    /// Time from capture to result, milliseconds.
    pub latency_ms: u64,
}

/// What the worker tells the stages after it.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// A frame was looked at for a zone.
    Seen {
        /// Index of the zone.
        zone: usize,
        /// Whether somebody confirmed is in it on this very frame.
        present: bool,
        /// Where they stand.
        people: People,
        /// When the frame was captured.
        captured: Uptime,
    },
    /// A zone became occupied or clear.
    Zone {
        /// Index of the zone.
        zone: usize,
        /// What became of it.
        turn: Turn,
    },
    /// A camera became stale or fresh.
    Camera {
        /// Index of the camera.
        camera: usize,
        /// Whether it is stale.
        stale: bool,
    },
    /// What a camera shows cannot be believed any more, or can again.
    View {
        /// Index of the camera.
        camera: usize,
        /// What is wrong with it.
        fault: Option<Fault>,
    },
    /// A zone's camera is blind, or no longer.
    Blind {
        /// Index of the zone.
        zone: usize,
        /// Whether it is.
        blind: bool,
    },
}

/// What the inference thread owns.
pub struct Worker {
    /// What finds things in pictures.
    pub finder: Finder,
    /// The model in use, and the number of the one that the finder has.
    pub current: Current,
    /// See [`Current::number`].
    pub number: u64,
    /// Which of so many workers this is: each n-th camera is its own.
    pub part: (usize, usize),
    /// Takes looks; must not block.
    pub looked: Box<dyn FnMut(Looked) + Send>,
    /// Cameras.
    pub cameras: Vec<CameraConfig>,
    /// Where the picture of each camera lies on the ground, where that is known.
    pub ground: Vec<Option<Calibration>>,
    /// Zones of all cameras.
    pub zones: Arc<[ZoneConfig]>,
    /// Lines of all cameras.
    pub lines: Vec<LineConfig>,
    /// What looks second, at what is followed.
    pub chains: Vec<(ChainConfig, Model)>,
    /// Where frames come from.
    pub mailbox: Arc<Mailbox>,
    /// Takes news; must not block.
    pub news: Arc<dyn Fn(News) + Send + Sync>,
    /// Where the console looks.
    pub view: watch::Sender<Vec<CameraView>>,
    /// By camera: somebody has said that what it shows now is what it should show.
    pub accepted: Arc<[AtomicBool]>,
    /// What was usual for each camera before the node was started; keeps what is usual now.
    pub views: ViewStore,
    /// Writes down what has happened.
    pub diary: Diary,
    /// Counters.
    pub metrics: Metrics,
    /// Ends the thread.
    pub stop: Arc<AtomicBool>,
}

#[derive(Default)]
pub(super) struct Camera {
    pub(super) seen: Seen,
    pub(super) tracker: Tracker,
    pub(super) journeys: HashMap<u64, Journey>,
    /// By track and chain.
    pub(super) votes: HashMap<(u64, usize), Votes>,
    zones: HashMap<usize, Zone>,
    pub(super) newest: Uptime,
    /// Number and size of the newest frame.
    pub(super) last: (u64, (u32, u32)),
    pub(super) health: Health,
    pub(super) view: View,
    /// When what is usual was kept last.
    kept: Option<Uptime>,
    /// What was kept holds no more.
    forget: bool,
}

/// Who is in one zone.
#[derive(Default)]
struct Zone {
    confirmation: Confirmation,
    presence: Presence,
    /// What the last look at it showed: whether somebody confirmed is in it, and where they stand.
    last: (bool, People),
}

impl Worker {
    /// Runs until stopped.
    pub fn run(mut self) {
        if let Err(error) = rustix::process::nice(NICE) {
            warn!(%error, "inference thread keeps its priority");
        }
        let begun = clock::uptime();
        let view = |index| View::remembering(self.views.usual(index));
        let camera = |index| Camera { newest: begun, view: view(index), ..Camera::default() };
        let mut cameras: Vec<Camera> = (0..self.cameras.len()).map(camera).collect();
        while !self.stop.load(Ordering::Relaxed) {
            if self.number != self.current.number() {
                self.take_over(&mut cameras);
            }
            if let Some((frame, replaced)) = self.mailbox.take(WAIT, clock::uptime)
                && let (Some(camera), Some(config)) = (cameras.get_mut(frame.camera), self.cameras.get(frame.camera))
            {
                let of = Of::new(config.name.as_str());
                self.metrics.frames_dropped.get_or_create(&of).inc_by(replaced);
                self.metrics.frame_age.observe(&of, clock::uptime().since(frame.captured));
                let view = config.view();
                let evidence = self.look_at_view(camera, &view, &frame, &of);
                self.look(camera, &frame, evidence, &of);
                self.metrics.frame_told.observe(&of, clock::uptime().since(frame.captured));
            }
            self.judge_health(&mut cameras);
        }
        for (index, camera) in cameras.iter().enumerate().skip(self.part.0).step_by(self.part.1) {
            if let Some(usual) = camera.view.usual() {
                self.views.offer(index, Some(usual.clone()));
            }
        }
        info!("detection has ended");
    }

    /// Whether what a frame shows is evidence: a doubtful picture in which nobody is found proves nothing.
    fn look_at_view(&mut self, camera: &mut Camera, config: &ViewConfig, frame: &Frame, of: &Of) -> bool {
        let Some(look) = view::look(&frame.picture) else {
            // Smaller than a sketch: nobody would be found in it.
            self.metrics.frames_doubted.get_or_create(of).inc();
            return false;
        };
        let accepted = self.accepted.get(frame.camera).is_some_and(|accepted| accepted.swap(false, Ordering::Relaxed));
        if accepted {
            camera.view.accept();
            (camera.kept, camera.forget) = (None, true);
        }
        let seen = camera.view.saw(config, &look, frame.captured);
        self.tell_view(frame.camera, camera.view.fault(), seen.turn, of);
        self.keep_view(camera, frame);
        if !seen.evidence {
            self.metrics.frames_doubted.get_or_create(of).inc();
        }
        seen.evidence
    }

    /// Keeps what is usual once it is known and then every few minutes; what is not taken is offered again.
    fn keep_view(&self, camera: &mut Camera, frame: &Frame) {
        if camera.forget {
            camera.forget = !self.views.offer(frame.camera, None);
        } else if let Some(usual) = camera.view.usual()
            && camera.kept.is_none_or(|kept| frame.captured.since(kept) >= WRITES)
            && self.views.offer(frame.camera, Some(usual.clone()))
        {
            camera.kept = Some(frame.captured);
        }
    }

    fn look(&mut self, camera: &mut Camera, frame: &Frame, evidence: bool, of: &Of) {
        let Some(config) = self.cameras.get(frame.camera) else { return };
        let begun = clock::thread_time();
        let found = self.finder.find(&mut camera.seen, config, frame, evidence, of);
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                self.current.failed(self.number);
                self.metrics.inference_failures.get_or_create(of).inc();
                warn!(camera = of.name, %error, "picture is passed over");
                return;
            }
        };
        let now = clock::uptime();
        camera.newest = frame.captured;
        camera.health.error.clear();
        let size = (frame.picture.width, frame.picture.height);
        camera.last = (frame.number, size);
        let all = self.zones.clone();
        let zones: Vec<(usize, &ZoneConfig)> =
            all.iter().enumerate().filter(|(_, zone)| zone.camera.as_str() == of.name).collect();
        let Some(found) = found else {
            // Nothing moved: who was there is there, and nobody has come.
            camera.tracker.hold(now);
            let as_before = |index: &usize| camera.zones.get(index).map(|zone| zone.last).unwrap_or_default();
            let here: Vec<(bool, People)> = zones.iter().map(|(index, _)| as_before(index)).collect();
            self.judge(camera, &zones, here, frame, evidence);
            return self.show(camera, frame, now);
        };
        let zones_of = |b: &[f32; 4]| zones.iter().filter(|(_, z)| z.holds(b, size)).map(|(i, _)| *i).collect();
        let changes = camera.tracker.step(&found, now, zones_of);
        if evidence {
            let (missed, back) = camera.tracker.flicker();
            let (number, frame, found, took) =
                (self.number, frame.clone(), found.clone(), clock::thread_time().saturating_sub(begun));
            let whole = camera.seen.whole;
            (self.looked)(Looked { number, frame, found, took, whole, missed, back });
        }
        let here = zones.iter().map(|(index, zone)| {
            let counts = |d: &&Detection| zone.counts(self.finder.model.label(d.class), d.score, &d.box_xyxy_px, size);
            let best = found.iter().filter(counts).map(|d| d.score).fold(0.0, f32::max);
            let mut people = People::default();
            let ground = self.ground.get(frame.camera).and_then(Option::as_ref);
            for one in found.iter().filter(counts).filter(|d| d.score >= LIKELY) {
                people.add(ground.and_then(|ground| ground.place(feet(&one.box_xyxy_px, size)?)));
            }
            (camera.zones.entry(*index).or_default().confirmation.step(best), people)
        });
        let here = here.collect();
        self.judge(camera, &zones, here, frame, evidence);
        self.travel(camera, &zones, &changes, of, now);
        self.look_again(camera, frame, of, now);
        self.show(camera, frame, now);
    }

    /// Tells who is in each zone. The interlock hears of every one before anything is written.
    fn judge(
        &mut self,
        camera: &mut Camera,
        zones: &[(usize, &ZoneConfig)],
        here: Vec<(bool, People)>,
        frame: &Frame,
        evidence: bool,
    ) {
        let (now, mut turns) = (clock::uptime(), Vec::new());
        for ((index, zone), (present, people)) in zones.iter().zip(here) {
            let state = camera.zones.entry(*index).or_default();
            state.last = (present, people);
            // Where one is found in a doubtful picture, others may be anywhere.
            let people = if evidence { people } else { People::anywhere() };
            if evidence || present {
                (self.news)(News::Seen { zone: *index, present, people, captured: frame.captured });
            }
            // What proves nothing clears nothing.
            let turn = if evidence || present { state.presence.step(present, zone.clear_after, now) } else { None };
            turns.extend(turn.map(|turn| (*index, zone, turn)));
        }
        for (index, zone, turn) in turns {
            (self.news)(News::Zone { zone: index, turn });
            let boxes = camera.tracker.confirmed().map(|track| track.box_xyxy_px).collect();
            self.diary.zone(index, zone, turn, frame, boxes);
        }
    }

    fn show(&self, camera: &Camera, frame: &Frame, now: Uptime) {
        let shown = |track: &super::track::Track| ShownBox {
            track: track.number,
            label: self.words(camera, track),
            score: track.score(),
            box_xyxy_px: track.box_xyxy_px,
        };
        let boxes = camera.tracker.confirmed().map(shown).collect();
        let latency_ms = millis(now.since(frame.captured));
        self.view.send_modify(|views| {
            if let Some(view) = views.get_mut(frame.camera) {
                *view = CameraView {
                    size: Some((frame.picture.width, frame.picture.height)),
                    frame: frame.number,
                    captured: frame.captured,
                    stale: camera.health.stale,
                    error: String::new(),
                    fault: camera.view.fault(),
                    boxes,
                    latency_ms,
                };
            }
        });
    }
}
