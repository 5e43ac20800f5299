//! The demo: one whole site for a while, then counted from outside.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use crate::drawn::render;
use crate::kafka::cache;
use crate::media;
use crate::servers::Servers;
use crate::site::{COPTER_BRAKE, FAILSAFES, Plan, Ports, ROVER_BRAKE, Site};
use crate::wait::{now, until};
use crate::witness;

/// How long the outbox may take to drain after the run.
const DRAIN: Duration = Duration::from_secs(120);

/// How long a site without vehicles and cameras may go on telling of it.
const QUIET: Duration = Duration::from_secs(30);

/// What the demo prints as its last line.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Events in the node's journal by type, by SQL.
    pub events_journaled: BTreeMap<String, u64>,
    /// Track events.
    pub detections: u64,
    /// Alerts raised.
    pub alerts: u64,
    /// Interlock trips.
    pub interlock_trips: u64,
    /// Rows of event_store, by SQL.
    pub event_store_rows: usize,
    /// Messages in Kafka, by kcat.
    pub kafka_messages: usize,
    /// Acknowledged at the edge and not in event_store after the drain. Must be 0.
    pub lost: usize,
    /// Rows of event_store beyond one for each event. Must be 0.
    pub duplicated: usize,
    /// Events of the journal that event_store has at another place (epoch, lane, seq). Must be 0.
    pub misplaced: usize,
    /// Events of event_store that are not in Kafka, by kcat. Must be 0.
    pub unpublished: usize,
    /// First deliveries in Kafka that come after a later event of their key, epoch and lane. Must be 0.
    pub disordered: usize,
}

/// What a site's camera shows, and the model that knows it.
#[derive(Debug, Clone)]
pub struct Scene {
    /// A video, or a folder of pictures.
    source: PathBuf,
    model: &'static str,
}

/// Pictures of the drawn scene, ten a second, and the seed whose people walk through the middle of it.
const DRAWN: usize = 600;
const DRAWN_SEED: &str = "3000007";

impl Scene {
    /// Real people where the real video is; else people who are drawn once, which our own model has learnt to find.
    ///
    /// # Errors
    /// When they cannot be drawn.
    pub fn find() -> anyhow::Result<Self> {
        if let Some(source) = media::video() {
            return Ok(Self { source, model: "yolox-nano" });
        }
        let folder = cache().join("drawn-yard");
        if !folder.join("names.yaml").exists() {
            let part = cache().join("drawn-yard.part");
            render(&part, DRAWN_SEED, DRAWN, &["--clip", "10"])?;
            std::fs::rename(&part, &folder).context("keep the drawn yard")?;
        }
        Ok(Self { source: folder.join("images"), model: "yard" })
    }
}

/// The demo's site: a camera over a keep-out zone, a rover that drives in it, a copter.
pub fn plan(ports: Ports, scene: Option<&Scene>) -> Plan {
    let link = ports.link;
    let mut node = format!(
        "\n[[link]]\nname = \"radio\"\nurl = \"udpin:127.0.0.1:{link}\"\n\n\
         [[vehicle]]\nname = \"rover\"\nclass = \"rover\"\nsysid = 1\nlinks = [\"radio\"]\n{ROVER_BRAKE}\n\
         [[vehicle]]\nname = \"copter\"\nclass = \"copter\"\nsysid = 2\nlinks = [\"radio\"]\n{COPTER_BRAKE}"
    );
    let mut sim = format!(
        "\n[[vehicle]]\nname = \"rover\"\nclass = \"rover\"\nsysid = 1\nconnect = \"127.0.0.1:{link}\"\n\
         home = [47.4, 8.5]\nmission_m = [[0, 0], [40, 0], [40, 25], [0, 25]]\nspeed_mps = 2.0\nmode = 10\narmed = true\n{FAILSAFES}\n\
         [[vehicle]]\nname = \"copter\"\nclass = \"copter\"\nsysid = 2\nconnect = \"127.0.0.1:{link}\"\n\
         home = [47.4, 8.5]\nmission_m = [[0, 0], [60, 0], [60, 60]]\nspeed_mps = 5.0\nmode = 3\narmed = true\n{FAILSAFES}"
    );
    if let Some(scene) = scene {
        node.push_str(&format!(
            "\n[[camera]]\nname = \"room\"\nsource = \"mjpeg:http://127.0.0.1:{}/room\"\n\n\
             [[zone]]\nname = \"room\"\ncamera = \"room\"\npolygon = [[0, 0], [1, 0], [1, 1], [0, 1]]\n\
             clear_after = \"2s\"\nalert = true\n\n\
             [[keep_out]]\nzone = \"room\"\nvehicles = [\"rover\"]\nclear_after = \"2s\"\n",
            ports.camera
        ));
        sim.push_str(&format!(
            "\n[[camera]]\nname = \"room\"\nlisten = \"127.0.0.1:{}\"\nsource = \"{}\"\n",
            ports.camera,
            scene.source.display()
        ));
    }
    let detector = scene.map(|scene| scene.model.to_owned());
    Plan { node, sim, model: scene.is_some(), detector, ..Plan::default() }
}

