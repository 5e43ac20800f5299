//! What the journal gives up, in which order, and that each gap has a name.

use edge_node::journal::block::Head;
use edge_node::journal::limits::Limits;
use edge_node::journal::reader::Reader;
use edge_node::journal::row_sum;
use edge_node::journal::segment::StoreError;
use edge_node::journal::store::{Entry, Store, bulk_numbers, bulk_path};
use shared::ids::{Digest, Epoch, Lane, Seq};
use shared::record::Record;
use shared::wire::Item;
use tempfile::TempDir;

fn store(folder: &TempDir) -> Store {
    let limits: Limits =
        toml::from_str("segment_mib = 1\nbulk_mib = 3\nurgent_mib = 1\nballast_mib = 0\nkeep = \"1h\"").unwrap();
    Store::open(folder.path(), limits, [Head::NONE; 5], || Epoch(*uuid::Uuid::new_v4().as_bytes())).unwrap()
}

/// One commit of 100 KiB at `at` (UTC microseconds).
fn put(store: &mut Store, lane: Lane, at: i64) -> [Result<(), StoreError>; 2] {
    let record = Record { type_id: 1, schema_version: 1, bytes: vec![7; 100 * 1024] };
    store.commit(&[Entry { lane, at, record: &record }])
}

/// Every place of the lane once and in order, as the relay would check it; gives records and gaps with their reasons.
#[track_caller]
fn read(folder: &TempDir, lane: Lane, from: Head) -> (u64, Vec<(u64, u64, String)>) {
    let rows = Reader::open(folder.path()).unwrap().after(lane, from.pos, 10_000, usize::MAX).unwrap();
    let (mut at, mut records, mut gaps) = (from, 0, Vec::new());
    for row in rows {
        if row.epoch != at.epoch {
            at = Head { pos: at.pos, epoch: row.epoch, seq: Seq(0), chain: Digest::default() };
        }
        at = at.after(&row.item);
        assert_eq!(at, row.head());
        match row.item {
            Item::Record(_) => records += 1,
            Item::Skip { first, last, reason, .. } => gaps.push((first.0, last.0, reason)),
            Item::Opened(_) => {}
        }
    }
    (records, gaps)
}

fn last(folder: &TempDir, lane: Lane) -> Head {
    Reader::open(folder.path()).unwrap().after(lane, 0, 10_000, usize::MAX).unwrap().last().unwrap().head()
}

fn bytes(folder: &TempDir) -> u64 {
    let numbers = bulk_numbers(folder.path()).unwrap();
    numbers.into_iter().map(|n| std::fs::metadata(bulk_path(folder.path(), n)).unwrap().len()).sum()
}

#[test]
fn over_the_quota_the_oldest_segment_goes_and_the_gap_is_named() {
    let folder = TempDir::new().unwrap();
    let mut store = store(&folder);
    for n in 0..60 {
        for done in put(&mut store, Lane::Telemetry, n) {
            done.unwrap();
        }
        store.maintain(n).unwrap();
    }
    assert!(bytes(&folder) <= 4 * 1024 * 1024, "three segments and the one that is filled: {}", bytes(&folder));
    let (records, gaps) = read(&folder, Lane::Telemetry, Head::NONE);
    let named: u64 = gaps.iter().map(|(first, last, _)| last - first + 1).sum();
    // The epoch's Opened lies in the first segment.
    assert_eq!(records + named, 61);
    assert!(!gaps.is_empty() && gaps.iter().all(|(.., reason)| reason == "quota"), "{gaps:?}");
    // A cursor in the middle of the gap gets the rest of it.
    let rest = Reader::open(folder.path()).unwrap().after(Lane::Telemetry, 3, 1, usize::MAX).unwrap();
    assert!(matches!(&rest[0].item, Item::Skip { first: Seq(4), .. }), "{rest:?}");
    // The journal goes on over a restart.
    drop(store);
    drop(self::store(&folder));
    assert_eq!(read(&folder, Lane::Telemetry, Head::NONE).0, records);
}

#[test]
fn places_lost_at_the_end_of_a_sealed_segment_cost_no_later_one() {
    let folder = TempDir::new().unwrap();
    let mut store = store(&folder);
    for n in 0..25 {
        for done in put(&mut store, Lane::Telemetry, n) {
            done.unwrap();
        }
        store.maintain(n).unwrap();
    }
    drop(store);
    let numbers = bulk_numbers(folder.path()).unwrap();
    assert!(numbers.len() >= 3, "{numbers:?}");
    // The catalogue is as a rebuild at the time of sealing would have made it: without the lost end.
    let lost = "DELETE FROM block_telemetry WHERE first_pos > (SELECT max(first_pos) FROM block_telemetry) - 2";
    let db = rusqlite::Connection::open(bulk_path(folder.path(), 1)).unwrap();
    assert_eq!(db.execute(lost, []).unwrap(), 2);
    let end = "(SELECT first_pos + count - 1 FROM b.block_telemetry ORDER BY first_pos DESC LIMIT 1)";
    let urgent = rusqlite::Connection::open(folder.path().join("urgent.db")).unwrap();
    row_sum::register(&urgent).unwrap();
    urgent.execute("ATTACH ?1 AS b", [bulk_path(folder.path(), 1).display().to_string()]).unwrap();
    let shorten = format!(
        "UPDATE span SET last_pos = {end}, last_seq = {end}, chain_after = (SELECT chain_after FROM b.block_telemetry
         ORDER BY first_pos DESC LIMIT 1) WHERE lane = 'telemetry' AND segment = 1"
    );
    assert_eq!(urgent.execute(&shorten, []).unwrap(), 1);
    let columns = row_sum::TABLES.iter().find(|(table, _)| *table == "span").unwrap().1;
    urgent.execute(&format!("UPDATE span SET sum = row_sum({columns})"), []).unwrap();
    let (records, gaps) = read(&folder, Lane::Telemetry, Head::NONE);
    assert_eq!(
        gaps.iter().map(|(first, last, reason)| (last - first + 1, reason.as_str())).collect::<Vec<_>>(),
        [(2, "damaged")]
    );
    assert_eq!(records, 23);
}

