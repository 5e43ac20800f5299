//! The capture thread: plays a source into the mailbox, for ever, whatever the source does.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};
use url::Url;

use super::complaints::{Bad, Failures};
use super::multipart::{Part, Parts};
use super::rate::Rate;
use super::rtsp::{self, Frozen, GOES, STANDS, Unit};
use super::stream::{Pictures, Taken};
use super::v4l2::{self, Told};
use super::video::Video;
use super::{CameraConfig, Source};
use shared::units::Uptime;

use crate::clock;
use crate::health::{Metrics, Of};
use crate::sensor::frame::{Frame, Mailbox, Picture, Trouble};
use crate::sensor::picture;
use crate::tls;

/// Wait before a failed source is opened again.
const REOPEN: Duration = Duration::from_secs(1);
/// A camera that sends nothing for this time is opened again.
const SILENCE: Duration = Duration::from_secs(5);
/// Units of a stream that wait for the decoder: two seconds of a camera. Full: it is too slow, and goes on with the next
/// key frame.
const UNITS: usize = 60;
/// And no more bytes than these.
const UNITS_BYTES: usize = 16 * 1024 * 1024;
/// Longest text of why a camera gives nothing, in characters.
const TEXT_MAX: usize = 200;
/// What a camera may send over HTTP in a second, and beyond that at once: twice what one of 12 megapixels does.
const MJPEG_PER_SECOND: u64 = 32 * 1024 * 1024;
/// What comes earlier than this is no camera's.
const EARLY: Duration = Duration::from_millis(200);
/// Parts of a stream in a second, and at once: the fastest cameras send half of it.
const PARTS_PER_SECOND: u64 = 240;
/// Longest nap of a paced source, so that a stop is noticed.
const NAP: Duration = Duration::from_millis(50);

/// Takes the units of a stream.
pub type Tap = Arc<dyn Fn(Unit) + Send + Sync>;

/// Plays the stream of a camera's clips until stopped.
pub async fn follow(camera: CameraConfig, url: Url, tap: Tap, metrics: Metrics, stop: Arc<AtomicBool>) {
    let (units, mut failures) = (Arc::new(AtomicU64::new(0)), Failures::default());
    while !stop.load(Ordering::Relaxed) {
        let (tap, count) = (tap.clone(), units.clone());
        // In a task of its own: the library may panic on what no camera should send.
        let played = match camera.address(&url) {
            Ok(address) => {
                let take = move |unit| {
                    count.fetch_add(1, Ordering::Relaxed);
                    tap(unit);
                };
                tokio::spawn(rtsp::play(address, take)).await.context("read RTSP").flatten()
            }
            Err(error) => Err(error),
        };
        if let Err(error) = played {
            metrics.sessions_failed.get_or_create(&Of::new(camera.name.as_str())).inc();
            let text = format!("failed to {error:#}");
            if failures.is_new(&text, units.load(Ordering::Relaxed)) {
                warn!(camera = %camera.name, "{text}; no clips until it is back");
            }
        }
        tokio::time::sleep(REOPEN).await;
    }
}

/// What a capture thread needs.
pub struct Capture {
    /// Index of the camera.
    pub index: usize,
    /// The camera.
    pub config: CameraConfig,
    /// Where frames go.
    pub mailbox: Arc<Mailbox>,
    /// Where people see its newest frame, whether the detector takes it or not.
    pub live: watch::Sender<Option<Frame>>,
    /// Counters.
    pub metrics: Metrics,
    /// Where units of streams go besides, for clips; must not block.
    pub tap: Option<Tap>,
    /// Ends the thread.
    pub stop: Arc<AtomicBool>,
    /// Runs network sources.
    pub runtime: Handle,
}

