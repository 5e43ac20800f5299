//! Bits that flip in the catalogue: no segment that was not sent is unlinked, no cursor runs ahead, and what cannot be read
//! any more is named.

use std::path::Path;

use edge_node::journal::block::Head;
use edge_node::journal::limits::Limits;
use edge_node::journal::reader::Reader;
use edge_node::journal::segment::StoreError;
use edge_node::journal::store::{Entry, Store, bulk_numbers, path_in};
use shared::ids::{Digest, Epoch, Lane, Seq};
use shared::record::Record;
use shared::wire::Item;
use tempfile::TempDir;

/// Readings of 100 KiB: ten fill a segment.
const READINGS: i64 = 45;
/// Of these the relay has so many.
const SENT: i64 = 15;
/// About so many flips in each page.
const FLIPS: usize = 60;

fn open(folder: &Path) -> Result<Store, StoreError> {
    let limits: Limits = toml::from_str("segment_mib = 1\nbulk_mib = 64\nurgent_mib = 4\nballast_mib = 0").unwrap();
    Store::open(folder, limits, [Head::NONE; 5], || Epoch(*uuid::Uuid::new_v4().as_bytes()))
}

fn put(store: &mut Store, lane: Lane, n: i64) {
    let record = Record { type_id: 1, schema_version: 1, bytes: vec![u8::try_from(n).unwrap(); 100 * 1024] };
    store.commit(&[Entry { lane, at: n, record: &record }]).into_iter().for_each(|done| done.unwrap());
}

/// A closed journal of several sealed segments, part of it sent.
fn journal() -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut store = open(folder.path()).unwrap();
    for n in 0..READINGS {
        put(&mut store, Lane::Telemetry, n);
        store.maintain(n).unwrap();
    }
    // An opening, then one place a reading.
    let rows = Reader::open(folder.path()).unwrap().after(Lane::Telemetry, 0, 1000, usize::MAX).unwrap();
    let head = rows[usize::try_from(SENT).unwrap()].head();
    store.ack(&[(Lane::Telemetry, head)]).unwrap();
    drop(store);
    folder
}

/// First pages of the catalogue's tables and indexes: each fits one.
fn pages(folder: &Path) -> Vec<usize> {
    let db = rusqlite::Connection::open(path_in(folder)).unwrap();
    let sql = "SELECT rootpage FROM sqlite_master WHERE tbl_name IN ('segment', 'span', 'acked', 'begun', 'witness')";
    let mut select = db.prepare(sql).unwrap();
    select
        .query_map([], |row| row.get::<_, i64>(0))
        .unwrap()
        .map(|page| usize::try_from(page.unwrap()).unwrap())
        .collect()
}

/// Records behind a position, and places that are named as gaps; places are dense, and the chain leads through them.
fn read(folder: &Path, from: i64) -> (u64, u64) {
    let (mut records, mut named) = (0, 0);
    let (mut epoch, mut seq, mut chain) = (Epoch([0; 16]), Seq(0), Digest::default());
    for row in Reader::open(folder).unwrap().after(Lane::Telemetry, 0, 1000, usize::MAX).unwrap() {
        if row.epoch != epoch {
            (epoch, seq, chain) = (row.epoch, Seq(0), Digest::default());
        }
        (seq, chain) = row.item.advance(seq.next(), chain);
        assert_eq!((row.seq, row.chain), (seq, chain));
        match row.item {
            Item::Record(_) if row.head().pos > from => records += 1,
            Item::Skip { first, last, .. } => named += last.0 - first.0 + 1,
            Item::Record(_) | Item::Opened(_) => {}
        }
    }
    (records, named)
}

fn rebuild(folder: &Path, error: &StoreError, what: &str) {
    let damaged = error.damaged_file().unwrap_or_else(|| panic!("{what}: {error}"));
    Store::rebuild(folder, damaged).unwrap();
}

/// The store as the writer has it in the end: what shows damage on the way is made anew.
fn mended(folder: &Path, what: &str) -> Store {
    for _ in 0..3 {
        let opened = open(folder).and_then(|mut store| match store.has_bulk() {
            true => Ok(store),
            false => store.open_bulk().map(|()| store),
        });
        match opened {
            Ok(store) => return store,
            Err(error) => rebuild(folder, &error, what),
        }
    }
    panic!("{what}: it cannot be mended");
}

#[track_caller]
fn check(whole: &Path, page: usize, at: usize, bit: u8) {
    let what = format!("page {page}, byte {at}, bit {bit}");
    let folder = TempDir::new().unwrap();
    for entry in std::fs::read_dir(whole).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let file = path_in(folder.path());
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[(page - 1) * 4096 + at] ^= 1 << bit;
    std::fs::write(&file, bytes).unwrap();
    let before = bulk_numbers(folder.path()).unwrap();

    for _ in 0..2 {
        let mut store = mended(folder.path(), &what);
        if let Err(error) = store.maintain(READINGS) {
            drop(store);
            rebuild(folder.path(), &error, &what);
        }
    }
    let after = bulk_numbers(folder.path()).unwrap();
    assert!(before.iter().all(|number| after.contains(number)), "{what}: of segments {before:?} are left {after:?}");
    let (_, acked) = Reader::open(folder.path()).unwrap().backlog(Lane::Telemetry).unwrap();
    assert!(acked.pos <= SENT + 1, "{what}: the cursor ran ahead to {}", acked.pos);
    let (records, named) = read(folder.path(), acked.pos);
    let due = u64::try_from(READINGS - SENT).unwrap();
    assert!(records + named >= due, "{what}: {records} readings and {named} named places of {due} behind the cursor");
    assert!(records >= due, "{what}: {named} places are named as lost, though each is in its segment");
}

#[test]
fn a_bit_that_flips_in_the_catalogue_loses_no_segment_and_moves_no_cursor_ahead() {
    let whole = journal();
    assert!(bulk_numbers(whole.path()).unwrap().len() >= 5);
    for page in pages(whole.path()) {
        let bytes = std::fs::read(path_in(whole.path())).unwrap();
        let page_bytes = &bytes[(page - 1) * 4096..page * 4096];
        // What is not zero is used: the header, the cells' places, the cells.
        let used: Vec<usize> = (0..4096).filter(|at| page_bytes[*at] != 0).collect();
        for (turn, at) in used.iter().step_by(used.len() / FLIPS + 1).enumerate() {
            check(whole.path(), page, *at, u8::try_from(turn % 8).unwrap());
        }
    }
}
