//! The one place that reads clocks. Drivers call it and pass the time on; pure code gets it as an argument.

use rustix::time::{ClockId, clock_gettime};
use shared::event::Occurred;
use shared::units::{ClockState, Uptime, UtcMicros};

/// Time since boot, suspended time included.
pub fn uptime() -> Uptime {
    let now = clock_gettime(ClockId::Boottime);
    let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
    Uptime(u64::try_from(micros).unwrap_or(0))
}

/// Time that this thread has had a core. What a piece of work costs, whatever else the machine does.
pub fn thread_time() -> std::time::Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    std::time::Duration::from_secs(part(now.tv_sec)).saturating_add(std::time::Duration::from_nanos(part(now.tv_nsec)))
}

/// Wall-clock time, however wrong.
pub fn utc() -> UtcMicros {
    let now = clock_gettime(ClockId::Realtime);
    UtcMicros(now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000))
}

/// The kernel's id of this boot; zeros where it does not tell.
pub fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    uuid::Uuid::try_parse(text.trim()).unwrap_or_default().into_bytes()
}

/// Stamps a fact seen now. Until a time source is watched, the wall clock is said to be unsynced.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    boot_id: [u8; 16],
}

impl Stamp {
    /// Reads the boot id once.
    pub fn new() -> Self {
        Self { boot_id: boot_id() }
    }

    /// The boot's id.
    pub fn boot_id(self) -> [u8; 16] {
        self.boot_id
    }

    /// Now.
    pub fn now(self) -> Occurred {
        Occurred { at: utc(), clock: ClockState::Unsynced, boot_id: self.boot_id, uptime: uptime() }
    }
}

impl Default for Stamp {
    fn default() -> Self {
        Self::new()
    }
}
