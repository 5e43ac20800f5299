//! The journal's files, as the writer holds them: `urgent.db` (safety, alert, catalogue), the bulk segment that is
//! filled now, and the ballast.
//!
//! Layout: `urgent.db`, `bulk-NNNN.db` rising, `ballast`, `journal.lock`, `damaged/` for files set aside. Limits are
//! [`Limits`]. Recovery: SQLite's own in each file; every opening starts a new epoch in each lane that names its parent;
//! a bulk segment that is not the last and not in the catalogue is sealed. The two files fail apart: without room or
//! with an error in a bulk segment, urgent events are still kept. One process writes; a lock file keeps a second out.

use std::path::{Path, PathBuf};

use shared::ids::{Epoch, Lane};
use shared::record::Record;
use tracing::{error, info, warn};

use super::block::{Block, Head};
use super::epoch::{further, seen_by_bulk};
use super::limits::{Ballast, Limits};
use super::segment::{Segment, StoreError, write};
use super::{catalogue, damage, inbox, retention, signed, thin};
use crate::durable::Locked;

/// Lanes of `urgent.db`.
pub const URGENT: [Lane; 2] = [Lane::Safety, Lane::Alert];
/// Lanes of the bulk segments.
pub const BULK: [Lane; 3] = [Lane::Detection, Lane::Telemetry, Lane::Media];

/// An event to be written.
pub struct Entry<'a> {
    /// Lane.
    pub lane: Lane,
    /// When it was seen, UTC microseconds.
    pub at: i64,
    /// Its bytes.
    pub record: &'a Record,
}

/// The open journal. Only the writer thread has one.
pub struct Store {
    pub(super) folder: PathBuf,
    pub(super) limits: Limits,
    pub(super) urgent: Segment,
    pub(super) bulk: Option<Bulk>,
    pub(super) ballast: Ballast,
    pub(super) heads: Heads,
    pub(super) witnessed: Heads,
    pub(super) new_epoch: fn() -> Epoch,
    _lock: Locked,
}

/// Where each lane stands.
pub type Heads = [Head; Lane::ALL.len()];

/// The segment that is filled now.
pub(super) struct Bulk {
    pub segment: Segment,
    pub number: i64,
}

/// Path of the journal's first file in a data folder: it is there once a journal was opened.
pub fn path_in(folder: &Path) -> PathBuf {
    folder.join("urgent.db")
}

/// Path of a bulk segment.
pub fn bulk_path(folder: &Path, number: i64) -> PathBuf {
    folder.join(format!("bulk-{number:04}.db"))
}

/// Numbers of the bulk segments in a folder, rising.
///
/// # Errors
/// When the folder cannot be read.
pub fn bulk_numbers(folder: &Path) -> std::io::Result<Vec<i64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_prefix("bulk-")?.strip_suffix(".db")?.parse::<i64>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

impl Store {
    /// Opens the journal of a folder, making it if there is none, and begins a new epoch in every lane. A bulk segment
    /// that cannot be opened now is left for [`Store::open_bulk`]. `known` is where this process left the lanes.
    ///
    /// # Errors
    /// [`StoreError`] naming the file, for what urgent events need.
    pub fn open(folder: &Path, limits: Limits, known: Heads, new_epoch: fn() -> Epoch) -> Result<Self, StoreError> {
        let lock = Self::lock(folder)?;
        refuse_older_layout(folder)?;
        thin::clear(folder)?;
        let ballast = Ballast::new(folder, &limits);
        let path = path_in(folder);
        // Even opening takes room: for the log's index, or for making a damaged file anew.
        let opened = damage::open(folder, &path, open_urgent);
        let urgent = match opened {
            Err(error) if !matches!(error, StoreError::Newer { .. }) && ballast.release() => {
                damage::open(folder, &path, open_urgent)?
            }
            other => other?,
        };
        let folder = folder.to_owned();
        let (heads, witnessed) = (further(known, seen_by_bulk(&folder)), [Head::NONE; Lane::ALL.len()]);
        let mut store = Self { folder, limits, urgent, bulk: None, ballast, heads, witnessed, new_epoch, _lock: lock };
        let mut begun = store.begin(&URGENT, false);
        if begun.as_ref().is_err_and(StoreError::is_full) && store.ballast.release() {
            begun = store.begin(&URGENT, false);
        }
        while begun.as_ref().is_err_and(StoreError::is_full) && retention::free_oldest(&mut store)? {
            begun = store.begin(&URGENT, false);
        }
        begun?;
        sync_folder(&store.folder)?;
        store.ballast.keep();
        if let Err(error) = store.open_bulk() {
            error!("failed to {error}; urgent events are still kept");
        }
        Ok(store)
    }

    /// Where each lane stands, for the next opening in this process.
    pub fn heads(&self) -> Heads {
        self.heads
    }

    /// Whether bulk lanes can be written now.
    pub fn has_bulk(&self) -> bool {
        self.bulk.is_some()
    }

