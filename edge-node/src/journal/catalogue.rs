//! The catalogue of the journal, in `urgent.db`: which bulk segments there are, which places of which lane each held
//! (kept when the segment is gone, so that the gap can be named), and the outbox cursor of each lane.
//!
//! Each row ends with its sum (`row_sum`). A span never crosses an epoch. Segment 0 stands for what was deleted from
//! `urgent.db` itself.

use rusqlite::{Connection, OptionalExtension, Row, params};
use shared::ids::{Digest, Epoch, Lane, Seq};

use super::block::Head;
use super::segment::{int, read_head};

/// The catalogue's tables.
pub const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS segment(number INTEGER PRIMARY KEY, sealed_us INTEGER NOT NULL, gone TEXT,
        spans INTEGER NOT NULL, sum INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS span(lane TEXT NOT NULL, epoch BLOB NOT NULL, first_pos INTEGER NOT NULL, last_pos INTEGER NOT NULL,
        last_seq INTEGER NOT NULL, chain_after BLOB NOT NULL, segment INTEGER NOT NULL, sum INTEGER NOT NULL,
        PRIMARY KEY (lane, first_pos));
    CREATE TABLE IF NOT EXISTS acked(lane TEXT PRIMARY KEY, pos INTEGER NOT NULL, epoch BLOB NOT NULL, seq INTEGER NOT NULL,
        chain BLOB NOT NULL, sum INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS begun(lane TEXT NOT NULL, first_pos INTEGER NOT NULL, pos INTEGER NOT NULL,
        epoch BLOB NOT NULL, seq INTEGER NOT NULL, chain BLOB NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY (lane, first_pos));";

/// The row of segment 0, once the tables are there.
pub const FIRST: &str = "INSERT OR IGNORE INTO segment(number, sealed_us, gone, spans, sum)
    VALUES (0, 0, 'acked', 0, row_sum(0, 0, 'acked', 0));";

/// Why a segment is gone when all of it was acknowledged by the relay.
pub const ACKED: &str = "acked";
/// Why a segment is gone when the quota needed its room and the relay had not acknowledged all of it.
pub const QUOTA: &str = "quota";
/// Why a segment is gone when the disk was full and the relay had not acknowledged all of it.
pub const DISK_FULL: &str = "disk_full";
/// What a gap is called when the relay had the events once and asks again.
pub const RELAY_ROLLBACK: &str = "relay_rollback";

/// A run of places of one lane and epoch, and where its bytes are or were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// First position.
    pub first_pos: i64,
    /// Its end.
    pub end: Head,
    /// Segment.
    pub segment: i64,
    /// Why its bytes are gone; `None` while they are there.
    pub gone: Option<String>,
}

/// The first span that ends at a position or behind it.
///
/// # Errors
/// SQLite's.
pub fn span_from(db: &Connection, lane: Lane, pos: i64) -> rusqlite::Result<Option<Span>> {
    let sql = format!("SELECT {SPAN} WHERE lane = ?1 AND last_pos >= ?2 ORDER BY first_pos LIMIT 1");
    db.prepare_cached(&sql)?.query_row(params![lane.as_str(), pos], read).optional()
}

/// Notes that an epoch of a lane begins behind `parent`.
///
/// # Errors
/// SQLite's.
pub fn begun(db: &Connection, lane: Lane, parent: &Head) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO begun(lane, first_pos, pos, epoch, seq, chain, sum)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, row_sum(?1, ?2, ?3, ?4, ?5, ?6))";
    let Head { pos, epoch, seq, chain } = parent;
    let first_pos = pos.saturating_add(1);
    db.prepare_cached(sql)?.execute(params![lane.as_str(), first_pos, pos, epoch.0, int(*seq), chain.0]).map(|_| ())
}

