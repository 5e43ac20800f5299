//! Packets that nobody pinned, at a node that has a vehicle to look after: a thousand vehicles that announce themselves, and one
//! that says that it is of another kind.

use std::net::UdpSocket;
use std::time::Duration;

use hil::peer::Peer;
use hil::site::{Plan, Ports};
use hil::wait::{eventually, now};
use mavlink::dialects::ardupilotmega::{HEARTBEAT_DATA, MavAutopilot, MavMessage, MavType};
use mavlink::{MavHeader, write_v2_msg};
use serde_json::json;

use crate::interlock::{go, told, tripped, vehicle, wait_for, wait_for_state};
use crate::radio::{alone, counted, link, pinned, simulated};

const DO_SET_MODE: &str = "MAV_CMD_DO_SET_MODE";
const LONG: Duration = Duration::from_secs(20);

fn announcement(system_id: u8, component_id: u8) -> Vec<u8> {
    let mut packet = Vec::new();
    let beat = HEARTBEAT_DATA {
        custom_mode: 10,
        mavtype: MavType::MAV_TYPE_GROUND_ROVER,
        autopilot: MavAutopilot::MAV_AUTOPILOT_ARDUPILOTMEGA,
        mavlink_version: 3,
        ..HEARTBEAT_DATA::DEFAULT
    };
    let header = MavHeader { system_id: system_id.into(), component_id, sequence: 0 };
    write_v2_msg(&mut packet, header, &MavMessage::HEARTBEAT(beat)).unwrap();
    packet
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_vehicles_that_announce_themselves_are_counted_and_take_nothing_from_ours() {
    let ports = Ports::free().unwrap();
    let node = link("radio", &format!("udpin:127.0.0.1:{}", ports.link), "") + &pinned("rover", 1, "\"radio\"");
    let sim = simulated("rover", 1, &format!("\"127.0.0.1:{}\"", ports.link), "");
    let mut site = alone(&Plan { node, sim, ..Plan::default() }, ports);
    site.start_sim().unwrap();
    site.start_node().unwrap();
    go(&site, &["rover"]).await;
    let before = site.node.as_ref().unwrap().memory_mib().unwrap().0;
    // Each from an address of its own, ten times; every fourth in our rover's name.
    let mut sent = 0;
    for n in 0..1000u16 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (system, component) = (if n % 4 == 0 { 1 } else { u8::try_from(2 + n % 240).unwrap() }, 1);
        for _ in 0..10 {
            sent += socket.send_to(&announcement(system, component), ("127.0.0.1", ports.link)).map_or(0, |_| 1);
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(sent, 10_000);
    let refused = async || {
        let (strangers, twins) = (counted(&site, "no vehicle of ours").await, counted(&site, "another address").await);
        // A socket that is full loses some.
        if strangers > 3000 && twins > 1000 { Ok(()) } else { Err(format!("{strangers} and {twins}")) }
    };
    eventually("them to be refused", LONG, refused).await.unwrap();
    let state = site.state().await.unwrap();
    assert!(!tripped(&state, "link", "rover") && vehicle(&state, "rover")["demand"] == "none", "{state}");
    let pressed = now();
    site.post("/api/v1/estop", &json!({})).await.unwrap();
    wait_for(&site, "the rover to be told HOLD", LONG, |trace| {
        told(trace, "rover", DO_SET_MODE).iter().any(|line| line["p2"] == 4.0 && line["mode_before"] == 10)
    });
    assert!(pressed.elapsed() < Duration::from_secs(1));
    let metrics = site.metrics().await.unwrap();
    let late = metrics.lines().find_map(|line| line.strip_prefix("picket_safety_loop_max_us "));
    assert!(late.is_some_and(|us| us.parse::<u64>().unwrap() < 250_000), "the loop was late: {late:?}");
    let after = site.node.as_ref().unwrap().memory_mib().unwrap().0;
    assert!(after < before + 32.0, "{before} MiB before, {after} after");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vehicle_that_says_it_is_of_another_kind_is_told_nothing_until_it_is_itself_again() {
    let ports = Ports::free().unwrap();
    let node = link("radio", &format!("udpin:127.0.0.1:{}", ports.link), "") + &pinned("rover", 1, "\"radio\"");
    let mut site = alone(&Plan { node, ..Plan::default() }, ports);
    site.start_node().unwrap();
    let mut peer = Peer::start(&format!("udpout:127.0.0.1:{}", ports.link), (1, 1), None).unwrap();
    let heard = |peer: &Peer| peer.heard().iter().filter(|message| message["mavpackettype"] == "COMMAND_LONG").count();
    eventually("it to be told to hold", LONG, async || (heard(&peer) > 0).then_some(()).ok_or_else(String::new))
        .await
        .unwrap();
    // A quadrotor in AUTO, which is 3 there: our HOLD, 4, would be its GUIDED.
    peer.beat(&json!({ "type": 2, "custom_mode": 3 })).unwrap();
    // For five seconds it may be a stranger beside it.
    let refused = async || {
        let count = counted(&site, "another kind of vehicle").await;
        if count >= 6 { Ok(()) } else { Err(count.to_string()) }
    };
    eventually("it to be refused", LONG, refused).await.unwrap();
    let before = heard(&peer);
    eventually("five seconds of it", LONG, async || {
        let count = counted(&site, "another kind of vehicle").await;
        if count >= 11 { Ok(()) } else { Err(count.to_string()) }
    })
    .await
    .unwrap();
    assert_eq!(heard(&peer), before, "it was told something");
    wait_for_state(&site, "it to be silent for us", |state| tripped(state, "link", "rover")).await;
    peer.beat(&json!({ "type": 10, "custom_mode": 10 })).unwrap();
    eventually("it to be told again", LONG, async || (heard(&peer) > before).then_some(()).ok_or_else(String::new))
        .await
        .unwrap();
}
