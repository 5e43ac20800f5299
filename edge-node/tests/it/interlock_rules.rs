//! Each rule by name: it trips, it clears, and it does not trip when it should not.

use std::time::Duration;

use edge_node::interlock::machine::{Demand, Effect, Input, Machine, Source, Verb};
use edge_node::interlock::rules::estop::{Latched, Scope};
use edge_node::vehicle::command::Order;
use edge_node::vehicle::state::Report;
use edge_node::vehicle::state::{Heard, VehicleState};
use edge_node::vehicle::stop::{Sample, Stop, StopTable, measure};
use proptest::prelude::{prop_assert, proptest};

use crate::rig::{COPTER, ROVER, Rig, policy};

/// ArduCopter's LAND and RTL.
const LAND: u32 = 9;
const RTL: u32 = 6;
/// From AUTO: what a vehicle that drives its mission is in.
const COPTER_AUTO: u32 = 3;

fn press() -> Input {
    Input::Press { source: Source::Console, by: String::new(), scope: Scope::Site }
}

/// The reason for which a rule is tripped on a vehicle.
fn tripped(rig: &Rig, rule: &str, vehicle: usize) -> Option<String> {
    rig.machine.rules().into_iter().find(|view| view.rule == rule && view.vehicle == vehicle).unwrap().reason
}

fn tick(rig: &mut Rig, ms: u64) {
    for _ in 0..ms / 20 {
        rig.now = rig.now.plus(Duration::from_millis(20));
        rig.give(Input::Tick);
    }
}

/// A packet that is no heartbeat.
fn packet(rig: &mut Rig, vehicle: usize) {
    let state = VehicleState { packet_at: Some(rig.now), position_at: Some(rig.now), ..rig.state[vehicle] };
    rig.give(Input::Vehicle(Report { vehicle, state, heard: Heard::State }));
}

#[test]
fn link_a_vehicle_that_is_not_heard_is_told_to_hold_and_is_good_after_ten_heartbeats() {
    let mut rig = Rig::new();
    rig.pass(1000);
    assert_eq!(tripped(&rig, "link", ROVER), None);
    // The last packet was a fifth of a second ago, at most.
    tick(&mut rig, 1280);
    assert_eq!(tripped(&rig, "link", ROVER), None, "less than a second and a half is no silence");
    tick(&mut rig, 240);
    assert_eq!(tripped(&rig, "link", ROVER).as_deref(), Some("no packet for 1.5 s"));
    assert_eq!((rig.machine.demand(ROVER), rig.orders(ROVER)), (Demand::Hold, vec![Order::Mode(4)]));
    assert!(rig.resume().iter().any(|reason| reason.starts_with("link:")));
    for beat in 1..=9 {
        tick(&mut rig, 200);
        rig.hear(ROVER, Heard::Heartbeat);
        assert!(tripped(&rig, "link", ROVER).is_some(), "after {beat} heartbeats");
    }
    tick(&mut rig, 200);
    rig.hear(ROVER, Heard::Heartbeat);
    assert_eq!(tripped(&rig, "link", ROVER), None);
}

#[test]
fn link_one_heartbeat_lost_at_one_hertz_trips_nothing_and_neither_does_a_tenth_of_them_for_ten_minutes() {
    let mut rig = Rig::new();
    // At 1 Hz, with other packets in between: each eighth heartbeat is lost.
    for second in 0..600 {
        for _ in 0..5 {
            tick(&mut rig, 200);
            packet(&mut rig, ROVER);
            packet(&mut rig, COPTER);
        }
        if second % 8 != 7 {
            rig.hear(ROVER, Heard::Heartbeat);
            rig.hear(COPTER, Heard::Heartbeat);
        }
        assert_eq!((tripped(&rig, "link", ROVER), tripped(&rig, "link", COPTER)), (None, None), "second {second}");
    }
    // At 5 Hz, each with one chance in ten to be lost.
    let mut dice = 1u64;
    for n in 0..3000 {
        tick(&mut rig, 200);
        for vehicle in [ROVER, COPTER] {
            // Knuth's linear congruential generator (MMIX).
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if !(dice >> 33).is_multiple_of(10) {
                rig.hear(vehicle, Heard::Heartbeat);
            }
        }
        assert_eq!((tripped(&rig, "link", ROVER), tripped(&rig, "link", COPTER)), (None, None), "heartbeat {n}");
    }
}

