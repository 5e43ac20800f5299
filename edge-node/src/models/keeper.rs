//! The thread that looks after the model in use: it changes it when somebody wants that or it must be, watches for drift,
//! and keeps hard frames. Below everything that watches the site: what it has no time for is not looked at.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::event::{ModelDrifted, Payload};
use shared::ids::Name;
use shared::units::Uptime;
use tokio::sync::watch;
use tracing::{info, warn};

use super::change::Change;
use super::choice::Pinned;
use super::drift::{Histograms, MUCH, Psi, Thing, Unfinished, Watch, Window};
use super::hard::{Hard, Store, Turns, Why, plain, unsure};
use super::shadow::Shown;
use super::{Ask, UpkeepConfig, Word};
use crate::clock;
use crate::detect::current::Current;
use crate::detect::model::Model;
use crate::detect::zone::LIKELY;
use crate::detect::{Detection, Looked};
use crate::durable;
use crate::health::{Metrics, Of};
use crate::journal::Journal;
use crate::sensor::frame::{Frame, Picture};
use crate::sensor::picture;

/// How long it waits for a look before it sees what else is wanted.
const WAIT: Duration = Duration::from_millis(100);
/// Niceness: as pictures on demand.
const NICE: i32 = 15;
/// Kept pictures that a candidate is tried on.
const TRIED: usize = 24;
/// How often what the cameras have shown since is written down: so much of a window a power cut may cost.
const WRITES: Duration = Duration::from_secs(3600);

/// What the thread owns.
pub struct Keeper<L> {
    /// What is asked.
    pub config: UpkeepConfig,
    /// Replaces models.
    pub change: Change<L>,
    /// The model in use.
    pub current: Current,
    /// Cameras.
    pub cameras: Vec<Name>,
    /// By label, the least score that counts.
    pub sure: HashMap<String, f32>,
    /// Data folder.
    pub folder: PathBuf,
    /// Bytes that the disk should have left when a picture is kept.
    pub headroom: u64,
    /// Newest pictures.
    pub views: Vec<watch::Receiver<Option<Frame>>>,
    /// Looks of the detector.
    pub looks: Receiver<Looked>,
    /// What people want.
    pub words: Receiver<Word>,
    /// Where the console looks.
    pub show: watch::Sender<Value>,
    /// Takes events.
    pub journal: Journal,
    /// Counters.
    pub metrics: Metrics,
}

/// What is normal, on disk.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Normal {
    model: Option<Pinned>,
    cameras: HashMap<String, Histograms>,
    /// What came since.
    #[serde(default)]
    windows: HashMap<String, Unfinished>,
}

#[derive(Default)]
struct Camera {
    drift: Watch,
    /// Which indices were above what is much when they could last be told.
    drifted: [bool; 5],
    /// The picture on which something that is followed was not found.
    missed: Option<(Arc<Picture>, Vec<Detection>)>,
}

/// What it knows of the cameras and of the model.
struct State {
    cameras: Vec<Camera>,
    number: u64,
    pinned: Pinned,
    turns: Turns,
    store: Store,
    /// Pictures that are kept, and their bytes.
    kept: (usize, u64),
}

