//! The capture thread: plays a source into the mailbox, for ever, whatever the source does.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::multipart::{PartError, Parts};
use super::video::Video;
use super::{CameraConfig, Source};
use shared::units::Uptime;

use crate::clock;
use crate::health::{Metrics, Of};
use crate::sensor::frame::{Frame, Mailbox, Picture};
use crate::sensor::picture;
use crate::tls;

/// Wait before a failed source is opened again.
const REOPEN: Duration = Duration::from_secs(1);
/// A network camera that sends nothing for this time is opened again.
const SILENCE: Duration = Duration::from_secs(5);
/// Longest nap of a paced source, so that a stop is noticed.
const NAP: Duration = Duration::from_millis(50);

/// What a capture thread needs.
pub struct Capture {
    /// Index of the camera.
    pub index: usize,
    /// The camera.
    pub config: CameraConfig,
    /// Where frames go.
    pub mailbox: Arc<Mailbox>,
    /// Counters.
    pub metrics: Metrics,
    /// Ends the thread.
    pub stop: Arc<AtomicBool>,
    /// Runs network sources.
    pub runtime: Handle,
}

impl Capture {
    /// Plays the source until stopped, or until a source without `repeat` has ended.
    pub fn run(self) {
        let of = Of::new(self.config.name.as_str());
        let mut number = 0;
        let mut put = |picture: Picture, captured: Uptime| {
            self.metrics.frames.get_or_create(&of).inc();
            let frame = Frame { camera: self.index, number, captured, picture: Arc::new(picture) };
            number += 1;
            self.mailbox.put(frame);
        };
        while !self.stopped() {
            let played = match &self.config.source {
                Source::File(path) => self.play_file(path, &mut put),
                Source::Folder(path) => self.play_folder(path, &mut put),
                Source::Mjpeg(url) => self.runtime.block_on(self.play_mjpeg(url, &mut put)),
            };
            match played {
                Ok(()) if !self.config.repeat => break,
                Ok(()) => {}
                Err(error) => {
                    warn!(camera = %self.config.name, "failed to {error:#}; trying again");
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

    fn bad(&self, error: &dyn std::fmt::Display) {
        self.metrics.frames_bad.get_or_create(&Of::new(self.config.name.as_str())).inc();
        warn!(camera = %self.config.name, %error, "picture is passed over");
    }

    fn play_file(&self, path: &Path, put: &mut impl FnMut(Picture, Uptime)) -> anyhow::Result<()> {
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
                Err(error) => self.bad(&error),
            }
        }
        anyhow::ensure!(shown > 0, "play {}: it has no picture", path.display());
        Ok(())
    }

    fn play_folder(&self, path: &Path, put: &mut impl FnMut(Picture, Uptime)) -> anyhow::Result<()> {
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
                Err(error) => self.bad(&error),
            }
            self.nap(self.config.period);
        }
        Ok(())
    }

    /// Reads on the runtime and decodes here: a decoder slower than the camera sees the newest picture, not a backlog.
    async fn play_mjpeg(&self, url: &str, put: &mut impl FnMut(Picture, Uptime)) -> anyhow::Result<()> {
        let (newest, mut pictures) = watch::channel((0, Jpeg::default()));
        let (of, metrics) = (Of::new(self.config.name.as_str()), self.metrics.clone());
        let bad = move |error| {
            metrics.frames_bad.get_or_create(&of).inc();
            warn!(camera = of.name, %error, "picture is passed over");
        };
        let mut reader = JoinSet::new();
        reader.spawn(read_mjpeg(url.to_owned(), newest, bad));
        let mut decoded = 0;
        while !self.stopped() && pictures.changed().await.is_ok() {
            let (number, jpeg) = pictures.borrow_and_update().clone();
            let of = Of::new(self.config.name.as_str());
            self.metrics.frames_dropped.get_or_create(&of).inc_by(number - decoded - 1);
            decoded = number;
            match picture::decode(&jpeg.bytes, &format!("camera {}", self.config.name)) {
                Ok(picture) => put(picture, jpeg.received),
                Err(error) => self.bad(&error),
            }
        }
        if self.stopped() {
            return Ok(());
        }
        reader.join_next().await.context("read MJPEG")?.context("read MJPEG")?
    }
}

/// A picture as it came. Stamped on receipt: decoding must not make it younger.
#[derive(Debug, Clone, Default)]
struct Jpeg {
    received: Uptime,
    bytes: Arc<[u8]>,
}

/// Reads a stream until it ends, keeping only the newest picture, numbered from 1.
async fn read_mjpeg(
    url: String,
    newest: watch::Sender<(u64, Jpeg)>,
    bad: impl Fn(PartError) + Send,
) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls::nobody()?);
    let client = client.connect_timeout(SILENCE).read_timeout(SILENCE).build().context("make an HTTP client")?;
    // Errors are shown without the URL: it may hold credentials.
    let answer = client.get(url).send().await.map_err(reqwest::Error::without_url).context("open MJPEG stream")?;
    let mut answer = answer.error_for_status().map_err(reqwest::Error::without_url).context("open MJPEG stream")?;
    let content_type = answer.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let mut parts = Parts::new(content_type).map_err(anyhow::Error::msg).context("open MJPEG stream")?;
    while let Some(bytes) = answer.chunk().await.map_err(reqwest::Error::without_url).context("read MJPEG")? {
        let received = clock::uptime();
        for part in parts.push(&bytes) {
            match part {
                Ok(jpeg) => newest.send_modify(|slot| *slot = (slot.0 + 1, Jpeg { received, bytes: jpeg.into() })),
                Err(error) => bad(error),
            }
        }
    }
    anyhow::bail!("read MJPEG: the camera closed the stream")
}
