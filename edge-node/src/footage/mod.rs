//! Clips and snapshots of what raised an alert, into the media lane. Decides nothing: `detect` says when.
//!
//! `roll` (which units) and `mp4` (how they lie in a file) are pure; the thread here writes. Its queue is bounded: full
//! means that the disk is slower than the cameras, and units are dropped and counted rather than waited for.

pub mod mp4;
pub mod roll;
pub mod snapshot;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use shared::event::{MediaStored, Payload};
use shared::ids::{EventId, TraceId};
use shared::units::Uptime;
use tracing::{info, warn};

use crate::clock;
use crate::health::{Metrics, Of};
use crate::journal::Journal;
use crate::media::{Draft, Media, MediaError, Rank, dropped};
use crate::sensor::camera::CameraConfig;
use crate::sensor::camera::rtsp::{UNIT_MAX, Unit};
use crate::sensor::frame::Picture;
use mp4::Muxer;
use roll::{Effect, Roll};

/// Units and pictures that wait for the disk: about ten seconds of eight cameras, and no more bytes than these.
const QUEUE: usize = 1024;
const QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// What is said of zones has its own room: what is lost there would be a clip without end, or none.
const WORDS: usize = 256;
/// A stream that is silent for this time ends its clip.
const SILENCE: Duration = Duration::from_secs(5);
/// How long the thread waits before it looks whether it is to end.
const WAIT: Duration = Duration::from_millis(100);

/// Why something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause {
    /// The event that asks for it.
    pub event: EventId,
    /// Its trace.
    pub trace: Option<TraceId>,
}

/// What the thread is told.
#[derive(Debug)]
pub enum Told {
    /// A camera's stream has gone on.
    Unit(usize, Unit),
    /// Somebody is in a zone of a camera: camera, zone, why.
    Occupied(usize, usize, Cause),
    /// A zone of a camera is clear: camera, zone, since when.
    Cleared(usize, usize, Uptime),
    /// A picture is to be kept, and once more with boxes: camera, picture, boxes in pixels, why.
    Picture(usize, Arc<Picture>, Vec<[f32; 4]>, Cause),
}

impl Told {
    /// Memory that it holds while it waits; none of what is said of zones.
    fn bytes(&self) -> usize {
        match self {
            Self::Unit(_, unit) => unit.data.len().max(1),
            Self::Picture(_, picture, ..) => picture.bytes().max(1),
            Self::Occupied(..) | Self::Cleared(..) => 0,
        }
    }
}

/// Tells the thread; cheap to clone.
#[derive(Debug, Clone)]
pub struct Footage {
    queue: SyncSender<Told>,
    words: SyncSender<Told>,
    waiting: Arc<AtomicUsize>,
    metrics: Metrics,
}

impl Footage {
    /// Tells it, or counts that there was no room; gives whether there was.
    pub fn tell(&self, told: Told) -> bool {
        let bytes = told.bytes();
        let queue = if bytes == 0 { &self.words } else { &self.queue };
        let room = self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes <= QUEUE_BYTES || bytes == 0;
        // A keeper that has ended keeps nothing more.
        let sent =
            if room { queue.try_send(told).map_err(|error| matches!(error, TrySendError::Full(_))) } else { Err(true) };
        if let Err(full) = sent {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            if full {
                self.metrics.footage_lost.inc();
            }
            return false;
        }
        true
    }
}

/// What the thread owns.
pub struct Keeper {
    queue: Receiver<Told>,
    words: Receiver<Told>,
    waiting: Arc<AtomicUsize>,
    cameras: Vec<CameraConfig>,
    media: Media,
    journal: Journal,
    metrics: Metrics,
    stop: Arc<AtomicBool>,
}

/// A file that is being written.
struct File {
    muxer: Muxer,
    draft: Draft,
    cause: Option<Cause>,
}

/// One camera's.
struct Camera {
    roll: Roll,
    file: Option<File>,
    cause: Option<Cause>,
    /// When its stream last went on.
    last: Uptime,
}

/// A keeper and how to tell it.
pub fn new(
    cameras: Vec<CameraConfig>,
    media: Media,
    journal: Journal,
    metrics: Metrics,
    stop: Arc<AtomicBool>,
) -> (Footage, Keeper) {
    let ((sender, queue), (teller, words)) = (sync_channel(QUEUE), sync_channel(WORDS));
    let waiting = Arc::new(AtomicUsize::new(0));
    let footage = Footage { queue: sender, words: teller, waiting: waiting.clone(), metrics: metrics.clone() };
    (footage, Keeper { queue, words, waiting, cameras, media, journal, metrics, stop })
}

