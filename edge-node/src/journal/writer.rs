//! The journal's thread: group commit in two classes, and the answer to those who wait.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use shared::ids::{Epoch, Lane};
use shared::units::Uptime;
use tracing::{error, info};
use uuid::Uuid;

use super::block::Head;
use super::errand::{Acks, ERRANDS, Errand};
use super::limits::Limits;
use super::recent::Recent;
use super::room::Room;
use super::segment::StoreError;
use super::signed::Signer;
use super::store::{Entry, Heads, Store, is_urgent, path_in};
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
/// Bulk events kept in memory while they cannot be committed: minutes of a quiet site. More are counted as lost.
const KEPT_MAX: usize = 20_000;
/// The same in bytes.
const KEPT_BYTES: usize = 16 * 1024 * 1024;
/// Urgent events kept in memory while they cannot be committed. Full: the clerk waits.
const KEPT_URGENT: usize = 1024;
/// A file is not made anew again within this time: readers may still tell of the old one.
const MEND_AGAIN: Duration = Duration::from_secs(30);
/// Wait before a failed journal is opened again.
const REOPEN: Duration = Duration::from_secs(1);

/// Bytes of records in one commit, so that a burst of large ones does not make one of minutes.
const GROUP_BYTES: usize = 4 * 1024 * 1024;

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

pub(super) struct State {
    pub(super) folder: PathBuf,
    pub(super) limits: Limits,
    pub(super) store: Option<Store>,
    pub(super) reopen_at: Uptime,
    /// After an error in a bulk segment its lanes wait, the urgent ones go on.
    pub(super) bulk_at: Uptime,
    pub(super) maintained: Uptime,
    pub(super) acked: Uptime,
    pub(super) cursors: [Option<Head>; Lane::ALL.len()],
    pub(super) pending: Vec<Request>,
    pub(super) oldest: Uptime,
    /// Failed, and nobody waits who could try again.
    pub(super) kept: Vec<Request>,
    pub(super) kept_bytes: usize,
    pub(super) retry_at: Uptime,
    pub(super) mended: Vec<(PathBuf, Uptime)>,
    pub(super) heads: Heads,
    pub(super) counts: Arc<Counts>,
    pub(super) room: Arc<Room>,
    pub(super) recent: Recent,
    /// An I/O error leaves open whether what can be read is on the disk.
    pub(super) doubted: bool,
    pub(super) signer: Option<Signer>,
    pub(super) signed: Uptime,
    /// The segment that is being thinned.
    pub(super) thinning: Option<(i64, JoinHandle<Result<u64, StoreError>>)>,
}

/// Opens the journal of a folder and starts its thread; `signer` signs its heads from time to time.
///
/// # Errors
/// [`StoreError`] when it cannot be opened.
pub fn start(
    folder: PathBuf,
    limits: Limits,
    stamp: Stamp,
    signer: Option<Signer>,
) -> Result<(Journal, Acks, Writer), StoreError> {
    let (store, recent) = open(&folder, &limits, [Head::NONE; Lane::ALL.len()])?;
    let (queue, requests) = sync_channel(QUEUE);
    let (safety, safety_requests) = sync_channel(SAFETY_QUEUE);
    let (queue_in, errands) = sync_channel(ERRANDS);
    let (counts, room) = (Arc::new(Counts::default()), Arc::new(Room::default()));
    let state = State {
        folder,
        limits,
        store: Some(store),
        reopen_at: Uptime(0),
        bulk_at: Uptime(0),
        maintained: Uptime(0),
        acked: Uptime(0),
        cursors: [None; Lane::ALL.len()],
        pending: Vec::new(),
        oldest: Uptime(0),
        kept: Vec::new(),
        kept_bytes: 0,
        retry_at: Uptime(0),
        mended: Vec::new(),
        heads: [Head::NONE; Lane::ALL.len()],
        counts: counts.clone(),
        room: room.clone(),
        recent,
        doubted: false,
        signer,
        signed: clock::uptime(),
        thinning: None,
    };
    let thread = std::thread::Builder::new()
        .name("journal".into())
        .spawn(move || run(state, &requests, &safety_requests, &errands))
        .map_err(StoreError::file(Path::new("thread journal")))?;
    Ok((Journal { stamp, queue, safety, counts, room }, Acks { queue: queue_in }, Writer { thread }))
}

