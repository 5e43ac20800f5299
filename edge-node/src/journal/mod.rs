//! The durable event log of the node and its outbox lanes.
//!
//! Owns all SQLite writing, on one thread (`writer`), in two commit classes: `append` is durable when it returns,
//! `record` within [`writer::RECORD_DELAY`]. Knows no stage.
//!
//! `block` is what a commit adds to a lane, `segment` a file of blocks, `catalogue` what is known beside them, `store`
//! all files as the writer holds them; `damage` and `wal` open what is broken, `retention` gives up what is old, `thin`
//! some of it. `reader` reads, for uplink and people, and never blocks the writer; `inspect` tells people what state all of
//! it is in, `scrub` looks by itself. `errand` is what the writer does beside events: outbox cursors, the relay's letters
//! (`inbox`), signed heads (`signed`).

pub mod block;
pub mod row_sum;
pub mod segment;
pub mod witness;
pub mod limits;
pub mod catalogue;
pub mod inbox;
pub mod signed;
pub mod wal;
pub mod damage;
pub mod thin;
pub mod retention;
pub mod store;
pub mod epoch;
pub mod reader;
pub mod room;
pub mod recent;
pub mod errand;
pub mod writer;
pub mod upkeep;
pub mod query;
pub mod inspect;
pub mod scrub;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};

use shared::event::{Event, Payload};
use shared::ids::{EventId, Lane, TraceId};
use shared::record::{Record, RecordError};
use tokio::sync::oneshot;
use uuid::Uuid;

use self::room::Room;
use crate::clock::Stamp;

/// Requests waiting for the writer: about a second of the busiest site. Full: `append` answers busy, `record` waits.
pub const QUEUE: usize = 4096;
/// Room of its own for safety events, which the writer looks at first. Full: the interlock's clerk waits.
pub const SAFETY_QUEUE: usize = 1024;

/// Why an event was not kept.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Too large or not encodable: the same event will be refused again.
    #[error(transparent)]
    Refused(#[from] RecordError),
    /// The writer is behind: try again.
    #[error("journal is busy: {QUEUE} requests are waiting")]
    Busy,
    /// The disk failed: the outcome is unknown, and a retry must use the same event id.
    #[error("journal cannot commit: {0}")]
    Failed(String),
    /// The writer has ended.
    #[error("journal is closed")]
    Closed,
}

pub(crate) struct Request {
    pub lane: Lane,
    pub event_id: EventId,
    pub at: i64,
    pub record: Record,
    pub done: Option<oneshot::Sender<Result<(), JournalError>>>,
    pub then: Option<Then>,
}

/// Done on the writer's thread once an event is on disk: nothing that waits.
pub type Then = Box<dyn FnOnce() + Send>;

/// Handle of the journal: cheap to clone, one writer behind all clones.
#[derive(Clone)]
pub struct Journal {
    stamp: Stamp,
    queue: SyncSender<Request>,
    safety: SyncSender<Request>,
    counts: Arc<Counts>,
    room: Arc<Room>,
}

/// What the journal did, for metrics.
#[derive(Debug, Default)]
pub struct Counts {
    /// Events committed.
    pub committed: AtomicU64,
    /// Commits.
    pub commits: AtomicU64,
    /// Events offered while the queue was full.
    pub offered_lost: AtomicU64,
    /// Events lost with a failed commit, after their caller was told or could not be.
    pub failed: AtomicU64,
    /// Since when something waits for its commit, microseconds since boot; 0 while nothing does.
    pub stuck_since: AtomicU64,
    /// When a commit last failed, microseconds since boot; 0: never.
    pub failed_at: AtomicU64,
}

impl Journal {
    /// A new event about `aggregate`, stamped now.
    pub fn event(&self, aggregate: impl Into<String>, payload: Payload) -> Event {
        Event {
            event_id: EventId(Uuid::now_v7()),
            aggregate_id: aggregate.into(),
            occurred: self.stamp.now(),
            trace_id: None,
            cause_id: None,
            payload,
        }
    }

    /// A new trace id.
    pub fn trace(&self) -> TraceId {
        TraceId(Uuid::new_v4().into_bytes())
    }

    /// Keeps an event: it is on disk when this returns.
    ///
    /// # Errors
    /// [`JournalError`]; after `Failed` the outcome is unknown.
    pub async fn append(&self, event: Event) -> Result<EventId, JournalError> {
        let (done, answer) = oneshot::channel();
        let (event_id, request) = request(event, Some(done))?;
        self.try_queue(request)?;
        answer.await.map_err(|_| JournalError::Closed)??;
        Ok(event_id)
    }

    /// Keeps an event soon: on disk within [`writer::RECORD_DELAY`]. Waits while the queue is full.
    ///
    /// # Errors
    /// `Refused` or `Closed`.
    pub fn record(&self, event: Event) -> Result<EventId, JournalError> {
        self.put(event, None)
    }

    /// As [`Journal::record`]; `then` is done once the event is on disk.
    ///
    /// # Errors
    /// As [`Journal::record`].
    pub fn record_then(&self, event: Event, then: Then) -> Result<EventId, JournalError> {
        self.put(event, Some(then))
    }

    fn put(&self, event: Event, then: Option<Then>) -> Result<EventId, JournalError> {
        let (event_id, request) = request(event, None)?;
        let bytes = request.record.bytes.len();
        self.room.take(bytes);
        let sent = self.queue.send(Request { then, ..request });
        sent.map_err(|_| self.room.give(bytes)).map_err(|()| JournalError::Closed)?;
        Ok(event_id)
    }

    /// Keeps an event soon if there is room now; otherwise counts it as lost. For those who must not wait.
    pub fn offer(&self, event: Event) {
        let sent = request(event, None).is_ok_and(|(_, request)| self.try_queue(request).is_ok());
        if !sent {
            self.counts.offered_lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Keeps a safety event: the writer commits it at once, before others. Waits while its queue is full.
    pub fn note(&self, event: Event) {
        let sent = request(event, None).is_ok_and(|(_, request)| self.safety.send(request).is_ok());
        if !sent {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn try_queue(&self, request: Request) -> Result<(), JournalError> {
        let bytes = request.record.bytes.len();
        if !self.room.try_take(bytes) {
            return Err(JournalError::Busy);
        }
        self.queue.try_send(request).map_err(|error| {
            self.room.give(bytes);
            match error {
                TrySendError::Full(_) => JournalError::Busy,
                TrySendError::Disconnected(_) => JournalError::Closed,
            }
        })
    }

    /// What the journal did.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The stamp of this boot.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }
}

type Done = oneshot::Sender<Result<(), JournalError>>;

fn request(event: Event, done: Option<Done>) -> Result<(EventId, Request), JournalError> {
    let (event_id, lane, at) = (event.event_id, event.payload.lane(), event.occurred.at.0);
    let record = Record::encode(event)?;
    Ok((event_id, Request { lane, event_id, at, record, done, then: None }))
}
