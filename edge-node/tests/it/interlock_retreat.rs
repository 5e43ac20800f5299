//! Ways that are permitted under rules that are tripped, since they make things better: away from people, back into a fence;
//! and home, for what does not hold at its fence.

use edge_node::ground::Point;
use edge_node::ground::people::People;
use edge_node::ground::polygon::Polygon;
use edge_node::interlock::machine::{Demand, Policy, Rule, Verb};
use edge_node::interlock::rules::keep_out::Ground;
use edge_node::vehicle::command::{Order, Target};

use edge_node::vehicle::state::Heard;
use proptest::prelude::{ProptestConfig, prop_assert, proptest};

use crate::interlock_command::{fenced, ready, target};
use crate::rig::{COPTER, ROVER, Rig};

/// ArduRover's GUIDED and HOLD, ArduCopter's RTL and LAND.
const GUIDED: u32 = 15;
const HOLD: u32 = 4;
const RTL: u32 = 6;
const LAND: u32 = 9;
/// Metres of a degree there.
const NORTH_M: f64 = 111_178.0;
const EAST_M: f64 = 75_500.0;
/// Where the vehicles stand, from the fence's south-western corner, metres.
const HERE: Point = Point { east: 75.5, north: 111.18 };

/// The fenced site, all of it seen by a camera that knows its ground.
fn seen() -> Policy {
    let corners = [(-200.0, -200.0), (400.0, -200.0), (400.0, 400.0), (-200.0, 400.0)];
    let zone = Polygon::of_points(corners.map(|(east, north)| Point { east, north }).to_vec());
    let mut policy = fenced();
    policy.keep_out[0].ground = Some(Ground { zone, error_m: 0.5 });
    policy.outputs = Vec::new();
    policy
}

fn deg(at: Point) -> (f64, f64) {
    (47.399 + at.north / NORTH_M, 8.499 + at.east / EAST_M)
}

fn to(at: Point) -> Target {
    let (lat, lon) = deg(at);
    target((lat * 1e7) as i32, (lon * 1e7) as i32, 10)
}

/// A person so many metres from where the rover stands.
fn person(rig: &mut Rig, east: f64, north: f64) {
    let mut people = People::default();
    people.add(Some(HERE.plus(east, north)));
    (rig.present, rig.people) = (true, people);
}

fn stopped_for_a_person() -> Rig {
    let mut rig = ready(seen(), false);
    rig.state[ROVER].position_deg = Some(deg(HERE));
    // The copter is elsewhere.
    rig.state[COPTER].position_deg = Some(deg(HERE.plus(-60.0, 0.0)));
    // It drove when somebody came near, so it keeps away from them as what drives.
    drive(&mut rig, ROVER, HERE.plus(0.0, -0.4), (0.0, 2.0), 1);
    person(&mut rig, 0.0, 6.0);
    rig.pass(400);
    (rig.state[ROVER].speed_mps, rig.state[ROVER].velocity_mps) = (0.0, (0.0, 0.0));
    rig.state[ROVER].position_deg = Some(deg(HERE));
    rig.pass(600);
    assert_eq!(rig.machine.demand(ROVER), Demand::Hold);
    rig.sent.clear();
    rig
}

/// It takes its command: DO_REPOSITION, then DO_CHANGE_SPEED.
fn taken(rig: &mut Rig, vehicle: usize) {
    for command in [192, 178] {
        rig.pass(200);
        rig.hear(vehicle, Heard::Ack { command, result: 0, to: 0 });
    }
    rig.pass(200);
}

#[track_caller]
fn denied(rig: &mut Rig, vehicle: usize, at: Point, why: &str) {
    let reasons = rig.ask(vehicle, Verb::GoTo(to(at)));
    assert!(reasons.iter().any(|reason| reason.starts_with(why)), "{reasons:?}");
}

