//! The relay on real servers: what it refuses, what it stores once, what it serves.

use std::time::Duration;

use hil::servers::Addresses;
use hil::site::{Plan, Ports, Site};
use hil::wait::{eventually, until};
use hil::witness;
use serde_json::Value;
use shared::event::{Event, Occurred, Payload, SensorReading, VehicleSampled};
use shared::ids::{Digest, Epoch, EventId, Lane, Seq};
use shared::record::{Opened, Record};
use shared::units::{ClockState, Uptime, UtcMicros};
use shared::wire::{Batch, DICTIONARY_HEADER, Item, PROTOCOL};
use uuid::Uuid;

async fn relay(name: &str) -> Site {
    let place = Addresses::find().unwrap().place(name).await.unwrap();
    let ports = Ports::free().unwrap();
    let mut site = Site::prepare(place, ports, &Plan { plain: true, ..Plan::default() }, None).unwrap();
    site.start_relay().unwrap();
    site
}

fn item(n: u64) -> Item {
    let payload = match n % 2 {
        0 => Payload::SensorReading(SensorReading { sensor: format!("s\0{n}"), value: 1.5, unit: "1".into() }),
        _ => Payload::VehicleSampled(VehicleSampled {
            vehicle: "rover".into(),
            mode: u32::try_from(n).unwrap(),
            armed: true,
            lat_deg: Some(47.4),
            lon_deg: None,
            relative_alt_m: None,
            speed_mps: Some(1.0),
            battery_pct: Some(80),
        }),
    };
    let at = UtcMicros(1_790_000_000_000_000 + i64::try_from(n).unwrap() * 1_000_000);
    Item::Record(
        Record::encode(Event {
            event_id: EventId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(n))),
            aggregate_id: "vehicle/rover".into(),
            occurred: Occurred { at, clock: ClockState::Synced, boot_id: [1; 16], uptime: Uptime(n) },
            trace_id: None,
            cause_id: None,
            payload,
        })
        .unwrap(),
    )
}

/// Items `first..=last` of the one lane of a node; item 1 is its opening.
fn batch(first: u64, last: u64) -> Batch {
    let item = |n| if n == 1 { Item::Opened(Opened::FIRST) } else { item(n) };
    let prev_chain = (1..first).fold(Digest::default(), |chain, n| item(n).advance(Seq(n), chain).1);
    Batch {
        protocol: PROTOCOL,
        dict_id: 0,
        node: "gate-1".parse().unwrap(),
        boot_id: [1; 16],
        epoch: Epoch([5; 16]),
        lane: Lane::Telemetry,
        first_seq: Seq(first),
        prev_chain,
        sent_uptime: Uptime(1),
        downlink_acked: 0,
        items: (first..=last).map(item).collect(),
        head_sig: Vec::new(),
    }
}

fn client() -> reqwest::Client {
    hil::http::client(Duration::from_secs(10)).unwrap()
}

