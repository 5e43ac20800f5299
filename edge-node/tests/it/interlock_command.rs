//! Commands that people give: sent until they are answered, given up, never against a rule, never outside the envelope.

use edge_node::ground::polygon::Polygon;
use edge_node::ground::{Origin, Place};
use edge_node::interlock::machine::{Demand, Effect, Policy, Role, Verb};
use edge_node::interlock::rules::fence::{Fence, Side};
use edge_node::interlock::transaction::Outcome;
use edge_node::vehicle::command::{Circle, Height, Order, Target};
use edge_node::vehicle::state::Heard;
use edge_node::vehicle::stop::StopTable;
use edge_node::vehicle::{Class, Limits, Output};
use shared::ids::EventId;
use std::time::Duration;
use uuid::Uuid;

use crate::rig::{COPTER, ROVER, Rig, policy};

const SET_MODE: u16 = 176;

fn height(metres: i32) -> Height {
    Height { above_home_cm: metres * 100, home_cm: 0 }
}

pub fn target(lat_e7: i32, lon_e7: i32, metres: i32) -> Target {
    Target { lat_e7, lon_e7, height: height(metres) }
}

/// A site of 220 by 150 metres around where the vehicles are, 50 metres high.
pub fn fenced() -> Policy {
    let corners = [(47.399, 8.499), (47.399, 8.501), (47.401, 8.501), (47.401, 8.499)];
    let corners = corners.map(|(lat_deg, lon_deg)| Place { lat_deg, lon_deg });
    let origin = Origin::new(corners[0]);
    let polygon = Polygon::new(&corners, &origin).unwrap();
    let fence = Fence {
        name: "site".into(),
        side: Side::Inclusion,
        polygon,
        vehicles: vec![ROVER, COPTER],
        ceiling_m: Some(50.0),
    };
    let mut policy = Policy { fences: vec![fence], origin: Some(origin), ..policy() };
    policy.vehicles[COPTER].outputs.insert("siren".parse().unwrap(), Output::Relay { relay: 1 });
    policy
}

/// Both stand inside, nothing is tripped, somebody answers for them. The copter hovers unless it is `landed`.
pub fn ready(policy: Policy, landed: bool) -> Rig {
    let mut rig = Rig::begin(policy);
    for state in &mut rig.state {
        (state.position_deg, state.speed_mps, state.velocity_mps) = (Some((47.4, 8.5)), 0.0, (0.0, 0.0));
        (state.relative_alt_m, state.alt_m) = (10.0, 410.0);
    }
    rig.landed = landed;
    for vehicle in [ROVER, COPTER] {
        assert!(rig.ask(vehicle, Verb::Patrol(Duration::from_secs(3600))).is_empty());
    }
    rig.settle();
    for state in &mut rig.state {
        (state.mode, state.armed) = (if landed { 0 } else { 17 }, !landed);
    }
    rig.state[ROVER].mode = 4;
    rig.pass(1000);
    (rig.sent, rig.effects) = (Vec::new(), Vec::new());
    rig
}

fn ended(rig: &Rig) -> Vec<(&'static str, Outcome)> {
    let ended = rig.effects.iter().filter_map(|effect| match effect {
        Effect::Ended { verb, outcome, .. } => Some((*verb, *outcome)),
        _ => None,
    });
    ended.collect()
}

/// How often each order was sent, with what the vehicle was told of the times before.
fn tries(rig: &Rig) -> Vec<(Order, u8)> {
    let tries = rig.effects.iter().filter_map(|effect| match effect {
        Effect::Send(_, order) => Some((*order, 0)),
        Effect::Again(_, order, before) => Some((*order, *before)),
        _ => None,
    });
    tries.collect()
}

fn ack(rig: &mut Rig, vehicle: usize, command: u16, result: u8) {
    rig.hear(vehicle, Heard::Ack { command, result, to: 245 });
}

#[test]
fn a_command_is_sent_three_times_without_an_answer_and_then_given_up() {
    let mut rig = ready(fenced(), false);
    rig.obeys = false;
    assert!(rig.ask(COPTER, Verb::Speed(300)).is_empty());
    rig.pass(3500);
    assert_eq!(tries(&rig), [(Order::Speed(300), 0), (Order::Speed(300), 1), (Order::Speed(300), 2)]);
    assert_eq!(ended(&rig), [("speed", Outcome::Unanswered)]);
}

#[test]
fn an_answer_ends_a_command_and_a_refusal_says_why() {
    let mut rig = ready(fenced(), false);
    rig.ask(COPTER, Verb::Speed(300));
    ack(&mut rig, COPTER, 178, 0);
    assert!(rig.ask(COPTER, Verb::Speed(200))[0].contains("a moment ago"), "nobody fills the line");
    rig.pass(200);
    rig.ask(COPTER, Verb::Speed(200));
    ack(&mut rig, COPTER, 178, 4);
    assert_eq!(ended(&rig), [("speed", Outcome::Done), ("speed", Outcome::Refused(4))]);
    rig.pass(3000);
    assert_eq!(tries(&rig).len(), 2, "nothing is repeated once it was answered");
}

