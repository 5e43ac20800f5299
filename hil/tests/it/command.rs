//! What people ask of simulated vehicles, end to end: armed, up, there, around, on a mission that was drawn, measured; with
//! acks that do not come, a fence that is not the site's, and pymavlink reading what the vehicle holds.

use std::process::Command;
use std::time::Duration;

use hil::peer::{Peer, counted};
use hil::process::{free_udp_port, output};
use hil::site::{COPTER_BRAKE, FAILSAFES, Plan, Ports, ROVER_BRAKE, Site};
use hil::wait::eventually;
use serde_json::{Value, json};

use crate::interlock::{told, vehicle, wait_for, wait_for_state};
use crate::radio::{alone, link};

const LONG: Duration = Duration::from_secs(40);
/// A square of some 220 by 150 metres around home.
const FENCE: &str = "\n[[fence]]\nname = \"site\"\nside = \"inclusion\"\nceiling_m = 50\n\
    polygon_deg = [[47.399, 8.499], [47.399, 8.501], [47.401, 8.501], [47.401, 8.499]]\n";

/// A rover in HOLD and a copter on the ground, and a ground station that looks.
fn plan(ports: Ports, station: u16, sim: &str) -> Plan {
    let mut plan = Plan {
        node: link("radio", &format!("udpin:127.0.0.1:{}", ports.link), "")
            + &link("qgc", &format!("udpin:127.0.0.1:{station}"), "ground_stations = { per_second = 500 }\n")
            + FENCE,
        ..Plan::default()
    };
    for (name, sysid, mode, brake) in [("rover", 1, 4, ROVER_BRAKE), ("copter", 2, 0, COPTER_BRAKE)] {
        plan.node.push_str(&format!(
            "\n[[vehicle]]\nname = \"{name}\"\nclass = \"{name}\"\nsysid = {sysid}\nlinks = [\"radio\"]\n{brake}\
             outputs = {{ siren = {{ relay = 1 }}, light = {{ servo = 9, on_us = 1900, off_us = 1100 }} }}\n"
        ));
        plan.sim.push_str(&format!(
            "\n[[vehicle]]\nname = \"{name}\"\nclass = \"{name}\"\nsysid = {sysid}\n\
             connect = \"127.0.0.1:{}\"\nhome = [47.4, 8.5]\nmission_m = [[0, 0], [20, 0]]\n\
             speed_mps = 4.0\nmode = {mode}\n{FAILSAFES}{sim}",
            ports.link
        ));
    }
    plan
}

fn site(sim: &str) -> (Site, u16) {
    let (ports, station) = (Ports::free().unwrap(), free_udp_port().unwrap());
    let mut site = alone(&plan(ports, station, sim), ports);
    site.start_sim().unwrap();
    site.start_node().unwrap();
    (site, station)
}

/// Asks until it is permitted: what is not ready yet becomes so.
async fn permitted(site: &Site, name: &str, command: &Value) -> String {
    let body = with_name(command);
    let ask = async || match site.post(&format!("/api/v1/vehicles/{name}/commands"), &body).await.unwrap() {
        (202, answer) => Ok(answer["id"].as_str().unwrap().to_owned()),
        other => Err(format!("{other:?}")),
    };
    eventually(&format!("{command} to be permitted"), LONG, ask).await.unwrap()
}

fn with_name(command: &Value) -> Value {
    let mut body = command.clone();
    body["by"] = json!("ann");
    body
}

/// Asks, and waits for how it ends.
async fn done(site: &Site, name: &str, command: Value) -> (String, String) {
    let id = permitted(site, name, &command).await;
    let state = wait_for_state(site, &format!("{command} to end"), |state| {
        let last = &vehicle(state, name)["command"];
        last["id"] == json!(id) && last["outcome"].is_string()
    })
    .await;
    let last = &vehicle(&state, name)["command"];
    (last["outcome"].as_str().unwrap().to_owned(), last["detail"].as_str().unwrap().to_owned())
}

