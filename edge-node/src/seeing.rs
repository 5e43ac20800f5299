//! Wires what sees: cameras, the detector, clips and snapshots.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Handle;
use tokio::sync::watch;

use shared::config::ConfigError;

use crate::config::{Config, ModelConfig};
use crate::detect::diary::Diary;
use crate::detect::finder::Finder;
use crate::detect::manifest::{Manifest, ModelError};
use crate::detect::model::Model;
use crate::detect::ondemand::{self, Answering, OnDemand};
use crate::detect::worker::{CameraView, News, Worker};
use crate::detect::zone::LIKELY;
use crate::footage;
use crate::health::Metrics;
use crate::journal::Journal;
use crate::media::Media;
use crate::policy;
use crate::sensor::camera::Source;
use crate::sensor::camera::capture::{Capture, Tap, follow};
use crate::sensor::frame::Mailbox;
use crate::stages::Stages;

/// Loads the model that a configuration names.
///
/// # Errors
/// [`ConfigError`] for a model that the manifest has not, or that does not know a zone's labels; [`ModelError`] for one that
/// cannot be used.
pub fn load(site: &Config, config: &ModelConfig) -> anyhow::Result<Model> {
    let manifest = Manifest::read(&config.manifest)?;
    let unknown = |error: ModelError| ConfigError::new("configuration", "model.name", error.to_string());
    let (entry, file) = manifest.find(&config.name).map_err(unknown)?;
    for (index, zone) in site.zones.iter().enumerate() {
        if let Some(label) = zone.labels.iter().find(|label| !entry.classes.contains(label)) {
            let text = format!("expected a class of model {}, found {label:?}", entry.name);
            return Err(ConfigError::new("configuration", format!("zone[{index}].labels"), text).into());
        }
    }
    for (index, line) in site.lines.iter().enumerate() {
        if let Some(label) = line.labels.iter().find(|label| !entry.classes.contains(label)) {
            let text = format!("expected a class of model {}, found {label:?}", entry.name);
            return Err(ConfigError::new("configuration", format!("line[{index}].labels"), text).into());
        }
    }
    if let Some(label) = config.classes.keys().find(|label| !entry.classes.contains(label)) {
        let text = format!("expected a class of model {}", entry.name);
        return Err(ConfigError::new("configuration", format!("model.classes.{label}"), text).into());
    }
    Ok(Model::load(entry, &file)?)
}

/// Pictures that somebody sends: where they go, and the thread that answers.
pub fn on_demand(config: &Config) -> (OnDemand, Answering<impl Fn() -> anyhow::Result<Model> + Send + use<>>) {
    let config = config.clone();
    ondemand::new(move || {
        let model = config.model.as_ref().context("find a model: the configuration names none")?;
        load(&config, model)
    })
}

/// What it needs.
pub struct Seeing {
    /// What looks at pictures.
    pub model: Model,
    /// By camera: somebody has said that what it shows now is what it should show.
    pub accepted: Arc<[AtomicBool]>,
    /// Takes news; must not block.
    pub news: Box<dyn FnMut(News) + Send>,
    /// Where the console looks.
    pub view: watch::Sender<Vec<CameraView>>,
    /// Keeps clips and snapshots.
    pub media: Media,
    /// Takes events.
    pub journal: Journal,
    /// Counters.
    pub metrics: Metrics,
    /// Ends the threads.
    pub stop: Arc<AtomicBool>,
    /// Runs network cameras.
    pub runtime: Handle,
}

impl Seeing {
    /// Starts every thread of it.
    ///
    /// # Errors
    /// When the system has no room for a thread.
    pub fn start(self, config: &Config, stages: &mut Stages) -> anyhow::Result<()> {
        let Self { model, accepted, news, view, media, journal, metrics, stop, runtime } = self;
        let shares: Vec<u32> = config.cameras.iter().map(|camera| camera.share).collect();
        let deadline = config.model.as_ref().map_or(Duration::ZERO, |model| model.deadline);
        let mailbox = Arc::new(Mailbox::new(&shares, deadline));
        let (footage, keeper) =
            footage::new(config.cameras.clone(), media, journal.clone(), metrics.clone(), stop.clone());
        stages.spawn("footage", move || keeper.run())?;
        // Detections below a track's threshold are never looked at.
        let min_score = config.model.as_ref().map_or(1.0, |model| model.min_score).min(LIKELY);
        let classes = config.model.as_ref().map(|model| model.classes.clone()).unwrap_or_default();
        let finder = Finder { model, min_score, classes, metrics: metrics.clone() };
        let worker = Worker {
            finder,
            cameras: config.cameras.clone(),
            ground: config.cameras.iter().map(|camera| policy::calibration(config, camera)).collect(),
            zones: config.zones.clone().into(),
            lines: config.lines.clone(),
            mailbox: mailbox.clone(),
            accepted,
            news,
            view,
            diary: Diary { journal, footage: footage.clone() },
            metrics: metrics.clone(),
            stop: stop.clone(),
        };
        stages.spawn("detect", move || worker.run())?;
        for (index, camera) in config.cameras.iter().enumerate() {
            let (footage, behind) = (footage.clone(), AtomicBool::new(false));
            let tap: Tap = Arc::new(move |mut unit| {
                // What had no room is lost for what refers to it.
                unit.lost |= behind.load(Ordering::Relaxed) && !unit.key;
                behind.store(!footage.tell(footage::Told::Unit(index, unit)), Ordering::Relaxed);
            });
            if let Some(Source::Rtsp(url)) = camera.clip.as_ref().and_then(|clip| clip.source.as_ref()) {
                runtime.spawn(follow(camera.clone(), url.clone(), tap.clone(), stop.clone()));
            }
            let capture = Capture {
                index,
                config: camera.clone(),
                mailbox: mailbox.clone(),
                metrics: metrics.clone(),
                tap: Some(tap),
                stop: stop.clone(),
                runtime: runtime.clone(),
            };
            // A file that has ended is no failure: its camera goes stale.
            std::thread::Builder::new()
                .name(format!("camera-{index}"))
                .spawn(move || capture.run())
                .context("start a camera")?;
        }
        Ok(())
    }
}
