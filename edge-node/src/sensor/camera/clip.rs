//! What is kept of a camera's stream.

use std::time::Duration;

use serde::Deserialize;

use super::Source;

/// Clips of one camera.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClipConfig {
    /// The stream they are cut from; none: the one that is looked at. Many cameras have a large one for this.
    pub source: Option<Source>,
    /// How much before somebody was seen belongs to it; it begins with the key frame before that.
    #[serde(with = "shared::config::duration")]
    pub before: Duration,
    /// How much after the zone was clear.
    #[serde(with = "shared::config::duration")]
    pub after: Duration,
    /// A longer presence is more than one clip.
    #[serde(with = "shared::config::duration")]
    pub longest: Duration,
}

impl Default for ClipConfig {
    fn default() -> Self {
        Self {
            source: None,
            before: Duration::from_secs(5),
            after: Duration::from_secs(5),
            longest: Duration::from_secs(60),
        }
    }
}

impl ClipConfig {
    /// Key and expectation of a value that would make no sense, if there is one.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        if !matches!(self.source, None | Some(Source::Rtsp(_))) {
            return Some(("clip.source", "expected rtsp://HOST/PATH".into()));
        }
        let within = |value: Duration, most: u64| value <= Duration::from_secs(most);
        if !within(self.before, 30) {
            return Some(("clip.before", "expected at most 30s".into()));
        }
        if !within(self.after, 60) {
            return Some(("clip.after", "expected at most 60s".into()));
        }
        let fits = self.longest >= self.before + self.after && within(self.longest, 600);
        (!fits).then(|| ("clip.longest", "expected before and after together to 600s".into()))
    }
}
