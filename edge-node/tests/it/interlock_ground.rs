//! The rules that know where vehicles are: *fence*, *separation*, *position*; and *energy*.

use edge_node::ground::polygon::Polygon;
use edge_node::ground::{Origin, Place, Point};
use edge_node::interlock::machine::{Demand, Effect, Input, Policy, Verb};
use edge_node::interlock::rules::fence::{Fence, Side};
use edge_node::interlock::rules::separation::Apart;
use edge_node::vehicle::command::Order;
use edge_node::vehicle::state::{Estimate, Heard};

use crate::rig::{COPTER, ROVER, Rig, policy};

const HOME: Place = Place { lat_deg: 47.4, lon_deg: 8.5 };

/// Places by metres east and north of home, near enough for a site.
fn place(east: f64, north: f64) -> Place {
    Place { lat_deg: HOME.lat_deg + north / 111_178.64, lon_deg: HOME.lon_deg + east / 75_486.5 }
}

fn square(size: f64) -> Polygon {
    polygon(&[(-size, -size), (size, -size), (size, size), (-size, size)]).unwrap()
}

fn polygon(corners: &[(f64, f64)]) -> Result<Polygon, String> {
    let places: Vec<Place> = corners.iter().map(|(east, north)| place(*east, *north)).collect();
    Polygon::new(&places, &Origin::new(HOME))
}

pub fn fence(side: Side, size: f64, ceiling_m: Option<f32>) -> Fence {
    Fence { name: "f".into(), side, polygon: square(size), vehicles: vec![ROVER, COPTER], ceiling_m }
}

/// A site where both are on patrol and stand at home; the copter far away, so that it disturbs nothing.
pub fn site(change: impl FnOnce(&mut Policy)) -> Rig {
    let mut policy = policy();
    policy.origin = Some(Origin::new(HOME));
    change(&mut policy);
    let mut rig = Rig::begin(policy);
    for vehicle in [ROVER, COPTER] {
        rig.ask(vehicle, Verb::Patrol(std::time::Duration::from_secs(3600)));
        rig.state[vehicle].speed_mps = 0.0;
    }
    set(&mut rig, ROVER, (0.0, 0.0));
    set(&mut rig, COPTER, (0.0, -30.0));
    rig.settle();
    rig
}

pub fn set(rig: &mut Rig, vehicle: usize, (east, north): (f64, f64)) {
    let place = place(east, north);
    rig.state[vehicle].position_deg = Some((place.lat_deg, place.lon_deg));
}

/// Lets a vehicle go to the east at a speed from where it is; metres east where it stands, or is after so many seconds.
pub fn drive(rig: &mut Rig, vehicle: usize, from: f64, speed: f32, seconds: u32) -> f64 {
    (rig.state[vehicle].speed_mps, rig.state[vehicle].velocity_mps) = (speed, (0.0, speed));
    let mut east = from;
    for _ in 0..seconds * 5 {
        set(rig, vehicle, (east, 0.0));
        rig.pass(200);
        east += f64::from(rig.state[vehicle].speed_mps) * 0.2;
    }
    east
}

#[test]
fn fence_a_rover_is_held_where_it_can_still_stop_inside() {
    for speed in [1.0f32, 2.0, 4.0] {
        let mut rig = site(|policy| policy.fences = vec![fence(Side::Inclusion, 40.0, None)]);
        let end = drive(&mut rig, ROVER, 0.0, speed, 50);
        let tripped = |effect: &&Effect| matches!(effect, Effect::Rule { tripped: true, rule: "fence", .. });
        assert_eq!(rig.effects.iter().filter(tripped).count(), 1, "{speed} m/s");
        assert!((30.0..=40.0).contains(&end), "{speed} m/s: it stood at {end} m of 40");
        assert_eq!(rig.orders(ROVER), [Order::Mode(4)]);
        assert!(!rig.tripped(COPTER, "fence"));
    }
}

#[test]
fn fence_what_may_not_be_entered_holds_it_before_and_a_way_through_counts() {
    let mut rig = site(|policy| {
        let corners = [(20.0, -5.0), (22.0, -5.0), (22.0, 5.0), (20.0, 5.0)];
        let thin = Fence { polygon: polygon(&corners).unwrap(), ..fence(Side::Exclusion, 1.0, None) };
        policy.fences = vec![thin];
    });
    let end = drive(&mut rig, ROVER, 0.0, 5.0, 20);
    let tripped = |effect: &&Effect| matches!(effect, Effect::Rule { tripped: true, rule: "fence", .. });
    assert_eq!(rig.effects.iter().filter(tripped).count(), 1);
    assert!((10.0..20.0).contains(&end), "it stood at {end} m of 20");
    // Fast and near: where it would stand is behind it.
    let mut rig = site(|policy| {
        let corners = [(3.0, -5.0), (4.0, -5.0), (4.0, 5.0), (3.0, 5.0)];
        policy.fences = vec![Fence { polygon: polygon(&corners).unwrap(), ..fence(Side::Exclusion, 1.0, None) }];
    });
    drive(&mut rig, ROVER, 0.0, 5.0, 1);
    assert!(rig.tripped(ROVER, "fence"));
}