impl Capture {
    /// Plays the source until stopped, or until a source without `repeat` has ended.
    pub fn run(self) {
        let of = Of::new(self.config.name.as_str());
        let (number, mut last) = (Cell::new(0), None);
        // A hair earlier: cameras are not clocks.
        let apart = self.config.detect_fps.map_or(Duration::ZERO, |fps| Duration::from_secs_f32(0.9 / fps.max(0.1)));
        let mut put = |picture: Picture, captured: Uptime| {
            let frame = Frame { camera: self.index, number: number.get(), captured, picture: Arc::new(picture) };
            number.set(number.get() + 1);
            self.live.send_replace(Some(frame.clone()));
            // With pictures that are shown in another order than they come in, stamps go back and forth.
            if last.is_some_and(|last| captured.max(last).since(last) < apart) {
                self.metrics.frames_skipped.get_or_create(&of).inc();
                return;
            }
            last = last.max(Some(captured));
            self.metrics.frames.get_or_create(&of).inc();
            self.mailbox.put(frame);
        };
        let frozen = Cell::new(false);
        let mut failures = Failures::default();
        let bad = Arc::new(Bad::new(&of.name, self.metrics.clone()));
        while !self.stopped() {
            // Decoders that others have written meet a stranger's bytes: what makes them panic is an error of this camera.
            let played = std::panic::catch_unwind(AssertUnwindSafe(|| match &self.config.source {
                Source::File(path) => self.play_file(path, &bad, &mut put),
                Source::Folder(path) => self.play_folder(path, &bad, &mut put),
                Source::Mjpeg(url) => self.runtime.block_on(self.play_mjpeg(url, &bad, &mut put)),
                Source::Rtsp(url) => self.play_rtsp(url, &bad, &frozen, &mut put),
                Source::V4l2(path) => self.play_v4l2(path, &bad, &mut put),
            }));
            let played =
                played.unwrap_or_else(|_| Err(anyhow::anyhow!("play the source: what it sends breaks the decoder")));
            match played {
                Ok(()) if !self.config.repeat => break,
                Ok(()) => {}
                Err(error) => {
                    let text = format!("failed to {error:#}");
                    if failures.is_new(&text, number.get()) {
                        warn!(camera = %self.config.name, "{text}; trying again");
                    }
                    self.metrics.sessions_failed.get_or_create(&of).inc();
                    let shown = text.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect();
                    frozen.set(frozen.get() || error.is::<Frozen>());
                    self.mailbox.fail(self.index, Trouble { text: shown, frozen: error.is::<Frozen>() });
                    self.nap(REOPEN);
                }
            }
        }
        info!(camera = %self.config.name, "camera has ended");
        self.mailbox.close(self.index);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn nap(&self, wait: Duration) {
        let until = clock::uptime().plus(wait);
        while !self.stopped() {
            let left = until.since(clock::uptime());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(NAP));
        }
    }

    fn play_file(&self, path: &Path, bad: &Bad, put: &mut impl FnMut(Picture, Uptime)) -> anyhow::Result<()> {
        let video = Video::open(path).context("open video")?;
        let begun = clock::uptime();
        let mut shown = 0u64;
        for shot in video {
            if self.stopped() {
                return Ok(());
            }
            match shot {
                Ok(shot) => {
                    let due = begun.plus(Duration::from_secs_f64(shot.time_s.max(0.0)));
                    self.nap(due.since(clock::uptime()));
                    put(shot.picture, clock::uptime());
                    shown += 1;
                }
                Err(error) => {
                    bad.picture(&error, clock::uptime());
                }
            }
        }
        anyhow::ensure!(shown > 0, "play {}: it has no picture", path.display());
        Ok(())
    }

    fn play_folder(&self, path: &Path, bad: &Bad, put: &mut impl FnMut(Picture, Uptime)) -> anyhow::Result<()> {
        let entries = std::fs::read_dir(path).with_context(|| format!("read folder {}", path.display()))?;
        let mut files: Vec<_> = entries.flatten().map(|e| e.path()).filter(|p| picture::is_picture(p)).collect();
        files.sort();
        anyhow::ensure!(!files.is_empty(), "play folder {}: it has no JPEG or PNG", path.display());
        for file in files {
            if self.stopped() {
                return Ok(());
            }
            match picture::read(&file) {
                Ok(picture) => put(picture, clock::uptime()),
                Err(error) => {
                    bad.picture(&error, clock::uptime());
                }
            }
            self.nap(self.config.period);
        }
        Ok(())
    }

