//! What a ground station may send towards a vehicle: every verdict, the rate, the crowd.

use std::time::Duration;

use edge_node::vehicle::codec::{Fields, Packet, parse};
use edge_node::vehicle::fleet::{Act, Fleet};
use edge_node::vehicle::gate::{Allowed, Verdict, Wish, judge};
use edge_node::vehicle::way::Way;
use edge_node::vehicle::{Class, LinkConfig};
use mavlink::dialects::ardupilotmega::{
    COMMAND_INT_DATA, COMMAND_LONG_DATA, MavCmd, MavMessage, PARAM_REQUEST_LIST_DATA, PARAM_SET_DATA,
    SETUP_SIGNING_DATA,
};
use mavlink::{MavHeader, write_v2_msg};
use shared::units::Uptime;

use crate::links::{fleet, links, packet, rover, ways};

fn from_station(message: &MavMessage) -> Packet {
    let mut bytes = Vec::new();
    write_v2_msg(&mut bytes, MavHeader { system_id: 255, component_id: 190, sequence: 0 }, message).unwrap();
    parse(&bytes).packets.remove(0)
}

fn command(command: MavCmd, parameters: [f32; 3]) -> MavMessage {
    let [param1, param2, param3] = parameters;
    let (target_system, target_component) = (1, 1);
    let data = COMMAND_LONG_DATA {
        command,
        param1,
        param2,
        param3,
        target_system,
        target_component,
        ..COMMAND_LONG_DATA::DEFAULT
    };
    MavMessage::COMMAND_LONG(data)
}

fn set(name: &str) -> MavMessage {
    let param_id = name.into();
    MavMessage::PARAM_SET(PARAM_SET_DATA { param_id, target_system: 1, target_component: 1, ..PARAM_SET_DATA::DEFAULT })
}

fn verdict(class: Class, message: &MavMessage, allowed: &[Allowed]) -> Verdict {
    let judged = judge(&from_station(message), allowed, |sysid| (sysid == 1).then_some(class));
    assert!(judged.target == 1 || judged.verdict == Verdict::Refuse, "{judged:?}");
    judged.verdict
}