/// Runs the demo for a while; `None` runs until Ctrl-C.
///
/// # Errors
/// When something does not start, or the drain does not end.
pub async fn run(length: Option<Duration>, keep: Option<&Path>, say: impl Fn(&str)) -> anyhow::Result<Report> {
    // From here on a signal ends the demo in order instead of leaving servers behind.
    let mut interrupted = signal(SignalKind::interrupt()).context("watch SIGINT")?;
    let mut terminated = signal(SignalKind::terminate()).context("watch SIGTERM")?;
    let scene = Scene::find()?;
    if scene.model == "yard" {
        say("no ../shared/media and no PICKET_MEDIA: the camera shows a drawn yard");
    }
    say("starting Postgres and Kafka");
    let servers = Servers::start()?;
    let place = servers.addresses().place("demo").await?;
    let ports = Ports::free()?;
    let mut site = Site::prepare(place, ports, &plan(ports, Some(&scene)), None)?;
    say("starting relay, sim and node");
    site.start_relay()?;
    site.start_sim()?;
    site.start_node()?;
    say(&format!("console: {}/", site.console()));
    let drive = drive(&site, length);
    tokio::select! {
        driven = drive => driven?,
        _ = interrupted.recv() => say("stopping"),
        _ = terminated.recv() => say("stopping"),
    }
    say("stopping the sim and draining the outbox");
    site.sim.take().context("stop the sim")?.kill()?;
    wait_for_quiet(&site)?;
    let report = count(&site).await?;
    site.node.take().context("stop the node")?.stop(Duration::from_secs(15))?;
    site.relay.take().context("stop the relay")?.stop(Duration::from_secs(15))?;
    servers.stop()?;
    if let Some(folder) = keep {
        copy(&site.data(), folder)?;
    }
    Ok(report)
}

/// Copies the files of a stopped node.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("make folder {}", to.display()))?;
    for entry in std::fs::read_dir(from).context("read the node's folder")? {
        let entry = entry.context("read the node's folder")?;
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            std::fs::copy(entry.path(), to.join(entry.file_name())).context("copy the node's files")?;
        }
    }
    Ok(())
}

/// Waits until the node journals nothing more, so that all witnesses count the same events.
fn wait_for_quiet(site: &Site) -> anyhow::Result<()> {
    let (mut rows, mut since) = (0, now());
    until("the node to journal nothing for 3 s", QUIET, || {
        let seen = witness::journal(&site.data()).map_err(|error| format!("{error:#}"))?.rows;
        if seen != rows {
            (rows, since) = (seen, now());
        }
        if since.elapsed() >= Duration::from_secs(3) { Ok(()) } else { Err(format!("{rows} events")) }
    })
}