/// Drives with a velocity east and north for so long.
fn drive(rig: &mut Rig, vehicle: usize, from: Point, (east, north): (f64, f64), seconds: u32) -> Point {
    let mut at = from;
    let speed = east.hypot(north);
    for _ in 0..seconds * 5 {
        let state = &mut rig.state[vehicle];
        (state.speed_mps, state.velocity_mps) = (speed as f32, (north as f32, east as f32));
        state.position_deg = Some(deg(at));
        rig.pass(200);
        at = at.plus(east * 0.2, north * 0.2);
    }
    at
}

#[test]
fn keep_out_what_stands_for_a_person_may_be_sent_slowly_away_from_them_and_nowhere_else() {
    let mut rig = stopped_for_a_person();
    denied(&mut rig, ROVER, HERE.plus(0.0, 20.0), "keep-out: person");
    denied(&mut rig, ROVER, HERE.plus(10.0, 3.0), "keep-out: person");
    assert_eq!(rig.ask(ROVER, Verb::Resume).len(), 1, "its mission may lead anywhere");
    let away = HERE.plus(2.0, -30.0);
    assert_eq!(rig.ask(ROVER, Verb::GoTo(to(away))), [""; 0]);
    taken(&mut rig, ROVER);
    assert_eq!((rig.machine.demand(ROVER), rig.state[ROVER].mode), (Demand::Limit, GUIDED));
    let sent = rig.orders(ROVER);
    assert!(sent.contains(&Order::GoTo(Target { height: sent_height(&sent), ..to(away) })), "{sent:?}");
    let at = drive(&mut rig, ROVER, HERE, (0.0, -1.0), 10);
    assert_eq!((rig.machine.demand(ROVER), rig.state[ROVER].mode), (Demand::Limit, GUIDED), "at {at:?}");
}

fn sent_height(sent: &[Order]) -> edge_node::vehicle::command::Height {
    sent.iter().find_map(|order| if let Order::GoTo(target) = order { Some(target.height) } else { None }).unwrap()
}

/// A retreat that is no longer one is a hold.
#[track_caller]
fn held_again(change: impl FnOnce(&mut Rig)) {
    let mut rig = stopped_for_a_person();
    assert_eq!(rig.ask(ROVER, Verb::GoTo(to(HERE.plus(0.0, -30.0)))), [""; 0]);
    taken(&mut rig, ROVER);
    drive(&mut rig, ROVER, HERE, (0.0, -1.0), 2);
    assert_eq!(rig.machine.demand(ROVER), Demand::Limit);
    change(&mut rig);
    rig.pass(400);
    assert_eq!((rig.machine.demand(ROVER), rig.state[ROVER].mode), (Demand::Hold, HOLD));
}

#[test]
fn keep_out_a_way_away_ends_when_somebody_stands_on_it_it_goes_elsewhere_or_nobody_can_see() {
    held_again(|rig| person(rig, 0.0, -20.0));
    held_again(|rig| rig.state[ROVER].velocity_mps = (1.0, 0.0));
    held_again(|rig| {
        rig.watched = false;
        rig.pass(1000);
    });
    held_again(|rig| rig.people = People::anywhere());
    // It has arrived, and somebody is still near.
    held_again(|rig| {
        person(rig, 0.0, -24.0);
        rig.state[ROVER].position_deg = Some(deg(HERE.plus(0.0, -29.5)));
    });
    held_again(|rig| assert!(rig.ask(ROVER, Verb::Hold).is_empty()));
    // Somebody else drives it, or it stands still.
    held_again(|rig| rig.state[ROVER].mode = 0);
    held_again(|rig| {
        (rig.state[ROVER].speed_mps, rig.state[ROVER].velocity_mps) = (0.0, (0.0, 0.0));
        rig.pass(11_000);
    });
    held_again(|rig| assert!(rig.ask(ROVER, Verb::EndPatrol).is_empty() || rig.ask(ROVER, Verb::Hold).is_empty()));
    // It drifts back.
    held_again(|rig| {
        let at = HERE.plus(0.0, -2.0);
        for n in 0..60 {
            (rig.state[ROVER].speed_mps, rig.state[ROVER].velocity_mps) = (0.25, (0.25, 0.0));
            rig.state[ROVER].position_deg = Some(deg(at.plus(0.0, 0.05 * f64::from(n))));
            rig.pass(200);
        }
    });
    held_again(|rig| {
        rig.press();
        rig.state[ROVER].armed = true;
        rig.reset();
        rig.state[ROVER].mode = GUIDED;
    });
}

