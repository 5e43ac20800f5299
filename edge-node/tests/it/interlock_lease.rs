//! The rule *lease*, who may ask for what, and the supervisor's heartbeat.

use std::time::Duration;

use edge_node::interlock::machine::{Demand, Effect, Input, Role, Rule, Verb};
use edge_node::interlock::rules::lease::RENEWAL;
use edge_node::vehicle::command::Order;
use edge_node::vehicle::stop::StopTable;
use shared::ids::EventId;
use uuid::Uuid;

use crate::rig::{COPTER, ROVER, Rig, policy};

const HOUR: Duration = Duration::from_secs(3600);

/// A rig whose rover drives for nobody and whose copter is on patrol.
fn unanswered() -> Rig {
    let mut rig = Rig::begin(policy());
    rig.ask(COPTER, Verb::Patrol(HOUR));
    rig
}

/// Ann's lease of the rover.
fn lease(rig: &mut Rig) -> EventId {
    let id = EventId(Uuid::now_v7());
    assert!(rig.ask_as("ann", id, ROVER, Verb::Lease(id)).is_empty());
    id
}

/// A rover that ann drives, with her lease renewed until now.
fn driven() -> (Rig, EventId) {
    let mut rig = unanswered();
    let id = lease(&mut rig);
    rig.obeys = false;
    renewing(&mut rig, id, 6000);
    rig.obeys = true;
    rig.state[ROVER].mode = 10;
    rig.state[ROVER].speed_mps = 2.0;
    (rig.sent, rig.effects) = (Vec::new(), Vec::new());
    assert_eq!(rig.machine.demand(ROVER), Demand::None);
    (rig, id)
}

fn renewing(rig: &mut Rig, id: EventId, ms: u64) {
    for _ in 0..ms / 500 {
        assert!(rig.ask(ROVER, Verb::Renew(id)).is_empty());
        rig.pass(500);
    }
}

fn beats(rig: &Rig, vehicle: usize) -> usize {
    rig.effects.iter().filter(|effect| **effect == Effect::Beat(vehicle)).count()
}

#[test]
fn lease_a_vehicle_that_moves_for_nobody_is_held_until_somebody_answers_for_it() {
    let mut rig = unanswered();
    rig.pass(400);
    assert!(rig.tripped(ROVER, "lease") && !rig.tripped(COPTER, "lease"));
    assert_eq!(rig.orders(ROVER).first(), Some(&Order::Mode(4)));
    rig.pass(20_000);
    assert_eq!(rig.state[ROVER].speed_mps, 0.0);
    assert!(rig.tripped(ROVER, "lease"), "that it stands does not clear it");
    let reasons = rig.resume();
    assert!(reasons.iter().any(|reason| reason.starts_with("lease:")), "{reasons:?}");
    lease(&mut rig);
    rig.pass(40);
    assert!(!rig.tripped(ROVER, "lease"));
    assert!(rig.resume().is_empty());
}

#[test]
fn lease_a_dead_man_holds_the_vehicle_two_seconds_after_the_last_renewal() {
    let (mut rig, id) = driven();
    renewing(&mut rig, id, 10_000);
    assert!(rig.sent.is_empty(), "{:?}", rig.sent);
    rig.ask(ROVER, Verb::Renew(id));
    let last = rig.now;
    rig.pass(3000);
    let (at, vehicle, order) = rig.sent[0];
    assert_eq!((vehicle, order), (ROVER, Order::Mode(4)));
    let after = at.since(last);
    assert!(after > RENEWAL && after <= RENEWAL + Duration::from_millis(40), "{after:?}");
    let lapsed = |effect: &&Effect| matches!(effect, Effect::Lease { change: "lapsed", vehicle: ROVER, .. });
    assert_eq!(rig.effects.iter().filter(lapsed).count(), 1);
    assert!(rig.ask(ROVER, Verb::Renew(id)).is_empty(), "the same person is there again");
    rig.pass(40);
    assert!(!rig.tripped(ROVER, "lease"));
}

#[test]
fn lease_a_patrol_ends_when_its_time_is_over() {
    let mut rig = unanswered();
    assert!(rig.ask(ROVER, Verb::Patrol(Duration::from_secs(8))).is_empty());
    rig.settle();
    rig.pass(1500);
    assert!(!rig.tripped(ROVER, "lease") && rig.sent.is_empty());
    rig.state[ROVER].speed_mps = 2.0;
    rig.pass(1000);
    assert!(rig.tripped(ROVER, "lease"));
    assert_eq!(rig.orders(ROVER), [Order::Mode(4)]);
    for odd in [Duration::ZERO, Duration::from_secs(13 * 3600)] {
        assert!(!rig.ask(ROVER, Verb::Patrol(odd)).is_empty());
    }
}

