//! Room for requests in memory, counted in bytes: a queue of records of up to 256 KiB needs more than a count.

use std::sync::{Condvar, Mutex, PoisonError};

/// Bytes of requests that may wait for the writer: seconds of the busiest site. Full: `append` answers busy, `record`
/// waits.
pub const ROOM: usize = 32 * 1024 * 1024;

/// Bytes in use.
#[derive(Debug, Default)]
pub struct Room {
    used: Mutex<usize>,
    freed: Condvar,
}

impl Room {
    /// Takes room if there is some. One request always fits an empty room.
    pub fn try_take(&self, bytes: usize) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = *used + bytes <= ROOM;
        *used += if fits { bytes } else { 0 };
        fits
    }

    /// Takes room, waiting for it.
    pub fn take(&self, bytes: usize) {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let mut used = self.freed.wait_while(used, |used| *used + bytes > ROOM).unwrap_or_else(PoisonError::into_inner);
        *used += bytes;
    }

    /// Gives room back.
    pub fn give(&self, bytes: usize) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) -= bytes;
        self.freed.notify_all();
    }
}
