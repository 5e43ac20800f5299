//! What the journal does beside keeping events: takes over an older layout, thins what waits too long, signs its heads.

use edge_node::clock::Stamp;
use edge_node::journal::block::{Block, Head, THINNED};
use edge_node::journal::inbox::Letter;
use edge_node::journal::inspect;
use edge_node::journal::limits::Limits;
use edge_node::journal::reader::Reader;
use edge_node::journal::signed::{Signed, Signer};
use edge_node::journal::store::{Entry, Store, bulk_path, path_in};
use edge_node::journal::{thin, writer};
use hil::wait::until;
use shared::event::{Event, Occurred, Payload, SensorReading};
use shared::ids::{Digest, Epoch, EventId, Lane, Seq};
use shared::record::{Opened, Record};
use shared::units::{ClockState, Uptime, UtcMicros};
use shared::wire::Item;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const SECOND_US: i64 = 1_000_000;

fn limits() -> Limits {
    toml::from_str("segment_mib = 1\nbulk_mib = 4\nurgent_mib = 1\nballast_mib = 0").unwrap()
}

/// A reading of a sensor at a time; its text does not compress away what the quota counts.
fn reading(sensor: &str, at: i64) -> Record {
    let value = SensorReading { sensor: "x".repeat(400), value: at as f64, unit: "kN".into() };
    let occurred =
        Occurred { at: UtcMicros(at), clock: ClockState::Synced, boot_id: [1; 16], uptime: Uptime(at.unsigned_abs()) };
    let event = Event {
        event_id: EventId(uuid::Uuid::now_v7()),
        aggregate_id: format!("sensor/{sensor}"),
        occurred,
        trace_id: None,
        cause_id: None,
        payload: Payload::SensorReading(value),
    };
    Record::encode(event).unwrap()
}

/// Follows every place of a lane as the relay does; gives the records and how many places are named, by reason.
#[track_caller]
fn follow(folder: &Path, lane: Lane) -> (Vec<Record>, Vec<(u64, String)>) {
    let (mut at, mut records, mut named) = (Head::NONE, Vec::new(), Vec::new());
    for row in Reader::open(folder).unwrap().after(lane, 0, 1_000_000, usize::MAX).unwrap() {
        if row.epoch != at.epoch {
            at = Head { pos: at.pos, epoch: row.epoch, ..Head::NONE };
        }
        at = at.after(&row.item);
        assert_eq!(at, row.head());
        match row.item {
            Item::Record(record) => records.push(record),
            Item::Skip { first, last, reason, .. } => named.push((last.0 - first.0 + 1, reason)),
            Item::Opened(_) => {}
        }
    }
    (records, named)
}

#[test]
fn a_journal_of_layout_2_or_3_is_taken_over_and_goes_on() {
    for layout in [2, 3] {
        take_over(layout);
    }
}

fn take_over(layout: i64) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/journal-{layout}"));
    let folder = TempDir::new().unwrap();
    for name in ["urgent.db", "bulk-0001.db"] {
        std::fs::copy(golden.join(name), folder.path().join(name)).unwrap();
    }
    let before = follow(folder.path(), Lane::Telemetry).0;
    assert_eq!(before.iter().filter(|record| record.type_id == 60).count(), 20);
    let mut store = Store::open(folder.path(), limits(), [Head::NONE; 5], || Epoch([9; 16])).unwrap();
    let letter = Letter { seq: 7, kept_us: 1, expires_us: 2, content: "{}".into(), outcome: "taken".into() };
    store.keep_letter(&letter).unwrap();
    drop(store);
    let (after, named) = follow(folder.path(), Lane::Telemetry);
    assert_eq!((after, named), (before, vec![]));
    let rows = Reader::open(folder.path()).unwrap().after(Lane::Safety, 0, 10, usize::MAX).unwrap();
    let (new, old) = rows.split_last().unwrap();
    let Item::Opened(opened) = &new.item else { panic!("{rows:?}") };
    let parent = old.last().unwrap().seq;
    assert_eq!((opened.parent_seq, new.epoch), (parent, Epoch([9; 16])), "the old epoch is the new one's parent");
    assert_eq!(Reader::open(folder.path()).unwrap().inbox_newest(10).unwrap(), [letter]);
    for file in [path_in(folder.path()), bulk_path(folder.path(), 1)] {
        let db = rusqlite::Connection::open(file).unwrap();
        assert_eq!(db.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).unwrap(), 4);
    }
}