    /// Takes the folder for this process, making it if it is not there.
    ///
    /// # Errors
    /// [`StoreError`] when another process has it.
    pub fn lock(folder: &Path) -> Result<Locked, StoreError> {
        std::fs::create_dir_all(folder).map_err(StoreError::file(folder))?;
        let path = folder.join("journal.lock");
        let lock = Locked::take(folder, "journal.lock").map_err(StoreError::file(&path))?;
        lock.ok_or_else(|| StoreError::other(&path, "another process has this journal open"))
    }

    /// Makes a damaged file of a closed journal anew of what can be read of it.
    ///
    /// # Errors
    /// [`StoreError`] naming the file.
    pub fn rebuild(folder: &Path, file: &Path) -> Result<(), StoreError> {
        let open = if file == path_in(folder) { open_urgent } else { open_segment };
        damage::rebuild(folder, file, open)?;
        sync_folder(folder)
    }

    /// Opens the last bulk segment, sealing those before it, and begins a new epoch in its lanes.
    ///
    /// # Errors
    /// [`StoreError`] naming the file; urgent lanes are not touched.
    pub fn open_bulk(&mut self) -> Result<(), StoreError> {
        let numbers = bulk_numbers(&self.folder).map_err(StoreError::file(&self.folder))?;
        // A number is never used twice: what the catalogue says of one must stay true.
        let known = catalogue::last_number(&self.urgent.db).map_err(StoreError::at(&self.urgent.path))?;
        let last = numbers.last().copied().filter(|last| *last > known).unwrap_or(known + 1);
        for number in numbers.iter().filter(|number| **number < last) {
            self.seal_if_needed(*number)?;
        }
        self.make_segment(last)?;
        let path = bulk_path(&self.folder, last);
        let segment = damage::open(&self.folder, &path, open_segment)?;
        self.bulk = Some(Bulk { segment, number: last });
        let begun = self.begin(&BULK, true);
        if begun.is_err() {
            self.bulk = None;
        }
        begun
    }

    /// Makes a segment's file whole under another name first: a file half made is no segment.
    fn make_segment(&self, number: i64) -> Result<(), StoreError> {
        let path = bulk_path(&self.folder, number);
        if path.exists() {
            return Ok(());
        }
        let making = self.folder.join("segment.new");
        damage::remove(&making)?;
        let made = open_segment(&making).and_then(|segment| segment.checkpoint().map_err(StoreError::at(&making)));
        let named = made.and_then(|()| std::fs::rename(&making, &path).map_err(StoreError::file(&path)));
        damage::remove(&making)?;
        named.and_then(|()| sync_folder(&self.folder))
    }

    /// Puts the places of a segment that is no longer filled into the catalogue, unless they are there, or the segment is
    /// gone and about to be unlinked.
    pub(super) fn seal_if_needed(&mut self, number: i64) -> Result<(), StoreError> {
        if catalogue::known(&self.urgent.db, number).map_err(StoreError::at(&self.urgent.path))?.is_some() {
            return Ok(());
        }
        warn!(number, "segment is not in the catalogue: its places are entered");
        let path = bulk_path(&self.folder, number);
        let segment = damage::open(&self.folder, &path, open_segment)?;
        retention::seal(&self.urgent, &segment, number)
    }

    /// Makes a bulk segment anew of what can be read of it: its other readers and this store go on with that.
    ///
    /// # Errors
    /// [`StoreError`] naming the file.
    pub fn mend(&mut self, path: &Path) -> Result<(), StoreError> {
        let current = self.bulk.as_ref().is_some_and(|bulk| bulk.segment.path == path);
        if current {
            self.bulk = None;
        }
        Self::rebuild(&self.folder, path)?;
        if current { self.open_bulk() } else { Ok(()) }
    }

