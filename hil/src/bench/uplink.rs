//! `./dev bench uplink`: bytes on the wire beside CloudEvents JSON, and the drain of a backlog into Postgres and Kafka.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use shared::cloudevent::CloudEvent;
use shared::dictionary::NEWEST;
use shared::event::{
    Alert, DetectionTrack, Event, InterlockDemanded, Occurred, Payload, SensorReading, TrackPhase, VehicleSampled,
};
use shared::ids::{EventId, Lane};
use shared::record::Record;
use shared::units::{ClockState, Uptime, UtcMicros};
use shared::wire::{Batch, Item};
use uuid::Uuid;

use super::Target::{Least, Most};
use super::{last_line, median, round};
use crate::dictionary::batches;
use crate::process::output;
use crate::servers::Servers;
use crate::site::{Plan, Ports, Site};
use crate::wait::{eventually, now};
use crate::witness::sql;

/// Events of the backlog.
const BACKLOG: u64 = 1_000_000;
/// Longest time a drain may take.
const DRAIN: Duration = Duration::from_secs(600);

/// Events as a site makes them, a fifth of each kind; none of them was in the dictionary's training.
fn events(count: usize) -> Vec<Event> {
    let begun = 1_790_000_000_000_000_i64;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut noise = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f64::from(u32::try_from(state >> 40).unwrap_or(0)) / f64::from(1u32 << 24)
    };
    let make = |n: usize| {
        let step = i64::try_from(n).unwrap_or(0) * 1_000;
        let at = Occurred {
            at: UtcMicros(begun + step),
            clock: ClockState::Synced,
            boot_id: [0x5a, 0x11, 0x9c, 0x03, 0x77, 0xe2, 0x41, 0xb0, 0x8e, 0x19, 0x6d, 0xf4, 0x2b, 0xc8, 0x95, 0x3a],
            uptime: Uptime(4_000_000_000 + step.unsigned_abs()),
        };
        let (aggregate, payload) = payload(n, &mut noise);
        Event {
            event_id: EventId(Uuid::now_v7()),
            aggregate_id: aggregate,
            occurred: at,
            trace_id: None,
            cause_id: None,
            payload,
        }
    };
    (0..count).map(make).collect()
}

/// What the `n`-th event is about, and what it says.
#[expect(clippy::cast_possible_truncation, reason = "pixels below 1000")]
fn payload(n: usize, noise: &mut impl FnMut() -> f64) -> (String, Payload) {
    let (vehicle, number) = (format!("ugv-{}", n % 3), n as u64);
    match n % 5 {
        0 => {
            let sample = VehicleSampled {
                vehicle: vehicle.clone(),
                mode: 10,
                armed: true,
                lat_deg: Some(46.95 + noise() * 0.01),
                lon_deg: Some(7.44 + noise() * 0.01),
                relative_alt_m: Some(0.0),
                speed_mps: Some(2.25),
                battery_pct: Some(71),
            };
            (format!("vehicle/{vehicle}"), Payload::VehicleSampled(sample))
        }
        1 => {
            let (sensor, value) = (format!("transformer-{}", n % 7), (noise() * 900.0).round() / 10.0);
            let reading = SensorReading { sensor: sensor.clone(), value, unit: "Cel".into() };
            (format!("sensor/{sensor}"), Payload::SensorReading(reading))
        }
        2 => {
            let mut side = |from: f32| from + (noise() * 80.0) as f32;
            let track = DetectionTrack {
                camera: "north-fence".into(),
                track: number / 40,
                phase: TrackPhase::Update,
                label: "person".into(),
                score: 0.81,
                box_xyxy_px: [310.0, 120.0, 420.0, 380.0].map(&mut side),
                zones: vec!["lane-2".into()],
                frame: number * 3,
            };
            ("camera/north-fence".into(), Payload::DetectionTrack(track))
        }
        3 => {
            let (rule, subject) = ("presence".into(), "zone/lane-2".into());
            let alert = Alert { alert: number / 5, rule, subject, text: "zone lane-2 is occupied".into() };
            ("zone/lane-2".into(), Payload::AlertRaised(alert))
        }
        _ => {
            let (demand, action, why) = ("hold".into(), "mode 4".into(), "demanded".into());
            let demanded = InterlockDemanded { vehicle: vehicle.clone(), demand, action, why };
            (format!("vehicle/{vehicle}"), Payload::InterlockDemanded(demanded))
        }
    }
}

