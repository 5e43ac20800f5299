//! The safety loop in its steady state: sixteen vehicles, thirty-two zones, no memory asked for.

use std::net::SocketAddr;
use std::time::Duration;

use edge_node::ground::polygon::Polygon;
use edge_node::ground::{Origin, Place};
use edge_node::interlock::machine::{Input, KeepOut, Machine, Policy, Verb};
use edge_node::interlock::rules::estop::Latched;
use edge_node::interlock::rules::fence::{Fence, Side};
use edge_node::interlock::rules::separation::Apart;
use edge_node::vehicle::Class;
use edge_node::vehicle::audit::Audit;
use edge_node::vehicle::link::Report;
use edge_node::vehicle::state::{Estimate, Heard, VehicleState};
use shared::ids::EventId;
use shared::units::Uptime;
use uuid::Uuid;

use crate::rig::{policy, set_up};

const VEHICLES: usize = 16;
const ZONES: usize = 32;

fn large() -> Policy {
    let mut large = policy();
    let rover = large.vehicles[0].clone();
    large.vehicles = (1..=VEHICLES)
        .map(|n| (n, rover.clone()))
        .map(|(n, mut vehicle)| {
            vehicle.name = format!("v{n}").parse().unwrap();
            vehicle.sysid = u8::try_from(n).unwrap();
            vehicle
        })
        .collect();
    let zone = large.keep_out[0].clone();
    let all: Vec<usize> = (0..VEHICLES).collect();
    large.keep_out =
        (0..ZONES).map(|zone_index| KeepOut { zone_index, vehicles: all.clone(), ..zone.clone() }).collect();
    let origin = Origin::new(Place { lat_deg: 47.4, lon_deg: 8.5 });
    let corners = [(47.39, 8.49), (47.39, 8.51), (47.41, 8.51), (47.41, 8.49)];
    let corners = corners.map(|(lat_deg, lon_deg)| Place { lat_deg, lon_deg });
    large.fences = vec![Fence {
        name: "f".into(),
        side: Side::Inclusion,
        polygon: Polygon::new(&corners, &origin).unwrap(),
        vehicles: all,
        ceiling_m: None,
    }];
    (large.origin, large.apart) = (Some(origin), Some(Apart { metres: 3.0 }));
    large
}

/// Lets a second pass: each vehicle is heard ten times, each zone seen ten times, the loop ticks fifty times.
fn second(audit: Audit, machine: &mut Machine, now: &mut Uptime, out: &mut Vec<edge_node::interlock::machine::Effect>) {
    for n in 0..50u64 {
        *now = now.plus(Duration::from_millis(20));
        if n % 5 == 0 {
            for vehicle in 0..VEHICLES {
                let state = VehicleState {
                    audit,
                    mode: 10,
                    armed: true,
                    speed_mps: 1.0,
                    velocity_mps: (0.0, 1.0),
                    position_deg: Some((47.4 + vehicle as f64 * 1e-3 / 2.0, 8.5)),
                    battery_pct: Some(80),
                    battery_at: Some(*now),
                    heartbeat_at: Some(*now),
                    position_at: Some(*now),
                    packet_at: Some(*now),
                    fixed_at: Some(*now),
                    estimate: Some(Estimate { absolute: true, glitch: false, at: *now }),
                    ..VehicleState::default()
                };
                let peer = SocketAddr::from(([127, 0, 0, 1], 1));
                machine.step(Input::Vehicle(Report { vehicle, peer, state, heard: Heard::State }), *now, out);
            }
            for zone in 0..ZONES {
                machine.step(Input::Seen { zone, present: false, captured: *now }, *now, out);
            }
        }
        machine.step(Input::Tick, *now, out);
        out.clear();
    }
}

#[test]
fn the_safety_loop_asks_for_no_memory_while_nothing_changes() {
    let mut now = Uptime::from_millis(100_000);
    let mut machine = Machine::new(large(), Latched::new(VEHICLES, false), now);
    let (audit, mut out) = (set_up(Class::Rover), Vec::with_capacity(4096));
    for vehicle in 0..VEHICLES {
        let verb = Verb::Patrol(Duration::from_secs(3600));
        machine.step(Input::Request { id: EventId(Uuid::nil()), vehicle, verb, by: "ann".into() }, now, &mut out);
    }
    for _ in 0..20 {
        second(audit, &mut machine, &mut now, &mut out);
    }
    for vehicle in 0..VEHICLES {
        let tripped: Vec<_> = machine.rules().into_iter().filter(|rule| rule.reason.is_some()).collect();
        assert!(tripped.is_empty(), "vehicle {vehicle} is not in its steady state: {tripped:?}");
    }
    let asked = allocation_counter::measure(|| {
        for _ in 0..10 {
            second(audit, &mut machine, &mut now, &mut out);
        }
    });
    assert_eq!((asked.count_total, asked.bytes_total), (0, 0), "in ten seconds");
}
