//! The journal's thread: group commit in two classes, and the answer to those who wait.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use shared::ids::{Epoch, Lane};
use shared::units::Uptime;
use tracing::{error, info};
use uuid::Uuid;

use super::recent::Recent;
use super::store::{Entry, Store, StoreError};
use super::{Counts, Journal, JournalError, QUEUE, Request, SAFETY_QUEUE};
use crate::clock::{self, Stamp};

/// An event given to `record` is on disk within this time.
pub const RECORD_DELAY: Duration = Duration::from_millis(100);
/// Recorded bytes that are committed at once: what a commit can write without being felt.
const RECORD_BYTES: usize = 256 * 1024;
/// Most events in one commit, so that one commit stays short.
const GROUP_MAX: usize = 2048;
/// How often the safety queue is looked at while nothing else comes.
const TICK: Duration = Duration::from_millis(10);
/// Events kept in memory while the journal cannot commit: minutes of a quiet site, some 20 MB of a busy one.
const KEPT_MAX: usize = 20_000;
/// Wait before a failed journal is opened again.
const REOPEN: Duration = Duration::from_secs(1);

/// Moves the outbox cursor; held by the uplink alone.
#[derive(Clone)]
pub struct Acks {
    queue: SyncSender<(Lane, i64)>,
}

impl Acks {
    /// Everything up to `pos` of the lane is at the relay; a smaller `pos` rewinds. Waits while 64 are waiting.
    pub fn ack(&self, lane: Lane, pos: i64) {
        // A lost cursor only repeats a batch, which the relay recognises.
        let _ = self.queue.send((lane, pos));
    }
}

/// The running writer: ends when every handle is gone.
pub struct Writer {
    thread: JoinHandle<()>,
}

impl Writer {
    /// Waits until everything handed in is committed. Every [`Journal`] must be gone, or this waits for it.
    pub fn join(self) {
        let _ = self.thread.join();
    }

    /// The thread, for those who wait with a deadline.
    pub fn into_thread(self) -> JoinHandle<()> {
        self.thread
    }
}

struct State {
    folder: PathBuf,
    store: Option<Store>,
    reopen_at: Uptime,
    pending: Vec<Request>,
    oldest: Uptime,
    counts: Arc<Counts>,
    recent: Recent,
}

/// Opens the journal of a folder and starts its thread.
///
/// # Errors
/// [`StoreError`] when it cannot be opened.
pub fn start(folder: PathBuf, stamp: Stamp) -> Result<(Journal, Acks, Writer), StoreError> {
    let store = Store::open(&folder, new_epoch())?;
    let recent =
        Recent::read(&store).map_err(|source| StoreError::Sqlite { file: folder.display().to_string(), source })?;
    let (queue, requests) = sync_channel(QUEUE);
    let (safety, safety_requests) = sync_channel(SAFETY_QUEUE);
    let (ack_queue, acks) = sync_channel(64);
    let counts = Arc::new(Counts::default());
    let state = State {
        folder,
        store: Some(store),
        reopen_at: Uptime(0),
        pending: Vec::new(),
        oldest: Uptime(0),
        counts: counts.clone(),
        recent,
    };
    let thread = std::thread::Builder::new()
        .name("journal".into())
        .spawn(move || run(state, &requests, &safety_requests, &acks))
        .map_err(|e| StoreError::File { file: "thread journal".into(), reason: e.to_string() })?;
    Ok((Journal { stamp, queue, safety, counts }, Acks { queue: ack_queue }, Writer { thread }))
}

fn new_epoch() -> Epoch {
    Epoch(Uuid::new_v4().into_bytes())
}

