//! Weather, the node's own health, and people where something lands.

use std::time::Duration;

use edge_node::ground::people::People;
use edge_node::ground::polygon::Polygon;
use edge_node::ground::{Origin, Place, Point};
use edge_node::interlock::machine::{Demand, Input, Policy, Rule, Verb};
use edge_node::interlock::rules::keep_out::Ground;
use edge_node::interlock::rules::node::Ill;
use edge_node::interlock::rules::weather::Weather;
use edge_node::vehicle::command::Order;
use edge_node::vehicle::state::Heard;
use edge_node::watch::{Look, Watch};
use shared::units::{Uptime, UtcMicros};

use crate::rig::{COPTER, ROVER, Rig, policy};

const HERE: Place = Place { lat_deg: 47.4, lon_deg: 8.5 };

fn windy() -> Policy {
    let wind = Weather {
        sensor: "mast/wind".into(),
        most: 12.0,
        silent_after: Duration::from_secs(10),
        vehicles: vec![ROVER, COPTER],
    };
    Policy { weather: vec![wind], ..policy() }
}

/// Both on patrol, the wind read once a second for a while.
fn calm(policy: Policy) -> Rig {
    let mut rig = Rig::begin(policy);
    for vehicle in [ROVER, COPTER] {
        assert!(rig.ask(vehicle, Verb::Patrol(Duration::from_secs(3600))).is_empty());
    }
    blow(&mut rig, 5.0, 2);
    rig.settle();
    blow(&mut rig, 5.0, 2);
    rig
}

fn blow(rig: &mut Rig, value: f64, seconds: u32) {
    for _ in 0..seconds {
        rig.give(Input::Reading { weather: 0, value });
        rig.pass(1000);
    }
}

#[test]
fn weather_too_much_wind_brings_home_what_flies_and_keeps_it_down_until_a_minute_of_less() {
    let mut rig = calm(windy());
    assert_eq!(rig.machine.demand(COPTER), Demand::None);
    blow(&mut rig, 12.0, 3);
    assert_eq!(rig.machine.demand(COPTER), Demand::None, "as much as may be");
    blow(&mut rig, 12.1, 1);
    assert_eq!(rig.machine.demand(COPTER), Demand::Return);
    assert_eq!(rig.orders(COPTER), [Order::Mode(6)]);
    assert_eq!(rig.machine.demand(ROVER), Demand::None, "the wind does not lift a rover");
    blow(&mut rig, 5.0, 50);
    assert!(rig.tripped(COPTER, "weather"));
    assert!(rig.ask(COPTER, Verb::Resume).iter().any(|reason| reason.contains("weather")));
    blow(&mut rig, 5.0, 12);
    assert!(!rig.tripped(COPTER, "weather"));
}

#[test]
fn weather_on_the_ground_it_only_keeps_from_flying_and_what_is_no_number_is_too_much() {
    let mut rig = calm(windy());
    rig.landed = true;
    blow(&mut rig, f64::NAN, 2);
    assert_eq!(rig.machine.demand(COPTER), Demand::None);
    assert!(rig.ask(COPTER, Verb::Resume).iter().any(|reason| reason.contains("too bad")));
}

#[test]
fn weather_a_silent_sensor_keeps_down_after_its_time_and_brings_home_after_a_minute() {
    let mut rig = calm(windy());
    rig.pass(8500);
    assert!(!rig.tripped(COPTER, "weather"));
    rig.pass(1000);
    assert!(rig.tripped(COPTER, "weather"));
    assert_eq!(rig.machine.demand(COPTER), Demand::None);
    rig.pass(47_000);
    assert_eq!(rig.machine.demand(COPTER), Demand::None);
    rig.pass(4000);
    assert_eq!(rig.machine.demand(COPTER), Demand::Return);
    blow(&mut rig, 5.0, 1);
    assert!(!rig.tripped(COPTER, "weather"), "it speaks again");
}

#[test]
fn weather_switched_off_lets_fly_in_a_storm() {
    let mut rig = calm(Policy { off: vec![Rule::Weather], ..windy() });
    blow(&mut rig, 40.0, 3);
    assert_eq!(rig.machine.demand(COPTER), Demand::None);
}