#[test]
fn fence_a_position_that_jitters_at_the_edge_trips_nothing() {
    let mut rig = site(|policy| policy.fences = vec![fence(Side::Inclusion, 40.0, None)]);
    let mut random = 7u32;
    for n in 0..3000 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Half a metre inside, half a metre of noise; each tenth report a metre and a half.
        let noise = (f64::from(random >> 16) / 65_536.0 - 0.5) * if n % 10 == 0 { 3.0 } else { 0.9 };
        set(&mut rig, ROVER, (39.5 + noise, 0.0));
        rig.pass(200);
    }
    assert!(!rig.tripped(ROVER, "fence") && rig.sent.is_empty(), "{:?}", rig.sent);
}

#[test]
fn fence_it_clears_two_metres_inside_for_three_seconds() {
    let mut rig = site(|policy| policy.fences = vec![fence(Side::Inclusion, 40.0, None)]);
    set(&mut rig, ROVER, (41.0, 0.0));
    rig.pass(800);
    assert!(rig.tripped(ROVER, "fence"));
    set(&mut rig, ROVER, (39.0, 0.0));
    rig.pass(6000);
    assert!(rig.tripped(ROVER, "fence"), "inside, but not by two metres");
    set(&mut rig, ROVER, (37.5, 0.0));
    rig.pass(2800);
    assert!(rig.tripped(ROVER, "fence") && !rig.resume().is_empty());
    rig.pass(600);
    assert!(!rig.tripped(ROVER, "fence") && rig.resume().is_empty());
}

#[test]
fn fence_an_aircraft_that_climbs_over_its_ceiling_is_held() {
    let mut rig = site(|policy| policy.fences = vec![fence(Side::Inclusion, 400.0, Some(30.0))]);
    rig.state[COPTER].relative_alt_m = 29.0;
    rig.pass(1000);
    assert!(!rig.tripped(COPTER, "fence"));
    (rig.state[COPTER].relative_alt_m, rig.state[COPTER].climb_mps) = (29.5, 2.0);
    rig.pass(1000);
    assert!(rig.tripped(COPTER, "fence"));
    assert_eq!(rig.orders(COPTER), [Order::Mode(17)]);
    rig.state[ROVER].relative_alt_m = 90.0;
    rig.pass(1000);
    assert!(!rig.tripped(ROVER, "fence"), "what drives has no ceiling");
}

#[test]
fn fence_a_speed_that_is_no_number_is_no_way_to_stop() {
    let mut rig = site(|policy| {
        let far = polygon(&[(300.0, 0.0), (310.0, 0.0), (310.0, 10.0)]).unwrap();
        policy.fences = vec![Fence { polygon: far, ..fence(Side::Exclusion, 1.0, None) }];
    });
    rig.slows = false;
    rig.state[ROVER].speed_mps = 2.0;
    rig.state[ROVER].velocity_mps = (f32::NAN, 0.0);
    rig.pass(1000);
    assert!(rig.tripped(ROVER, "fence"));
}

#[test]
fn a_polygon_that_is_no_fence_is_refused() {
    let says = |corners: &[(f64, f64)]| polygon(corners).unwrap_err();
    assert!(says(&[(0.0, 0.0), (9.0, 0.0)]).starts_with("expected 3 to 84 corners"));
    assert!(says(&[(0.0, 0.0), (9.0, 9.0), (9.0, 0.0), (0.0, 9.0)]).contains("sides 0 and 2"), "a bow tie");
    assert!(says(&[(0.0, 0.0), (9.0, 0.0), (9.0, 9.0), (0.0, 0.0)]).contains("corners 0 and 3"));
    assert!(says(&[(0.0, 0.0), (9.0, 0.0), (18.0, 0.0)]).contains("area"));
    assert!(says(&[(0.0, 0.0), (30_000.0, 0.0), (0.0, 9.0)]).contains("20 km"));
    let many: Vec<(f64, f64)> = (0..85).map(|n| (f64::from(n).sin() * 90.0, f64::from(n).cos() * 90.0)).collect();
    assert!(says(&many).contains("found 85"));
    for odd in [[f64::NAN, 8.0], [91.0, 8.0], [47.0, f64::INFINITY]] {
        assert!(Place::try_from(odd).is_err(), "{odd:?}");
    }
    let found = square(10.0);
    assert!(found.contains(Point { east: 9.0, north: -9.0 }) && !found.contains(Point { east: 11.0, north: 0.0 }));
    assert!((found.edge_distance(Point { east: 7.0, north: 0.0 }) - 3.0).abs() < 0.01);
}

