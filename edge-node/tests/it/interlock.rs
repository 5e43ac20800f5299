//! Scenarios of the interlock's decision, without any I/O.

use std::time::Duration;

use edge_node::interlock::machine::{Demand, Input, Machine, Verb};
use edge_node::interlock::rules::estop::{Latched, Scope};
use edge_node::vehicle::command::Order;
use edge_node::vehicle::state::{Heard, VehicleState};
use shared::ids::EventId;
use uuid::Uuid;

use crate::rig::{COPTER, ROVER, Rig, policy};

#[test]
fn a_person_in_the_zone_holds_the_vehicles_at_once_and_until_it_is_clear() {
    let mut rig = Rig::new();
    rig.pass(1000);
    assert!(rig.sent.is_empty(), "nothing tripped yet: {:?}", rig.sent);
    rig.present = true;
    let seen = rig.now;
    rig.pass(100);
    assert_eq!(rig.orders(ROVER), [Order::Mode(4)]);
    assert_eq!(rig.orders(COPTER), [Order::Mode(17)]);
    assert!(rig.sent[0].0.since(seen) <= Duration::from_millis(40));
    rig.present = false;
    rig.pass(1900);
    assert_eq!(rig.machine.demand(ROVER), Demand::Hold);
    rig.pass(300);
    assert_eq!(rig.machine.demand(ROVER), Demand::None);
    assert_eq!(rig.orders(ROVER), [Order::Mode(4)], "clearing starts nothing");
    assert!(rig.resume().is_empty());
    assert_eq!(rig.orders(ROVER), [Order::Mode(4), Order::Mode(10)]);
}

#[test]
fn a_silent_camera_is_a_person_and_must_show_the_zone_empty_again() {
    let mut rig = Rig::new();
    rig.pass(500);
    rig.watched = false;
    rig.pass(900);
    assert_eq!(rig.machine.demand(ROVER), Demand::None);
    rig.pass(300);
    assert_eq!(rig.machine.demand(ROVER), Demand::Hold);
    assert!(rig.resume()[0].contains("camera stale"));
    rig.watched = true;
    rig.pass(1000);
    assert_eq!(rig.machine.demand(ROVER), Demand::Hold);
    rig.pass(2000);
    assert_eq!(rig.machine.demand(ROVER), Demand::None);
}

#[test]
fn a_hold_that_is_obeyed_is_repeated_and_never_escalates() {
    let mut rig = Rig::new();
    rig.present = true;
    rig.pass(10_000);
    assert_eq!(rig.orders(ROVER), [Order::Mode(4)]);
    let count = rig.sent.iter().filter(|(_, v, _)| *v == ROVER).count();
    assert!((45..=51).contains(&count), "5 Hz for 10 s, found {count}");
}

#[test]
fn a_hold_that_is_not_accepted_goes_to_the_next_action_after_two_seconds() {
    let mut rig = Rig::new();
    (rig.obeys, rig.present) = (false, true);
    let begun = rig.now;
    rig.pass(2500);
    assert_eq!(rig.orders(ROVER), [Order::Mode(4), Order::Disarm]);
    let disarmed = rig.sent.iter().find(|(_, _, order)| *order == Order::Disarm).unwrap().0;
    assert!((2000..2200).contains(&disarmed.since(begun).as_millis()));
    rig.pass(3000);
    assert_eq!(rig.orders(COPTER), [Order::Mode(17), Order::GuidedStill(4), Order::Mode(9)]);
}

#[test]
fn a_refused_hold_goes_to_the_next_action_at_once() {
    let mut rig = Rig::new();
    (rig.obeys, rig.present) = (false, true);
    rig.pass(100);
    rig.hear(COPTER, Heard::Ack { command: 176, result: 4, to: 245 });
    assert_eq!(rig.orders(COPTER), [Order::Mode(17), Order::GuidedStill(4)]);
    rig.hear(COPTER, Heard::Ack { command: 176, result: 5, to: 245 });
    rig.hear(COPTER, Heard::Ack { command: 400, result: 4, to: 245 });
    assert_eq!(rig.orders(COPTER), [Order::Mode(17), Order::GuidedStill(4)], "in progress, or another command");
}

#[test]
fn without_telemetry_nothing_escalates_and_the_order_is_repeated_each_second() {
    let mut rig = Rig::new();
    rig.obeys = false;
    rig.now = rig.now.plus(Duration::from_secs(4));
    rig.press();
    for _ in 0..500 {
        rig.now = rig.now.plus(Duration::from_millis(20));
        rig.give(Input::Tick);
    }
    assert_eq!(rig.orders(ROVER), [Order::Mode(4)]);
    let count = rig.sent.iter().filter(|(_, v, _)| *v == ROVER).count();
    assert!((9..=12).contains(&count), "1 Hz for 10 s, found {count}");
}

#[test]
fn an_estop_on_the_ground_holds_then_disarms_below_walking_speed() {
    let mut rig = Rig::new();
    rig.pass(500);
    rig.press();
    assert_eq!(rig.sent[0].2, Order::Mode(4), "in the same step as the press");
    rig.pass(1000);
    assert_eq!(rig.orders(ROVER), [Order::Mode(4)], "still rolling");
    rig.state[ROVER].speed_mps = 0.05;
    rig.pass(500);
    assert_eq!(rig.orders(ROVER), [Order::Mode(4), Order::Disarm]);
}

