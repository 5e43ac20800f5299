//! How much a camera may send: bytes over time, pure.

use std::time::Duration;

use shared::units::Uptime;

/// So many bytes a second, and so many beyond that at once.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    per_second: u64,
    burst: u64,
    begun: Uptime,
    carried: u64,
}

impl Rate {
    /// Nothing was carried yet.
    pub const fn new(per_second: u64, burst: u64, now: Uptime) -> Self {
        Self { per_second, burst, begun: now, carried: 0 }
    }

    /// So many bytes more have come; how much too early they are.
    pub fn step(&mut self, bytes: usize, now: Uptime) -> Duration {
        let spent = now.since(self.begun);
        // Time that was not used is not saved.
        let could = u64::try_from(spent.as_millis()).unwrap_or(u64::MAX).saturating_mul(self.per_second) / 1000;
        self.carried = self.carried.max(could).saturating_add(bytes as u64);
        let beyond = self.carried.saturating_sub(self.burst);
        Duration::from_millis(beyond.saturating_mul(1000) / self.per_second.max(1)).saturating_sub(spent)
    }
}