async fn post(site: &Site, node: &str, body: Vec<u8>) -> (u16, Value) {
    let url = format!("http://127.0.0.1:{}/v1/nodes/{node}/batches", site.ports.relay);
    let answer = client().post(url).body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

async fn get(site: &Site, path: &str) -> (u16, Value) {
    let answer = client().get(format!("http://127.0.0.1:{}{path}", site.ports.relay)).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

async fn wait_for_rows(site: &Site, rows: usize) -> witness::Central {
    let look = async || {
        let central = witness::central(&site.place.postgres).await.map_err(|error| format!("{error:#}"))?;
        let done = central.rows >= rows && central.outbox == 0;
        if done { Ok(central) } else { Err(format!("{} rows, {} in the outbox", central.rows, central.outbox)) }
    };
    eventually(&format!("{rows} rows"), Duration::from_secs(30), look).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_stored_once_published_projected_and_served() {
    let site = relay("ingest").await;
    for (first, last) in [(1, 6), (1, 6), (4, 9), (1, 3), (10, 11)] {
        let (status, ack) = post(&site, "gate-1", batch(first, last).encode().unwrap()).await;
        assert_eq!(status, 200, "{first}..={last}: {ack}");
    }
    let central = wait_for_rows(&site, 10).await;
    assert_eq!((central.rows, central.ids.len()), (10, 10));
    let mut kafka = witness::kafka(&site.place.kafka, &site.place.topic_prefix).unwrap();
    kafka.sort();
    kafka.dedup();
    assert_eq!(kafka.len(), 10);

    let (status, page) = get(&site, "/api/v1/events?type=vehicle.sampled&limit=3").await;
    assert_eq!((status, page["events"].as_array().unwrap().len()), (200, 3), "{page}");
    let next = page["next"].as_str().unwrap();
    let (_, rest) = get(&site, &format!("/api/v1/events?type=vehicle.sampled&limit=3&cursor={next}")).await;
    assert_eq!((rest["events"].as_array().unwrap().len(), &rest["next"]), (2, &Value::Null), "{rest}");
    let (_, odd) = get(&site, "/api/v1/events?type=sensor.reading&limit=1").await;
    assert_eq!(odd["events"][0]["data"]["sensor"], "s\u{fffd}2", "JSONB holds no NUL; the row says so");
    assert_eq!(odd["events"][0]["metadata"]["nul_replaced"], true);
    for bad in ["limit=0", "limit=x", "since=yesterday", "cursor=z", "colour=red"] {
        assert_eq!(get(&site, &format!("/api/v1/events?{bad}")).await.0, 400, "{bad}");
    }

    let look = async || match get(&site, "/api/v1/vehicles").await {
        (_, answer) if answer["vehicles"][0]["mode"] == 11 => Ok(()),
        (_, answer) => Err(answer.to_string()),
    };
    eventually("the projection", Duration::from_secs(20), look).await.unwrap();
    let db = witness::sql(&site.place.postgres).await.unwrap();
    for sql in ["DELETE FROM event_store", "UPDATE event_store SET node = 'x'", "TRUNCATE event_store"] {
        assert!(db.execute(sql, &[]).await.is_err(), "{sql}: event_store is append-only");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_batch_is_refused_and_the_lane_goes_on() {
    let site = relay("refuse").await;
    let good = batch(1, 4).encode().unwrap();
    assert_eq!(post(&site, "gate-1", good.clone()).await.0, 200);
    let mut cut = good.clone();
    cut.truncate(good.len() / 2);
    let bomb = zstd_bomb();
    for (what, node, body) in [
        ("noise", "gate-1", vec![7; 100]),
        ("cut", "gate-1", cut),
        ("bomb", "gate-1", bomb),
        ("of another node", "gate-2", good),
    ] {
        let (status, problem) = post(&site, node, body).await;
        assert_eq!(status, 400, "{what}: {problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{what}: {problem}");
    }
    assert_eq!(post(&site, "gate-1", vec![0; 2 * 1024 * 1024]).await.0, 413);
    let (status, gap) = post(&site, "gate-1", batch(7, 8).encode().unwrap()).await;
    assert_eq!((status, &gap["why"], &gap["seq"]), (409, &Value::from("gap"), &Value::from(4)), "{gap}");
    let mut forged = batch(5, 6);
    forged.prev_chain = Digest([9; 32]);
    let (status, fork) = post(&site, "gate-1", forged.encode().unwrap()).await;
    assert_eq!((status, &fork["why"]), (409, &Value::from("fork")), "{fork}");
    let mut twin = batch(1, 2);
    twin.epoch = Epoch([6; 16]);
    let (status, clone) = post(&site, "gate-1", twin.encode().unwrap()).await;
    assert_eq!((status, &clone["why"]), (409, &Value::from("fork")), "two beginnings of one name: {clone}");
    let mut unknown = batch(5, 6);
    if let Item::Record(record) = &mut unknown.items[0] {
        (record.type_id, record.bytes) = (900, vec![0xff; 9]);
    }
    let chained = unknown.items[0].advance(Seq(5), unknown.prev_chain).1;
    assert_eq!(post(&site, "gate-1", unknown.encode().unwrap()).await.0, 200, "stored raw, never refused");
    let mut next = batch(7, 7);
    next.prev_chain = unknown.items[1].advance(Seq(6), chained).1;
    assert_eq!(post(&site, "gate-1", next.encode().unwrap()).await.0, 200);
    let central = wait_for_rows(&site, 6).await;
    assert_eq!(central.rows, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_with_any_bit_flipped_is_refused_or_stored_as_it_was_meant() {
    let site = relay("flip").await;
    assert_eq!(post(&site, "gate-1", batch(1, 4).encode().unwrap()).await.0, 200);
    let (meant, good) = (batch(5, 6), batch(5, 6).encode().unwrap());
    let end = (5..=6).fold(meant.prev_chain, |chain, n| item(n).advance(Seq(n), chain).1);
    let mut refused = 0;
    for at in 0..good.len() {
        let mut body = good.clone();
        body[at] ^= 1 << (at % 8);
        let (status, answer) = post(&site, "gate-1", body).await;
        match status {
            400 => refused += 1,
            // A bit of the frame's header that means nothing.
            200 => assert_eq!(answer["chain"], end.to_string(), "byte {at}: stored as something else: {answer}"),
            _ => panic!("byte {at}: {status}: {answer}"),
        }
    }
    assert!(refused > good.len() * 9 / 10, "{refused} of {} refused", good.len());
    assert_eq!(post(&site, "gate-1", good).await.0, 200);
    assert_eq!(wait_for_rows(&site, 5).await.rows, 5);
    let metrics = site.relay_metrics().await.unwrap();
    assert!(metrics.contains(&format!("picket_relay_refused_bodies_total {refused}\n")), "{metrics}");
}

/// Skew: what a newer node may send, and what an older relay must answer.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_newer_node_sends_is_stored_or_answered_so_that_it_can_fall_back() {
    let site = relay("newer").await;
    let (_, cursor) = get(&site, "/v1/nodes/gate-1/cursor").await;
    assert_eq!((&cursor["protocols"], cursor["dictionaries"][0].is_u64()), (&serde_json::json!([PROTOCOL]), true));
    let url = format!("http://127.0.0.1:{}/v1/nodes/gate-1/batches", site.ports.relay);
    let body = batch(1, 4).encode().unwrap();
    let newer = client().post(&url).header(DICTIONARY_HEADER, "999").body(body.clone());
    assert_eq!(newer.send().await.unwrap().status().as_u16(), 415, "it goes on with one that the cursor lists");
    let mut later = batch(1, 4);
    later.protocol = PROTOCOL + 1;
    let (status, problem) = post(&site, "gate-1", later.encode().unwrap()).await;
    assert_eq!((status, problem["detail"].as_str().unwrap().contains("protocol")), (400, true), "{problem}");
    assert_eq!(post(&site, "gate-1", body).await.0, 200);
    // A type and a version that this build does not know, among those it knows.
    let mut mixed = batch(5, 8);
    for (at, change) in [(0, (900, 1)), (2, (60, 77))] {
        let Item::Record(record) = &mut mixed.items[at] else { panic!() };
        (record.type_id, record.schema_version) = change;
    }
    assert_eq!(post(&site, "gate-1", mixed.encode().unwrap()).await.0, 200, "a refusal would block the lane for ever");
    let central = wait_for_rows(&site, 7).await;
    assert_eq!((central.rows, central.ids.len()), (7, 7));
    let db = witness::sql(&site.place.postgres).await.unwrap();
    let raw = "SELECT count(*) FROM event_store WHERE seq IN (5, 7) AND payload ? 'raw'";
    assert_eq!(db.query_one(raw, &[]).await.unwrap().get::<_, i64>(0), 2);
}

fn zstd_bomb() -> Vec<u8> {
    // A batch of 9 MiB of zeros inside: small on the wire, over the limit inflated.
    let mut big = batch(1, 2);
    if let Item::Record(record) = &mut big.items[1] {
        record.bytes = vec![0; 9 * 1024 * 1024];
    }
    zstd::bulk::compress(&postcard::to_stdvec(&big).unwrap(), 3).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_restored_from_an_empty_database_makes_the_node_send_all_again() {
    let mut site = relay("restore").await;
    site.start_node().unwrap();
    for _ in 0..2 {
        // The same id twice, as a sender does who missed the first answer.
        let mut event = reading();
        event["id"] = "01930000-0000-7000-8000-000000000001".into();
        assert_eq!(site.post("/api/v1/events", &event).await.unwrap().0, 202);
    }
    // A rare lane, which has nothing new when the relay comes back.
    assert_eq!(site.post("/api/v1/estop", &serde_json::json!({ "by": "ann" })).await.unwrap().0, 202);
    until("the press to be journaled", Duration::from_secs(5), || match witness::journal(&site.data()) {
        Ok(found) if found.by_type.contains_key("estop.changed") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .unwrap();
    let first = hil::demo::count(&site).await.unwrap();
    assert_eq!(first.lost, 0, "{first:?}");
    site.relay.take().unwrap().kill().unwrap();
    let db = witness::sql(&site.place.postgres).await.unwrap();
    db.batch_execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await.unwrap();
    site.start_relay().unwrap();
    let again = hil::demo::count(&site).await.unwrap();
    assert_eq!((again.lost, again.duplicated), (0, 0), "{again:?}");
    assert_eq!(again.event_store_rows, first.event_store_rows, "all of it, and nothing new was needed");
    assert_eq!(first.events_journaled.get("sensor.reading"), Some(&1), "a repeated id is one event: {first:?}");
}

fn reading() -> Value {
    serde_json::json!({ "type": "sensor.reading", "subject": "sensor/s", "data": { "sensor": "s", "value": 1.0, "unit": "1" } })
}

#[tokio::test(flavor = "multi_thread")]
async fn json_that_is_not_an_event_is_refused_with_its_place_and_counted() {
    let mut site = relay("http").await;
    site.start_node().unwrap();
    let whole = reading();
    let without = |key: &str| {
        let mut event = whole.clone();
        event.as_object_mut().unwrap().remove(key);
        event
    };
    let with = |key: &str, value: Value| {
        let mut event = whole.clone();
        event[key] = value;
        event
    };
    let cases = [
        (Value::from(3), "CloudEvent"),
        (without("type"), "type"),
        (without("data"), "data"),
        (with("type", "alert.raised".into()), "sensor.reading or custom.*"),
        (with("id", "7".into()), "id: expected a UUID"),
        (with("time", "noon".into()), "time: expected"),
        (with("subject", "".into()), "subject: expected"),
        (with("data", serde_json::json!({ "sensor": "s", "value": "high", "unit": "1" })), "data.value"),
        (with("data", serde_json::json!({ "sensor": "s\u{0}", "value": 1.0, "unit": "1" })), "NUL"),
    ];
    let count = cases.len();
    for (event, words) in cases {
        let (status, problem) = site.post("/api/v1/events", &event).await.unwrap();
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(status == 400 && detail.contains(words), "{event}: {status}: {problem}");
    }
    assert_eq!(site.post("/api/v1/events", &whole).await.unwrap().0, 202, "the next one is taken");
    let metrics = site.metrics().await.unwrap();
    assert!(
        metrics.contains(&format!("picket_http_events_refused_total{{name=\"not an event\"}} {count}")),
        "{metrics}"
    );
}

/// Runs `cloud-relay` on the site's database; gives success and what it printed.
fn operate(site: &Site, arguments: &[&str]) -> (bool, String) {
    let mut command = std::process::Command::new(hil::binaries::built().unwrap().join("cloud-relay"));
    let config = site.folder().join("relay.toml");
    let done = command.args(arguments).arg("--config").arg(config).output().unwrap();
    (done.status.success(), String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_proved_or_its_gaps_are_named() {
    let site = relay("verify").await;
    for (first, last) in [(1, 4), (3, 6)] {
        assert_eq!(post(&site, "gate-1", batch(first, last).encode().unwrap()).await.0, 200);
    }
    let mut gap = batch(7, 7);
    let chain_after = Digest([7; 32]);
    gap.items = vec![Item::Skip { first: Seq(7), last: Seq(9), reason: "quota".into(), chain_after }];
    assert_eq!(post(&site, "gate-1", gap.encode().unwrap()).await.0, 200);
    let mut next = batch(10, 12);
    next.prev_chain = chain_after;
    assert_eq!(post(&site, "gate-1", next.encode().unwrap()).await.0, 200);
    let (proved, printed) = operate(&site, &["verify", "--node", "gate-1"]);
    let lines: Vec<&str> = printed.lines().filter(|line| line.starts_with("telemetry")).collect();
    let ends: Vec<&str> = lines.iter().filter_map(|line| line.splitn(3, ' ').nth(2)).collect();
    assert_eq!(ends, ["complete from 1 to 6", "gap (quota) from 7 to 9", "complete from 10 to 12"], "{printed}");
    assert!(proved, "{printed}");
    assert!(!operate(&site, &["verify", "--node", "nobody"]).0);
    let db = witness::sql(&site.place.postgres).await.unwrap();
    let tamper = "UPDATE batch_log SET body = set_byte(body, length(body) - 30, get_byte(body, length(body) - 30) # 1) WHERE first_seq = 5";
    assert_eq!(db.execute(tamper, &[]).await.unwrap(), 1);
    let (proved, printed) = operate(&site, &["verify", "--node", "gate-1"]);
    assert!(!proved && printed.contains("NOT PROVED"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_image_is_refused_until_it_is_adopted_and_then_the_original_is() {
    let site = relay("clone").await;
    assert_eq!(post(&site, "gate-1", batch(1, 6).encode().unwrap()).await.0, 200);
    // The image was taken at 4; the original went on to 6.
    let mut image = batch(1, 1);
    image.epoch = Epoch([6; 16]);
    image.items = vec![Item::Opened(Opened {
        parent_epoch: Epoch([5; 16]),
        parent_seq: Seq(4),
        parent_chain: batch(5, 5).prev_chain,
    })];
    let (status, fork) = post(&site, "gate-1", image.encode().unwrap()).await;
    assert_eq!((status, &fork["why"]), (409, &Value::from("fork")), "{fork}");
    assert_eq!(post(&site, "gate-1", batch(7, 8).encode().unwrap()).await.0, 200, "the original goes on");
    let (_, listed) = operate(&site, &["node", "list"]);
    assert!(listed.contains("refused: gate-1 telemetry epoch 06060606060606060606060606060606"), "{listed}");
    let (adopted, printed) = operate(&site, &["node", "adopt", "--node", "gate-1", "--by", "ann"]);
    assert!(adopted, "{printed}");
    assert_eq!(post(&site, "gate-1", image.encode().unwrap()).await.0, 200, "adopted");
    let (status, fork) = post(&site, "gate-1", batch(9, 10).encode().unwrap()).await;
    assert_eq!((status, &fork["why"]), (409, &Value::from("fork")), "now the original is the other: {fork}");
    assert!(!operate(&site, &["node", "adopt", "--node", "gate-2", "--by", "ann"]).0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_original_that_goes_on_behind_its_clone_is_refused() {
    let site = relay("late").await;
    assert_eq!(post(&site, "gate-1", batch(1, 4).encode().unwrap()).await.0, 200);
    let mut image = batch(1, 1);
    image.epoch = Epoch([6; 16]);
    let parent_chain = batch(5, 5).prev_chain;
    image.items = vec![Item::Opened(Opened { parent_epoch: Epoch([5; 16]), parent_seq: Seq(4), parent_chain })];
    assert_eq!(post(&site, "gate-1", image.encode().unwrap()).await.0, 200, "it continues all that is known");
    let (status, fork) = post(&site, "gate-1", batch(5, 6).encode().unwrap()).await;
    assert_eq!((status, &fork["why"]), (409, &Value::from("fork")), "{fork}");
    assert_eq!(post(&site, "gate-1", batch(1, 4).encode().unwrap()).await.0, 200, "what is known is known");
    // The operator knows which one is real.
    let (adopted, printed) = operate(&site, &["node", "adopt", "--node", "gate-1", "--by", "ann"]);
    assert!(adopted, "{printed}");
    assert_eq!(post(&site, "gate-1", batch(5, 6).encode().unwrap()).await.0, 200, "the original goes on");
    let mut further = batch(2, 3);
    (further.epoch, further.prev_chain) = (image.epoch, image.items[0].advance(Seq(1), Digest::default()).1);
    let (status, fork) = post(&site, "gate-1", further.encode().unwrap()).await;
    assert_eq!((status, &fork["why"]), (409, &Value::from("fork")), "its clone does not: {fork}");
}
