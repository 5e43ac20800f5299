//! Ways out of what is tripped, end to end: a rover outside its fence is sent back in, a copter that does not hold is sent home;
//! and the simulated autopilot's own fence.

use std::time::Duration;

use hil::site::{COPTER_BRAKE, FAILSAFES, Plan, Ports, Site};
use hil::wait::eventually;
use serde_json::{Value, json};

use crate::interlock::{go, told, tripped, vehicle, wait_for, wait_for_state};
use crate::radio::{alone, link, pinned};

const DO_SET_MODE: &str = "MAV_CMD_DO_SET_MODE";
const LONG: Duration = Duration::from_secs(30);
/// Metres of a degree of longitude at home (see the simulator: a sphere), and home.
const EAST_M_PER_DEG: f64 = 111_194.93 * 0.676_876;
const HOME_LON: f64 = 8.5;

fn lon(east_m: f64) -> f64 {
    HOME_LON + east_m / EAST_M_PER_DEG
}

fn east_m(state: &Value, name: &str) -> f64 {
    (vehicle(state, name)["position_deg"][1].as_f64().unwrap() - HOME_LON) * EAST_M_PER_DEG
}

/// Corners of a fence of a hundred metres to the north and the south.
fn corners(west_m: f64, east_m: f64) -> String {
    let (west, east) = (lon(west_m), lon(east_m));
    format!("[[47.399, {west}], [47.399, {east}], [47.401, {east}], [47.401, {west}]]")
}

fn fence(west_m: f64, east_m: f64) -> String {
    let corners = corners(west_m, east_m);
    format!("\n[[fence]]\nname = \"yard\"\nside = \"inclusion\"\nceiling_m = 50\npolygon_deg = {corners}\n")
}

fn started(ports: Ports, node: &str, sim: &str) -> Site {
    let node = link("radio", &format!("udpin:127.0.0.1:{}", ports.link), "") + node;
    let mut site = alone(&Plan { node, sim: sim.to_owned(), ..Plan::default() }, ports);
    site.start_sim().unwrap();
    site.start_node().unwrap();
    site
}

fn copter(ports: Ports, mission: &str, more: &str) -> (String, String) {
    let node =
        format!("\n[[vehicle]]\nname = \"copter\"\nclass = \"copter\"\nsysid = 2\nlinks = [\"radio\"]\n{COPTER_BRAKE}");
    let sim = format!(
        "\n[[vehicle]]\nname = \"copter\"\nclass = \"copter\"\nsysid = 2\nconnect = \"127.0.0.1:{}\"\nhome = [47.4, 8.5]\n\
         mission_m = {mission}\nspeed_mps = 8.0\nmode = 3\narmed = true\n{FAILSAFES}{more}",
        ports.link
    );
    (node, sim)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rover_that_stands_outside_its_fence_is_let_back_in_and_nowhere_else() {
    let ports = Ports::free().unwrap();
    // It stands ten metres to the west of where it may be.
    let sim = format!(
        "\n[[vehicle]]\nname = \"rover\"\nclass = \"rover\"\nsysid = 1\nconnect = \"127.0.0.1:{}\"\nhome = [47.4, 8.5]\n\
         mission_m = [[0, 0], [0, 50]]\nspeed_mps = 2.0\nmode = 4\narmed = true\n{FAILSAFES}",
        ports.link
    );
    let site = started(ports, &(pinned("rover", 1, "\"radio\"") + &fence(10.0, 100.0)), &sim);
    site.patrol("rover").await.unwrap();
    let ask = async |east: f64| {
        let body = json!({ "verb": "go-to", "lat_deg": 47.4, "lon_deg": lon(east), "height_m": 0, "by": "hil" });
        site.post("/api/v1/vehicles/rover/commands", &body).await.unwrap()
    };
    let back = async || match ask(40.0).await {
        (202, _) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    wait_for_state(&site, "its fence", |state| tripped(state, "fence", "rover")).await;
    let (status, answer) = ask(-40.0).await;
    assert!(status == 409 && answer["reasons"].to_string().contains("fence: "), "{answer}");
    assert!(!site.command_vehicle("rover", "resume").await.unwrap(), "its mission is outside");
    eventually("to be let back", LONG, back).await.unwrap();
    let slow = |state: &Value| vehicle(state, "rover")["speed_mps"].as_f64().is_some_and(|speed| speed > 0.5);
    let state = wait_for_state(&site, "it to drive", slow).await;
    assert_eq!(vehicle(&state, "rover")["demand"], "limit", "slowly: {state}");
    let inside = |state: &Value| !tripped(state, "fence", "rover") && east_m(state, "rover") > 38.0;
    let state = tokio::time::timeout(Duration::from_secs(90), async {
        loop {
            let state = site.state().await.unwrap();
            if inside(&state) {
                return state;
            }
            assert!(vehicle(&state, "rover")["speed_mps"].as_f64() < Some(1.8), "faster than walking: {state}");
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert_eq!(vehicle(&state, "rover")["demand"], "none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copter_that_flies_on_at_its_fence_is_sent_home_since_the_way_there_is_clear() {
    let ports = Ports::free().unwrap();
    // It shows BRAKE, and GUIDED, and flies on.
    // It flies: its fence cannot be changed now, and is the site's.
    let more = format!("flies_on = true\nfence_deg = {}\n", corners(-100.0, 66.0));
    let (node, sim) = copter(ports, "[[0, 0], [60, 0]]", &more);
    let sim = sim.replace("mode = 3\n", "mode = 17\n");
    let site = started(ports, &(node + &fence(-100.0, 66.0)), &sim);
    go(&site, &["copter"]).await;
    wait_for_state(&site, "its fence", |state| tripped(state, "fence", "copter")).await;
    wait_for(&site, "it to be told RTL", LONG, |trace| {
        told(trace, "copter", DO_SET_MODE).iter().any(|line| line["p2"] == 6.0)
    });
    let trace = site.trace();
    let modes: Vec<f64> = told(&trace, "copter", DO_SET_MODE).iter().filter_map(|line| line["p2"].as_f64()).collect();
    let first = |mode: f64| modes.iter().rposition(|own| *own == mode);
    assert!(first(17.0).is_some() && first(17.0) < first(6.0) && !modes.contains(&9.0), "{modes:?}");
    wait_for_state(&site, "it to come down", |state| vehicle(state, "copter")["armed"] == false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autopilots_own_fence_brings_it_home_and_the_node_lets_it() {
    let ports = Ports::free().unwrap();
    // Without a fence of the site nothing of ours stops it; its own ends after 40 m.
    let (node, sim) = copter(ports, "[[0, 0], [400, 0]]", &format!("fence_deg = {}\n", corners(-50.0, 40.0)));
    let site = started(ports, &node, &sim);
    go(&site, &["copter"]).await;
    let state = wait_for_state(&site, "its own way home", |state| tripped(state, "foreign", "copter")).await;
    assert_eq!(vehicle(&state, "copter")["demand"], "return");
    assert!((38.0..48.0).contains(&east_m(&state, "copter")), "{state}");
    wait_for_state(&site, "it to come down", |state| vehicle(state, "copter")["armed"] == false).await;
    let trace = site.trace();
    let weaker = told(&trace, "copter", DO_SET_MODE).into_iter().filter(|line| line["mode_before"] == 6).count();
    assert_eq!(weaker, 0, "nothing weaker was sent");
}
