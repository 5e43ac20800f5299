//! Vehicles that are not heard for a while, or take their time, end to end: what they were told, as they saw it.

use std::time::Duration;

use hil::site::{Plan, Ports, Site};
use serde_json::{Value, json};

use crate::interlock::{go, told, tripped, vehicle, wait_for, wait_for_state};
use crate::radio::{alone, link, pinned, simulated};

const DO_SET_MODE: &str = "MAV_CMD_DO_SET_MODE";
const ARM_DISARM: &str = "MAV_CMD_COMPONENT_ARM_DISARM";
/// ArduRover's HOLD and AUTO.
const HOLD: f64 = 4.0;
const AUTO: f64 = 10.0;
const LONG: Duration = Duration::from_secs(30);

/// A rover in HOLD with a trouble of its own.
fn site(trouble: &str) -> Site {
    let ports = Ports::free().unwrap();
    let node = link("radio", &format!("udpin:127.0.0.1:{}", ports.link), "") + &pinned("rover", 1, "\"radio\"");
    let sim = simulated("rover", 1, &format!("\"127.0.0.1:{}\"", ports.link), trouble);
    let mut site = alone(&Plan { node, sim: sim.replace("mode = 10", "mode = 4"), ..Plan::default() }, ports);
    site.start_sim().unwrap();
    site.start_node().unwrap();
    site
}

fn at(line: &Value) -> f64 {
    line["t_s"].as_f64().unwrap()
}

/// When it was told what after it was sent on its mission: times and modes.
fn after_auto(trace: &[Value]) -> Vec<(f64, f64)> {
    let modes = told(trace, "rover", DO_SET_MODE);
    let told = modes.iter().map(|line| (at(line), line["p2"].as_f64().unwrap()));
    told.skip_while(|(_, mode)| *mode != AUTO).skip(1).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rover_that_is_not_heard_for_ten_seconds_is_told_to_hold_once_a_second_and_nothing_else() {
    let site = site("mute = { after_s = 6, for_s = 10 }\n");
    go(&site, &["rover"]).await;
    wait_for_state(&site, "it to be silent", |state| tripped(state, "link", "rover")).await;
    wait_for_state(&site, "it to be heard again", |state| !tripped(state, "link", "rover")).await;
    let trace = site.trace();
    let orders = after_auto(&trace);
    assert!(orders.len() >= 8 && orders.iter().all(|(_, mode)| *mode == HOLD), "{orders:?}");
    assert_eq!(told(&trace, "rover", ARM_DISARM).len(), 0, "silence says nothing: no next action");
    // While it is silent, once a second; the first 1.5 s of silence nobody knows of it.
    let begun = orders[0].0;
    let silent: Vec<f64> = orders.iter().map(|(at, _)| at - begun).filter(|passed| *passed < 8.0).collect();
    let gaps: Vec<f64> = silent.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // It counts as silent after 3.5 s without a heartbeat; before that it is told five times a second.
    let quick = gaps.iter().filter(|gap| **gap < 0.5).count();
    let slow = gaps.iter().filter(|gap| (0.8..1.4).contains(*gap)).count();
    assert!(slow >= 4 && quick <= 12 && quick + slow == gaps.len(), "{gaps:?}");
    let state = site.state().await.unwrap();
    assert_eq!((&vehicle(&state, "rover")["mode"], &vehicle(&state, "rover")["armed"]), (&json!(4), &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rover_whose_heartbeats_alone_are_lost_is_held_though_everything_else_comes() {
    let site = site("mute = { after_s = 6, for_s = 30, heartbeats = true }\n");
    go(&site, &["rover"]).await;
    let state = wait_for_state(&site, "its heartbeats to be missed", |state| tripped(state, "link", "rover")).await;
    let rover = vehicle(&state, "rover");
    assert!(
        rover["position_age_ms"].as_u64() < Some(1000) && rover["heartbeat_age_ms"].as_u64() > Some(3000),
        "{rover}"
    );
    let stands = |state: &Value| vehicle(state, "rover")["speed_mps"].as_f64() < Some(0.05);
    wait_for_state(&site, "it to stand", stands).await;
    assert_eq!(told(&site.trace(), "rover", ARM_DISARM).len(), 0);
}

/// Asks it to hold and waits for how that ends: whether it was disarmed.
async fn disarmed(delay_s: f64) -> bool {
    let site = site(&format!("delay_s = {delay_s}\n"));
    go(&site, &["rover"]).await;
    assert!(site.command_vehicle("rover", "hold").await.unwrap());
    let stands = |state: &Value| vehicle(state, "rover")["speed_mps"].as_f64() < Some(0.05);
    wait_for_state(&site, "it to stand", stands).await;
    wait_for(&site, "it to be told to hold", LONG, |trace| !after_auto(trace).is_empty());
    let trace = site.trace();
    !told(&trace, "rover", ARM_DISARM).is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_is_taken_late_is_waited_for_two_seconds_and_no_longer() {
    assert!(!disarmed(1.2).await, "it took the hold within two seconds");
    assert!(disarmed(2.6).await, "it did not");
}