/// Does what the people and sensors of a site do: a reading each second, the rover sent on when it may go, the e-stop
/// pressed and reset once.
async fn drive(site: &Site, length: Option<Duration>) -> anyhow::Result<()> {
    let begun = now();
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    let mut estops = 0;
    for second in 0u64.. {
        seconds.tick().await;
        if length.is_some_and(|length| begun.elapsed() >= length) {
            break;
        }
        let value = f64::from(u32::try_from(second % 60).unwrap_or(0)) / 10.0;
        let reading = json!({ "sensor": "fence-3", "value": value, "unit": "kN" });
        let event = json!({ "type": "sensor.reading", "subject": "sensor/fence-3", "data": reading });
        let (status, answer) = site.post("/api/v1/events", &event).await?;
        anyhow::ensure!(status == 202, "post a reading: {status}: {answer}");
        let state = site.state().await?;
        let estop = state.pointer("/interlock/estop").and_then(Value::as_bool) == Some(true);
        match second % 40 {
            20 => {
                estops += 1;
                site.post("/api/v1/estop", &json!({ "by": "hil" })).await?;
            }
            24 if estop => {
                site.post("/api/v1/estop/reset", &json!({ "by": "hil" })).await?;
            }
            _ => resume(site, &state).await?,
        }
    }
    tracing::debug!(estops, "demo is driven");
    Ok(())
}

/// Sends vehicles on where the interlock permits it. A disarmed one stays: arming is a person's act on site.
async fn resume(site: &Site, state: &Value) -> anyhow::Result<()> {
    let field = |vehicle: &Value, key: &str| vehicle.get(key).cloned().unwrap_or(Value::Null);
    let vehicles = state.get("vehicles").and_then(Value::as_array).into_iter().flatten();
    // What an operator asked for, or an e-stop has left, an operator ends.
    let rules: Vec<&Value> =
        state.pointer("/interlock/rules").and_then(Value::as_array).into_iter().flatten().collect();
    let hindered = |vehicle: &Value| {
        let mut of_it = rules.iter().filter(|rule| field(rule, "vehicle") == field(vehicle, "name"));
        of_it.any(|rule| {
            !["asked", "lease"].contains(&field(rule, "rule").as_str().unwrap_or_default())
                && !field(rule, "reason").is_null()
        })
    };
    for vehicle in vehicles.filter(|vehicle| !hindered(vehicle)) {
        for (name, auto) in [("rover", 10), ("copter", 3)] {
            if field(vehicle, "name") == name && field(vehicle, "mode") != auto {
                tracing::debug!(name, mode = %field(vehicle, "mode"), "is sent on");
                if field(vehicle, "patrol").is_null() {
                    site.patrol(name).await?;
                }
                site.command_vehicle(name, "resume").await?;
            }
        }
    }
    Ok(())
}

/// Waits for the drain, then counts: everything in the journal now must be central.
///
/// # Errors
/// When the witnesses cannot be asked.
pub async fn count(site: &Site) -> anyhow::Result<Report> {
    let begun = now();
    let mut looks = tokio::time::interval(Duration::from_millis(200));
    let (journaled, central, lost) = loop {
        looks.tick().await;
        // The journal first: it goes on while the centre is read, which takes seconds after a million events.
        let journaled = witness::journal(&site.data())?;
        let central = witness::central(&site.place.postgres).await?;
        let lost = journaled.ids.difference(&central.ids).count();
        if (lost == 0 && central.outbox == 0) || begun.elapsed() > DRAIN {
            break (journaled, central, lost);
        }
    };
    let messages = witness::messages(&site.place.kafka, &site.place.topic_prefix)?;
    let published: HashSet<_> = messages.iter().map(|message| message.id).collect();
    let moved = |(id, place): &(&Uuid, &witness::Place)| central.places.get(id).is_some_and(|there| there != *place);
    let of = |name: &str| journaled.by_type.get(name).copied().unwrap_or(0);
    Ok(Report {
        detections: of("detection.track"),
        alerts: of("alert.raised"),
        interlock_trips: of("interlock.tripped"),
        event_store_rows: central.rows,
        kafka_messages: messages.len(),
        lost,
        duplicated: central.rows - central.ids.len(),
        misplaced: journaled.places.iter().filter(moved).count(),
        unpublished: central.ids.difference(&published).count(),
        disordered: witness::disordered(&messages, &central.places),
        events_journaled: journaled.by_type,
    })
}
