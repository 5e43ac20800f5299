//! How much room the journal may take, and the ballast that makes room for urgent events on a full disk.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tracing::{info, warn};

const MIB: u64 = 1024 * 1024;

/// Sizes and times of the journal. All sizes in MiB in the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Room of all bulk segments; the oldest go first, those not yet sent as a named gap.
    #[serde(rename = "bulk_mib")]
    bulk: u64,
    /// Size at which the next segment begins.
    #[serde(rename = "segment_mib")]
    segment: u64,
    /// Reserve of safety and alert events; when it is full of unsent ones, new ones are refused.
    #[serde(rename = "urgent_mib")]
    urgent: u64,
    /// File that is given up to make room for urgent events when the disk is full; 0 for none.
    #[serde(rename = "ballast_mib")]
    ballast: u64,
    /// Sent events stay this long while there is room, so that a relay restored from a backup can ask again.
    #[serde(with = "shared::config::duration")]
    pub keep: Duration,
    /// The whole journal is read through and checked this often.
    #[serde(with = "shared::config::duration")]
    pub scrub: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let (keep, scrub) = (Duration::from_secs(48 * 3600), Duration::from_secs(24 * 3600));
        Self { bulk: 4096, segment: 64, urgent: 256, ballast: 16, keep, scrub }
    }
}

impl Limits {
    /// Bytes of all bulk segments.
    pub fn bulk_bytes(&self) -> u64 {
        self.bulk * MIB
    }

    /// Bytes of one segment.
    pub fn segment_bytes(&self) -> u64 {
        self.segment * MIB
    }

    /// Bytes of `urgent.db`.
    pub fn urgent_bytes(&self) -> u64 {
        self.urgent * MIB
    }

    /// Key and expectation of a value that would make the journal useless, if there is one.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        let largest = 1024 * 1024;
        if !(1..=1024).contains(&self.segment) {
            return Some(("segment_mib", format!("expected 1 to 1024 MiB, found {}", self.segment)));
        }
        if !(self.segment.saturating_mul(2)..=largest).contains(&self.bulk) {
            return Some(("bulk_mib", format!("expected two segments to {largest} MiB, found {}", self.bulk)));
        }
        if !(1..=largest).contains(&self.urgent) {
            return Some(("urgent_mib", format!("expected 1 to {largest} MiB, found {}", self.urgent)));
        }
        if self.scrub < Duration::from_secs(1) {
            return Some(("scrub", format!("expected at least 1s, found {:?}", self.scrub)));
        }
        (self.ballast > 1024).then(|| ("ballast_mib", format!("expected at most 1024 MiB, found {}", self.ballast)))
    }
}

/// The ballast file.
#[derive(Debug)]
pub struct Ballast {
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    /// The ballast of a folder; [`Ballast::keep`] makes the file.
    pub fn new(folder: &Path, limits: &Limits) -> Self {
        Self { path: folder.join("ballast"), bytes: limits.ballast * MIB }
    }

    /// Gives the ballast's room up; false when it was given up before.
    pub fn release(&self) -> bool {
        std::fs::remove_file(&self.path).is_ok()
    }

    /// Makes the ballast again once the disk has room for it twice over.
    pub fn keep(&self) {
        if self.bytes == 0 || self.is_whole() {
            return;
        }
        let room = self.path.parent().and_then(|folder| rustix::fs::statvfs(folder).ok());
        let room = room.map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        if room < self.bytes * 2 {
            return;
        }
        match self.make() {
            Ok(()) => info!(bytes = self.bytes, "ballast is in place"),
            Err(error) => {
                warn!(%error, "ballast cannot be made");
                let _ = std::fs::remove_file(&self.path);
            }
        }
    }

    fn is_whole(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|file| file.len() == self.bytes)
    }

    /// Real bytes, not a hole, and not compressible: its room must be there when it is needed.
    fn make(&self) -> std::io::Result<()> {
        let mut file = std::fs::File::create(&self.path)?;
        let mut noise = blake3::Hasher::new().update(b"ballast").finalize_xof();
        let mut chunk = vec![0; 64 * 1024];
        for _ in 0..self.bytes / 65_536 {
            noise.fill(&mut chunk);
            file.write_all(&chunk)?;
        }
        file.sync_all()
    }
}
