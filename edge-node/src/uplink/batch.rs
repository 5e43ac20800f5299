//! What of the journal goes into one batch, and where an answer puts the lane's head. Pure.

use shared::ids::Seq;
use shared::record::{Opened, Record};
use shared::wire::Item;

use crate::journal::block::{Head, Row};

/// The end of what an opening continues: right before it.
pub fn continued(row: &Row) -> Option<Head> {
    let Item::Opened(Opened { parent_epoch, parent_seq, parent_chain }) = row.item else { return None };
    Some(Head { pos: row.pos - 1, epoch: parent_epoch, seq: parent_seq, chain: parent_chain })
}

/// The head at `seq` of the same epoch, given one behind it and the relay's chain there.
pub fn head(behind: Head, seq: Seq, chain: &str) -> Head {
    let back = i64::try_from(behind.seq.0.saturating_sub(seq.0)).unwrap_or(0);
    Head { pos: behind.pos - back, epoch: behind.epoch, seq, chain: chain.parse().unwrap_or_default() }
}

/// The first rows that fit one batch: one epoch, bounded bytes.
pub fn one_batch(rows: Vec<Row>, most_bytes: usize) -> Vec<Row> {
    let Some(epoch) = rows.first().map(|row| row.epoch) else { return rows };
    let mut bytes = 0;
    let fits = |row: &Row| {
        let size = match &row.item {
            Item::Record(Record { bytes, .. }) => bytes.len(),
            Item::Skip { .. } | Item::Opened(_) => 100,
        };
        let first = bytes == 0;
        bytes += size;
        row.epoch == epoch && (first || bytes <= most_bytes)
    };
    rows.into_iter().take_while(fits).collect()
}