#[test]
fn metres_are_those_of_the_ellipsoid() {
    // By another way: the series 111 132.954 - 559.822 cos 2p + 1.175 cos 4p and 111 412.84 cos p - 93.5 cos 3p + 0.118 cos
    // 5p (US Army, TM 5-241-8) give 111 178.64 m and 75 486.5 m a degree at 47.4 north.
    let point = Origin::new(HOME).point(47.401, 8.501);
    assert!((point.north - 111.178_64).abs() < 0.001 && (point.east - 75.486_5).abs() < 0.001, "{point:?}");
    let dateline = Origin::new(Place { lat_deg: 0.0, lon_deg: 179.999 }).point(0.0, -179.999);
    assert!((dateline.east - 222.6).abs() < 0.1, "{dateline:?}");
}

#[test]
fn separation_the_less_important_one_holds_before_they_meet_and_both_when_it_is_late() {
    let mut rig = site(|policy| policy.apart = Some(Apart { metres: 8.0 }));
    rig.state[COPTER].alt_m = 1.0;
    set(&mut rig, COPTER, (60.0, 0.0));
    drive(&mut rig, ROVER, 0.0, 2.0, 22);
    assert!(rig.tripped(COPTER, "separation") && !rig.tripped(ROVER, "separation"), "the copter is named last");
    assert_eq!(rig.orders(COPTER), [Order::Mode(17)]);
    let end = drive(&mut rig, ROVER, 44.0, 2.0, 12);
    let tripped =
        |effect: &&Effect| matches!(effect, Effect::Rule { tripped: true, rule: "separation", vehicle: ROVER, .. });
    assert_eq!(rig.effects.iter().filter(tripped).count(), 1, "whatever the other does");
    assert!((44.0..52.0).contains(&end), "it stood at {end} m, 8 m from the other")
}

#[test]
fn separation_height_and_ways_that_part_count() {
    let mut rig = site(|policy| policy.apart = Some(Apart { metres: 8.0 }));
    rig.state[COPTER].alt_m = 20.0;
    set(&mut rig, COPTER, (10.0, 0.0));
    drive(&mut rig, ROVER, 0.0, 2.0, 10);
    assert!(rig.sent.is_empty(), "20 m above: {:?}", rig.sent);
    rig.state[COPTER].alt_m = 0.0;
    set(&mut rig, COPTER, (-12.0, 0.0));
    drive(&mut rig, ROVER, 0.0, 2.0, 10);
    assert!(rig.sent.is_empty(), "away from each other: {:?}", rig.sent);
}

#[test]
fn separation_one_that_is_not_heard_any_more_is_where_it_was_or_went_on() {
    let mut rig = site(|policy| {
        policy.apart = Some(Apart { metres: 8.0 });
        policy.keep_out.clear();
    });
    set(&mut rig, COPTER, (60.0, 0.0));
    rig.pass(400);
    // Nothing more is heard of the copter.
    let mut east = 0.0;
    (rig.state[ROVER].speed_mps, rig.state[ROVER].velocity_mps) = (2.0, (0.0, 2.0));
    for _ in 0..150 {
        set(&mut rig, ROVER, (east, 0.0));
        for _ in 0..10 {
            rig.now = rig.now.plus(std::time::Duration::from_millis(20));
            rig.give(Input::Tick);
        }
        rig.hear(ROVER, Heard::Heartbeat);
        if rig.state[ROVER].mode == 4 {
            break;
        }
        east += 0.4;
    }
    assert!(rig.tripped(ROVER, "separation") && east < 52.0, "it came to {east} m of 60");
}