#[test]
fn foreign_a_landing_of_its_own_is_not_weakened_by_a_person() {
    let mut rig = Rig::new();
    rig.pass(1000);
    // Its battery is critical: it lands by itself. Then somebody walks in.
    rig.state[COPTER].mode = LAND;
    rig.pass(200);
    assert_eq!(tripped(&rig, "foreign", COPTER).as_deref(), Some("lands on its own"));
    rig.sent.clear();
    rig.present = true;
    rig.pass(5000);
    assert_eq!(rig.machine.demand(COPTER), Demand::Land);
    assert!(rig.orders(COPTER).iter().all(|order| *order == Order::Mode(LAND)), "{:?}", rig.orders(COPTER));
    assert_eq!(rig.state[COPTER].mode, LAND);
    // On the ground and disarmed it is over.
    (rig.landed, rig.state[COPTER].armed, rig.present) = (true, false, false);
    rig.pass(5000);
    assert_eq!((tripped(&rig, "foreign", COPTER), rig.machine.demand(COPTER)), (None, Demand::None));
}

#[test]
fn foreign_a_landing_that_begins_under_our_hold_is_left_alone() {
    let mut rig = Rig::new();
    rig.present = true;
    rig.pass(5000);
    assert_eq!(rig.orders(COPTER), [Order::Mode(17)]);
    let before = rig.sent.len();
    rig.pass(5000);
    assert!(rig.sent[before..].iter().all(|(_, vehicle, _)| *vehicle == ROVER), "what holds in the air is told once");
    rig.state[COPTER].mode = RTL;
    rig.pass(200);
    assert_eq!(rig.machine.demand(COPTER), Demand::Return);
    rig.state[COPTER].mode = LAND;
    rig.pass(200);
    assert_eq!(rig.machine.demand(COPTER), Demand::Land, "what it does rises with its need");
    rig.pass(5000);
    assert!(!rig.sent[before..].iter().any(|(_, vehicle, order)| *vehicle == COPTER && *order == Order::Mode(17)));
    assert!(rig.ask(COPTER, Verb::Clear).is_empty());
    assert_eq!(rig.machine.demand(COPTER), Demand::Hold, "cleared by a named person");
    assert_eq!(rig.ask(COPTER, Verb::Clear), ["there is nothing to clear"]);
}

#[test]
fn foreign_a_landing_that_we_ordered_is_ours() {
    let mut rig = Rig::new();
    rig.pass(500);
    rig.give(press());
    rig.state[COPTER].speed_mps = 0.0;
    rig.pass(5000);
    assert_eq!(rig.state[COPTER].mode, LAND);
    assert_eq!(tripped(&rig, "foreign", COPTER), None);
}

#[test]
fn pilot_a_mode_switch_with_its_channel_is_the_pilots_and_only_an_estop_is_sent() {
    let mut rig = Rig::new();
    rig.state[COPTER].rc_us[4] = 1100;
    rig.pass(1000);
    rig.present = true;
    rig.pass(1000);
    assert_eq!(rig.orders(COPTER), [Order::Mode(17)], "held");
    // The pilot takes it out of BRAKE. The heartbeat tells first, the radio control's channels a fifth of a second later.
    rig.state[COPTER].mode = 5;
    rig.sent.clear();
    rig.pass(200);
    rig.state[COPTER].rc_us[4] = 1500;
    rig.pass(5000);
    assert!(rig.orders(COPTER).is_empty(), "{:?}", rig.orders(COPTER));
    assert_eq!(tripped(&rig, "pilot", COPTER).as_deref(), Some("its pilot has it"));
    assert_eq!(rig.ask(COPTER, Verb::Hold), ["pilot: its pilot has it"]);
    assert!(!rig.ask(COPTER, Verb::Resume).is_empty());
    rig.give(press());
    assert_eq!(rig.orders(COPTER), [Order::Mode(17)], "a ground e-stop is sent");
}

#[test]
fn pilot_a_mode_that_changes_without_its_channel_is_told_again() {
    let mut rig = Rig::new();
    rig.state[COPTER].rc_us[4] = 1100;
    rig.present = true;
    rig.pass(3000);
    rig.state[COPTER].mode = COPTER_AUTO;
    rig.sent.clear();
    rig.pass(400);
    assert_eq!(tripped(&rig, "pilot", COPTER), None);
    assert_eq!(rig.orders(COPTER), [Order::Mode(17)]);
}

