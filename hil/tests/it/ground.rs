//! Vehicles that must know where they are, end to end: a fence, and satellites that are lost.

use std::time::Duration;

use hil::site::{Plan, Ports};
use hil::wait::eventually;
use serde_json::Value;

use crate::interlock::{go, site, told, tripped, vehicle, vehicles, wait_for_state};
use crate::radio::{alone, link, pinned, simulated};

const DO_SET_MODE: &str = "MAV_CMD_DO_SET_MODE";
/// Metres of a degree of longitude at home (see the simulator: a sphere), and home.
const EAST_M_PER_DEG: f64 = 111_194.93 * 0.676_876;
const HOME: [f64; 2] = [47.4, 8.5];

fn east_m(state: &Value, name: &str) -> f64 {
    (vehicle(state, name)["position_deg"][1].as_f64().unwrap() - HOME[1]) * EAST_M_PER_DEG
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rover_whose_mission_leads_out_of_its_fence_stands_inside() {
    // The mission goes 400 m to the east; the fence ends after 30.
    let east = HOME[1] + 30.0 / EAST_M_PER_DEG;
    let site = site("fence", |ports| {
        let mut plan = vehicles(ports, "");
        plan.node.push_str(&format!(
            "\n[[fence]]\nname = \"yard\"\nside = \"inclusion\"\nvehicles = [\"rover\"]\n\
             polygon_deg = [[47.399, 8.499], [47.399, {east}], [47.401, {east}], [47.401, 8.499]]\n"
        ));
        plan
    })
    .await;
    go(&site, &["rover", "copter"]).await;
    wait_for_state(&site, "the fence to hold the rover", |s| tripped(s, "fence", "rover")).await;
    let stood = |s: &Value| vehicle(s, "rover")["speed_mps"].as_f64() < Some(0.05);
    let state = wait_for_state(&site, "the rover to stand", stood).await;
    let at = east_m(&state, "rover");
    assert!((20.0..30.0).contains(&at), "it stood at {at} m, the fence is at 30 m");
    assert_eq!(vehicle(&state, "copter")["mode"], 3, "the fence is not the copter's");
    assert_eq!(told(&site.trace(), "rover", DO_SET_MODE).last().unwrap()["p2"], 4.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copter_that_loses_its_satellites_is_held_and_lands_when_it_does_not_know_where_it_is() {
    let site = site("satellites", |ports| vehicles(ports, "gps_lost_at_s = 20.0\n")).await;
    go(&site, &["copter"]).await;
    let ready = site.readiness("copter").await.unwrap();
    assert_eq!(ready["ready"], true, "{ready}");
    wait_for_state(&site, "the copter to be held", |s| tripped(s, "position", "copter")).await;
    wait_for_state(&site, "the copter to be down", |s| vehicle(s, "copter")["armed"] == false).await;
    let trace = site.trace();
    let modes: Vec<f64> = told(&trace, "copter", DO_SET_MODE).iter().filter_map(|c| c["p2"].as_f64()).collect();
    assert!(modes.contains(&17.0), "held while it knew where it was: {modes:?}");
    let ready = site.readiness("copter").await.unwrap();
    let reasons = ready["reasons"].as_array().unwrap();
    assert!(reasons.iter().any(|why| why.as_str().unwrap().starts_with("position:")), "{ready}");
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_names_every_reason_at_once() {
    let site = site("readiness", |ports| {
        let mut plan = vehicles(ports, "");
        plan.node = plan.node.replace(hil::site::ROVER_BRAKE, "");
        plan.sim = plan.sim.replacen("FS_GCS_ENABLE = 5", "FS_GCS_ENABLE = 0", 1);
        plan
    })
    .await;
    let heard = |s: &Value| ["rover", "copter"].iter().all(|name| !tripped(s, "link", name));
    tokio::time::timeout(Duration::from_secs(30), wait_for_state(&site, "both to be heard", heard)).await.unwrap();
    site.post("/api/v1/estop", &serde_json::json!({})).await.unwrap();
    // The same, at the box's own command line.
    let list = site.inspect(&["vehicle", "list"]).unwrap();
    assert!(
        list.lines().any(|line| line.starts_with("rover") && line.contains("stop") && line.contains("nobody")),
        "{list}"
    );
    let status = site.inspect(&["interlock", "status"]).unwrap();
    assert!(status.starts_with("e-stop: LATCHED") && status.contains("e-stop is latched; clears: a reset"), "{status}");
    let status: Value = serde_json::from_str(&site.inspect(&["interlock", "status", "--json"]).unwrap()).unwrap();
    assert_eq!(status["estop_vehicles"], serde_json::json!(["rover", "copter"]));
    for name in ["rover", "copter"] {
        let told = async || match site.readiness(name).await.unwrap() {
            ready if ready.to_string().contains("not told") => Err(ready.to_string()),
            ready => Ok(ready),
        };
        eventually("the parameters to be told", Duration::from_secs(30), told).await.unwrap();
    }
    let ready = site.readiness("rover").await.unwrap();
    let audit = format!("{:#}", site.inspect(&["vehicle", "audit", "rover"]).unwrap_err());
    assert!(audit.contains("audit rover: 1 parameters are not as they must be"), "{audit}");
    assert!(site.inspect(&["vehicle", "audit", "copter"]).unwrap().contains("good   FS_GCS_ENABLE"));
    let reasons: Vec<&str> = ready["reasons"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for wanted in [
        "lease: neither",
        "audit: FS_GCS_ENABLE is 0, expected not 0",
        "readiness: no brake test",
        "estop: e-stop is latched",
    ] {
        assert!(reasons.iter().any(|reason| reason.starts_with(wanted)), "{wanted}: {reasons:?}");
    }
}

/// Marks of a picture so that the person of 000000001490.jpg stands at 47.4, 8.5: forty metres a picture's width and height.
fn marks() -> String {
    let mark = |(x, y): (f64, f64)| {
        let (north, east) = ((0.766 - y) * 40.0, (x - 0.741) * 40.0);
        format!("{{ image = [{x}, {y}], place_deg = [{}, {}] }}", 47.4 + north / 111_170.0, 8.5 + east / 75_400.0)
    };
    [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)].map(mark).join(", ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_on_a_calibrated_ground_holds_the_rover_beside_them_and_not_the_one_three_hundred_metres_away() {
    let test = "a_person_on_a_calibrated_ground_holds_the_rover_beside_them_and_not_the_one_three_hundred_metres_away";
    let Some(media) = hil::media::or_skip(test) else { return };
    let pictures = tempfile::tempdir().unwrap();
    std::fs::copy(media.join("coco64/images/000000001490.jpg"), pictures.path().join("surfer.jpg")).unwrap();
    let ports = Ports::free().unwrap();
    let mut node = link("radio", &format!("udpin:127.0.0.1:{}", ports.link), "");
    let mut sim = String::new();
    for (name, sysid, home) in [("near", 1, "47.4"), ("far", 2, "47.403")] {
        node.push_str(&pinned(name, sysid, "\"radio\""));
        let rover = simulated(name, sysid, &format!("\"127.0.0.1:{}\"", ports.link), "");
        sim.push_str(&rover.replace("home = [47.4, 8.5]", &format!("home = [{home}, 8.5]")));
    }
    node.push_str(&format!(
        "\n[[camera]]\nname = \"beach\"\nsource = \"folder:{}\"\nrepeat = true\nground = [{}]\n\n\
         [[zone]]\nname = \"beach\"\ncamera = \"beach\"\npolygon = [[0, 0], [1, 0], [1, 1], [0, 1]]\n\n\
         [[keep_out]]\nzone = \"beach\"\nvehicles = [\"near\", \"far\"]\nclear_after = \"2s\"\n",
        pictures.path().display(),
        marks()
    ));
    let mut site = alone(&Plan { node, sim, model: true, ..Plan::default() }, ports);
    site.start_sim().unwrap();
    site.start_node().unwrap();
    go(&site, &["far"]).await;
    let state = wait_for_state(&site, "the person", |state| tripped(state, "keep-out", "near")).await;
    assert_eq!(vehicle(&state, "near")["demand"], "hold", "{state}");
    wait_for_state(&site, "the near rover to stand", |state| vehicle(state, "near")["speed_mps"] == 0.0).await;
    let reasons = site.readiness("near").await.unwrap()["reasons"].to_string();
    assert!(reasons.contains("keep-out: person in zone beach"), "{reasons}");
    // The far one goes on: forty metres, with the person in the picture all the while.
    let gone = |state: &Value| {
        let place = vehicle(state, "far")["position_deg"][1].as_f64().unwrap_or(0.0);
        assert_eq!(vehicle(state, "far")["demand"], "none", "{state}");
        (place - 8.5) * 75_400.0
    };
    let from = gone(&site.state().await.unwrap());
    wait_for_state(&site, "the far rover to go on", |state| gone(state) - from > 25.0).await;
    let state = site.state().await.unwrap();
    assert!(tripped(&state, "keep-out", "near") && !tripped(&state, "keep-out", "far"), "{state}");
}