#[test]
fn lease_a_vehicle_that_stands_or_is_disarmed_needs_nobody() {
    let mut rig = unanswered();
    rig.state[ROVER].speed_mps = 0.1;
    rig.pass(4000);
    assert!(!rig.tripped(ROVER, "lease"));
    (rig.state[ROVER].speed_mps, rig.slows) = (f32::NAN, false);
    rig.pass(400);
    assert!(rig.tripped(ROVER, "lease"), "a speed that is no number is no standing");
    rig.state[ROVER].armed = false;
    rig.pass(400);
    assert!(!rig.tripped(ROVER, "lease"));
}

#[test]
fn the_supervisors_heartbeat_is_sent_while_somebody_answers_and_the_loop_is_on_time() {
    let (mut rig, id) = driven();
    renewing(&mut rig, id, 10_000);
    assert!((20..=21).contains(&beats(&rig, ROVER)), "2 Hz for 10 s: {}", beats(&rig, ROVER));
    rig.pass(2100);
    rig.effects.clear();
    rig.pass(5000);
    assert_eq!((beats(&rig, ROVER), beats(&rig, COPTER)), (0, 10), "nobody answers for the rover");

    // The process was stopped for half a second.
    rig.now = rig.now.plus(Duration::from_millis(500));
    rig.effects.clear();
    rig.pass(960);
    assert_eq!(beats(&rig, COPTER), 0, "while the loop is late");
    rig.pass(2000);
    assert!(beats(&rig, COPTER) >= 3, "and again afterwards");
    assert!(rig.ask(COPTER, Verb::Resume).iter().any(|reason| reason.starts_with("node:")));
    rig.pass(10_000);
    assert_eq!(rig.ask(COPTER, Verb::Resume), Vec::<String>::new());
}

#[test]
fn authority_one_person_at_a_time_drives_and_a_supervisor_may_take_over() {
    let mut policy = policy();
    let person = |name: &str, role| (name.to_owned(), role);
    policy.people = vec![person("ann", Role::Operator), person("bob", Role::Operator), person("sue", Role::Supervisor)];
    let mut rig = Rig::begin(policy);
    rig.ask(COPTER, Verb::Patrol(HOUR));
    let id = lease(&mut rig);
    let new = || EventId(Uuid::now_v7());
    assert_eq!(rig.ask_as("bob", new(), ROVER, Verb::Lease(new())), ["authority: ann holds the lease"]);
    assert_eq!(rig.ask_as("bob", new(), ROVER, Verb::Patrol(HOUR)), ["authority: ann holds the lease"]);
    assert_eq!(rig.ask_as("eve", new(), ROVER, Verb::Hold), ["authority: \"eve\" is nobody of this site"]);
    let against = rig.ask_as("bob", new(), ROVER, Verb::Resume);
    assert!(against.contains(&"authority: ann holds the lease".to_owned()), "{against:?}");
    assert!(rig.ask_as("bob", new(), ROVER, Verb::Hold).is_empty(), "anybody of the site may hold it");
    assert!(rig.ask_as("sue", new(), ROVER, Verb::Lease(new())).is_empty());
    assert_eq!(rig.ask(ROVER, Verb::Renew(id)), ["lease: it was given to another, or has ended"]);
    let stranger = rig.ask_as("bob", new(), ROVER, Verb::Renew(id));
    assert_eq!(stranger, ["lease: it was given to another, or has ended"]);
    assert_eq!(rig.ask(ROVER, Verb::Clear), ["authority: only a supervisor clears"]);
}

#[test]
fn what_an_operator_asks_for_lasts_until_whoever_answers_sends_it_on() {
    let (mut rig, id) = driven();
    assert!(rig.ask_as("bob", EventId(Uuid::now_v7()), ROVER, Verb::Hold).is_empty());
    assert_eq!(rig.sent[0].2, Order::Mode(4), "in the same step");
    // Somebody sets AUTO from elsewhere: it is told again.
    rig.state[ROVER].mode = 10;
    renewing(&mut rig, id, 5000);
    assert_eq!((rig.state[ROVER].mode, rig.machine.demand(ROVER)), (4, Demand::Hold));
    assert!(rig.resume().is_empty());
    assert_eq!(rig.machine.demand(ROVER), Demand::None);

    assert!(rig.ask(COPTER, Verb::Return).is_empty());
    rig.pass(1000);
    assert_eq!(rig.orders(COPTER), [Order::Mode(6)]);
    assert!(rig.ask(COPTER, Verb::Land).is_empty());
    rig.pass(1000);
    assert_eq!(rig.orders(COPTER), [Order::Mode(6), Order::Mode(9)]);
    (rig.landed, rig.state[COPTER].armed) = (true, false);
    rig.pass(400);
    assert_eq!(rig.machine.demand(COPTER), Demand::None, "it is down");
}

