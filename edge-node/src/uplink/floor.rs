//! The time that certificates are judged by: the latest of the system's clock, the last time an authority of the relay
//! has told, and the time of this build. A box that starts in 1970 does not believe in certificates that expired since.
//!
//! Layout of the file: UTC microseconds in decimal and a newline. Unreadable counts as absent.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use shared::units::UtcMicros;
use tracing::error;

use crate::{clock, durable};

const FILE: &str = "floor";
/// No build is older than this: 2026-11-01, microseconds.
const RELEASED: i64 = 1_793_491_200_000_000;

/// The floor of time.
#[derive(Debug)]
pub struct Floor {
    folder: PathBuf,
    at: AtomicI64,
}

impl Floor {
    /// Reads the floor of a folder.
    pub fn read(folder: PathBuf) -> Self {
        let text = std::fs::read_to_string(folder.join(FILE)).unwrap_or_default();
        // Reproducible builds name their time in seconds (reproducible-builds.org/specs/source-date-epoch).
        let built = option_env!("SOURCE_DATE_EPOCH").and_then(|seconds| seconds.parse::<i64>().ok());
        let built = built.map_or(RELEASED, |seconds| seconds.saturating_mul(1_000_000));
        let at = text.trim().parse().unwrap_or(built).max(built);
        Self { folder, at: AtomicI64::new(at) }
    }

    /// Now, as far as anybody knows.
    pub fn now(&self) -> UtcMicros {
        UtcMicros(clock::utc().0.max(self.at.load(Ordering::SeqCst)))
    }

    /// Time has certainly reached this; kept over a restart.
    pub fn raise(&self, to: UtcMicros) {
        if self.at.fetch_max(to.0, Ordering::SeqCst) >= to.0 {
            return;
        }
        // Without the disk it holds until the next start.
        if let Err(error) = durable::write(&self.folder, FILE, format!("{}\n", to.0).as_bytes(), 0o600) {
            error!("failed to keep the time: {error}");
        }
    }
}

impl TimeProvider for Floor {
    fn current_time(&self) -> Option<UnixTime> {
        let micros = u64::try_from(self.now().0).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_micros(micros)))
    }
}
