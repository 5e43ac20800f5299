//! Which acks answer the order in force: by command number, since an ack of another command is never one of this.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

use crate::vehicle::command::{ARM_DISARM, DO_ORBIT, DO_REPOSITION, DO_SET_MODE};
use crate::vehicle::message::{DO_CHANGE_SPEED, DO_LAND_START, NAV_TAKEOFF};

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

/// Commands that carry orders which move a vehicle, or stop it.
const COMMANDS: [u16; 7] =
    [DO_SET_MODE, ARM_DISARM, DO_LAND_START, DO_REPOSITION, NAV_TAKEOFF, DO_ORBIT, DO_CHANGE_SPEED];

/// The acks of each of them.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct AckBook([Acks; COMMANDS.len()]);

impl AckBook {
    /// The acks of a command; `None`: it carries no such order.
    pub fn of(&mut self, command: u16) -> Option<&mut Acks> {
        self.0.get_mut(COMMANDS.iter().position(|known| *known == command)?)
    }
}