fn record(event: Event) -> anyhow::Result<(Lane, Record)> {
    Ok((event.payload.lane(), Record::encode(event)?))
}

/// A batch of that many events of a lane, made with the newest dictionary.
pub fn sample(count: usize, lane: Lane) -> anyhow::Result<Batch> {
    let records: Vec<(Lane, Record)> = events(count * 5).into_iter().map(record).collect::<Result<_, _>>()?;
    let made = batches(&records, count, NEWEST)?;
    made.into_iter().find(|batch| batch.lane == lane && batch.items.len() == count).context("make a batch")
}

/// The same facts as CloudEvents JSON: the event, and its place and clock as extension attributes.
fn cloud_event(batch: &Batch, at: usize, item: &Item) -> anyhow::Result<Value> {
    let Item::Record(record) = item else { anyhow::bail!("make JSON of an event") };
    let decoded = record.decode()?;
    let (id, version) = (record.type_id, record.schema_version);
    let event = CloudEvent::new("yard", id, version, &decoded.envelope, decoded.payload.as_ref());
    let mut json = serde_json::to_value(event)?;
    let occurred = decoded.envelope.occurred;
    let place = json!({
        "node": "yard", "epoch": batch.epoch.to_string(), "lane": batch.lane, "seq": batch.first_seq.0 + at as u64,
        "bootid": Uuid::from_bytes(occurred.boot_id), "uptime": occurred.uptime.0,
    });
    if let (Some(json), Value::Object(place)) = (json.as_object_mut(), place) {
        json.extend(place);
    }
    Ok(json)
}

/// JSON bytes over wire bytes for batches of `count` events.
fn shrunk(count: usize) -> anyhow::Result<(f64, f64)> {
    let records: Vec<(Lane, Record)> = events(5000).into_iter().map(record).collect::<Result<_, _>>()?;
    let (mut sizes, mut ratios) = (Vec::new(), Vec::new());
    for batch in batches(&records, count, NEWEST)?.into_iter().filter(|batch| batch.items.len() == count) {
        let json: Vec<Value> =
            batch.items.iter().enumerate().map(|(at, item)| cloud_event(&batch, at, item)).collect::<Result<_, _>>()?;
        // One event goes as an object, several as a batch.
        let text = if let [one] = json.as_slice() { one.to_string() } else { serde_json::to_string(&json)? };
        let body = batch.encode()?.len() as f64;
        sizes.push(body);
        ratios.push(text.len() as f64 / body);
    }
    Ok((median(sizes.into_iter()), median(ratios.into_iter())))
}

/// Measures and prints.
///
/// # Errors
/// When a server or a run fails.
pub async fn run(out: &mut impl Write) -> anyhow::Result<()> {
    let mut metrics = serde_json::Map::new();
    writeln!(
        out,
        "body bytes beside CloudEvents JSON of the same facts (one event an object, several an array), dictionary {NEWEST}"
    )?;
    for count in [1, 10, 100] {
        let (bytes, ratio) = shrunk(count)?;
        let json = bytes * ratio;
        writeln!(out, "  {count:>3} events: {bytes:>6.0} bytes, JSON about {json:.0}: {ratio:.1} times as large")?;
        metrics.insert(format!("json_over_wire_{count}"), json!(round(ratio)));
    }
    drain(out, &mut metrics).await?;
    let targets = [
        Least("json_over_wire_1", 4.0),
        Least("json_over_wire_10", 8.0),
        Least("json_over_wire_100", 10.0),
        Least("drain_per_s", 20_000.0),
        Most("node_growth_mib", 32.0),
    ];
    last_line(out, "uplink", &Value::Object(metrics), &targets)
}

