//! MAVLink packets in bytes and back (<https://mavlink.io/en/guide/serialization.html>).
//!
//! A stream is resynchronised at the next start byte whose packet has a valid checksum; what lies between is counted.

use mavlink::dialects::ardupilotmega::MavMessage;
use mavlink::{Message, calculate_crc};

use super::signing::Signer;

const STX_V1: u8 = 0xFE;
const STX_V2: u8 = 0xFD;
/// Incompatibility flag: a signature of 13 bytes follows.
const SIGNED: u8 = 0x01;
/// Bytes of a signature: link id, time, the hash's beginning.
pub const SIGNATURE_LEN: usize = 13;
/// Bytes of the longest packet: header, payload, checksum, signature.
pub const PACKET_MAX: usize = 10 + 255 + 2 + SIGNATURE_LEN;

/// A packet with a valid checksum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packet {
    /// Sender's system id.
    pub sysid: u8,
    /// Sender's component id.
    pub compid: u8,
    /// Message id.
    pub id: u32,
    /// Sender's running number.
    pub sequence: u8,
    /// Payload, trailing zeros cut off as on the wire.
    pub payload: Vec<u8>,
    /// The whole packet as it came.
    pub raw: Vec<u8>,
}

impl Packet {
    /// Whether it carries a signature, true or not.
    pub fn is_signed(&self) -> bool {
        matches!(*self.raw, [STX_V2, _, flags, ..] if flags & SIGNED != 0)
    }
}

/// What a datagram, or a piece of a stream, held.
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
    read(bytes, true, &mut parsed);
    parsed
}

/// Puts packets together from a stream that cuts them anywhere. Keeps less than one packet.
#[derive(Debug, Default)]
pub struct Deframer {
    kept: Vec<u8>,
}

impl Deframer {
    /// Takes the stream's next bytes; gives the packets that they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Parsed {
        self.kept.extend_from_slice(bytes);
        let mut parsed = Parsed::default();
        let read = read(&self.kept, false, &mut parsed);
        self.kept.drain(..read);
        parsed
    }
}

/// Reads packets until the bytes end, or end within one; gives how many bytes were read. `whole`: nothing follows, so what
/// is cut off is none.
fn read(bytes: &[u8], whole: bool, parsed: &mut Parsed) -> usize {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match packet(rest) {
            Found::Packet(packet) => {
                at += packet.raw.len();
                parsed.packets.push(packet);
            }
            Found::Cut if !whole => break,
            Found::Cut | Found::Garbage => {
                parsed.first_garbage.get_or_insert(at);
                parsed.garbage += 1;
                at += 1;
            }
        }
    }
    at
}

enum Found {
    Packet(Packet),
    /// What there is could be the beginning of one.
    Cut,
    Garbage,
}

fn packet(bytes: &[u8]) -> Found {
    let (header_len, trailer) = match *bytes {
        [STX_V1, ..] => (6, 0),
        [STX_V2, _, flags, ..] if flags & !SIGNED == 0 => (10, if flags == SIGNED { SIGNATURE_LEN } else { 0 }),
        [STX_V2] | [STX_V2, _] => return Found::Cut,
        _ => return Found::Garbage,
    };
    let Some(header) = bytes.get(..header_len) else { return Found::Cut };
    let (payload_len, sequence, sysid, compid, id) = match *header {
        [STX_V2, len, _, _, sequence, sysid, compid, a, b, c] => {
            (len, sequence, sysid, compid, u32::from_le_bytes([a, b, c, 0]))
        }
        [_, len, sequence, sysid, compid, id] => (len, sequence, sysid, compid, u32::from(id)),
        _ => return Found::Garbage,
    };
    let crc_at = header_len + usize::from(payload_len);
    let Some(raw) = bytes.get(..crc_at + 2 + trailer) else { return Found::Cut };
    let (Some(covered), Some(&[low, high])) = (raw.get(1..crc_at), raw.get(crc_at..crc_at + 2)) else {
        return Found::Garbage;
    };
    if calculate_crc(covered, MavMessage::extra_crc(id)) != u16::from_le_bytes([low, high]) {
        return Found::Garbage;
    }
    let payload = raw.get(header_len..crc_at).unwrap_or_default().to_vec();
    Found::Packet(Packet { sysid, compid, id, sequence, payload, raw: raw.to_vec() })
}

/// Writes packets with our ids and a running sequence number, signed where there is a key.
#[derive(Debug, Clone)]
pub struct Writer {
    sysid: u8,
    compid: u8,
    sequence: u8,
    signer: Option<Signer>,
}

impl Writer {
    /// A writer of one sender.
    pub const fn new(sysid: u8, compid: u8, signer: Option<Signer>) -> Self {
        Self { sysid, compid, sequence: 0, signer }
    }

    /// A MAVLink 2 packet of `payload`, appended to an emptied `out`.
    pub fn write(&mut self, id: u32, payload: &[u8], out: &mut Vec<u8>) {
        self.write_as((self.sysid, self.compid), id, payload, out);
    }

    /// The same in the name of another system and component: an answer for a vehicle.
    pub fn write_as(&mut self, from: (u8, u8), id: u32, payload: &[u8], out: &mut Vec<u8>) {
        // Trailing zeros are not sent, but one byte always is.
        let len = payload.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1).min(payload.len());
        let payload = payload.get(..len).unwrap_or_default();
        let [a, b, c, _] = id.to_le_bytes();
        let short = u8::try_from(len).unwrap_or(u8::MAX);
        let flags = if self.signer.is_some() { SIGNED } else { 0 };
        out.clear();
        out.extend_from_slice(&[STX_V2, short, flags, 0, self.sequence, from.0, from.1, a, b, c]);
        out.extend_from_slice(payload);
        let crc = calculate_crc(out.get(1..).unwrap_or_default(), MavMessage::extra_crc(id));
        out.extend_from_slice(&crc.to_le_bytes());
        if let Some(signer) = &mut self.signer {
            signer.sign(out);
        }
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
    /// A float.
    pub fn f32(self, at: usize) -> f32 {
        f32::from_le_bytes(self.bytes(at))
    }
}
