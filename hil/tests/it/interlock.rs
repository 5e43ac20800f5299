//! The interlock end to end: real pictures or a press in, MAVLink commands at the simulated vehicles out.

use std::time::Duration;

use hil::media;
use hil::servers::Addresses;
use hil::site::{COPTER_BRAKE, FAILSAFES, Plan, Ports, ROVER_BRAKE, Site};
use hil::wait::{eventually, until};
use hil::witness;
use serde_json::{Value, json};

const DO_SET_MODE: &str = "MAV_CMD_DO_SET_MODE";
const ARM_DISARM: &str = "MAV_CMD_COMPONENT_ARM_DISARM";

pub fn vehicles(ports: Ports, sim_extra: &str) -> Plan {
    let link = ports.link;
    let mut plan =
        Plan { node: format!("\n[[link]]\nname = \"radio\"\nurl = \"udpin:127.0.0.1:{link}\"\n"), ..Plan::default() };
    let kinds = [("rover", 1, 10, 2.0, ROVER_BRAKE), ("copter", 2, 3, 5.0, COPTER_BRAKE)];
    for (name, sysid, mode, speed, brake) in kinds {
        plan.node.push_str(&format!(
            "\n[[vehicle]]\nname = \"{name}\"\nclass = \"{name}\"\nsysid = {sysid}\nlinks = [\"radio\"]\n{brake}"
        ));
        plan.sim.push_str(&format!(
            "\n[[vehicle]]\nname = \"{name}\"\nclass = \"{name}\"\nsysid = {sysid}\nconnect = \"127.0.0.1:{link}\"\n\
             home = [47.4, 8.5]\nmission_m = [[0, 0], [400, 0], [400, 300]]\nspeed_mps = {speed}\nmode = {mode}\n\
             armed = true\n{FAILSAFES}{sim_extra}"
        ));
    }
    plan
}

pub async fn site(name: &str, make: impl Fn(Ports) -> Plan) -> Site {
    let place = Addresses::find().unwrap().place(name).await.unwrap();
    let ports = Ports::free().unwrap();
    let mut site = Site::prepare(place, ports, &make(ports), None).unwrap();
    site.start_relay().unwrap();
    site.start_sim().unwrap();
    site.start_node().unwrap();
    site
}

/// Commands of a kind that a vehicle was told, as the vehicle saw them.
pub fn told<'a>(trace: &'a [Value], vehicle: &str, command: &str) -> Vec<&'a Value> {
    trace.iter().filter(|line| line["vehicle"] == vehicle && line["command"] == command).collect()
}

pub fn wait_for(site: &Site, what: &str, deadline: Duration, seen: impl Fn(&[Value]) -> bool) {
    until(what, deadline, || {
        let trace = site.trace();
        let last = trace.iter().rev().find(|line| line["command"] != "MAV_CMD_SET_MESSAGE_INTERVAL");
        if seen(&trace) { Ok(()) } else { Err(format!("{last:?}")) }
    })
    .unwrap();
}

pub async fn wait_for_state(site: &Site, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let look = async || {
        let state = site.state().await.map_err(|error| format!("{error:#}"))?;
        if holds(&state) { Ok(state) } else { Err(state.to_string()) }
    };
    eventually(what, Duration::from_secs(20), look).await.unwrap()
}

pub fn vehicle<'a>(state: &'a Value, name: &str) -> &'a Value {
    state["vehicles"].as_array().unwrap().iter().find(|v| v["name"] == name).unwrap()
}

