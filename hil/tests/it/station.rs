//! A ground station made with pymavlink beside the node: what it is told, what it may ask, and what it may not.

use std::time::Duration;

use hil::peer::Peer;
use hil::process::free_udp_port;
use hil::site::{Plan, Ports, Site};
use serde_json::{Value, json};

use crate::interlock::{go, told, vehicle, wait_for, wait_for_state};
use crate::radio::{alone, link, pinned, simulated};

const DO_SET_MODE: &str = "MAV_CMD_DO_SET_MODE";
const LONG: Duration = Duration::from_secs(20);
const DENIED: i64 = 2;

/// A rover, and a ground station beside the node.
fn site(allow: &str) -> (Site, Peer) {
    let ports = Ports::free().unwrap();
    let station = free_udp_port().unwrap();
    let node = link("radio", &format!("udpin:127.0.0.1:{}", ports.link), "")
        + &link(
            "qgc",
            &format!("udpin:127.0.0.1:{station}"),
            &format!("ground_stations = {{ operator = \"hil\", allow = [{allow}] }}\n"),
        )
        + &pinned("rover", 1, "\"radio\"");
    let sim = simulated("rover", 1, &format!("\"127.0.0.1:{}\"", ports.link), "");
    let mut site = alone(&Plan { node, sim, ..Plan::default() }, ports);
    site.start_sim().unwrap();
    site.start_node().unwrap();
    let peer = Peer::start(&format!("udpout:127.0.0.1:{station}"), (255, 190), None).unwrap();
    (site, peer)
}

fn ack(message: &Value, command: u16) -> bool {
    message["mavpackettype"] == "COMMAND_ACK" && message["command"] == command && message["sysid"] == 1
}