/// Where the epoch that holds a position ended, if another has begun behind it.
///
/// # Errors
/// SQLite's.
pub fn epoch_end(db: &Connection, lane: Lane, pos: i64) -> rusqlite::Result<Option<Head>> {
    let sql = "SELECT pos, epoch, seq, chain, is_whole(sum, lane, first_pos, pos, epoch, seq, chain) FROM begun
        WHERE lane = ?1 AND first_pos > ?2 ORDER BY first_pos LIMIT 1";
    db.prepare_cached(sql)?.query_row(params![lane.as_str(), pos], read_head).optional()
}

/// Where the epochs of a lane ended behind which another has begun, oldest first, at most so many of the newest.
///
/// # Errors
/// SQLite's.
pub fn ends(db: &Connection, lane: Lane, limit: i64) -> rusqlite::Result<Vec<Head>> {
    let sql = "SELECT pos, epoch, seq, chain, is_whole(sum, lane, first_pos, pos, epoch, seq, chain) FROM begun
        WHERE lane = ?1 AND seq > 0 ORDER BY first_pos DESC LIMIT ?2";
    let mut ends: Vec<Head> =
        db.prepare_cached(sql)?.query_map(params![lane.as_str(), limit], read_head)?.collect::<Result<_, _>>()?;
    ends.reverse();
    Ok(ends)
}

/// The span that holds (epoch, seq).
///
/// # Errors
/// SQLite's.
pub fn span_of(db: &Connection, lane: Lane, epoch: Epoch, seq: Seq) -> rusqlite::Result<Option<Span>> {
    let sql = format!(
        "SELECT {SPAN} WHERE lane = ?1 AND epoch = ?2 AND last_seq >= ?3 AND last_seq - (last_pos - first_pos) <= ?3"
    );
    db.prepare_cached(&sql)?.query_row(params![lane.as_str(), epoch.0, int(seq)], read).optional()
}

/// The spans of a segment.
///
/// # Errors
/// SQLite's.
pub fn spans(db: &Connection, lane: Lane, segment: i64) -> rusqlite::Result<Vec<Span>> {
    let sql = format!("SELECT {SPAN} WHERE lane = ?1 AND segment = ?2 ORDER BY first_pos");
    db.prepare_cached(&sql)?.query_map(params![lane.as_str(), segment], read)?.collect()
}

/// The end of the last span of a lane.
///
/// # Errors
/// SQLite's.
pub fn last_end(db: &Connection, lane: Lane) -> rusqlite::Result<Option<Head>> {
    let sql = format!("SELECT {SPAN} WHERE lane = ?1 ORDER BY first_pos DESC LIMIT 1");
    let span = db.prepare_cached(&sql)?.query_row([lane.as_str()], read).optional()?;
    Ok(span.map(|span| span.end))
}

/// Adds a span.
///
/// # Errors
/// SQLite's.
pub fn add(db: &Connection, lane: Lane, span: &Span) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO span(lane, epoch, first_pos, last_pos, last_seq, chain_after, segment, sum)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, row_sum(?1, ?2, ?3, ?4, ?5, ?6, ?7))";
    let Span { first_pos, end, segment, .. } = span;
    let values = params![lane.as_str(), end.epoch.0, first_pos, end.pos, int(end.seq), end.chain.0, segment];
    db.prepare_cached(sql)?.execute(values).map(|_| ())
}

/// Notes that a lane's places up to `end`, from `first_pos`, are no longer in `urgent.db`; runs that touch become one.
///
/// # Errors
/// SQLite's.
pub fn deleted(db: &Connection, lane: Lane, first_pos: i64, end: &Head) -> rusqlite::Result<()> {
    let touching = span_from(db, lane, first_pos.saturating_sub(1))?;
    let joined = touching.filter(|span| span.segment == 0 && span.end.pos < first_pos && span.end.epoch == end.epoch);
    let first_pos = joined.map_or(first_pos, |span| span.first_pos);
    add(db, lane, &Span { first_pos, end: *end, segment: 0, gone: None })
}

/// Where the relay is in a lane.
///
/// # Errors
/// SQLite's.
pub fn acked(db: &Connection, lane: Lane) -> rusqlite::Result<Head> {
    let sql = "SELECT pos, epoch, seq, chain, is_whole(sum, lane, pos, epoch, seq, chain) FROM acked WHERE lane = ?1";
    Ok(db.prepare_cached(sql)?.query_row([lane.as_str()], read_head).optional()?.unwrap_or(Head::NONE))
}

