//! Node to relay: the batch, its limits, and the relay's answers.
//!
//! Limits: [`BODY_MAX`] bytes compressed, [`INFLATED_MAX`] inflated (checked while inflating, before postcard sees a
//! byte), [`ITEMS_MAX`] items. Layout: a zstd frame over postcard of [`Batch`]. `dict_id` is in the HTTP header
//! [`DICTIONARY_HEADER`] too, since it is needed before inflating; 0 means none. A batch covers one epoch of one lane.
//! Answers are JSON: [`Ack`] with 200, [`Mismatch`] with 409.

use std::io::Read;

use serde::{Deserialize, Serialize};

use crate::dictionary;
use crate::ids::{Digest, Epoch, Lane, Name, Seq};
use crate::record::{Opened, RECORD_MAX, Record};
use crate::units::Uptime;

/// HTTP header with the number of the dictionary; absent means 0.
pub const DICTIONARY_HEADER: &str = "picket-dictionary";
/// Version of this protocol.
pub const PROTOCOL: u16 = 1;
/// Largest compressed body.
pub const BODY_MAX: usize = 1024 * 1024;
/// Largest inflated body.
pub const INFLATED_MAX: usize = 8 * 1024 * 1024;
/// Most items in one batch.
pub const ITEMS_MAX: usize = 10_000;
/// zstd level: telemetry batches are small, and the node has two slow cores.
const ZSTD_LEVEL: i32 = 3;
/// Largest zstd window: that of [`INFLATED_MAX`], so that a header cannot ask for more memory.
const WINDOW_LOG_MAX: u32 = 23;

/// Why a body was refused. Nothing of it was consumed; sending the same bytes again gives the same answer.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Compressed body too large.
    #[error("body is {0} bytes, the limit is {BODY_MAX}")]
    BodyTooLarge(usize),
    /// Inflates past the limit.
    #[error("body inflates to more than {INFLATED_MAX} bytes")]
    InflatedTooLarge,
    /// Not a zstd frame, or cut short.
    #[error("body is not a whole zstd frame: {0}")]
    Inflate(std::io::Error),
    /// Not a batch.
    #[error("body of {len} inflated bytes is not a batch: {source}")]
    Malformed {
        /// Inflated length.
        len: usize,
        /// What postcard says.
        source: postcard::Error,
    },
    /// Made with a dictionary that this build does not have; the sender uses one that the cursor lists, or none.
    #[error("dictionary {0} is not known here")]
    UnknownDictionary(u32),
    /// Too many items.
    #[error("batch has {0} items, the limit is {ITEMS_MAX}")]
    TooManyItems(usize),
    /// A rule of the format is broken.
    #[error("batch breaks the format: {0}")]
    Invalid(&'static str),
}

/// One thing in a lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Item {
    /// An event.
    Record(Record),
    /// A named gap: `first..=last` were acknowledged at the node and are gone, for `reason`.
    Skip {
        /// First missing sequence number.
        first: Seq,
        /// Last missing sequence number.
        last: Seq,
        /// Why.
        reason: String,
        /// Chain after `last`, so that the rest can still be proved.
        chain_after: Digest,
    },
    /// The lane's first item in this epoch.
    Opened(Opened),
}

/// A run of items of one lane and epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// [`PROTOCOL`].
    pub protocol: u16,
    /// zstd dictionary, 0 for none.
    pub dict_id: u32,
    /// Sender.
    pub node: Name,
    /// The sender's boot.
    pub boot_id: [u8; 16],
    /// Epoch of all items.
    pub epoch: Epoch,
    /// Lane of all items.
    pub lane: Lane,
    /// Sequence number of the first item.
    pub first_seq: Seq,
    /// Chain before the first item.
    pub prev_chain: Digest,
    /// Sender's uptime at sending.
    pub sent_uptime: Uptime,
    /// Last downlink message the node has kept.
    pub downlink_acked: u64,
    /// The items, dense from `first_seq`.
    #[serde(deserialize_with = "bounded_items")]
    pub items: Vec<Item>,
    /// Signature of the lane's head, empty until enrolment gives the node a key.
    pub head_sig: Vec<u8>,
}

impl Item {
    /// Place of the item and chain after it, given the place it begins at and the chain before it.
    pub fn advance(&self, at: Seq, chain: Digest) -> (Seq, Digest) {
        match self {
            Self::Record(record) => (at, chain.chained(record.digest())),
            Self::Opened(opened) => (at, chain.chained(opened.digest())),
            Self::Skip { last, chain_after, .. } => (*last, *chain_after),
        }
    }
}

