//! What one commit adds to one lane: a run of items in one epoch, with everything needed to find damage in it. Pure.
//!
//! Limits: [`BODY_MAX`] bytes, unless a single item is larger. Layout of the body: for each item its digest (32 bytes),
//! kind (u8: 1 record, 2 opened, 3 thinned), type id (u16), schema version (u16) and length (u32), all little-endian,
//! then the bytes; of a thinned run the digest is the chain behind it, the bytes are its length (u64) and the chain before it. The header (first position and sequence number, count, times, chain before and after) has a checksum of
//! its own. Recovery: a record whose bytes do not match its digest becomes a [`Item::Skip`] for `damaged` of exactly its
//! place; where the frame itself is broken, the rest of the block does. A block with a broken header is passed over,
//! and its range is named by its neighbours.

use shared::ids::{Digest, Epoch, Seq};
use shared::record::{Opened, Record};
use shared::wire::Item;

/// A block is closed at this size: a flipped byte in its frame costs at most this much.
pub const BODY_MAX: usize = 256 * 1024;
/// Bytes of an item before its content.
const FRAME: usize = 32 + 1 + 2 + 2 + 4;
/// The reason of a named gap whose bytes are on the disk but are not what was written.
pub const DAMAGED: &str = "damaged";

/// The reason of a named gap that thinning has made.
pub const THINNED: &str = "thinned";

/// Where a lane stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Position in the lane, over all epochs, dense from 1; 0 before the first item.
    pub pos: i64,
    /// Epoch.
    pub epoch: Epoch,
    /// Last sequence number.
    pub seq: Seq,
    /// Chain there.
    pub chain: Digest,
}

impl Head {
    /// A lane that never had an item.
    pub const NONE: Self = Self { pos: 0, epoch: Epoch([0; 16]), seq: Seq(0), chain: Digest([0; 32]) };

    /// The first item of a new epoch that continues this head.
    pub fn opened(&self) -> Opened {
        match self.pos {
            0 => Opened::FIRST,
            _ => Opened { parent_epoch: self.epoch, parent_seq: self.seq, parent_chain: self.chain },
        }
    }

    /// The head after an item that begins right behind this one.
    #[must_use]
    pub fn after(&self, item: &Item) -> Self {
        let first = self.seq.next();
        let (seq, chain) = item.advance(first, self.chain);
        let covered = i64::try_from(seq.0.saturating_sub(self.seq.0)).unwrap_or(i64::MAX);
        Self { pos: self.pos.saturating_add(covered), epoch: self.epoch, seq, chain }
    }
}

/// One item with its place; `pos`, `seq` and `chain` are those of its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Position in the lane, over all epochs.
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
    /// Sequence number where it begins.
    pub fn first_seq(&self) -> Seq {
        match &self.item {
            Item::Skip { first, .. } => *first,
            Item::Record(_) | Item::Opened(_) => self.seq,
        }
    }

    /// Where the lane stands after it.
    pub fn head(&self) -> Head {
        Head { pos: self.pos, epoch: self.epoch, seq: self.seq, chain: self.chain }
    }
}

/// Times of the events in a block, microseconds UTC, however wrong the clock was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Earliest.
    pub from: i64,
    /// Latest.
    pub to: i64,
}

impl Times {
    /// No event yet.
    pub const NONE: Self = Self { from: i64::MAX, to: i64::MIN };

    /// Any time.
    pub const ALL: Self = Self { from: i64::MIN, to: i64::MAX };

    /// Takes one more event in.
    pub fn add(&mut self, at: i64) {
        *self = Self { from: self.from.min(at), to: self.to.max(at) };
    }
}

/// A run of items of one lane and epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Where the lane stood before its first item.
    pub before: Head,
    /// Where it stands after its last.
    pub after: Head,
    /// Times of its events.
    pub times: Times,
    /// The items.
    pub body: Vec<u8>,
}

impl Block {
    /// An empty block behind `before`.
    pub fn new(before: Head) -> Self {
        Self { before, after: before, times: Times::NONE, body: Vec::new() }
    }

    /// Adds an event seen at `at` (UTC microseconds).
    pub fn push_record(&mut self, record: &Record, at: i64) {
        let digest = record.digest();
        let seq = self.after.seq.next();
        let pos = self.after.pos.saturating_add(1);
        self.after = Head { pos, epoch: self.after.epoch, seq, chain: self.after.chain.chained(digest) };
        self.frame(digest, (1, record.type_id, record.schema_version), &record.bytes);
        self.times.add(at);
    }

    /// Adds the first item of an epoch.
    pub fn push_opened(&mut self, opened: &Opened) {
        self.after = self.after.after(&Item::Opened(*opened));
        self.frame(opened.digest(), (2, 0, 0), &postcard::to_stdvec(opened).unwrap_or_default());
    }