fn run(mut state: State, queue: &Receiver<Request>, safety: &Receiver<Request>, acks: &Receiver<(Lane, i64)>) {
    loop {
        let first = queue.recv_timeout(TICK);
        let closed = matches!(first, Err(RecvTimeoutError::Disconnected));
        let now = clock::uptime();
        if state.pending.is_empty() {
            state.oldest = now;
        }
        let before = state.pending.len();
        state.pending.extend(safety.try_iter());
        let urgent = state.pending.len() > before;
        state.pending.extend(first.ok());
        while state.pending.len() < GROUP_MAX {
            let Ok(request) = queue.try_recv() else { break };
            state.pending.push(request);
        }
        let waited_for = urgent || state.pending.iter().any(|request| request.done.is_some());
        let bytes: usize = state.pending.iter().map(|request| request.record.bytes.len()).sum();
        let due = now.since(state.oldest) >= RECORD_DELAY - TICK || bytes >= RECORD_BYTES;
        let full = state.pending.len() >= GROUP_MAX;
        // After a failure only those who wait for an answer are told at once; the rest waits for the reopening.
        let open = state.store.is_some() || now >= state.reopen_at;
        if !state.pending.is_empty() && (waited_for || (open && (due || full)) || closed) {
            state.commit(now);
        }
        state.acknowledge(acks);
        if closed {
            info!("journal is closed");
            return;
        }
    }
}

impl State {
    fn commit(&mut self, now: Uptime) {
        let requests = self.new_ones();
        let entries: Vec<Entry<'_>> = requests
            .iter()
            .map(|Request { lane, event_id, record, .. }| Entry { lane: *lane, event_id: *event_id, record })
            .collect();
        let outcome = match self.ready(now) {
            Ok(store) => store.commit(&entries).map_err(|e| e.to_string()),
            Err(reason) => Err(reason),
        };
        match outcome {
            Ok(()) => self.committed(requests),
            Err(reason) => self.failed(requests, &reason, now),
        }
    }

    fn committed(&mut self, requests: Vec<Request>) {
        self.counts.commits.fetch_add(1, Ordering::Relaxed);
        self.counts.committed.fetch_add(requests.len() as u64, Ordering::Relaxed);
        for request in requests {
            self.recent.add(request.event_id);
            if let Some(done) = request.done {
                let _ = done.send(Ok(()));
            }
        }
    }

    /// After any I/O error the journal is opened again and rereads its head: what is on disk decides, not memory.
    fn failed(&mut self, requests: Vec<Request>, reason: &str, now: Uptime) {
        // Only an attempt moves the next one: those who are told that it is closed must not keep it closed.
        if self.store.take().is_some() || now >= self.reopen_at {
            error!(events = requests.len(), reason, "journal cannot commit");
            self.reopen_at = now.plus(REOPEN);
        }
        for mut request in requests {
            match request.done.take() {
                Some(done) => drop(done.send(Err(JournalError::Failed(reason.to_owned())))),
                // Nobody waits who could try again: kept here until the journal is open, the most urgent lanes longest.
                None if self.pending.len() < KEPT_MAX || request.lane <= Lane::Alert => self.pending.push(request),
                None => drop(self.counts.failed.fetch_add(1, Ordering::Relaxed)),
            }
        }
    }

    /// The waiting requests without those that are in the journal already: a sender who tries again after an unknown
    /// outcome is answered, and nothing is written twice.
    fn new_ones(&mut self) -> Vec<Request> {
        let mut new: Vec<Request> = Vec::new();
        let mut seen = HashSet::new();
        for request in std::mem::take(&mut self.pending) {
            if self.recent.has(request.event_id) || !seen.insert(request.event_id) {
                // A twin in the same commit is durable only with it: its sender hears busy and tries again.
                let known = self.recent.has(request.event_id);
                if let Some(done) = request.done {
                    let _ = done.send(if known { Ok(()) } else { Err(JournalError::Busy) });
                }
            } else {
                new.push(request);
            }
        }
        new
    }

    fn ready(&mut self, now: Uptime) -> Result<&mut Store, String> {
        if self.store.is_none() {
            if now < self.reopen_at {
                return Err("closed after an error, waiting to open again".into());
            }
            let store = Store::open(&self.folder, new_epoch()).map_err(|e| e.to_string())?;
            self.recent = Recent::read(&store).map_err(|e| e.to_string())?;
            self.store = Some(store);
            info!("journal is open again");
        }
        self.store.as_mut().ok_or_else(|| "closed".into())
    }

    fn acknowledge(&mut self, acks: &Receiver<(Lane, i64)>) {
        for (lane, pos) in acks.try_iter() {
            let moved = self.store.as_mut().map(|store| store.ack(lane, pos));
            if let Some(Err(error)) = moved {
                error!(%lane, pos, %error, "outbox cursor cannot be moved");
            }
        }
    }
}
