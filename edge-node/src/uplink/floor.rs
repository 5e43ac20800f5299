//! The time that certificates are judged by: the latest of the system's clock, the last time an authority of the relay
//! has told, and the time of this build, the latter two going on with the time since boot. A box that starts in 1970
//! does not believe in certificates that expired since.
//!
//! Layout of the file: UTC microseconds in decimal and a newline. Unreadable counts as absent. Only what does not make the
//! node's own certificate expire is kept: a relay whose clock once stood in a far future must not end the node for good.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use shared::units::{Uptime, UtcMicros};

use crate::{clock, durable};

const FILE: &str = "floor";
/// No build is older than this: 2026-11-01, microseconds.
const RELEASED: i64 = 1_793_491_200_000_000;
/// What is kept may be older than what was told by this much: a write each connection would wear out the card.
const STEP: i64 = 3_600_000_000;

/// A time and when, since boot, it was so.
#[derive(Debug, Clone, Copy)]
struct Known {
    at: UtcMicros,
    when: Uptime,
}

impl Known {
    fn now(self, now: Uptime) -> i64 {
        self.at.0.saturating_add(i64::try_from(now.since(self.when).as_micros()).unwrap_or(i64::MAX))
    }
}

/// The floor of time.
#[derive(Debug)]
pub struct Floor {
    folder: PathBuf,
    known: Mutex<[Known; 2]>,
}

impl Floor {
    /// Reads the floor of a folder.
    pub fn read(folder: PathBuf) -> Self {
        let text = std::fs::read_to_string(folder.join(FILE)).unwrap_or_default();
        // Reproducible builds name their time in seconds (reproducible-builds.org/specs/source-date-epoch).
        let built = option_env!("SOURCE_DATE_EPOCH").and_then(|seconds| seconds.parse::<i64>().ok());
        let built = built.map_or(RELEASED, |seconds| seconds.saturating_mul(1_000_000));
        let at = UtcMicros(text.trim().parse().unwrap_or(built).max(built));
        let kept = Known { at, when: clock::uptime() };
        Self { folder, known: Mutex::new([kept; 2]) }
    }

    /// Now, as far as anybody knows.
    pub fn now(&self) -> UtcMicros {
        let (now, known) = (clock::uptime(), self.known());
        let [kept, told] = known.map(|known| known.now(now));
        UtcMicros(clock::utc().0.max(kept).max(told))
    }

    /// An authority told this time just now; it replaces what one told before.
    pub fn told(&self, at: UtcMicros) {
        let [kept, _] = self.known();
        self.set([kept, Known { at, when: clock::uptime() }]);
    }

    /// Time has certainly reached this; kept over a restart.
    ///
    /// # Errors
    /// The disk's: then it holds until the next start.
    pub fn keep(&self, at: UtcMicros) -> std::io::Result<()> {
        let [kept, told] = self.known();
        if at.0 < kept.at.0.saturating_add(STEP) {
            return Ok(());
        }
        self.set([Known { at, when: clock::uptime() }, told]);
        self.write(at)
    }

    /// Forgets everything but this: the node is enrolled anew, perhaps because what was kept is wrong.
    ///
    /// # Errors
    /// The disk's.
    pub fn begin(&self, at: UtcMicros) -> std::io::Result<()> {
        self.set([Known { at, when: clock::uptime() }; 2]);
        self.write(at)
    }

    fn write(&self, at: UtcMicros) -> std::io::Result<()> {
        durable::write(&self.folder, FILE, format!("{}\n", at.0).as_bytes(), 0o600)
    }

    fn known(&self) -> [Known; 2] {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, known: [Known; 2]) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }
}

impl TimeProvider for Floor {
    fn current_time(&self) -> Option<UnixTime> {
        let micros = u64::try_from(self.now().0).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_micros(micros)))
    }
}
