//! What the journal gives up and when: sealing and unlinking of bulk segments, the urgent reserve, the ballast.
//!
//! Whole segments are unlinked, since deleting rows needs room that a full disk does not have. The catalogue is told
//! first, so that a crash in between leaves a file that is unlinked again at the next turn, never a nameless gap.

use rusqlite::params;
use shared::ids::Lane;
use tracing::{info, warn};

use super::block::{DAMAGED, Head, Times};
use super::catalogue::{self, ACKED, DISK_FULL, QUOTA, Span};
use super::damage::remove;
use super::limits::Limits;
use super::segment::{Segment, StoreError};
use super::store::{BULK, Store, URGENT, bulk_numbers, bulk_path};
use super::thin::{self, FROM_PERCENT};

/// Most blocks of `urgent.db` that are deleted in one turn, so that a turn stays short.
const DELETED_AT_ONCE: usize = 500;
/// Percent of the urgent reserve above which sent events go before their time.
const CROWDED: u64 = 90;

/// Puts the places that a full segment holds into the catalogue.
///
/// # Errors
/// [`StoreError`] naming the file.
pub fn seal(urgent: &Segment, segment: &Segment, number: i64) -> Result<(), StoreError> {
    let at = StoreError::at(&urgent.path);
    let tx = urgent.db.unchecked_transaction().map_err(at)?;
    let mut count = 0;
    // Sealed before, perhaps, and not all of it is known any more.
    tx.execute("DELETE FROM span WHERE segment = ?1", params![number]).map_err(at)?;
    for lane in BULK {
        for span in spans_of(segment, lane, number).map_err(StoreError::at(&segment.path))? {
            catalogue::add(&tx, lane, &span).map_err(at)?;
            count += 1;
        }
    }
    catalogue::sealed_now(&tx, number, count).map_err(at)?;
    tx.commit().map_err(at)
}

/// The runs of places in a segment, from its blocks' headers.
fn spans_of(segment: &Segment, lane: Lane, number: i64) -> rusqlite::Result<Vec<Span>> {
    let mut spans: Vec<Span> = Vec::new();
    segment.each_header(lane, |before: Head, after: Head| match spans.last_mut() {
        // A hole within an epoch is part of its run: reading names it.
        Some(span) if span.end.epoch == after.epoch => span.end = after,
        _ => spans.push(Span { first_pos: before.pos + 1, end: after, segment: number, gone: None }),
    })?;
    Ok(spans)
}

/// Rotation, quotas and the ballast; `now_us` is UTC. Gives the segment that should be thinned next, if there is one.
///
/// # Errors
/// [`StoreError`]; what could not be done now is tried again.
pub fn maintain(store: &mut Store, now_us: i64) -> Result<Option<i64>, StoreError> {
    let full = |bytes: u64| bytes >= store.limits.segment_bytes();
    let size = store.bulk.as_ref().map(|bulk| bulk.segment.bytes().map_err(StoreError::at(&bulk.segment.path)));
    // On a full disk the next segment waits for what is reclaimed here.
    let rotated = if size.transpose()?.is_some_and(full) { store.rotate() } else { Ok(()) };
    reconcile(store)?;
    let sealed = catalogue::sealed(&store.urgent.db).map_err(StoreError::at(&store.urgent.path))?;
    let keep = i64::try_from(store.limits.keep.as_micros()).unwrap_or(i64::MAX);
    let mut used: u64 = bulk_bytes(store)?;
    for (number, sealed_us) in sealed {
        let acked = is_acked(store, number)?;
        let old = acked && now_us.saturating_sub(sealed_us) > keep;
        let over = used > store.limits.bulk_bytes();
        if !old && !over {
            break;
        }
        used = used.saturating_sub(unlink(store, number, if acked { ACKED } else { QUOTA })?);
    }
    delete_urgent(&mut store.urgent, now_us.saturating_sub(keep))?;
    store.bear_witness()?;
    store.ballast.keep();
    rotated?;
    if used > store.limits.bulk_bytes() / 100 * FROM_PERCENT { next_to_thin(store) } else { Ok(None) }
}

