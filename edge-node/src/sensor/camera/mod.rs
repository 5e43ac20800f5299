//! Cameras: one capture thread each, newest frame to the mailbox. A source that fails is opened again for ever.

pub mod video;
pub mod multipart;
pub mod capture;
pub mod view;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use shared::ids::Name;

use view::ViewConfig;

use crate::ground::calibration::Mark;

/// One camera.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraConfig {
    /// Name.
    pub name: Name,
    /// Where pictures come from.
    pub source: Source,
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
    /// Where four points or more of its picture are on the map; the camera stands still.
    #[serde(default)]
    pub ground: Vec<Mark>,
}

impl CameraConfig {
    /// Thresholds of its view: files and folders repeat themselves and are not frozen.
    pub fn view(&self) -> ViewConfig {
        let live = matches!(self.source, Source::Mjpeg(_));
        ViewConfig { frozen_after: if live { self.view.frozen_after } else { Duration::ZERO }, ..self.view }
    }

    /// What of its view cannot be, and what was expected.
    pub fn problem(&self) -> Option<(&'static str, String)> {
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
}

/// Never shows a URL: it may hold credentials.
impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Folder(path) => write!(f, "folder:{}", path.display()),
            Self::Mjpeg(_) => f.write_str("mjpeg:…"),
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
            _ => Err("expected file:PATH, folder:PATH or mjpeg:http://HOST/PATH".into()),
        }
    }
}

impl TryFrom<String> for Source {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
