//! One SQLite file of blocks: `urgent.db`, or a `bulk-NNNN.db`.
//!
//! Layout: a table a lane, `block_<lane>(first_pos, count, epoch, first_seq, last_seq, from_us, to_us, chain_before,
//! chain_after, sum, body)`; `block` has the body's layout. WAL with synchronous=FULL: a commit is on disk when it
//! returns. A file of a newer layout is refused; layout 2 lacks the tables inbox, signed and thinned, layouts 2 and 3 the sums of
//! rows: both are made. Only the writer thread writes.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row as SqlRow, Transaction, params};
use shared::ids::{Digest, Epoch, Lane, Seq};

use super::block::{Block, Head, Times};
use super::{catalogue, row_sum, witness};

/// Layout this build writes, in `PRAGMA user_version`.
pub const LAYOUT: i64 = 4;
/// Pages of the WAL that start a checkpoint: 4 MiB, so that a page is written back once for many commits.
pub const CHECKPOINT_PAGES: u32 = 1000;

/// Why a journal file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite or the disk refused.
    #[error("{file}: {source}")]
    Sqlite {
        /// File.
        file: String,
        /// SQLite's error.
        source: rusqlite::Error,
    },
    /// The folder or a file cannot be made, moved or removed.
    #[error("{file}: {reason}")]
    File {
        /// File.
        file: String,
        /// Why.
        reason: String,
        /// Whether the disk was full.
        full: bool,
    },
    /// Written by a newer release.
    #[error("{file}: layout {found} is newer than this build's {LAYOUT}: install the release that wrote it")]
    Newer {
        /// File.
        file: String,
        /// Its layout.
        found: i64,
    },
    /// Urgent events have filled their reserve: nothing acknowledged is dropped for new ones.
    #[error("{file}: the reserve of {quota} bytes for safety and alert events is full")]
    ReserveFull {
        /// File.
        file: String,
        /// Its quota.
        quota: u64,
    },
}

impl StoreError {
    /// For `map_err`: SQLite's error with its file.
    pub fn at(path: &Path) -> impl Fn(rusqlite::Error) -> Self + Copy + '_ {
        |source| Self::Sqlite { file: path.display().to_string(), source }
    }

    /// For `map_err`: the system's error with its file.
    pub fn file(path: &Path) -> impl Fn(std::io::Error) -> Self + Copy + '_ {
        |error| Self::File {
            file: path.display().to_string(),
            reason: error.to_string(),
            full: error.kind() == std::io::ErrorKind::StorageFull,
        }
    }

    /// Something that is not the disk's fault.
    pub fn other(file: &Path, reason: &str) -> Self {
        Self::File { file: file.display().to_string(), reason: reason.to_owned(), full: false }
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Sqlite { source, .. } => source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull),
            Self::File { full, .. } => *full,
            Self::ReserveFull { .. } | Self::Newer { .. } => false,
        }
    }

    /// Whether what was written before it may not be on the disk although it can be read: an I/O error that is no lack of
    /// room.
    pub fn is_doubt(&self) -> bool {
        use rusqlite::ErrorCode::SystemIoFailure;
        matches!(self, Self::Sqlite { source, .. } if source.sqlite_error_code() == Some(SystemIoFailure))
    }

    /// The file whose content is not what SQLite wrote.
    pub fn damaged_file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite { file, .. } if self.is_damage() => Some(Path::new(file)),
            _ => None,
        }
    }

    /// Whether the file's content is not what SQLite wrote.
    pub fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        matches!(self, Self::Sqlite { source, .. }
            if matches!(source.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase)))
    }
}

/// An open file.
#[derive(Debug)]
pub struct Segment {
    /// The connection.
    pub db: Connection,
    /// The file.
    pub path: PathBuf,
    /// The lanes it has tables for.
    pub lanes: &'static [Lane],
}

