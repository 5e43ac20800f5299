//! MAVLink packets in bytes and back (<https://mavlink.io/en/guide/serialization.html>).
//!
//! A stream is resynchronised at the next start byte whose packet has a valid checksum; what lies between is counted.

use mavlink::dialects::ardupilotmega::MavMessage;
use mavlink::{Message, calculate_crc};

const STX_V1: u8 = 0xFE;
const STX_V2: u8 = 0xFD;
/// Incompatibility flag: a signature of 13 bytes follows.
const SIGNED: u8 = 0x01;
const SIGNATURE_LEN: usize = 13;

/// A packet with a valid checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Sender's system id.
    pub sysid: u8,
    /// Sender's component id.
    pub compid: u8,
    /// Message id.
    pub id: u32,
    /// Payload, trailing zeros cut off as on the wire.
    pub payload: Vec<u8>,
}

/// What a datagram held.
#[derive(Debug, Default)]
pub struct Parsed {
    /// Valid packets.
    pub packets: Vec<Packet>,
    /// Bytes that belong to none.
    pub garbage: usize,
    /// Offset of the first of them.
    pub first_garbage: Option<usize>,
}

/// Reads every packet of a datagram.
pub fn parse(bytes: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match packet(rest) {
            Some((packet, len)) => {
                parsed.packets.push(packet);
                at += len;
            }
            None => {
                parsed.first_garbage.get_or_insert(at);
                parsed.garbage += 1;
                at += 1;
            }
        }
    }
    parsed
}

fn packet(bytes: &[u8]) -> Option<(Packet, usize)> {
    let (header_len, trailer) = match *bytes.first()? {
        STX_V1 => (6, 0),
        STX_V2 => (10, if bytes.get(2)? & SIGNED != 0 { SIGNATURE_LEN } else { 0 }),
        _ => return None,
    };
    let header = bytes.get(..header_len)?;
    let payload_len = usize::from(*header.get(1)?);
    let crc_at = header_len + payload_len;
    let (sysid, compid, id) = match header {
        [STX_V2, _, incompat, _, _, sysid, compid, a, b, c] if incompat & !SIGNED == 0 => {
            (*sysid, *compid, u32::from_le_bytes([*a, *b, *c, 0]))
        }
        [STX_V1, _, _, sysid, compid, id] => (*sysid, *compid, u32::from(*id)),
        _ => return None,
    };
    let crc: [u8; 2] = bytes.get(crc_at..crc_at + 2)?.try_into().ok()?;
    let covered = bytes.get(1..crc_at)?;
    if calculate_crc(covered, MavMessage::extra_crc(id)) != u16::from_le_bytes(crc) {
        return None;
    }
    let len = crc_at + 2 + trailer;
    bytes.get(..len)?;
    let payload = bytes.get(header_len..crc_at)?.to_vec();
    Some((Packet { sysid, compid, id, payload }, len))
}

/// Writes packets with our ids and a running sequence number.
#[derive(Debug, Clone)]
pub struct Writer {
    sysid: u8,
    compid: u8,
    sequence: u8,
}

impl Writer {
    /// A writer of one sender.
    pub const fn new(sysid: u8, compid: u8) -> Self {
        Self { sysid, compid, sequence: 0 }
    }

    /// A MAVLink 2 packet of `payload`, appended to an emptied `out`.
    pub fn write(&mut self, id: u32, payload: &[u8], out: &mut Vec<u8>) {
        // Trailing zeros are not sent, but one byte always is.
        let len = payload.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1).min(payload.len());
        let payload = payload.get(..len).unwrap_or_default();
        let [a, b, c, _] = id.to_le_bytes();
        let short = u8::try_from(len).unwrap_or(u8::MAX);
        out.clear();
        out.extend_from_slice(&[STX_V2, short, 0, 0, self.sequence, self.sysid, self.compid, a, b, c]);
        out.extend_from_slice(payload);
        let crc = calculate_crc(out.get(1..).unwrap_or_default(), MavMessage::extra_crc(id));
        out.extend_from_slice(&crc.to_le_bytes());
        self.sequence = self.sequence.wrapping_add(1);
    }
}

/// Fields of a payload by offset; bytes cut off as trailing zeros read as zero.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(pub &'a [u8]);

impl Fields<'_> {
    fn bytes<const N: usize>(self, at: usize) -> [u8; N] {
        std::array::from_fn(|n| self.0.get(at + n).copied().unwrap_or(0))
    }
    /// Unsigned byte.
    pub fn u8(self, at: usize) -> u8 {
        u8::from_le_bytes(self.bytes(at))
    }
    /// Signed byte.
    pub fn i8(self, at: usize) -> i8 {
        i8::from_le_bytes(self.bytes(at))
    }
    /// Unsigned 16 bits.
    pub fn u16(self, at: usize) -> u16 {
        u16::from_le_bytes(self.bytes(at))
    }
    /// Signed 16 bits.
    pub fn i16(self, at: usize) -> i16 {
        i16::from_le_bytes(self.bytes(at))
    }
    /// Unsigned 32 bits.
    pub fn u32(self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }
    /// Signed 32 bits.
    pub fn i32(self, at: usize) -> i32 {
        i32::from_le_bytes(self.bytes(at))
    }
}
