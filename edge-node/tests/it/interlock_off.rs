//! One row per rule: what happens without it. With the rule the scenario is harmless, with the rule switched off it is not, so
//! each is there for a reason. hil/README.md has the table.

use std::time::Duration;

use edge_node::interlock::machine::{Demand, Input, Policy, Rule, Verb};
use edge_node::interlock::rules::fence::Side;
use edge_node::interlock::rules::node::Ill;
use edge_node::interlock::rules::separation::Apart;
use edge_node::interlock::rules::weather::Weather;
use edge_node::vehicle::audit::Audit;
use edge_node::vehicle::command::Order;

use crate::interlock_ground::{drive, fence, set, site};
use crate::rig::{COPTER, ROVER, Rig};

/// ArduCopter's LAND and LOITER, ArduRover's AUTO.
const LAND: u32 = 9;
const LOITER: u32 = 5;
const ROVER_AUTO: u32 = 10;

/// A rule, what the site is like, and whether harm came of what happens there.
type Row = (Rule, fn(&mut Policy), fn(&mut Rig) -> bool);

/// It is on patrol, and nothing stops it.
fn goes_on(rig: &Rig, vehicle: usize) -> bool {
    rig.machine.demand(vehicle) == Demand::None
}

const ROWS: [Row; 12] = [
    // A person walks into the yard, and the rover drives on.
    (
        Rule::KeepOut,
        |_| {},
        |rig| {
            rig.present = true;
            rig.pass(1000);
            rig.state[ROVER].mode == ROVER_AUTO
        },
    ),
    // The radio is gone, and nobody tells the vehicle to stop.
    (
        Rule::Link,
        |policy| policy.keep_out.clear(),
        |rig| {
            for _ in 0..100 {
                rig.now = rig.now.plus(Duration::from_millis(20));
                rig.give(Input::Tick);
            }
            goes_on(rig, ROVER)
        },
    ),
    // Its critical battery lands it, somebody walks in, and it is held in the air.
    (
        Rule::Foreign,
        |_| {},
        |rig| {
            rig.state[COPTER].mode = LAND;
            rig.pass(1000);
            rig.present = true;
            rig.pass(1000);
            rig.state[COPTER].mode != LAND
        },
    ),
    // Its pilot takes it out of our Hold, and is fought for it.
    (
        Rule::Pilot,
        |_| {},
        |rig| {
            rig.state[COPTER].rc_us[4] = 1100;
            rig.present = true;
            rig.pass(2000);
            rig.sent.clear();
            (rig.state[COPTER].mode, rig.state[COPTER].rc_us[4]) = (LOITER, 1500);
            rig.pass(5000);
            !rig.orders(COPTER).is_empty()
        },
    ),
    // The patrol's time is over, and it drives on.
    (
        Rule::Lease,
        |policy| policy.keep_out.clear(),
        |rig| {
            assert!(rig.ask(ROVER, Verb::Patrol(Duration::from_secs(1))).is_empty());
            rig.state[ROVER].speed_mps = 2.0;
            rig.pass(2000);
            goes_on(rig, ROVER)
        },
    ),
    // Its mission leads out of its fence.
    (
        Rule::Fence,
        |policy| policy.fences = vec![fence(Side::Inclusion, 40.0, None)],
        |rig| drive(rig, ROVER, 0.0, 2.0, 30) > 40.0,
    ),
    // Two of them meet.
    (
        Rule::Separation,
        |policy| policy.apart = Some(Apart { metres: 8.0 }),
        |rig| {
            set(rig, COPTER, (1.0, 0.0));
            rig.pass(1000);
            goes_on(rig, ROVER)
        },
    ),
    // It flies until its battery is empty.
    (
        Rule::Energy,
        |_| {},
        |rig| {
            rig.state[COPTER].battery_pct = Some(1);
            rig.pass(5000);
            goes_on(rig, COPTER)
        },
    ),
    // It drives without knowing where it is.
    (
        Rule::Position,
        |_| {},
        |rig| {
            rig.fixed = false;
            rig.pass(5000);
            goes_on(rig, ROVER)
        },
    ),
    // Its own failsafes are off, and it is sent away.
    (
        Rule::Audit,
        |_| {},
        |rig| {
            rig.state[ROVER].audit = Audit::default();
            rig.pass(200);
            rig.resume().is_empty()
        },
    ),
    // It flies in a storm.
    (Rule::Weather, storm, |rig| {
        rig.give(Input::Reading { weather: 0, value: 30.0 });
        rig.pass(1000);
        goes_on(rig, COPTER)
    }),
    // It is sent away while nothing can be kept of it.
    (
        Rule::Node,
        |_| {},
        |rig| {
            rig.give(Input::Node(Ill { journal: true, ..Ill::default() }));
            rig.resume().is_empty()
        },
    ),
];

fn storm(policy: &mut Policy) {
    let silent_after = Duration::from_secs(30);
    policy.weather = vec![Weather { sensor: "mast".into(), most: 12.0, silent_after, vehicles: vec![COPTER] }];
}

#[test]
fn without_a_rule_its_scenario_does_harm_and_with_it_none() {
    for (rule, policy, harm) in ROWS {
        for off in [false, true] {
            let mut rig = site(|own| {
                policy(own);
                own.off = if off { vec![rule] } else { Vec::new() };
            });
            if !matches!(rule, Rule::Weather) || off {
                assert!(goes_on(&rig, COPTER), "{rule:?}: it does not begin well");
            }
            assert_eq!(harm(&mut rig), off, "{rule:?} is {}", if off { "off" } else { "on" });
        }
    }
}

/// E-stop, authority, envelope and readiness are no rules that a policy can switch off.
#[test]
fn what_cannot_be_switched_off_holds_with_every_rule_off() {
    let all: Vec<Rule> = ROWS.iter().map(|(rule, ..)| *rule).collect();
    let mut rig = site(|policy| policy.off = all.clone());
    assert_eq!(rig.ask_as("", shared::ids::EventId(uuid::Uuid::now_v7()), ROVER, Verb::Resume).len(), 1, "authority");
    assert!(!rig.ask(ROVER, Verb::Speed(60_000)).is_empty(), "envelope");
    rig.state[ROVER].battery_pct = None;
    rig.pass(200);
    assert!(!rig.resume().is_empty(), "readiness");
    rig.press();
    rig.pass(400);
    assert!(rig.orders(ROVER).contains(&Order::Mode(4)), "e-stop");
}
