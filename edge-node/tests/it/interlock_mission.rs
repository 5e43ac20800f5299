//! What a vehicle's own fence and mission must be before it is sent on.

use edge_node::interlock::machine::Verb;
use edge_node::interlock::rules::mission::MissionRule;
use edge_node::vehicle::message::{ABOVE_HOME, DO_CHANGE_SPEED, NAV_TAKEOFF, NAV_WAYPOINT};
use edge_node::vehicle::plan::{Item, JUMP, Plans, Verdict};
use shared::ids::EventId;
use uuid::Uuid;

use crate::interlock_command::{fenced, ready, target};
use crate::rig::{COPTER, ROVER};

#[test]
fn its_own_fence_must_be_the_sites_and_its_mission_one_that_may_be_driven() {
    let mut rig = ready(fenced(), false);
    for (plans, verbs) in [
        (
            Plans { fence: Verdict::Unknown, mission: Verdict::Good, mission_sum: 0 },
            vec![Verb::Resume, Verb::GoTo(target(474_005_000, 85_005_000, 20))],
        ),
        (Plans { fence: Verdict::Other, mission: Verdict::Good, mission_sum: 0 }, vec![Verb::Resume, Verb::Arm]),
        (Plans { fence: Verdict::Good, mission: Verdict::Unknown, mission_sum: 0 }, vec![Verb::Resume]),
        (Plans { fence: Verdict::Good, mission: Verdict::Outside(3), mission_sum: 0 }, vec![Verb::Resume, Verb::Ready]),
    ] {
        rig.state[COPTER].plans = plans;
        rig.pass(200);
        for verb in verbs {
            let denied = rig.ask(COPTER, verb);
            assert!(denied.iter().any(|reason| reason.contains("readiness: its ")), "{plans:?} {verb:?}: {denied:?}");
        }
    }
    // Sent somewhere it does not drive its mission.
    assert!(rig.ask(COPTER, Verb::GoTo(target(474_005_000, 85_005_000, 20))).is_empty());
    rig.state[COPTER].plans = Plans { fence: Verdict::Good, mission: Verdict::Good, mission_sum: 0 };
    rig.pass(200);
    assert!(rig.ask(COPTER, Verb::Resume).is_empty());
    // What is on its mission gets no other one.
    rig.pass(200);
    assert!(rig.ask(COPTER, Verb::Plan)[0].contains("hold it first"));
    rig.ask(COPTER, Verb::Hold);
    rig.pass(400);
    assert!(rig.ask(COPTER, Verb::Plan).is_empty());
    assert!(rig.ask_as("", EventId(Uuid::now_v7()), COPTER, Verb::Plan)[0].contains("authority"));
}

fn waypoint(lat_e7: i32, lon_e7: i32, height_m: f32) -> Item {
    Item { frame: ABOVE_HOME, height_m, lat_e7, lon_e7, ..Item::order(NAV_WAYPOINT, [0.0; 4]) }
}

#[test]
fn a_mission_is_held_against_fence_ceiling_speed_and_the_list_of_known_items() {
    let policy = fenced();
    let rule = |vehicle: usize| MissionRule::new(vehicle, &policy.vehicles[vehicle], &policy);
    let (here, there) = (waypoint(474_000_000, 85_000_000, 20.0), waypoint(474_005_000, 85_005_000, 20.0));
    let good = [
        Item { height_m: 10.0, frame: ABOVE_HOME, ..Item::order(NAV_TAKEOFF, [0.0; 4]) },
        here,
        there,
        Item::order(JUMP, [1.0, -1.0, 0.0, 0.0]),
    ];
    assert_eq!(rule(COPTER).check(&good), Verdict::Good);
    assert_eq!(rule(COPTER).check(&[]), Verdict::Good);
    let bad = [
        (waypoint(474_050_000, 85_000_000, 20.0), Verdict::Outside(2)),
        (waypoint(474_005_000, 85_005_000, 49.5), Verdict::High(2)),
        (waypoint(474_005_000, 85_005_000, f32::NAN), Verdict::High(2)),
        (Item { frame: 0, ..there }, Verdict::High(2)),
        (Item { params: [f32::INFINITY, 0.0, 0.0, 0.0], ..there }, Verdict::Item(2)),
        (waypoint(0, 0, 20.0), Verdict::Item(2)),
        (Item::order(DO_CHANGE_SPEED, [1.0, 9.0, -1.0, 0.0]), Verdict::Fast(2)),
        (Item::order(DO_CHANGE_SPEED, [1.0, f32::NAN, -1.0, 0.0]), Verdict::Fast(2)),
        (Item::order(JUMP, [-1.0, 3.0, 0.0, 0.0]), Verdict::Item(2)),
        // Servos, relays, termination, scripts, splines.
        (Item::order(183, [1.0, 1900.0, 0.0, 0.0]), Verdict::Item(2)),
        (Item::order(181, [0.0, 1.0, 0.0, 0.0]), Verdict::Item(2)),
        (Item::order(185, [1.0, 0.0, 0.0, 0.0]), Verdict::Item(2)),
        (Item::order(42_702, [0.0; 4]), Verdict::Item(2)),
        (Item { command: 82, ..there }, Verdict::Item(2)),
    ];
    for (item, verdict) in bad {
        assert_eq!(rule(COPTER).check(&[here, item]), verdict, "{item:?}");
    }
    // The way back of a jump counts too, and one to nowhere is none.
    let far = waypoint(474_050_000, 85_000_000, 20.0);
    assert_eq!(rule(COPTER).check(&[here, Item::order(JUMP, [3.0, 1.0, 0.0, 0.0]), far]), Verdict::Outside(2));
    assert_eq!(rule(COPTER).check(&[here, Item::order(JUMP, [3.0, 1.0, 0.0, 0.0])]), Verdict::Item(2));
    // What drives has no height.
    assert_eq!(rule(ROVER).check(&[waypoint(474_005_000, 85_005_000, 400.0)]), Verdict::Good);
}
