//! What holds for the interlock whatever comes in, in any order.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use edge_node::ground::people::People;
use edge_node::ground::polygon::Polygon;
use edge_node::ground::{Origin, Place, Point};
use edge_node::interlock::machine::{Demand, Effect, Input, Machine, Policy, Source, Verb};
use edge_node::interlock::rules::estop::{Latched, Scope};
use edge_node::interlock::rules::fence::{Fence, Side};
use edge_node::interlock::rules::keep_out::Ground;
use edge_node::vehicle::Class;
use edge_node::vehicle::command::{Height, Order, Target};
use edge_node::vehicle::plan::{Plans, Verdict};
use edge_node::vehicle::state::Report;
use edge_node::vehicle::state::{Estimate, Heard, VehicleState};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_oneof, proptest};
use proptest::test_runner::{TestCaseError, TestRunner};
use shared::ids::EventId;
use shared::units::Uptime;
use uuid::Uuid;

use crate::rig::{COPTER, ROVER, Rig, policy, set_up};

fn verb() -> impl Strategy<Value = Verb> {
    let lease = EventId(Uuid::nil());
    let patrol = (0u64..100).prop_map(|seconds| Verb::Patrol(Duration::from_secs(seconds)));
    prop_oneof![
        1 => Just(Verb::Hold),
        1 => Just(Verb::Return),
        1 => Just(Verb::Land),
        1 => Just(Verb::Disarm),
        8 => Just(Verb::Resume),
        2 => Just(Verb::Arm),
        2 => Just(Verb::TakeOff(Height { above_home_cm: 1000, home_cm: 0 })),
        2 => Just(Verb::Speed(200)),
        4 => (-6000i32..6000, -6000i32..6000).prop_map(|(north, east)| Verb::GoTo(Target {
            lat_e7: 474_000_000 + north,
            lon_e7: 85_000_000 + east,
            height: Height { above_home_cm: 1000, home_cm: 0 },
        })),
        1 => Just(Verb::Clear),
        1 => Just(Verb::Lease(lease)),
        1 => Just(Verb::Renew(lease)),
        1 => Just(Verb::Leave(lease)),
        1 => patrol,
        1 => Just(Verb::EndPatrol),
    ]
}

/// Up to ten people around where the vehicles are.
fn people() -> impl Strategy<Value = People> {
    proptest::collection::vec((-60.0..60.0, -60.0..60.0), 0..10).prop_map(|at| {
        let mut people = People::default();
        at.into_iter().for_each(|(east, north)| people.add(Some(Point { east, north })));
        people
    })
}

/// The rig's policy on a ground that is known.
fn calibrated() -> Policy {
    let origin = Origin::new(Place { lat_deg: 47.4, lon_deg: 8.5 });
    let corners = [(-50.0, -50.0), (50.0, -50.0), (50.0, 50.0), (-50.0, 50.0)];
    let zone = Polygon::of_points(corners.map(|(east, north)| Point { east, north }).to_vec());
    let mut policy = Policy { origin: Some(origin), ..policy() };
    policy.keep_out[0].ground = Some(Ground { zone, error_m: 0.5 });
    let corners = [(47.3995, 8.4995), (47.3995, 8.5005), (47.4005, 8.5005), (47.4005, 8.4995)];
    let corners = corners.map(|(lat_deg, lon_deg)| Place { lat_deg, lon_deg });
    policy.fences = vec![Fence {
        name: "f".into(),
        side: Side::Inclusion,
        polygon: Polygon::new(&corners, &origin).unwrap(),
        vehicles: vec![ROVER, COPTER],
        ceiling_m: None,
    }];
    policy
}

/// Whether an order is part of a way that makes better what is tripped, or of a limit, both gone slowly.
fn slow(machine: &Machine, vehicle: usize, order: Order) -> bool {
    // GUIDED of a rover and of a copter.
    let guided = matches!(order, Order::Mode(15 | 4) | Order::GoTo(_));
    let slow = matches!(order, Order::Speed(_)) || guided && machine.retreats(vehicle);
    machine.demand(vehicle) == Demand::Limit && slow
}

