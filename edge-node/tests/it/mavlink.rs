//! Bytes on a link: what we write is what the mavlink crate reads, and garbage costs only itself.

use edge_node::vehicle::Class;
use edge_node::vehicle::codec::{Writer, parse};
use edge_node::vehicle::command::{Circle, Height, Kind, Order, Target, heartbeat, request_stream};
use edge_node::vehicle::state::{Heard, VehicleState};
use mavlink::dialects::ardupilotmega::{
    EXTENDED_SYS_STATE_DATA, GLOBAL_POSITION_INT_DATA, HEARTBEAT_DATA, MavAutopilot, MavCmd, MavFrame, MavLandedState,
    MavMessage, MavModeFlag, MavType, PositionTargetTypemask, SYS_STATUS_DATA,
};
use mavlink::{MavHeader, MavlinkReader, write_v1_msg, write_v2_msg};
use proptest::prelude::{any, proptest};
use shared::units::Uptime;

fn read(bytes: &[u8]) -> (MavHeader, MavMessage) {
    MavlinkReader::new(bytes).read_any_message().unwrap()
}

fn written(order: Order) -> Vec<MavMessage> {
    written_to(Class::Rover, order)
}

fn written_to(class: Class, order: Order) -> Vec<MavMessage> {
    let (mut writer, mut buffer, mut seen) = (Writer::new(245, 191, None), Vec::new(), Vec::new());
    order.write((class, 7, 0), &mut writer, &mut buffer, |bytes| seen.push(bytes.to_vec()));
    seen.iter().map(|bytes| read(bytes).1).collect()
}

#[test]
fn orders_read_as_the_commands_they_are() {
    let [MavMessage::COMMAND_LONG(mode)] = &written(Order::Mode(4))[..] else { panic!() };
    assert_eq!((mode.command, mode.param1, mode.param2), (MavCmd::MAV_CMD_DO_SET_MODE, 1.0, 4.0));
    assert_eq!((mode.target_system, mode.target_component), (7, 1));
    let [MavMessage::COMMAND_LONG(disarm)] = &written(Order::Disarm)[..] else { panic!() };
    assert_eq!(disarm.command, MavCmd::MAV_CMD_COMPONENT_ARM_DISARM);
    assert_eq!((disarm.param1, disarm.param2), (0.0, 0.0), "never forced");
    let still = written(Order::GuidedStill(4));
    let [MavMessage::COMMAND_LONG(_), MavMessage::SET_POSITION_TARGET_LOCAL_NED(target)] = &still[..] else { panic!() };
    assert_eq!((target.vx, target.vy, target.vz, target.target_system), (0.0, 0.0, 0.0, 7));
    assert!(!target.type_mask.contains(PositionTargetTypemask::POSITION_TARGET_TYPEMASK_VX_IGNORE));
    assert!(target.type_mask.contains(PositionTargetTypemask::POSITION_TARGET_TYPEMASK_X_IGNORE));
}

#[test]
fn px4_is_told_main_and_sub_mode_apart_and_to_stay_where_it_is() {
    let px4 = Class::Px4Copter;
    for (mode, parts) in [(px4.hold(), (4.0, 3.0)), (px4.home(), (4.0, 5.0)), (px4.land(), (4.0, 6.0))] {
        let [MavMessage::COMMAND_LONG(told)] = &written_to(px4, Order::Mode(mode))[..] else { panic!() };
        assert_eq!((told.param1, (told.param2, told.param3)), (1.0, parts), "mode {mode:#x}");
    }
    let [MavMessage::COMMAND_LONG(stay)] = &written_to(px4, Order::StayHere)[..] else { panic!() };
    assert_eq!((stay.command, stay.param2), (MavCmd::MAV_CMD_DO_REPOSITION, 1.0));
    assert!([stay.param4, stay.param5, stay.param6, stay.param7].iter().all(|value| value.is_nan()));
    let [MavMessage::COMMAND_LONG(land)] = &written_to(Class::Plane, Order::LandStart)[..] else { panic!() };
    assert_eq!(land.command, MavCmd::MAV_CMD_DO_LAND_START);
}

