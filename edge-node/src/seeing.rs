//! Wires what sees: cameras, the detector, clips and snapshots.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

use anyhow::Context;
use serde_json::Value;
use shared::config::ConfigError;
use shared::event::{ModelChanged, Payload};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::warn;

use crate::clock;
use crate::config::{Config, ModelConfig};
use crate::detect::Looked;
use crate::detect::chain::ChainConfig;
use crate::detect::current::Current;
use crate::detect::diary::Diary;
use crate::detect::finder::{ClassConfig, Finder, counting};
use crate::detect::manifest::{Head, Manifest, ModelError};
use crate::detect::model::Model;
use crate::detect::ondemand::{self, Asks};
use crate::detect::runtime::Runtime;
use crate::detect::worker::{CameraView, News, Worker};
use crate::detect::zone::LIKELY;
use crate::footage::{self, Footage};
use crate::health::Metrics;
use crate::journal::Journal;
use crate::media::Media;
use crate::models::change::{Change, Parts};
use crate::models::choice::Choice;
use crate::models::keeper::Keeper;
use crate::models::{self, Word};
use crate::policy;
use crate::sensor::camera::capture::{Capture, Tap, follow};
use crate::sensor::camera::view_store::{self, ViewStore};
use crate::sensor::camera::{CameraConfig, Source};
use crate::sensor::frame::{Frame, Mailbox};
use crate::sensor::outline::Outline;
use crate::stages::Stages;

/// Loads a model of the manifest that the configuration names.
///
/// # Errors
/// [`ConfigError`] for a model that the manifest has not, or that does not know what the site watches for; [`ModelError`] for
/// one that cannot be used.
pub fn load(site: &Config, config: &ModelConfig, name: &str) -> anyhow::Result<Model> {
    let manifest = Manifest::read(&config.manifest)?;
    let unknown = |error: ModelError| ConfigError::new("configuration", "model.name", error.to_string());
    let (entry, file) = manifest.find(name).map_err(unknown)?;
    let expected = |key: String, label: &str| {
        let text = format!("expected a class of model {}, found {label:?}", entry.name);
        Err(ConfigError::new("configuration", key, text))
    };
    let unknown = |labels: &[String]| labels.iter().find(|label| !entry.classes.contains(label)).cloned();
    for (index, zone) in site.zones.iter().enumerate() {
        unknown(&zone.labels).map_or(Ok(()), |label| expected(format!("zone[{index}].labels"), &label))?;
    }
    for (index, line) in site.lines.iter().enumerate() {
        unknown(&line.labels).map_or(Ok(()), |label| expected(format!("line[{index}].labels"), &label))?;
    }
    for (index, chain) in site.chains.iter().enumerate() {
        unknown(&chain.labels).map_or(Ok(()), |label| expected(format!("chain[{index}].labels"), &label))?;
    }
    for label in config.classes.keys().filter(|label| !entry.classes.contains(label)) {
        expected(format!("model.classes.{label}"), label)?;
    }
    if entry.head == Head::Classes {
        let text = format!("expected a detector: {} says what something is, not where", entry.name);
        return Err(ConfigError::new("configuration", "model.name", text).into());
    }
    Ok(Model::load(&Runtime::new(config.onnxruntime.as_ref())?, entry, &file)?)
}

/// Loads what looks second.
///
/// # Errors
/// As [`load`].
pub fn chains(site: &Config, config: &ModelConfig) -> anyhow::Result<Vec<(ChainConfig, Model)>> {
    if site.chains.is_empty() {
        return Ok(Vec::new());
    }
    let (manifest, runtime) = (Manifest::read(&config.manifest)?, Runtime::new(config.onnxruntime.as_ref())?);
    let mut chains = Vec::new();
    for (index, chain) in site.chains.iter().enumerate() {
        let wrong = |text: String| ConfigError::new("configuration", format!("chain[{index}].model"), text);
        let (entry, file) = manifest.find(&chain.model).map_err(|error| wrong(error.to_string()))?;
        if entry.head != Head::Classes {
            return Err(wrong(format!("expected a classifier: {} has head {:?}", entry.name, entry.head)).into());
        }
        chains.push((chain.clone(), Model::load(&runtime, entry, &file)?));
    }
    Ok(chains)
}