#[test]
fn not_now_is_asked_again_and_in_progress_is_waited_for() {
    let mut rig = ready(fenced(), false);
    rig.obeys = false;
    rig.ask(COPTER, Verb::Speed(300));
    ack(&mut rig, COPTER, 178, 1);
    rig.pass(1100);
    assert_eq!(tries(&rig).len(), 2);
    ack(&mut rig, COPTER, 178, 5);
    rig.pass(20_000);
    assert_eq!((tries(&rig).len(), ended(&rig)), (2, vec![]), "it says that it is at it");
    ack(&mut rig, COPTER, 178, 0);
    assert_eq!(ended(&rig), [("speed", Outcome::Done)]);
    rig.ask(COPTER, Verb::Speed(300));
    ack(&mut rig, COPTER, 178, 5);
    rig.pass(31_000);
    assert_eq!(ended(&rig)[1], ("speed", Outcome::Unanswered));
}

#[test]
fn a_mode_that_was_acked_and_does_not_show_is_no_success_and_the_next_step_is_not_sent() {
    let mut rig = ready(fenced(), true);
    rig.obeys = false;
    assert!(rig.ask(ROVER, Verb::Arm).is_empty());
    rig.state[ROVER].mode = 0;
    rig.pass(200);
    ack(&mut rig, ROVER, SET_MODE, 0);
    rig.pass(4000);
    assert_eq!(ended(&rig), [("arm", Outcome::NotShown)]);
    assert!(!rig.orders(ROVER).contains(&Order::Arm));
}

#[test]
fn what_drives_is_armed_in_hold_and_a_copter_where_it_takes_off_from() {
    let mut rig = ready(fenced(), true);
    assert!(rig.ask(ROVER, Verb::Arm).is_empty());
    assert!(rig.ask(COPTER, Verb::Arm).is_empty());
    rig.pass(1000);
    assert_eq!(rig.orders(ROVER), [Order::Mode(4), Order::Arm]);
    assert_eq!(rig.orders(COPTER), [Order::Mode(4), Order::Arm]);
    assert!(rig.state.iter().all(|state| state.armed));
    assert!(rig.ask(COPTER, Verb::TakeOff(height(10))).is_empty());
    rig.pass(400);
    // Home is 400 metres above the sea.
    let up = Height { above_home_cm: 1000, home_cm: 40_000 };
    assert_eq!(rig.orders(COPTER).last(), Some(&Order::TakeOff(up)));
    ack(&mut rig, COPTER, 22, 0);
    assert_eq!(ended(&rig).last(), Some(&("take-off", Outcome::Done)));
    assert!(rig.ask(ROVER, Verb::TakeOff(height(10)))[0].contains("no copter"));
}

#[test]
fn a_place_inside_the_fence_is_gone_to_and_every_other_is_denied_with_the_reason() {
    let mut rig = ready(fenced(), false);
    assert!(rig.ask(COPTER, Verb::GoTo(target(474_005_000, 85_005_000, 20))).is_empty());
    rig.pass(400);
    let sent = rig.orders(COPTER);
    assert_eq!(sent[0], Order::Mode(4));
    let Order::GoTo(place) = sent[1] else { panic!("{sent:?}") };
    assert_eq!((place.lat_e7, place.height), (474_005_000, Height { above_home_cm: 2000, home_cm: 40_000 }));
    let denied = |rig: &mut Rig, verb| rig.ask(COPTER, verb).join("; ");
    let outside = denied(&mut rig, Verb::GoTo(target(474_050_000, 85_005_000, 20)));
    assert!(outside.contains("outside its fence"), "{outside}");
    let edge = denied(&mut rig, Verb::GoTo(target(474_009_950, 85_005_000, 20)));
    assert!(edge.contains("outside its fence"), "half a metre from the edge: {edge}");
    for metres in [-3, 1, 50, 3000] {
        let high = denied(&mut rig, Verb::GoTo(target(474_005_000, 85_005_000, metres)));
        assert!(high.contains("expected a height of 2 to 49 m"), "{metres}: {high}");
    }
    let wide = denied(
        &mut rig,
        Verb::Orbit(target(474_005_000, 85_000_000, 20), Circle { radius_cm: 20_000, speed_cmps: 200 }),
    );
    assert!(wide.contains("outside its fence"), "{wide}");
    let fast = denied(&mut rig, Verb::Speed(600));
    assert!(fast.contains("found 6"), "{fast}");
    assert!(denied(&mut rig, Verb::Speed(0)).contains("found 0"));
    assert!(
        rig.ask(COPTER, Verb::Orbit(target(474_005_000, 85_000_000, 20), Circle { radius_cm: 1000, speed_cmps: 200 }))
            .is_empty()
    );
}