    /// Writes entries in one durable commit a file; sequence numbers advance only where it succeeds. The first result is
    /// of the urgent lanes, the second of the bulk lanes. After an error of the first the store must be opened again.
    pub fn commit(&mut self, entries: &[Entry<'_>]) -> [Result<(), StoreError>; 2] {
        let urgent = self.commit_urgent(entries);
        let bulk = self.commit_bulk(entries);
        [urgent, bulk]
    }

    fn commit_urgent(&mut self, entries: &[Entry<'_>]) -> Result<(), StoreError> {
        if !entries.iter().any(|entry| is_urgent(entry.lane)) {
            return Ok(());
        }
        let mut done = self.put_urgent(entries);
        if done.as_ref().is_err_and(StoreError::is_full) && self.ballast.release() {
            warn!("disk is full: the ballast makes room for urgent events");
            done = self.put_urgent(entries);
        }
        while done.as_ref().is_err_and(StoreError::is_full) && retention::free_oldest(self)? {
            done = self.put_urgent(entries);
        }
        done
    }

    fn put_urgent(&mut self, entries: &[Entry<'_>]) -> Result<(), StoreError> {
        retention::keep_reserve(&mut self.urgent, &self.limits)?;
        let mut heads = self.heads;
        put(&mut self.urgent, &mut heads, entries, is_urgent).inspect(|()| self.heads = heads)
    }

    fn commit_bulk(&mut self, entries: &[Entry<'_>]) -> Result<(), StoreError> {
        let is_bulk = |lane| !is_urgent(lane);
        if !entries.iter().any(|entry| is_bulk(entry.lane)) {
            return Ok(());
        }
        let mut done = self.put_bulk(entries);
        // A full disk gives back what the oldest segment held; its unsent part becomes a named gap.
        while done.as_ref().is_err_and(StoreError::is_full) && retention::free_oldest(self)? {
            done = self.put_bulk(entries);
        }
        done
    }

    fn put_bulk(&mut self, entries: &[Entry<'_>]) -> Result<(), StoreError> {
        if self.bulk.is_none() {
            // Closed by this very commit: the disk was full, and room was made.
            self.open_bulk()?;
        }
        let mut heads = self.heads;
        let Some(bulk) = &mut self.bulk else {
            return Err(StoreError::other(&self.folder, "no bulk segment is open"));
        };
        let done = put(&mut bulk.segment, &mut heads, entries, |lane| !is_urgent(lane));
        match &done {
            Ok(()) => self.heads = heads,
            // What is on the disk decides, not memory.
            Err(_) => self.bulk = None,
        }
        done
    }

    /// Begins the next segment when this one has its size, and keeps quotas and ballast; `now_us` is UTC. Gives the
    /// segment that should be thinned next.
    ///
    /// # Errors
    /// [`StoreError`]; what could not be done now is tried again.
    pub fn maintain(&mut self, now_us: i64) -> Result<Option<i64>, StoreError> {
        retention::maintain(self, now_us)
    }

    /// Begins the next bulk segment. The lanes go on in their epochs.
    pub(super) fn rotate(&mut self) -> Result<(), StoreError> {
        // On a full disk this segment goes on.
        let Some(bulk) = &self.bulk else { return Ok(()) };
        bulk.segment.checkpoint().map_err(StoreError::at(&bulk.segment.path))?;
        let (number, path) = (bulk.number + 1, bulk_path(&self.folder, bulk.number + 1));
        let made = self.make_segment(number).and_then(|()| open_segment(&path));
        let sealed = made.and_then(|next| retention::seal(&self.urgent, &bulk.segment, bulk.number).map(|()| next));
        // An empty segment behind the one that is filled would hide that from readers.
        let next = sealed.inspect_err(|_| drop(damage::remove(&path)))?;
        info!(number, "journal goes on in the next segment");
        self.bulk = Some(Bulk { segment: next, number });
        Ok(())
    }

    /// Brings every commit of the logs into the files. After a sync that failed, the system may call pages clean that never
    /// reached the disk: writing them again elsewhere is what makes them durable.
    ///
    /// # Errors
    /// [`StoreError`] naming the file; what it holds is then still in doubt.
    pub fn settle(&self) -> Result<(), StoreError> {
        for segment in std::iter::once(&self.urgent).chain(self.bulk.as_ref().map(|bulk| &bulk.segment)) {
            segment.checkpoint_whole()?;
        }
        Ok(())
    }
}

fn open_urgent(path: &Path) -> Result<Segment, StoreError> {
    // What a later layout adds comes last: a file of either has the same tables at its first pages.
    let tables = [catalogue::TABLES, inbox::TABLE, signed::TABLE, thin::TABLE].concat();
    Segment::open(path, &URGENT, &tables)
}

fn open_segment(path: &Path) -> Result<Segment, StoreError> {
    Segment::open(path, &BULK, "")
}

/// Whether a lane is kept in `urgent.db`.
pub fn is_urgent(lane: Lane) -> bool {
    URGENT.contains(&lane)
}

/// Writes the entries of some lanes as blocks, in one commit.
fn put(
    segment: &mut Segment,
    heads: &mut Heads,
    entries: &[Entry<'_>],
    wanted: fn(Lane) -> bool,
) -> Result<(), StoreError> {
    let at = StoreError::at(&segment.path);
    let tx = segment.db.transaction().map_err(at)?;
    for lane in Lane::ALL.into_iter().filter(|lane| wanted(*lane)) {
        let Some(head) = heads.get_mut(lane as usize) else { continue };
        let mut block = Block::new(*head);
        for entry in entries.iter().filter(|entry| entry.lane == lane) {
            if block.is_full_for(entry.record.bytes.len()) {
                write(&tx, lane, &block).map_err(at)?;
                block = Block::new(block.after);
            }
            block.push_record(entry.record, entry.at);
        }
        if block.count() > 0 {
            write(&tx, lane, &block).map_err(at)?;
        }
        *head = block.after;
    }
    tx.commit().map_err(at)
}

/// A folder's entry of a new file must survive a power cut too.
pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(StoreError::file(folder))
}

fn refuse_older_layout(folder: &Path) -> Result<(), StoreError> {
    let file = folder.join("journal.db");
    if !file.exists() {
        return Ok(());
    }
    let reason = "a journal of layout 1, written before the first release; move it away to begin a new one";
    Err(StoreError::other(&file, reason))
}