    pub(super) fn frame(&mut self, digest: Digest, (kind, type_id, version): (u8, u16, u16), bytes: &[u8]) {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.body.reserve(FRAME + bytes.len());
        self.body.extend_from_slice(&digest.0);
        self.body.push(kind);
        self.body.extend_from_slice(&type_id.to_le_bytes());
        self.body.extend_from_slice(&version.to_le_bytes());
        self.body.extend_from_slice(&len.to_le_bytes());
        self.body.extend_from_slice(bytes);
    }

    /// Whether another item of `len` bytes should begin a new block.
    pub fn is_full_for(&self, len: usize) -> bool {
        !self.body.is_empty() && self.body.len() + FRAME + len > BODY_MAX
    }

    /// Positions it covers.
    pub fn count(&self) -> i64 {
        self.after.pos - self.before.pos
    }

    /// A block of records behind `before` whose header was lost; `None` unless every record proves itself.
    pub fn recover(before: Head, body: Vec<u8>) -> Option<Self> {
        let mut block = Self { before, after: before, times: Times::NONE, body };
        let mut rest = block.body.as_slice();
        while let Some((entry, behind)) = Entry::read(rest) {
            let Item::Record(record) = &entry.item else { return None };
            if record.digest() != entry.stored {
                return None;
            }
            block.times.add(record.decode().map_or(0, |decoded| decoded.envelope.occurred.at.0));
            block.after = block.after.after(&entry.item);
            rest = behind;
        }
        (rest.is_empty() && block.count() > 0).then_some(block)
    }

    /// Checksum of the header, as kept beside it.
    pub fn check(&self) -> i64 {
        let mut hasher = blake3::Hasher::new();
        for head in [&self.before, &self.after] {
            hasher.update(&head.pos.to_le_bytes()).update(&head.epoch.0);
            hasher.update(&head.seq.0.to_le_bytes()).update(&head.chain.0);
        }
        hasher.update(&self.times.from.to_le_bytes()).update(&self.times.to.to_le_bytes());
        i64::from_le_bytes(hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default())
    }

    /// The items with their places; damage is a `Skip`.
    pub fn rows(&self) -> Vec<Row> {
        let (entries, whole) = self.entries();
        let chain = |pick: fn(&Entry) -> Digest| {
            entries.iter().try_fold(self.before.chain, |chain, entry| match entry.thinned_from {
                Some(before) => (chain == before).then_some(entry.stored),
                None => Some(chain.chained(pick(entry))),
            })
        };
        let stored = whole && chain(|e| e.stored) == Some(self.after.chain);
        // Where only a stored digest was damaged, the content proves itself by the chain.
        let content = !stored && whole && chain(Entry::content) == Some(self.after.chain);
        let mut rows: Vec<Row> = Vec::with_capacity(entries.len());
        let mut at = self.before;
        for entry in entries {
            // Of a thinned run nothing is left that could prove itself: only the chain around it does.
            let good = content || (entry.content() == entry.stored && (stored || entry.thinned_from.is_none()));
            let item = match good {
                true => placed(entry.item, at.seq),
                false if stored => {
                    let seq = at.seq.next();
                    let chain_after = at.chain.chained(entry.stored);
                    Item::Skip { first: seq, last: seq, reason: DAMAGED.into(), chain_after }
                }
                false => break,
            };
            at = at.after(&item);
            rows.push(Row { pos: at.pos, epoch: at.epoch, seq: at.seq, chain: at.chain, item });
        }
        if at.pos < self.after.pos || at.chain != self.after.chain {
            // Nothing after the first doubt is proved: a block whose items do not lead to its chain is not believed.
            if at.pos >= self.after.pos {
                rows.clear();
                at = self.before;
            }
            rows.extend(skip_to(at, &self.after, DAMAGED));
        }
        rows
    }

    /// The items as they can be read, and whether all of them could.
    fn entries(&self) -> (Vec<Entry>, bool) {
        let mut entries = Vec::new();
        let mut rest = self.body.as_slice();
        while let Some((entry, behind)) = Entry::read(rest) {
            entries.push(entry);
            rest = behind;
        }
        let places = |entry: &Entry| match entry.item {
            Item::Skip { last, .. } => last.0,
            Item::Record(_) | Item::Opened(_) => 1,
        };
        let covered = entries.iter().map(places).fold(0, u64::saturating_add);
        let whole = rest.is_empty() && i64::try_from(covered) == Ok(self.count());
        (entries, whole)
    }
}

/// A `Skip` from behind `at` up to `end`, in `end`'s epoch; `None` where nothing lies between.
pub fn skip_to(at: Head, end: &Head, reason: &str) -> Option<Row> {
    let missing = u64::try_from(end.pos.saturating_sub(at.pos)).ok().filter(|missing| *missing > 0)?;
    // An epoch has no places before its first.
    let missing = missing.min(end.seq.0);
    let first = Seq(end.seq.0.saturating_sub(missing) + 1);
    let item = Item::Skip { first, last: end.seq, reason: reason.to_owned(), chain_after: end.chain };
    Some(Row { pos: end.pos, epoch: end.epoch, seq: end.seq, chain: end.chain, item })
}

