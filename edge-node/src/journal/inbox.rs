//! What the relay has sent to this node, in `urgent.db`: each letter with what became of it. The highest sequence number
//! is where the downlink goes on, so its row is never forgotten.

use rusqlite::{Connection, params};

/// The inbox's table.
pub const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS inbox(seq INTEGER PRIMARY KEY, kept_us INTEGER NOT NULL, expires_us INTEGER NOT NULL,
        content TEXT NOT NULL, outcome TEXT NOT NULL);";
/// Letters that stay readable; the oldest go.
const KEPT: i64 = 1000;

/// A verified letter, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Its place in the relay's sequence for this node.
    pub seq: u64,
    /// When it came, UTC microseconds.
    pub kept_us: i64,
    /// Until when it was good, UTC microseconds.
    pub expires_us: i64,
    /// JSON, as it was signed.
    pub content: String,
    /// `taken`, or why not.
    pub outcome: String,
}

/// The last sequence number; 0 before the first.
///
/// # Errors
/// SQLite's.
pub fn last(db: &Connection) -> rusqlite::Result<u64> {
    let last: i64 = db.query_row("SELECT coalesce(max(seq), 0) FROM inbox", [], |row| row.get(0))?;
    Ok(u64::try_from(last).unwrap_or(0))
}

/// Keeps a letter durably; one that is there already stays as it is.
///
/// # Errors
/// SQLite's.
pub fn keep(db: &mut Connection, letter: &Letter) -> rusqlite::Result<()> {
    let Letter { seq, kept_us, expires_us, content, outcome } = letter;
    let tx = db.transaction()?;
    let sql = "INSERT OR IGNORE INTO inbox(seq, kept_us, expires_us, content, outcome) VALUES (?1, ?2, ?3, ?4, ?5)";
    tx.execute(sql, params![i64::try_from(*seq).unwrap_or(i64::MAX), kept_us, expires_us, content, outcome])?;
    let sql = "DELETE FROM inbox WHERE seq <= (SELECT seq FROM inbox ORDER BY seq DESC LIMIT 1 OFFSET ?1)";
    tx.execute(sql, [KEPT])?;
    tx.commit()
}

/// The newest letters, newest first.
///
/// # Errors
/// SQLite's.
pub fn newest(db: &Connection, limit: usize) -> rusqlite::Result<Vec<Letter>> {
    let sql = "SELECT seq, kept_us, expires_us, content, outcome FROM inbox ORDER BY seq DESC LIMIT ?1";
    let letter = |row: &rusqlite::Row<'_>| {
        let seq = u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0);
        let (kept_us, expires_us) = (row.get(1)?, row.get(2)?);
        Ok(Letter { seq, kept_us, expires_us, content: row.get(3)?, outcome: row.get(4)? })
    };
    db.prepare(sql)?.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], letter)?.collect()
}
