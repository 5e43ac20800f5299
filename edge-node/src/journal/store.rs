//! The journal's SQLite file: layout, opening, appending, reading the outbox.
//!
//! Layout: one table a lane, `entry_<lane>(pos, epoch, seq, event_id, type_id, schema_version, bytes, chain)`, rows in
//! order of `pos`; an `Opened` item has no event id. `acked(lane, pos)` is the outbox cursor: everything up to `pos` is
//! at the relay. WAL with synchronous=FULL: a commit is on disk when it returns. Recovery: SQLite's own; then each
//! lane's tail is checked against its chain, and every opening starts a new epoch that names its parent.
//! A file of a newer layout is refused. One process writes; a lock file beside it keeps a second one out.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use shared::ids::{Digest, Epoch, EventId, Lane, Seq};
use shared::record::{Opened, Record};
use shared::wire::Item;

/// Layout this build writes, in `PRAGMA user_version`.
const LAYOUT: i64 = 1;
/// File name in the data folder.
const FILE: &str = "journal.db";

/// Why a journal cannot be used.
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
    /// The folder or lock file cannot be made.
    #[error("{file}: {reason}")]
    File {
        /// File.
        file: String,
        /// Why.
        reason: String,
    },
    /// Written by a newer release.
    #[error("{file}: layout {found} is newer than this build's {LAYOUT}: install the release that wrote it")]
    Newer {
        /// File.
        file: String,
        /// Its layout.
        found: i64,
    },
    /// A lane's tail does not match its chain.
    #[error("{file}: lane {lane}, epoch {epoch}, seq {seq}: the record does not match its chain")]
    Damaged {
        /// File.
        file: String,
        /// Lane.
        lane: Lane,
        /// Epoch.
        epoch: Epoch,
        /// Sequence number.
        seq: Seq,
    },
}

/// Where a lane stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Epoch.
    pub epoch: Epoch,
    /// Last sequence number.
    pub seq: Seq,
    /// Chain there.
    pub chain: Digest,
}

/// An event to be written.
pub struct Entry<'a> {
    /// Lane.
    pub lane: Lane,
    /// Event id.
    pub event_id: EventId,
    /// Its bytes.
    pub record: &'a Record,
}

/// The open journal. Only the writer thread has one.
pub struct Store {
    db: Connection,
    heads: [Head; Lane::ALL.len()],
    _lock: std::fs::File,
}

