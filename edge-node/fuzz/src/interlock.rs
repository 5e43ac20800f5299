//! Any bytes as what happens to the interlock: see `lib`.

use std::time::Duration;

use edge_node::ground::people::People;
use edge_node::ground::polygon::Polygon;
use edge_node::ground::{Origin, Place, Point};
use edge_node::interlock::machine::{Demand, Effect, Input, KeepOut, Machine, Policy, Rule, Source, Verb};
use edge_node::interlock::output::{Output, While};
use edge_node::interlock::rules::estop::{Latched, Scope};
use edge_node::interlock::rules::fence::{Fence, Side};
use edge_node::interlock::rules::keep_out::Ground;
use edge_node::interlock::rules::node::Ill;
use edge_node::interlock::rules::separation::Apart;
use edge_node::interlock::rules::weather::Weather;
use edge_node::vehicle::codec::parse;
use edge_node::vehicle::command::{Circle, Height, Order, Target};
use edge_node::vehicle::plan::{Plans, Verdict};
use edge_node::vehicle::state::Report;
use edge_node::vehicle::state::{Estimate, Heard, VehicleState};
use edge_node::vehicle::{Class, VehicleConfig};
use shared::ids::EventId;
use shared::units::Uptime;
use uuid::Uuid;

/// Effects of one input: two rules' worth for each vehicle and each of its rules, and orders.
const EFFECTS_MAX: usize = 200;

fn output(name: &str, wish: While, relay: Option<(usize, u8)>) -> Output {
    Output { name: name.into(), vehicles: vec![0, 1], energised_while: vec![wish], relay }
}

fn policy() -> Policy {
    let vehicle = |class: &str, sysid: u8| -> VehicleConfig {
        let brake = "brake = [{ speed_mps = 5.3, distance_m = 11.2, time_s = 7.7 }]";
        let text = format!("name = \"{class}\"\nclass = \"{class}\"\nsysid = {sysid}\nlinks = [\"l\"]\n{brake}");
        toml::from_str(&text).unwrap()
    };
    let origin = Origin::new(Place { lat_deg: 47.4, lon_deg: 8.5 });
    let yard = [(47.3999, 8.4999), (47.3999, 8.5001), (47.4001, 8.5001), (47.4001, 8.4999)];
    let yard = yard.map(|(lat_deg, lon_deg)| Place { lat_deg, lon_deg });
    let zone = KeepOut {
        resumes: true,
        zone: "z".into(),
        zone_index: 0,
        vehicles: vec![0, 1],
        clear_after: Duration::from_secs(2),
        stale_after: Duration::from_secs(1),
        ground: Some(Ground { zone: Polygon::new(&yard, &origin).unwrap(), error_m: 1.0 }),
    };
    let classes = ["rover", "copter", "plane", "vtol", "px4-copter"];
    let vehicles = classes.iter().zip(1..).map(|(class, sysid)| vehicle(class, sysid)).collect();
    let corners = [(47.39, 8.49), (47.39, 8.51), (47.41, 8.51), (47.41, 8.49)];
    let corners = corners.map(|(lat_deg, lon_deg)| Place { lat_deg, lon_deg });
    let fence = Fence {
        name: "f".into(),
        side: Side::Inclusion,
        polygon: Polygon::new(&corners, &origin).unwrap(),
        vehicles: vec![0, 1, 2],
        ceiling_m: Some(50.0),
    };
    Policy {
        vehicles,
        keep_out: vec![zone],
        fences: vec![fence],
        origin: Some(origin),
        apart: Some(Apart { metres: 5.0 }),
        weather: vec![Weather {
            sensor: "wind".into(),
            most: 100.0,
            silent_after: Duration::from_secs(10),
            vehicles: vec![1, 2, 3, 4],
        }],
        line: true,
        outputs: vec![output("siren", While::Resuming, Some((0, 1))), output("stop", While::Released, None)],
        two_person: true,
        off: vec![Rule::Audit],
        ..Policy::default()
    }
}

/// Six seconds in which everything is well, so that something can be sent on.
fn well(machine: &mut Machine, states: &mut [VehicleState], time: &mut Uptime) {
    let (mut now, mut out) = (*time, Vec::new());
    let lease = EventId(Uuid::nil());
    for vehicle in 0..states.len() {
        let verb = Verb::Patrol(Duration::from_secs(600));
        machine.step(Input::Request { id: lease, vehicle, verb, by: "ann".into() }, now, &mut out);
    }
    for _ in 0..60 {
        now = now.plus(Duration::from_millis(100));
        machine.step(Input::Line { pressed: false }, now, &mut out);
        machine.step(Input::Seen { zone: 0, present: false, people: People::default(), captured: now }, now, &mut out);
        for (vehicle, state) in states.iter_mut().enumerate() {
            let (estimate, now) = (Some(Estimate { absolute: true, glitch: false, at: now }), Some(now));
            let north = f64::from(u8::try_from(vehicle).unwrap()) * 1e-3;
            *state = VehicleState {
                battery_pct: Some(80),
                plans: Plans { fence: Verdict::Good, mission: Verdict::Good, mission_sum: 0 },
                position_deg: Some((47.4 + north, 8.5)),
                battery_at: now,
                heartbeat_at: now,
                packet_at: now,
                position_at: now,
                fixed_at: now,
                estimate,
                ..VehicleState::default()
            };
            let report = Report { vehicle, state: *state, heard: Heard::State };
            machine.step(Input::Vehicle(report), now.unwrap(), &mut out);
        }
    }
    *time = now;
}

