//! When the detector is spared: `detect` has the gate itself.

use std::time::Duration;

use serde::Deserialize;

/// Differences below this are nobody's, of 255.
const FLOOR: f32 = 3.0;

/// The gate of one camera.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GateConfig {
    /// A whole picture is looked at at least this often.
    #[serde(with = "shared::config::duration")]
    pub full_every: Duration,
    /// Least difference of a cell that counts, of 255; noise of the camera's own comes on top.
    pub least: f32,
}

impl Default for GateConfig {
    fn default() -> Self {
        Self { full_every: Duration::from_secs(1), least: FLOOR }
    }
}

impl GateConfig {
    /// Key and expectation of a value that would make no sense, if there is one.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        let often = (Duration::from_millis(100)..=Duration::from_secs(10)).contains(&self.full_every);
        if !often {
            return Some(("motion.full_every", "expected 100ms to 10s".into()));
        }
        let sane = (1.0..=100.0).contains(&self.least);
        (!sane).then(|| ("motion.least", format!("expected 1 to 100, found {}", self.least)))
    }
}
