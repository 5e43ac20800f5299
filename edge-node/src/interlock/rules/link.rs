//! A vehicle that is not heard is told to hold, on every link. At 1 Hz one lost heartbeat must not trip.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

use super::Hazard;
use crate::interlock::words::Demand;
use crate::vehicle::state::VehicleState;

/// Longest time without any valid packet.
const PACKET: Duration = Duration::from_millis(1500);
/// Longest time without a heartbeat.
pub const HEARTBEAT: Duration = Duration::from_millis(3500);
/// Heartbeats in a row that clear it.
const IN_A_ROW: u8 = 10;
/// Two heartbeats further apart than this are not in a row.
const APART: Duration = Duration::from_millis(1500);

/// Heartbeats that came without a break.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Beats {
    last: Option<Uptime>,
    count: u8,
}

impl Beats {
    /// A heartbeat came.
    pub fn came(&mut self, now: Uptime) {
        let in_row = self.last.is_some_and(|last| now.since(last) <= APART);
        self.count = if in_row { self.count.saturating_add(1) } else { 1 };
        self.last = Some(now);
    }

    fn enough(&self, now: Uptime) -> bool {
        self.count >= IN_A_ROW && self.last.is_some_and(|last| now.since(last) <= APART)
    }
}

/// What is wrong with the link. `tripped` is what was wrong before.
pub fn hazard(state: &VehicleState, beats: &Beats, tripped: Hazard, now: Uptime) -> Hazard {
    let older = |at: Option<Uptime>, than: Duration| at.is_none_or(|at| now.since(at) >= than);
    let reason = match state.packet_at {
        None => Some("never heard"),
        Some(_) if older(state.packet_at, PACKET) => Some("no packet for 1.5 s"),
        Some(_) if older(state.heartbeat_at, HEARTBEAT) => Some("no heartbeat for 3.5 s"),
        Some(_) => None,
    };
    match reason {
        Some(reason) => Some((Demand::Hold, reason)),
        None => tripped.filter(|_| !beats.enough(now)),
    }
}