#[test]
fn what_the_relay_has_goes_after_its_time_and_is_a_rollback_when_it_asks_again() {
    const HOUR_US: i64 = 3_600_000_000;
    let folder = TempDir::new().unwrap();
    let mut store = store(&folder);
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap();
    for n in 0..25 {
        for done in put(&mut store, Lane::Telemetry, now + n) {
            done.unwrap();
        }
        store.maintain(now).unwrap();
    }
    let whole = read(&folder, Lane::Telemetry, Head::NONE);
    store.maintain(now + 2 * HOUR_US).unwrap();
    assert_eq!(read(&folder, Lane::Telemetry, Head::NONE), whole, "unsent events stay while there is room");
    store.ack(&[(Lane::Telemetry, last(&folder, Lane::Telemetry))]).unwrap();
    for lane in [Lane::Detection, Lane::Media] {
        store.ack(&[(lane, last(&folder, lane))]).unwrap();
    }
    store.maintain(now).unwrap();
    assert_eq!(read(&folder, Lane::Telemetry, Head::NONE), whole, "sent ones stay for their time");
    store.maintain(now + 2 * HOUR_US).unwrap();
    let (records, gaps) = read(&folder, Lane::Telemetry, Head::NONE);
    assert!(records < whole.0 && gaps.iter().all(|(.., reason)| reason == "relay_rollback"), "{records} {gaps:?}");
}

#[test]
fn sent_urgent_events_stay_for_their_time_their_epochs_opening_with_them() {
    const HOUR_US: i64 = 3_600_000_000;
    let folder = TempDir::new().unwrap();
    let mut store = store(&folder);
    store.ack(&[(Lane::Safety, last(&folder, Lane::Safety))]).unwrap();
    store.maintain(HOUR_US).unwrap();
    assert_eq!(read(&folder, Lane::Safety, Head::NONE), (0, vec![]), "the opening is still there");
    for n in 0..3 {
        for done in put(&mut store, Lane::Safety, n * HOUR_US) {
            done.unwrap();
        }
    }
    store.ack(&[(Lane::Safety, last(&folder, Lane::Safety))]).unwrap();
    store.maintain(HOUR_US * 3 / 2).unwrap();
    let gone = vec![(1, 2, "relay_rollback".to_owned())];
    assert_eq!(read(&folder, Lane::Safety, Head::NONE), (2, gone), "the first hour and the opening went");
}

#[test]
fn a_full_reserve_refuses_urgent_events_and_drops_none_until_the_relay_has_them() {
    let folder = TempDir::new().unwrap();
    let mut store = store(&folder);
    let mut kept = 0;
    let refused = loop {
        match put(&mut store, Lane::Safety, kept) {
            [Ok(()), Ok(())] => kept += 1,
            [Err(error), Ok(())] => break error,
            other => panic!("{other:?}"),
        }
        assert!(kept < 100, "the reserve is 1 MiB");
    };
    assert!(matches!(refused, StoreError::ReserveFull { .. }), "{refused}");
    assert_eq!(read(&folder, Lane::Safety, Head::NONE), (kept.unsigned_abs(), vec![]), "none of them is gone");
    let [urgent, bulk] = put(&mut store, Lane::Telemetry, 0);
    urgent.unwrap();
    bulk.unwrap();
    store.ack(&[(Lane::Safety, last(&folder, Lane::Safety))]).unwrap();
    for done in put(&mut store, Lane::Safety, kept) {
        done.unwrap();
    }
}

#[test]
fn a_reader_at_the_tail_sees_every_place_once_while_it_is_written() {
    let folder = TempDir::new().unwrap();
    let mut store = store(&folder);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut reader = Reader::open(folder.path()).unwrap();
            let (mut at, mut looks) = (0, 0u64);
            loop {
                let last = done.load(std::sync::atomic::Ordering::SeqCst);
                let rows = reader.after(Lane::Telemetry, at, 1000, usize::MAX).unwrap();
                for row in &rows {
                    assert!(!matches!(row.item, Item::Skip { .. }), "after {looks} looks, behind {at}: {row:?}");
                    assert_eq!(row.pos, at + 1, "after {looks} looks");
                    at = row.pos;
                }
                looks += 1;
                if last && rows.is_empty() {
                    return at;
                }
            }
        });
        let mut written = 1;
        while written < 20_000 {
            let record = Record { type_id: 1, schema_version: 1, bytes: vec![7; 300] };
            for done in store.commit(&[Entry { lane: Lane::Telemetry, at: written, record: &record }]) {
                done.unwrap();
            }
            written += 1;
            if written % 500 == 0 {
                store.maintain(0).unwrap();
            }
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(reading.join().unwrap(), written);
    });
}
