//! Clocks that are wrong: a box that starts in 1970, and one whose clock steps by a day. libfaketime gives the real
//! binaries another wall clock; the time since boot is left alone.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use hil::servers::Addresses;
use hil::site::{Plan, Ports, Site};
use hil::witness;
use serde_json::json;

const LONG: Duration = Duration::from_secs(60);

/// `env`, with the wall clock that the file `clock` of the site's folder says.
pub fn with_clock(site: &Site, clock: &str) -> Command {
    let file = site.folder().join("clock");
    std::fs::write(&file, format!("{clock}\n")).unwrap();
    let library = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let library: Option<PathBuf> =
        library.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|library| library.exists());
    let mut command = Command::new("env");
    command.arg(format!(
        "LD_PRELOAD={}",
        library.unwrap_or_else(|| panic!("find libfaketime: ./dev installs it")).display()
    ));
    command.arg(format!("FAKETIME_TIMESTAMP_FILE={}", file.display()));
    command.args(["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"]);
    command
}

fn step(site: &Site, clock: &str) {
    // Replaced whole: a reader must not see half of it.
    let (new, file) = (site.folder().join("clock.new"), site.folder().join("clock"));
    std::fs::write(&new, format!("{clock}\n")).unwrap();
    std::fs::rename(new, file).unwrap();
}

async fn goes_through(site: &Site) {
    let ids = site.read_many(10).await.unwrap();
    site.until_central(&ids, LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_in_1970_enrols_and_sends_and_a_clock_that_steps_by_a_day_loses_nothing() {
    let place = Addresses::find().unwrap().place("clock").await.unwrap();
    let mut site = Site::prepare(place, Ports::free().unwrap(), &Plan::default(), None).unwrap();
    site.start_relay().unwrap();
    // Begun anew, with the clock of a box without a battery.
    std::fs::remove_dir_all(site.data().join("identity")).unwrap();
    let first = "@1970-01-01 00:00:10";
    let mut enrol = with_clock(&site, first);
    enrol.arg(hil::binaries::built().unwrap().join("edge-node")).args(["enroll", "--token", &site.token().unwrap()]);
    enrol.arg("--relay").arg(format!("https://127.0.0.1:{}", site.ports.fleet));
    enrol.arg("--config").arg(site.folder().join("node.toml"));
    hil::process::output(&mut enrol).unwrap();
    let mut node = with_clock(&site, first);
    site.trace_node(&mut node).unwrap();
    site.node.as_mut().unwrap().wait_for_output("node is ready", LONG).unwrap();
    goes_through(&site).await;
    for clock in ["+0", "+86400", "-86400", first] {
        step(&site, clock);
        goes_through(&site).await;
    }
    assert_eq!(site.post("/api/v1/estop", &json!({ "by": "ann" })).await.unwrap().0, 202);
    // Power fails, and the clock with it.
    site.node.take().unwrap().kill().unwrap();
    let mut node = with_clock(&site, first);
    site.trace_node(&mut node).unwrap();
    site.node.as_mut().unwrap().wait_for_output("node is ready", LONG).unwrap();
    goes_through(&site).await;
    let report = hil::demo::count(&site).await.unwrap();
    assert_eq!((report.lost, report.duplicated), (0, 0), "{report:?}");
    let proved = site.operate(&["verify", "--node", "gate-1"]).unwrap();
    assert!(!proved.contains("gap"), "{proved}");
    let db = witness::sql(&site.place.postgres).await.unwrap();
    let sql = "SELECT count(*) FILTER (WHERE \"timestamp\" < '1971-01-01'),
            count(*) FILTER (WHERE \"timestamp\" > now() + interval '20 hours'),
            count(*) FILTER (WHERE \"timestamp\" BETWEEN now() - interval '25 hours' AND now() - interval '20 hours'),
            bool_and(ingested_at > now() - interval '1 hour'), bool_and(metadata->>'clock' = 'unsynced')
        FROM event_store WHERE event_type = 'sensor.reading'";
    let row = db.query_one(sql, &[]).await.unwrap();
    let found: (i64, i64, i64, bool, bool) = (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4));
    assert_eq!(found, (30, 10, 10, true, true), "each time as the box believed it, and marked as unsynced");
}