/// Loads the model to begin with: the one that was chosen last, if it can be used, else the one before it, else the
/// configuration's.
///
/// # Errors
/// As [`load`], of the configuration's model.
pub fn first(site: &Config, config: &ModelConfig, journal: &Journal) -> anyhow::Result<(Model, Option<Choice>)> {
    // First: a library that cannot be used says nothing about the models that were chosen.
    Runtime::new(config.onnxruntime.as_ref())?;
    let Some(chosen) = Choice::read(&site.data) else { return Ok((load(site, config, &config.name)?, None)) };
    let before = chosen.model.name.clone();
    let (mut choice, mut why) = chosen.at_start(&config.name);
    while let Some(wanted) = choice {
        // On probation before it is loaded: what takes the node down is counted, too. Else once it has been: what keeps all of
        // them from being loaded undoes no choice.
        let counted = if wanted.probation.is_some() { wanted.write(&site.data) } else { Ok(()) };
        let loaded = match counted {
            Err(error) => Err(anyhow::anyhow!("this start cannot be counted: {error}")),
            Ok(()) => load(site, config, &wanted.model.name).and_then(|model| wanted.model.check(model)),
        };
        match loaded {
            Ok(model) => {
                if wanted.probation.is_none()
                    && let Err(error) = wanted.write(&site.data)
                {
                    warn!(%error, "the choice of the model is not written");
                }
                told(journal, &model, before, why);
                return Ok((model, Some(wanted)));
            }
            Err(error) => {
                why.get_or_insert_with(|| format!("{error:#}"));
                warn!(model = wanted.model.name, "the chosen model cannot be used: {error:#}");
                choice = wanted.back();
            }
        }
    }
    let model = load(site, config, &config.name)?;
    if let Err(error) = Choice::forget(&site.data) {
        warn!(%error, "the choice of the model is not forgotten");
    }
    told(journal, &model, before, why);
    Ok((model, None))
}

/// Says that another model is in use than was chosen.
fn told(journal: &Journal, model: &Model, before: String, why: Option<String>) {
    let Some(why) = why else { return };
    let changed =
        ModelChanged { model: model.entry().name.clone(), before, why: format!("start: {why}"), by: String::new() };
    // A closed journal is the end of the node.
    let _ = journal.record(journal.event("models", Payload::ModelChanged(changed)));
}

/// What it needs.
pub struct Seeing {
    /// What looks at pictures.
    pub model: Model,
    /// What was chosen, if it was.
    pub choice: Option<Choice>,
    /// What looks second.
    pub chains: Vec<(ChainConfig, Model)>,
    /// By camera: somebody has said that what it shows now is what it should show.
    pub accepted: Arc<[AtomicBool]>,
    /// Takes news; must not block.
    pub news: Arc<dyn Fn(News) + Send + Sync>,
    /// Where the console looks.
    pub view: watch::Sender<Vec<CameraView>>,
    /// By camera, where people see its newest frame.
    pub live: Vec<watch::Sender<Option<Frame>>>,
    /// Pictures that somebody sends.
    pub asks: Asks,
    /// What people want of the models.
    pub words: Receiver<Word>,
    /// Where the console sees the models.
    pub models: watch::Sender<Value>,
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
    pub fn start(self, config: &Config, model: &ModelConfig, stages: &mut Stages) -> anyhow::Result<()> {
        let (journal, metrics, stop) = (self.journal.clone(), self.metrics.clone(), self.stop.clone());
        let (footage, keeper) =
            footage::new(config.cameras.clone(), self.media.clone(), journal.clone(), metrics.clone(), stop.clone());
        stages.spawn("footage", move || keeper.run())?;
        let shares: Vec<u32> = config.cameras.iter().map(|camera| camera.share).collect();
        let mailboxes: Vec<Arc<Mailbox>> =
            (0..model.workers.max(1)).map(|_| Arc::new(Mailbox::new(&shares, model.deadline))).collect();
        for (index, camera) in config.cameras.iter().enumerate() {
            let Some(mailbox) = mailboxes.get(index % mailboxes.len()) else { continue };
            let Some(live) = self.live.get(index) else { continue };
            self.camera(index, camera, mailbox.clone(), live.clone(), &footage)?;
        }
        let newest = self.live.iter().map(watch::Sender::subscribe).collect();
        let Self { model: first, choice, chains, accepted, news, view, asks, words, models, .. } = self;
        let current = Current::new(first);
        let (answering, stopped) = (current.clone(), stop.clone());
        stages.spawn("infer", move || {
            asks.run(|bytes, score| ondemand::look(&answering, bytes, score), || stopped.load(Ordering::Relaxed));
        })?;
        let (look, looks) = sync_channel(models::LOOKS);
        let (views, changes) = ViewStore::open(&config.data, &config.cameras);
        let folder = config.data.clone();
        stages.spawn("views", move || view_store::keep(&folder, &changes))?;
        for (n, mailbox) in mailboxes.iter().enumerate() {
            let (own, number) = current.get();
            let (look, lost) = (look.clone(), metrics.looks_lost.clone());
            let worker = Worker {
                finder: Finder {
                    model: own,
                    // Detections below a track's threshold are never looked at.
                    min_score: model.min_score.min(LIKELY),
                    classes: model.classes.clone(),
                    metrics: metrics.clone(),
                },
                current: current.clone(),
                number,
                part: (n, mailboxes.len()),
                looked: Box::new(move |looked| {
                    if look.try_send(looked).is_err() {
                        lost.inc();
                    }
                }),
                cameras: config.cameras.clone(),
                ground: config.cameras.iter().map(|camera| policy::calibration(config, camera)).collect(),
                zones: config.zones.clone().into(),
                lines: config.lines.clone(),
                chains: chains.iter().map(|(chain, model)| (chain.clone(), model.again())).collect(),
                mailbox: mailbox.clone(),
                accepted: accepted.clone(),
                views: views.clone(),
                news: news.clone(),
                view: view.clone(),
                diary: Diary { journal: journal.clone(), footage: footage.clone(), kept: metrics.frame_kept.clone() },
                metrics: metrics.clone(),
                stop: stop.clone(),
            };
            stages.spawn(&format!("detect-{n}"), move || worker.run())?;
        }
        let keeper = upkeep(config, model, (current, choice), (looks, words), (newest, models), journal, metrics);
        stages.spawn("models", move || keeper.run(|| stop.load(Ordering::Relaxed)))
    }