#[test]
fn each_command_of_a_ground_station_has_its_verdict() {
    use MavCmd as C;
    let of = |class, number, parameters| verdict(class, &command(number, parameters), &[]);
    for (parameters, expected) in [
        ([0.0, 0.0, 0.0], Verdict::Ask(Wish::Disarm)),
        ([0.0, 21196.0, 0.0], Verdict::Press),
        ([0.0, 1.0, 0.0], Verdict::Press),
        ([0.0, f32::NAN, 0.0], Verdict::Press),
        ([1.0, 0.0, 0.0], Verdict::Refuse),
        ([1.0, 21196.0, 0.0], Verdict::Refuse),
        ([f32::NAN, 0.0, 0.0], Verdict::Refuse),
        ([f32::INFINITY, 21196.0, 0.0], Verdict::Refuse),
    ] {
        assert_eq!(of(Class::Copter, C::MAV_CMD_COMPONENT_ARM_DISARM, parameters), expected, "{parameters:?}");
    }
    for (class, mode, expected) in [
        (Class::Rover, 4.0, Verdict::Ask(Wish::Hold)),
        (Class::Rover, 10.0, Verdict::Ask(Wish::Resume)),
        (Class::Rover, 0.0, Verdict::Refuse),
        (Class::Rover, 15.0, Verdict::Refuse),
        (Class::Copter, 9.0, Verdict::Ask(Wish::Land)),
        (Class::Copter, 6.0, Verdict::Ask(Wish::Return)),
        (Class::Copter, 2.0, Verdict::Refuse),
        (Class::Copter, 9.5, Verdict::Refuse),
        (Class::Copter, f32::NAN, Verdict::Refuse),
        (Class::Copter, f32::INFINITY, Verdict::Refuse),
        (Class::Copter, -9.0, Verdict::Refuse),
    ] {
        assert_eq!(of(class, C::MAV_CMD_DO_SET_MODE, [1.0, mode, 0.0]), expected, "{class:?} {mode}");
    }
    assert_eq!(of(Class::Px4Copter, C::MAV_CMD_DO_SET_MODE, [1.0, 4.0, 5.0]), Verdict::Ask(Wish::Return));
    for (number, expected) in [
        (C::MAV_CMD_NAV_RETURN_TO_LAUNCH, Verdict::Ask(Wish::Return)),
        (C::MAV_CMD_NAV_LAND, Verdict::Ask(Wish::Land)),
        (C::MAV_CMD_NAV_LOITER_UNLIM, Verdict::Ask(Wish::Hold)),
        (C::MAV_CMD_DO_PAUSE_CONTINUE, Verdict::Ask(Wish::Hold)),
        (C::MAV_CMD_MISSION_START, Verdict::Ask(Wish::Resume)),
        (C::MAV_CMD_REQUEST_MESSAGE, Verdict::Forward),
        // It could slow down the heartbeats that the interlock needs.
        (C::MAV_CMD_SET_MESSAGE_INTERVAL, Verdict::Refuse),
        (C::MAV_CMD_DO_FLIGHTTERMINATION, Verdict::Refuse),
        (C::MAV_CMD_DO_REPOSITION, Verdict::Refuse),
        (C::MAV_CMD_DO_FENCE_ENABLE, Verdict::Refuse),
        (C::MAV_CMD_PREFLIGHT_REBOOT_SHUTDOWN, Verdict::Refuse),
        (C::MAV_CMD_DO_GIMBAL_MANAGER_PITCHYAW, Verdict::Refuse),
    ] {
        assert_eq!(of(Class::Copter, number, [0.0; 3]), expected, "{number:?}");
    }
    // A copter whose mount cannot pan turns itself.
    let gimbal = command(C::MAV_CMD_DO_GIMBAL_MANAGER_PITCHYAW, [0.0; 3]);
    assert_eq!(verdict(Class::Copter, &gimbal, &[Allowed::Camera]), Verdict::Refuse);
    let picture = command(C::MAV_CMD_IMAGE_START_CAPTURE, [0.0; 3]);
    assert_eq!(verdict(Class::Copter, &picture, &[]), Verdict::Refuse);
    assert_eq!(verdict(Class::Copter, &picture, &[Allowed::Camera]), Verdict::Forward);
    // The same by COMMAND_INT and SET_MODE.
    let data = COMMAND_INT_DATA {
        command: C::MAV_CMD_COMPONENT_ARM_DISARM,
        param2: 21196.0,
        target_system: 1,
        ..COMMAND_INT_DATA::DEFAULT
    };
    assert_eq!(verdict(Class::Copter, &MavMessage::COMMAND_INT(data), &[]), Verdict::Press);
    // SET_MODE: mode, target, base mode.
    let mode = |custom_mode: u8| Packet {
        sysid: 255,
        compid: 190,
        id: 11,
        payload: vec![custom_mode, 0, 0, 0, 1, 1],
        ..Packet::default()
    };
    let old = |custom_mode| judge(&mode(custom_mode), &[], |_| Some(Class::Rover)).verdict;
    assert_eq!((old(4), old(1)), (Verdict::Ask(Wish::Hold), Verdict::Refuse));
}

#[test]
fn no_configuration_lets_a_parameter_or_a_key_be_set_and_nothing_longer_than_its_message_goes_on() {
    let all = [Allowed::Logs, Allowed::Camera];
    for name in ["FS_GCS_ENABLE", "fs_gcs_enable", "SERVO1_FUNCTION", "RC7_OPTION", "AFS_TERMINATE", "WPNAV_SPEED"] {
        assert_eq!(verdict(Class::Copter, &set(name), &all), Verdict::Refuse, "{name}");
    }
    let key = MavMessage::SETUP_SIGNING(SETUP_SIGNING_DATA { target_system: 1, ..SETUP_SIGNING_DATA::DEFAULT });
    assert_eq!(verdict(Class::Copter, &key, &all), Verdict::Refuse);
    let question = |len: usize| Packet { sysid: 255, compid: 190, id: 21, payload: vec![1; len], ..Packet::default() };
    let of = |len| judge(&question(len), &all, |_| Some(Class::Copter)).verdict;
    assert_eq!((of(2), of(3), of(255)), (Verdict::Forward, Verdict::Refuse, Verdict::Refuse));
}

const LINKS: &str = "[[link]]\nname = \"radio\"\nurl = \"udpin:127.0.0.1:1\"\n[[link]]\nname = \"qgc\"\nurl = \"udpin:127.0.0.1:2\"\n\
    ground_stations = { per_second = 10 }";

fn site() -> (Fleet, Vec<Way>, Uptime) {
    let config: Vec<LinkConfig> = links(LINKS);
    let (mut fleet, ways, now) = (fleet(vec![rover("\"radio\"")], &config), ways(20), Uptime::from_millis(10_000));
    let mut acts = Vec::new();
    fleet.hear(0, &ways[0], &[packet(1, 0, 10)], now, &mut acts);
    (fleet, ways, now)
}