#[test]
fn an_estop_whose_hold_is_ignored_disarms_a_rover_after_half_a_second() {
    let mut rig = Rig::new();
    rig.pass(500);
    rig.obeys = false;
    let begun = rig.now;
    rig.press();
    rig.pass(1000);
    let disarmed = rig.sent.iter().find(|(_, v, order)| *v == ROVER && *order == Order::Disarm).unwrap().0;
    assert!((500..700).contains(&disarmed.since(begun).as_millis()));
}

#[test]
fn an_estop_in_the_air_brakes_then_lands_and_disarms_only_on_the_ground() {
    let mut rig = Rig::new();
    rig.pass(500);
    rig.press();
    (rig.state[COPTER].speed_mps, rig.slows) = (4.0, false);
    rig.pass(3000);
    assert_eq!(rig.orders(COPTER), [Order::Mode(17)]);
    rig.pass(3500);
    assert_eq!(rig.orders(COPTER), [Order::Mode(17), Order::Mode(9)], "6 s at most");
    rig.pass(60_000);
    assert_eq!(rig.orders(COPTER), [Order::Mode(17), Order::Mode(9)], "never disarmed in the air");
    rig.landed = true;
    rig.pass(500);
    assert_eq!(rig.orders(COPTER), [Order::Mode(17), Order::Mode(9), Order::Disarm]);
}

#[test]
fn a_reset_needs_a_durable_release_and_starts_nothing() {
    let mut rig = Rig::new();
    rig.pass(500);
    rig.press();
    rig.give(Input::Reset { id: EventId(Uuid::now_v7()), by: "ann".into(), scope: Scope::Site });
    assert!(rig.pressed(), "not durable yet");
    rig.press();
    rig.give(Input::Released { press: 2, by: "ann".into() });
    assert!(rig.pressed(), "a newer press keeps the latch");
    rig.reset();
    assert!(!rig.pressed());
    rig.sent.clear();
    rig.pass(1000);
    let hold = |(_, vehicle, order): &(_, usize, Order)| *vehicle == ROVER && *order == Order::Mode(4);
    assert!(rig.sent.iter().all(hold), "a reset permits motion and starts none: {:?}", rig.sent);
}

#[test]
fn refusals_of_brake_never_become_a_disarm_in_the_air() {
    let mut rig = Rig::new();
    rig.obeys = false;
    rig.press();
    // BRAKE was sent several times before the first refusal arrives, as on a slow radio.
    rig.pass(900);
    for _ in 0..12 {
        rig.hear(COPTER, Heard::Ack { command: 176, result: 4, to: 245 });
        rig.pass(100);
    }
    assert_eq!(rig.orders(COPTER), [Order::Mode(17), Order::Mode(9)]);
    rig.pass(20_000);
    assert_eq!(rig.orders(COPTER), [Order::Mode(17), Order::Mode(9)], "LAND is repeated until it is on the ground");
    let last = rig.sent.iter().rev().find(|(_, vehicle, _)| *vehicle == COPTER).unwrap().0;
    assert!(rig.now.since(last) <= Duration::from_millis(220));
}

#[test]
fn an_old_acceptance_gives_no_reason_to_escalate() {
    let mut rig = Rig::new();
    rig.present = true;
    rig.pass(30_000);
    rig.state[ROVER].mode = 10;
    rig.pass(400);
    assert_eq!(rig.orders(ROVER), [Order::Mode(4)], "somebody set AUTO: HOLD again, not disarm");
    assert_eq!(rig.state[ROVER].mode, 4);
}

#[test]
fn a_vehicle_first_heard_late_is_told_the_first_action_first() {
    let mut rig = Rig::new();
    for state in &mut rig.state {
        *state = VehicleState { mode: state.mode, armed: true, speed_mps: 2.0, ..VehicleState::default() };
    }
    rig.machine = Machine::new(policy(), Latched::new(2, true), rig.now);
    for _ in 0..200 {
        rig.now = rig.now.plus(Duration::from_millis(20));
        rig.give(Input::Tick);
    }
    assert!(rig.sent.is_empty(), "there is no address yet");
    rig.pass(400);
    assert_eq!(rig.orders(ROVER), [Order::Mode(4)]);
}

#[test]
fn a_hold_asked_for_under_a_demand_sends_nothing_weaker() {
    let mut rig = Rig::new();
    (rig.obeys, rig.present) = (false, true);
    rig.pass(6000);
    let told = [Order::Mode(17), Order::GuidedStill(4), Order::Mode(9)];
    assert_eq!(rig.orders(COPTER), told);
    assert!(rig.ask(COPTER, Verb::Hold).is_empty(), "never denied");
    assert_eq!(rig.orders(COPTER), told, "no BRAKE over LAND");
}

#[test]
fn a_blind_camera_is_a_person_whatever_its_frames_show_and_while_that_is_told() {
    let mut rig = Rig::new();
    rig.pass(1000);
    assert_eq!(rig.machine.demand(ROVER), Demand::None);
    rig.give(Input::Blind { zone: 0, blind: true });
    assert_eq!(rig.machine.demand(ROVER), Demand::Hold, "at once, with fresh frames");
    for _ in 0..20 {
        rig.pass(200);
        rig.give(Input::Blind { zone: 0, blind: true });
    }
    let why = |rig: &Rig| rig.machine.rules().into_iter().find(|rule| rule.rule == "keep-out").unwrap().reason;
    assert_eq!(why(&rig).as_deref(), Some("camera blind: a person is assumed in zone yard"));
    // That it sees again was told and lost: it is not blind for ever, and must show the zone empty first.
    rig.pass(2000);
    assert_eq!(rig.machine.demand(ROVER), Demand::Hold);
    rig.pass(2000);
    assert_eq!(rig.machine.demand(ROVER), Demand::None);
}
