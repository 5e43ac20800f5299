//! Thinning: a segment that has not been sent keeps, of its telemetry, one event a minute of each kind about each thing;
//! what goes is a named gap of `thinned`. Detections and media references stay. This is how weeks without a relay fit a
//! quota that holds days.
//!
//! The thinned segment is made beside the old one by a thread of its own, since it takes seconds; the writer then puts
//! it in the old one's place. A crash in between leaves the old one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use shared::ids::{Digest, Lane};
use shared::record::Record;
use shared::wire::Item;

use super::block::{Block, THINNED};
use super::damage::{remove, remove_one, with_end};
use super::segment::{COLUMNS, Segment, StoreError, read_block, write};
use super::store::{BULK, bulk_path, sync_folder};

/// Of each kind and thing one event in this time stays, microseconds.
const PERIOD_US: i64 = 60 * 1_000_000;
/// Kinds and things that are told apart in one segment; what comes beyond them stays.
const TOLD_APART: usize = 10_000;
/// Blocks in one commit of the file that is made.
const BLOCKS: usize = 64;

/// Which segments were thinned.
pub const TABLE: &str = "CREATE TABLE IF NOT EXISTS thinned(number INTEGER PRIMARY KEY);";

/// Percent of the bulk quota from which unsent segments are thinned, oldest first.
pub const FROM_PERCENT: u64 = 75;

/// Decides, event by event, what stays.
#[derive(Debug, Default)]
pub struct Sieve {
    last: HashMap<(u16, String), i64>,
    /// Records that went.
    pub gone: u64,
}

impl Sieve {
    /// Whether a record stays. One that cannot be decoded does: nobody can say what it is worth.
    pub fn keeps(&mut self, record: &Record) -> bool {
        let Ok(decoded) = record.decode() else { return true };
        let (at, key) = (decoded.envelope.occurred.at.0, (record.type_id, decoded.envelope.aggregate_id));
        let stays = match self.last.get(&key) {
            // A clock that stepped back begins anew.
            Some(last) => !(0..PERIOD_US).contains(&at.saturating_sub(*last)),
            None => true,
        };
        if stays && (self.last.len() < TOLD_APART || self.last.contains_key(&key)) {
            self.last.insert(key, at);
        }
        self.gone += u64::from(!stays);
        stays
    }
}

/// Whether a segment was thinned.
///
/// # Errors
/// SQLite's.
pub fn is_done(db: &Connection, number: i64) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM thinned WHERE number = ?1")?.exists([number])
}

/// Puts the thinned form of a segment in its place, for good.
///
/// # Errors
/// [`StoreError`] naming the file; the old one or the new one is in place.
pub fn put_in_place(urgent: &Segment, folder: &Path, number: i64) -> Result<(), StoreError> {
    let (made, place) = (path(folder, number), bulk_path(folder, number));
    if !place.exists() {
        // It went meanwhile, for the room it took.
        return remove(&made);
    }
    for end in ["-wal", "-shm"] {
        remove_one(&with_end(&place, end))?;
    }
    // Readers see the old one or the new one, never none.
    std::fs::rename(&made, &place).map_err(StoreError::file(&place))?;
    sync_folder(folder)?;
    mark(urgent, number)
}

/// Notes that a segment is not to be thinned again.
///
/// # Errors
/// [`StoreError`] naming the file.
pub fn mark(urgent: &Segment, number: i64) -> Result<(), StoreError> {
    let sql = "INSERT OR IGNORE INTO thinned(number) VALUES (?1)";
    urgent.db.execute(sql, [number]).map(|_| ()).map_err(StoreError::at(&urgent.path))
}

/// Where the thinned form of a segment is made.
pub fn path(folder: &Path, number: i64) -> PathBuf {
    folder.join(format!("bulk-{number:04}.thin"))
}

