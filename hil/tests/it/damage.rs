//! Files of the real node that are damaged while it is down: what was acknowledged is central or inside a named gap, and the
//! node goes on.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hil::servers::Addresses;
use hil::site::{Plan, Ports, Site};
use hil::wait::eventually;
use hil::witness;
use serde_json::json;
use uuid::Uuid;

const LONG: Duration = Duration::from_secs(60);
/// Events posted before each damage.
const EVENTS: u64 = 60;

async fn site(name: &str) -> Site {
    let place = Addresses::find().unwrap().place(name).await.unwrap();
    let plan = Plan { node: "[journal]\nsegment_mib = 1\nballast_mib = 1\n".into(), ..Plan::default() };
    let mut site = Site::prepare(place, Ports::free().unwrap(), &plan, None).unwrap();
    site.start_relay().unwrap();
    site.start_node().unwrap();
    site
}

/// The newest bulk segment.
fn newest(site: &Site) -> PathBuf {
    let files = std::fs::read_dir(site.data()).unwrap().flatten().map(|entry| entry.path());
    let bulk = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("bulk-") && name.ends_with(".db")
    };
    files.filter(bulk).max().unwrap()
}

fn log_of(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}-wal", path.display()))
}

fn flip(path: &Path, part: f64) {
    let mut bytes = std::fs::read(path).unwrap();
    assert!(!bytes.is_empty(), "{} is empty", path.display());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a small file")]
    let at = (bytes.len() as f64 * part) as usize;
    bytes[at] ^= 0x40;
    std::fs::write(path, bytes).unwrap();
}

/// Flips a bit of the first row in the table that holds the outbox cursors.
fn flip_cursor(data: &Path) {
    let file = data.join("urgent.db");
    let db = rusqlite::Connection::open(&file).unwrap();
    let pages: (usize, Vec<u8>) = db
        .query_row(
            "SELECT rootpage, (SELECT chain FROM acked LIMIT 1) FROM sqlite_master WHERE name = 'acked'",
            [],
            |row| Ok((usize::try_from(row.get::<_, i64>(0)?).unwrap(), row.get(1)?)),
        )
        .unwrap();
    // Closing it brings the log into the file.
    drop(db);
    let mut bytes = std::fs::read(&file).unwrap();
    let page = (pages.0 - 1) * 4096;
    let found = bytes[page..page + 4096].windows(32).position(|window| window == pages.1).unwrap();
    bytes[page + found - 3] ^= 0x10;
    std::fs::write(&file, bytes).unwrap();
}

/// Whether the urgent file knows where telemetry stands.
fn witnessed(site: &Site) -> Result<(), String> {
    let ask = |file: PathBuf, sql: &str| -> rusqlite::Result<i64> {
        rusqlite::Connection::open(file)?.query_row(sql, [], |row| row.get(0))
    };
    let last = ask(newest(site), "SELECT max(first_pos + count - 1) FROM block_telemetry");
    let known = ask(site.data().join("urgent.db"), "SELECT pos FROM witness WHERE lane = 'telemetry'");
    match (last, known) {
        (Ok(last), Ok(known)) if last == known => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// How many of these are neither central nor counted by gaps, once the node has sent everything.
async fn settle(site: &Site, what: &str, before: &HashSet<Uuid>) -> i64 {
    let after = site.read_many(10).await.unwrap();
    site.until_central(&after, LONG).await.unwrap_or_else(|error| panic!("{what}: {error:#}"));
    let db = witness::sql(&site.place.postgres).await.unwrap();
    let accounted = async || {
        let missing = site.missing(before).await.map_err(|error| format!("{error:#}"))?;
        let sql = "SELECT coalesce(sum(last_seq - first_seq + 1), 0)::bigint FROM gap";
        let named: i64 = db.query_one(sql, &[]).await.map_err(|error| error.to_string())?.get(0);
        let accounted = i64::try_from(missing).unwrap() <= named;
        if accounted { Ok(named) } else { Err(format!("{missing} are missing, {named} places are named")) }
    };
    let named = eventually(&format!("{what}: every event to be central or named"), LONG, accounted).await.unwrap();
    let proved = site.operate(&["verify", "--node", "gate-1"]).unwrap_or_else(|error| panic!("{what}: {error:#}"));
    assert!(!proved.contains("NOT PROVED"), "{what}: {proved}");
    named
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_byte_is_damaged_what_was_acknowledged_is_central_or_named() {
    let mut site = site("damage").await;
    let mut named = 0;
    type Damage = fn(&Site);
    let damages: [(&str, bool, i64, Damage); 7] = [
        // What was damaged, whether the node was stopped cleanly before, most places it may cost.
        ("a byte mid-log of the bulk segment", false, 4, |site| flip(&log_of(&newest(site)), 0.5)),
        ("a byte mid-log of the urgent file", false, 4, |site| flip(&log_of(&site.data().join("urgent.db")), 0.5)),
        ("a commit torn in the middle", false, 0, |site| {
            let path = log_of(&newest(site));
            let mut log = std::fs::read(&path).unwrap();
            // As the frame before it, cut off: it was never acknowledged.
            log.extend_from_within(log.len() - 4120..log.len() - 2000);
            std::fs::write(path, log).unwrap();
        }),
        ("the end of the log", false, 4, |site| {
            let log = std::fs::File::options().write(true).open(log_of(&newest(site))).unwrap();
            log.set_len(log.metadata().unwrap().len() - 2000).unwrap();
        }),
        ("a byte of a segment", true, 70, |site| flip(&newest(site), 0.8)),
        ("a byte of the outbox cursors", true, 0, |site| flip_cursor(&site.data())),
        ("a byte of the ballast", true, 0, |site| flip(&site.data().join("ballast"), 0.5)),
    ];
    for (what, cleanly, most, damage) in damages {
        // Nothing of it is at the relay.
        site.relay.take().unwrap().kill().unwrap();
        let mut posted = HashSet::new();
        for _ in 0..3 {
            posted.extend(site.read_many(EVENTS / 3).await.unwrap());
            assert_eq!(site.post("/api/v1/estop", &json!({ "by": "ann" })).await.unwrap().0, 202);
        }
        // A lost end shows by what the other file saw of it a moment ago.
        eventually("the other file to know of it", LONG, async || witnessed(&site)).await.unwrap();
        let mut node = site.node.take().unwrap();
        match cleanly {
            true => assert!(node.stop(LONG).unwrap().success()),
            false => node.kill().unwrap(),
        }
        damage(&site);
        site.start_relay().unwrap();
        site.start_node().unwrap();
        let now = settle(&site, what, &posted).await;
        println!("{what}: {} places named", now - named);
        assert!(now - named <= most, "{what} cost {} places", now - named);
        named = now;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_lost_after_the_relay_acknowledged_it_is_no_loss() {
    let mut site = site("tail").await;
    let posted = site.read_many(EVENTS).await.unwrap();
    site.until_central(&posted, LONG).await.unwrap();
    let sent = async || match witness::backlog(&site.data()) {
        Ok(0) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually("the cursors to be on the disk", LONG, sent).await.unwrap();
    site.node.take().unwrap().kill().unwrap();
    let segment = newest(&site);
    std::fs::remove_file(log_of(&segment)).unwrap();
    let _ = std::fs::remove_file(PathBuf::from(format!("{}-shm", segment.display())));
    site.start_node().unwrap();
    let named = settle(&site, "a lost tail", &posted).await;
    assert_eq!((site.missing(&posted).await.unwrap(), named), (0, 0), "the relay has all of it");
}
