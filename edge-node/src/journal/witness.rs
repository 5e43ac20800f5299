//! What each file keeps of the other: where its lanes stood a moment ago, so that a tail lost there shows as a hole.

use rusqlite::{OptionalExtension, params};
use shared::ids::Lane;

use super::block::Head;
use super::segment::{Segment, int, read_head};

/// The table, in every file.
pub const TABLE: &str = "CREATE TABLE IF NOT EXISTS witness(lane TEXT PRIMARY KEY, pos INTEGER NOT NULL,
    epoch BLOB NOT NULL, seq INTEGER NOT NULL, chain BLOB NOT NULL, sum INTEGER NOT NULL);";

impl Segment {
    /// Where lanes of another file stood a moment ago, as kept here.
    ///
    /// # Errors
    /// SQLite's.
    pub fn witnessed(&self, lane: Lane) -> rusqlite::Result<Option<Head>> {
        let sql = "SELECT pos, epoch, seq, chain, is_whole(sum, lane, pos, epoch, seq, chain) FROM witness
            WHERE lane = ?1";
        self.db.prepare_cached(sql)?.query_row([lane.as_str()], read_head).optional()
    }

    /// Keeps where a lane of another file stands, so that a tail lost there shows as a hole.
    ///
    /// # Errors
    /// SQLite's.
    pub fn witness(&self, heads: &[(Lane, Head)]) -> rusqlite::Result<()> {
        let tx = self.db.unchecked_transaction()?;
        for (lane, head) in heads {
            let sql = "INSERT OR REPLACE INTO witness(lane, pos, epoch, seq, chain, sum)
                VALUES (?1, ?2, ?3, ?4, ?5, row_sum(?1, ?2, ?3, ?4, ?5))";
            tx.execute(sql, params![lane.as_str(), head.pos, head.epoch.0, int(head.seq), head.chain.0])?;
        }
        tx.commit()
    }
}