#[test]
fn questions_keep_to_a_rate_and_presses_need_not() {
    let (mut fleet, ways, now) = site();
    let question = MavMessage::PARAM_REQUEST_LIST(PARAM_REQUEST_LIST_DATA { target_system: 1, target_component: 1 });
    let burst = vec![from_station(&question); 100];
    let mut acts = Vec::new();
    fleet.hear(1, &ways[1], &burst, now, &mut acts);
    let sent = |acts: &[Act]| acts.iter().filter(|act| matches!(act, Act::Send(way, _) if *way == ways[0])).count();
    assert_eq!(sent(&acts), 10);
    assert_eq!(acts.iter().filter(|act| matches!(act, Act::Refused { why: "too fast", .. })).count(), 90);
    let press = from_station(&command(MavCmd::MAV_CMD_COMPONENT_ARM_DISARM, [0.0, 21196.0, 0.0]));
    acts.clear();
    fleet.hear(1, &ways[1], &vec![press; 1000], now, &mut acts);
    let pressed = |acts: &[Act]| acts.iter().filter(|act| matches!(act, Act::Press { vehicle: Some(0), .. })).count();
    assert_eq!(pressed(&acts), 1000, "not one is lost");
    // Nor does a flood of questions keep anybody from asking for Hold.
    acts.clear();
    let hold = from_station(&command(MavCmd::MAV_CMD_DO_SET_MODE, [1.0, 4.0, 0.0]));
    fleet.hear(1, &ways[1], &vec![hold; 100], now, &mut acts);
    assert_eq!(acts.iter().filter(|act| matches!(act, Act::Ask { wish: Wish::Hold, .. })).count(), 20);
    acts.clear();
    fleet.hear(1, &ways[1], &burst, now.plus(Duration::from_millis(500)), &mut acts);
    assert_eq!(sent(&acts), 5);
}

#[test]
fn a_crowd_of_ground_stations_and_one_that_speaks_as_a_vehicle_are_refused() {
    let (mut fleet, ways, now) = site();
    let question = from_station(&MavMessage::PARAM_REQUEST_LIST(PARAM_REQUEST_LIST_DATA {
        target_system: 1,
        target_component: 1,
    }));
    let refused = |acts: &[Act]| {
        acts.iter()
            .filter_map(|act| if let Act::Refused { why, .. } = act { Some(*why) } else { None })
            .collect::<Vec<_>>()
    };
    let mut acts = Vec::new();
    for way in &ways[1..10] {
        fleet.hear(1, way, std::slice::from_ref(&question), now, &mut acts);
    }
    assert_eq!(refused(&acts), ["too many ground stations"]);
    acts.clear();
    fleet.hear(1, &ways[1], &[packet(1, 0, 4)], now, &mut acts);
    assert_eq!(refused(&acts), ["not a ground station"]);
    assert_eq!(fleet.state(0).unwrap().mode, 10);
    // What the rover says goes to those who are there, an ack to us to nobody.
    acts.clear();
    fleet.hear(0, &ways[0], &[packet(1, 1, 10)], now, &mut acts);
    assert_eq!(acts.iter().filter(|act| matches!(act, Act::Send(..))).count(), 8);
    acts.clear();
    fleet.tick(now.plus(Duration::from_secs(11)), &mut acts);
    acts.clear();
    fleet.hear(0, &ways[0], &[packet(1, 2, 10)], now.plus(Duration::from_secs(11)), &mut acts);
    assert!(acts.iter().all(|act| !matches!(act, Act::Send(..))), "they have gone: {acts:?}");
}

#[test]
fn a_refusal_is_answered_in_the_vehicles_name() {
    let (mut fleet, ways, now) = site();
    let mut acts = Vec::new();
    fleet.hear(1, &ways[1], &[from_station(&command(MavCmd::MAV_CMD_NAV_TAKEOFF, [0.0; 3]))], now, &mut acts);
    let sent: Vec<Packet> = acts
        .iter()
        .filter_map(|act| if let Act::Send(_, bytes) = act { Some(bytes) } else { None })
        .flat_map(|bytes| parse(bytes).packets)
        .collect();
    let ack = sent.iter().find(|packet| packet.id == 77).unwrap();
    let fields = Fields(&ack.payload);
    assert_eq!(
        (ack.sysid, ack.compid, fields.u16(0), fields.u8(2), fields.u8(8), fields.u8(9)),
        (1, 1, 22, 2, 255, 190)
    );
    let text = sent.iter().find(|packet| packet.id == 253).unwrap();
    assert!(text.payload[1..].starts_with(b"Picket: not permitted"), "{text:?}");
}