#[test]
fn telemetry_that_waits_too_long_is_thinned_to_one_a_minute_before_anything_goes_whole() {
    let folder = TempDir::new().unwrap();
    let mut store = Store::open(folder.path(), limits(), [Head::NONE; 5], || Epoch([9; 16])).unwrap();
    let (mut at, mut thinned, mut kept) = (0, Vec::new(), 0u64);
    // Twelve MiB into a quota of four: ten readings a second from two sensors, and a detection each minute.
    while at < 2400 * SECOND_US {
        let mut batch: Vec<(Lane, Record)> = Vec::new();
        for n in 0..10 {
            let at = at + n * SECOND_US / 10;
            batch.extend([(Lane::Telemetry, reading("a", at)), (Lane::Telemetry, reading("b", at))]);
        }
        if at % (60 * SECOND_US) == 0 {
            batch.push((Lane::Detection, reading("person", at)));
            kept += 1;
        }
        let entries: Vec<Entry<'_>> = batch.iter().map(|(lane, record)| Entry { lane: *lane, at, record }).collect();
        for done in store.commit(&entries) {
            done.unwrap();
        }
        if let Some(number) = store.maintain(0).unwrap() {
            assert!(thin::make(folder.path(), number).unwrap() > 0);
            let urgent = rusqlite::Connection::open(path_in(folder.path())).unwrap();
            let file = edge_node::journal::segment::Segment { db: urgent, path: path_in(folder.path()), lanes: &[] };
            thin::put_in_place(&file, folder.path(), number).unwrap();
            thinned.push(number);
        }
        at += SECOND_US;
    }
    assert!(thinned.len() > 5 && thinned.is_sorted_by(|a, b| a < b), "each once, oldest first: {thinned:?}");
    let (records, named) = follow(folder.path(), Lane::Telemetry);
    assert!(named.iter().all(|(_, reason)| reason == THINNED), "nothing went whole: {named:?}");
    assert_eq!(records.len() as u64 + named.iter().map(|(places, _)| places).sum::<u64>(), 48_000);
    // Of each sensor one event in every minute is left, the first of which no segment has taken away.
    for sensor in ["sensor/a", "sensor/b"] {
        let times = records.iter().map(|record| record.decode().unwrap().envelope);
        let minutes: std::collections::BTreeSet<i64> = times
            .filter(|envelope| envelope.aggregate_id == sensor)
            .map(|envelope| envelope.occurred.at.0 / (60 * SECOND_US))
            .collect();
        assert_eq!(minutes.len(), 40, "{sensor}");
    }
    let (detections, gaps) = follow(folder.path(), Lane::Detection);
    assert_eq!((detections.len() as u64, gaps), (kept, vec![]), "detections stay");
}

#[test]
fn the_journals_own_thread_thins_and_readers_go_on() {
    let folder = TempDir::new().unwrap();
    let limits = toml::from_str("segment_mib = 1\nbulk_mib = 12\nurgent_mib = 1\nballast_mib = 0").unwrap();
    let (journal, acks, thread) = writer::start(folder.path().to_owned(), limits, Stamp::new(), None).unwrap();
    let mut reader = Reader::open(folder.path()).unwrap();
    let mut sent = 0;
    until("a thinned gap", Duration::from_secs(60), || {
        // A few each time: the thread looks after its files once a second.
        for _ in 0..20 {
            let value = SensorReading { sensor: "x".repeat(400), value: 1.0, unit: "kN".into() };
            journal.record(journal.event("sensor/a", Payload::SensorReading(value))).unwrap();
            sent += 1;
        }
        let rows = reader.after(Lane::Telemetry, 0, 100, usize::MAX).unwrap();
        let reason = rows.iter().find_map(|row| match &row.item {
            Item::Skip { reason, .. } => Some(reason.clone()),
            Item::Record(_) | Item::Opened(_) => None,
        });
        match reason.as_deref() {
            Some(THINNED) => Ok(()),
            Some(other) => panic!("a gap of {other} came first"),
            None => Err(format!("{sent} events, no gap yet")),
        }
    })
    .unwrap();
    drop((journal, acks));
    thread.join();
    let (records, named) = follow(folder.path(), Lane::Telemetry);
    assert_eq!(records.len() as u64 + named.iter().map(|(places, _)| places).sum::<u64>(), sent);
}