impl Batch {
    /// The body to send.
    ///
    /// # Errors
    /// [`WireError`] when a limit is broken: the caller must send fewer items.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        if self.items.len() > ITEMS_MAX {
            return Err(WireError::TooManyItems(self.items.len()));
        }
        let plain = postcard::to_stdvec(self).map_err(|source| WireError::Malformed { len: 0, source })?;
        if plain.len() > INFLATED_MAX {
            return Err(WireError::InflatedTooLarge);
        }
        let dictionary = dictionary::bytes(self.dict_id).ok_or(WireError::UnknownDictionary(self.dict_id))?;
        let compressor = zstd::bulk::Compressor::with_dictionary(ZSTD_LEVEL, dictionary);
        // With its checksum: a bit that flips on the way must not be stored as if it had been said.
        let checked = compressor.and_then(|mut zstd| {
            zstd.include_checksum(true)?;
            zstd.compress(&plain)
        });
        let body = checked.map_err(WireError::Inflate)?;
        if body.len() > BODY_MAX { Err(WireError::BodyTooLarge(body.len())) } else { Ok(body) }
    }

    /// Reads a body from an untrusted sender, made with the dictionary of that number.
    ///
    /// # Errors
    /// [`WireError`], each with the limit or the part that is wrong.
    pub fn decode(body: &[u8], dict_id: u32) -> Result<Self, WireError> {
        if body.len() > BODY_MAX {
            return Err(WireError::BodyTooLarge(body.len()));
        }
        let dictionary = dictionary::bytes(dict_id).ok_or(WireError::UnknownDictionary(dict_id))?;
        let limit = INFLATED_MAX as u64 + 1;
        let mut plain = Vec::new();
        let mut inflater =
            zstd::stream::read::Decoder::with_dictionary(body, dictionary).map_err(WireError::Inflate)?;
        inflater.window_log_max(WINDOW_LOG_MAX).map_err(WireError::Inflate)?;
        inflater.take(limit).read_to_end(&mut plain).map_err(WireError::Inflate)?;
        if plain.len() > INFLATED_MAX {
            return Err(WireError::InflatedTooLarge);
        }
        let len = plain.len();
        let batch: Self = postcard::from_bytes(&plain).map_err(|source| WireError::Malformed { len, source })?;
        if batch.dict_id != dict_id {
            return Err(WireError::Invalid("dict_id differs from the header's"));
        }
        batch.check()?;
        Ok(batch)
    }

    fn check(&self) -> Result<(), WireError> {
        if self.items.len() > ITEMS_MAX {
            return Err(WireError::TooManyItems(self.items.len()));
        }
        if self.protocol != PROTOCOL {
            return Err(WireError::Invalid("its protocol is not known here"));
        }
        if self.first_seq.0 == 0 {
            return Err(WireError::Invalid("first_seq is 0, sequence numbers begin at 1"));
        }
        let mut at = self.first_seq;
        for item in &self.items {
            match item {
                Item::Opened(_) if at != Seq(1) => return Err(WireError::Invalid("Opened is not the first item")),
                Item::Record(_) if at == Seq(1) => return Err(WireError::Invalid("item 1 is not Opened")),
                Item::Skip { first, last, .. } if *first != at || last < first => {
                    return Err(WireError::Invalid("Skip does not begin at its place or ends before it begins"));
                }
                Item::Record(record) if record.bytes.len() > RECORD_MAX => {
                    return Err(WireError::Invalid("a record is larger than 256 KiB"));
                }
                Item::Skip { .. } | Item::Record(_) | Item::Opened(_) => {}
            }
            at = item.advance(at, self.prev_chain).0.next();
        }
        Ok(())
    }
}

/// 200: everything up to `acked_seq` is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Lane.
    pub lane: Lane,
    /// Epoch, hexadecimal.
    pub epoch: String,
    /// Last stored sequence number.
    pub acked_seq: Seq,
    /// Chain there, hexadecimal.
    pub chain: String,
}

/// Why a batch does not continue what the relay has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// Items between the relay's head and `first_seq` are missing.
    Gap,
    /// Same place, other content: two nodes write under one name.
    Fork,
    /// The relay does not know the epoch's parent: it was restored, and the node must rewind.
    Behind,
}

/// 409: the relay's head of that lane, and why the batch does not fit it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mismatch {
    /// Epoch of the relay's head, hexadecimal.
    pub epoch: String,
    /// Its sequence number.
    pub seq: Seq,
    /// Its chain, hexadecimal.
    pub chain: String,
    /// Why.
    pub why: Why,
}

/// Reads at most [`ITEMS_MAX`] items: two million empty ones fit a kilobyte of zstd.
fn bounded_items<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<Item>, D::Error> {
    struct Bounded;
    impl<'de> serde::de::Visitor<'de> for Bounded {
        type Value = Vec<Item>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "at most {ITEMS_MAX} items")
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<Item>, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = sequence.next_element()? {
                if items.len() >= ITEMS_MAX {
                    return Err(serde::de::Error::invalid_length(items.len() + 1, &self));
                }
                items.push(item);
            }
            Ok(items)
        }
    }
    from.deserialize_seq(Bounded)
}
