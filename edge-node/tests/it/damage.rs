//! Damaged journal files: everything that was acknowledged is read back or named as a gap, and the node goes on.

use std::path::{Path, PathBuf};

use edge_node::clock::Stamp;
use edge_node::journal::limits::Limits;
use edge_node::journal::reader::Reader;
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
    let (journal, _acks, _writer) = writer::start(live.path().to_owned(), limits(), Stamp::new()).unwrap();
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
    Store::open(folder, limits(), || Epoch(uuid::Uuid::new_v4().into_bytes()))
}

/// Opens the journal again and reads every lane: each place is a record or inside a gap, the chain leads from first to
/// last, and what is not read back of the acknowledged lies in gaps. Gives the number of places in gaps.
#[track_caller]
fn check(cut: &Cut, what: &str) -> u64 {
    let (journal, acks, thread) =
        writer::start(cut.folder.path().to_owned(), limits(), Stamp::new()).unwrap_or_else(|e| panic!("{what}: {e}"));
    let mut reader = Reader::open(cut.folder.path()).unwrap();
    let (mut found, mut named) = (std::collections::HashSet::new(), 0);
    for lane in Lane::ALL {
        // As the uplink does: an unreadable file is told, and read again when it has been mended.
        let rows = until(what, Duration::from_secs(10), || {
            reader.after(lane, 0, 100_000).map_err(|error| {
                acks.damaged(error.damaged_file().unwrap_or_else(|| panic!("{what}: {error}")));
                reader = Reader::open(cut.folder.path()).unwrap();
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

/// As [`cut`], with everything in the files themselves and the segment not the last.
fn checkpointed() -> Cut {
    let whole = cut();
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
    let rows = Reader::open(whole.folder.path()).unwrap().after(Lane::Telemetry, 0, 10).unwrap();
    assert!(!rows.is_empty(), "a new epoch has begun");
}