    /// Reads on the runtime and decodes here: a decoder slower than the camera sees the newest picture, not a backlog.
    async fn play_mjpeg(&self, url: &str, bad: &Arc<Bad>, put: &mut impl FnMut(Picture, Uptime)) -> anyhow::Result<()> {
        let (newest, mut pictures) = watch::channel((0, Jpeg::default()));
        let mut reader = JoinSet::new();
        reader.spawn(read_mjpeg(url.to_owned(), newest, bad.clone()));
        let mut decoded = 0;
        while !self.stopped() && pictures.changed().await.is_ok() {
            let (number, jpeg) = pictures.borrow_and_update().clone();
            let of = Of::new(self.config.name.as_str());
            self.metrics.frames_dropped.get_or_create(&of).inc_by(number - decoded - 1);
            decoded = number;
            match picture::decode(&jpeg.bytes, &format!("camera {}", self.config.name)) {
                Ok(picture) => put(picture, jpeg.received),
                Err(error) => {
                    bad.picture(&error, clock::uptime());
                }
            }
        }
        if self.stopped() {
            return Ok(());
        }
        reader.join_next().await.context("read MJPEG")?.context("read MJPEG")?
    }

    fn play_v4l2(&self, path: &Path, bad: &Bad, put: &mut impl FnMut(Picture, Uptime)) -> anyhow::Result<()> {
        let (mut camera, form) = v4l2::open(path, &self.config.v4l2)?;
        let (of, place) = (Of::new(self.config.name.as_str()), format!("camera {}", self.config.name));
        v4l2::play(
            &mut camera,
            SILENCE,
            || self.stopped(),
            |told| match told {
                Told::Shot(bytes, came) => {
                    // Not beyond the camera's buffers, which must not be let go while a panic is under way.
                    let made = std::panic::catch_unwind(|| form.picture(bytes, &place));
                    match made.unwrap_or_else(|_| Err("it breaks the decoder".into())) {
                        Ok(picture) => {
                            put(picture, came);
                            return true;
                        }
                        Err(error) => {
                            bad.picture(&error, clock::uptime());
                        }
                    }
                    false
                }
                Told::Broken => {
                    bad.picture(&"the driver says that it is damaged", clock::uptime());
                    false
                }
                Told::Passed => {
                    self.metrics.frames_dropped.get_or_create(&of).inc();
                    true
                }
            },
        )
    }