/// A thinned run behind a place; its length was read as its last place.
fn placed(item: Item, behind: Seq) -> Item {
    let Item::Skip { last, reason, chain_after, .. } = item else { return item };
    Item::Skip { first: behind.next(), last: Seq(behind.0.saturating_add(last.0)), reason, chain_after }
}

struct Entry {
    stored: Digest,
    item: Item,
    /// The chain before a thinned run.
    thinned_from: Option<Digest>,
}

impl Entry {
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (frame, rest) = bytes.split_at_checked(FRAME)?;
        let (digest, frame) = frame.split_first_chunk::<32>()?;
        let (kind, frame) = frame.split_first()?;
        let (type_id, frame) = frame.split_first_chunk::<2>()?;
        let (version, frame) = frame.split_first_chunk::<2>()?;
        let len = usize::try_from(u32::from_le_bytes(*frame.first_chunk()?)).ok()?;
        let (bytes, rest) = rest.split_at_checked(len)?;
        let mut thinned_from = None;
        let item = match kind {
            1 => Item::Record(Record {
                type_id: u16::from_le_bytes(*type_id),
                schema_version: u16::from_le_bytes(*version),
                bytes: bytes.to_vec(),
            }),
            2 => Item::Opened(postcard::from_bytes(bytes).ok()?),
            // Its place is known to the block.
            3 => {
                let (run, before) = bytes.split_first_chunk::<8>()?;
                thinned_from = Some(Digest(before.try_into().ok()?));
                let (first, last, reason) = (Seq(1), Seq(u64::from_le_bytes(*run).max(1)), THINNED.into());
                Item::Skip { first, last, reason, chain_after: Digest(*digest) }
            }
            _ => return None,
        };
        Some((Self { stored: Digest(*digest), item, thinned_from }, rest))
    }

    fn content(&self) -> Digest {
        match &self.item {
            Item::Record(record) => record.digest(),
            Item::Opened(opened) => opened.digest(),
            Item::Skip { chain_after, .. } => *chain_after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Block, DAMAGED, Head, Row};
    use shared::ids::{Epoch, Seq};
    use shared::record::{Opened, Record};
    use shared::wire::Item;

    fn block(records: u8) -> Block {
        let mut block = Block::new(Head { epoch: Epoch([1; 16]), ..Head::NONE });
        block.push_opened(&Opened::FIRST);
        for n in 0..records {
            block.push_record(&Record { type_id: 7, schema_version: 1, bytes: vec![n; 20] }, n.into());
        }
        block
    }

    /// The sequence numbers of the records given, and those named as gaps.
    fn given(rows: &[Row]) -> (Vec<u64>, Vec<(u64, u64)>) {
        let records = rows.iter().filter(|row| !matches!(row.item, Item::Skip { .. })).map(|row| row.seq.0).collect();
        let gaps = rows.iter().filter_map(|row| match &row.item {
            Item::Skip { first, last, reason, .. } if reason == DAMAGED => Some((first.0, last.0)),
            _ => None,
        });
        (records, gaps.collect())
    }

    #[test]
    fn a_block_gives_back_what_was_pushed_with_its_places() {
        let block = block(4);
        let rows = block.rows();
        assert_eq!(given(&rows), (vec![1, 2, 3, 4, 5], vec![]));
        assert_eq!(rows.last().map(|r| (r.pos, r.seq, r.chain)), Some((5, Seq(5), block.after.chain)));
    }

    #[test]
    fn any_flipped_byte_costs_a_named_range_and_every_place_is_record_or_gap() {
        let whole = block(4);
        let good = whole.rows();
        for at in 0..whole.body.len() {
            let mut bad = whole.clone();
            bad.body[at] ^= 0x10;
            let rows = bad.rows();
            let (records, gaps) = given(&rows);
            let named: u64 = gaps.iter().map(|(first, last)| last - first + 1).sum();
            assert_eq!(records.len() as u64 + named, 5, "byte {at}");
            assert_eq!(rows.last().map(|r| r.chain), Some(whole.after.chain), "byte {at}: the chain goes on");
            for row in rows.iter().filter(|row| !matches!(row.item, Item::Skip { .. })) {
                assert!(good.contains(row), "byte {at}: a damaged record was given as good");
            }
        }
    }

    #[test]
    fn a_flipped_content_byte_costs_exactly_its_record() {
        let mut bad = block(4);
        let len = bad.body.len();
        bad.body[len - 25 - 61] ^= 1;
        assert_eq!(given(&bad.rows()), (vec![1, 2, 3, 5], vec![(4, 4)]));
    }
}