    /// Starts a camera.
    fn camera(
        &self,
        index: usize,
        camera: &CameraConfig,
        mailbox: Arc<Mailbox>,
        live: watch::Sender<Option<Frame>>,
        footage: &Footage,
    ) -> anyhow::Result<()> {
        let (footage, behind) = (footage.clone(), AtomicBool::new(false));
        let tap: Tap = Arc::new(move |mut unit| {
            // What had no room is lost for what refers to it.
            unit.lost |= behind.load(Ordering::Relaxed) && !unit.key;
            behind.store(!footage.tell(footage::Told::Unit(index, unit)), Ordering::Relaxed);
        });
        if let Some(Source::Rtsp(url)) = camera.clip.as_ref().and_then(|clip| clip.source.as_ref()) {
            let (metrics, stop) = (self.metrics.clone(), self.stop.clone());
            self.runtime.spawn(follow(camera.clone(), url.clone(), tap.clone(), metrics, stop));
        }
        let capture = Capture {
            index,
            config: camera.clone(),
            mailbox,
            live,
            metrics: self.metrics.clone(),
            tap: Some(tap),
            stop: self.stop.clone(),
            runtime: self.runtime.clone(),
        };
        // A file that has ended is no failure: its camera goes stale.
        std::thread::Builder::new()
            .name(format!("camera-{index}"))
            .spawn(move || capture.run())
            .context("start a camera")?;
        Ok(())
    }
}

/// What looks after the model in use.
fn upkeep(
    config: &Config,
    model: &ModelConfig,
    (current, choice): (Current, Option<Choice>),
    (looks, words): (Receiver<Looked>, Receiver<Word>),
    (views, show): (Vec<watch::Receiver<Option<Frame>>>, watch::Sender<Value>),
    journal: Journal,
    metrics: Metrics,
) -> Keeper<impl Fn(&str) -> anyhow::Result<Model> + Send + use<>> {
    let watched = config.zones.iter().map(|zone| &zone.labels).chain(config.lines.iter().map(|line| &line.labels));
    let (site, from) = (config.clone(), model.clone());
    let heeded = config.zones.iter().filter(|zone| config.keep_out.iter().any(|rule| rule.zone == zone.name));
    // What is only a little less sure than what counts is there all the same: scores are judged by the comparison.
    let sizes = |class: &ClassConfig| ClassConfig { min_score: 0.0, ..*class };
    let classes = model.classes.iter().map(|(label, class)| (label.clone(), sizes(class))).collect();
    let sure: HashMap<String, f32> =
        model.classes.iter().map(|(label, class)| (label.clone(), class.min_score)).collect();
    let masks: Vec<Vec<Outline>> = config.cameras.iter().map(|camera| camera.masks.clone()).collect();
    let parts = Parts {
        config: model.upkeep.clone(),
        configured: model.name.clone(),
        folder: config.data.clone(),
        labels: watched.flatten().cloned().collect(),
        heeded: heeded.flat_map(|zone| &zone.labels).cloned().collect(),
        sure: sure.clone(),
        current: current.clone(),
        load: move |name: &str| load(&site, &from, name),
        sift: Box::new(move |model, camera, size, found| {
            counting(model, &classes, masks.get(camera).map_or(&[], Vec::as_slice), size, found)
        }),
        journal: journal.clone(),
        choice,
    };
    Keeper {
        config: model.upkeep.clone(),
        change: Change::new(parts, clock::uptime()),
        current,
        cameras: config.cameras.iter().map(|camera| camera.name.clone()).collect(),
        sure,
        folder: config.data.clone(),
        headroom: config.interlock.headroom_bytes(),
        views,
        looks,
        words,
        show,
        journal,
        metrics,
    }
}