#[test]
fn energy_a_low_battery_returns_and_a_critical_one_lands_whatever_it_says_afterwards() {
    let mut rig = site(|_| {});
    rig.state[COPTER].battery_pct = Some(24);
    rig.pass(2800);
    assert!(rig.sent.is_empty(), "a moment is nothing");
    rig.state[COPTER].battery_pct = Some(26);
    rig.pass(400);
    rig.state[COPTER].battery_pct = Some(24);
    rig.pass(2800);
    assert!(rig.sent.is_empty(), "it counts anew");
    rig.pass(600);
    assert_eq!(rig.orders(COPTER), [Order::Mode(6)]);
    // A climb pulls it down for a moment.
    rig.state[COPTER].battery_pct = Some(9);
    rig.pass(1000);
    rig.state[COPTER].battery_pct = Some(24);
    rig.pass(4000);
    rig.state[COPTER].battery_pct = Some(9);
    rig.pass(2600);
    assert_eq!(rig.orders(COPTER), [Order::Mode(6)], "critical for a moment is nothing");
    rig.pass(1000);
    assert_eq!(rig.orders(COPTER), [Order::Mode(6), Order::Mode(9)]);
    rig.state[COPTER].battery_pct = Some(12);
    rig.pass(5000);
    assert_eq!(rig.machine.demand(COPTER), Demand::Land, "a spared battery recovers for a moment");
    (rig.landed, rig.state[COPTER].armed) = (true, false);
    rig.pass(400);
    assert_eq!(rig.machine.demand(COPTER), Demand::None);
    assert!(rig.ask(COPTER, Verb::Resume).iter().any(|reason| reason.starts_with("energy:")));
    rig.state[COPTER].battery_pct = Some(90);
    rig.pass(400);
    assert!(rig.ask(COPTER, Verb::Resume).is_empty());
}

#[test]
fn energy_of_a_rover_holds_it_and_a_charge_that_is_not_told_lets_nothing_begin() {
    let mut rig = site(|_| {});
    rig.state[ROVER].battery_pct = Some(5);
    rig.pass(4000);
    assert_eq!(rig.orders(ROVER), [Order::Mode(4)]);
    rig.state[COPTER].battery_pct = None;
    rig.pass(400);
    let reasons = rig.ask(COPTER, Verb::Resume);
    assert_eq!(reasons, ["readiness: its battery does not tell its charge"]);
}

#[test]
fn position_a_lost_fix_holds_after_three_seconds_and_is_good_after_five() {
    let mut rig = site(|_| {});
    rig.fixed = false;
    let estimate = |rig: &mut Rig, absolute, glitch| {
        let at = rig.now;
        rig.state.iter_mut().for_each(|state| state.estimate = Some(Estimate { absolute, glitch, at }));
        rig.pass(200);
    };
    for _ in 0..13 {
        estimate(&mut rig, true, false);
    }
    assert!(rig.sent.is_empty());
    for _ in 0..4 {
        estimate(&mut rig, true, false);
    }
    assert!(rig.tripped(ROVER, "position"));
    assert_eq!((rig.orders(ROVER), rig.orders(COPTER)), (vec![Order::Mode(4)], vec![Order::Mode(17)]));
    rig.fixed = true;
    rig.pass(4800);
    assert!(rig.tripped(ROVER, "position"));
    rig.pass(400);
    assert!(!rig.tripped(ROVER, "position"));
    rig.fixed = false;
    estimate(&mut rig, true, true);
    assert!(rig.tripped(COPTER, "position"), "a glitch is not waited for");
}

#[test]
fn position_an_aircraft_that_does_not_know_where_it_is_lands_and_a_rover_is_judged_by_its_mode() {
    let mut rig = site(|_| {});
    rig.fixed = false;
    for _ in 0..5 {
        let at = rig.now;
        let estimate = Some(Estimate { absolute: false, glitch: false, at });
        rig.state.iter_mut().for_each(|state| state.estimate = estimate);
        rig.pass(200);
    }
    assert_eq!((rig.orders(ROVER), rig.orders(COPTER)), (vec![Order::Mode(4)], vec![Order::Mode(9)]));
    // Satellites are back, and disagree: what is worse stays.
    let at = rig.now;
    let estimate = Some(Estimate { absolute: true, glitch: true, at });
    rig.state.iter_mut().for_each(|state| state.estimate = estimate);
    rig.pass(400);
    assert_eq!(rig.machine.demand(COPTER), Demand::Land);
    let estimate = Some(Estimate { absolute: false, glitch: false, at });
    rig.state.iter_mut().for_each(|state| state.estimate = estimate);
    rig.pass(200);
    // It says that it stands; in AUTO that is not believed.
    rig.ask(ROVER, Verb::EndPatrol);
    (rig.obeys, rig.state[ROVER].mode, rig.state[ROVER].speed_mps) = (false, 10, 0.0);
    rig.pass(400);
    assert!(rig.tripped(ROVER, "lease"));
}

#[test]
fn position_a_vehicle_that_never_tells_is_held() {
    let mut rig = Rig::begin(policy());
    rig.ask(ROVER, Verb::Patrol(std::time::Duration::from_secs(3600)));
    rig.fixed = false;
    rig.pass(2800);
    assert!(!rig.tripped(ROVER, "position"));
    rig.pass(600);
    assert!(rig.tripped(ROVER, "position"));
}
