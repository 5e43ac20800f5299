//! Damaged journal files: everything that was acknowledged is read back or named as a gap, and the node goes on.

use std::path::{Path, PathBuf};

use edge_node::clock::Stamp;
use edge_node::journal::block::Head;
use edge_node::journal::limits::Limits;
use edge_node::journal::reader::Reader;
use edge_node::journal::scrub::Scrub;
use edge_node::journal::segment::StoreError;
use edge_node::journal::store::{Store, bulk_path, path_in};
use edge_node::journal::writer;
use hil::wait::until;
use shared::event::{Alert, Payload, SensorReading};
use shared::ids::{Digest, Epoch, EventId, Lane, Seq};
use shared::wire::Item;
use std::time::Duration;
use tempfile::TempDir;

/// Events of each kind that the journals here begin with.
const EVENTS: u32 = 120;

fn limits() -> Limits {
    toml::from_str("segment_mib = 1\nbulk_mib = 64\nurgent_mib = 4\nballast_mib = 0").unwrap()
}

fn alert(n: u32) -> Payload {
    Payload::AlertRaised(Alert { alert: u64::from(n), rule: "r".into(), subject: "s".into(), text: "t".repeat(300) })
}

fn reading(n: u32) -> Payload {
    Payload::SensorReading(SensorReading { sensor: "s".repeat(200), value: f64::from(n), unit: "kN".into() })
}

/// A journal of [`EVENTS`] alerts and readings, each acknowledged, copied with its logs as a power cut leaves it.
struct Cut {
    folder: TempDir,
    acknowledged: Vec<(Lane, EventId)>,
}