/// Path of the journal in a data folder.
pub fn path_in(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

impl Store {
    /// Opens the journal of a folder, making it if there is none, and begins `epoch`.
    ///
    /// # Errors
    /// [`StoreError`] naming the file.
    pub fn open(folder: &Path, epoch: Epoch) -> Result<Self, StoreError> {
        let path = path_in(folder);
        let file = path.display().to_string();
        let wrong = |reason: String| StoreError::File { file: file.clone(), reason };
        std::fs::create_dir_all(folder).map_err(|e| wrong(e.to_string()))?;
        let lock = std::fs::File::create(folder.join("journal.lock")).map_err(|e| wrong(e.to_string()))?;
        lock.try_lock().map_err(|_| wrong("another process has this journal open".into()))?;
        let sqlite = |source| StoreError::Sqlite { file: file.clone(), source };
        let mut db = Connection::open(&path).map_err(sqlite)?;
        prepare(&mut db, &file)?;
        let mut heads = [Head { epoch, seq: Seq(1), chain: Digest::default() }; Lane::ALL.len()];
        let tx = db.transaction().map_err(sqlite)?;
        for (lane, head) in Lane::ALL.into_iter().zip(&mut heads) {
            let parent = check_tail(&tx, lane, &file)?;
            let opened = parent.map_or(Opened::FIRST, |p| Opened {
                parent_epoch: p.epoch,
                parent_seq: p.seq,
                parent_chain: p.chain,
            });
            head.chain = Digest::default().chained(opened.digest());
            let sql = format!("INSERT INTO entry_{lane}(epoch, seq, bytes, chain) VALUES (?1, 1, ?2, ?3)");
            let bytes = postcard::to_stdvec(&opened).unwrap_or_default();
            tx.execute(&sql, params![epoch.0, bytes, head.chain.0]).map_err(sqlite)?;
        }
        tx.commit().map_err(sqlite)?;
        // The folder's entry of a new file must survive a power cut too.
        std::fs::File::open(folder).and_then(|f| f.sync_all()).map_err(|e| wrong(e.to_string()))?;
        Ok(Self { db, heads, _lock: lock })
    }

    /// Writes entries in one durable commit. Sequence numbers advance only if it succeeds.
    ///
    /// # Errors
    /// SQLite's; the outcome is then unknown and the store must be opened again.
    pub fn commit(&mut self, entries: &[Entry<'_>]) -> rusqlite::Result<()> {
        let mut heads = self.heads;
        let tx = self.db.transaction()?;
        for entry in entries {
            let Some(head) = heads.get_mut(entry.lane as usize) else { continue };
            head.seq = head.seq.next();
            head.chain = head.chain.chained(entry.record.digest());
            let lane = entry.lane;
            let sql = format!(
                "INSERT INTO entry_{lane}(epoch, seq, event_id, type_id, schema_version, bytes, chain)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
            );
            let Record { type_id, schema_version, bytes } = entry.record;
            let id = entry.event_id.0.into_bytes();
            let seq = i64::try_from(head.seq.0).unwrap_or(i64::MAX);
            tx.prepare_cached(&sql)?.execute(params![
                head.epoch.0,
                seq,
                id,
                type_id,
                schema_version,
                bytes,
                head.chain.0
            ])?;
        }
        tx.commit()?;
        self.heads = heads;
        Ok(())
    }

    /// The event ids of each lane's newest `count` rows, oldest first.
    ///
    /// # Errors
    /// SQLite's.
    pub fn newest_ids(&self, count: usize, mut each: impl FnMut([u8; 16])) -> rusqlite::Result<()> {
        for lane in Lane::ALL {
            let sql = format!(
                "SELECT event_id FROM entry_{lane} WHERE event_id IS NOT NULL
                 AND pos > (SELECT coalesce(max(pos), 0) FROM entry_{lane}) - ?1 ORDER BY pos"
            );
            let mut select = self.db.prepare(&sql)?;
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            let ids = select.query_map([count], |row| row.get(0))?;
            for id in ids {
                each(id?);
            }
        }
        Ok(())
    }

    /// Moves a lane's outbox cursor: everything up to `pos` is at the relay. A smaller `pos` rewinds.
    ///
    /// # Errors
    /// SQLite's; the cursor is unchanged and the relay recognises what is sent again.
    pub fn ack(&mut self, lane: Lane, pos: i64) -> rusqlite::Result<()> {
        let sql = "INSERT INTO acked(lane, pos) VALUES (?1, ?2) ON CONFLICT (lane) DO UPDATE SET pos = ?2";
        self.db.execute(sql, params![lane.as_str(), pos]).map(|_| ())
    }
}

fn prepare(db: &mut Connection, file: &str) -> Result<(), StoreError> {
    let sqlite = |source| StoreError::Sqlite { file: file.to_owned(), source };
    let found: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(sqlite)?;
    if found > LAYOUT {
        return Err(StoreError::Newer { file: file.to_owned(), found });
    }
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;")
        .map_err(sqlite)?;
    if found == LAYOUT {
        return Ok(());
    }
    let tables: String = Lane::ALL
        .iter()
        .map(|lane| {
            format!(
                "CREATE TABLE entry_{lane}(pos INTEGER PRIMARY KEY AUTOINCREMENT, epoch BLOB NOT NULL,
                 seq INTEGER NOT NULL, event_id BLOB, type_id INTEGER, schema_version INTEGER,
                 bytes BLOB NOT NULL, chain BLOB NOT NULL);"
            )
        })
        .collect();
    let acked = "CREATE TABLE acked(lane TEXT PRIMARY KEY, pos INTEGER NOT NULL);";
    let tx = db.transaction().map_err(sqlite)?;
    tx.execute_batch(&format!("{tables}{acked}PRAGMA user_version = {LAYOUT};")).map_err(sqlite)?;
    tx.commit().map_err(sqlite)
}

/// The last item of a lane, after checking its record against its chain.
fn check_tail(db: &Connection, lane: Lane, file: &str) -> Result<Option<Head>, StoreError> {
    let sqlite = |source| StoreError::Sqlite { file: file.to_owned(), source };
    let sql = format!("SELECT {COLUMNS} FROM entry_{lane} ORDER BY pos DESC LIMIT 2");
    let mut select = db.prepare(&sql).map_err(sqlite)?;
    let rows: Result<Vec<Row>, _> = select.query_map([], Row::read).map_err(sqlite)?.collect();
    let rows = rows.map_err(sqlite)?;
    let Some(last) = rows.first() else { return Ok(None) };
    let before = rows.get(1).filter(|row| row.epoch == last.epoch).map_or(Digest::default(), |row| row.chain);
    let Row { epoch, seq, chain, .. } = *last;
    if last.item.advance(seq, before).1 != chain {
        return Err(StoreError::Damaged { file: file.to_owned(), lane, epoch, seq });
    }
    Ok(Some(Head { epoch, seq, chain }))
}

pub(crate) const COLUMNS: &str = "pos, epoch, seq, type_id, schema_version, bytes, chain";

/// One row of a lane.
#[derive(Debug, Clone)]
pub struct Row {
    /// Position in the lane's table, over all epochs.
    pub pos: i64,
    /// Epoch.
    pub epoch: Epoch,
    /// Sequence number.
    pub seq: Seq,
    /// Chain after this item.
    pub chain: Digest,
    /// The item.
    pub item: Item,
}

impl Row {
    pub(crate) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let type_id: Option<u16> = row.get(3)?;
        let bytes: Vec<u8> = row.get(5)?;
        let item =
            match type_id {
                Some(type_id) => Item::Record(Record { type_id, schema_version: row.get(4)?, bytes }),
                None => Item::Opened(postcard::from_bytes(&bytes).map_err(|e| {
                    rusqlite::Error::FromSqlConversionFailure(5, rusqlite::types::Type::Blob, Box::new(e))
                })?),
            };
        let seq = u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0);
        Ok(Self { pos: row.get(0)?, epoch: Epoch(row.get(1)?), seq: Seq(seq), chain: Digest(row.get(6)?), item })
    }
}