/// Sends vehicles on: after any start of the node they stand until somebody does.
pub async fn go(site: &Site, names: &[&str]) {
    for name in names {
        site.patrol(name).await.unwrap();
        let sent = async || match site.command_vehicle(name, "resume").await {
            Ok(true) => Ok(()),
            other => {
                let why = site.readiness(name).await.map_err(|error| format!("{error:#}"))?;
                Err(format!("{other:?}: {why}"))
            }
        };
        eventually(&format!("{name} to be let go"), Duration::from_secs(20), sent).await.unwrap();
    }
    wait_for_state(site, "the vehicles to move", |s| {
        names.iter().all(|name| vehicle(s, name)["speed_mps"].as_f64().is_some_and(|speed| speed > 1.0))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_estop_stops_every_vehicle_and_a_restart_keeps_it_pressed() {
    let mut site = site("estop", |ports| vehicles(ports, "")).await;
    go(&site, &["rover", "copter"]).await;
    let sent_on = |site: &Site| site.trace().iter().filter(|c| c["vehicle"] == "rover" && c["p2"] == 10.0).count();
    let by_hand = sent_on(&site);
    let (status, _) = site.post("/api/v1/estop", &json!({ "by": "ann" })).await.unwrap();
    assert_eq!(status, 202);
    wait_for(&site, "rover told HOLD, then disarmed", Duration::from_secs(15), |trace| {
        told(trace, "rover", DO_SET_MODE).iter().any(|c| c["p2"] == 4.0) && told(trace, "rover", ARM_DISARM).len() > 1
    });
    wait_for(&site, "copter told BRAKE, then LAND", Duration::from_secs(15), |trace| {
        let modes: Vec<f64> = told(trace, "copter", DO_SET_MODE).iter().filter_map(|c| c["p2"].as_f64()).collect();
        modes.contains(&17.0) && modes.contains(&9.0)
    });
    let trace = site.trace();
    assert!(told(&trace, "rover", ARM_DISARM).iter().all(|c| c["p1"] == 0.0 && c["p2"] == 0.0), "no force");
    let disarmed = &told(&trace, "rover", ARM_DISARM)[0];
    assert!(disarmed["speed_mps"].as_f64().unwrap() < 0.2, "disarmed while rolling: {disarmed}");

    // kill -9, restart: still pressed, and the vehicles are told again.
    site.node.take().unwrap().kill().unwrap();
    site.start_node().unwrap();
    let state = wait_for_state(&site, "the latch", |s| vehicle(s, "rover")["demand"] == "stop").await;
    assert_eq!(state["interlock"]["estop"], true);
    assert!(!site.command_vehicle("rover", "resume").await.unwrap(), "no motion while pressed");
    let (status, _) = site.post("/api/v1/estop/reset", &json!({ "by": "" })).await.unwrap();
    assert_eq!(status, 400, "a reset needs a name");
    let (status, _) = site.post("/api/v1/estop/reset", &json!({ "by": "ann" })).await.unwrap();
    assert_eq!(status, 202);
    wait_for_state(&site, "the reset", |s| s["interlock"]["estop"] == false).await;
    assert_eq!(sent_on(&site), by_hand, "nothing sends the rover on by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_estop_works_without_relay_and_with_the_journal_stalled() {
    let mut site = site("bare", |ports| vehicles(ports, "")).await;
    go(&site, &["rover"]).await;
    site.relay.take().unwrap().kill().unwrap();
    // Another process holds SQLite's write lock: every commit waits.
    let db = rusqlite::Connection::open(site.data().join("urgent.db")).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Nothing new begins to move while nothing can be kept.
    let known = async || match site.readiness("rover").await.unwrap()["reasons"].to_string() {
        reasons if reasons.contains("the journal does not commit") => Ok(()),
        reasons => Err(reasons),
    };
    eventually("the node to know that its journal is stalled", Duration::from_secs(20), known).await.unwrap();
    let (status, _) = site.post("/api/v1/estop", &json!({})).await.unwrap();
    assert_eq!(status, 202);
    wait_for(&site, "rover told HOLD", Duration::from_secs(2), |trace| {
        told(trace, "rover", DO_SET_MODE).iter().any(|c| c["p2"] == 4.0 && c["mode_before"] == 10)
    });
    db.execute_batch("ROLLBACK").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rover_that_refuses_hold_is_disarmed() {
    let extra = "refuse_modes = [4]\n";
    let site = site("refuse", |ports| vehicles(ports, extra)).await;
    site.post("/api/v1/estop", &json!({})).await.unwrap();
    wait_for(&site, "rover disarmed", Duration::from_secs(5), |trace| !told(trace, "rover", ARM_DISARM).is_empty());
}

/// A site whose copter is held over a zone that nothing looks at.
async fn held(name: &str, copter: &str) -> Site {
    let site = site(name, |ports| {
        let mut plan = vehicles(ports, "");
        // The copter is the last vehicle of the scenario.
        plan.sim.push_str(copter);
        let manifest = media::root().join("models/manifest.toml");
        plan.node.push_str(&format!(
            "\n[model]\nname = \"yolox-nano\"\nmanifest = \"{}\"\n\n[[camera]]\nname = \"c\"\nsource = \"folder:/nowhere\"\n\n\
             [[zone]]\nname = \"z\"\ncamera = \"c\"\npolygon = [[0, 0], [1, 0], [1, 1]]\n\n\
             [[keep_out]]\nzone = \"z\"\nvehicles = [\"copter\"]\n",
            manifest.display()
        ));
        plan
    })
    .await;
    wait_for_state(&site, "the copter to be held", |s| vehicle(s, "copter")["mode"] == 17).await;
    site
}

pub fn tripped(state: &Value, rule: &str, name: &str) -> bool {
    let rules = state["interlock"]["rules"].as_array().unwrap();
    rules.iter().any(|view| view["rule"] == rule && view["vehicle"] == name && !view["reason"].is_null())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_battery_lands_the_copter_and_nothing_of_ours_holds_it_up() {
    // A second uses a two-hundredth of a percent: it lands by itself about eight seconds after the start.
    let site = held("foreign", "battery_pct = 20.04\nland_below_pct = 20.0\n").await;
    wait_for_state(&site, "it to land by itself", |s| vehicle(s, "copter")["mode"] == 9).await;
    wait_for_state(&site, "the demand to be its own", |s| vehicle(s, "copter")["demand"] == "land").await;
    wait_for_state(&site, "it to be down", |s| vehicle(s, "copter")["armed"] == false).await;
    let trace = site.trace();
    let against: Vec<&Value> =
        told(&trace, "copter", DO_SET_MODE).into_iter().filter(|c| c["mode_before"] == 9 && c["p2"] != 9.0).collect();
    let down = against.iter().filter(|c| c["speed_mps"].as_f64().unwrap() > 0.0).count();
    assert_eq!(down, 0, "told something weaker while it landed: {against:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pilot_who_switches_the_mode_keeps_the_aircraft_and_an_estop_still_reaches_it() {
    let site = held("pilot", "pilot = { at_s = 8.0, mode = 5, channel = 5 }\n").await;
    wait_for_state(&site, "the pilot to have it", |s| tripped(s, "pilot", "copter")).await;
    assert!(
        !site.command_vehicle("copter", "hold").await.unwrap()
            && !site.command_vehicle("copter", "resume").await.unwrap()
    );
    let modes = |site: &Site| told(&site.trace(), "copter", DO_SET_MODE).len();
    // The rover is told to hold at 5 Hz meanwhile: that many passes of the interlock sent the copter nothing.
    let (before, rover) = (modes(&site), told(&site.trace(), "rover", DO_SET_MODE).len());
    site.sim.as_ref().unwrap().signal(hil::process::Signal::STOP).unwrap();
    wait_for_state(&site, "the rover to be silent", |s| tripped(s, "link", "rover")).await;
    site.sim.as_ref().unwrap().signal(hil::process::Signal::CONT).unwrap();
    wait_for(&site, "the rover to be held", Duration::from_secs(20), |trace| {
        told(trace, "rover", DO_SET_MODE).len() > rover + 3
    });
    assert_eq!(modes(&site), before, "the copter was told something");
    let state = wait_for_state(&site, "the rover to be heard again", |s| !tripped(s, "link", "rover")).await;
    assert_eq!(
        (vehicle(&state, "copter")["mode"].as_u64(), vehicle(&state, "rover")["mode"].as_u64()),
        (Some(5), Some(4))
    );
    assert_eq!(site.post("/api/v1/estop", &json!({ "by": "ann" })).await.unwrap().0, 202);
    wait_for_state(&site, "the copter to brake", |s| vehicle(s, "copter")["mode"] == 17).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_model_the_node_goes_on_and_the_zone_counts_as_occupied() {
    let folder = tempfile::TempDir::new().unwrap();
    let manifest = folder.path().join("manifest.toml");
    let shipped = std::fs::read_to_string(media::root().join("models/manifest.toml")).unwrap();
    std::fs::write(&manifest, shipped.replace("../../shared/models/yolox_nano.onnx", "gone.onnx")).unwrap();
    blind(&manifest, "yolox-nano", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_library_that_is_not_the_one_that_is_meant_the_node_goes_on_and_the_zone_counts_as_occupied() {
    let folder = tempfile::TempDir::new().unwrap();
    let library = folder.path().join("libonnxruntime.so");
    std::fs::write(&library, "another one").unwrap();
    let more = format!("[model.onnxruntime]\nlibrary = \"{}\"\nsha256 = \"{}\"\n", library.display(), "0".repeat(64));
    blind(&media::root().join("models/manifest.toml"), "yard", &more).await;
}

/// A node that has nothing to look with: it says so, the rover of the zone is held, the copter is let go.
async fn blind(manifest: &std::path::Path, model: &str, more: &str) {
    let site = site("model", |ports| {
        let mut plan = vehicles(ports, "");
        plan.node.push_str(&format!(
            "\n[model]\nname = \"{model}\"\nmanifest = \"{}\"\n{more}\n[[camera]]\nname = \"c\"\nsource = \"folder:/nowhere\"\n\n\
             [[zone]]\nname = \"z\"\ncamera = \"c\"\npolygon = [[0, 0], [1, 0], [1, 1]]\n\n\
             [[keep_out]]\nzone = \"z\"\nvehicles = [\"rover\"]\n",
            manifest.display()
        ));
        plan
    })
    .await;
    // The copter is let go once it was heard for a while: it is not of the zone.
    for name in ["rover", "copter"] {
        site.patrol(name).await.unwrap();
    }
    let state = wait_for_state(&site, "the rover to be held and the copter let go", |s| {
        vehicle(s, "rover")["mode"] == 4 && vehicle(s, "copter")["demand"] == "none"
    })
    .await;
    assert_eq!(state["alerts"][0]["rule"], "detector", "{state}");
    assert!(!site.command_vehicle("rover", "resume").await.unwrap());
    let metrics = site.metrics().await.unwrap();
    assert!(metrics.contains("picket_model_failures_total 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn six_people_are_six_presence_episodes_and_each_holds_the_moving_rover() {
    let test = "six_people_are_six_presence_episodes_and_each_holds_the_moving_rover";
    if media::or_skip(test).is_none() {
        return;
    }
    let video = media::video().unwrap();
    let site = site("six", |ports| {
        let mut plan = vehicles(ports, "");
        plan.model = true;
        // It stands until the operator sends it on: a zone that was never seen holds it anyway.
        plan.sim = plan.sim.replace("mode = 10", "mode = 4");
        plan.node.push_str(&format!(
            "\n[[camera]]\nname = \"room\"\nsource = \"file:{}\"\n\n[[zone]]\nname = \"room\"\ncamera = \"room\"\n\
             polygon = [[0, 0], [1, 0], [1, 1], [0, 1]]\nclear_after = \"2s\"\nalert = true\n\n\
             [[keep_out]]\nzone = \"room\"\nvehicles = [\"rover\"]\nclear_after = \"2s\"\n",
            video.display()
        ));
        plan
    })
    .await;
    // An operator who sends the rover on whenever the interlock lets it go, until the video has ended.
    let ended = |s: &Value| s["cameras"][0]["frame"].as_u64() >= Some(1390);
    let watch = async || {
        let state = site.state().await.map_err(|error| format!("{error:#}"))?;
        if ended(&state) {
            return Ok(());
        }
        let rover = vehicle(&state, "rover");
        if rover["demand"] == "none" && rover["mode"] != 10 {
            site.patrol("rover").await.map_err(|error| format!("{error:#}"))?;
            site.command_vehicle("rover", "resume").await.map_err(|error| format!("{error:#}"))?;
        }
        Err(state.to_string())
    };
    eventually("the video to end", Duration::from_secs(200), watch).await.unwrap();
    // Before the camera goes stale at the video's end, which holds the rover too.
    let trace = site.trace();
    let report = hil::demo::count(&site).await.unwrap();
    assert_eq!(report.events_journaled.get("zone.occupied"), Some(&6), "{report:?}");
    assert_eq!((report.lost, report.duplicated), (0, 0), "{report:?}");
    // As the rover saw it: each episode's first HOLD found it in AUTO and moving.
    let holds = told(&trace, "rover", DO_SET_MODE);
    let caught: Vec<f64> = holds
        .iter()
        .filter(|c| c["p2"] == 4.0 && c["mode_before"] == 10 && c["speed_mps"].as_f64().unwrap() > 0.2)
        .filter_map(|c| c["t_s"].as_f64())
        .collect();
    let episodes = witness::sql(&site.place.postgres).await.unwrap();
    let sql =
        "SELECT count(*) FROM event_store WHERE event_type = 'interlock.tripped' AND payload->>'rule' = 'keep-out'
        AND payload->>'reason' = 'person in zone room'";
    let trips: i64 = episodes.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(trips, 6, "trips by a person, centrally; holds at {caught:?}");
    assert_eq!(caught.len(), 6, "holds that caught the rover moving: {caught:?}");
}
