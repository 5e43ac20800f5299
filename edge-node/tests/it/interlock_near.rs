//! People on a calibrated ground: where a picture's points are, and how near a vehicle may come.

use std::time::Duration;

use edge_node::ground::calibration::{Calibration, Mark};
use edge_node::ground::people::People;
use edge_node::ground::polygon::Polygon;
use edge_node::ground::{Origin, Place, Point};
use edge_node::interlock::machine::{Demand, Input, Policy, Verb};
use edge_node::interlock::rules::keep_out::Ground;
use edge_node::vehicle::class::Class;
use edge_node::vehicle::command::Order;
use edge_node::vehicle::state::Heard;
use proptest::prelude::{prop_assert, proptest};

use crate::rig::{COPTER, ROVER, Rig, policy};

const HERE: Place = Place { lat_deg: 47.4, lon_deg: 8.5 };
/// Metres of a degree there, near enough to place people by.
const NORTH_M: f64 = 111_170.0;
const EAST_M: f64 = 75_400.0;

/// A camera on a mast: six metres up, looking north and down by 20 degrees, its picture 70 degrees wide and 16:9.
fn seen(east: f64, north: f64) -> [f64; 2] {
    let (sine, cosine) = 20_f64.to_radians().sin_cos();
    let (depth, down) = (north * cosine + 6.0 * sine, 6.0 * cosine - north * sine);
    let focal = 0.5 / 35_f64.to_radians().tan();
    [0.5 + focal * east / depth, 0.5 + focal * down / depth * 16.0 / 9.0]
}

fn mark(east: f64, north: f64) -> Mark {
    let place_deg = Place { lat_deg: 47.4 + north / NORTH_M, lon_deg: 8.5 + east / EAST_M };
    Mark { image: seen(east, north), place_deg }
}

fn marks() -> Vec<Mark> {
    [(-5.0, 12.0), (5.0, 12.0), (-12.0, 30.0), (12.0, 30.0), (0.0, 20.0), (3.0, 40.0)]
        .map(|(east, north)| mark(east, north))
        .to_vec()
}

#[test]
fn a_calibration_says_where_the_points_of_a_picture_are_and_by_how_much_it_is_wrong() {
    let calibration = Calibration::new(&marks(), &Origin::new(HERE)).unwrap();
    // What three thousandths of the picture mean forty metres away.
    assert!((0.3..1.0).contains(&calibration.error_m), "{}", calibration.error_m);
    for (east, north) in [(0.0, 10.0), (-8.0, 25.0), (7.5, 33.0), (1.0, 60.0)] {
        let at = calibration.place(seen(east, north)).unwrap();
        let off = (at.east - east).hypot(at.north - north);
        assert!(off < 0.2, "({east}, {north}) is seen at {at:?}");
    }
    assert_eq!(calibration.place([0.5, 0.01]), None, "the sky");
    // One mark a metre from where it was said to be: said, and no more than that.
    let mut shifted = marks();
    shifted[4] = Mark { image: seen(1.0, 20.0), ..mark(0.0, 20.0) };
    let error = Calibration::new(&shifted, &Origin::new(HERE)).unwrap().error_m;
    assert!((calibration.error_m + 0.2..calibration.error_m + 1.2).contains(&error), "{error}");
    // Four marks agree whatever they are: what they may hide is part of the error.
    let four = Calibration::new(&marks()[..4], &Origin::new(HERE)).unwrap().error_m;
    assert!(four >= 1.0, "{four}");
}

#[test]
fn marks_that_are_none_are_refused_with_what_is_wrong() {
    let refused = |marks: &[Mark]| Calibration::new(marks, &Origin::new(HERE)).unwrap_err();
    assert!(refused(&marks()[..3]).contains("expected 4 to 64 marks, found 3"));
    let line: Vec<Mark> = (1..6).map(|n| mark(0.0, f64::from(n) * 8.0)).collect();
    assert!(refused(&line).contains("line"), "{}", refused(&line));
    let mut wrong = marks();
    wrong[2].image = [0.9, 0.9];
    assert!(
        ["is off by", "horizon", "mirrored"].iter().any(|why| refused(&wrong).contains(why)),
        "{}",
        refused(&wrong)
    );
    let mirrored: Vec<Mark> = marks().iter().map(|m| Mark { image: [1.0 - m.image[0], m.image[1]], ..*m }).collect();
    assert!(refused(&mirrored).contains("mirrored"));
    wrong[2].image = [f64::NAN, 0.5];
    assert!(refused(&wrong).contains("mark 2"));
    assert!(refused(&[mark(0.0, 12.0); 4]).contains("line"));
}