#[test]
fn keep_out_a_way_away_that_the_vehicle_refuses_or_does_not_answer_ends() {
    for answer in [Some(4), None] {
        let mut rig = stopped_for_a_person();
        assert_eq!(rig.ask(ROVER, Verb::GoTo(to(HERE.plus(0.0, -30.0)))), [""; 0]);
        rig.pass(200);
        if let Some(result) = answer {
            rig.hear(ROVER, Heard::Ack { command: 192, result, to: 0 });
        }
        rig.pass(4000);
        assert_eq!((rig.machine.demand(ROVER), rig.state[ROVER].mode), (Demand::Hold, HOLD), "{answer:?}");
    }
}

#[test]
fn keep_out_what_was_denied_leaves_the_hold_as_it_is() {
    let mut rig = stopped_for_a_person();
    let away = Verb::GoTo(to(HERE.plus(0.0, -30.0)));
    assert_eq!(rig.ask(ROVER, away), [""; 0]);
    assert_eq!(rig.ask(ROVER, Verb::GoTo(to(HERE.plus(5.0, -30.0)))), ["it was asked a moment ago"]);
    taken(&mut rig, ROVER);
    // It goes where the first one says.
    let at = drive(&mut rig, ROVER, HERE, (0.0, -1.0), 4);
    assert_eq!(rig.machine.demand(ROVER), Demand::Limit, "{at:?}");
    // Held again: a resume and a go-to at once, of which the second is too soon.
    assert!(rig.ask(ROVER, Verb::Hold).is_empty());
    (rig.state[ROVER].speed_mps, rig.state[ROVER].velocity_mps) = (0.0, (0.0, 0.0));
    rig.pass(1000);
    assert_eq!(rig.machine.demand(ROVER), Demand::Hold);
}

#[test]
fn keep_out_nobody_is_so_near_that_away_is_not_known_and_a_blind_camera_permits_nothing() {
    let mut rig = stopped_for_a_person();
    person(&mut rig, 0.0, 2.0);
    rig.pass(2600);
    denied(&mut rig, ROVER, HERE.plus(0.0, -30.0), "keep-out: person");
    rig.watched = false;
    rig.pass(2000);
    denied(&mut rig, ROVER, HERE.plus(0.0, -30.0), "keep-out: ");
}

/// Ten metres east of the fence's eastern edge, where it stands.
fn outside() -> (Rig, Point) {
    let mut rig = ready(fenced(), false);
    let at = Point { east: 161.0, north: HERE.north };
    rig.state[COPTER].position_deg = Some(deg(HERE.plus(-60.0, 0.0)));
    rig.state[ROVER].position_deg = Some(deg(at));
    rig.pass(1000);
    assert!(rig.tripped(ROVER, "fence"));
    (rig, at)
}

#[test]
fn fence_what_stands_outside_may_be_sent_straight_back_in_and_nowhere_else() {
    let (mut rig, at) = outside();
    denied(&mut rig, ROVER, at.plus(20.0, 0.0), "fence: ");
    denied(&mut rig, ROVER, at.plus(0.0, 40.0), "fence: ");
    // Just within the edge is not inside enough.
    denied(&mut rig, ROVER, Point { east: 150.0, ..at }, "fence: ");
    assert!(!rig.ask(ROVER, Verb::Resume).is_empty());
    assert_eq!(rig.ask(ROVER, Verb::GoTo(to(at.plus(-40.0, 0.0)))), [""; 0]);
    taken(&mut rig, ROVER);
    assert_eq!((rig.machine.demand(ROVER), rig.state[ROVER].mode), (Demand::Limit, GUIDED));
    let at = drive(&mut rig, ROVER, at, (-1.0, 0.0), 20);
    rig.pass(3200);
    assert!(!rig.tripped(ROVER, "fence"), "it is inside, at {at:?}");
    assert_eq!((rig.machine.demand(ROVER), rig.state[ROVER].mode), (Demand::None, GUIDED), "and goes on there");
}

