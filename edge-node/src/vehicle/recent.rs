//! Single packets of a vehicle: which came just before, and what it says in words. Pure.

use std::time::Duration;

use shared::units::Uptime;

use super::codec::{Fields, Packet};
use super::message::TEXT;

/// A packet that comes again within this time is the same one.
const AGAIN: Duration = Duration::from_secs(1);
/// Packets that are remembered for it.
const KEPT: usize = 8;

/// The last packets of a kind that must not be counted twice: the network repeats datagrams, and an ack that came twice
/// would answer the next order.
#[derive(Debug, Clone, Default)]
pub struct Recent {
    kept: [Option<(u8, u16, Uptime)>; KEPT],
    next: usize,
}

impl Recent {
    /// Whether a packet came just before; remembers it.
    pub fn has(&mut self, packet: &Packet, now: Uptime) -> bool {
        // Its last bytes: checksum or signature.
        let sum = packet.raw.iter().rev().take(2).fold(0, |sum, byte| sum << 8 | u16::from(*byte));
        let same = |known: &Option<(u8, u16, Uptime)>| {
            known.is_some_and(|(sequence, its, at)| sequence == packet.sequence && its == sum && now.since(at) < AGAIN)
        };
        if self.kept.iter().any(same) {
            return true;
        }
        if let Some(place) = self.kept.get_mut(self.next) {
            *place = Some((packet.sequence, sum, now));
        }
        self.next = (self.next + 1) % KEPT;
        false
    }
}

/// Severity and text of a STATUSTEXT.
pub fn said(packet: &Packet) -> (u8, String) {
    let text = packet.payload.get(1..).unwrap_or_default();
    let text = text.iter().take(TEXT).take_while(|byte| **byte != 0);
    let text = text.map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { ' ' }).collect();
    (Fields(&packet.payload).u8(0), text)
}
