//! A disk that fails under the real node: strace makes the kernel's answer an error, for a while, on one file.

use std::process::Command;
use std::time::Duration;

use hil::demo::count;
use hil::servers::Addresses;
use hil::site::{Plan, Ports, Site, reading};
use hil::wait::eventually;
use hil::witness;
use serde_json::json;
use uuid::Uuid;

/// A site whose node gets `error` from `call` (or several) on files of its data folder, from the `from`-th time to the
/// `to`-th.
async fn site(name: &str, files: &[&str], call: &str, error: &str, (from, to): (u32, u32)) -> Site {
    let place = Addresses::find().unwrap().place(name).await.unwrap();
    let ports = Ports::free().unwrap();
    // Small segments: a checkpoint comes soon.
    let plan = Plan { node: "[journal]\nsegment_mib = 1\n".into(), ..Plan::default() };
    let mut site = Site::prepare(place, ports, &plan, None).unwrap();
    site.start_relay().unwrap();
    std::fs::create_dir_all(site.data()).unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null"]);
    for file in files {
        strace.arg("-P").arg(site.data().join(file));
    }
    strace.arg("-e").arg(format!("trace={call}")).arg("-e");
    strace.arg(format!("inject={call}:error={error}:when={from}..{to}")).arg("--");
    site.trace_node(&mut strace).unwrap();
    site.node.as_mut().unwrap().wait_for_output("node is ready", Duration::from_secs(60)).unwrap();
    site
}

/// Posts events until each was accepted, as a careful sender does: again, with the same id. Gives the ids, and how many
/// answers were refusals.
async fn post(site: &Site, events: u64) -> (Vec<Uuid>, u32) {
    post_large(site, events, 1).await
}

/// As [`post`], with names of so many bytes.
async fn post_large(site: &Site, events: u64, bytes: usize) -> (Vec<Uuid>, u32) {
    let (mut ids, mut refused) = (Vec::new(), 0);
    for n in 0..events {
        let id = Uuid::now_v7();
        let mut event = reading(n);
        event["id"] = json!(id);
        event["data"]["sensor"] = json!("s".repeat(bytes));
        let send = async || match site.post("/api/v1/events", &event).await {
            Ok((202, _)) => Ok(()),
            Ok((503, answer)) => {
                refused += 1;
                Err(answer.to_string())
            }
            other => panic!("{other:?}"),
        };
        eventually("the disk to take an event", Duration::from_secs(60), send).await.unwrap();
        ids.push(id);
    }
    (ids, refused)
}

/// Nothing accepted is missing centrally or there twice.
async fn check(site: &Site, ids: &[Uuid]) {
    let report = count(site).await.unwrap();
    let central = witness::central(&site.place.postgres).await.unwrap();
    let missing = ids.iter().filter(|id| !central.ids.contains(id)).count();
    assert_eq!((missing, report.lost, report.duplicated), (0, 0, 0), "{report:?}");
}

