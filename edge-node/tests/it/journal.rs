//! The journal's file: what was acknowledged is there, in order, chained; damage and newer files are told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edge_node::clock::Stamp;
use edge_node::journal::block::Head;
use edge_node::journal::limits::Limits;
use edge_node::journal::query::{Cursor, Filter, Query};
use edge_node::journal::reader::Reader;
use edge_node::journal::segment::StoreError;
use edge_node::journal::store::{Entry, Store, bulk_path, path_in};
use edge_node::journal::writer;
use hil::wait::until;
use shared::event::{Alert, Event, NodeStarted, Occurred, Payload, SensorReading};
use shared::ids::{Digest, Epoch, EventId, Lane, TraceId};
use shared::record::{Opened, Record};
use shared::units::{ClockState, Uptime, UtcMicros};
use shared::wire::Item;
use tempfile::TempDir;

fn reading(value: f64) -> Payload {
    Payload::SensorReading(SensorReading { sensor: "s".into(), value, unit: "kN".into() })
}

/// Small files, so that a test fills some.
fn limits() -> Limits {
    toml::from_str("segment_mib = 1\nbulk_mib = 2\nurgent_mib = 1\nballast_mib = 1").unwrap()
}

fn open(folder: &TempDir) -> Result<Store, StoreError> {
    Store::open(folder.path(), limits(), [Head::NONE; 5], || Epoch([1; 16]))
}

/// Opens, appends `count` events durably and `count` more soon, closes.
fn fill(folder: &TempDir, count: u32) {
    let (journal, acks, thread) = writer::start(folder.path().to_owned(), limits(), Stamp::new(), None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for n in 0..count {
        runtime.block_on(journal.append(journal.event("sensor/s", reading(f64::from(n))))).unwrap();
        journal.record(journal.event("node", Payload::NodeStarted(NodeStarted { version: "1".into() }))).unwrap();
    }
    drop((journal, acks));
    thread.join();
}

#[test]
fn each_opening_names_its_parent_and_the_chain_holds_over_all() {
    let folder = TempDir::new().unwrap();
    for _ in 0..3 {
        fill(&folder, 10);
    }
    let rows = Reader::open(folder.path()).unwrap().after(Lane::Telemetry, 0, 1000, usize::MAX).unwrap();
    assert_eq!(rows.len(), 3 * 21);
    let (mut chain, mut last) = (Digest::default(), Opened::FIRST);
    for row in rows {
        if let Item::Opened(opened) = &row.item {
            assert_eq!((*opened, row.seq.0), (last, 1));
            chain = Digest::default();
        }
        chain = row.item.advance(row.seq, chain).1;
        assert_eq!(chain, row.chain, "epoch {} seq {}", row.epoch, row.seq);
        last = Opened { parent_epoch: row.epoch, parent_seq: row.seq, parent_chain: chain };
    }
}

#[test]
fn a_newer_file_and_a_second_writer_are_refused() {
    let folder = TempDir::new().unwrap();
    let held = open(&folder).unwrap();
    let Err(second) = open(&folder) else { panic!("two writers") };
    assert!(second.to_string().contains("another process"), "{second}");
    drop(held);
    rusqlite::Connection::open(path_in(folder.path())).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    let Err(newer) = open(&folder) else { panic!("a newer file was opened") };
    assert!(matches!(newer, StoreError::Newer { found: 99, .. }), "{newer}");
}

/// A child that is forked and has not yet become its program has every file of ours open, locks included.
#[test]
fn a_closed_journal_can_be_locked_again_while_processes_are_started() {
    let folder = TempDir::new().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                std::process::Command::new("true").status().unwrap();
            }
        });
        let refused = (0..20_000).filter(|_| Store::lock(folder.path()).is_err()).count();
        done.store(true, Ordering::Relaxed);
        assert_eq!(refused, 0);
    });
}

#[test]
fn a_cursor_reads_each_event_once_while_more_are_added() {
    let folder = TempDir::new().unwrap();
    let node = "n".parse().unwrap();
    fill(&folder, 5);
    let mut reader = Reader::open(folder.path()).unwrap();
    let (mut cursor, mut seen) = (Cursor::default(), Vec::new());
    let filter = Filter { event_type: Some("sensor.*".into()), ..Filter::default() };
    reader.events(&node, &filter, &mut cursor, |event| seen.push(event.id)).unwrap();
    assert_eq!(seen.len(), 5);
    fill(&folder, 2);
    reader.events(&node, &filter, &mut cursor, |event| seen.push(event.id)).unwrap();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 7);
}