proptest! {
    #[test]
    fn whatever_is_marked_is_a_calibration_that_shows_its_error_or_a_reason(
        wrong in (0.0..=1.0, 0.0..=1.0), which in 0usize..6, count in 3usize..=6
    ) {
        let mut marks = marks();
        marks.truncate(count);
        if let Some(mark) = marks.get_mut(which) {
            mark.image = [wrong.0, wrong.1];
        }
        if let Ok(calibration) = Calibration::new(&marks, &Origin::new(HERE)) {
            for mark in &marks {
                let (at, said) = (calibration.place(mark.image).unwrap(), mark.place_deg);
                let said = Origin::new(HERE).point(said.lat_deg, said.lon_deg);
                prop_assert!(at.distance(said) <= calibration.error_m, "{at:?} {said:?} {}", calibration.error_m);
            }
        }
    }
}

/// A zone of 100 by 100 metres to the north of where the vehicles are, 10 m away.
fn calibrated() -> Policy {
    let corners = [(-50.0, 10.0), (50.0, 10.0), (50.0, 110.0), (-50.0, 110.0)];
    let zone = Polygon::of_points(corners.map(|(east, north)| Point { east, north }).to_vec());
    let mut policy = Policy { origin: Some(Origin::new(HERE)), ..policy() };
    policy.keep_out[0].ground = Some(Ground { zone, error_m: 0.5 });
    policy
}

/// The rover drives north at so many m/s, the copter flies; nobody is there.
fn driving(speed: f32) -> Rig {
    let mut rig = Rig::begin(calibrated());
    for vehicle in [ROVER, COPTER] {
        rig.state[vehicle].position_deg = Some((47.4, 8.5));
        assert!(rig.ask(vehicle, Verb::Patrol(Duration::from_secs(3600))).is_empty());
    }
    rig.slows = false;
    rig.settle();
    for state in &mut rig.state {
        (state.speed_mps, state.velocity_mps) = (speed, (speed, 0.0));
    }
    rig.pass(400);
    rig.sent.clear();
    rig
}

fn people(at: &[(f64, f64)]) -> People {
    let mut people = People::default();
    at.iter().for_each(|(east, north)| people.add(Some(Point { east: *east, north: *north })));
    people
}

/// INTERLOCKS' radius for the rig's vehicles at 2 m/s, whose stop is 11.2 m and 7.7 s from 5.3 m/s, with a frame of 0.1 s.
fn radius() -> f64 {
    let (stop_m, stop_s) = (11.2 * 2.0 / 5.3, 7.7 * 2.0 / 5.3);
    2.0 * 0.35 + stop_m + 1.6 * (0.35 + stop_s) + 2.0 + 0.5
}

#[test]
fn a_person_far_away_in_the_zone_holds_nobody_one_within_twice_the_radius_slows_and_one_within_it_holds() {
    for (north, demand) in
        [(radius() * 2.0 + 3.0, Demand::None), (radius() * 1.5, Demand::Limit), (radius() - 1.0, Demand::Hold)]
    {
        let mut rig = driving(2.0);
        (rig.present, rig.people) = (true, people(&[(0.0, north), (40.0, 100.0)]));
        rig.pass(300);
        assert_eq!(rig.machine.demand(ROVER), demand, "a person {north} m away");
    }
}

#[test]
fn a_faster_vehicle_keeps_farther_away() {
    let mut rig = driving(5.0);
    (rig.present, rig.people) = (true, people(&[(0.0, radius() * 1.8)]));
    rig.pass(300);
    assert_eq!(rig.machine.demand(ROVER), Demand::Hold);
}

#[test]
fn a_blind_camera_is_a_person_at_the_zones_edge_and_an_unplaced_person_too() {
    for unplaced in [false, true] {
        let mut rig = driving(0.2);
        // Ten metres from the zone, slowly: within twice the radius and not within it.
        assert_eq!(rig.machine.demand(ROVER), Demand::None);
        (rig.watched, rig.present, rig.people) = (unplaced, unplaced, People::anywhere());
        rig.pass(1500);
        assert_eq!(rig.machine.demand(ROVER), Demand::None, "more than 2 R from the zone");
        rig.state[ROVER].position_deg = Some((47.4 + 5.0 / NORTH_M, 8.5));
        rig.pass(400);
        assert_eq!(rig.machine.demand(ROVER), Demand::Limit);
        rig.state[ROVER].position_deg = Some((47.4 + 12.0 / NORTH_M, 8.5));
        rig.pass(400);
        assert_eq!(rig.machine.demand(ROVER), Demand::Hold, "in it");
    }
}

