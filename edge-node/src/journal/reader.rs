//! Reading the journal: its own connections, no transaction between calls, so that it neither blocks the writer nor
//! pins the log.
//!
//! A position whose bytes are gone is given as a `Skip` up to the end of its run: the catalogue says why, or it lies
//! between blocks and counts as damaged.

use std::path::{Path, PathBuf};

use shared::ids::{Epoch, Lane, Seq};
use shared::wire::Item;

use super::block::{Block, DAMAGED, Head, Row, skip_to};
use super::catalogue::{self, ACKED, RELAY_ROLLBACK, Span};
use super::segment::{Segment, StoreError};
use super::store::{bulk_numbers, bulk_path, is_urgent, path_in};

/// Sealed segments held open at once; reading goes from old to new, so few are used together.
const OPEN_MAX: usize = 3;

/// A reader of a data folder.
pub struct Reader {
    folder: PathBuf,
    urgent: Segment,
    open: Vec<(i64, Segment)>,
}

impl Reader {
    /// Opens the journal of a folder for reading.
    ///
    /// # Errors
    /// [`StoreError`] naming the file.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let urgent = Segment::read(&path_in(folder))?;
        Ok(Self { folder: folder.to_owned(), urgent, open: Vec::new() })
    }

    /// Rows of a lane after `pos`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] naming the file.
    pub fn after(&mut self, lane: Lane, pos: i64, limit: usize) -> Result<Vec<Row>, StoreError> {
        let mut rows: Vec<Row> = Vec::new();
        let mut at = pos;
        while rows.len() < limit {
            // After an error the file may be made anew: it is opened again.
            let found = self.rows_at(lane, at.saturating_add(1)).inspect_err(|_| self.open.clear())?;
            let Some(last) = found.last() else { break };
            let reached = last.pos;
            rows.extend(found.into_iter().filter(|row| row.pos > at).map(|row| cut(row, at)));
            at = reached;
        }
        rows.truncate(limit);
        Ok(rows)
    }

    /// Position of the item (epoch, seq); `None` where the journal never knew it.
    ///
    /// # Errors
    /// [`StoreError`] naming the file.
    pub fn position(&mut self, lane: Lane, epoch: Epoch, seq: Seq) -> Result<Option<i64>, StoreError> {
        let offset = |end: &Head| end.pos - i64::try_from(end.seq.0.saturating_sub(seq.0)).unwrap_or(0);
        let span = catalogue::span_of(&self.urgent.db, lane, epoch, seq).map_err(StoreError::at(&self.urgent.path))?;
        if let Some(span) = span {
            return Ok(Some(offset(&span.end)));
        }
        let Some(segment) = self.newest(lane)? else { return Ok(None) };
        let block = segment.block_of(lane, epoch, seq).map_err(StoreError::at(&segment.path))?;
        Ok(block.map(|block| offset(&block.after)))
    }

    /// Last position of a lane, and its outbox cursor.
    ///
    /// # Errors
    /// [`StoreError`] naming the file.
    pub fn backlog(&mut self, lane: Lane) -> Result<(i64, Head), StoreError> {
        let path = path_in(&self.folder);
        let at = StoreError::at(&path);
        let acked = catalogue::acked(&self.urgent.db, lane).map_err(at)?;
        let newest = self.newest(lane)?;
        let last = newest.map(|s| s.last_pos(lane).map_err(StoreError::at(&s.path))).transpose()?.flatten();
        let last = match last {
            Some(pos) => pos,
            None => catalogue::last_end(&self.urgent.db, lane).map_err(at)?.map_or(0, |end| end.pos),
        };
        Ok((last.max(acked.pos), acked))
    }

    /// The rows of the block or the gap that holds `pos` or, where nothing does, that comes next.
    fn rows_at(&mut self, lane: Lane, pos: i64) -> Result<Vec<Row>, StoreError> {
        let span = catalogue::span_at(&self.urgent.db, lane, pos).map_err(StoreError::at(&self.urgent.path))?;
        let segment = match &span {
            Some(Span { gone: None, segment, .. }) => self.sealed(*segment)?,
            Some(Span { gone: Some(_), .. }) => None,
            None => self.newest(lane)?,
        };
        let block = segment.map(|s| s.block_at(lane, pos).map_err(StoreError::at(&s.path))).transpose()?.flatten();
        let before = Head { pos: pos - 1, ..Head::NONE };
        match (block, span) {
            (Some(block), _) if block.before.pos < pos => Ok(block.rows()),
            // Between blocks, within a segment or before the next one's first.
            (Some(block), span) => Ok(hole(before, &block, span.as_ref())),
            (None, Some(span)) => {
                let why = match span.gone.as_deref() {
                    Some(ACKED) => RELAY_ROLLBACK,
                    Some(why) => why,
                    None => DAMAGED,
                };
                Ok(skip_to(before, &span.end, why).into_iter().collect())
            }
            (None, None) => Ok(Vec::new()),
        }
    }

    fn sealed(&mut self, number: i64) -> Result<Option<&Segment>, StoreError> {
        let index = match self.open.iter().position(|(open, _)| *open == number) {
            Some(index) => index,
            None => {
                let path = bulk_path(&self.folder, number);
                if !path.exists() {
                    return Ok(None);
                }
                if self.open.len() >= OPEN_MAX {
                    self.open.remove(0);
                }
                self.open.push((number, Segment::read(&path)?));
                self.open.len() - 1
            }
        };
        Ok(self.open.get(index).map(|(_, segment)| segment))
    }

    /// The file that a lane is written to now.
    fn newest(&mut self, lane: Lane) -> Result<Option<&Segment>, StoreError> {
        if is_urgent(lane) {
            return Ok(Some(&self.urgent));
        }
        let numbers = bulk_numbers(&self.folder).map_err(StoreError::file(&self.folder))?;
        numbers.last().map_or(Ok(None), |number| self.sealed(*number))
    }
}