#[test]
fn a_hold_that_is_shown_and_not_done_goes_to_the_next_action() {
    let mut rig = Rig::new();
    (rig.present, rig.slows) = (true, false);
    let begun = rig.now;
    rig.pass(20_000);
    assert_eq!(rig.orders(ROVER), [Order::Mode(4), Order::Disarm]);
    let why = rig.effects.iter().find_map(|effect| match effect {
        Effect::Demanded { order: Some(Order::Disarm), why, .. } => Some(why.as_str()),
        _ => None,
    });
    assert_eq!(why, Some("not obeyed"));
    let disarmed = rig.sent.iter().find(|(_, _, order)| *order == Order::Disarm).unwrap().0;
    assert!(disarmed.since(begun) > Duration::from_secs(3), "{:?}", disarmed.since(begun));
}

#[test]
fn a_hold_at_full_speed_that_is_being_obeyed_is_let_be() {
    let mut rig = Rig::new();
    // A rover at 5.3 m/s needs 4.2 s at 1.25 m/s².
    rig.state[ROVER].speed_mps = 5.3;
    rig.present = true;
    rig.pass(20_000);
    assert_eq!(rig.orders(ROVER), [Order::Mode(4)]);
}

fn table(stops: &[(f32, f32, f32)]) -> Result<StopTable, String> {
    let stop = |(speed_mps, distance_m, time_s): &(f32, f32, f32)| Stop {
        speed_mps: *speed_mps,
        distance_m: *distance_m,
        time_s: *time_s,
    };
    stops.iter().map(stop).collect::<Vec<_>>().try_into()
}

#[test]
fn a_stop_table_gives_what_was_measured_and_never_less_for_a_faster_vehicle() {
    // BRAKE on ArduPilot SITL (INTERLOCKS, "Measured").
    let brake = table(&[(9.7, 19.7, 4.7), (2.9, 4.6, 3.3), (7.3, 13.9, 4.3), (4.9, 8.5, 3.7)]).unwrap();
    let near = |(a, b): (f32, f32), (c, d): (f32, f32)| (a - c).abs() < 1e-3 && (b - d).abs() < 1e-3;
    assert!(near(brake.needs(4.9), (8.5, 3.7)) && near(brake.needs(0.0), (0.0, 0.0)));
    assert!(near(brake.needs(6.1), (11.2, 4.0)), "{:?}", brake.needs(6.1));
    assert!(brake.needs(19.4).0 > 78.0, "twice the speed, four times the distance");
    assert!(table(&[(2.0, 3.0, 2.0), (4.0, 2.0, 3.0)]).unwrap_err().contains("faster vehicle"));
    assert!(table(&[(2.0, 3.0, 2.0), (2.0, 3.0, 2.0)]).unwrap_err().contains("once"));
    for odd in [f32::NAN, f32::INFINITY, -1.0, 0.0] {
        assert!(table(&[(odd, 3.0, 2.0)]).is_err(), "{odd}");
        assert!(table(&[(2.0, odd, 2.0)]).is_err(), "{odd}");
        assert!(table(&[(2.0, 3.0, odd)]).is_err(), "{odd}");
    }
}

proptest! {
    #[test]
    fn a_stop_as_the_brake_test_measured_it_is_within_its_profile(speed in 0.5f32..12.0, distance in 1.0f32..40.0, time in 1.0f32..12.0, part in 0.0f32..1.0) {
        let measured = table(&[(speed, distance, time)]).unwrap();
        // Steady, then evenly slower, over the measured distance and time; where those do not fit, evenly all the time.
        let steady = (2.0 * distance / speed - time).clamp(0.0, time);
        let at = time * part;
        let real = if at <= steady { speed } else { speed * (1.0 - (at - steady) / (time - steady).max(1e-3)) };
        prop_assert!(real <= measured.profile_mps(speed, at) + 1e-3, "{real} m/s after {at} s, allowed {}", measured.profile_mps(speed, at));
    }
}

#[test]
fn a_vehicle_whose_heartbeats_alone_are_missing_trips_after_three_and_a_half_seconds() {
    let mut rig = Rig::new();
    rig.pass(1000);
    let last = rig.now;
    while tripped(&rig, "link", ROVER).is_none() {
        tick(&mut rig, 100);
        packet(&mut rig, ROVER);
        assert!(rig.now.since(last) < Duration::from_secs(5));
    }
    let after = rig.now.since(last);
    assert!((3300..3800).contains(&after.as_millis()), "{after:?}");
    assert_eq!(tripped(&rig, "link", ROVER).as_deref(), Some("no heartbeat for 3.5 s"));
}