#[test]
fn a_vehicle_that_does_not_know_where_it_is_is_held_for_any_person() {
    let mut rig = driving(0.2);
    rig.fixed = false;
    (rig.present, rig.people) = (true, people(&[(0.0, 100.0)]));
    rig.pass(200);
    assert_eq!(rig.machine.demand(ROVER), Demand::None);
    rig.state[ROVER].estimate.as_mut().unwrap().absolute = false;
    rig.pass(400);
    assert!(rig.tripped(ROVER, "keep-out"));
}

#[test]
fn a_vehicle_that_stopped_for_a_person_is_not_let_go_because_it_stands() {
    let mut rig = driving(2.0);
    rig.slows = true;
    (rig.present, rig.people) = (true, people(&[(0.0, radius() - 1.0)]));
    rig.pass(8000);
    assert!(rig.state[ROVER].speed_mps < 0.1, "it stands");
    assert_eq!(rig.machine.demand(ROVER), Demand::Hold);
    assert!(rig.resume().iter().any(|reason| reason.contains("keep-out")));
    rig.present = false;
    rig.pass(2500);
    assert_eq!(rig.machine.demand(ROVER), Demand::None);
    assert_eq!(rig.orders(ROVER), [Order::Mode(4)], "clearing starts nothing");
}

fn limited() -> Rig {
    let mut rig = driving(2.0);
    (rig.present, rig.people) = (true, people(&[(0.0, radius() * 1.15)]));
    rig.pass(200);
    assert_eq!((rig.machine.demand(ROVER), rig.orders(ROVER)), (Demand::Limit, vec![Order::Speed(100)]));
    rig
}

#[test]
fn a_limit_is_a_speed_told_once_in_each_mode_and_repeated_until_it_is_taken() {
    let mut rig = limited();
    rig.pass(800);
    let told = |rig: &Rig| rig.sent.iter().filter(|(_, v, o)| *v == ROVER && *o == Order::Speed(100)).count();
    assert!((4..=6).contains(&told(&rig)), "five times a second, {}", told(&rig));
    (0..told(&rig)).for_each(|_| rig.hear(ROVER, Heard::Ack { command: 178, result: 0, to: 245 }));
    rig.state[ROVER].speed_mps = 1.0;
    let before = told(&rig);
    rig.pass(2000);
    assert_eq!(told(&rig), before);
    (rig.state[ROVER].mode, rig.state[ROVER].speed_mps) = (15, 1.5);
    rig.pass(400);
    assert!(told(&rig) > before, "another mode has another speed");
    assert_eq!(rig.orders(ROVER), [Order::Speed(100)]);
}

#[test]
fn a_limit_that_is_refused_ignored_or_not_obeyed_is_a_hold() {
    let mut rig = limited();
    rig.hear(ROVER, Heard::Ack { command: 178, result: 3, to: 245 });
    assert_eq!(rig.orders(ROVER).last(), Some(&Order::Mode(4)));
    let mut rig = limited();
    rig.pass(2600);
    assert_eq!(rig.orders(ROVER).last(), Some(&Order::Mode(4)), "no answer");
    let mut rig = limited();
    rig.hear(ROVER, Heard::Ack { command: 178, result: 0, to: 245 });
    // Its stop from 2 m/s takes 2.9 s: twice that is its time to become slow.
    rig.pass(9000);
    assert_eq!(rig.orders(ROVER)[..2], [Order::Speed(100), Order::Mode(4)], "it goes on at 2 m/s");
}

#[test]
fn what_stands_or_is_held_is_told_no_speed_and_a_wing_without_a_slowest_one_holds() {
    let mut rig = driving(2.0);
    rig.state[ROVER].mode = 4;
    (rig.present, rig.people) = (true, people(&[(0.0, radius() * 1.6)]));
    rig.pass(5000);
    assert_eq!((rig.machine.demand(ROVER), rig.orders(ROVER)), (Demand::Limit, vec![]));
    let mut wing = calibrated();
    wing.vehicles[COPTER].class = Class::Plane;
    let mut rig = driving(2.0);
    rig.machine = rig.machine.under(wing).unwrap();
    rig.state[COPTER].mode = 10;
    rig.pass(400);
    rig.sent.clear();
    (rig.present, rig.people) = (true, people(&[(0.0, radius() * 1.6)]));
    rig.pass(300);
    assert_eq!(rig.orders(COPTER), [Order::Mode(12)]);
}

