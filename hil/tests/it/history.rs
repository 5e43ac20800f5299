//! Histories that part: a restored image, a restored centre, two relays, days that are dropped. On the real binaries.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use hil::kafka::Kafka;
use hil::process::Process;
use hil::servers::Addresses;
use hil::site::{Plan, Ports, Site};
use hil::wait::eventually;
use hil::witness;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

const LONG: Duration = Duration::from_secs(60);

async fn site(name: &str) -> Site {
    let place = Addresses::find().unwrap().place(name).await.unwrap();
    let mut site = Site::prepare(place, Ports::free().unwrap(), &Plan::default(), None).unwrap();
    site.start_relay().unwrap();
    site
}

/// Another process of ours beside the site's, with a configuration of its own.
fn beside(site: &Site, program: &str, config: &str, until: &str) -> Process {
    let path = site.folder().join("beside.toml");
    std::fs::write(&path, config).unwrap();
    let mut command = std::process::Command::new(hil::binaries::built().unwrap().join(program));
    command.arg("run").arg("--config").arg(&path).env("PICKET_LOG", "info,tract=warn");
    let mut process = Process::start("beside", &mut command, site.folder()).unwrap();
    process.wait_for_output(until, LONG).unwrap();
    process
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// A database as it was: the relay must be stopped while it is taken and put back.
async fn template(site: &Site, from: &str, to: &str) {
    let admin = site.place.postgres.replace(&database(site), "postgres");
    let admin = witness::sql(&admin).await.unwrap();
    let gone =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY($1) AND pid <> pg_backend_pid()";
    admin.execute(gone, &[&[from, to].as_slice()]).await.unwrap();
    admin.batch_execute(&format!("DROP DATABASE IF EXISTS {to}")).await.unwrap();
    // Whoever was sent away may still be on the way out.
    let made = async || {
        let sql = format!("CREATE DATABASE {to} TEMPLATE {from}");
        admin.batch_execute(&sql).await.map_err(|error| format!("{error:?}"))
    };
    eventually("the copy of the database", LONG, made).await.unwrap();
}

fn database(site: &Site) -> String {
    let (_, name) = site.place.postgres.split_once("dbname=").unwrap();
    name.split_whitespace().next().unwrap().to_owned()
}

/// Starts the node, backs Postgres up behind its first twenty events, and goes on: those events, the database, its backup.
async fn backed_up(site: &mut Site) -> (HashSet<Uuid>, String, String) {
    let (live, backup) = (database(site), format!("{}_backup", database(site)));
    site.start_node().unwrap();
    let first = site.read_many(20).await.unwrap();
    site.until_central(&first, LONG).await.unwrap();
    site.relay.take().unwrap().stop(LONG).unwrap();
    template(site, &live, &backup).await;
    site.start_relay().unwrap();
    (first, live, backup)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_restored_while_the_original_runs_is_refused_and_loses_nothing() {
    let mut site = site("image").await;
    site.start_node().unwrap();
    site.until_central(&site.read_many(20).await.unwrap(), LONG).await.unwrap();
    // The image is taken of a stopped box, which then goes on.
    site.node.take().unwrap().stop(LONG).unwrap();
    let image = site.folder().join("image");
    copy(&site.data(), &image);
    site.start_node().unwrap();
    let original = site.read_many(20).await.unwrap();
    site.until_central(&original, LONG).await.unwrap();
    // The image wakes up beside it: another box with the same card.
    let twin = Ports::free().unwrap();
    let config = std::fs::read_to_string(site.folder().join("node.toml")).unwrap();
    let data = site.data().display().to_string();
    let config = config.replace(&data, &image.display().to_string());
    let config =
        config.replace(&format!(":{}\"\n\n[relay]", site.ports.console), &format!(":{}\"\n\n[relay]", twin.console));
    let twin_node = beside(&site, "edge-node", &config, "an operator must adopt one");
    let listed = site.operate(&["node", "list"]).unwrap();
    assert!(listed.contains("refused: gate-1"), "{listed}");
    // The original is not held up, and what the twin has is in its own journal.
    site.until_central(&site.read_many(20).await.unwrap(), LONG).await.unwrap();
    twin_node.stop(LONG).unwrap();
    let report = hil::demo::count(&site).await.unwrap();
    assert_eq!((report.lost, report.duplicated), (0, 0), "{report:?}");
    let proved = site.operate(&["verify", "--node", "gate-1"]).unwrap();
    assert!(!proved.contains("gap"), "{proved}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_restored_from_an_older_backup_gets_again_what_it_missed() {
    let mut site = site("older").await;
    let (first, live, backup) = backed_up(&mut site).await;
    let second = site.read_many(20).await.unwrap();
    site.until_central(&second, LONG).await.unwrap();
    let before = witness::kafka(&site.place.kafka, &site.place.topic_prefix).unwrap().len();
    // Postgres goes back, Kafka does not: it has the second twenty already and gets them again.
    site.relay.take().unwrap().kill().unwrap();
    template(&site, &backup, &live).await;
    let third = site.read_many(20).await.unwrap();
    site.start_relay().unwrap();
    for ids in [&first, &second, &third] {
        site.until_central(ids, LONG).await.unwrap();
    }
    let report = hil::demo::count(&site).await.unwrap();
    assert_eq!((report.lost, report.duplicated), (0, 0), "{report:?}");
    let kafka = witness::kafka(&site.place.kafka, &site.place.topic_prefix).unwrap();
    assert!(kafka.len() >= before + 40, "the second twenty again and the third: {} after {before}", kafka.len());
    let proved = site.operate(&["verify", "--node", "gate-1"]).unwrap();
    assert!(!proved.contains("gap"), "{proved}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_restored_to_before_epochs_that_the_node_has_dropped_names_each_of_them() {
    let place = Addresses::find().unwrap().place("epochs").await.unwrap();
    let node = "[journal]\nsegment_mib = 1\nkeep = \"1s\"\n";
    let mut site =
        Site::prepare(place, Ports::free().unwrap(), &Plan { node: node.into(), ..Plan::default() }, None).unwrap();
    site.start_relay().unwrap();
    let (first, live, backup) = backed_up(&mut site).await;
    // Two epochs that fill segments, each sent and then dropped, and one that is there.
    let mut dropped = HashSet::new();
    for _ in 0..2 {
        // The one in which this epoch began.
        let files = std::fs::read_dir(site.data()).unwrap().flatten().map(|entry| entry.path());
        let file =
            files.filter(|path| path.to_string_lossy().ends_with(".db")).filter(|path| !path.ends_with("urgent.db"));
        let file = file.max().unwrap();
        let gone = async || {
            let mut event = json!({ "type": "sensor.reading", "subject": "sensor/s" });
            event["data"] = json!({ "sensor": "s".repeat(100_000), "value": 1, "unit": "1" });
            let posted = site.post("/api/v1/events", &event).await;
            let id = posted.map_err(|error| format!("{error:#}"))?.1["id"].as_str().map(str::to_owned);
            let id = Uuid::try_parse(&id.unwrap_or_default()).map_err(|error| error.to_string())?;
            dropped.insert(id);
            if file.exists() { Err(format!("{} events", dropped.len())) } else { Ok(()) }
        };
        eventually("a segment to be dropped", LONG, gone).await.unwrap();
        site.node.take().unwrap().stop(LONG).unwrap();
        site.start_node().unwrap();
    }
    let last = site.read_many(20).await.unwrap();
    for ids in [&dropped, &last] {
        site.until_central(ids, LONG).await.unwrap();
    }
    // Postgres goes back to before all of it.
    site.relay.take().unwrap().kill().unwrap();
    template(&site, &backup, &live).await;
    site.start_relay().unwrap();
    site.until_central(&first, LONG).await.unwrap();
    site.until_central(&last, LONG).await.unwrap();
    let db = witness::sql(&site.place.postgres).await.unwrap();
    let named = async || {
        let missing = site.missing(&dropped).await.map_err(|error| format!("{error:#}"))?;
        let sql = "SELECT coalesce(sum(last_seq - first_seq + 1), 0)::bigint, count(DISTINCT epoch) FROM gap
            WHERE lane = 'telemetry' AND reason = 'relay_rollback'";
        let row = db.query_one(sql, &[]).await.map_err(|error| error.to_string())?;
        let (places, epochs): (i64, i64) = (row.get(0), row.get(1));
        let enough = missing > 0 && i64::try_from(missing).unwrap() <= places && epochs >= 2;
        if enough { Ok(()) } else { Err(format!("{missing} missing, {places} places of {epochs} epochs named")) }
    };
    eventually("what is missing to be named", LONG, named).await.unwrap();
    let proved = site.operate(&["verify", "--node", "gate-1"]).unwrap();
    assert!(proved.contains("gap (relay_rollback)") && !proved.contains("NOT PROVED"), "{proved}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_has_lost_its_topics_gets_what_comes_and_the_store_keeps_the_rest() {
    let mut site = site("topics").await;
    site.start_node().unwrap();
    let first = site.read_many(10).await.unwrap();
    site.until_central(&first, LONG).await.unwrap();
    // Kafka goes back to before it had anything; Postgres does not.
    site.relay.take().unwrap().stop(LONG).unwrap();
    site.place.topic_prefix.push_str("lost-");
    let config = site.folder().join("relay.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace("-\"\npartitions", "-lost-\"\npartitions");
    std::fs::write(&config, text).unwrap();
    let second = site.read_many(10).await.unwrap();
    site.start_relay().unwrap();
    site.until_central(&first, LONG).await.unwrap();
    site.until_central(&second, LONG).await.unwrap();
    let kafka: HashSet<Uuid> =
        witness::kafka(&site.place.kafka, &site.place.topic_prefix).unwrap().into_iter().collect();
    assert!(second.is_subset(&kafka), "what came after is there");
    let report = hil::demo::count(&site).await.unwrap();
    assert_eq!((report.lost, report.duplicated), (0, 0), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_restored_to_an_older_state_gets_what_comes_and_its_consumers_go_on() {
    let folder = TempDir::new().unwrap();
    let mut kafka = Kafka::start_here(folder.path()).unwrap();
    let mut place = Addresses::find().unwrap().place("older").await.unwrap();
    place.kafka = kafka.brokers();
    let mut site = Site::prepare(place, Ports::free().unwrap(), &Plan::default(), None).unwrap();
    site.start_relay().unwrap();
    site.start_node().unwrap();
    let first = site.read_many(10).await.unwrap();
    site.until_central(&first, LONG).await.unwrap();
    let data = folder.path().join("kafka/logs");
    let clock = witness::sql(&site.place.postgres).await.unwrap();
    let now = "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
    let backup_at: String = clock.query_one(now, &[]).await.unwrap().get(0);
    kafka.kill().unwrap();
    copy(&data, &folder.path().join("backup"));
    kafka.revive().unwrap();
    // Each start is a node.started for the topic that the consumer reads.
    for _ in 0..3 {
        site.node.take().unwrap().stop(LONG).unwrap();
        site.start_node().unwrap();
    }
    let second = site.read_many(10).await.unwrap();
    site.until_central(&second, LONG).await.unwrap();
    kafka.kill().unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(folder.path().join("backup"), &data).unwrap();
    kafka.revive().unwrap();
    site.node.take().unwrap().stop(LONG).unwrap();
    site.start_node().unwrap();
    let third = site.read_many(10).await.unwrap();
    for ids in [&first, &second, &third] {
        site.until_central(ids, LONG).await.unwrap();
    }
    let there: HashSet<Uuid> =
        witness::kafka(&site.place.kafka, &site.place.topic_prefix).unwrap().into_iter().collect();
    assert!(first.is_subset(&there) && third.is_subset(&there), "what came before the backup and after it is there");
    assert!(second.is_disjoint(&there), "the broker was restored");
    let report = hil::demo::count(&site).await.unwrap();
    assert_eq!((report.lost, report.duplicated), (0, 0), "{report:?}");
    // The consumer had read further than there is: it begins anew, and is at the end again.
    let db = witness::sql(&site.place.postgres).await.unwrap();
    let at_end = async || {
        let sql = "SELECT coalesce(sum(next_offset), 0)::bigint FROM consumer_offset WHERE consumer = 'vehicle-latest'";
        let read: i64 = db.query_one(sql, &[]).await.map_err(|error| error.to_string())?.get(0);
        let topic = format!("{}system-events", site.place.topic_prefix);
        let mut kcat = std::process::Command::new("kcat");
        kcat.args(["-b", &site.place.kafka, "-C", "-t", &topic, "-e", "-q", "-f", "%o\n"]);
        let there = hil::process::output(&mut kcat).map_err(|error| error.to_string())?.lines().count();
        if read == there as i64 { Ok(()) } else { Err(format!("{read} of {there} are read")) }
    };
    eventually("the consumer to be at the end", LONG, at_end).await.unwrap();
    // And what the broker lost comes again from the event store, when an operator asks for it.
    let said = site.operate(&["republish", "--since", &backup_at]).unwrap();
    assert!(said.contains("published again"), "{said}");
    let report = hil::demo::count(&site).await.unwrap();
    assert_eq!((report.lost, report.duplicated, report.unpublished), (0, 0, 0), "{report:?}");
    drop(site);
    kafka.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_slept_while_its_lock_moved_moves_nothing_twice() {
    let mut site = site("asleep").await;
    site.start_node().unwrap();
    site.until_central(&site.read_many(5).await.unwrap(), LONG).await.unwrap();
    // A second relay on the same database and broker; its read API has a port of its own.
    let second = Ports::free().unwrap();
    let config = std::fs::read_to_string(site.folder().join("relay.toml")).unwrap();
    let config = config.replace(&format!(":{}\"", site.ports.relay), &format!(":{}\"", second.relay));
    let config = config.replace(&format!(":{}\"", site.ports.fleet), &format!(":{}\"", second.fleet));
    let beside = beside(&site, "cloud-relay", &config, "relay is ready");
    // The node sends to the second; the first, which publishes, falls asleep and loses its session.
    let node = site.folder().join("node.toml");
    let text = std::fs::read_to_string(&node).unwrap();
    std::fs::write(&node, text.replace(&format!(":{}\"", site.ports.fleet), &format!(":{}\"", second.fleet))).unwrap();
    site.node.take().unwrap().stop(LONG).unwrap();
    site.start_node().unwrap();
    let db = witness::sql(&site.place.postgres).await.unwrap();
    let holders = "SELECT DISTINCT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let holder: i32 = db.query_one(holders, &[]).await.unwrap().get(0);
    let first = site.relay.as_ref().unwrap();
    first.signal(rustix::process::Signal::STOP).unwrap();
    let waiting = site.read_many(30).await.unwrap();
    let stored = async || {
        let central = witness::central(&site.place.postgres).await.map_err(|error| format!("{error:#}"))?;
        if central.outbox >= 30 { Ok(()) } else { Err(format!("{} in the outbox", central.outbox)) }
    };
    eventually("the readings to wait for the sleeper", LONG, stored).await.unwrap();
    db.execute("SELECT pg_terminate_backend($1)", &[&holder]).await.unwrap();
    site.until_central(&waiting, LONG).await.unwrap();
    first.signal(rustix::process::Signal::CONT).unwrap();
    let more = site.read_many(30).await.unwrap();
    site.until_central(&more, LONG).await.unwrap();
    let report = hil::demo::count(&site).await.unwrap();
    assert_eq!((report.lost, report.duplicated), (0, 0), "{report:?}");
    beside.stop(LONG).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn days_that_were_kept_for_their_time_go_with_their_batches_and_the_rest_is_still_proved() {
    let mut site = site("days").await;
    site.start_node().unwrap();
    let old = site.read_many(10).await.unwrap();
    site.until_central(&old, LONG).await.unwrap();
    site.relay.take().unwrap().stop(LONG).unwrap();
    // All that was received so far was received nine days ago, and one event more, of a day that never had a partition.
    // The node goes on in its epoch, which is older than what is kept.
    let db = witness::sql(&site.place.postgres).await.unwrap();
    let back = "DO $$ DECLARE day date := (now() AT TIME ZONE 'UTC')::date - 9; BEGIN
        EXECUTE format('CREATE TABLE event_store_%s PARTITION OF event_store FOR VALUES FROM (%L) TO (%L)',
            to_char(day, 'YYYYMMDD'), day::text || ' 00:00+00', (day + 1)::text || ' 00:00+00');
        CREATE TEMP TABLE moved AS SELECT * FROM event_store;
        UPDATE moved SET ingested_at = (day::text || ' 12:00+00')::timestamptz;
        SET LOCAL session_replication_role = replica;
        DELETE FROM event_store;
        SET LOCAL session_replication_role = origin;
        INSERT INTO event_store SELECT * FROM moved;
        UPDATE moved SET event_id = gen_random_uuid(), ingested_at = ((day - 30)::text || ' 12:00+00')::timestamptz;
        INSERT INTO event_store SELECT * FROM moved LIMIT 1;
        UPDATE batch_log SET received_at = (day::text || ' 12:00+00')::timestamptz;
        UPDATE lane_head SET updated_at = (day::text || ' 12:00+00')::timestamptz;
        UPDATE epoch SET opened_at = (day::text || ' 12:00+00')::timestamptz;
        END $$";
    db.batch_execute(back).await.unwrap();
    site.start_relay().unwrap();
    let gone = async || {
        let left = db.query_one("SELECT (SELECT count(*) FROM event_store), (SELECT count(*) FROM batch_log)", &[]);
        let left = left.await.map_err(|error| error.to_string())?;
        let (events, batches): (i64, i64) = (left.get(0), left.get(1));
        if (events, batches) == (0, 0) { Ok(()) } else { Err(format!("{events} events, {batches} batches")) }
    };
    eventually("the old day to go", LONG, gone).await.unwrap();
    site.until_central(&site.read_many(10).await.unwrap(), LONG).await.unwrap();
    let proved = site.operate(&["verify", "--node", "gate-1"]).unwrap();
    let telemetry = proved.lines().find(|line| line.starts_with("telemetry")).unwrap();
    assert!(!telemetry.contains("complete from 1 to"), "its beginning was dropped: {proved}");
    assert!(telemetry.contains("complete from "), "{proved}");
    assert!(proved.contains("kept for its time and dropped"), "{proved}");
    // Without that, a log that begins late is a log that somebody has cut.
    db.execute("DELETE FROM retention", &[]).await.unwrap();
    let cut = site.operate(&["verify", "--node", "gate-1"]).unwrap_err().to_string();
    assert!(cut.contains("cannot be proved"), "{cut}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_the_year_2100_is_kept_as_it_says_and_moves_no_clock() {
    let mut site = site("future").await;
    site.start_node().unwrap();
    let reading = json!({ "sensor": "load", "value": 1, "unit": "1" });
    for time in ["2100-01-01T00:00:00Z", "1970-01-01T00:00:01Z"] {
        let event = json!({ "type": "sensor.reading", "subject": "sensor/load", "time": time, "data": reading });
        assert_eq!(site.post("/api/v1/events", &event).await.unwrap().0, 202);
    }
    let after = site.read_many(1).await.unwrap();
    site.until_central(&after, LONG).await.unwrap();
    let db = witness::sql(&site.place.postgres).await.unwrap();
    let sql = "SELECT to_char(\"timestamp\" AT TIME ZONE 'UTC', 'YYYY'), ingested_at > now() - interval '1 hour'
        FROM event_store WHERE event_type = 'sensor.reading' ORDER BY \"timestamp\"";
    let rows = db.query(sql, &[]).await.unwrap();
    let years: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!((years.len(), years[0], years[2]), (3, "1970", "2100"));
    assert!(rows.iter().all(|row| row.get(1)), "partitions are by receipt");
    let read: Value = hil::http::client(LONG)
        .unwrap()
        .get(format!("http://127.0.0.1:{}/api/v1/events?type=sensor.reading&limit=10", site.ports.relay))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(read["events"].as_array().unwrap().len(), 3, "{read}");
}
