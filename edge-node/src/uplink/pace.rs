//! How much at a time, how fast, how patiently: batches grow while the link carries them quickly and shrink when it does
//! not, and a limit in bytes per second is kept by waiting. Pure.

use std::time::Duration;

use shared::units::Uptime;

/// Bytes of records in one batch: the first, the least, the most. A batch that is lost costs this much again.
const FIRST: usize = 128 * 1024;
const LEAST: usize = 8 * 1024;
const MOST: usize = 512 * 1024;
/// A batch should take this long: long enough to be worth its answer, short enough for an urgent lane to wait.
const TARGET: Duration = Duration::from_secs(1);
/// What a request costs beside its body: TCP/IP and TLS frames, HTTP headers, the answer. Estimated from their sizes.
const BESIDE: u64 = 700;
/// What urgent lanes overdraw holds the others up for at most this long.
const DEBT: Duration = Duration::from_secs(60);
/// The slowest link that is waited for, bytes per second: one record may be 256 KiB.
const SLOWEST: u64 = 4096;

/// The pace of a link.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    batch: usize,
    limit: Option<u64>,
    free_at: Uptime,
}

impl Default for Pace {
    fn default() -> Self {
        Self { batch: FIRST, limit: None, free_at: Uptime(0) }
    }
}

impl Pace {
    /// Sets the limit in bytes per second; `None` is none. Another link owes nothing for what the last one carried.
    pub fn limit(&mut self, bytes_per_second: Option<u64>) {
        if self.limit != bytes_per_second {
            (self.limit, self.free_at) = (bytes_per_second, Uptime(0));
        }
    }

    /// Most bytes of records in the next batch.
    pub fn batch_bytes(&self) -> usize {
        let limit = self.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(MOST);
        // At most about a second of what is allowed; records compress, so it is less.
        self.batch.min(limit.max(LEAST))
    }

    /// From when on the limit allows more.
    pub fn free_at(&self) -> Uptime {
        self.free_at
    }

    /// How long an answer to a body of this size is waited for.
    pub fn patience(base: Duration, body: usize) -> Duration {
        base.saturating_add(Duration::from_secs(body as u64 / SLOWEST))
    }

    /// A body was sent, whatever became of it; it counts against the limit.
    pub fn spent(&mut self, body: usize, now: Uptime) {
        let Some(limit) = self.limit.filter(|limit| *limit > 0) else { return };
        let micros = (body as u64 + BESIDE).saturating_mul(1_000_000) / limit;
        let owed = Uptime(self.free_at.0.max(now.0)).plus(Duration::from_micros(micros));
        self.free_at = Uptime(owed.0.min(now.plus(DEBT).0));
    }

    /// A batch was answered after this time.
    pub fn carried(&mut self, took: Duration) {
        if took <= TARGET / 2 {
            self.batch = (self.batch * 2).min(MOST);
        } else if took > TARGET * 2 {
            self.shrink();
        }
    }

    /// A batch was not answered.
    pub fn shrink(&mut self) {
        self.batch = (self.batch / 2).max(LEAST);
    }
}