impl<L: Fn(&str) -> anyhow::Result<Model>> Keeper<L> {
    /// Runs until `stopped`.
    pub fn run(mut self, stopped: impl Fn() -> bool) {
        if let Err(error) = rustix::process::nice(NICE) {
            warn!(%error, "the thread of the models keeps its priority");
        }
        let store = Store::new(&self.folder, u64::from(self.config.hard_mib) << 20);
        if let Err(error) = store.tidy() {
            warn!(%error, "what a power cut left of hard frames stays");
        }
        let (number, pinned) = (self.current.number(), self.pinned());
        let mut state = State { cameras: Vec::new(), number, pinned, turns: Turns::default(), store, kept: (0, 0) };
        state.kept = state.store.size();
        state.cameras = self.begin();
        let (mut shown, mut written) = (clock::uptime(), clock::uptime());
        while !stopped() {
            match self.looks.recv_timeout(WAIT) {
                Ok(looked) => self.looked(&mut state, &looked),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            while let Ok(word) = self.words.try_recv() {
                self.word(&mut state, word, &stopped);
                shown = Uptime::default();
            }
            let now = clock::uptime();
            self.change.judge(now);
            if state.number != self.current.number() {
                // What is normal for another model is not for this one.
                self.write_normal(&state, now);
                (state.number, state.pinned) = (self.current.number(), self.pinned());
                state.cameras = self.begin();
                shown = Uptime::default();
            }
            if now.since(written) >= WRITES {
                written = now;
                self.write_normal(&state, now);
            }
            if now.since(shown) >= Duration::from_secs(1) {
                shown = now;
                self.show.send_replace(self.about(&state, now));
            }
        }
        self.write_normal(&state, clock::uptime());
    }

    /// The cameras, with what is normal for this model.
    fn begin(&self) -> Vec<Camera> {
        let pinned = self.pinned();
        // None yet, or none of ours: what is normal is learned anew.
        let bytes = std::fs::read(self.folder.join(normal_file(&pinned))).unwrap_or_default();
        let normal: Normal = serde_json::from_slice(&bytes).unwrap_or_default();
        let ours = normal.model.as_ref() == Some(&pinned);
        let watch = |name: &Name| {
            let of = normal.cameras.get(name.as_str()).filter(|_| ours).cloned();
            Watch::new(of, normal.windows.get(name.as_str()).filter(|_| ours).cloned().unwrap_or_default())
        };
        self.cameras.iter().map(|name| Camera { drift: watch(name), ..Camera::default() }).collect()
    }

    /// Writes down what is normal for this model, and what came since: a node may start more often than a window is long.
    fn write_normal(&self, state: &State, now: Uptime) {
        let (pinned, named) = (&state.pinned, || self.cameras.iter().map(Name::to_string).zip(&state.cameras));
        let normal = Normal {
            cameras: named().filter_map(|(name, camera)| Some((name, camera.drift.normal.clone()?))).collect(),
            windows: named().map(|(name, camera)| (name, camera.drift.unfinished(now))).collect(),
            model: Some(pinned.clone()),
        };
        let bytes = serde_json::to_vec(&normal).unwrap_or_default();
        match durable::write(&self.folder, &normal_file(pinned), &bytes, 0o600) {
            Ok(()) => info!("what is normal for the cameras is written down"),
            Err(error) => warn!(%error, "what is normal for the cameras is not written down"),
        }
    }

    fn pinned(&self) -> Pinned {
        Pinned::of(self.current.get().0.entry())
    }

    fn looked(&mut self, state: &mut State, looked: &Looked) {
        if looked.number != state.number {
            return;
        }
        let now = clock::uptime();
        let differ = self.change.looked(looked, now);
        self.drift(state, looked, now);
        let Some(camera) = state.cameras.get_mut(looked.frame.camera) else { return };
        let flickered = if looked.back { camera.missed.take() } else { None };
        camera.missed = looked.missed.then(|| (looked.frame.picture.clone(), looked.found.clone()));
        let mut wanted: Vec<(Why, Arc<Picture>, Vec<Detection>)> = Vec::new();
        wanted.extend(flickered.map(|(picture, found)| (Why::Flicker, picture, found)));
        let here = || (looked.frame.picture.clone(), looked.found.clone());
        let model = self.current.get().0;
        let least = |class: usize| self.sure.get(model.label(class)).map_or(LIKELY, |least| least.max(LIKELY));
        for (why, hard) in [(Why::Disagree, differ), (Why::Margin, unsure(&looked.found, least))] {
            wanted.extend(hard.then(here).map(|(picture, found)| (why, picture, found)));
        }
        for (why, picture, found) in wanted {
            if state.turns.due(looked.frame.camera, why, now) {
                state.turns.took(looked.frame.camera, why, now);
                // Counted there.
                let _ = self.keep(state, (looked.frame.camera, why, ""), &picture, &found);
            }
        }
    }

    /// Keeps a picture: its number, or why not.
    fn keep(
        &self,
        state: &mut State,
        (camera, why, by): (usize, Why, &str),
        picture: &Picture,
        found: &[Detection],
    ) -> Result<String, String> {
        if self.config.hard_mib == 0 {
            return Err("no room is given to hard frames (model.upkeep.hard_mib)".into());
        }
        let room = rustix::fs::statvfs(&self.folder).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        if room.is_ok_and(|room| room < self.headroom) {
            return Err("the disk has no room".into());
        }
        let name = self.cameras.get(camera).map_or("", Name::as_str);
        let hard = Hard { why, camera: name, by, picture, found, at: clock::utc() };
        let model = self.current.get().0;
        match state.store.keep(model.entry(), &hard) {
            Ok(Some(id)) => {
                state.kept = state.store.size();
                self.metrics.hard_frames.get_or_create(&Of::new(name)).inc();
                Ok(id)
            }
            Ok(None) => Err("the picture cannot be kept".into()),
            Err(error) => {
                warn!(%error, "a hard frame is not kept");
                Err(format!("keep the picture: {error}"))
            }
        }
    }

    fn drift(&mut self, state: &mut State, looked: &Looked, now: Uptime) {
        let length = self.config.drift_window;
        let Some(camera) = state.cameras.get_mut(looked.frame.camera) else { return };
        if !camera.drift.wants(length, now) {
            return;
        }
        let picture = &looked.frame.picture;
        let high = (picture.height as f32).max(1.0);
        let thing = |d: &Detection| Thing {
            class: d.class,
            score: d.score,
            height: (d.box_xyxy_px[3] - d.box_xyxy_px[1]) / high,
        };
        let things: Vec<Thing> = looked.found.iter().filter(|d| d.score >= LIKELY).map(thing).collect();
        match camera.drift.step(length, brightness(picture), &things, now) {
            None => {}
            Some(Window::Normal) => self.write_normal(state, now),
            Some(Window::Apart(psi)) => {
                let before = camera.drifted.contains(&true);
                // What cannot be told any more is as it was: nothing found at all is no way back.
                for (much, index) in camera.drifted.iter_mut().zip(psi.all()) {
                    *much = index.map_or(*much, |index| index > MUCH);
                }
                let much = camera.drifted.contains(&true);
                let name = self.cameras.get(looked.frame.camera).map(Name::to_string).unwrap_or_default();
                if much != before {
                    self.told(name, &psi, much);
                }
            }
        }
    }

    fn told(&self, camera: String, psi: &Psi, drifted: bool) {
        let Psi { classes, scores, heights, brightness, counts } = *psi;
        warn!(camera, drifted, ?psi, "what the camera shows is of another kind than it was, or again as it was");
        let model = self.pinned().name;
        let (about, payload) = (
            format!("camera/{camera}"),
            ModelDrifted { camera, model, drifted, classes, scores, heights, brightness, counts },
        );
        let _ = self.journal.record(self.journal.event(about, Payload::ModelDrifted(payload)));
    }

    fn word(&mut self, state: &mut State, word: Word, stopped: &dyn Fn() -> bool) {
        match word {
            Word::Ask(Ask { want, by, answer }) => {
                let (mut pictures, now) = (tried(&self.views, &state.store), clock::uptime());
                let go_on = || !stopped() && !answer.is_closed();
                // A model or a picture that makes the library panic is refused; it is no reason to end the node.
                let said = std::panic::catch_unwind(AssertUnwindSafe(|| {
                    self.change.ask(&want, &by, &mut pictures, &go_on, now)
                }));
                let said = said.unwrap_or_else(|_| Err("it breaks the library that runs it".into()));
                // Whoever asked has gone.
                let _ = answer.send(said);
            }
            Word::Corrected { camera, picture, missed, by, answer } => {
                let why = if missed { Why::Missed } else { Why::False };
                let now = clock::uptime();
                let kept = match state.turns.due(camera, why, now) {
                    false => Err("one was kept a moment ago".into()),
                    true => {
                        let looked = std::panic::catch_unwind(AssertUnwindSafe(|| {
                            self.current.get().0.detect(&picture, LIKELY).unwrap_or_default()
                        }));
                        self.keep(state, (camera, why, &by), &picture, &looked.unwrap_or_default())
                    }
                };
                if kept.is_ok() {
                    state.turns.took(camera, why, now);
                }
                let _ = answer.send(kept.map(|id| json!({ "kept": id })));
            }
        }
    }

    fn about(&self, state: &State, now: Uptime) -> Value {
        let mut about = self.change.about(now);
        let (pictures, bytes) = state.kept;
        let drift = self.cameras.iter().zip(&state.cameras).map(|(name, camera)| {
            json!({ "camera": name, "normal_known": camera.drift.normal.is_some(), "psi": camera.drift.psi,
                    "drifted": camera.drifted.contains(&true) })
        });
        let drift: Value = drift.collect();
        if let Some(about) = about.as_object_mut() {
            about.insert("drift".into(), drift);
            about.insert("hard_frames".into(), json!({ "pictures": pictures, "bytes": bytes }));
        }
        about
    }
}

/// What a candidate is tried on, one after the other: what the cameras show now, and kept pictures that can be read.
fn tried(views: &[watch::Receiver<Option<Frame>>], store: &Store) -> impl Iterator<Item = Shown> + use<> {
    let newest: Vec<Option<Frame>> = views.iter().map(|view| view.borrow().clone()).collect();
    let shown = newest.into_iter().flatten().map(|frame| (Some(frame.camera), frame.picture.as_ref().clone()));
    let kept = store.newest(TRIED).into_iter().filter_map(|path| Some((None, picture::read(&path).ok()?)));
    shown.chain(kept).map(Ok)
}

/// Mean brightness of a picture, 0 to 1, of a few hundred of its pixels.
fn brightness(picture: &Picture) -> f32 {
    let step = |size: u32| (size as usize / 24).max(1);
    let rows = (0..picture.height as usize).step_by(step(picture.height));
    let places = rows.flat_map(|y| (0..picture.width as usize).step_by(step(picture.width)).map(move |x| (x, y)));
    let (sum, count) = places.fold((0.0, 0.0), |(sum, count), (x, y)| (sum + picture.luma(x, y), count + 1.0));
    if count > 0.0 { sum / count / 255.0 } else { 0.0 }
}

/// What is normal for each camera, as one model sees it.
fn normal_file(model: &Pinned) -> String {
    // Several models may have the same weights.
    format!("drift-{}-{:.8}.json", plain(&model.name), model.sha256)
}