#[test]
fn fence_what_was_let_back_and_goes_farther_out_is_held() {
    let (mut rig, at) = outside();
    assert_eq!(rig.ask(ROVER, Verb::GoTo(to(at.plus(-40.0, 0.0)))), [""; 0]);
    drive(&mut rig, ROVER, at, (1.0, 0.0), 1);
    assert_eq!((rig.machine.demand(ROVER), rig.state[ROVER].mode), (Demand::Hold, HOLD));
}

/// A copter that shows BRAKE and flies on through its fence at 8 m/s; the mode it is told in the end.
fn flies_on(change: impl FnOnce(&mut Rig)) -> (u32, Rig) {
    let mut policy = seen();
    policy.keep_out[0].vehicles = vec![ROVER];
    let mut rig = ready(policy, false);
    rig.state[ROVER].position_deg = Some(deg(HERE.plus(-70.0, -90.0)));
    rig.state[COPTER].home_deg = Some(deg(HERE));
    rig.slows = false;
    change(&mut rig);
    drive(&mut rig, COPTER, HERE.plus(30.0, 0.0), (8.0, 0.0), 12);
    (rig.state[COPTER].mode, rig)
}

#[test]
fn fence_a_copter_that_does_not_hold_is_sent_home_where_the_way_is_clear_and_lands_otherwise() {
    let (mode, rig) = flies_on(|_| {});
    assert_eq!((mode, rig.machine.demand(COPTER)), (RTL, Demand::Return));
    let (mode, _) = flies_on(|rig| rig.state[COPTER].home_deg = None);
    assert_eq!(mode, LAND, "nobody knows where its home is");
    let (mode, _) = flies_on(|rig| person(rig, 20.0, 2.0));
    assert_eq!(mode, LAND, "somebody is on the way");
    let (mode, _) = flies_on(|rig| rig.state[COPTER].home_deg = Some(deg(HERE.plus(500.0, 0.0))));
    assert_eq!(mode, LAND, "its home is outside");
}

#[test]
fn fence_a_copter_that_holds_as_measured_is_told_no_more() {
    let mut policy = seen();
    policy.off = vec![Rule::KeepOut, Rule::Audit];
    let mut rig = ready(policy, false);
    rig.state[COPTER].home_deg = Some(deg(HERE));
    rig.state[ROVER].position_deg = Some(deg(HERE.plus(-70.0, -90.0)));
    let (mut at, mut speed) = (HERE.plus(30.0, 0.0), 8.0);
    for _ in 0..100 {
        // As the brake test: 5.3 m/s in 7.7 s.
        if rig.tripped(COPTER, "fence") {
            speed = f64::max(0.0, speed - 0.2 * 5.3 / 7.7);
        }
        at = drive_once(&mut rig, at, speed);
    }
    assert_eq!((rig.machine.demand(COPTER), rig.state[COPTER].mode), (Demand::Hold, 17));
}

fn drive_once(rig: &mut Rig, at: Point, speed: f64) -> Point {
    let state = &mut rig.state[COPTER];
    (state.speed_mps, state.velocity_mps) = (speed as f32, (0.0, speed as f32));
    state.position_deg = Some(deg(at));
    rig.slows = false;
    rig.pass(200);
    at.plus(speed * 0.2, 0.0)
}