impl Keeper {
    /// Runs until stopped; clips that are being written are then kept as they are.
    pub fn run(self) {
        let roll = |camera: &CameraConfig| Roll::new(camera.clip.clone().unwrap_or_default());
        let empty = |camera| Camera { roll: roll(camera), file: None, cause: None, last: Uptime::default() };
        let mut cameras: Vec<Camera> = self.cameras.iter().map(empty).collect();
        while !self.stop.load(Ordering::Relaxed) {
            for told in self.words.try_iter() {
                self.take(&mut cameras, told);
            }
            // What waits is not silent: it is we who were slow.
            if self.waiting.load(Ordering::Relaxed) == 0 {
                self.end_silent(&mut cameras);
            }
            match self.queue.recv_timeout(WAIT) {
                Ok(told) => {
                    self.waiting.fetch_sub(told.bytes(), Ordering::Relaxed);
                    self.take(&mut cameras, told);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        for (index, camera) in cameras.iter_mut().enumerate() {
            self.finish(index, camera);
        }
    }

    /// A clip whose stream has died is kept now, not when the camera is back.
    fn end_silent(&self, cameras: &mut [Camera]) {
        let now = clock::uptime();
        for (index, camera) in cameras.iter_mut().enumerate() {
            if camera.file.is_some() && now.since(camera.last) > SILENCE {
                self.finish(index, camera);
            }
        }
    }

    /// Ends a camera's clip, if there is one, as it is.
    fn finish(&self, index: usize, camera: &mut Camera) {
        let end = camera.roll.end();
        self.obey(index, camera, end.into_iter().collect());
    }

    fn take(&self, cameras: &mut [Camera], told: Told) {
        let (Told::Unit(index, _) | Told::Occupied(index, ..) | Told::Cleared(index, ..) | Told::Picture(index, ..)) =
            &told;
        let index = *index;
        let Some(camera) = cameras.get_mut(index) else { return };
        let effects = match told {
            Told::Unit(_, unit) => {
                camera.last = clock::uptime();
                camera.roll.unit(unit)
            }
            Told::Occupied(_, zone, cause) => {
                camera.cause = Some(cause);
                camera.roll.occupied(zone)
            }
            Told::Cleared(_, zone, now) => {
                camera.roll.cleared(zone, now);
                Vec::new()
            }
            Told::Picture(_, picture, boxes, cause) => {
                for boxes in [&[][..], &boxes] {
                    self.keep_picture(index, &picture, boxes, cause);
                }
                Vec::new()
            }
        };
        self.obey(index, camera, effects);
    }

    fn obey(&self, index: usize, camera: &mut Camera, effects: Vec<Effect>) {
        for effect in effects {
            let done = match effect {
                Effect::Begin(units) => self.begin(&units, camera.cause).map(|file| camera.file = Some(file)),
                Effect::Add(unit) => self.add(index, camera, &unit),
                Effect::End => camera.file.take().map_or(Ok(()), |file| self.end(index, file)),
            };
            if let Err(error) = done {
                // What is there is of no use; the next key frame begins anew, while somebody is there.
                camera.file = None;
                camera.roll.end();
                return self.failed(index, &error);
            }
        }
    }

    /// Adds a unit, to another file where this one is full.
    fn add(&self, index: usize, camera: &mut Camera, unit: &Unit) -> anyhow::Result<()> {
        let Some(mut file) = camera.file.take() else { return Ok(()) };
        if !file.is_full(unit.key) {
            file.add(unit)?;
            camera.file = Some(file);
            return Ok(());
        }
        self.end(index, file)?;
        if unit.key {
            camera.file = Some(self.begin(std::slice::from_ref(unit), camera.cause)?);
        } else {
            // The next key frame begins another one, while somebody is there.
            camera.roll.end();
        }
        Ok(())
    }

    fn failed(&self, index: usize, error: &anyhow::Error) {
        self.metrics.footage_failures.inc();
        let camera = self.cameras.get(index).map(|camera| camera.name.to_string()).unwrap_or_default();
        warn!(camera, "failed to keep footage: {error:#}");
    }

    fn begin(&self, units: &[Unit], cause: Option<Cause>) -> anyhow::Result<File> {
        let first = units.first().ok_or_else(|| anyhow::anyhow!("a clip of nothing"))?;
        let muxer = Muxer::new(first.parameters.clone());
        let mut draft = self.media.draft()?;
        draft.write(&muxer.begin()?)?;
        let mut file = File { muxer, draft, cause };
        units.iter().try_for_each(|unit| file.add(unit))?;
        Ok(file)
    }

    fn end(&self, index: usize, file: File) -> anyhow::Result<()> {
        let File { muxer, mut draft, cause } = file;
        if let Some(bytes) = muxer.end()? {
            draft.write(&bytes)?;
        }
        self.keep(index, draft, "video/mp4", cause)
    }

    fn keep_picture(&self, index: usize, picture: &Picture, boxes: &[[f32; 4]], cause: Cause) {
        let Some(jpeg) = snapshot::jpeg(picture, boxes) else { return };
        let write = || {
            let mut draft = self.media.draft()?;
            draft.write(&jpeg)?;
            Ok::<_, MediaError>(draft)
        };
        let kept = write().map_err(Into::into).and_then(|draft| self.keep(index, draft, "image/jpeg", Some(cause)));
        if let Err(error) = kept {
            self.failed(index, &error);
        }
    }

    fn keep(&self, index: usize, draft: Draft, media_type: &str, cause: Option<Cause>) -> anyhow::Result<()> {
        let camera = self.cameras.get(index).map(|camera| camera.name.to_string()).unwrap_or_default();
        let (blob, gone) = self.media.keep(draft, Rank::Alert)?;
        for payload in dropped(gone) {
            self.journal.record(self.journal.event("node", payload))?;
        }
        let stored = MediaStored { hash: blob.hash.to_string(), bytes: blob.bytes, media_type: media_type.into() };
        info!(camera, hash = stored.hash, bytes = blob.bytes, media_type, "footage is kept");
        let mut event = self.journal.event(format!("camera/{camera}"), Payload::MediaStored(stored));
        event.cause_id = cause.map(|cause| cause.event);
        event.trace_id = cause.and_then(|cause| cause.trace);
        self.journal.record(event)?;
        self.metrics.footage.get_or_create(&Of::new(media_type)).inc();
        Ok(())
    }
}

impl File {
    /// Whether it has to end before this unit: with a key frame early, so that nothing is lost between two clips.
    fn is_full(&self, key: bool) -> bool {
        let room = self.draft.room();
        room < 2 * UNIT_MAX as u64 || (key && room < 4 * UNIT_MAX as u64)
    }

    fn add(&mut self, unit: &Unit) -> anyhow::Result<()> {
        if let Some(bytes) = self.muxer.push(unit)? {
            self.draft.write(&bytes)?;
        }
        Ok(())
    }
}