#[test]
fn node_a_journal_a_disk_and_a_clock_that_are_not_well_deny_new_motion_and_stop_nothing() {
    let well = Ill::default();
    let ills = [
        (Ill { journal: true, ..well }, "journal"),
        (Ill { disk: true, ..well }, "disk"),
        (Ill { clock: true, ..well }, "clock"),
    ];
    for (ill, named) in ills {
        let mut rig = Rig::new();
        rig.give(Input::Node(ill));
        rig.pass(100);
        assert_eq!(rig.machine.demand(ROVER), Demand::None);
        assert!(rig.resume().iter().any(|reason| reason.contains(named)), "{named}");
        assert!(rig.ask(ROVER, Verb::Hold).is_empty(), "a hold is never denied for the node");
        rig.pass(11_000);
        assert!(rig.resume().is_empty(), "well for ten seconds");
        rig.looked = false;
        rig.pass(10_500);
        assert!(rig.resume().iter().any(|reason| reason.contains("nobody looks")), "{named}");
    }
}

#[test]
fn a_look_at_the_node_finds_a_stuck_journal_a_full_disk_and_a_clock_that_jumps() {
    let look = |at_s: u64, wall_s: i64, room, journal| Look {
        now: Uptime::from_millis(at_s * 1000),
        wall: UtcMicros(wall_s * 1_000_000),
        room,
        journal,
    };
    let (mut watch, well) = (Watch::default(), Ill::default());
    assert_eq!(watch.look(&look(100, 1000, Some(500), [0, 0]), 400), well);
    assert_eq!(
        watch.look(&look(101, 1001, Some(400), [100_500_000, 0]), 400),
        well,
        "half a second is no stuck journal"
    );
    assert_eq!(watch.look(&look(102, 1002, None, [0, 0]), 400), Ill { disk: true, ..well }, "what cannot be told");
    assert_eq!(watch.look(&look(103, 1003, Some(500), [100_500_000, 0]), 400), Ill { journal: true, ..well });
    assert_eq!(
        watch.look(&look(104, 1004, Some(399), [0, 103_000_000]), 400),
        Ill { journal: true, disk: true, ..well }
    );
    assert_eq!(watch.look(&look(106, 1006, Some(400), [0, 103_000_000]), 400), well);
    assert_eq!(watch.look(&look(107, 1009, Some(400), [0, 0]), 400), Ill { clock: true, ..well });
    assert_eq!(watch.look(&look(108, 1005, Some(400), [0, 0]), 400), Ill { clock: true, ..well });
    assert_eq!(watch.look(&look(109, 1006, Some(400), [0, 0]), 400), well);
}

/// The copter hovers over a zone of which the picture's ground is known.
fn over_a_yard() -> Rig {
    let corners = [(-50.0, -50.0), (50.0, -50.0), (50.0, 50.0), (-50.0, 50.0)];
    let zone = Polygon::of_points(corners.map(|(east, north)| Point { east, north }).to_vec());
    let mut policy = Policy { origin: Some(Origin::new(HERE)), ..policy() };
    policy.keep_out[0].ground = Some(Ground { zone, error_m: 0.5 });
    policy.keep_out[0].vehicles = vec![ROVER, COPTER];
    let mut rig = Rig::begin(policy);
    rig.state[COPTER].position_deg = Some((47.4, 8.5));
    // Far enough from everybody in the yard.
    rig.state[ROVER].position_deg = Some((47.41, 8.5));
    for vehicle in [ROVER, COPTER] {
        assert!(rig.ask(vehicle, Verb::Patrol(Duration::from_secs(3600))).is_empty());
    }
    rig.settle();
    (rig.state[COPTER].speed_mps, rig.state[COPTER].mode) = (0.0, 17);
    rig.pass(400);
    rig.sent.clear();
    rig
}

fn somebody(rig: &mut Rig, north: f64) {
    let mut people = People::default();
    people.add(Some(Point { east: 0.0, north }));
    (rig.present, rig.people) = (true, people);
    rig.pass(300);
}

