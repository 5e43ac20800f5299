//! Looking at a journal for people: where each lane stands, whether everything in it is what was written.

use std::path::Path;

use serde::Serialize;
use shared::ids::Lane;
use shared::wire::Item;

use super::block::{Head, Row};
use super::reader::Reader;
use super::segment::{Segment, StoreError};
use super::signed::SignedHead;
use super::store::{Store, bulk_numbers, bulk_path, path_in};

/// Rows read at a time: bounds memory, whatever the journal's size.
const PAGE: usize = 1000;
/// Bytes read at a time.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// A run of places within one epoch.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Range {
    /// Epoch, hexadecimal.
    pub epoch: String,
    /// First sequence number.
    pub first: u64,
    /// Last sequence number.
    pub last: u64,
    /// Why it is a gap; `None` where every item is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<String>,
}

/// Where a lane stands.
#[derive(Debug, Clone, Serialize)]
pub struct LaneStatus {
    /// Lane.
    pub lane: Lane,
    /// Items ever kept, over all epochs.
    pub kept: i64,
    /// Of those, at the relay.
    pub acked: i64,
    /// Waiting for the relay.
    pub waiting: i64,
    /// What the lane holds from its oldest place on; filled by [`check`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Range>,
    /// The signed heads that [`check`] held against it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signed: Vec<SignedPlace>,
}

/// A place whose chain the node has signed.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct SignedPlace {
    /// Epoch, hexadecimal.
    pub epoch: String,
    /// Sequence number.
    pub seq: u64,
    /// Whether the journal still leads to what was signed; `None` where that place lies in a gap.
    pub holds: Option<bool>,
}

/// Where a journal stands.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Lanes whose newest file can be read, most urgent first.
    pub lanes: Vec<LaneStatus>,
    /// Bytes of `urgent.db`.
    pub urgent_bytes: u64,
    /// Bulk segments.
    pub segments: usize,
    /// Their bytes.
    pub bulk_bytes: u64,
    /// Whether the ballast is in place.
    pub ballast: bool,
    /// Files set aside.
    pub set_aside: Vec<String>,
    /// The last message that came from the relay.
    pub downlink_seq: u64,
    /// Files that cannot be read, and why; [`check`] reads all of each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
}

impl Status {
    /// Whether every place in it is an item or a gap that is no damage, leads to what the node has signed, and every file
    /// can be read.
    pub fn is_whole(&self) -> bool {
        let damaged = |range: &Range| range.gap.as_deref() == Some(super::block::DAMAGED);
        let forged = |place: &SignedPlace| place.holds == Some(false);
        let sound = |lane: &LaneStatus| !lane.ranges.iter().any(damaged) && !lane.signed.iter().any(forged);
        self.unreadable.is_empty() && self.lanes.iter().all(sound)
    }
}

/// Where the journal of a folder stands; reads tails and the catalogue only.
///
/// # Errors
/// [`StoreError`] when not even the catalogue can be read.
pub fn status(folder: &Path) -> Result<Status, StoreError> {
    let mut reader = Reader::open(folder)?;
    let (mut lanes, mut unreadable) = (Vec::new(), Vec::new());
    for lane in Lane::ALL {
        match reader.backlog(lane) {
            Ok((kept, Head { pos: acked, .. })) => {
                let (ranges, signed) = (Vec::new(), Vec::new());
                lanes.push(LaneStatus { lane, kept, acked, waiting: kept - acked, ranges, signed });
            }
            Err(error) => unreadable.push(format!("{lane}: {error}")),
        }
    }
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    let numbers = bulk_numbers(folder).map_err(StoreError::file(folder))?;
    let aside = std::fs::read_dir(folder.join("damaged")).into_iter().flatten().flatten();
    let mut set_aside: Vec<String> = aside.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    set_aside.sort();
    Ok(Status {
        lanes,
        urgent_bytes: size(&path_in(folder)),
        segments: numbers.len(),
        bulk_bytes: numbers.iter().map(|number| size(&bulk_path(folder, *number))).sum(),
        ballast: folder.join("ballast").exists(),
        set_aside,
        downlink_seq: reader.inbox_last()?,
        unreadable,
    })
}

/// As [`status`], with every record checked against its digest and chain.
///
/// # Errors
/// [`StoreError`] when not even the catalogue can be read.
pub fn check(folder: &Path) -> Result<Status, StoreError> {
    let mut status = status(folder)?;
    let mut reader = Reader::open(folder)?;
    for lane in &mut status.lanes {
        let mut heads = reader.signed(lane.lane)?;
        let mut pos = 0;
        loop {
            match reader.after(lane.lane, pos, PAGE, PAGE_BYTES) {
                Ok(rows) => {
                    let Some(last) = rows.last() else { break };
                    pos = last.pos;
                    for row in &rows {
                        add(&mut lane.ranges, row);
                        lane.signed
                            .extend(heads.extract_if(.., |head| is_met(head, row)).map(|head| found(&head, row)));
                    }
                }
                Err(error) => {
                    status.unreadable.push(format!("{}: {error}", lane.lane));
                    break;
                }
            }
        }
        // What was signed and is not there: the file was cut.
        let cut =
            |SignedHead { epoch, seq, .. }| SignedPlace { epoch: epoch.to_string(), seq: seq.0, holds: Some(false) };
        lane.signed.extend(heads.into_iter().map(cut));
    }
    Ok(status)
}

/// Whether a signed place is this row's, or lies in the gap that it is.
fn is_met(head: &SignedHead, row: &Row) -> bool {
    head.epoch == row.epoch && (row.first_seq()..=row.seq).contains(&head.seq)
}

fn found(head: &SignedHead, row: &Row) -> SignedPlace {
    let holds = (head.seq == row.seq).then(|| head.chain == row.chain);
    SignedPlace { epoch: head.epoch.to_string(), seq: head.seq.0, holds }
}

fn add(ranges: &mut Vec<Range>, row: &Row) {
    let gap = match &row.item {
        Item::Skip { reason, .. } => Some(reason.clone()),
        Item::Record(_) | Item::Opened(_) => None,
    };
    let epoch = row.epoch.to_string();
    match ranges.last_mut() {
        Some(range) if range.epoch == epoch && range.gap == gap => range.last = row.seq.0,
        _ => ranges.push(Range { epoch, first: row.first_seq().0, last: row.seq.0, gap }),
    }
}

/// Makes every file anew that SQLite calls malformed, of what can be read of it; returns their names. The node must be
/// stopped.
///
/// # Errors
/// [`StoreError`]; a running node has the lock.
pub fn repair(folder: &Path) -> Result<Vec<String>, StoreError> {
    let _lock = Store::lock(folder)?;
    let mut rebuilt = Vec::new();
    let numbers = bulk_numbers(folder).map_err(StoreError::file(folder))?;
    let files = std::iter::once(path_in(folder)).chain(numbers.into_iter().map(|number| bulk_path(folder, number)));
    for file in files.filter(|file| file.exists()) {
        let sound = Segment::read(&file).and_then(|segment| segment.quick_check().map_err(StoreError::at(&file)));
        match sound {
            Ok(true) => {}
            Err(error) if !error.is_damage() => return Err(error),
            Ok(false) | Err(_) => {
                Store::rebuild(folder, &file)?;
                rebuilt.push(file.display().to_string());
            }
        }
    }
    Ok(rebuilt)
}