/// The oldest segment that was neither sent nor thinned.
fn next_to_thin(store: &Store) -> Result<Option<i64>, StoreError> {
    let at = StoreError::at(&store.urgent.path);
    for (number, _) in catalogue::sealed(&store.urgent.db).map_err(at)? {
        if !thin::is_done(&store.urgent.db, number).map_err(at)? && !is_acked(store, number)? {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// Unlinks the oldest sealed segment to make room on a full disk, one that was sent if there is one. False when there is
/// none to give.
///
/// # Errors
/// [`StoreError`] naming the file.
pub fn free_oldest(store: &mut Store) -> Result<bool, StoreError> {
    let sealed = catalogue::sealed(&store.urgent.db).map_err(StoreError::at(&store.urgent.path))?;
    let mut chosen = None;
    for (number, _) in sealed {
        let acked = is_acked(store, number)?;
        if acked || chosen.is_none() {
            chosen = Some((number, if acked { ACKED } else { DISK_FULL }));
        }
        if acked {
            break;
        }
    }
    let Some((number, why)) = chosen else { return Ok(false) };
    match unlink(store, number, why) {
        Err(error) if error.is_full() => {
            // Naming the gap takes room, too. Its places are in the catalogue: a crash here leaves a segment that is
            // missing, which is named as damaged.
            warn!(number, "segment is removed before it could be noted: no room for the note");
            remove(&bulk_path(&store.folder, number))?;
            catalogue::gone(&store.urgent.db, number, why).map_err(StoreError::at(&store.urgent.path))?;
        }
        other => drop(other?),
    }
    Ok(true)
}

/// Refuses urgent events when their reserve is full of unsent ones.
///
/// # Errors
/// [`StoreError::ReserveFull`].
pub fn keep_reserve(urgent: &mut Segment, limits: &Limits) -> Result<(), StoreError> {
    let quota = limits.urgent_bytes();
    let used = |urgent: &Segment| urgent.bytes().map_err(StoreError::at(&urgent.path));
    if used(urgent)? < quota / 100 * CROWDED {
        return Ok(());
    }
    // On a full disk even this may fail; then the commit itself shows it, and room is made.
    if let Err(error) = delete_urgent(urgent, i64::MAX) {
        warn!("sent urgent events cannot be deleted: {error}");
    }
    if used(urgent)? < quota {
        return Ok(());
    }
    Err(StoreError::ReserveFull { file: urgent.path.display().to_string(), quota })
}

/// Deletes urgent blocks that were sent and whose events are all before `before_us`, oldest first.
fn delete_urgent(urgent: &mut Segment, before_us: i64) -> Result<(), StoreError> {
    let at = StoreError::at(&urgent.path);
    let tx = urgent.db.unchecked_transaction().map_err(at)?;
    for lane in URGENT {
        let acked = catalogue::acked(&tx, lane).map_err(at)?;
        let mut old: Vec<(Head, Head, Times)> = Vec::new();
        let found = urgent.each_header_timed(lane, |before, after, times| {
            let goes = after.pos <= acked.pos && times.to < before_us && old.len() < DELETED_AT_ONCE;
            if goes {
                old.push((before, after, times));
            }
            Ok(goes)
        });
        found.map_err(at)?;
        // An epoch's opening has no time of its own: it goes with the first event behind it.
        while old.last().is_some_and(|(.., times)| *times == Times::NONE) {
            old.pop();
        }
        for run in old.chunk_by(|(_, a, _), (_, b, _)| a.epoch == b.epoch) {
            if let (Some((first, ..)), Some((_, end, _))) = (run.first(), run.last()) {
                catalogue::deleted(&tx, lane, first.pos + 1, end).map_err(at)?;
            }
        }
        if let Some((_, end, _)) = old.last() {
            let sql = format!("DELETE FROM block_{lane} WHERE first_pos <= ?1");
            tx.execute(&sql, params![end.pos]).map_err(at)?;
        }
    }
    tx.commit().map_err(at)
}

/// Whether everything of a segment is at the relay.
fn is_acked(store: &Store, number: i64) -> Result<bool, StoreError> {
    let at = StoreError::at(&store.urgent.path);
    if catalogue::known(&store.urgent.db, number).map_err(at)?.is_none() {
        // Not all of its places are known: what is not known was not sent.
        return Ok(false);
    }
    for lane in BULK {
        let acked = catalogue::acked(&store.urgent.db, lane).map_err(at)?;
        let spans = catalogue::spans(&store.urgent.db, lane, number).map_err(at)?;
        if spans.iter().any(|span| span.end.pos > acked.pos) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Unlinks a sealed segment; returns the bytes it had.
fn unlink(store: &mut Store, number: i64, why: &str) -> Result<u64, StoreError> {
    let path = bulk_path(&store.folder, number);
    let bytes = std::fs::metadata(&path).map_or(0, |file| file.len());
    catalogue::gone(&store.urgent.db, number, why).map_err(StoreError::at(&store.urgent.path))?;
    remove(&path)?;
    match why {
        ACKED => info!(number, "segment is removed: the relay has all of it"),
        _ => warn!(number, why, "segment is removed before all of it was sent: a named gap"),
    }
    Ok(bytes)
}

/// Brings files and catalogue together where a crash or damage came between: unlinks what the catalogue calls gone, seals
/// what it does not know, notes what is missing.
pub fn reconcile(store: &mut Store) -> Result<(), StoreError> {
    let numbers = bulk_numbers(&store.folder).map_err(StoreError::file(&store.folder))?;
    let current = store.bulk.as_ref().map(|bulk| bulk.number);
    for number in numbers.into_iter().filter(|number| current.is_some_and(|current| *number < current)) {
        match catalogue::known(&store.urgent.db, number).map_err(StoreError::at(&store.urgent.path))? {
            Some(Some(_)) => remove(&bulk_path(&store.folder, number))?,
            Some(None) => {}
            None => store.seal_if_needed(number)?,
        }
    }
    let live = catalogue::sealed(&store.urgent.db).map_err(StoreError::at(&store.urgent.path))?;
    for (number, _) in live.iter().filter(|(number, _)| !bulk_path(&store.folder, *number).exists()) {
        warn!(number, "segment is missing: its places are named as damaged");
        catalogue::gone(&store.urgent.db, *number, DAMAGED).map_err(StoreError::at(&store.urgent.path))?;
    }
    Ok(())
}

fn bulk_bytes(store: &Store) -> Result<u64, StoreError> {
    let numbers = bulk_numbers(&store.folder).map_err(StoreError::file(&store.folder))?;
    let size = |number| std::fs::metadata(bulk_path(&store.folder, number)).map_or(0, |file| file.len());
    Ok(numbers.into_iter().map(size).sum())
}
