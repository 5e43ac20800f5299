//! Cameras: one capture thread each, newest frame to the mailbox. A source that fails is opened again for ever.

pub mod offer;
pub mod yuyv;
pub mod tables;
pub mod v4l2;
pub mod h264;
pub mod boxes;
pub mod video;
pub mod markers;
pub mod multipart;
pub mod rate;
pub mod narrow;
pub mod rtsp;
pub mod stream;
pub mod clip;
pub mod gate;
pub mod complaints;
pub mod capture;
pub mod view;
pub mod view_store;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use shared::ids::Name;
use url::Url;

use clip::ClipConfig;
use gate::GateConfig;
use offer::V4l2Config;
use rtsp::{Address, Carrier};
use view::ViewConfig;

use super::outline::Outline;
use crate::ground::calibration::Mark;

/// One camera.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraConfig {
    /// Name.
    pub name: Name,
    /// Where pictures come from.
    pub source: Source,
    /// For RTSP: whom the camera knows.
    #[serde(default)]
    pub user: Option<String>,
    /// For RTSP: file with the password, one line.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// For RTSP: how packets come.
    #[serde(default)]
    pub transport: Carrier,
    /// For cameras at this machine: what of their offers is taken.
    #[serde(default)]
    pub v4l2: V4l2Config,
    /// For files and folders: begins again at the end.
    #[serde(default)]
    pub repeat: bool,
    /// For folders: time between two pictures.
    #[serde(default = "default_period", with = "shared::config::duration")]
    pub period: Duration,
    /// Without a frame for this time the camera is stale.
    #[serde(default = "default_stale", with = "shared::config::duration")]
    pub stale_after: Duration,
    /// When what it shows is not believed.
    #[serde(default)]
    pub view: ViewConfig,
    /// Spares the detector where nothing moves. Empty: every picture is looked at.
    #[serde(default)]
    pub motion: Option<GateConfig>,
    /// Most pictures a second that are looked at; none: as many as come.
    #[serde(default)]
    pub detect_fps: Option<f32>,
    /// How it is shown to people.
    #[serde(default)]
    pub live: LiveConfig,
    /// Its share of the detector's time, beside those of the other cameras.
    #[serde(default = "default_share")]
    pub share: u32,
    /// Areas of its picture in which nothing counts: a poster, a screen, the street beyond.
    #[serde(default)]
    pub masks: Vec<Outline>,
    /// Clips of what raised an alert: cameras over RTSP. Empty: none is kept.
    #[serde(default)]
    pub clip: Option<ClipConfig>,
    /// Where four points or more of its picture are on the map; the camera stands still.
    #[serde(default)]
    pub ground: Vec<Mark>,
}

/// How a camera is shown to people: a picture for the eye needs neither all pixels nor all frames.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LiveConfig {
    /// Pixels across, at most.
    pub width: u32,
    /// Pictures a second, at most.
    pub fps: f32,
}

impl Default for LiveConfig {
    fn default() -> Self {
        Self { width: 960, fps: 5.0 }
    }
}

impl CameraConfig {
    /// Whether it shows what is now; files and folders begin anew with each start.
    pub const fn live(&self) -> bool {
        matches!(self.source, Source::Mjpeg(_) | Source::Rtsp(_) | Source::V4l2(_))
    }

    /// Thresholds of its view: files and folders repeat themselves and are not frozen.
    pub fn view(&self) -> ViewConfig {
        ViewConfig { frozen_after: if self.live() { self.view.frozen_after } else { Duration::ZERO }, ..self.view }
    }

    /// How one of its streams is asked for.
    ///
    /// # Errors
    /// When the file with the password cannot be read.
    pub fn address(&self, url: &Url) -> anyhow::Result<Address> {
        let login = rtsp::login(self.user.as_deref(), self.password_file.as_deref())?;
        Ok(Address { url: url.clone(), login, carrier: self.transport })
    }