async fn drain(out: &mut impl Write, metrics: &mut serde_json::Map<String, Value>) -> anyhow::Result<()> {
    let servers = Servers::start()?;
    let place = servers.addresses().place("drain").await?;
    let ports = Ports::free()?;
    let mut site = Site::prepare(place, ports, &Plan::default(), None)?;
    let mut fill = Command::new(crate::binaries::built()?.join("edge-node"));
    fill.args(["outbox", "measure", "--what", "fill", "--count", &BACKLOG.to_string(), "--data"]).arg(site.data());
    output(fill.env("PICKET_LOG", "error"))?;
    // The node first, without a relay: what it takes with its backlog and nothing to send it to.
    site.start_node()?;
    let looked = async || {
        let state = site.state().await.map_err(|error| format!("{error:#}"))?;
        let waiting = state.pointer("/uplink/backlog/telemetry").and_then(serde_json::Value::as_u64);
        if waiting >= Some(BACKLOG) { Ok(()) } else { Err(format!("the node counts {waiting:?}")) }
    };
    eventually("the node to have counted its backlog", DRAIN, looked).await?;
    let node = site.node.as_ref().context("run the node")?;
    let (before, _) = node.memory_mib()?;
    site.start_relay()?;
    let begun = now();
    let db = sql(&site.place.postgres).await?;
    // Counting a million rows costs: the relay's own heads tell when it is worth it.
    let sql =
        "SELECT coalesce(sum(seq), 0)::bigint, EXISTS (SELECT FROM outbox) FROM lane_head WHERE lane = 'telemetry'";
    let look = async || {
        let row = db.query_one(sql, &[]).await.map_err(|error| error.to_string())?;
        let (seq, waiting): (i64, bool) = (row.get(0), row.get(1));
        if seq.unsigned_abs() > BACKLOG && !waiting { Ok(()) } else { Err(format!("the relay is at {seq}")) }
    };
    eventually("the drain", DRAIN, look).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let stored: i64 = db.query_one("SELECT count(*) FROM event_store", &[]).await?.get(0);
    let (_, most) = site.node.as_ref().context("run the node")?.memory_mib()?;
    let messages = kafka_messages(&site.place.kafka, &site.place.topic_prefix)?;
    anyhow::ensure!(
        stored.unsigned_abs() >= BACKLOG && messages >= BACKLOG,
        "drain: {stored} stored, {messages} in Kafka"
    );
    let rate = BACKLOG as f64 / seconds;
    writeln!(
        out,
        "drain of {BACKLOG} events: {seconds:.1} s, {rate:.0} events/s into Postgres ({stored} rows) and Kafka ({messages} messages)"
    )?;
    writeln!(
        out,
        "  node, relay, Postgres and the broker share this machine's cores; node memory {before:.0} MiB before, at most {most:.0} MiB"
    )?;
    metrics.insert("drain_per_s".into(), json!(rate.round()));
    metrics.insert("node_growth_mib".into(), json!(round(most - before)));
    drop(site);
    servers.stop()
}

/// Messages in the sensor topic, by kcat's offsets.
fn kafka_messages(brokers: &str, prefix: &str) -> anyhow::Result<u64> {
    let mut total = 0;
    for partition in 0..3 {
        let wanted = format!("{prefix}sensor-events:{partition}:-1");
        let text = output(Command::new("kcat").args(["-b", brokers, "-Q", "-t", &wanted]))?;
        let offset = text.split_whitespace().last().context("read kcat's offset")?;
        total += offset.parse::<u64>().with_context(|| format!("read kcat's offset {text}"))?;
    }
    Ok(total)
}
