//! Reading the journal: its own connections, no transaction between calls, so that it neither blocks the writer nor
//! pins the log.
//!
//! A position whose bytes are gone is given as a `Skip` up to the end of its run: the catalogue says why, or it lies
//! between blocks and counts as damaged. A file that the writer has made anew is opened again, since the old one would
//! show damage that is mended.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use shared::ids::{Epoch, Lane, Seq};
use shared::wire::Item;

use super::block::{Block, DAMAGED, Head, Row, Times, skip_to};
use super::catalogue::{self, ACKED, RELAY_ROLLBACK, Span};
use super::inbox::{self, Letter};
use super::segment::{Segment, StoreError};
use super::signed::{self, SignedHead};
use super::store::{bulk_numbers, bulk_path, is_urgent, path_in};

/// Sealed segments held open at once; reading goes from old to new, so few are used together.
const OPEN_MAX: usize = 3;
/// Epochs looked back at: one a start of the node, so years of them.
const ENDS_MAX: i64 = 10_000;

/// A reader of a data folder.
pub struct Reader {
    folder: PathBuf,
    urgent: Open,
    bulk: Vec<(i64, Open)>,
}

/// An open file, and which file it is.
struct Open {
    segment: Segment,
    identity: Option<(u64, u64)>,
}

impl Open {
    fn new(path: &Path) -> Result<Self, StoreError> {
        // Taken first: a file that is swapped in between is opened again at the next look.
        let identity = identity(path);
        Ok(Self { segment: Segment::read(path)?, identity })
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

impl Reader {
    /// Opens the journal of a folder for reading.
    ///
    /// # Errors
    /// [`StoreError`] naming the file.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Ok(Self { folder: folder.to_owned(), urgent: Open::new(&path_in(folder))?, bulk: Vec::new() })
    }

    /// Rows of a lane after `pos`, oldest first: at most `limit`, and no more once they hold `bytes` of records.
    ///
    /// # Errors
    /// [`StoreError`] naming the file.
    pub fn after(&mut self, lane: Lane, pos: i64, limit: usize, bytes: usize) -> Result<Vec<Row>, StoreError> {
        self.refresh()?;
        let (mut rows, mut at, mut held): (Vec<Row>, i64, usize) = (Vec::new(), pos, 0);
        while rows.len() < limit && held < bytes {
            let found = self.rows_at(lane, at.saturating_add(1))?;
            let Some(last) = found.last() else { break };
            let reached = last.pos;
            for row in found.into_iter().filter(|row| row.pos > at) {
                held += if let Item::Record(record) = &row.item { record.bytes.len() } else { 0 };
                rows.push(cut(row, at));
            }
            at = reached;
        }
        rows.truncate(limit);
        Ok(rows)
    }

    /// The furthest position from which on every event within `times` still follows: blocks of other times are passed
    /// over by their headers.
    ///
    /// # Errors
    /// [`StoreError`] naming the file.
    pub fn skip_to(&mut self, lane: Lane, mut pos: i64, times: Times) -> Result<i64, StoreError> {
        if times == Times::ALL {
            return Ok(pos);
        }
        self.refresh()?;
        loop {
            let span = self.span_from(lane, pos.saturating_add(1))?;
            let next = match &span {
                Some(Span { gone: Some(_), .. }) => None,
                Some(Span { gone: None, segment, .. }) => {
                    let segment = self.live(*segment, is_urgent(lane))?;
                    segment.next_within(lane, pos, times).map_err(StoreError::at(&segment.path))?
                }
                None => {
                    let Some(segment) = self.newest(lane)? else { return Ok(pos) };
                    let next = segment.next_within(lane, pos, times).map_err(StoreError::at(&segment.path))?;
                    let last = segment.last_pos(lane).map_err(StoreError::at(&segment.path))?;
                    return Ok(next.or(last).map_or(pos, |found| pos.max(found)));
                }
            };
            match (next, span) {
                (Some(next), _) => return Ok(pos.max(next)),
                (None, Some(span)) => pos = span.end.pos,
                (None, None) => return Ok(pos),
            }
        }
    }

    /// Position of the item (epoch, seq); `None` where the journal never knew it.
    ///
    /// # Errors
    /// [`StoreError`] naming the file.
    pub fn position(&mut self, lane: Lane, epoch: Epoch, seq: Seq) -> Result<Option<i64>, StoreError> {
        self.refresh()?;
        let offset = |end: &Head| end.pos - i64::try_from(end.seq.0.saturating_sub(seq.0)).unwrap_or(0);
        let span = catalogue::span_of(self.catalogue(), lane, epoch, seq).map_err(StoreError::at(&self.path()))?;
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
        self.refresh()?;
        let path = self.path();
        let at = StoreError::at(&path);
        let acked = catalogue::acked(self.catalogue(), lane).map_err(at)?;
        let newest = self.newest(lane)?;
        let last = newest.map(|s| s.last_pos(lane).map_err(StoreError::at(&s.path))).transpose()?.flatten();
        let last = match last {
            Some(pos) => pos,
            None => catalogue::last_end(self.catalogue(), lane).map_err(at)?.map_or(0, |end| end.pos),
        };
        Ok((last.max(acked.pos), acked))
    }

    /// Where the epochs of a lane ended behind which another has begun, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] naming the file.
    pub fn ends(&mut self, lane: Lane) -> Result<Vec<Head>, StoreError> {
        self.refresh()?;
        catalogue::ends(self.catalogue(), lane, ENDS_MAX).map_err(StoreError::at(&self.path()))
    }

    /// Sequence number of the last letter that the relay sent; 0 before the first.
    ///
    /// # Errors
    /// [`StoreError`] naming the file.
    pub fn inbox_last(&mut self) -> Result<u64, StoreError> {
        self.refresh()?;
        inbox::last(self.catalogue()).map_err(StoreError::at(&self.path()))
    }

    /// The newest letters, newest first.
    ///
    /// # Errors
    /// [`StoreError`] naming the file.
    pub fn inbox_newest(&mut self, limit: usize) -> Result<Vec<Letter>, StoreError> {
        self.refresh()?;
        inbox::newest(self.catalogue(), limit).map_err(StoreError::at(&self.path()))
    }

    /// The signed heads of a lane, in the order in which they were signed.
    ///
    /// # Errors
    /// [`StoreError`] naming the file.
    pub fn signed(&mut self, lane: Lane) -> Result<Vec<SignedHead>, StoreError> {
        self.refresh()?;
        signed::of_lane(self.catalogue(), lane).map_err(StoreError::at(&self.path()))
    }

    fn path(&self) -> PathBuf {
        path_in(&self.folder)
    }

    fn catalogue(&self) -> &rusqlite::Connection {
        &self.urgent.segment.db
    }

    /// Opens `urgent.db` again if it is another file now, and lets go of segments that are.
    fn refresh(&mut self) -> Result<(), StoreError> {
        let path = self.path();
        if identity(&path) != self.urgent.identity {
            self.urgent = Open::new(&path)?;
        }
        let folder = &self.folder;
        self.bulk
            .retain(|(number, open)| open.identity.is_some() && identity(&bulk_path(folder, *number)) == open.identity);
        Ok(())
    }

    /// The rows of the block or the gap that holds `pos` or, where nothing does, that comes next.
    fn rows_at(&mut self, lane: Lane, pos: i64) -> Result<Vec<Row>, StoreError> {
        let before = Head { pos: pos - 1, ..Head::NONE };
        let mut span = self.span_from(lane, pos)?;
        let block = loop {
            let block = match &span {
                Some(Span { gone: Some(why), end, first_pos, .. }) if *first_pos <= pos => {
                    let why = if why == ACKED { RELAY_ROLLBACK } else { why };
                    return Ok(skip_to(before, end, why).into_iter().collect());
                }
                // Lost places before a segment that is gone, too: the end of that is the next that is known.
                Some(Span { gone: Some(_), end, .. }) => return self.hole_to(lane, before, end),
                Some(Span { gone: None, segment, first_pos, .. }) => {
                    let segment = self.live(*segment, is_urgent(lane))?;
                    segment.block_at(lane, pos.max(*first_pos)).map_err(StoreError::at(&segment.path))?
                }
                None => {
                    let newest = self.newest(lane)?;
                    newest.map(|s| s.block_at(lane, pos).map_err(StoreError::at(&s.path))).transpose()?.flatten()
                }
            };
            if block.as_ref().is_some_and(|block| block.before.pos < pos) {
                break block;
            }
            // The segment may have been sealed since the catalogue was asked.
            let again = self.span_from(lane, pos)?;
            if again == span {
                break block;
            }
            span = again;
        };
        match (block, span) {
            (Some(block), _) if block.before.pos < pos => Ok(block.rows()),
            // Between blocks.
            (Some(block), _) => self.hole_before(lane, before, &block),
            (None, Some(span)) => self.hole_to(lane, before, &span.end),
            (None, None) => Ok(Vec::new()),
        }
    }

    fn span_from(&self, lane: Lane, pos: i64) -> Result<Option<Span>, StoreError> {
        catalogue::span_from(self.catalogue(), lane, pos).map_err(StoreError::at(&self.path()))
    }

    /// What lies between `before` and a block.
    fn hole_before(&self, lane: Lane, before: Head, block: &Block) -> Result<Vec<Row>, StoreError> {
        let rows = self.hole_to(lane, before, &block.before)?;
        if rows.is_empty() {
            // Places that nobody can name: what follows goes on.
            tracing::error!(%lane, after = before.pos, "places without a trace: their epochs are not known");
            return Ok(block.rows());
        }
        Ok(rows)
    }

    /// The places from behind `before` up to `end`, epoch by epoch where the catalogue knows how each of them ended.
    fn hole_to(&self, lane: Lane, before: Head, end: &Head) -> Result<Vec<Row>, StoreError> {
        if !is_urgent(lane) {
            self.refuse_uncatalogued()?;
        }
        let begin_of = |end: &Head| end.pos - i64::try_from(end.seq.0).unwrap_or(i64::MAX);
        let (mut rows, mut at) = (Vec::new(), before);
        while at.pos < begin_of(end) {
            let next =
                catalogue::epoch_end(self.catalogue(), lane, at.pos + 1).map_err(StoreError::at(&self.path()))?;
            let Some(next) = next.filter(|next| next.pos <= begin_of(end)) else { break };
            rows.extend(skip_to(Head { pos: at.pos.max(begin_of(&next)), ..at }, &next, DAMAGED));
            at = next;
        }
        rows.extend(skip_to(Head { pos: at.pos.max(begin_of(end)), ..at }, end, DAMAGED));
        Ok(rows)
    }

    /// What a segment holds that the catalogue does not know yet is no hole: a file made anew is being filled in.
    fn refuse_uncatalogued(&self) -> Result<(), StoreError> {
        let numbers = bulk_numbers(&self.folder).map_err(StoreError::file(&self.folder))?;
        for number in numbers.iter().rev().skip(1) {
            if catalogue::known(self.catalogue(), *number).map_err(StoreError::at(&self.path()))?.is_none() {
                let path = bulk_path(&self.folder, *number);
                return Err(StoreError::other(&path, "is not in the catalogue yet: trying again later"));
            }
        }
        Ok(())
    }

    /// A segment that the catalogue says is there.
    fn live(&mut self, number: i64, urgent: bool) -> Result<&Segment, StoreError> {
        if urgent {
            return Ok(&self.urgent.segment);
        }
        let path = bulk_path(&self.folder, number);
        let missing = StoreError::other(&path, "is not there, though the catalogue has it: trying again later");
        self.opened(number)?.ok_or(missing)
    }

    fn opened(&mut self, number: i64) -> Result<Option<&Segment>, StoreError> {
        let index = match self.bulk.iter().position(|(open, _)| *open == number) {
            Some(index) => index,
            None => {
                let path = bulk_path(&self.folder, number);
                if !path.exists() {
                    return Ok(None);
                }
                if self.bulk.len() >= OPEN_MAX {
                    self.bulk.remove(0);
                }
                self.bulk.push((number, Open::new(&path)?));
                self.bulk.len() - 1
            }
        };
        Ok(self.bulk.get(index).map(|(_, open)| &open.segment))
    }

    /// The file that a lane is written to now.
    fn newest(&mut self, lane: Lane) -> Result<Option<&Segment>, StoreError> {
        if is_urgent(lane) {
            return Ok(Some(&self.urgent.segment));
        }
        let numbers = bulk_numbers(&self.folder).map_err(StoreError::file(&self.folder))?;
        numbers.last().map_or(Ok(None), |number| self.opened(*number))
    }
}

/// A row that begins before `at` begins behind it: only gaps are that long.
fn cut(row: Row, at: i64) -> Row {
    let Item::Skip { first, last, reason, chain_after } = row.item else { return row };
    let left = u64::try_from(row.pos.saturating_sub(at)).unwrap_or(0);
    let first = first.max(Seq(last.0.saturating_sub(left) + 1));
    Row { item: Item::Skip { first, last, reason, chain_after }, ..row }
}