    /// What of it cannot be, and what was expected.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        if self.user.is_some() != self.password_file.is_some() {
            return Some(("password_file", "expected user and password_file, or neither".into()));
        }
        if let Some(problem) = self.v4l2.problem() {
            return Some(problem);
        }
        if self.v4l2 != V4l2Config::default() && !matches!(self.source, Source::V4l2(_)) {
            return Some(("v4l2", "expected none: the source is no v4l2:/dev/...".into()));
        }
        if let Some(problem) = self.motion.as_ref().and_then(GateConfig::problem) {
            return Some(problem);
        }
        if self.detect_fps.is_some_and(|fps| !(0.1..=120.0).contains(&fps)) {
            return Some(("detect_fps", "expected 0.1 to 120".into()));
        }
        if !(64..=4096).contains(&self.live.width) {
            return Some(("live.width", format!("expected 64 to 4096, found {}", self.live.width)));
        }
        if !(1.0..=60.0).contains(&self.live.fps) {
            return Some(("live.fps", format!("expected 1 to 60, found {}", self.live.fps)));
        }
        if !(1..=100).contains(&self.share) {
            return Some(("share", format!("expected 1 to 100, found {}", self.share)));
        }
        if let Some(problem) = self.masks.iter().find_map(Outline::problem) {
            return Some(("masks", problem));
        }
        if let Some(clip) = &self.clip {
            if clip.source.is_none() && !matches!(self.source, Source::Rtsp(_)) {
                return Some(("clip", "expected an RTSP camera, or clip.source".into()));
            }
            if let Some(problem) = clip.problem() {
                return Some(problem);
            }
        }
        let rtsp =
            matches!(self.source, Source::Rtsp(_)) || self.clip.as_ref().is_some_and(|clip| clip.source.is_some());
        if self.user.is_some() && !rtsp {
            return Some(("user", "expected none: only RTSP cameras are asked with a user".into()));
        }
        let ViewConfig { frozen_after, dark, glaring, flat, blurred, moved } = self.view;
        let seconds = frozen_after.as_secs_f32();
        [
            ("view.frozen_after", seconds, 0.0..=3600.0),
            ("view.dark", dark, 0.0..=255.0),
            ("view.glaring", glaring, 0.0..=255.0),
            ("view.flat", flat, 0.0..=255.0),
            ("view.blurred", blurred, 0.0..=1.0),
            ("view.moved", moved, -1.0..=1.0),
        ]
        .into_iter()
        .find(|(_, value, range)| !range.contains(value))
        .map(|(key, value, range)| (key, format!("expected {} to {}, found {value}", range.start(), range.end())))
    }
}

fn default_share() -> u32 {
    1
}

fn default_period() -> Duration {
    Duration::from_millis(200)
}

fn default_stale() -> Duration {
    Duration::from_secs(1)
}

/// Where a camera's pictures come from.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Source {
    /// `file:PATH`: H.264 in MP4, at its own pace.
    File(PathBuf),
    /// `folder:PATH`: JPEG and PNG in order of name.
    Folder(PathBuf),
    /// `mjpeg:http://…`: MJPEG over HTTP.
    Mjpeg(String),
    /// `rtsp://…`: H.264 over RTSP.
    Rtsp(Url),
    /// `v4l2:/dev/…`: a camera at this machine.
    V4l2(PathBuf),
}

/// Never shows a URL: it may hold credentials.
impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Folder(path) => write!(f, "folder:{}", path.display()),
            Self::Mjpeg(_) => f.write_str("mjpeg:…"),
            Self::Rtsp(_) => f.write_str("rtsp://…"),
            Self::V4l2(path) => write!(f, "v4l2:{}", path.display()),
        }
    }
}

impl FromStr for Source {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("folder", path)) if !path.is_empty() => Ok(Self::Folder(path.into())),
            Some(("mjpeg", url)) if url.starts_with("http://") => Ok(Self::Mjpeg(url.into())),
            Some(("rtsp", _)) => rtsp::parse(text).map(Self::Rtsp),
            Some(("v4l2", path)) if path.starts_with("/dev/") => Ok(Self::V4l2(path.into())),
            _ => {
                Err("expected file:PATH, folder:PATH, v4l2:/dev/NAME, mjpeg:http://HOST/PATH or rtsp://HOST/PATH"
                    .into())
            }
        }
    }
}

impl TryFrom<String> for Source {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