/// Posts through a fault of the bulk segment's log: some are refused meanwhile, none that was accepted is lost.
async fn post_through(name: &str, call: &str, error: &str, times: (u32, u32)) {
    let site = site(name, &["bulk-0001.db-wal"], call, error, times).await;
    let (ids, refused) = post(&site, 200).await;
    assert!(refused > 0, "{error} never fell on an event");
    check(&site, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_events_and_loses_none_that_were_accepted() {
    post_through("full", "pwrite64", "ENOSPC", (60, 75)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_fails_is_not_taken_for_one_that_worked() {
    post_through("sync", "fsync", "EIO", (30, 34)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_the_ballast_makes_room_for_urgent_events_and_the_stop_acts() {
    let site = site("ballast", &["urgent.db-wal"], "pwrite64", "ENOSPC", (70, 72)).await;
    let press = async || {
        let (status, answer) = site.post("/api/v1/estop", &json!({ "by": "ann" })).await.unwrap();
        assert_eq!(status, 202, "a press needs no disk: {answer}");
        let said = site.node.as_ref().unwrap().output();
        if said.contains("the ballast makes room for urgent events") { Ok(()) } else { Err(said) }
    };
    eventually("the ballast to be given up", Duration::from_secs(60), press).await.unwrap();
    let journaled = witness::journal(&site.data()).unwrap();
    assert!(journaled.by_type.get("estop.changed").copied().unwrap_or(0) > 0, "{journaled:?}");
    check(&site, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_at_a_checkpoint_costs_nothing() {
    // What the log holds cannot be brought into the file for a while; then the segment is full and the next one begins.
    let site = site("checkpoint", &["bulk-0001.db"], "pwrite64", "ENOSPC", (10, 14)).await;
    let (ids, _) = post_large(&site, 120, 20_000).await;
    check(&site, &ids).await;
    let said = site.node.as_ref().unwrap().output();
    assert!(said.contains("disk is full"), "the disk was never full: {said}");
    let next = site.data().join("bulk-0002.db");
    let begun = async || if next.exists() { Ok(()) } else { Err("not yet".to_owned()) };
    eventually("the next segment", Duration::from_secs(30), begun).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_disk_that_became_read_only_the_stop_acts_and_nothing_unwritten_is_acknowledged() {
    let files = ["urgent.db", "urgent.db-wal", "bulk-0001.db", "bulk-0001.db-wal", "estop.a.new", "estop.b.new"];
    let site = site("readonly", &files, "pwrite64,fsync,ftruncate", "EROFS", (90, 150)).await;
    let state = async || site.state().await.map_err(|error| format!("{error:#}"));
    let (mut ids, mut refused) = (Vec::new(), 0);
    while refused == 0 {
        let (more, answers) = post(&site, 10).await;
        ids.extend(more);
        refused += answers;
        assert!(ids.len() < 1000, "the disk never became read-only");
        if refused > 0 {
            assert_eq!(site.post("/api/v1/estop", &json!({ "by": "ann" })).await.unwrap().0, 202);
            let state = eventually("the stop to act", Duration::from_secs(5), async || match state().await? {
                state if state["interlock"]["estop"] == true => Ok(state),
                state => Err(state.to_string()),
            });
            state.await.unwrap();
        }
    }
    ids.extend(post(&site, 20).await.0);
    check(&site, &ids).await;
}

/// Flips a bit in the `nth` reading of the bulk segment's file, and in what SQLite has left of it in unused places.
fn rot(site: &Site, nth: usize) {
    use std::os::unix::fs::FileExt;
    let mut bodies = Vec::new();
    let take = |lane, record: shared::record::Record| {
        bodies.extend((lane == shared::ids::Lane::Telemetry).then_some(record.bytes));
        Ok(())
    };
    witness::each_record(&site.data(), take).unwrap();
    let wanted = &bodies[nth];
    let path = site.data().join("bulk-0001.db");
    let bytes = std::fs::read(&path).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let places: Vec<usize> = (0..bytes.len() - wanted.len()).filter(|at| bytes[*at..].starts_with(wanted)).collect();
    assert!(!places.is_empty(), "it is not in the file");
    for at in places {
        file.write_all_at(&[bytes[at] ^ 1], u64::try_from(at).unwrap()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bits_that_rot_are_found_by_the_scrub_and_the_node_goes_on() {
    let place = Addresses::find().unwrap().place("rot").await.unwrap();
    let plan = Plan { node: "[journal]\nscrub = \"1s\"\n".into(), ..Plan::default() };
    let mut site = Site::prepare(place, Ports::free().unwrap(), &plan, None).unwrap();
    site.start_relay().unwrap();
    site.start_node().unwrap();
    let (ids, _) = post(&site, 50).await;
    check(&site, &ids).await;
    // A clean stop brings everything from the log into the file.
    site.node.take().unwrap().stop(Duration::from_secs(20)).unwrap();
    rot(&site, 0);
    site.start_node().unwrap();
    let finds = async |count: u32| {
        let look = async || {
            let metrics = site.metrics().await.map_err(|error| format!("{error:#}"))?;
            let line = format!("picket_journal_damaged_places{{name=\"telemetry\"}} {count}\n");
            if metrics.contains(&line) { Ok(()) } else { Err(metrics) }
        };
        eventually("the scrub to find it", Duration::from_secs(20), look).await.unwrap();
    };
    finds(1).await;
    // And another one while the node runs.
    rot(&site, 20);
    finds(2).await;
    let said = site.node.as_ref().unwrap().output();
    assert_eq!(said.matches("journal is damaged: these events are gone").count(), 2, "each is named once: {said}");
    let more = site.read_many(5).await.unwrap();
    site.until_central(&more, Duration::from_secs(20)).await.unwrap();
}