/// A reader's own connection: never blocks the writer, holds no transaction between calls.
pub struct Reader {
    db: Connection,
}

impl Reader {
    /// Opens the journal of a folder for reading.
    ///
    /// # Errors
    /// [`StoreError`] naming the file.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = path_in(folder);
        let sqlite = |source| StoreError::Sqlite { file: path.display().to_string(), source };
        let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(sqlite)?;
        db.execute_batch("PRAGMA busy_timeout = 5000;").map_err(sqlite)?;
        Ok(Self { db })
    }

    /// Rows of a lane after `pos`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// SQLite's.
    pub fn after(&self, lane: Lane, pos: i64, limit: usize) -> rusqlite::Result<Vec<Row>> {
        let sql = format!("SELECT {COLUMNS} FROM entry_{lane} WHERE pos > ?1 ORDER BY pos LIMIT ?2");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.db.prepare_cached(&sql)?.query_map(params![pos, limit], Row::read)?.collect()
    }

    /// Chain before the row at `pos`, within its epoch.
    ///
    /// # Errors
    /// SQLite's.
    pub fn chain_before(&self, lane: Lane, pos: i64, epoch: Epoch) -> rusqlite::Result<Digest> {
        let sql = format!("SELECT {COLUMNS} FROM entry_{lane} WHERE pos < ?1 ORDER BY pos DESC LIMIT 1");
        let before = self.db.prepare_cached(&sql)?.query_row(params![pos], Row::read).optional()?;
        Ok(before.filter(|row| row.epoch == epoch).map_or(Digest::default(), |row| row.chain))
    }

    /// Position of the item (epoch, seq); 0 where it is not here.
    ///
    /// # Errors
    /// SQLite's.
    pub fn position(&self, lane: Lane, epoch: Epoch, seq: Seq) -> rusqlite::Result<i64> {
        let sql = format!("SELECT pos FROM entry_{lane} WHERE epoch = ?1 AND seq = ?2");
        let seq = i64::try_from(seq.0).unwrap_or(i64::MAX);
        self.db.query_row(&sql, params![epoch.0, seq], |row| row.get(0)).optional().map(|pos| pos.unwrap_or(0))
    }

    /// Last position and outbox cursor of a lane.
    ///
    /// # Errors
    /// SQLite's.
    pub fn backlog(&self, lane: Lane) -> rusqlite::Result<(i64, i64)> {
        let last = format!("SELECT coalesce(max(pos), 0) FROM entry_{lane}");
        let acked = "SELECT pos FROM acked WHERE lane = ?1";
        let last = self.db.query_row(&last, [], |row| row.get(0))?;
        let acked = self.db.query_row(acked, params![lane.as_str()], |row| row.get(0)).optional()?;
        Ok((last, acked.unwrap_or(0)))
    }
}