#[test]
fn without_a_fence_or_a_known_place_nothing_is_sent_anywhere() {
    let mut rig = ready(Policy { fences: Vec::new(), ..fenced() }, false);
    let denied = rig.ask(ROVER, Verb::GoTo(target(474_005_000, 85_005_000, 0)));
    assert!(denied.iter().any(|reason| reason.contains("it has no fence")), "{denied:?}");
}

#[test]
fn a_wing_is_not_told_a_speed_without_a_slowest_one_and_a_plane_goes_nowhere_by_hand() {
    let mut policy = fenced();
    policy.vehicles[COPTER].class = Class::Plane;
    let mut rig = ready(policy.clone(), false);
    let told = |rig: &mut Rig, verb| rig.ask(COPTER, verb).join("; ");
    assert!(told(&mut rig, Verb::Speed(400)).contains("a wing stalls"));
    assert!(told(&mut rig, Verb::GoTo(target(474_005_000, 85_005_000, 20))).contains("a plane circles"));
    policy.vehicles[COPTER].limits = Limits { slowest_mps: Some(3.0), ..Limits::default() };
    let mut rig = ready(policy, false);
    assert!(told(&mut rig, Verb::Speed(200)).contains("expected 3"));
    assert!(!told(&mut rig, Verb::Speed(400)).contains("envelope"));
}

#[test]
fn a_rule_that_trips_gives_up_a_command_and_nothing_of_it_is_sent_again() {
    let mut rig = ready(fenced(), false);
    rig.obeys = false;
    assert!(rig.ask(COPTER, Verb::GoTo(target(474_005_000, 85_005_000, 20))).is_empty());
    rig.pass(200);
    rig.present = true;
    rig.pass(200);
    assert_eq!(rig.machine.demand(COPTER), Demand::Hold);
    assert_eq!(ended(&rig), [("go-to", Outcome::Cancelled("the interlock demands otherwise"))]);
    rig.sent.clear();
    rig.pass(5000);
    assert!(rig.orders(COPTER).iter().all(|order| !matches!(order, Order::GoTo(_))), "{:?}", rig.orders(COPTER));
    // While a person is there nothing is taken either.
    let denied = rig.ask(COPTER, Verb::GoTo(target(474_005_000, 85_005_000, 20)));
    assert!(denied.iter().any(|reason| reason.contains("keep-out")), "{denied:?}");
}

#[test]
fn a_command_ends_with_the_lease_of_who_gave_it() {
    let mut rig = ready(fenced(), true);
    rig.ask(ROVER, Verb::EndPatrol);
    let lease = EventId(Uuid::now_v7());
    assert!(rig.ask(ROVER, Verb::Lease(lease)).is_empty());
    rig.obeys = false;
    rig.state[ROVER].mode = 0;
    assert!(rig.ask(ROVER, Verb::Arm).is_empty());
    rig.pass(2600);
    assert_eq!(ended(&rig), [("arm", Outcome::Cancelled("nobody answers for it any more"))]);
    assert!(rig.ask_as("bob", EventId(Uuid::now_v7()), ROVER, Verb::Arm)[0].contains("lease"));
}

#[test]
fn a_newer_command_takes_the_place_of_an_older_one_but_a_siren_does_not() {
    let mut rig = ready(fenced(), false);
    rig.obeys = false;
    rig.ask(COPTER, Verb::Speed(300));
    rig.ask(COPTER, Verb::Output(0, true));
    assert_eq!(ended(&rig), []);
    rig.pass(200);
    rig.ask(COPTER, Verb::Speed(200));
    assert_eq!(ended(&rig), [("speed", Outcome::Cancelled("another command came"))]);
    assert!(rig.orders(COPTER).contains(&Order::Relay(1, true)));
    // A siren sounds under any demand.
    rig.press();
    rig.effects.clear();
    assert!(rig.ask(COPTER, Verb::Output(0, false)).is_empty());
    rig.pass(100);
    assert!(rig.orders(COPTER).contains(&Order::Relay(1, false)));
    assert!(rig.ask(COPTER, Verb::Output(1, true))[0].contains("no such output"));
}

#[test]
fn a_refusal_of_a_mode_before_it_does_not_end_a_command() {
    let mut rig = ready(fenced(), false);
    rig.obeys = false;
    // A hold whose ack is still on its way.
    rig.ask(COPTER, Verb::Hold);
    rig.pass(100);
    assert!(rig.ask(COPTER, Verb::Resume).is_empty());
    ack(&mut rig, COPTER, SET_MODE, 4);
    assert_eq!(ended(&rig), [], "the refusal was of the hold");
    ack(&mut rig, COPTER, SET_MODE, 4);
    assert_eq!(ended(&rig), [("resume", Outcome::Refused(4))]);
}