impl Segment {
    /// Opens a file for writing, making it if it is not there, with tables for `lanes` and what `more` makes.
    ///
    /// # Errors
    /// [`StoreError`] naming the file.
    pub fn open(path: &Path, lanes: &'static [Lane], more: &str) -> Result<Self, StoreError> {
        let sqlite = StoreError::at(path);
        let mut db = Connection::open(path).map_err(sqlite)?;
        row_sum::register(&db).map_err(sqlite)?;
        let found: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(sqlite)?;
        if found > LAYOUT {
            return Err(StoreError::Newer { file: path.display().to_string(), found });
        }
        db.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;
             PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};"
        ))
        .map_err(sqlite)?;
        if found < LAYOUT {
            let tables: String = lanes.iter().map(|lane| table(*lane)).collect();
            let tx = db.transaction().map_err(sqlite)?;
            tx.execute_batch(&format!("{tables}{}{more}PRAGMA user_version = {LAYOUT};", witness::TABLE))
                .map_err(sqlite)?;
            row_sum::upgrade(&tx).map_err(sqlite)?;
            if lanes.contains(&Lane::Safety) {
                tx.execute_batch(catalogue::FIRST).map_err(sqlite)?;
            }
            tx.commit().map_err(sqlite)?;
        }
        db.set_prepared_statement_cache_capacity(32);
        Ok(Self { db, path: path.to_owned(), lanes })
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`StoreError`] naming the file.
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        let sqlite = StoreError::at(path);
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(sqlite)?;
        db.execute_batch("PRAGMA busy_timeout = 5000;").map_err(sqlite)?;
        row_sum::register(&db).and_then(|()| row_sum::shadow(&db)).map_err(sqlite)?;
        Ok(Self { db, path: path.to_owned(), lanes: &[] })
    }

    /// Where a lane stands: the end of its last block whose header is whole.
    ///
    /// # Errors
    /// SQLite's.
    pub fn tail(&self, lane: Lane) -> rusqlite::Result<Option<Head>> {
        let sql = format!("SELECT {COLUMNS} FROM block_{lane} ORDER BY first_pos DESC");
        let mut select = self.db.prepare_cached(&sql)?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(block) = read_block(row)? {
                return Ok(Some(block.after));
            }
        }
        Ok(None)
    }

    /// The block that holds `pos`, or the next one behind it; blocks with a broken header are passed over.
    ///
    /// # Errors
    /// SQLite's.
    pub fn block_at(&self, lane: Lane, pos: i64) -> rusqlite::Result<Option<Block>> {
        // One statement, so one snapshot: between two, the very block could be written and taken for missing.
        let sql = format!(
            "SELECT {COLUMNS} FROM block_{lane} WHERE first_pos >=
             coalesce((SELECT max(first_pos) FROM block_{lane} WHERE first_pos <= ?1), 0) ORDER BY first_pos"
        );
        let mut select = self.db.prepare_cached(&sql)?;
        let mut rows = select.query([pos])?;
        while let Some(row) = rows.next()? {
            if let Some(block) = read_block(row)?.filter(|block| block.after.pos >= pos) {
                return Ok(Some(block));
            }
        }
        Ok(None)
    }

    /// Position before the first block behind `pos` (or that holds it) with events in this time; `None` where there is none.
    /// Reads headers only.
    ///
    /// # Errors
    /// SQLite's.
    pub fn next_within(&self, lane: Lane, pos: i64, times: Times) -> rusqlite::Result<Option<i64>> {
        let sql = format!(
            "SELECT first_pos - 1 FROM block_{lane} WHERE first_pos + count - 1 > ?1
             AND first_pos >= coalesce((SELECT max(first_pos) FROM block_{lane} WHERE first_pos <= ?1), 0)
             AND to_us >= ?2 AND from_us <= ?3 ORDER BY first_pos LIMIT 1"
        );
        self.db.prepare_cached(&sql)?.query_row(params![pos, times.from, times.to], |row| row.get(0)).optional()
    }

    /// The block that holds (epoch, seq).
    ///
    /// # Errors
    /// SQLite's.
    pub fn block_of(&self, lane: Lane, epoch: Epoch, seq: Seq) -> rusqlite::Result<Option<Block>> {
        let sql = format!("SELECT {COLUMNS} FROM block_{lane} WHERE epoch = ?1 AND first_seq <= ?2 AND last_seq >= ?2");
        Ok(self.db.prepare_cached(&sql)?.query_row(params![epoch.0, int(seq)], read_block).optional()?.flatten())
    }

    /// Last position of a lane; `None` where it has no block.
    ///
    /// # Errors
    /// SQLite's.
    pub fn last_pos(&self, lane: Lane) -> rusqlite::Result<Option<i64>> {
        let sql = format!("SELECT first_pos + count - 1 FROM block_{lane} ORDER BY first_pos DESC LIMIT 1");
        self.db.prepare_cached(&sql)?.query_row([], |row| row.get(0)).optional()
    }

    /// Reads what opening relies on: the catalogue and each lane's tail.
    ///
    /// # Errors
    /// SQLite's, where the file is not what was written.
    pub fn check(&self) -> rusqlite::Result<()> {
        row_sum::check(&self.db)?;
        for lane in self.lanes {
            // A new epoch begins behind the last row: it must be known where that ends.
            let (tail, last) = (self.tail(*lane)?, self.last_pos(*lane)?);
            if tail.map(|head| head.pos) != last {
                return Err(row_sum::damage(Some(&format!("last block of lane {lane}"))));
            }
        }
        Ok(())
    }

    /// Whether SQLite finds the file's structure sound.
    ///
    /// # Errors
    /// SQLite's.
    pub fn quick_check(&self) -> rusqlite::Result<bool> {
        self.db.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)).map(|found| found == "ok")
    }

    /// Where each block of a lane begins and ends, oldest first.
    ///
    /// # Errors
    /// SQLite's.
    pub fn each_header(&self, lane: Lane, mut each: impl FnMut(Head, Head)) -> rusqlite::Result<()> {
        self.each_header_timed(lane, |before, after, _| {
            each(before, after);
            Ok(true)
        })
    }

    /// As [`Segment::each_header`], with the times of its events, while `each` wants more.
    ///
    /// # Errors
    /// SQLite's, and those of `each`.
    pub fn each_header_timed(
        &self,
        lane: Lane,
        mut each: impl FnMut(Head, Head, Times) -> rusqlite::Result<bool>,
    ) -> rusqlite::Result<()> {
        let mut select = self.db.prepare(&format!("SELECT {HEADER} FROM block_{lane} ORDER BY first_pos"))?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(block) = read_header(row)
                && !each(block.before, block.after, block.times)?
            {
                break;
            }
        }
        Ok(())
    }

    /// Bytes of the file that are in use, without the WAL.
    ///
    /// # Errors
    /// SQLite's.
    pub fn bytes(&self) -> rusqlite::Result<u64> {
        let sql = "SELECT (page_count - freelist_count) * page_size
            FROM pragma_page_count, pragma_freelist_count, pragma_page_size";
        self.db.query_row(sql, [], |row| row.get::<_, i64>(0)).map(|bytes| u64::try_from(bytes).unwrap_or(0))
    }

    /// As [`Segment::checkpoint`], and sure that nothing stayed behind for a reader's sake.
    ///
    /// # Errors
    /// [`StoreError`] naming the file.
    pub fn checkpoint_whole(&self) -> Result<(), StoreError> {
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        let busy: bool = self.db.query_row(sql, [], |row| row.get(0)).map_err(StoreError::at(&self.path))?;
        if busy { Err(StoreError::other(&self.path, "the log is being read: it is emptied later")) } else { Ok(()) }
    }

    /// Brings the WAL into the file and empties it.
    ///
    /// # Errors
    /// SQLite's.
    pub fn checkpoint(&self) -> rusqlite::Result<()> {
        self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }
}