fn cut() -> Cut {
    let (live, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (journal, _acks, _writer) = writer::start(live.path().to_owned(), limits(), Stamp::new(), None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut acknowledged = Vec::new();
    for n in 0..EVENTS {
        for payload in [alert(n), reading(n)] {
            let lane = payload.lane();
            let id = runtime.block_on(journal.append(journal.event("sensor/s", payload))).unwrap();
            acknowledged.push((lane, id));
        }
    }
    for entry in std::fs::read_dir(live.path()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    Cut { folder, acknowledged }
}

fn open(folder: &Path) -> Result<Store, StoreError> {
    Store::open(folder, limits(), [Head::NONE; 5], || Epoch(uuid::Uuid::new_v4().into_bytes()))
}

/// Opens the journal again and reads every lane: each place is a record or inside a gap, the chain leads from first to
/// last, and what is not read back of the acknowledged lies in gaps. Gives the number of places in gaps.
#[track_caller]
fn check(cut: &Cut, what: &str) -> u64 {
    let (journal, acks, thread) = writer::start(cut.folder.path().to_owned(), limits(), Stamp::new(), None)
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    // One reader for all of it, as the uplink has: it must see files that are made anew.
    let mut reader = Reader::open(cut.folder.path()).unwrap();
    let (mut found, mut named) = (std::collections::HashSet::new(), 0);
    for lane in Lane::ALL {
        // As the uplink does: an unreadable file is told, and read again when it has been mended.
        let rows = until(what, Duration::from_secs(10), || {
            reader.after(lane, 0, 100_000, usize::MAX).map_err(|error| {
                acks.damaged(error.damaged_file().unwrap_or_else(|| panic!("{what}: {error}")));
                error.to_string()
            })
        });
        let rows = rows.unwrap();
        let (mut epoch, mut seq, mut chain) = (Epoch([0; 16]), Seq(0), Digest::default());
        for row in rows {
            if row.epoch != epoch {
                (epoch, seq, chain) = (row.epoch, Seq(0), Digest::default());
            }
            let (last, after) = row.item.advance(seq.next(), chain);
            assert_eq!((row.first_seq(), row.seq, row.chain), (seq.next(), last, after), "{what}: {lane}");
            (seq, chain) = (last, after);
            match row.item {
                Item::Record(record) => found.extend(record.event_id()),
                Item::Skip { first, last, .. } => named += last.0 - first.0 + 1,
                Item::Opened(_) => {}
            }
        }
    }
    drop((journal, acks));
    thread.join();
    let missing = cut.acknowledged.iter().filter(|(_, id)| !found.contains(id)).count() as u64;
    assert!(missing <= named, "{what}: {missing} acknowledged events are missing, {named} places are named");
    named
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x40;
    std::fs::write(path, bytes).unwrap();
}

fn log_of(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}-wal", path.display()))
}

fn copy_of(cut: &Cut) -> Cut {
    let folder = TempDir::new().unwrap();
    for entry in std::fs::read_dir(cut.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    Cut { folder, acknowledged: cut.acknowledged.clone() }
}

#[test]
fn a_cut_journal_comes_back_whole() {
    assert_eq!(check(&cut(), "undamaged"), 0);
}

#[test]
fn a_flipped_byte_mid_log_hides_no_commit() {
    let whole = cut();
    for name in ["urgent.db", "bulk-0001.db"] {
        let log = log_of(&whole.folder.path().join(name));
        let len = usize::try_from(std::fs::metadata(&log).unwrap().len()).unwrap();
        // The last two commits are no longer "mid": a damaged end cannot be told from a torn one.
        for at in (0..len - 40_000).step_by(len / 60) {
            let damaged = copy_of(&whole);
            flip(&log_of(&damaged.folder.path().join(name)), at);
            let named = check(&damaged, &format!("{name}, log byte {at} of {len}"));
            assert!(named <= 30, "{name}, log byte {at}: one byte cost {named} places");
        }
    }
}

/// As [`cut`] a second later, when each file has seen where the other's lanes stand, and with everything in the files
/// themselves.
fn checkpointed() -> Cut {
    let whole = cut();
    open(whole.folder.path()).unwrap().maintain(0).unwrap();
    settled(whole)
}

/// With everything in the files themselves and nothing in their logs.
fn settled(whole: Cut) -> Cut {
    for name in ["urgent.db", "bulk-0001.db"] {
        let db = rusqlite::Connection::open(whole.folder.path().join(name)).unwrap();
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    }
    whole
}

#[test]
fn a_flipped_byte_in_a_file_costs_named_places_and_the_journal_opens() {
    let whole = checkpointed();
    for name in ["urgent.db", "bulk-0001.db"] {
        let len = usize::try_from(std::fs::metadata(whole.folder.path().join(name)).unwrap().len()).unwrap();
        for at in (0..len).step_by(len / 80 + 1) {
            let damaged = copy_of(&whole);
            flip(&damaged.folder.path().join(name), at);
            let named = check(&damaged, &format!("{name}, byte {at} of {len}"));
            assert!(named <= u64::from(EVENTS) + 2, "{name}, byte {at}: one byte cost {named} places");
        }
    }
}

#[test]
fn a_file_of_noise_is_set_aside_and_its_places_are_named_where_the_relay_knew_them() {
    let whole = checkpointed();
    let path = bulk_path(whole.folder.path(), 1);
    std::fs::write(&path, vec![0xA5; 64 * 1024]).unwrap();
    drop(open(whole.folder.path()).unwrap());
    let aside: Vec<_> = std::fs::read_dir(whole.folder.path().join("damaged")).unwrap().flatten().collect();
    assert!(aside.iter().any(|entry| entry.file_name().to_string_lossy().contains("bulk-0001.db")), "{aside:?}");
    assert!(path_in(whole.folder.path()).exists());
    let rows = Reader::open(whole.folder.path()).unwrap().after(Lane::Telemetry, 0, 10, usize::MAX).unwrap();
    assert!(!rows.is_empty(), "a new epoch has begun");
}

fn sql(folder: &Path, file: &str, text: &str) -> usize {
    rusqlite::Connection::open(folder.join(file)).unwrap().execute(text, []).unwrap()
}

#[test]
fn a_last_block_with_a_broken_header_is_recovered_by_its_body() {
    for (file, lane) in [("urgent.db", "alert"), ("bulk-0001.db", "telemetry")] {
        let whole = settled(cut());
        let last = format!("WHERE first_pos = (SELECT max(first_pos) FROM block_{lane})");
        for broken in ["sum = sum + 1", "count = count + 7", "last_seq = 1", "chain_after = zeroblob(32)"] {
            let damaged = copy_of(&whole);
            sql(damaged.folder.path(), file, &format!("UPDATE block_{lane} SET {broken} {last}"));
            assert_eq!(check(&damaged, &format!("{lane} {broken}")), 0, "{lane} {broken}: nothing is lost");
        }
        let damaged = checkpointed();
        sql(damaged.folder.path(), file, &format!("UPDATE block_{lane} SET body = 'no blob' {last}"));
        check(&damaged, &format!("{lane}, a body that is no blob"));
    }
}

#[test]
fn a_lost_tail_that_the_other_file_has_seen_is_a_named_gap() {
    for (file, lane) in [("urgent.db", "alert"), ("bulk-0001.db", "telemetry")] {
        let whole = checkpointed();
        let lost = sql(whole.folder.path(), file, &format!("DELETE FROM block_{lane} WHERE first_pos > 60"));
        assert!(lost > 20, "{lost}");
        assert!(check(&whole, &format!("{lane} without its tail")) >= lost as u64 - 1);
    }
}

#[test]
fn whole_epochs_that_are_lost_are_named_epoch_by_epoch() {
    let whole = checkpointed();
    for _ in 0..8 {
        drop(open(whole.folder.path()).unwrap());
    }
    let all = |lane: &str| {
        sql(whole.folder.path(), "bulk-0001.db", &format!("DELETE FROM block_{lane} WHERE first_pos BETWEEN 3 AND 6"))
    };
    assert_eq!(all("media"), 4);
    let rows = Reader::open(whole.folder.path()).unwrap().after(Lane::Media, 0, 100, usize::MAX).unwrap();
    let gaps = rows.iter().filter(|row| matches!(row.item, Item::Skip { .. })).count();
    assert_eq!((rows.len(), gaps), (10, 4), "{rows:?}");
    check(&whole, "media without four epochs");
}

#[test]
fn a_rebuild_that_cannot_be_written_leaves_the_damaged_file_for_the_next_try() {
    let whole = checkpointed();
    let path = path_in(whole.folder.path());
    flip(&path, 50_616);
    // Where the new file would be made: a folder that cannot be removed as a file.
    std::fs::create_dir_all(whole.folder.path().join("urgent.db.new/x")).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert!(Store::rebuild(whole.folder.path(), &path).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "the damaged file is untouched");
    std::fs::remove_dir_all(whole.folder.path().join("urgent.db.new")).unwrap();
    let named = check(&whole, "after a failed rebuild");
    assert!(named <= u64::from(EVENTS), "{named}");
}

#[test]
fn nothing_is_acknowledged_while_neither_file_can_be_written() {
    let folder = TempDir::new().unwrap();
    let (journal, acks, thread) = writer::start(folder.path().to_owned(), limits(), Stamp::new(), None).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let append = |payload| runtime.block_on(journal.append(journal.event("s", payload)));
    append(reading(0)).unwrap();
    sql(folder.path(), "bulk-0001.db", "ALTER TABLE block_telemetry RENAME TO away");
    assert!(append(reading(1)).is_err());
    // Within the second in which the bulk segment waits to be opened again, the urgent file fails too.
    sql(folder.path(), "urgent.db", "ALTER TABLE block_alert RENAME TO away");
    let (urgent, bulk) = (journal.append(journal.event("s", alert(2))), journal.append(journal.event("s", reading(2))));
    let (urgent, bulk) = runtime.block_on(async { tokio::join!(urgent, bulk) });
    assert!(urgent.is_err() && bulk.is_err(), "{urgent:?} {bulk:?}");
    sql(folder.path(), "bulk-0001.db", "ALTER TABLE away RENAME TO block_telemetry");
    sql(folder.path(), "urgent.db", "ALTER TABLE away RENAME TO block_alert");
    until("both to be written again", Duration::from_secs(10), || {
        append(reading(3)).and(append(alert(3))).map_err(|error| error.to_string())
    })
    .unwrap();
    drop((journal, acks));
    thread.join();
    let mut reader = Reader::open(folder.path()).unwrap();
    for lane in [Lane::Telemetry, Lane::Alert] {
        let rows = reader.after(lane, 0, 100, usize::MAX).unwrap();
        assert!(!rows.iter().any(|row| matches!(row.item, Item::Skip { .. })), "no place was used up by failures");
    }
}

#[test]
fn a_scrub_names_a_file_that_cannot_be_read_and_reads_the_others() {
    let whole = checkpointed();
    let path = bulk_path(whole.folder.path(), 1);
    std::fs::write(&path, vec![0x5a; 8192]).unwrap();
    let mut scrub = Scrub::begin(whole.folder.path()).unwrap();
    let (mut bytes, mut unreadable) = (0, std::collections::HashSet::new());
    while let Some(page) = scrub.page().unwrap() {
        bytes += page.bytes;
        unreadable.extend(page.unreadable);
    }
    assert_eq!(unreadable, std::collections::HashSet::from([path]));
    assert!(bytes >= EVENTS as usize * 300, "the alerts were read: {bytes} bytes");
}