#[test]
fn any_flipped_byte_in_a_thinned_block_costs_a_named_range_and_the_chain_goes_on() {
    let mut block = Block::new(Head { epoch: Epoch([1; 16]), ..Head::NONE });
    block.push_opened(&Opened::FIRST);
    for n in 0..9u8 {
        block.push_record(&Record { type_id: 7, schema_version: 1, bytes: vec![n; 20] }, n.into());
    }
    let whole = block.clone().thinned(|record| record.bytes[0].is_multiple_of(4));
    assert!(whole.body.len() < block.body.len());
    assert_eq!((whole.before, whole.after, whole.check()), (block.before, block.after, block.check()));
    let good = whole.rows();
    assert_eq!(good.len(), 1 + 3 + 2, "opening, three that stay, two runs between them");
    assert_eq!(whole.clone().thinned(|_| true), whole, "thinning again changes nothing that stays");
    for at in 0..whole.body.len() {
        let mut bad = whole.clone();
        bad.body[at] ^= 0x10;
        let mut head = bad.before;
        for row in bad.rows() {
            head = head.after(&row.item);
            assert_eq!(head, row.head(), "byte {at}");
            if matches!(row.item, Item::Record(_)) {
                assert!(good.contains(&row), "byte {at}: a damaged record was given as good");
            }
        }
        assert_eq!(head, whole.after, "byte {at}");
    }
}

#[test]
fn heads_are_signed_at_the_end_and_a_card_that_was_changed_shows() {
    let folder = TempDir::new().unwrap();
    let signer: Signer = Box::new(|lane, head| {
        Some(Signed { public_key: vec![4; 65], signature: format!("{lane} {}", head.seq).into_bytes() })
    });
    let (journal, acks, thread) =
        writer::start(folder.path().to_owned(), limits(), Stamp::new(), Some(signer)).unwrap();
    for n in 0..5 {
        let value = SensorReading { sensor: "s".into(), value: f64::from(n), unit: "kN".into() };
        journal.record(journal.event("sensor/s", Payload::SensorReading(value))).unwrap();
    }
    drop((journal, acks));
    thread.join();
    let signed = Reader::open(folder.path()).unwrap().signed(Lane::Telemetry).unwrap();
    assert_eq!(
        signed.iter().map(|head| (head.seq, head.by.signature.as_slice())).collect::<Vec<_>>(),
        [(Seq(6), b"telemetry 6".as_slice())]
    );
    let holds = |folder: &TempDir| {
        let status = inspect::check(folder.path()).unwrap();
        let all: Vec<Option<bool>> =
            status.lanes.iter().flat_map(|lane| lane.signed.iter().map(|place| place.holds)).collect();
        (status.is_whole(), all)
    };
    assert_eq!(holds(&folder), (true, vec![Some(true); 5]), "of every lane");
    // The last block is cut off, with all that knew of it but the signature.
    let db = rusqlite::Connection::open(bulk_path(folder.path(), 1)).unwrap();
    let cut = "DELETE FROM block_telemetry WHERE first_pos = (SELECT max(first_pos) FROM block_telemetry)";
    assert_eq!(db.execute(cut, []).unwrap(), 1);
    assert!(!holds(&folder).0);
    let urgent = rusqlite::Connection::open(path_in(folder.path())).unwrap();
    urgent.execute("DELETE FROM signed WHERE lane = 'telemetry'", []).unwrap();
    assert!(holds(&folder).0, "which nothing else shows");
    urgent.execute("UPDATE signed SET chain = ?1 WHERE lane = 'safety'", [Digest([1; 32]).0]).unwrap();
    assert!(!holds(&folder).0);
}