/// Moves the outbox cursor of a lane, forwards or backwards.
///
/// # Errors
/// SQLite's.
pub fn ack(db: &Connection, lane: Lane, head: &Head) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO acked(lane, pos, epoch, seq, chain, sum)
        VALUES (?1, ?2, ?3, ?4, ?5, row_sum(?1, ?2, ?3, ?4, ?5))";
    let values = params![lane.as_str(), head.pos, head.epoch.0, int(head.seq), head.chain.0];
    db.prepare_cached(sql)?.execute(values).map(|_| ())
}

/// The highest number that a segment ever had.
///
/// # Errors
/// SQLite's.
pub fn last_number(db: &Connection) -> rusqlite::Result<i64> {
    let sql =
        "SELECT max(coalesce((SELECT max(number) FROM segment), 0), coalesce((SELECT max(segment) FROM span), 0))";
    db.query_row(sql, [], |row| row.get(0))
}

/// Numbers of the sealed segments whose bytes are there, oldest first, with the time each was sealed (UTC µs).
///
/// # Errors
/// SQLite's.
pub fn sealed(db: &Connection) -> rusqlite::Result<Vec<(i64, i64)>> {
    let sql = "SELECT number, sealed_us, is_whole(sum, number, sealed_us, gone, spans) FROM segment WHERE gone IS NULL
        ORDER BY number";
    db.prepare_cached(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Notes that a segment is gone, and why.
///
/// # Errors
/// SQLite's.
pub fn gone(db: &Connection, number: i64, why: &str) -> rusqlite::Result<()> {
    let sql = "UPDATE segment SET gone = ?2, sum = row_sum(number, sealed_us, ?2, spans) WHERE number = ?1";
    db.execute(sql, params![number, why]).map(|_| ())
}

/// Notes that a segment is sealed, `spans` of its places being in the catalogue.
///
/// # Errors
/// SQLite's.
pub fn sealed_now(db: &Connection, number: i64, spans: usize) -> rusqlite::Result<()> {
    let now: i64 = db.query_row("SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER)", [], |row| row.get(0))?;
    let sql = "INSERT OR REPLACE INTO segment(number, sealed_us, gone, spans, sum)
        VALUES (?1, ?2, NULL, ?3, row_sum(?1, ?2, NULL, ?3))";
    db.execute(sql, params![number, now, i64::try_from(spans).unwrap_or(i64::MAX)]).map(|_| ())
}

/// Whether a segment was sealed: `None`: the catalogue does not know it, or not all of its spans any more; then why it is
/// gone, if it is.
///
/// # Errors
/// SQLite's.
pub fn known(db: &Connection, number: i64) -> rusqlite::Result<Option<Option<String>>> {
    let sql = "SELECT gone, is_whole(sum, number, sealed_us, gone, spans) FROM segment WHERE number = ?1
        AND (gone IS NOT NULL OR spans = (SELECT count(*) FROM span WHERE span.segment = number))";
    db.prepare_cached(sql)?.query_row([number], |row| row.get(0)).optional()
}

const SPAN: &str = "first_pos, epoch, last_pos, last_seq, chain_after, segment, gone,
    is_whole(span.sum, lane, epoch, first_pos, last_pos, last_seq, chain_after, segment),
    is_whole(segment.sum, number, sealed_us, gone, spans)
    FROM span JOIN segment ON segment.number = span.segment";

fn read(row: &Row<'_>) -> rusqlite::Result<Span> {
    let seq = Seq(u64::try_from(row.get::<_, i64>(3)?).unwrap_or(0));
    let end = Head { pos: row.get(2)?, epoch: Epoch(row.get(1)?), seq, chain: Digest(row.get(4)?) };
    Ok(Span { first_pos: row.get(0)?, end, segment: row.get(5)?, gone: row.get(6)? })
}
