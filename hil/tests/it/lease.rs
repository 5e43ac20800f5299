//! Who answers for a vehicle, end to end: a node that dies or hangs, an operator who goes, an e-stop for one vehicle, a reset
//! by two.

use std::time::Duration;

use hil::process::Signal;
use hil::site::Site;
use hil::wait::{eventually, until};
use serde_json::{Value, json};

use crate::interlock::{go, site, told, tripped, vehicle, vehicles, wait_for, wait_for_state};

const DO_SET_MODE: &str = "MAV_CMD_DO_SET_MODE";
/// In the trace: the vehicle's own ground-station failsafe acted, and it stands.
const STATION_LOST: &str = "FAILSAFE_GCS";
const STANDS: &str = "STANDS";

/// What the vehicle did by itself, as the simulator wrote it down: seconds without a supervisor's heartbeat when its
/// failsafe acted, and seconds from then until it stood.
fn own_stop(trace: &[Value], name: &str) -> Option<(f64, f64)> {
    let last = |command: &str| told(trace, name, command).last().copied().cloned();
    let (lost, stands) = (last(STATION_LOST)?, last(STANDS)?);
    let at = |line: &Value| line["t_s"].as_f64().unwrap();
    (at(&stands) >= at(&lost)).then(|| (lost["p1"].as_f64().unwrap(), at(&stands) - at(&lost)))
}

fn wait_for_own_stop(site: &Site, name: &str) -> (f64, f64) {
    until(&format!("{name} to stop by itself"), Duration::from_secs(30), || {
        own_stop(&site.trace(), name).ok_or_else(|| format!("{:?}", site.trace().last()))
    })
    .unwrap()
}