#[test]
fn nothing_lands_on_anybody_and_it_lands_once_they_are_gone() {
    let mut rig = over_a_yard();
    somebody(&mut rig, 4.0);
    assert!(rig.ask(COPTER, Verb::Land).is_empty(), "it is taken, and waits");
    rig.pass(3000);
    assert_eq!(rig.machine.demand(COPTER), Demand::Hold);
    assert!(!rig.orders(COPTER).contains(&Order::Mode(9)), "{:?}", rig.orders(COPTER));
    rig.present = false;
    rig.pass(3000);
    assert_eq!(rig.machine.demand(COPTER), Demand::Land);
    assert_eq!(rig.orders(COPTER).last(), Some(&Order::Mode(9)));
}

#[test]
fn an_estop_in_the_air_brakes_and_lands_only_where_nobody_is() {
    let mut rig = over_a_yard();
    somebody(&mut rig, 4.0);
    rig.press();
    rig.pass(12_000);
    assert_eq!(rig.orders(COPTER), [Order::Mode(17)], "it holds for as long as somebody is there");
    rig.present = false;
    rig.pass(3000);
    assert_eq!(rig.orders(COPTER), [Order::Mode(17), Order::Mode(9)]);
    // On its way down somebody comes.
    somebody(&mut rig, 3.0);
    assert_eq!(rig.orders(COPTER).last(), Some(&Order::Mode(17)));
    assert_eq!(rig.machine.demand(COPTER), Demand::Stop);
}

#[test]
fn a_blind_camera_keeps_it_up_and_an_empty_battery_brings_it_down_whoever_is_there() {
    let mut rig = over_a_yard();
    rig.watched = false;
    rig.pass(2000);
    rig.press();
    rig.pass(8000);
    assert_eq!(rig.orders(COPTER), [Order::Mode(17)]);
    rig.state[COPTER].battery_pct = Some(8);
    rig.pass(8000);
    assert_eq!(rig.orders(COPTER).last(), Some(&Order::Mode(9)));
}

#[test]
fn a_landing_of_its_own_is_not_turned_into_a_hover_by_an_estop_over_somebody() {
    let mut rig = over_a_yard();
    // Its battery's voltage, which the charge does not show.
    rig.state[COPTER].mode = 9;
    rig.pass(400);
    somebody(&mut rig, 4.0);
    rig.sent.clear();
    rig.press();
    rig.pass(9000);
    assert_eq!(rig.orders(COPTER).last(), Some(&Order::Mode(9)), "{:?}", rig.orders(COPTER));
    assert!(rig.orders(COPTER).iter().all(|order| [Order::Mode(17), Order::Mode(9)].contains(order)));
}

#[test]
fn a_copter_that_stands_on_its_pad_is_disarmed_by_an_estop_whoever_is_beside_it() {
    let mut rig = over_a_yard();
    rig.landed = true;
    rig.state[COPTER].mode = 4;
    rig.pass(400);
    somebody(&mut rig, 3.0);
    rig.press();
    rig.pass(9000);
    assert_eq!(rig.orders(COPTER).last(), Some(&Order::Disarm), "{:?}", rig.orders(COPTER));
}

#[test]
fn a_brake_that_is_refused_does_not_become_a_landing_on_somebody() {
    let mut rig = over_a_yard();
    rig.obeys = false;
    (rig.state[COPTER].mode, rig.state[COPTER].speed_mps) = (3, 2.0);
    somebody(&mut rig, 4.0);
    rig.press();
    for _ in 0..20 {
        rig.hear(COPTER, Heard::Ack { command: 176, result: 4, to: 245 });
        rig.pass(200);
    }
    assert!(!rig.orders(COPTER).contains(&Order::Mode(9)), "{:?}", rig.orders(COPTER));
    let sent = rig.sent.iter().filter(|(_, vehicle, _)| *vehicle == COPTER).count();
    assert!(sent < 30, "no flood: {sent}");
    rig.present = false;
    rig.pass(3000);
    rig.hear(COPTER, Heard::Ack { command: 176, result: 4, to: 245 });
    assert!(rig.orders(COPTER).contains(&Order::Mode(9)));
}

#[test]
fn weather_that_was_never_read_keeps_down() {
    let mut rig = Rig::begin(windy());
    rig.landed = true;
    assert!(rig.ask(COPTER, Verb::Patrol(Duration::from_secs(600))).is_empty());
    rig.pass(6000);
    assert!(rig.ask(COPTER, Verb::Resume).iter().any(|reason| reason.contains("weather")));
    assert_eq!(rig.machine.demand(COPTER), Demand::None);
}