/// Opens the store; a file that shows damage on the way is made anew of what can be read of it.
fn open(folder: &Path, limits: &Limits, known: Heads) -> Result<(Store, Recent), StoreError> {
    let once = || {
        let store = Store::open(folder, limits.clone(), known, new_epoch)?;
        Recent::read(&store).map(|recent| (store, recent))
    };
    let mut opened = once();
    // Each file at most once: one that is damaged again at once lies on a disk that damages.
    for _ in 0..2 {
        let Err(error) = &opened else { break };
        let Some(file) = error.damaged_file() else { break };
        Store::rebuild(folder, file)?;
        opened = once();
    }
    opened
}

fn new_epoch() -> Epoch {
    Epoch(Uuid::new_v4().into_bytes())
}

fn run(mut state: State, queue: &Receiver<Request>, safety: &Receiver<Request>, errands: &Receiver<Errand>) {
    loop {
        let first = queue.recv_timeout(TICK);
        let closed = matches!(first, Err(RecvTimeoutError::Disconnected));
        let now = clock::uptime();
        let _ = state.counts.stuck_since.compare_exchange(0, now.0.max(1), Ordering::Relaxed, Ordering::Relaxed);
        if state.pending.is_empty() {
            state.oldest = now;
        }
        let bytes = state.gather(first.ok(), queue, safety);
        let waited_for = state.pending.iter().any(|request| request.done.is_some() || is_urgent(request.lane));
        let due = now.since(state.oldest) >= RECORD_DELAY - TICK || bytes >= RECORD_BYTES;
        let full = state.pending.len() >= GROUP_MAX;
        let retry = !state.kept.is_empty() && now >= state.retry_at;
        if retry || closed {
            // In the order in which they came.
            let newer = std::mem::replace(&mut state.pending, std::mem::take(&mut state.kept));
            state.pending.extend(newer);
            state.kept_bytes = 0;
        }
        if !state.pending.is_empty() && (waited_for || due || full || retry || closed) {
            state.commit(now);
        }
        state.look_after(errands, now, closed);
        // All of the disk's work of this turn is done.
        if state.kept.is_empty() {
            state.counts.stuck_since.store(0, Ordering::Relaxed);
        }
        if closed {
            info!("journal is closed");
            return;
        }
    }
}

impl State {
    /// Takes what waits in the queues, as much as one commit should have; gives its bytes.
    fn gather(&mut self, first: Option<Request>, queue: &Receiver<Request>, safety: &Receiver<Request>) -> usize {
        let kept_urgent = self.kept.iter().filter(|request| is_urgent(request.lane)).count();
        self.pending.extend(safety.try_iter().take(KEPT_URGENT.saturating_sub(kept_urgent)));
        let mut bytes: usize = self.pending.iter().map(|request| request.record.bytes.len()).sum();
        let mut next = first;
        while let Some(request) = next {
            bytes += request.record.bytes.len();
            self.room.give(request.record.bytes.len());
            self.pending.push(request);
            let room = self.pending.len() < GROUP_MAX && bytes < GROUP_BYTES;
            next = if room { queue.try_recv().ok() } else { None };
        }
        bytes
    }

    fn commit(&mut self, now: Uptime) {
        let ready = self.ready(now);
        let requests = self.new_ones();
        let (urgent, bulk): (Vec<Request>, Vec<Request>) = requests.into_iter().partition(|r| is_urgent(r.lane));
        let Some(store) = self.store.as_mut().filter(|_| ready.is_ok()) else {
            let reason = ready.err().map_or_else(|| "closed".to_owned(), |error| error.to_string());
            self.finish(urgent, Err(reason.clone()), now);
            return self.finish(bulk, Err(reason), now);
        };
        let has_bulk = store.has_bulk();
        let wanted = urgent.iter().chain(bulk.iter().filter(|_| has_bulk));
        let entries: Vec<Entry<'_>> =
            wanted.map(|Request { lane, at, record, .. }| Entry { lane: *lane, at: *at, record }).collect();
        let [urgent_done, bulk_done] = store.commit(&entries);
        self.heads = store.heads();
        let urgent_done = urgent_done.map_err(|error| self.urgent_failed(&error, now));
        // What was not handed to the store is not done, whatever it says of the rest.
        let bulk_done = match bulk_done {
            Ok(()) if !has_bulk && !bulk.is_empty() => Err("bulk segment waits to be opened again".to_owned()),
            other => other.map_err(|error| self.bulk_failed(&error, now)),
        };
        self.finish(urgent, urgent_done, now);
        self.finish(bulk, bulk_done, now);
    }

