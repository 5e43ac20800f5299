//! An event as journaled: the exact bytes that are hashed, stored and sent.
//!
//! Limits: [`RECORD_MAX`] bytes. Layout: postcard of [`Envelope`] followed by postcard of the payload, so that a reader
//! who does not know the payload's type still reads the envelope. The bytes are made once, at append, and travel
//! verbatim; `digest = BLAKE3(type_id LE ‖ schema_version LE ‖ bytes)` and
//! `chain_n = BLAKE3(chain_{n-1} ‖ digest_n)`.

use serde::{Deserialize, Serialize};

use crate::event::{Event, Occurred, Payload};
use crate::ids::{Digest, Epoch, EventId, Seq, TraceId};

/// Largest record, envelope and payload together, in bytes.
pub const RECORD_MAX: usize = 256 * 1024;

/// Why an event could not become a record, or a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not stored; the sender must make it smaller.
    #[error("event is {size} bytes, the limit is {RECORD_MAX}")]
    TooLarge {
        /// Size in bytes.
        size: usize,
    },
    /// The bytes are not a record; the rest of a batch is unaffected.
    #[error("record of type {type_id}: {part} cannot be decoded: {source}")]
    Malformed {
        /// Event type number it claims.
        type_id: u16,
        /// `envelope` or `payload`.
        part: &'static str,
        /// What postcard says.
        source: postcard::Error,
    },
}

/// The part of a record that every reader knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Names the event everywhere.
    pub event_id: EventId,
    /// What it is about.
    pub aggregate_id: String,
    /// When it was seen.
    pub occurred: Occurred,
    /// Trace.
    pub trace_id: Option<TraceId>,
    /// Cause.
    pub cause_id: Option<EventId>,
}

/// A journaled event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Event type number.
    pub type_id: u16,
    /// Version of the payload's layout.
    pub schema_version: u16,
    /// Envelope and payload.
    pub bytes: Vec<u8>,
}

/// A record read back: the payload is absent when its type or version is newer than this build.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// Envelope.
    pub envelope: Envelope,
    /// Payload, if this build knows its type.
    pub payload: Option<Payload>,
}

impl Record {
    /// Makes the bytes of an event.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`] above [`RECORD_MAX`].
    pub fn encode(event: Event) -> Result<Self, RecordError> {
        let (type_id, schema_version) = (event.payload.type_id(), event.payload.schema_version());
        let part = |part| move |source| RecordError::Malformed { type_id, part, source };
        let payload = event.payload.to_bytes().map_err(part("payload"))?;
        let Event { event_id, aggregate_id, occurred, trace_id, cause_id, .. } = event;
        let envelope = Envelope { event_id, aggregate_id, occurred, trace_id, cause_id };
        let mut bytes = postcard::to_stdvec(&envelope).map_err(part("envelope"))?;
        bytes.extend_from_slice(&payload);
        if bytes.len() > RECORD_MAX {
            return Err(RecordError::TooLarge { size: bytes.len() });
        }
        Ok(Self { type_id, schema_version, bytes })
    }

    /// Reads envelope and, if known, payload.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] with the part that failed.
    pub fn decode(&self) -> Result<Decoded, RecordError> {
        let part = |part| move |source| RecordError::Malformed { type_id: self.type_id, part, source };
        let (envelope, rest) = postcard::take_from_bytes(&self.bytes).map_err(part("envelope"))?;
        let payload = Payload::from_bytes(self.type_id, self.schema_version, rest).map_err(part("payload"))?;
        Ok(Decoded { envelope, payload })
    }

    /// The event's id: the first field of the envelope. `None` where the bytes are not a record.
    pub fn event_id(&self) -> Option<EventId> {
        postcard::take_from_bytes(&self.bytes).ok().map(|(id, _)| id)
    }

    /// Digest of the record, the leaf of its lane's chain.
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.type_id.to_le_bytes());
        hasher.update(&self.schema_version.to_le_bytes());
        hasher.update(&self.bytes);
        Digest(*hasher.finalize().as_bytes())
    }
}

/// The first item of a lane in an epoch: which head it continues. All zero where the lane is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The epoch before.
    pub parent_epoch: Epoch,
    /// Its last sequence number.
    pub parent_seq: Seq,
    /// Its chain there.
    pub parent_chain: Digest,
}

impl Opened {
    /// The opening of a lane that never had an item.
    pub const FIRST: Self = Self { parent_epoch: Epoch([0; 16]), parent_seq: Seq(0), parent_chain: Digest([0; 32]) };

    /// Digest of the opening, the first leaf of its epoch's chain.
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"opened");
        hasher.update(&self.parent_epoch.0);
        hasher.update(&self.parent_seq.0.to_le_bytes());
        hasher.update(&self.parent_chain.0);
        Digest(*hasher.finalize().as_bytes())
    }
}

impl Digest {
    /// The chain after an item whose digest is `leaf`.
    #[must_use]
    pub fn chained(self, leaf: Self) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        hasher.update(&leaf.0);
        Self(*hasher.finalize().as_bytes())
    }
}