fn from_rover(message: &Value, kind: &str) -> bool {
    message["mavpackettype"] == kind && message["sysid"] == 1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ground_station_sees_the_rover_and_what_it_asks_goes_through_the_interlock() {
    let (site, mut peer) = site("");
    let beat = peer.wait("the rover's heartbeat", |m| from_rover(m, "HEARTBEAT")).unwrap();
    assert_eq!((&beat["autopilot"], &beat["type"], &beat["custom_mode"]), (&json!(3), &json!(10), &json!(10)));
    peer.wait("the rover's place", |m| from_rover(m, "GLOBAL_POSITION_INT") && m["lat"] == 474_000_000).unwrap();

    // A question goes through.
    let name = json!({ "target_system": 1, "target_component": 1, "param_id": "FS_GCS_ENABLE", "param_index": -1 });
    peer.send("PARAM_REQUEST_READ", &name).unwrap();
    let value = |m: &Value| from_rover(m, "PARAM_VALUE") && m["param_id"] == "FS_GCS_ENABLE";
    assert_eq!(peer.wait("a parameter", value).unwrap()["param_value"], 5.0);

    // Hold is never denied; "go on" is what the interlock says: nobody answers for the rover yet.
    go(&site, &["rover"]).await;
    peer.command(1, 176, &[1.0, 4.0]).unwrap();
    assert_eq!(peer.wait("an ack to hold", |m| ack(m, 176)).unwrap()["result"], 0);
    wait_for_state(&site, "the demand", |state| vehicle(state, "rover")["demand"] == "hold").await;
    wait_for_state(&site, "the rover to stand", |state| {
        vehicle(state, "rover")["speed_mps"].as_f64().is_some_and(|speed| speed < 0.1)
    })
    .await;
    peer.forget();
    peer.command(1, 300, &[]).unwrap();
    assert_eq!(peer.wait("an ack to the mission's start", |m| ack(m, 300)).unwrap()["result"], 0);
    wait_for_state(&site, "the rover to drive", |state| {
        vehicle(state, "rover")["speed_mps"].as_f64().is_some_and(|speed| speed > 1.0)
    })
    .await;
    peer.command(1, 20, &[]).unwrap();
    wait_for_state(&site, "the rover to stand", |state| {
        vehicle(state, "rover")["speed_mps"].as_f64().is_some_and(|speed| speed < 0.1)
    })
    .await;
    let ended = site.post("/api/v1/vehicles/rover/patrol", &json!({ "for": "0s", "by": "hil" })).await.unwrap();
    assert_eq!(ended.0, 202, "{}", ended.1);
    peer.forget();
    peer.command(1, 300, &[]).unwrap();
    assert_eq!(peer.wait("an ack", |m| ack(m, 300)).unwrap()["result"], DENIED, "nobody answers for it");
    let why = peer.wait("why", |m| from_rover(m, "STATUSTEXT")).unwrap();
    assert!(why["text"].as_str().unwrap().starts_with("Picket: "), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ground_station_has_no_side_door() {
    let (site, mut peer) = site("\"camera\"");
    peer.wait("the rover's heartbeat", |m| from_rover(m, "HEARTBEAT")).unwrap();
    go(&site, &["rover"]).await;
    let commands = site.trace().len();
    // Arm, take off, terminate, another mode, move, repeat a servo: refused with an ack.
    let refused: [(u16, &[f64]); 6] =
        [(400, &[1.0]), (22, &[0.0]), (185, &[1.0]), (176, &[1.0, 0.0]), (192, &[-1.0, 1.0]), (184, &[1.0, 2.0])];
    for (command, parameters) in refused {
        peer.forget();
        peer.command(1, command, parameters).unwrap();
        assert_eq!(peer.wait(&format!("an ack to {command}"), |m| ack(m, command)).unwrap()["result"], DENIED);
    }
    // What has no ack is dropped and told.
    let failsafe = json!({
        "target_system": 1, "target_component": 1, "param_id": "FS_GCS_ENABLE", "param_value": 0.0, "param_type": 9,
    });
    peer.send("PARAM_SET", &failsafe).unwrap();
    let sticks = json!({ "target_system": 1, "target_component": 1, "chan1_raw": 2000, "chan2_raw": 2000, "chan3_raw": 2000,
        "chan4_raw": 2000, "chan5_raw": 2000, "chan6_raw": 2000, "chan7_raw": 2000, "chan8_raw": 2000 });
    peer.send("RC_CHANNELS_OVERRIDE", &sticks).unwrap();
    let target = json!({ "time_boot_ms": 0, "target_system": 1, "target_component": 1, "coordinate_frame": 1,
        "type_mask": 3527, "x": 0.0, "y": 0.0, "z": 0.0, "vx": 5.0, "vy": 0.0, "vz": 0.0, "afx": 0.0, "afy": 0.0,
        "afz": 0.0, "yaw": 0.0, "yaw_rate": 0.0 });
    peer.send("SET_POSITION_TARGET_LOCAL_NED", &target).unwrap();
    let other = json!({
        "target_system": 1, "target_component": 1, "param_id": "WP_RADIUS", "param_value": 3.0, "param_type": 9,
    });
    peer.send("PARAM_SET", &other).unwrap();
    let read = json!({ "target_system": 1, "target_component": 1, "param_id": "FS_GCS_ENABLE", "param_index": -1 });
    peer.forget();
    peer.send("PARAM_REQUEST_READ", &read).unwrap();
    let value = |m: &Value| from_rover(m, "PARAM_VALUE") && m["param_id"] == "FS_GCS_ENABLE";
    assert_eq!(peer.wait("the failsafe", value).unwrap()["param_value"], 5.0);
    let metrics = site.metrics().await.unwrap();
    let counted = metrics.lines().find(|line| line.contains("qgc: not permitted")).unwrap_or_default();
    let count: u64 = counted.rsplit_once(' ').unwrap().1.parse().unwrap();
    assert_eq!(count, 10, "{counted}");
    let asked = |line: &&Value| line["command"] == "MAV_CMD_SET_MESSAGE_INTERVAL";
    let trace = site.trace();
    assert!(trace.iter().skip(commands).all(|line| asked(&line)), "the rover was told something: {trace:?}");
    let state = site.state().await.unwrap();
    assert!(vehicle(&state, "rover")["speed_mps"].as_f64().unwrap() > 1.0, "still on patrol: {state}");

    // A forced disarm is a press for that vehicle, carried out without force.
    peer.command(1, 400, &[0.0, 21196.0]).unwrap();
    wait_for_state(&site, "the e-stop", |state| vehicle(state, "rover")["demand"] == "stop").await;
    wait_for(&site, "HOLD and disarm", LONG, |trace| {
        let disarm = told(trace, "rover", "MAV_CMD_COMPONENT_ARM_DISARM");
        told(trace, "rover", DO_SET_MODE).iter().any(|c| c["p2"] == 4.0) && disarm.iter().any(|c| c["p1"] == 0.0)
    });
    assert!(told(&site.trace(), "rover", "MAV_CMD_COMPONENT_ARM_DISARM").iter().all(|c| c["p2"] == 0.0));
}