/// Writes a block within a transaction.
///
/// # Errors
/// SQLite's.
pub fn write(tx: &Transaction<'_>, lane: Lane, block: &Block) -> rusqlite::Result<()> {
    let sql = format!("INSERT INTO block_{lane}({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)");
    let Block { before, after, times, body } = block;
    tx.prepare_cached(&sql)?.execute(params![
        before.pos.saturating_add(1),
        block.count(),
        after.epoch.0,
        int(before.seq.next()),
        int(after.seq),
        times.from,
        times.to,
        before.chain.0,
        after.chain.0,
        block.check(),
        body,
    ])?;
    Ok(())
}

const HEADER: &str = "first_pos, count, epoch, first_seq, last_seq, from_us, to_us, chain_before, chain_after, sum";
pub(super) const COLUMNS: &str =
    "first_pos, count, epoch, first_seq, last_seq, from_us, to_us, chain_before, chain_after, sum, body";

fn table(lane: Lane) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS block_{lane}(first_pos INTEGER PRIMARY KEY, count INTEGER NOT NULL, epoch BLOB NOT NULL,
         first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL, from_us INTEGER NOT NULL, to_us INTEGER NOT NULL,
         chain_before BLOB NOT NULL, chain_after BLOB NOT NULL, sum INTEGER NOT NULL, body BLOB NOT NULL);"
    )
}

/// A block, or `None` where its header is not what was written.
pub(super) fn read_block(row: &SqlRow<'_>) -> rusqlite::Result<Option<Block>> {
    let Some(mut block) = read_header(row) else { return Ok(None) };
    // A body that is no blob was not written so.
    let Ok(body) = row.get(10) else { return Ok(None) };
    block.body = body;
    Ok(Some(block))
}

/// A block whose header is broken, made anew behind the block before it, where its body proves itself.
pub(super) fn recover_block(row: &SqlRow<'_>, before: Option<Head>) -> Option<Block> {
    let before = before.filter(|before| row.get::<_, i64>(0).ok() == Some(before.pos + 1))?;
    Block::recover(before, row.get(10).ok()?)
}

/// A block without its body.
fn read_header(row: &SqlRow<'_>) -> Option<Block> {
    let epoch = Epoch(row.get(2).ok()?);
    let (first_pos, count): (i64, i64) = (row.get(0).ok()?, row.get(1).ok()?);
    let seq = |at: usize| u64::try_from(row.get::<_, i64>(at).ok()?).ok();
    let (first_seq, last_seq) = (seq(3)?, seq(4)?);
    let pos = first_pos.checked_sub(1)?;
    let before = Head { pos, epoch, seq: Seq(first_seq.checked_sub(1)?), chain: Digest(row.get(7).ok()?) };
    let end = pos.checked_add(count)?;
    let after = Head { pos: end, epoch, seq: Seq(last_seq), chain: Digest(row.get(8).ok()?) };
    let times = Times { from: row.get(5).ok()?, to: row.get(6).ok()? };
    let block = Block { before, after, times, body: Vec::new() };
    (row.get::<_, i64>(9).ok()? == block.check() && count > 0).then_some(block)
}

/// A head in the columns pos, epoch, seq, chain.
pub(super) fn read_head(row: &SqlRow<'_>) -> rusqlite::Result<Head> {
    let seq = Seq(u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0));
    Ok(Head { pos: row.get(0)?, epoch: Epoch(row.get(1)?), seq, chain: Digest(row.get(3)?) })
}

/// A sequence number as SQLite holds it.
pub fn int(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}