/// Removes what a process that ended meanwhile has left of thinning.
///
/// # Errors
/// [`StoreError`] naming the folder or file.
pub fn clear(folder: &Path) -> Result<(), StoreError> {
    let at = StoreError::file(folder);
    for entry in std::fs::read_dir(folder).map_err(at)? {
        let path = entry.map_err(at)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("bulk-") && name.contains(".thin") {
            remove_one(&path)?;
        }
    }
    Ok(())
}

/// Makes the thinned form of a sealed segment; gives how many events went.
///
/// # Errors
/// [`StoreError`] naming the file; the segment is as it was.
pub fn make(folder: &Path, number: i64) -> Result<u64, StoreError> {
    let (from, to) = (bulk_path(folder, number), path(folder, number));
    remove(&to)?;
    let made = sift(&from, &to);
    if made.is_err() {
        remove(&to)?;
    }
    made
}

fn sift(from: &Path, to: &Path) -> Result<u64, StoreError> {
    let old = Segment::read(from)?;
    let mut new = Segment::open(to, &BULK, "")?;
    let (at_old, at_new) = (StoreError::at(from), StoreError::at(to));
    let mut sieve = Sieve::default();
    for lane in BULK {
        let mut select =
            old.db.prepare(&format!("SELECT {COLUMNS} FROM block_{lane} ORDER BY first_pos")).map_err(at_old)?;
        let mut rows = select.query([]).map_err(at_old)?;
        let mut more = true;
        while more {
            let tx = new.db.transaction().map_err(at_new)?;
            for _ in 0..BLOCKS {
                let Some(row) = rows.next().map_err(at_old)? else {
                    more = false;
                    break;
                };
                // A block with a broken header is a hole there as it is here.
                let Some(block) = read_block(row).map_err(at_old)? else { continue };
                let block: Block =
                    if lane == Lane::Telemetry { block.thinned(|record| sieve.keeps(record)) } else { block };
                write(&tx, lane, &block).map_err(at_new)?;
            }
            tx.commit().map_err(at_new)?;
        }
    }
    for (lane, head) in Lane::ALL.into_iter().filter_map(|lane| Some((lane, old.witnessed(lane).ok()??))) {
        new.witness(&[(lane, head)]).map_err(at_new)?;
    }
    new.checkpoint().map_err(at_new)?;
    drop(new);
    // Closed, so that its log is gone: it is this one file.
    std::fs::File::open(to).and_then(|file| file.sync_all()).map_err(StoreError::file(to))?;
    Ok(sieve.gone)
}

impl Block {
    /// The same places with only the records that `keeps` wants. A block with damage in it stays as it is.
    #[must_use]
    pub fn thinned(self, mut keeps: impl FnMut(&Record) -> bool) -> Self {
        let rows = self.rows();
        if rows.iter().any(|row| matches!(&row.item, Item::Skip { reason, .. } if reason != THINNED)) {
            return self;
        }
        let mut thin = Self { body: Vec::new(), ..self };
        let mut chain = thin.before.chain;
        // How many went since the last that stayed, and the chain there.
        let mut run = (0, chain);
        for row in rows {
            match &row.item {
                Item::Record(record) if !keeps(record) => run.0 += 1,
                Item::Skip { first, last, .. } => run.0 += last.0 - first.0 + 1,
                Item::Record(record) => {
                    thin.push_thinned(run, chain);
                    thin.frame(record.digest(), (1, record.type_id, record.schema_version), &record.bytes);
                    run = (0, row.chain);
                }
                Item::Opened(opened) => {
                    thin.push_thinned(run, chain);
                    thin.frame(opened.digest(), (2, 0, 0), &postcard::to_stdvec(opened).unwrap_or_default());
                    run = (0, row.chain);
                }
            }
            chain = row.chain;
        }
        thin.push_thinned(run, chain);
        thin
    }

    fn push_thinned(&mut self, (run, before): (u64, Digest), chain_after: Digest) {
        if run > 0 {
            self.frame(chain_after, (3, 0, 0), &[&run.to_le_bytes()[..], &before.0].concat());
        }
    }
}