#[test]
fn commands_read_as_meant_with_places_as_whole_numbers_and_heights_in_the_frame_of_the_class() {
    let height = Height { above_home_cm: 2050, home_cm: 40_000 };
    let target = Target { lat_e7: 474_005_001, lon_e7: -85_005_003, height };
    for (class, frame, z) in [
        (Class::Copter, MavFrame::MAV_FRAME_GLOBAL_RELATIVE_ALT, 20.5),
        (Class::Px4Copter, MavFrame::MAV_FRAME_GLOBAL, 420.5),
    ] {
        let [MavMessage::COMMAND_INT(go)] = &written_to(class, Order::GoTo(target))[..] else { panic!() };
        assert_eq!((go.command, go.frame), (MavCmd::MAV_CMD_DO_REPOSITION, frame));
        assert_eq!((go.x, go.y, go.z, go.target_system), (474_005_001, -85_005_003, z, 7));
        let changes_mode = f32::from(u8::from(class == Class::Px4Copter));
        assert_eq!((go.param1, go.param2), (-1.0, changes_mode));
        assert!(go.param4.is_nan(), "the yaw it likes");
        let circle = Circle { radius_cm: 1550, speed_cmps: 250 };
        let [MavMessage::COMMAND_INT(orbit)] = &written_to(class, Order::Orbit(target, circle))[..] else { panic!() };
        assert_eq!((orbit.command, orbit.frame, orbit.z), (MavCmd::MAV_CMD_DO_ORBIT, frame, z));
        assert_eq!((orbit.param1, orbit.param2), (15.5, 2.5));
        let [MavMessage::COMMAND_LONG(up)] = &written_to(class, Order::TakeOff(height))[..] else { panic!() };
        assert_eq!((up.command, up.param7), (MavCmd::MAV_CMD_NAV_TAKEOFF, z));
    }
    let long = |class, order| match written_to(class, order).remove(0) {
        MavMessage::COMMAND_LONG(long) => (long.command, long.param1, long.param2),
        other => panic!("{other:?}"),
    };
    let copter = |order| long(Class::Copter, order);
    assert_eq!(copter(Order::Arm), (MavCmd::MAV_CMD_COMPONENT_ARM_DISARM, 1.0, 0.0), "never forced");
    assert_eq!(copter(Order::Speed(450)), (MavCmd::MAV_CMD_DO_CHANGE_SPEED, 1.0, 4.5));
    assert_eq!(long(Class::Plane, Order::Speed(1500)), (MavCmd::MAV_CMD_DO_CHANGE_SPEED, 0.0, 15.0));
    let point = Order::Point { pitch_cdeg: -4550, yaw_cdeg: 900 };
    assert_eq!(copter(point), (MavCmd::MAV_CMD_DO_GIMBAL_MANAGER_PITCHYAW, -45.5, 9.0));
    assert_eq!(copter(Order::Relay(2, true)), (MavCmd::MAV_CMD_DO_SET_RELAY, 2.0, 1.0));
    assert_eq!(copter(Order::Servo(9, 1900)), (MavCmd::MAV_CMD_DO_SET_SERVO, 9.0, 1900.0));
    let (mut writer, mut buffer) = (Writer::new(245, 191, None), Vec::new());
    Order::Arm.write((Class::Copter, 7, 2), &mut writer, &mut buffer, |_| {});
    let (_, MavMessage::COMMAND_LONG(again)) = read(&buffer) else { panic!() };
    assert_eq!(again.confirmation, 2);
}

#[test]
fn our_heartbeat_and_stream_requests_read_as_meant() {
    let (mut writer, mut buffer) = (Writer::new(245, 191, None), Vec::new());
    heartbeat(&mut writer, Kind::Onboard, &mut buffer);
    let (header, MavMessage::HEARTBEAT(beat)) = read(&buffer) else { panic!() };
    assert_eq!((header.system_id, header.component_id), (245, 191));
    assert_eq!(beat.mavtype, MavType::MAV_TYPE_ONBOARD_CONTROLLER);
    let mut supervisor = Writer::new(255, 190, None);
    heartbeat(&mut supervisor, Kind::GroundStation, &mut buffer);
    let (header, MavMessage::HEARTBEAT(beat)) = read(&buffer) else { panic!() };
    assert_eq!((header.system_id, beat.mavtype), (255, MavType::MAV_TYPE_GCS));
    assert_eq!(beat.autopilot, MavAutopilot::MAV_AUTOPILOT_INVALID);
    request_stream(&mut writer, 7, 33, 200_000, &mut buffer);
    let (header, MavMessage::COMMAND_LONG(request)) = read(&buffer) else { panic!() };
    assert_eq!(header.sequence, 1);
    assert_eq!(
        (request.command, request.param1, request.param2),
        (MavCmd::MAV_CMD_SET_MESSAGE_INTERVAL, 33.0, 200_000.0)
    );
}