/// A row that begins before `at` begins behind it: only gaps are that long.
fn cut(row: Row, at: i64) -> Row {
    let Item::Skip { first, last, reason, chain_after } = row.item else { return row };
    let left = u64::try_from(row.pos.saturating_sub(at)).unwrap_or(0);
    let first = first.max(Seq(last.0.saturating_sub(left) + 1));
    Row { item: Item::Skip { first, last, reason, chain_after }, ..row }
}

/// What lies between `before` and a block, as gaps: the rest of an epoch that the block's `Opened` names, then the
/// beginning of the block's own.
fn hole(before: Head, block: &Block, span: Option<&Span>) -> Vec<Row> {
    let in_epoch = i64::try_from(block.before.seq.0).unwrap_or(i64::MAX);
    let begins = block.before.pos - in_epoch;
    if before.pos >= begins {
        return skip_to(before, &block.before, DAMAGED).into_iter().collect();
    }
    // The end of the epoch before: known from the catalogue, or from what the block says it continues.
    let end = span.map(|span| span.end).filter(|end| end.pos <= begins).or_else(|| {
        let first = block.rows().into_iter().next()?;
        let Item::Opened(opened) = first.item else { return None };
        Some(Head { pos: begins, epoch: opened.parent_epoch, seq: opened.parent_seq, chain: opened.parent_chain })
    });
    let named = end.filter(|end| before.pos >= end.pos - i64::try_from(end.seq.0).unwrap_or(i64::MAX));
    match named.and_then(|end| skip_to(before, &end, DAMAGED)) {
        Some(row) => vec![row],
        // Whole epochs without a trace: their places cannot be named, what follows can.
        None if in_epoch > 0 => skip_to(Head { pos: begins, ..before }, &block.before, DAMAGED).into_iter().collect(),
        None => block.rows(),
    }
}