#[test]
fn readiness_an_autopilot_whose_self_test_has_not_passed_is_not_sent_anywhere() {
    let mut rig = ready(fenced(), false);
    assert_eq!(rig.ask(ROVER, Verb::Ready), [""; 0]);
    // The compass, and so the pre-arm check.
    rig.state[ROVER].unwell = 0x1000_0004;
    rig.pass(200);
    assert_eq!(rig.ask(ROVER, Verb::Ready), ["readiness: its self-test has not passed: magnetometer, pre-arm check"]);
    assert!(!rig.ask(ROVER, Verb::Resume).is_empty() && rig.ask(ROVER, Verb::Hold).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// Whoever stands where, and wherever it is sent: what is permitted comes no nearer to anybody, at no place of the way.
    #[test]
    fn keep_out_whatever_is_permitted_under_it_leads_away_from_everybody(
        around in proptest::collection::vec((-9.0f64..9.0, -9.0f64..9.0), 0..3),
        (east, north) in (-40.0f64..40.0, -40.0f64..40.0),
    ) {
        let mut rig = stopped_for_a_person();
        let mut people = People::default();
        // One holds it, whoever else is there.
        let all: Vec<Point> = std::iter::once((0.0, 6.0)).chain(around).map(|(east, north)| HERE.plus(east, north)).collect();
        all.iter().for_each(|who| people.add(Some(*who)));
        (rig.present, rig.people) = (true, people);
        rig.pass(400);
        prop_assert!(rig.tripped(ROVER, "keep-out"));
        let permitted = rig.ask(ROVER, Verb::GoTo(to(HERE.plus(east, north)))).is_empty();
        let on = |part: f64| HERE.plus(east * part, north * part);
        let nearer = all.iter().any(|who| (0..100).any(|n| {
            let part = |n: i32| who.distance(on(f64::from(n) / 100.0));
            part(n + 1) < part(n)
        }));
        prop_assert!(!permitted || !nearer, "{all:?} to {:?}", on(1.0));
        // And what plainly leads away from everybody, wherever they may have walked, is not denied.
        let (length, sure) = (east.hypot(north), 3.2);
        let plainly = length > 2.0 && all.iter().all(|who| {
            (east * (HERE.east - who.east) + north * (HERE.north - who.north)) / length > sure
        });
        prop_assert!(permitted || !plainly);
    }
}

#[test]
fn fence_what_still_runs_is_held_before_it_may_go_anywhere() {
    let (mut rig, _) = outside();
    // Inside again, and fast towards the edge: where it would stop is outside.
    let at = Point { east: 125.0, north: HERE.north };
    rig.state[ROVER].position_deg = Some(deg(at));
    rig.pass(4000);
    assert!(!rig.tripped(ROVER, "fence"));
    rig.slows = false;
    (rig.state[ROVER].speed_mps, rig.state[ROVER].velocity_mps) = (5.0, (0.0, 5.0));
    rig.state[ROVER].position_deg = Some(deg(at.plus(15.0, 0.0)));
    rig.pass(400);
    assert!(rig.tripped(ROVER, "fence"));
    denied(&mut rig, ROVER, at.plus(-40.0, 0.0), "fence: ");
    (rig.state[ROVER].speed_mps, rig.state[ROVER].velocity_mps) = (0.0, (0.0, 0.0));
    rig.state[ROVER].position_deg = Some(deg(at.plus(24.0, 0.0)));
    rig.pass(400);
    assert_eq!(rig.ask(ROVER, Verb::GoTo(to(at.plus(-40.0, 0.0)))), [""; 0], "it stands");
}

#[test]
fn fence_a_copter_that_does_not_hold_over_people_lands_on_nobody() {
    for somebody in [true, false] {
        let mut rig = ready(seen(), false);
        rig.state[ROVER].position_deg = Some(deg(HERE.plus(-70.0, -90.0)));
        rig.slows = false;
        if somebody {
            // All along its way; none is so near to where it begins.
            let mut people = People::default();
            (0..8).for_each(|n| people.add(Some(HERE.plus(40.0 + 13.0 * f64::from(n), 1.0))));
            (rig.present, rig.people) = (true, people);
        }
        drive(&mut rig, COPTER, HERE.plus(30.0, 0.0), (8.0, 0.0), 11);
        let lands = rig.orders(COPTER).contains(&Order::Mode(LAND));
        assert_eq!(lands, !somebody, "{:?}", rig.orders(COPTER));
    }
}
