//! Heads signed with the node's key, in `urgent.db`: every few minutes and at the journal's end, with a relay in reach or
//! not. A card that was taken out and changed shows against them.

use rusqlite::{Connection, OptionalExtension, Row, params};
use shared::ids::{Digest, Epoch, Lane, Seq};

use super::block::Head;
use super::segment::int;

/// The table: the last signed head of each lane and epoch.
pub const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS signed(lane TEXT NOT NULL, epoch BLOB NOT NULL, seq INTEGER NOT NULL, chain BLOB NOT NULL,
        public_key BLOB NOT NULL, signature BLOB NOT NULL, PRIMARY KEY (lane, epoch));";

/// A signature and the public key that it is to be held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Uncompressed point on P-256.
    pub public_key: Vec<u8>,
    /// Of `shared::identity::head_statement`, ASN.1 DER.
    pub signature: Vec<u8>,
}

/// Signs a lane's head; `None` where the node has no key.
pub type Signer = Box<dyn Fn(Lane, &Head) -> Option<Signed> + Send>;

/// A signed head as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    /// Lane.
    pub lane: Lane,
    /// Epoch.
    pub epoch: Epoch,
    /// Sequence number.
    pub seq: Seq,
    /// Chain there.
    pub chain: Digest,
    /// The signature.
    pub by: Signed,
}

/// Keeps a head's signature in the place of an older one of its epoch.
///
/// # Errors
/// SQLite's.
pub fn keep(db: &Connection, lane: Lane, head: &Head, by: &Signed) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO signed(lane, epoch, seq, chain, public_key, signature)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let values = params![lane.as_str(), head.epoch.0, int(head.seq), head.chain.0, by.public_key, by.signature];
    db.prepare_cached(sql)?.execute(values).map(|_| ())
}

/// The signed heads of a lane.
///
/// # Errors
/// SQLite's.
pub fn of_lane(db: &Connection, lane: Lane) -> rusqlite::Result<Vec<SignedHead>> {
    let sql = "SELECT epoch, seq, chain, public_key, signature FROM signed WHERE lane = ?1 ORDER BY rowid";
    let read = |row: &Row<'_>| {
        let seq = Seq(u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0));
        let by = Signed { public_key: row.get(3)?, signature: row.get(4)? };
        Ok(SignedHead { lane, epoch: Epoch(row.get(0)?), seq, chain: Digest(row.get(2)?), by })
    };
    db.prepare(sql)?.query_map([lane.as_str()], read)?.collect()
}

/// Until where a lane and epoch are signed.
///
/// # Errors
/// SQLite's.
pub fn up_to(db: &Connection, lane: Lane, epoch: Epoch) -> rusqlite::Result<Option<Seq>> {
    let sql = "SELECT seq FROM signed WHERE lane = ?1 AND epoch = ?2";
    let seq: Option<i64> =
        db.prepare_cached(sql)?.query_row(params![lane.as_str(), epoch.0], |r| r.get(0)).optional()?;
    Ok(seq.map(|seq| Seq(u64::try_from(seq).unwrap_or(0))))
}