    /// Reads on the runtime and decodes here, every unit: what follows refers to it. `frozen`: its clock stood still, and it
    /// must show that it goes before it is believed.
    fn play_rtsp(
        &self,
        url: &Url,
        bad: &Bad,
        frozen: &Cell<bool>,
        put: &mut impl FnMut(Picture, Uptime),
    ) -> anyhow::Result<()> {
        let address = self.config.address(url)?;
        // Clips are cut from this stream unless they have their own.
        let tap = self.tap.clone().filter(|_| self.config.clip.as_ref().is_some_and(|clip| clip.source.is_none()));
        let of = Of::new(self.config.name.as_str());
        self.runtime.block_on(async {
            let (queue, mut units) = mpsc::channel(UNITS);
            let (metrics, dropped) = (self.metrics.clone(), of.clone());
            let (waiting, mut behind) = (Arc::new(AtomicUsize::new(0)), false);
            let taken = waiting.clone();
            let mut reader = JoinSet::new();
            reader.spawn(rtsp::play(address, move |mut unit| {
                if let Some(tap) = &tap {
                    tap(unit.clone());
                }
                // What was dropped is lost for what refers to it.
                unit.lost |= behind && !unit.key;
                let bytes = unit.data.len();
                let room = waiting.fetch_add(bytes, Ordering::Relaxed) + bytes <= UNITS_BYTES;
                behind = !room || queue.try_send(unit).is_err();
                if behind {
                    waiting.fetch_sub(bytes, Ordering::Relaxed);
                    metrics.frames_dropped.get_or_create(&dropped).inc();
                }
            }));
            let (mut pictures, mut shown, mut first) = (Pictures::default(), clock::uptime(), None);
            while !self.stopped() {
                let unit = match timeout(NAP, units.recv()).await {
                    Err(_) => continue,
                    Ok(None) => break,
                    Ok(Some(unit)) => unit,
                };
                taken.fetch_sub(unit.data.len(), Ordering::Relaxed);
                match pictures.take(&unit) {
                    Ok(Taken::Picture(picture, captured, at)) => {
                        shown = clock::uptime();
                        // By its own clock and by ours: it may send a second at once. One whose clock is slow is believed at last.
                        let (began, then) = *first.get_or_insert((at, captured));
                        let time = captured.max(then).since(then);
                        let goes = at.saturating_sub(began) >= GOES && time >= STANDS;
                        frozen.set(frozen.get() && !goes && time < SILENCE);
                        match frozen.get() {
                            true => drop(self.metrics.frames_dropped.get_or_create(&of).inc()),
                            false => put(picture, captured),
                        }
                    }
                    Ok(Taken::Held) => {}
                    Ok(Taken::Waiting) => {
                        self.metrics.frames_dropped.get_or_create(&of).inc();
                        // A camera begins a new session with one.
                        let long = clock::uptime().since(shown) > SILENCE;
                        anyhow::ensure!(!long, "read RTSP: no key frame in {SILENCE:?}");
                    }
                    Err(error) => {
                        bad.picture(&error, clock::uptime());
                    }
                }
            }
            if self.stopped() {
                return Ok(());
            }
            // The library may panic on what no camera should send: that is an error of this camera.
            reader.join_next().await.context("read RTSP")?.context("read RTSP")?
        })
    }
}

/// A picture as it came. Stamped when it began to come: neither the way nor decoding must make it younger.
#[derive(Debug, Clone, Default)]
struct Jpeg {
    received: Uptime,
    bytes: Arc<[u8]>,
}

/// Reads a stream until it ends, keeping only the newest picture, numbered from 1.
async fn read_mjpeg(url: String, newest: watch::Sender<(u64, Jpeg)>, bad: Arc<Bad>) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls::nobody()?);
    let client = client.connect_timeout(SILENCE).read_timeout(SILENCE).build().context("make an HTTP client")?;
    // Errors are shown without the URL: it may hold credentials.
    let answer = client.get(url).send().await.map_err(reqwest::Error::without_url).context("open MJPEG stream")?;
    let mut answer = answer.error_for_status().map_err(reqwest::Error::without_url).context("open MJPEG stream")?;
    let content_type = answer.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let mut parts = Parts::new(content_type).map_err(anyhow::Error::msg).context("open MJPEG stream")?;
    let mut rate = Rate::new(MJPEG_PER_SECOND, MJPEG_PER_SECOND, clock::uptime());
    let mut often = Rate::new(PARTS_PER_SECOND, PARTS_PER_SECOND, clock::uptime());
    while let Some(bytes) = answer.chunk().await.map_err(reqwest::Error::without_url).context("read MJPEG")? {
        let now = clock::uptime();
        let early = rate.step(bytes.len(), now);
        anyhow::ensure!(early <= EARLY, "read MJPEG: expected at most {MJPEG_PER_SECOND} bytes a second");
        for part in parts.push(&bytes, now) {
            let early = often.step(1, now);
            anyhow::ensure!(early <= EARLY, "read MJPEG: expected at most {PARTS_PER_SECOND} parts a second");
            match part {
                Ok(Part { received, body }) => {
                    newest.send_modify(|slot| *slot = (slot.0 + 1, Jpeg { received, bytes: body.into() }));
                }
                Err(error) => {
                    bad.picture(&error, now);
                }
            }
        }
    }
    anyhow::bail!("read MJPEG: the camera closed the stream")
}