fn packet(message: &MavMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_v2_msg(&mut bytes, MavHeader { system_id: 7, component_id: 1, sequence: 3 }, message).unwrap();
    bytes
}

fn messages() -> Vec<MavMessage> {
    let flags = MavModeFlag::MAV_MODE_FLAG_SAFETY_ARMED | MavModeFlag::MAV_MODE_FLAG_CUSTOM_MODE_ENABLED;
    vec![
        MavMessage::HEARTBEAT(HEARTBEAT_DATA { custom_mode: 10, base_mode: flags, ..HEARTBEAT_DATA::DEFAULT }),
        MavMessage::GLOBAL_POSITION_INT(GLOBAL_POSITION_INT_DATA {
            lat: 474_000_000,
            lon: -85_000_000,
            relative_alt: 12_500,
            vx: 300,
            vy: -400,
            ..GLOBAL_POSITION_INT_DATA::DEFAULT
        }),
        MavMessage::SYS_STATUS(SYS_STATUS_DATA { battery_remaining: 81, ..SYS_STATUS_DATA::DEFAULT }),
        MavMessage::EXTENDED_SYS_STATE(EXTENDED_SYS_STATE_DATA {
            landed_state: MavLandedState::MAV_LANDED_STATE_ON_GROUND,
            ..EXTENDED_SYS_STATE_DATA::DEFAULT
        }),
    ]
}

#[test]
fn a_vehicles_state_is_what_it_said() {
    let now = Uptime::from_millis(5);
    let mut state = VehicleState::default();
    let stream: Vec<u8> = messages().iter().flat_map(packet).collect();
    for packet in parse(&stream).packets {
        state.hear(&packet, now);
    }
    assert_eq!((state.mode, state.armed, state.landed_at, state.battery_pct), (10, true, Some(now), Some(81)));
    assert_eq!(state.position_deg, Some((47.4, -8.5)));
    assert!((state.speed_mps - 5.0).abs() < 1e-6 && (state.relative_alt_m - 12.5).abs() < 1e-6);
    assert_eq!(state.heartbeat_at, Some(now));
}

#[test]
fn a_heartbeat_of_mavlink_1_or_with_an_unknown_type_is_still_heard() {
    let mut old = Vec::new();
    write_v1_msg(&mut old, MavHeader { system_id: 7, component_id: 1, sequence: 0 }, &messages()[0]).unwrap();
    let mut state = VehicleState::default();
    let packets = parse(&old).packets;
    assert_eq!((packets.len(), state.hear(&packets[0], Uptime(1)), state.mode), (1, Heard::Heartbeat, 10));
    let mut odd = parse(&packet(&messages()[0])).packets.remove(0);
    odd.payload[4] = 250;
    assert_eq!(state.hear(&odd, Uptime(2)), Heard::Heartbeat);
}

#[test]
fn garbage_between_packets_is_counted_with_its_place_and_loses_no_packet() {
    let packets: Vec<Vec<u8>> = messages().iter().map(packet).collect();
    let mut stream = packets[0].clone();
    stream.extend([0xFD, 0x09, 0x00, 0x11, 0xFE, 0xFD]);
    stream.extend(&packets[1]);
    let parsed = parse(&stream);
    assert_eq!((parsed.packets.len(), parsed.garbage, parsed.first_garbage), (2, 6, Some(packets[0].len())));
    let mut flipped = packets[0].clone();
    flipped[12] ^= 1;
    assert_eq!(parse(&flipped).packets.len(), 0);
}

proptest! {
    #[test]
    fn any_bytes_are_taken_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let parsed = parse(&bytes);
        let mut state = VehicleState::default();
        for packet in &parsed.packets {
            state.hear(packet, Uptime(1));
        }
    }
}