async fn denied(site: &Site, name: &str, command: Value) -> String {
    let answer = site.post(&format!("/api/v1/vehicles/{name}/commands"), &with_name(&command)).await.unwrap();
    assert_eq!(answer.0, 409, "{command}: {answer:?}");
    answer.1["reasons"].to_string()
}

fn metres_from_home(state: &Value, name: &str) -> f64 {
    let place = vehicle(state, name)["position_deg"].as_array().cloned().unwrap_or_default();
    let at = |n: usize| place.get(n).and_then(Value::as_f64).unwrap_or(0.0);
    ((at(0) - 47.4) * 111_195.0).hypot((at(1) - 8.5) * 75_260.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copter_is_armed_takes_off_goes_where_it_is_sent_and_comes_down_though_its_first_acks_are_lost() {
    // 22 NAV_TAKEOFF, 192 DO_REPOSITION, 400 arm.
    let (site, _) = site("deaf = { 22 = 1, 192 = 2, 400 = 1 }\n");
    site.patrol("copter").await.unwrap();
    let good = ("done".to_owned(), String::new());
    assert_eq!(done(&site, "copter", json!({ "verb": "arm" })).await, good);
    assert_eq!(done(&site, "copter", json!({ "verb": "take-off", "height_m": 12 })).await, good);
    let high = |state: &Value| vehicle(state, "copter")["relative_alt_m"].as_f64().is_some_and(|alt| alt > 11.5);
    wait_for_state(&site, "the copter to be up", high).await;
    let place = json!({ "verb": "go-to", "lat_deg": 47.4003, "lon_deg": 8.5003, "height_m": 20 });
    assert_eq!(done(&site, "copter", place).await, good);
    wait_for_state(&site, "the copter to be there", |state| {
        (39.0..41.5).contains(&metres_from_home(state, "copter"))
            && vehicle(state, "copter")["speed_mps"].as_f64().is_some_and(|speed| speed < 0.2)
    })
    .await;
    // Outside, too high, too fast; an ArduCopter that has no DO_ORBIT says so.
    let out =
        denied(&site, "copter", json!({ "verb": "go-to", "lat_deg": 47.41, "lon_deg": 8.5, "height_m": 20 })).await;
    assert!(out.contains("outside its fence"), "{out}");
    let high = json!({ "verb": "go-to", "lat_deg": 47.4, "lon_deg": 8.5, "height_m": 60 });
    assert!(denied(&site, "copter", high).await.contains("expected a height of 2 to 49 m"));
    assert!(denied(&site, "copter", json!({ "verb": "speed", "speed_mps": 30 })).await.contains("brake test"));
    let around = json!({
        "verb": "orbit", "lat_deg": 47.4, "lon_deg": 8.5, "height_m": 20, "radius_m": 15, "speed_mps": 2,
    });
    let (outcome, detail) = done(&site, "copter", around).await;
    assert_eq!((outcome.as_str(), detail.as_str()), ("refused", "it does not know this command"));
    assert_eq!(done(&site, "copter", json!({ "verb": "output", "output": "siren", "on": true })).await, good);
    assert_eq!(done(&site, "copter", json!({ "verb": "output", "output": "light", "on": false })).await, good);
    assert_eq!(done(&site, "copter", json!({ "verb": "point", "pitch_deg": -45, "yaw_deg": 0 })).await, good);
    let trace = site.trace();
    assert_eq!(told(&trace, "copter", "MAV_CMD_DO_SET_RELAY")[0]["p1"], 1.0);
    assert_eq!(told(&trace, "copter", "MAV_CMD_DO_SET_SERVO")[0]["p2"], 1100.0);
    // A person takes it down; what was asked before is not sent again.
    assert!(site.command_vehicle("copter", "land").await.unwrap());
    wait_for_state(&site, "the copter to be down", |state| vehicle(state, "copter")["armed"] == false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_cannot_be_read_are_refused_with_what_was_expected() {
    let (site, _) = site("");
    for (body, expected) in [
        (json!({ "verb": "go-to", "by": "ann", "lat_deg": 47.4 }), "lon_deg: expected a number from -180 to 180"),
        (json!({ "verb": "go-to", "by": "ann", "lat_deg": 947.4, "lon_deg": 8 }), "lat_deg: expected a number"),
        (json!({ "verb": "speed", "by": "ann", "speed_mps": 1e9 }), "speed_mps: expected a number from 0 to 100"),
        (json!({ "verb": "hold", "by": "ann", "speed_mps": 1 }), "hold: expected 0 values"),
        (
            json!({ "verb": "output", "by": "ann", "output": "bell", "on": true }),
            "expected one of the vehicle's outputs",
        ),
        (json!({ "verb": "terminate", "by": "ann" }), "unknown variant `terminate`"),
    ] {
        let (status, answer) = site.post("/api/v1/vehicles/rover/commands", &body).await.unwrap();
        assert_eq!(status, 400, "{body}: {answer}");
        assert!(answer["detail"].as_str().unwrap().contains(expected), "{body}: {answer}");
    }
}

/// Ends the node; all that was said is in its telemetry log, as pymavlink reads it.
fn read_its_log(site: &mut Site) {
    let mut node = site.node.take().unwrap();
    node.signal(hil::process::Signal::TERM).unwrap();
    hil::wait::until("the node to end", LONG, || node.ended().map(drop).ok_or_else(String::new)).unwrap();
    let log = counted(&site.data().join("tlog/0000000001.tlog")).unwrap();
    let count = |name: &str| log["counts"][name].as_u64().unwrap_or(0);
    // The ground station's questions, the rover's answers, what we asked.
    assert!(count("255 MISSION_REQUEST_INT") >= 9 && count("1 MISSION_ITEM_INT") >= 9, "{log}");
    assert!(count("1 HEARTBEAT") > 20 && count("245 MISSION_COUNT") >= 1, "{log}");
    assert_eq!(log["sorted"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vehicles_fence_is_made_the_sites_and_a_drawn_mission_is_driven_as_pymavlink_reads_it() {
    let (mut site, station) = site("");
    site.patrol("rover").await.unwrap();
    // Both are made the site's without anybody asking.
    let fenced = |state: &Value, name: &str| vehicle(state, name)["plans"]["fence"] == "is as it must be";
    wait_for_state(&site, "both fences", |state| ["rover", "copter"].iter().all(|name| fenced(state, name))).await;
    let step = |lat: f64, lon: f64| json!({ "do": "waypoint", "lat_deg": lat, "lon_deg": lon });
    let corners = [(47.4003, 8.5), (47.4003, 8.5003), (47.4, 8.5003)];
    let mut steps: Vec<Value> = corners.iter().map(|(lat, lon)| step(*lat, *lon)).collect();
    let send = async |steps: &[Value]| {
        site.post("/api/v1/vehicles/rover/mission", &json!({ "by": "ann", "steps": steps })).await.unwrap()
    };
    let outside = [steps.as_slice(), &[step(47.5, 8.5)]].concat();
    let (status, answer) = send(&outside).await;
    assert_eq!(status, 409);
    assert!(answer["reasons"].to_string().contains("leaves the fence on the way to item 4"), "{answer}");
    let (status, answer) = send(&[json!({ "do": "take-off", "height_m": 10 })]).await;
    assert_eq!((status, answer["detail"].as_str()), (400, Some("steps[0]: it does not fly")));
    assert_eq!(send(&[json!({ "do": "drop" })]).await.0, 400);
    steps.push(json!({ "do": "repeat", "from": 1 }));
    let (status, answer) = send(&steps).await;
    assert_eq!(status, 200, "{answer}");

    // What an independent ground station reads of the vehicle, through the node.
    let mut peer = Peer::start(&format!("udpout:127.0.0.1:{station}"), (255, 190), None).unwrap();
    for (kind, count) in [(1, 4), (0, 5)] {
        let list = json!({ "target_system": 1, "target_component": 1, "mission_type": kind });
        peer.wait("the vehicle", |m| m["mavpackettype"] == "HEARTBEAT" && m["sysid"] == 1).unwrap();
        peer.send("MISSION_REQUEST_LIST", &list).unwrap();
        let counted = peer.wait("a count", |m| {
            m["mavpackettype"] == "MISSION_COUNT" && m["mission_type"] == kind && m["target_system"] == 255
        });
        assert_eq!(counted.unwrap()["count"], count);
        for seq in 0..count {
            let wanted = json!({ "target_system": 1, "target_component": 1, "seq": seq, "mission_type": kind });
            peer.send("MISSION_REQUEST_INT", &wanted).unwrap();
        }
        let item = |seq: i32| {
            peer.wait("an item", |m| {
                m["mavpackettype"] == "MISSION_ITEM_INT"
                    && m["seq"] == seq
                    && m["mission_type"] == kind
                    && m["target_system"] == 255
            })
            .unwrap()
        };
        match kind {
            1 => {
                let corner = item(2);
                assert_eq!((&corner["command"], &corner["param1"]), (&json!(5001), &json!(4.0)));
                assert_eq!((&corner["x"], &corner["y"]), (&json!(474_010_000), &json!(85_010_000)));
            }
            _ => {
                assert_eq!((&item(2)["command"], &item(2)["y"]), (&json!(16), &json!(85_003_000)));
                assert_eq!((&item(4)["command"], &item(4)["param1"]), (&json!(177), &json!(1.0)));
            }
        }
    }
    // Driven: it comes to the far corner, 40 metres away.
    assert_eq!(done(&site, "rover", json!({ "verb": "arm" })).await.0, "done");
    assert_eq!(done(&site, "rover", json!({ "verb": "resume" })).await.0, "done");
    wait_for_state(&site, "the far corner", |state| metres_from_home(state, "rover") > 38.0).await;
    // Not changed under a vehicle that is on it.
    let (status, answer) = send(&steps).await;
    assert_eq!(status, 409);
    assert!(answer["reasons"].to_string().contains("hold it first"), "{answer}");
    let (_, fence) = site.get("/api/v1/vehicles/rover/fence").await.unwrap();
    assert_eq!(fence["items"].as_array().map(Vec::len), Some(4), "{fence}");
    let (_, parameters) = site.get("/api/v1/vehicles/rover/parameters").await.unwrap();
    let gcs = parameters["parameters"].as_array().unwrap().iter().find(|p| p["name"] == "MAV_GCS_SYSID");
    assert_eq!(gcs.unwrap()["value"], 255.0);
    wait_for(&site, "no forced command", Duration::from_secs(1), |trace| {
        told(trace, "rover", "MAV_CMD_COMPONENT_ARM_DISARM").iter().all(|c| c["p2"] == 0.0)
    });
    read_its_log(&mut site);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_brake_test_measures_the_stop_table_of_a_rover_that_has_none_and_with_it_the_rover_may_drive() {
    let (ports, station) = (Ports::free().unwrap(), free_udp_port().unwrap());
    let with = plan(ports, station, "");
    let without = Plan { node: with.node.replace(ROVER_BRAKE, ""), ..with.clone() };
    let mut site = alone(&without, ports);
    site.start_sim().unwrap();
    site.start_node().unwrap();
    // It is ready but for the table.
    let only_the_table = async || {
        let reasons = site.readiness("rover").await.map_err(|error| error.to_string())?["reasons"].clone();
        let reasons: Vec<String> = serde_json::from_value(reasons).unwrap();
        let left: Vec<&String> =
            reasons.iter().filter(|r| !r.contains("no brake test") && !r.contains("lease")).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    };
    eventually("the rover to be ready but for the table", LONG, only_the_table).await.unwrap();
    site.patrol("rover").await.unwrap();
    assert!(denied(&site, "rover", json!({ "verb": "resume" })).await.contains("no brake test"));
    let config = site.folder().join("node.toml");
    let mut command = Command::new(hil::binaries::built().unwrap().join("edge-node"));
    command.args([
        "vehicle",
        "brake-test",
        "rover",
        "--by",
        "ann",
        "--to",
        "47.4006,8.5",
        "--speeds",
        "1.5,3",
        "--json",
    ]);
    let found = output(command.arg("--config").arg(&config)).unwrap();
    let found: Value = serde_json::from_str(found.lines().last().unwrap()).unwrap();
    let stops = found["brake"].as_array().unwrap();
    assert_eq!(stops.len(), 2, "{found}");
    for (stop, speed) in stops.iter().zip([1.5_f64, 3.0]) {
        // The simulator's rover slows down by 1.25 m/s².
        let value = |key: &str| stop[key].as_f64().unwrap();
        let (distance, time) = (speed * speed / 2.5, speed / 1.25);
        assert!((value("speed_mps") - speed).abs() < 0.1, "{stop}");
        assert!(
            (distance * 0.85 - 0.1..distance * 1.15 + 0.4).contains(&value("distance_m")),
            "{stop}, not {distance}"
        );
        assert!((time * 0.9..time * 1.1 + 0.4).contains(&value("time_s")), "{stop}, not {time}");
    }
    wait_for_state(&site, "the rover to be held", |state| vehicle(state, "rover")["demand"] == "hold").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gust_brings_the_copter_home_and_its_silence_keeps_it_down() {
    let (ports, station) = (Ports::free().unwrap(), free_udp_port().unwrap());
    let mut plan = plan(ports, station, "");
    plan.node.push_str("\n[[weather]]\nsensor = \"mast\"\nmost = 12\nsilent_after = \"5s\"\n");
    let mut site = alone(&plan, ports);
    site.start_sim().unwrap();
    site.start_node().unwrap();
    site.patrol("copter").await.unwrap();
    let wind = async |value: f64| {
        let data = json!({ "sensor": "mast", "value": value, "unit": "m/s" });
        let event = json!({ "type": "sensor.reading", "subject": "sensor/mast", "data": data });
        assert_eq!(site.post("/api/v1/events", &event).await.unwrap().0, 202);
    };
    let blowing = async {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            ticks.tick().await;
            wind(6.0).await;
        }
    };
    let fly = async {
        assert_eq!(done(&site, "copter", json!({ "verb": "arm" })).await.0, "done");
        assert_eq!(done(&site, "copter", json!({ "verb": "take-off", "height_m": 6 })).await.0, "done");
        let high = |state: &Value| vehicle(state, "copter")["relative_alt_m"].as_f64().is_some_and(|alt| alt > 5.5);
        wait_for_state(&site, "the copter to be up", high).await;
    };
    tokio::select! {
        () = fly => {}
        () = blowing => {}
    }
    // What waited at a gateway for an hour says nothing about now.
    let data = json!({ "sensor": "mast", "value": 40.0, "unit": "m/s" });
    let old =
        json!({ "type": "sensor.reading", "subject": "sensor/mast", "time": "2020-01-01T00:00:00Z", "data": data });
    assert_eq!(site.post("/api/v1/events", &old).await.unwrap().0, 202);
    assert_eq!(done(&site, "copter", json!({ "verb": "speed", "speed_mps": 2 })).await.0, "done");
    wind(15.0).await;
    wait_for(&site, "RTL", Duration::from_secs(2), |trace| {
        told(trace, "copter", "MAV_CMD_DO_SET_MODE").iter().any(|c| c["p2"] == 6.0)
    });
    wait_for_state(&site, "the copter to be down", |state| vehicle(state, "copter")["armed"] == false).await;
    assert!(denied(&site, "copter", json!({ "verb": "arm" })).await.contains("weather"));
}