#[test]
fn an_event_too_large_is_refused_at_append() {
    let folder = TempDir::new().unwrap();
    let (journal, _acks, _thread) = writer::start(folder.path().to_owned(), limits(), Stamp::new(), None).unwrap();
    let event = journal.event("node", Payload::NodeStarted(NodeStarted { version: "x".repeat(300_000) }));
    assert!(journal.record(event).unwrap_err().to_string().contains("the limit is 262144"));
}

#[test]
fn an_event_sent_again_after_its_segment_was_full_and_the_node_restarted_is_kept_once() {
    let folder = TempDir::new().unwrap();
    let large = |n: u8| {
        let sensor = "s".repeat(150 * 1024);
        Payload::SensorReading(SensorReading { sensor, value: f64::from(n), unit: "kN".into() })
    };
    let roomy: Limits = toml::from_str("segment_mib = 1\nbulk_mib = 64\nurgent_mib = 1\nballast_mib = 0").unwrap();
    let start = || writer::start(folder.path().to_owned(), roomy.clone(), Stamp::new(), None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (journal, acks, thread) = start();
    let first = journal.event("sensor/s", reading(1.0));
    runtime.block_on(journal.append(first.clone())).unwrap();
    for n in 0..9 {
        runtime.block_on(journal.append(journal.event("sensor/s", large(n)))).unwrap();
    }
    let next = bulk_path(folder.path(), 2);
    until("the next segment", Duration::from_secs(20), || next.exists().then_some(()).ok_or_else(|| "none".to_owned()))
        .unwrap();
    // The node is restarted before the sender hears of it.
    drop((journal, acks));
    thread.join();
    let (journal, acks, thread) = start();
    assert_eq!(runtime.block_on(journal.append(first.clone())).unwrap(), first.event_id);
    drop((journal, acks));
    thread.join();
    let rows = Reader::open(folder.path()).unwrap().after(Lane::Telemetry, 0, 1000, usize::MAX).unwrap();
    let same = rows.iter().filter(|row| matches!(&row.item, Item::Record(r) if r.event_id() == Some(first.event_id)));
    assert_eq!(same.count(), 1);
}

#[test]
fn a_journal_that_fails_opens_again_and_keeps_what_was_recorded_meanwhile() {
    let folder = TempDir::new().unwrap();
    let (journal, acks, thread) = writer::start(folder.path().to_owned(), limits(), Stamp::new(), None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let append = |value| runtime.block_on(journal.append(journal.event("sensor/s", reading(value))));
    append(1.0).unwrap();
    // A real failure: another process has moved the lane's table away.
    let db = rusqlite::Connection::open(bulk_path(folder.path(), 1)).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    db.execute_batch("ALTER TABLE block_telemetry RENAME TO away").unwrap();
    assert!(append(2.0).is_err(), "the sender must hear that it was not kept");
    let path = bulk_path(folder.path(), 1);
    let blocks = move || {
        let db = rusqlite::Connection::open(&path).unwrap();
        db.query_row("SELECT count(*) FROM block_telemetry", [], |row| row.get::<_, i64>(0)).unwrap_or(0)
    };
    let told = Arc::new(Mutex::new(Vec::new()));
    let (tell, count) = (told.clone(), blocks.clone());
    let then = Box::new(move || tell.lock().unwrap().push(count()));
    let meanwhile = journal.record_then(journal.event("sensor/s", reading(3.0)), then).unwrap();
    let before: i64 = db.query_row("SELECT count(*) FROM away", [], |row| row.get(0)).unwrap();
    db.execute_batch("ALTER TABLE away RENAME TO block_telemetry").unwrap();
    // Senders who go on trying must not keep it closed.
    let opened = std::time::Duration::from_secs(10);
    hil::wait::until("an append to succeed again", opened, || append(4.0).map_err(|e| e.to_string())).unwrap();
    drop((journal, acks));
    thread.join();
    let rows = Reader::open(folder.path()).unwrap().after(Lane::Telemetry, 0, 1000, usize::MAX).unwrap();
    let kept =
        rows.iter().filter(|row| matches!(&row.item, Item::Record(r) if r.event_id() == Some(meanwhile))).count();
    assert_eq!(kept, 1, "recorded while it was closed");
    let told = told.lock().unwrap();
    assert!(
        matches!(told.as_slice(), [then] if *then > before),
        "told once, when it could be read: {told:?}, {before}"
    );
}

/// Events of three lanes over two hours, in small segments; gives their ids in the order in which they were seen.
fn two_hours(folder: &TempDir) -> Vec<Event> {
    let roomy = toml::from_str("segment_mib = 1\nbulk_mib = 64\nurgent_mib = 8\nballast_mib = 0").unwrap();
    let mut store = Store::open(folder.path(), roomy, [Head::NONE; 5], || Epoch([1; 16])).unwrap();
    let mut all = Vec::new();
    for n in 0..3000_i64 {
        let at = n * 2_400_000;
        let payload = match n % 10 {
            0 => Payload::NodeStarted(NodeStarted { version: "x".repeat(900) }),
            1 => Payload::AlertRaised(Alert { alert: 1, rule: "r".into(), subject: "s".into(), text: "t".into() }),
            _ => Payload::SensorReading(SensorReading { sensor: "x".repeat(900), value: n as f64, unit: "kN".into() }),
        };
        let occurred = Occurred { at: UtcMicros(at), clock: ClockState::Synced, boot_id: [1; 16], uptime: Uptime(1) };
        let id = uuid::Uuid::from_u128(u128::from(n.cast_unsigned()) << 80 | 0x7000_8000_0000_0000_0000);
        let event = Event {
            event_id: EventId(id),
            aggregate_id: format!("sensor/{}", n % 7),
            occurred,
            trace_id: (n % 100 == 5).then_some(TraceId([7; 16])),
            cause_id: None,
            payload,
        };
        let (lane, record) = (event.payload.lane(), Record::encode(event.clone()).unwrap());
        for done in store.commit(&[Entry { lane, at, record: &record }]) {
            done.unwrap();
        }
        if n % 50 == 0 {
            store.maintain(0).unwrap();
        }
        all.push(event);
    }
    all
}

#[test]
fn questions_by_type_aggregate_time_and_trace_give_what_is_meant_in_order_whatever_the_page() {
    let folder = TempDir::new().unwrap();
    let (all, node) = (two_hours(&folder), "n".parse().unwrap());
    assert!(bulk_path(folder.path(), 3).exists(), "several segments");
    let hour = UtcMicros(3_600_000_000);
    let some = |text: &str| Some(text.to_owned());
    let late = |event: &Event| event.occurred.at.0 >= hour.0;
    type Meant<'a> = Box<dyn Fn(&Event) -> bool + 'a>;
    let cases: [(Filter, Meant<'_>); 7] = [
        (Filter::default(), Box::new(|_| true)),
        (Filter { event_type: some("alert.*"), ..Filter::default() }, Box::new(|e| e.payload.lane() == Lane::Alert)),
        (Filter { aggregate: some("sensor/3"), ..Filter::default() }, Box::new(|e| e.aggregate_id == "sensor/3")),
        (Filter { since: Some(hour), ..Filter::default() }, Box::new(late)),
        (Filter { until: Some(hour), ..Filter::default() }, Box::new(|e| !late(e))),
        (Filter { trace: some(&"07".repeat(16)), ..Filter::default() }, Box::new(|e| e.trace_id.is_some())),
        (
            Filter {
                event_type: some("sensor.reading"),
                aggregate: some("sensor/*"),
                since: Some(hour),
                ..Filter::default()
            },
            Box::new(|e| late(e) && e.payload.event_type() == "sensor.reading"),
        ),
    ];
    for (filter, meant) in cases {
        let expected: Vec<String> = all.iter().filter(|e| meant(e)).map(|e| e.event_id.to_string()).collect();
        assert!(!expected.is_empty());
        for (page, budget) in [(usize::MAX, usize::MAX), (7, usize::MAX), (usize::MAX, 100_000)] {
            let (mut cursor, mut found, mut reader) =
                (Cursor::default(), Vec::new(), Reader::open(folder.path()).unwrap());
            loop {
                let mut query = Query::new(&mut reader, &node, &filter, cursor, budget);
                let mut taken = 0;
                while taken < page
                    && let Some(event) = query.next_event().unwrap()
                {
                    found.push(event.id);
                    taken += 1;
                }
                // As a client keeps it between two answers.
                let at = query.cursor().to_string().parse().unwrap();
                if at == cursor {
                    break;
                }
                cursor = at;
            }
            let what = format!("{filter:?} in pages of {page}, budget {budget}");
            assert!(found == expected, "{what}: {} of {}, first {:?}", found.len(), expected.len(), found.first());
        }
    }
    for wrong in ["", "1.2.3.4", "1.2.3.4.x", "1.2.3.4.-5", "1.2.3.4.5.6"] {
        assert!(wrong.parse::<Cursor>().is_err(), "{wrong}");
    }
}

#[test]
fn a_question_about_an_hour_reads_that_hour() {
    let folder = TempDir::new().unwrap();
    two_hours(&folder);
    let (node, filter) = ("n".parse().unwrap(), Filter { since: Some(UtcMicros(7_000_000_000)), ..Filter::default() });
    // The last 200 s are some 80 events of about a kilobyte: a budget of a tenth of the journal suffices.
    let mut reader = Reader::open(folder.path()).unwrap();
    let mut query = Query::new(&mut reader, &node, &filter, Cursor::default(), 300_000);
    let mut found = 0;
    while query.next_event().unwrap().is_some() {
        found += 1;
    }
    assert!(query.exhausted() && found == 83, "{found}");
}

#[test]
fn a_question_that_is_half_read_neither_stops_the_writer_nor_keeps_its_log() {
    let folder = TempDir::new().unwrap();
    let roomy: Limits = toml::from_str("segment_mib = 64\nbulk_mib = 128\nurgent_mib = 1\nballast_mib = 0").unwrap();
    let mut store = Store::open(folder.path(), roomy, [Head::NONE; 5], || Epoch([1; 16])).unwrap();
    let node = "n".parse().unwrap();
    let put = |store: &mut Store| {
        let payload =
            Payload::SensorReading(SensorReading { sensor: "s".repeat(50_000), value: 1.0, unit: "1".into() });
        let (occurred, trace_id) = (Stamp::new().now(), None);
        let event_id = EventId(uuid::Uuid::now_v7());
        let event = Event { event_id, aggregate_id: "a".into(), occurred, trace_id, cause_id: None, payload };
        let record = Record::encode(event).unwrap();
        store.commit(&[Entry { lane: Lane::Telemetry, at: 1, record: &record }]).into_iter().for_each(|d| d.unwrap());
    };
    (0..10).for_each(|_| put(&mut store));
    let (mut reader, filter) = (Reader::open(folder.path()).unwrap(), Filter::default());
    let mut query = Query::new(&mut reader, &node, &filter, Cursor::default(), usize::MAX);
    assert!(query.next_event().unwrap().is_some());
    // Thirty megabytes go through a log that SQLite empties at four.
    (0..600).for_each(|_| put(&mut store));
    let log = std::fs::metadata(folder.path().join("bulk-0001.db-wal")).unwrap().len();
    assert!(log < 10 * 1024 * 1024, "the log has grown to {log} bytes: a reader holds it");
    let mut rest = 1;
    while query.next_event().unwrap().is_some() {
        rest += 1;
    }
    assert!(rest >= 10, "{rest} events");
}

#[test]
fn what_is_recorded_is_on_the_disk_a_tenth_of_a_second_later() {
    let folder = TempDir::new().unwrap();
    let (journal, acks, thread) = writer::start(folder.path().to_owned(), limits(), Stamp::new(), None).unwrap();
    let db = rusqlite::Connection::open(bulk_path(folder.path(), 1)).unwrap();
    let count = || -> i64 { db.query_row("SELECT count(*) FROM block_telemetry", [], |row| row.get(0)).unwrap() };
    let mut fastest = Duration::MAX;
    // The machine may be busy: the quickest of some tells what the journal waits for.
    for _ in 0..10 {
        let (before, begun) = (count(), hil::wait::now());
        journal.record(journal.event("sensor/s", reading(1.0))).unwrap();
        let seen = || if count() > before { Ok(begun.elapsed()) } else { Err("not yet".to_owned()) };
        fastest = fastest.min(until("the event", Duration::from_secs(20), seen).unwrap());
    }
    assert!(fastest < Duration::from_millis(150), "{fastest:?}");
    drop((journal, acks));
    thread.join();
}