#[test]
fn without_the_rule_a_vehicle_drives_on_towards_a_person() {
    let mut policy = calibrated();
    policy.off = vec![edge_node::interlock::machine::Rule::KeepOut];
    let mut rig = driving(2.0);
    rig.machine = rig.machine.under(policy).unwrap();
    (rig.present, rig.people) = (true, people(&[(0.0, 1.0)]));
    rig.pass(2000);
    assert_eq!((rig.machine.demand(ROVER), rig.orders(ROVER)), (Demand::None, vec![]));
}

proptest! {
    #[test]
    fn a_person_more_never_lowers_a_demand(
        at in proptest::collection::vec((-60.0..60.0, 0.0..120.0), 1..12), east in -60.0..60.0, north in 0.0..120.0, speed in 0f32..8.0
    ) {
        let rig = driving(speed);
        let demands = [&at[..], &[&at[..], &[(east, north)]].concat()].map(|at| {
            let mut machine = rig.machine.clone();
            let (zone, present, captured) = (0, true, rig.now);
            machine.step(Input::Seen { zone, present, people: people(at), captured }, rig.now, &mut Vec::new());
            [machine.demand(ROVER), machine.demand(COPTER)]
        });
        let [fewer, more] = demands;
        prop_assert!(more[0] >= fewer[0] && more[1] >= fewer[1], "{fewer:?} {more:?}");
    }
}

#[test]
fn who_is_not_seen_for_a_frame_is_not_gone_while_another_is_seen() {
    let mut rig = driving(2.0);
    // One stands ahead, one far off; the detector loses the first and keeps the second.
    (rig.present, rig.people) = (true, people(&[(0.0, radius() * 1.4), (45.0, 100.0)]));
    rig.pass(200);
    assert_eq!(rig.machine.demand(ROVER), Demand::Limit);
    rig.people = people(&[(45.0, 100.0)]);
    rig.pass(1500);
    // They may have walked nearer all the while.
    assert_eq!(rig.machine.demand(ROVER), Demand::Hold);
    rig.pass(3000);
    assert_eq!(rig.machine.demand(ROVER), Demand::None, "not seen for longer than the clear time");
}

#[test]
fn nine_people_are_a_crowd_that_may_be_anywhere() {
    let mut rig = driving(2.0);
    let far: Vec<(f64, f64)> = (0..9).map(|n| (-40.0 + f64::from(n) * 10.0, 105.0)).collect();
    (rig.present, rig.people) = (true, people(&far));
    rig.pass(200);
    assert_eq!(rig.machine.demand(ROVER), Demand::Hold, "ten metres from the zone");
}

#[test]
fn nothing_is_made_faster_by_a_limit_and_what_goes_in_another_way_is_held() {
    let mut rig = driving(0.6);
    (rig.present, rig.people) = (true, people(&[(0.0, 7.0)]));
    rig.pass(1000);
    assert_eq!((rig.machine.demand(ROVER), rig.orders(ROVER)), (Demand::Limit, vec![]), "0.6 m/s is slow enough");
    let mut rig = driving(2.0);
    // SMART_RTL: no speed of ours limits it.
    rig.state[ROVER].mode = 12;
    (rig.present, rig.people) = (true, people(&[(0.0, radius() * 1.15)]));
    rig.pass(300);
    assert_eq!(rig.orders(ROVER), [Order::Mode(4)]);
}

#[test]
fn a_px4_copter_on_its_way_to_a_place_is_stopped_though_its_mode_is_the_one_it_stands_in() {
    let mut px4 = calibrated();
    px4.vehicles[COPTER].class = Class::Px4Copter;
    let mut rig = driving(2.0);
    rig.machine = rig.machine.under(px4).unwrap();
    rig.state[COPTER].mode = Class::Px4Copter.hold();
    rig.pass(400);
    rig.sent.clear();
    rig.ask(COPTER, Verb::Hold);
    rig.pass(1000);
    assert_eq!(rig.orders(COPTER), [Order::StayHere], "repeated until it is taken");
    assert!(rig.sent.iter().filter(|(_, vehicle, _)| *vehicle == COPTER).count() >= 4);
}

#[test]
fn who_passes_by_does_not_take_the_place_of_who_is_hidden() {
    let mut rig = driving(2.0);
    rig.present = true;
    // One stands ahead and is seen once; another walks past five metres away, seen all the while.
    rig.people = people(&[(0.0, radius() - 2.0), (30.0, radius() - 2.0)]);
    rig.pass(100);
    for step in 0..14 {
        rig.people = people(&[(30.0 - 1.6 * 0.1 * f64::from(step), 60.0)]);
        rig.pass(100);
    }
    assert_eq!(rig.machine.demand(ROVER), Demand::Hold, "the hidden one is known for the clear time");
}