/// The rover drives 2 m/s, the copter flies 5 m/s: their own stops are as the brake tests say.
fn check_own_stops(site: &Site) {
    for (name, stops_within) in [("rover", 3.5), ("copter", 5.0)] {
        let (missed, stood_after) = wait_for_own_stop(site, name);
        assert!((2.0..=3.0).contains(&missed), "{name}: its failsafe acted after {missed} s");
        assert!(stood_after <= stops_within, "{name}: stood {stood_after} s after its failsafe");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_on_patrol_leaves_vehicles_that_stop_by_themselves() {
    let mut site = site("killed", |ports| vehicles(ports, "")).await;
    go(&site, &["rover", "copter"]).await;
    assert!(told(&site.trace(), "rover", STATION_LOST).is_empty(), "while the node lives its heartbeat keeps it going");
    site.node.take().unwrap().kill().unwrap();
    check_own_stops(&site);
    // The node that comes back finds a landing that it has not ordered, and sends nothing on.
    let sent_on = |site: &Site| {
        let auto = |name: &str, mode: f64| {
            told(&site.trace(), name, DO_SET_MODE).iter().filter(|c| c["p2"].as_f64() == Some(mode)).count()
        };
        auto("rover", 10.0) + auto("copter", 3.0)
    };
    let before = sent_on(&site);
    site.start_node().unwrap();
    wait_for_state(&site, "both to be heard", |s| ["rover", "copter"].iter().all(|name| !tripped(s, "link", name)))
        .await;
    assert_eq!(sent_on(&site), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hangs_on_patrol_leaves_vehicles_that_stop_by_themselves() {
    let site = site("hangs", |ports| vehicles(ports, "")).await;
    go(&site, &["rover", "copter"]).await;
    site.node.as_ref().unwrap().signal(Signal::STOP).unwrap();
    check_own_stops(&site);
    site.node.as_ref().unwrap().signal(Signal::CONT).unwrap();
    wait_for_state(&site, "the node to know that it was late", |s| tripped(s, "node", "rover")).await;
    // What waited in the socket meanwhile is heard first.
    wait_for_state(&site, "the rover to be seen standing", |s| vehicle(s, "rover")["mode"] == 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_stopped_holds_what_moves_before_it_ends() {
    let mut site = site("stopped", |ports| vehicles(ports, "")).await;
    go(&site, &["rover", "copter"]).await;
    let mut node = site.node.take().unwrap();
    node.signal(Signal::TERM).unwrap();
    for (name, hold, auto) in [("rover", 4.0, 10), ("copter", 17.0, 3)] {
        wait_for(&site, &format!("{name} to be told to hold"), Duration::from_secs(5), |trace| {
            told(trace, name, DO_SET_MODE).iter().any(|c| c["p2"] == hold && c["mode_before"] == auto)
        });
    }
    // Not by its own failsafe.
    assert!(told(&site.trace(), "rover", STATION_LOST).is_empty());
    node.kill().unwrap();
}

/// Renews a lease twice a second until the future is done.
async fn renewing<T>(site: &Site, lease: &str, meanwhile: impl Future<Output = T>) -> T {
    let renew = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        loop {
            ticks.tick().await;
            let body = json!({ "lease": lease, "by": "ann" });
            let (status, answer) = site.post("/api/v1/vehicles/rover/lease/renew", &body).await.unwrap();
            assert_eq!(status, 202, "{answer}");
        }
    };
    tokio::select! {
        done = meanwhile => done,
        () = renew => unreachable!("renewing does not end"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_who_goes_leaves_a_rover_that_is_held() {
    let site = site("goes", |ports| vehicles(ports, "")).await;
    let (status, answer) = site.post("/api/v1/vehicles/rover/lease", &json!({ "by": "ann" })).await.unwrap();
    assert_eq!(status, 202, "{answer}");
    let lease = answer["lease"].as_str().unwrap().to_owned();
    renewing(&site, &lease, async {
        let resume = json!({ "verb": "resume", "by": "ann" });
        let sent = async || match site.post("/api/v1/vehicles/rover/commands", &resume).await.unwrap() {
            (202, _) => Ok(()),
            other => Err(format!("{other:?}")),
        };
        eventually("the rover to be let go", Duration::from_secs(20), sent).await.unwrap();
        let moves = |s: &Value| vehicle(s, "rover")["speed_mps"].as_f64() > Some(1.5);
        let state = wait_for_state(&site, "the rover to move", moves).await;
        assert_eq!(vehicle(&state, "rover")["lease"], "ann");
        let other = json!({ "verb": "resume", "by": "bob" });
        let (status, answer) = site.post("/api/v1/vehicles/rover/commands", &other).await.unwrap();
        assert_eq!((status, answer["reasons"][0].as_str()), (409, Some("authority: ann holds the lease")), "{answer}");
    })
    .await;
    wait_for(&site, "the rover to be told HOLD", Duration::from_secs(5), |trace| {
        told(trace, "rover", DO_SET_MODE).iter().any(|c| c["p2"] == 4.0 && c["mode_before"] == 10)
    });
    wait_for_state(&site, "the rule to say why", |s| tripped(s, "lease", "rover")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_press_for_one_vehicle_stops_that_one_over_a_restart_and_two_people_reset_it() {
    let mut site = site("scope", |ports| {
        let mut plan = vehicles(ports, "");
        plan.node.push_str(
            "\n[interlock]\ntwo_person = true\n\n[[person]]\nname = \"hil\"\nrole = \"supervisor\"\n\n\
             [[person]]\nname = \"bob\"\nrole = \"operator\"\n",
        );
        plan
    })
    .await;
    go(&site, &["copter"]).await;
    let (status, answer) = site.post("/api/v1/estop", &json!({ "scope": "vehicle/rover" })).await.unwrap();
    assert_eq!((status, answer["scope"].as_str()), (202, Some("vehicle/rover")));
    wait_for_state(&site, "the rover to be stopped", |s| vehicle(s, "rover")["armed"] == false).await;
    let state = site.state().await.unwrap();
    assert_eq!(
        (vehicle(&state, "rover")["demand"].as_str(), vehicle(&state, "copter")["mode"].as_u64()),
        (Some("stop"), Some(3))
    );
    site.node.take().unwrap().kill().unwrap();
    site.start_node().unwrap();
    let state = wait_for_state(&site, "the latch", |s| vehicle(s, "rover")["demand"] == "stop").await;
    assert!(!tripped(&state, "estop", "copter"));

    let reset = async |path: &str, by: &str| site.post(path, &json!({ "by": by })).await.unwrap().0;
    assert_eq!(reset("/api/v1/estop/reset", "bob").await, 409, "an operator does not reset");
    assert_eq!(reset("/api/v1/estop/reset", "hil").await, 202);
    assert_eq!(reset("/api/v1/estop/reset/confirm", "hil").await, 409, "alone");
    assert!(tripped(&site.state().await.unwrap(), "estop", "rover"));
    assert_eq!(reset("/api/v1/estop/reset/confirm", "bob").await, 202);
    wait_for_state(&site, "the release", |s| !tripped(s, "estop", "rover")).await;
    // A scope that nobody knows stops everything.
    let (_, answer) = site.post("/api/v1/estop", &json!({ "scope": "vehicle/nobody" })).await.unwrap();
    assert_eq!(answer["scope"], "site");
    wait_for_state(&site, "everything to stop", |s| tripped(s, "estop", "copter")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hardware_line_that_cannot_be_read_stops_the_site() {
    let site = site("line", |ports| {
        let mut plan = vehicles(ports, "");
        plan.node.push_str("\n[interlock]\nline = { port = \"/dev/picket-has-no-such-port\" }\n");
        plan
    })
    .await;
    wait_for_state(&site, "the line to press", |s| vehicle(s, "rover")["demand"] == "stop").await;
    let (status, answer) = site.post("/api/v1/estop/reset", &json!({ "by": "ann" })).await.unwrap();
    let why = "the hardware line is still pressed, or cannot be read";
    assert_eq!((status, answer["reasons"][0].as_str()), (409, Some(why)), "{answer}");
}