fn verbs(lease: EventId, seconds: u8) -> [Verb; 18] {
    let height = Height { above_home_cm: i32::from(seconds) * 100, home_cm: 0 };
    let target = Target { lat_e7: 474_000_000 + i32::from(seconds) * 500, lon_e7: 85_000_000, height };
    [
        Verb::Arm,
        Verb::TakeOff(height),
        Verb::GoTo(target),
        Verb::Orbit(target, Circle { radius_cm: u16::from(seconds) * 100, speed_cmps: 200 }),
        Verb::Speed(u16::from(seconds) * 10),
        Verb::Point { pitch_cdeg: i16::from(seconds), yaw_cdeg: 0 },
        Verb::Output(seconds, true),
        Verb::Hold,
        Verb::Return,
        Verb::Land,
        Verb::Disarm,
        Verb::Resume,
        Verb::Clear,
        Verb::Lease(lease),
        Verb::Renew(lease),
        Verb::Leave(lease),
        Verb::Patrol(Duration::from_secs(u64::from(seconds))),
        Verb::EndPatrol,
    ]
}

/// What cameras, pins and gauges say.
fn surroundings(which: u8, wait: u8, now: Uptime) -> [Input; 5] {
    let (mut people, east) = (People::default(), f64::from(wait) - 100.0);
    (0..which % 11).for_each(|n| people.add(Some(Point { east, north: f64::from(n) * 5.0 })));
    [
        Input::Seen { zone: usize::from(which % 2), present: which.is_multiple_of(3), people, captured: now },
        Input::Blind { zone: 0, blind: which.is_multiple_of(7) },
        Input::Pin { output: usize::from(which % 3), faulty: which.is_multiple_of(5) },
        Input::Node(Ill { disk: which.is_multiple_of(16), ..Ill::default() }),
        Input::Reading { weather: usize::from(which % 2), value: f64::from(wait) },
    ]
}

/// The first byte says what happens, the second when; for a datagram the third says how long it is.
pub fn interlock(mut data: &[u8]) {
    let policy = policy();
    let classes: Vec<Class> = policy.vehicles.iter().map(|vehicle| vehicle.class).collect();
    let mut now = Uptime::from_millis(100_000);
    let mut machine = Machine::new(policy, Latched::new(classes.len(), false), now);
    let mut states = vec![VehicleState::default(); classes.len()];
    let lease = EventId(Uuid::nil());
    let mut out = Vec::new();
    well(&mut machine, &mut states, &mut now);
    out.clear();
    while let [what, wait, which, rest @ ..] = data {
        now = now.plus(Duration::from_millis(u64::from(*wait) * 8));
        let vehicle = usize::from(*which) % (classes.len() + 1);
        let (by, id) = (if which % 2 == 0 { "ann" } else { "bob" }.to_owned(), lease);
        data = rest;
        let mut inputs = Vec::new();
        match what % 10 {
            0..=3 => {
                let (datagram, after) = rest.split_at(usize::from(*which).min(rest.len()));
                data = after;
                for packet in parse(datagram).packets {
                    let vehicle = usize::from(packet.sysid) % states.len();
                    let heard = states[vehicle].hear(&packet, now);
                    inputs.push(Input::Vehicle(Report { vehicle, state: states[vehicle], heard }));
                }
                // States that no packet makes.
                if let ([a, b, ..], Some(state)) = (datagram, states.get_mut(vehicle)) {
                    state.speed_mps = f32::from_bits(u32::from_be_bytes([*a, *b, *a, *b]));
                    (state.mode, state.armed) = (u32::from(*a), b % 2 == 0);
                    (state.heartbeat_at, state.packet_at) = (Some(now), Some(now));
                    inputs.push(Input::Vehicle(Report { vehicle, state: *state, heard: Heard::Heartbeat }));
                }
            }
            4 => inputs.push(Input::Press { source: Source::Console, by, scope: Scope::Vehicle(vehicle) }),
            5 => inputs.push(Input::Line { pressed: which % 4 == 0 }),
            6 if which % 2 == 0 => inputs.push(Input::Reset { id, by, scope: Scope::Site }),
            6 => inputs.push(Input::Confirm { id, by }),
            7 => inputs.push(Input::Released { press: u64::from(*which), by }),
            8 => inputs.extend(surroundings(*which, *wait, now)),
            _ => {
                let verbs = verbs(lease, *which);
                let verb = verbs[usize::from(*wait) % verbs.len()];
                inputs.push(Input::Request { id, vehicle, verb, by });
            }
        }
        inputs.push(Input::Tick);
        for input in inputs {
            out.clear();
            machine.step(input, now, &mut out);
            assert!(out.len() <= EFFECTS_MAX, "{} effects", out.len());
            for effect in &out {
                let (Effect::Send(to, order) | Effect::Again(to, order, _)) = effect else { continue };
                let sent_on = order.begins_motion(classes[*to]);
                // A speed is what a limit is made of; a way that makes things better is gone under one.
                let guided = matches!(order, Order::Mode(mode) if *mode == classes[*to].guided());
                let better = machine.retreats(*to) && (guided || matches!(order, Order::GoTo(_)));
                let slow = better || matches!(order, Order::Speed(_));
                let slowed = slow && machine.demand(*to) == Demand::Limit;
                assert!(!sent_on || slowed || machine.demand(*to) == Demand::None, "sent on under a demand");
            }
            for vehicle in 0..classes.len() {
                let stops = machine.demand(vehicle) >= Demand::Land;
                assert!(!machine.latched().holds(vehicle) || stops, "latched, and not stopped");
            }
        }
    }
}