#[test]
fn hold_return_land_and_disarm_need_no_lease_and_disarm_needs_the_ground() {
    let mut rig = Rig::begin(policy());
    rig.pass(400);
    for verb in [Verb::Hold, Verb::Return, Verb::Land] {
        assert!(rig.ask(COPTER, verb).is_empty(), "{verb:?}");
    }
    assert_eq!(rig.ask(COPTER, Verb::Disarm), ["it is not known to stand on the ground"]);
    assert!(rig.ask(ROVER, Verb::Disarm).is_empty());
    assert!(!rig.state[ROVER].armed);
}

#[test]
fn a_lease_is_left_when_the_vehicle_stands_and_an_aircraft_is_not_left_in_the_air() {
    let (mut rig, id) = driven();
    assert!(rig.ask(ROVER, Verb::Leave(id))[0].contains("hold it"));
    rig.ask(ROVER, Verb::Hold);
    renewing(&mut rig, id, 5000);
    assert!(rig.ask(ROVER, Verb::Leave(id)).is_empty());
    assert!(!rig.ask(ROVER, Verb::Renew(id)).is_empty());
    let id = EventId(Uuid::now_v7());
    assert!(rig.ask(COPTER, Verb::EndPatrol)[0].contains("it flies"), "nor by ending its patrol");
    assert!(rig.ask(COPTER, Verb::Patrol(Duration::from_secs(1)))[0].contains("it flies"), "nor by a shorter one");
    assert!(rig.ask_as("ann", id, COPTER, Verb::Lease(id)).is_empty());
    assert!(rig.ask(COPTER, Verb::EndPatrol).is_empty(), "somebody answers for it now");
    rig.state[COPTER].speed_mps = 0.0;
    rig.pass(200);
    assert!(rig.ask(COPTER, Verb::Leave(id))[0].contains("it flies"));
}

#[test]
fn nothing_moves_whose_way_to_stop_was_not_measured() {
    let mut policy = policy();
    policy.vehicles[ROVER].brake = StopTable::default();
    let mut rig = Rig::begin(policy);
    for vehicle in [ROVER, COPTER] {
        rig.ask(vehicle, Verb::Patrol(HOUR));
    }
    rig.settle();
    assert_eq!(rig.resume(), ["readiness: no brake test, so no way to stop is known"]);
    assert!(rig.ask(COPTER, Verb::Resume).is_empty());
}

#[test]
fn lease_an_aircraft_that_only_climbs_moves_too() {
    let mut rig = Rig::begin(policy());
    rig.slows = false;
    rig.state[COPTER].speed_mps = 0.0;
    rig.pass(2400);
    assert!(!rig.tripped(COPTER, "lease"));
    rig.state[COPTER].climb_mps = 3.0;
    rig.pass(200);
    assert!(rig.tripped(COPTER, "lease"));
}

#[test]
fn a_rover_that_was_disarmed_in_auto_is_held_when_somebody_arms_it() {
    let mut rig = Rig::new();
    assert!(rig.ask(ROVER, Verb::Disarm).is_empty());
    assert!(!rig.state[ROVER].armed);
    (rig.state[ROVER].armed, rig.state[ROVER].mode) = (true, 10);
    rig.pass(400);
    assert_eq!(rig.state[ROVER].mode, 4);
    // And after an e-stop that it took by disarming alone.
    let mut rig = Rig::new();
    rig.press();
    rig.pass(2000);
    rig.reset();
    (rig.state[ROVER].armed, rig.state[ROVER].mode) = (true, 10);
    rig.pass(400);
    assert_eq!((rig.state[ROVER].mode, rig.machine.demand(ROVER)), (4, Demand::Hold));
    assert!(rig.resume().is_empty(), "a new command lets it go");
}

#[test]
fn a_node_that_ends_on_purpose_holds_what_moves() {
    let mut rig = Rig::new();
    assert!(rig.ask(COPTER, Verb::Land).is_empty());
    rig.give(Input::Ending);
    assert_eq!(rig.orders(COPTER), [Order::Mode(9)], "what lands goes on landing");
    let mut rig = Rig::new();
    rig.give(Input::Ending);
    assert_eq!((rig.orders(ROVER), rig.orders(COPTER)), (vec![Order::Mode(4)], vec![Order::Mode(17)]));
}

#[test]
fn with_the_rule_switched_off_nobody_has_to_answer() {
    let mut policy = policy();
    policy.off = vec![Rule::Lease];
    let mut rig = Rig::begin(policy);
    rig.give(Input::Tick);
    rig.pass(1000);
    assert!(!rig.tripped(ROVER, "lease"));
}