fn input() -> impl Strategy<Value = (Input, u64)> {
    let captured = any::<u32>().prop_map(|ms| Uptime::from_millis(100_000 + u64::from(ms % 60_000)));
    // One time in two it is a healthy vehicle, whose times are set when it is given.
    let state =
        (any::<u32>(), any::<[bool; 4]>(), 0f32..20.0).prop_map(|(mode, [armed, landed, heard, well], speed_mps)| {
            if well {
                return VehicleState { mode: mode % 20, armed, speed_mps, ..healthy() };
            }
            let heartbeat_at = heard.then_some(Uptime::from_millis(110_000));
            VehicleState {
                mode: mode % 20,
                armed,
                landed_at: landed.then_some(Uptime::from_millis(110_000)),
                packet_at: heartbeat_at,
                speed_mps,
                heartbeat_at,
                ..VehicleState::default()
            }
        });
    let heard = prop_oneof![
        Just(Heard::Heartbeat),
        (prop_oneof![Just(176), Just(400), Just(22), Just(178), any::<u16>()], 0u8..7)
            .prop_map(|(command, result)| Heard::Ack { command, result, to: 0 })
    ];
    let report =
        (0usize..4, state, heard).prop_map(|(vehicle, state, heard)| Input::Vehicle(Report { vehicle, state, heard }));
    let input = prop_oneof![
        6 => Just(Input::Tick),
        1 => Just(Input::Press { source: Source::Console, by: String::new(), scope: Scope::Site }),
        1 => Just(Input::Reset { id: EventId(Uuid::nil()), by: "ann".into(), scope: Scope::Site }),
        1 => (0u64..6).prop_map(|press| Input::Released { press, by: "ann".into() }),
        6 => report,
        2 => (0usize..3, any::<bool>(), people(), captured).prop_map(|(zone, present, people, captured)| Input::Seen {
            zone,
            present,
            people,
            captured
        }),
        1 => (0usize..2, any::<f64>()).prop_map(|(weather, value)| Input::Reading { weather, value }),
        4 => (0usize..4, verb()).prop_map(|(vehicle, verb)| Input::Request {
            id: EventId(Uuid::nil()),
            vehicle,
            verb,
            by: "ann".into(),
        }),
    ];
    (input, prop_oneof![19 => 0u64..100, 1 => 0u64..3000])
}

/// Recognised by its charge.
fn healthy() -> VehicleState {
    let plans = Plans { fence: Verdict::Good, mission: Verdict::Good, mission_sum: 0 };
    let position_deg = Some((47.4, 8.5003));
    VehicleState { battery_pct: Some(77), audit: set_up(Class::Rover), plans, position_deg, ..VehicleState::default() }
}

/// A healthy vehicle's report is of now.
fn dated(input: Input, now: Uptime) -> Input {
    let Input::Vehicle(mut report) = input else { return input };
    let state = &mut report.state;
    if state.battery_pct == Some(77) {
        state.audit = set_up(if report.vehicle == ROVER { Class::Rover } else { Class::Copter });
        state.estimate = Some(Estimate { absolute: true, glitch: false, at: now });
        for at in [
            &mut state.heartbeat_at,
            &mut state.packet_at,
            &mut state.position_at,
            &mut state.fixed_at,
            &mut state.battery_at,
        ] {
            *at = Some(now);
        }
    }
    Input::Vehicle(report)
}

/// How often a vehicle was sent on in [`whatever_happens_a_tripped_vehicle_is_never_sent_on`]: never would prove nothing.
static SENT_ON: AtomicU64 = AtomicU64::new(0);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_hazard_more_never_lowers_a_demand(inputs in proptest::collection::vec(input(), 0..40)) {
        let mut now = Uptime::from_millis(100_000);
        let mut machine = Machine::new(policy(), Latched::new(2, false), now);
        for (input, ms) in inputs {
            now = now.plus(Duration::from_millis(ms));
            machine.step(input, now, &mut Vec::new());
        }
        let before = [machine.demand(ROVER), machine.demand(COPTER)];
        let hazards =
            [Input::Press { source: Source::Console, by: String::new(), scope: Scope::Site }, Input::Seen { zone: 0, present: true, people: People::default(), captured: now }];
        for hazard in hazards {
            let mut worse = machine.clone();
            worse.step(hazard, now, &mut Vec::new());
            for vehicle in [ROVER, COPTER] {
                prop_assert!(worse.demand(vehicle) >= before[vehicle]);
            }
        }
    }
}

fn never_sent_on(known: bool, inputs: Vec<(Input, u64)>) -> Result<(), TestCaseError> {
    let rig = Rig::new();
    let policy = if known { calibrated() } else { policy() };
    let (mut machine, mut now) = (rig.machine.under(policy).unwrap(), rig.now);
    for (input, ms) in inputs {
        now = now.plus(Duration::from_millis(ms));
        let mut out = Vec::new();
        let pressed_before = machine.latched().any();
        let release = matches!(input, Input::Released { .. });
        machine.step(dated(input, now), now, &mut out);
        prop_assert!(!pressed_before || machine.latched().any() || release, "only a durable release opens the latch");
        for vehicle in [ROVER, COPTER] {
            let demand = machine.demand(vehicle);
            prop_assert!(!machine.latched().any() || demand == Demand::Stop);
            for effect in &out {
                if let Effect::Send(to, order) | Effect::Again(to, order, _) = effect {
                    let sent_on = order.begins_motion(if *to == ROVER { Class::Rover } else { Class::Copter });
                    SENT_ON.fetch_add(u64::from(sent_on), Ordering::Relaxed);
                    let better = slow(&machine, *to, *order);
                    prop_assert!(!sent_on || better || machine.demand(*to) == Demand::None, "sent on under {demand:?}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn whatever_happens_a_tripped_vehicle_is_never_sent_on() {
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) });
    for known in [false, true] {
        runner.run(&proptest::collection::vec(input(), 1..80), |inputs| never_sent_on(known, inputs)).unwrap();
    }
    assert!(SENT_ON.load(Ordering::Relaxed) > 10, "none was sent on, so nothing was tried");
}
