//! Which acks answer the order in force.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

/// An ack that has not come after this time will not come.
const ACK_LIFE: Duration = Duration::from_secs(3);
/// Orders of that time at 5 Hz.
const ACKS_MAX: u32 = 15;

/// Which acks answer the order in force: each order sent brings one, in order, and those of orders before it say
/// nothing about this one. A lost ack only makes a refusal go unheard; the timers then decide.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Acks {
    awaited: u32,
    of_older: u32,
    sent: Uptime,
}

impl Acks {
    /// An order was sent; `new`: it is another one than before.
    pub fn sent(&mut self, new: bool, now: Uptime) {
        if now.since(self.sent) > ACK_LIFE {
            self.awaited = 0;
        }
        self.sent = now;
        if new {
            self.of_older = self.awaited;
        }
        self.awaited = (self.awaited + 1).min(ACKS_MAX);
    }

    /// Whether this ack answers the order in force.
    pub fn came(&mut self) -> bool {
        let older = self.of_older > 0;
        self.awaited = self.awaited.saturating_sub(1);
        self.of_older = self.of_older.saturating_sub(1);
        !older
    }
}
