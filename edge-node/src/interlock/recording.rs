//! What the machine took, in files: so that `interlock replay` can have it decide again. Format: blocks of a length, the first
//! eight bytes of BLAKE3 and a zstd frame; the first block is a [`Head`], the others are [`Step`]s, all postcard. A file that
//! was cut off ends with its last whole block.

use std::hash::{Hash, Hasher};
use std::io::{ErrorKind, Read, Write};

use serde::{Deserialize, Serialize};
use shared::event::Occurred;
use shared::ids::TraceId;
use shared::units::Uptime;

use super::words::{Effect, Input};

/// Version of the format.
pub const VERSION: u16 = 5;
/// Largest block, and what it may become when it is inflated.
const BLOCK_MAX: usize = 4 << 20;
const INFLATED_MAX: usize = 16 << 20;
/// zstd level: the node has two slow cores.
const LEVEL: i32 = 1;
const SUM: usize = 8;

/// How a file begins: the machine before its first step, and the configuration that it had.
#[derive(Debug, Serialize, Deserialize)]
pub struct Head {
    /// Version of the format.
    pub version: u16,
    /// The run of the node.
    pub run: u64,
    /// Number of the first step.
    pub first: u64,
    /// When the machine was as it is here.
    pub at: Uptime,
    /// The same by the clocks of the node.
    pub occurred: Occurred,
    /// Text of the configuration.
    pub config: String,
    /// The machine, by [`postcard`]: of another release it may not be readable.
    pub machine: Vec<u8>,
}

/// One step of the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its number, from 1 at the node's start.
    pub number: u64,
    /// When.
    pub at: Uptime,
    /// What it took.
    pub input: Input,
    /// What followed, as [`outcome`] sums it; zero: nothing.
    pub outcome: u64,
}

/// The reference of a step, in its events.
pub fn trace(run: u64, number: u64) -> TraceId {
    let mut id = [0; 16];
    for (byte, value) in id.iter_mut().zip(run.to_be_bytes().into_iter().chain(number.to_be_bytes())) {
        *byte = value;
    }
    TraceId(id)
}

/// FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>): the same number for the same effects in every release of Rust.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// A sum of everything that followed a step; zero: nothing. Asks for no memory.
pub fn outcome(effects: &[Effect]) -> u64 {
    if effects.is_empty() {
        return 0;
    }
    let mut sum = Fnv(0xcbf2_9ce4_8422_2325);
    effects.hash(&mut sum);
    // Zero means nothing.
    sum.finish().max(1)
}

/// Writes one block.
///
/// # Errors
/// The disk's.
pub fn write_block(out: &mut impl Write, bytes: &[u8]) -> std::io::Result<u64> {
    let packed = zstd::bulk::compress(bytes, LEVEL)?;
    let len = u32::try_from(packed.len()).map_err(|_| std::io::Error::from(ErrorKind::FileTooLarge))?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(blake3::hash(&packed).as_bytes().get(..SUM).unwrap_or_default())?;
    out.write_all(&packed)?;
    Ok(packed.len() as u64 + 4 + SUM as u64)
}

/// Reads the next block; `None` at the end, also where the last one was cut off.
///
/// # Errors
/// A block that is not what was written.
pub fn read_block(from: &mut impl Read) -> std::io::Result<Option<Vec<u8>>> {
    let wrong = |what: &str| std::io::Error::new(ErrorKind::InvalidData, what.to_owned());
    let cut = |error: std::io::Error| if error.kind() == ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
    let (mut len, mut sum) = ([0; 4], [0; SUM]);
    if let Err(error) = from.read_exact(&mut len).and_then(|()| from.read_exact(&mut sum)) {
        return cut(error);
    }
    let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
    if len > BLOCK_MAX {
        return Err(wrong("a block is longer than any is written"));
    }
    let mut packed = vec![0; len];
    if let Err(error) = from.read_exact(&mut packed) {
        return cut(error);
    }
    if blake3::hash(&packed).as_bytes().get(..SUM) != Some(&sum[..]) {
        return Err(wrong("a block is not what was written"));
    }
    zstd::bulk::decompress(&packed, INFLATED_MAX).map(Some)
}