    fn urgent_failed(&mut self, error: &StoreError, now: Uptime) -> String {
        self.doubted |= error.is_doubt();
        match error.damaged_file() {
            _ if matches!(error, StoreError::ReserveFull { .. }) => {}
            Some(file) => self.mend(file, now),
            None => self.closed(&error.to_string(), now),
        }
        error.to_string()
    }

    fn bulk_failed(&mut self, error: &StoreError, now: Uptime) -> String {
        error!("bulk segment cannot be written: {error}");
        self.doubted |= error.is_doubt();
        self.bulk_at = now.plus(REOPEN);
        if let Some(file) = error.damaged_file() {
            self.mend(file, now);
        }
        error.to_string()
    }

    fn finish(&mut self, requests: Vec<Request>, outcome: Result<(), String>, now: Uptime) {
        match outcome {
            _ if requests.is_empty() => {}
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
            if let Some(then) = request.then {
                then();
            }
        }
    }

    /// After any I/O error the journal is opened again and rereads its head: what is on disk decides, not memory.
    fn closed(&mut self, reason: &str, now: Uptime) {
        // Only an attempt moves the next one: those who are told that it is closed must not keep it closed.
        if self.store.take().is_some() || now >= self.reopen_at {
            error!(reason, "journal cannot commit");
            self.reopen_at = now.plus(REOPEN);
        }
    }

    fn failed(&mut self, requests: Vec<Request>, reason: &str, now: Uptime) {
        self.retry_at = now.plus(REOPEN);
        self.counts.failed_at.store(now.0.max(1), Ordering::Relaxed);
        for mut request in requests {
            let bytes = request.record.bytes.len();
            let room = self.kept.len() < KEPT_MAX && self.kept_bytes + bytes <= KEPT_BYTES;
            match request.done.take() {
                Some(done) => drop(done.send(Err(JournalError::Failed(reason.to_owned())))),
                // Nobody waits who could try again: kept here until it can be written.
                None if room || is_urgent(request.lane) => {
                    self.kept_bytes += bytes;
                    self.kept.push(request);
                }
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

    /// Opens what is closed, if it is time to try. What is on the disk then decides which ids are known.
    fn ready(&mut self, now: Uptime) -> Result<(), StoreError> {
        let Some(store) = &mut self.store else {
            if now < self.reopen_at {
                return Err(StoreError::other(&self.folder, "closed after an error, waiting to open again"));
            }
            self.reopen_at = now.plus(REOPEN);
            let (store, recent) = open(&self.folder, &self.limits, self.heads)?;
            if self.doubted {
                store.settle()?;
            }
            // What was acknowledged stays known, whatever share of it the newest blocks hold.
            self.recent.join(recent);
            (self.store, self.doubted) = (Some(store), false);
            info!("journal is open again");
            return Ok(());
        };
        if !store.has_bulk() && now >= self.bulk_at {
            self.bulk_at = now.plus(REOPEN);
            let doubted = self.doubted;
            let settled = store.open_bulk().and_then(|()| if doubted { store.settle() } else { Ok(()) });
            match settled.and_then(|()| Recent::read(store)) {
                Ok(recent) => {
                    self.recent.join(recent);
                    self.doubted = false;
                }
                Err(error) => {
                    store.bulk = None;
                    self.bulk_failed(&error, now);
                }
            }
        }
        Ok(())
    }

    pub(super) fn mend(&mut self, file: &Path, now: Uptime) {
        self.mended.retain(|(_, at)| now.since(*at) < MEND_AGAIN);
        if self.mended.iter().any(|(mended, _)| mended == file) {
            return;
        }
        self.mended.push((file.to_owned(), now));
        let urgent = file == path_in(&self.folder);
        let mended = match &mut self.store {
            Some(store) if !urgent => store.mend(file),
            _ => {
                // Closed first: nothing may write to the old file.
                self.closed("urgent.db is damaged", now);
                Store::rebuild(&self.folder, file)
            }
        };
        if let Err(error) = mended {
            error!("journal cannot be mended: {error}");
        }
    }
}