#[test]
fn disarming_is_carried_out_while_it_is_held() {
    let mut rig = ready(fenced(), true);
    rig.obeys = false;
    rig.state[ROVER].armed = true;
    rig.pass(400);
    rig.effects.clear();
    assert!(rig.ask(ROVER, Verb::Disarm).is_empty());
    rig.pass(1200);
    let disarms = tries(&rig).iter().filter(|(order, _)| *order == Order::Disarm).count();
    assert_eq!(disarms, 2, "sent again without an answer, and not given up for the hold that comes with it");
    rig.state[ROVER].armed = false;
    rig.pass(400);
    assert_eq!(ended(&rig), [("disarm", Outcome::Done)]);
}

#[test]
fn a_vehicle_without_a_brake_test_moves_only_for_a_supervisor_who_tries_its_brakes() {
    let mut policy = fenced();
    policy.vehicles[ROVER].brake = StopTable::default();
    policy.people = vec![("ann".into(), Role::Supervisor), ("bob".into(), Role::Operator)];
    let mut rig = ready(policy, false);
    let to = Verb::GoTo(target(474_005_000, 85_005_000, 0));
    let untried = |denied: Vec<String>| denied.iter().any(|reason| reason.contains("no brake test"));
    assert!(untried(rig.ask(ROVER, to)));
    assert!(rig.ask(ROVER, Verb::Trial)[0].contains("holds its lease"));
    let lease = EventId(Uuid::now_v7());
    assert!(rig.ask(ROVER, Verb::Lease(lease)).is_empty());
    assert!(rig.ask_as("bob", EventId(Uuid::now_v7()), ROVER, Verb::Trial)[0].contains("only a supervisor"));
    assert!(rig.ask(ROVER, Verb::Trial).is_empty());
    assert!(rig.ask(ROVER, to).is_empty());
    rig.pass(200);
    assert!(rig.ask(ROVER, Verb::Speed(300)).is_empty());
    assert!(rig.ask(ROVER, Verb::Speed(2100))[0].contains("found 21"));
    // It ends with the lease, patrol or not, and is nobody else's.
    let bobs = EventId(Uuid::now_v7());
    rig.ask(ROVER, Verb::Leave(lease));
    assert!(rig.ask_as("bob", EventId(Uuid::now_v7()), ROVER, Verb::Lease(bobs)).is_empty());
    assert!(untried(rig.ask_as("bob", EventId(Uuid::now_v7()), ROVER, to)));
}

#[test]
fn an_arming_that_fails_leaves_a_rover_that_waits_for_a_command() {
    let mut rig = ready(fenced(), true);
    // Its AUTO is still set, and it refuses HOLD.
    (rig.obeys, rig.state[ROVER].mode) = (false, 10);
    rig.ask(ROVER, Verb::Hold);
    assert!(rig.ask(ROVER, Verb::Arm).is_empty());
    ack(&mut rig, ROVER, SET_MODE, 4);
    ack(&mut rig, ROVER, SET_MODE, 4);
    rig.pass(4000);
    assert!(ended(&rig).iter().any(|(verb, outcome)| *verb == "arm" && *outcome != Outcome::Done), "{:?}", ended(&rig));
    assert_eq!(rig.machine.demand(ROVER), Demand::Hold);
}

#[test]
fn a_late_ack_of_one_place_does_not_end_the_way_to_the_next() {
    let mut rig = ready(fenced(), false);
    assert!(rig.ask(COPTER, Verb::GoTo(target(474_005_000, 85_005_000, 20))).is_empty());
    rig.pass(400);
    assert!(rig.ask(COPTER, Verb::GoTo(target(474_004_000, 85_004_000, 20))).is_empty());
    rig.pass(200);
    ack(&mut rig, COPTER, 192, 0);
    rig.pass(100);
    assert!(!rig.orders(COPTER).iter().any(|order| matches!(order, Order::Speed(_))), "{:?}", rig.orders(COPTER));
    ack(&mut rig, COPTER, 192, 0);
    rig.pass(100);
    // The autopilot's own speed is not the vehicle's.
    assert_eq!(rig.orders(COPTER).last(), Some(&Order::Speed(530)));
}

#[test]
fn a_request_that_comes_too_soon_takes_no_hold_back() {
    let mut rig = ready(fenced(), false);
    assert!(rig.ask(COPTER, Verb::Resume).is_empty());
    assert!(rig.ask(COPTER, Verb::Hold).is_empty());
    assert_eq!(rig.ask(COPTER, Verb::Resume), ["it was asked a moment ago"]);
    rig.pass(100);
    assert_eq!(rig.machine.demand(COPTER), Demand::Hold);
}