#[test]
fn the_last_action_is_repeated_for_as_long_as_it_is_not_shown() {
    let mut rig = Rig::new();
    (rig.obeys, rig.present) = (false, true);
    rig.pass(30_000);
    for (vehicle, last) in [(ROVER, Order::Disarm), (COPTER, Order::Mode(LAND))] {
        assert_eq!(rig.orders(vehicle).last(), Some(&last));
        let (at, ..) = rig.sent.iter().rev().find(|(_, to, _)| *to == vehicle).unwrap();
        assert!(rig.now.since(*at) <= Duration::from_millis(220), "{:?} ago", rig.now.since(*at));
    }
}

#[test]
fn foreign_after_a_restart_nothing_is_sent_to_an_aircraft_before_its_heartbeat_tells_what_it_is_about() {
    let mut rig = Rig::new();
    rig.machine = Machine::new(policy(), Latched::new(2, false), rig.now);
    rig.state[COPTER] = VehicleState { mode: LAND, armed: true, speed_mps: 1.0, ..VehicleState::default() };
    tick(&mut rig, 1000);
    packet(&mut rig, COPTER);
    tick(&mut rig, 400);
    assert!(rig.orders(COPTER).is_empty(), "{:?}", rig.orders(COPTER));
    rig.pass(5000);
    assert_eq!((rig.machine.demand(COPTER), rig.orders(COPTER)), (Demand::Land, vec![]), "it lands by itself");
    // But an e-stop does not wait for a heartbeat.
    rig.machine = Machine::new(policy(), Latched::new(2, true), rig.now);
    rig.state[COPTER] = VehicleState { armed: true, ..VehicleState::default() };
    packet(&mut rig, COPTER);
    assert_eq!(rig.orders(COPTER), [Order::Mode(17)]);
}

#[test]
fn foreign_a_way_home_of_its_own_is_left_as_it_is() {
    let mut rig = Rig::new();
    rig.pass(1000);
    // SMART_RTL: the way it came, not RTL's straight line.
    rig.state[COPTER].mode = 21;
    rig.pass(3000);
    assert_eq!((rig.machine.demand(COPTER), rig.orders(COPTER)), (Demand::Return, vec![]));
}

#[test]
fn pilot_a_channel_without_a_signal_is_no_switch() {
    let mut rig = Rig::new();
    rig.state[COPTER].rc_us[4] = 1500;
    rig.pass(1000);
    // The radio control is lost: its failsafe begins, and the channels say "none".
    (rig.state[COPTER].rc_us[4], rig.state[COPTER].mode) = (u16::MAX, RTL);
    rig.pass(1000);
    assert_eq!((tripped(&rig, "pilot", COPTER), rig.machine.demand(COPTER)), (None, Demand::Return));
}

/// A stop from 4 m/s with 2 m/s²: 2 s, 4 m, as reports five times a second show it.
#[test]
fn a_stop_is_measured_from_the_moment_it_was_told_until_it_stands_for_a_second() {
    let speed = |t: f64| if t < 1.0 { 4.0 } else { (4.0 - 2.0 * (t - 1.0)).max(0.0) };
    let east = |t: f64| {
        if t < 1.0 {
            4.0 * t
        } else {
            let s = (t - 1.0).min(2.0);
            4.0 + 4.0 * s - s * s
        }
    };
    let sample = |n: u32| {
        let t = f64::from(n) * 0.2 + 0.07;
        Sample { at_s: t, place_m: (east(t), 0.0), speed_mps: speed(t) }
    };
    let samples: Vec<Sample> = (0..25).map(sample).collect();
    let stop = measure(&samples, 1.0, 0.1).unwrap();
    assert!((f64::from(stop.speed_mps) - 4.0).abs() < 0.01, "{stop:?}");
    assert!((f64::from(stop.distance_m) - 4.0).abs() < 0.15, "{stop:?}");
    // Seen standing with the first report after it.
    assert!((2.0..2.25).contains(&f64::from(stop.time_s)), "{stop:?}");
    assert_eq!(measure(&samples[..18], 1.0, 0.1), None, "it has not stood for a second");
    assert_eq!(measure(&samples, -1.0, 0.1), None, "told before it was looked at");
    assert_eq!(measure(&[], 1.0, 0.1), None);
}
