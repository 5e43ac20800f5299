//! What holds for the interlock whatever comes in, in any order.

use std::net::SocketAddr;
use std::time::Duration;

use edge_node::interlock::machine::{Demand, Effect, Input, Machine, Verb};
use edge_node::interlock::rules::estop::{Latched, Scope};
use edge_node::vehicle::command::Order;
use edge_node::vehicle::link::Report;
use edge_node::vehicle::state::{Heard, VehicleState};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_oneof, proptest};
use shared::ids::EventId;
use shared::units::Uptime;
use uuid::Uuid;

use crate::rig::{COPTER, ROVER, policy};

fn verb() -> impl Strategy<Value = Verb> {
    let lease = EventId(Uuid::nil());
    let patrol = (0u64..100).prop_map(|seconds| Verb::Patrol(Duration::from_secs(seconds)));
    prop_oneof![
        Just(Verb::Hold),
        Just(Verb::Return),
        Just(Verb::Land),
        Just(Verb::Disarm),
        Just(Verb::Resume),
        Just(Verb::Clear),
        Just(Verb::Lease),
        Just(Verb::Renew(lease)),
        Just(Verb::Leave(lease)),
        patrol,
        Just(Verb::EndPatrol),
    ]
}

fn input() -> impl Strategy<Value = (Input, u64)> {
    let captured = any::<u32>().prop_map(|ms| Uptime::from_millis(100_000 + u64::from(ms % 60_000)));
    let state = (any::<u32>(), any::<[bool; 3]>(), 0f32..20.0).prop_map(|(mode, [armed, landed, heard], speed_mps)| {
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
        (any::<u16>(), any::<u8>()).prop_map(|(command, result)| Heard::Ack { command, result, to: 0 })
    ];
    let report = (0usize..4, state, heard).prop_map(|(vehicle, state, heard)| {
        Input::Vehicle(Report { vehicle, peer: SocketAddr::from(([127, 0, 0, 1], 1)), state, heard })
    });
    let input = prop_oneof![
        Just(Input::Tick),
        Just(Input::Press { source: "console", by: String::new(), scope: Scope::Site }),
        Just(Input::Reset { id: EventId(Uuid::nil()), by: "ann".into(), scope: Scope::Site }),
        (0u64..6).prop_map(|press| Input::Released { press, by: "ann".into() }),
        report,
        (0usize..3, any::<bool>(), captured).prop_map(|(zone, present, captured)| Input::Seen {
            zone,
            present,
            captured
        }),
        (0usize..4, verb()).prop_map(|(vehicle, verb)| Input::Request {
            id: EventId(Uuid::nil()),
            vehicle,
            verb,
            by: "ann".into(),
        }),
    ];
    (input, 0u64..3000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_a_tripped_vehicle_is_never_sent_on(inputs in proptest::collection::vec(input(), 1..80)) {
        let mut now = Uptime::from_millis(100_000);
        let mut machine = Machine::new(policy(), Latched::new(2, false), now);
        for (input, ms) in inputs {
            now = now.plus(Duration::from_millis(ms));
            let mut out = Vec::new();
            let pressed_before = machine.latched().any();
            let release = matches!(input, Input::Released { .. });
            machine.step(input, now, &mut out);
            prop_assert!(!pressed_before || machine.latched().any() || release, "only a durable release opens the latch");
            for vehicle in [ROVER, COPTER] {
                let demand = machine.demand(vehicle);
                prop_assert!(!machine.latched().any() || demand == Demand::Stop);
                for effect in &out {
                    if let Effect::Send(to, Order::Mode(mode)) = effect {
                        let auto = if *to == ROVER { 10 } else { 3 };
                        prop_assert!(*mode != auto || machine.demand(*to) == Demand::None, "sent on under {demand:?}");
                    }
                }
            }
        }
    }

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
            [Input::Press { source: "console", by: String::new(), scope: Scope::Site }, Input::Seen { zone: 0, present: true, captured: now }];
        for hazard in hazards {
            let mut worse = machine.clone();
            worse.step(hazard, now, &mut Vec::new());
            for vehicle in [ROVER, COPTER] {
                prop_assert!(worse.demand(vehicle) >= before[vehicle]);
            }
        }
    }
}
