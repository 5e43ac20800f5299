//! Output lines, and vehicles that go on by themselves after a siren.

use std::time::Duration;

use edge_node::interlock::machine::{Effect, Input, Policy, Verb};
use edge_node::interlock::output::{Output, While};
use edge_node::vehicle::command::{DO_REPEAT_RELAY, Order};
use edge_node::vehicle::plan::Verdict;
use edge_node::vehicle::state::Heard;

use crate::rig::{COPTER, ROVER, Rig, policy};

/// ArduRover's AUTO and HOLD.
const AUTO: u32 = 10;
const HOLD: u32 = 4;

fn line(name: &str, wish: While, relay: Option<(usize, u8)>) -> Output {
    Output { name: name.into(), vehicles: vec![ROVER], energised_while: vec![wish], relay }
}

/// A stop relay, an alarm, a light on pins; the rover's own siren.
fn equipped() -> Policy {
    let mut policy = policy();
    policy.keep_out[0].resumes = true;
    policy.outputs = vec![
        line("stop", While::Released, None),
        line("alarm", While::Held, None),
        line("light", While::Armed, None),
        line("siren", While::Resuming, Some((ROVER, 2))),
    ];
    policy
}
const SIREN: usize = 3;

fn patrolling(policy: Policy) -> Rig {
    let mut rig = Rig::begin(policy);
    for vehicle in [ROVER, COPTER] {
        assert!(rig.ask(vehicle, Verb::Patrol(Duration::from_secs(3600))).is_empty());
    }
    rig.settle();
    rig
}

/// Time passes; the rover answers each pulse of its relay, and what the machine asks for is asked.
fn pass(rig: &mut Rig, ms: u64, result: Option<u8>) {
    let mut pulses = count(rig, Order::PulseRelay(2));
    for _ in 0..ms / 200 {
        rig.pass(200);
        let now = count(rig, Order::PulseRelay(2));
        if let Some(result) = result.filter(|_| now > pulses) {
            rig.hear(ROVER, Heard::Ack { command: DO_REPEAT_RELAY, result, to: 0 });
        }
        pulses = now;
        let asked: Vec<(usize, String)> = rig.effects.iter().filter_map(go_on).collect();
        rig.effects.retain(|effect| go_on(effect).is_none());
        for (vehicle, by) in asked {
            rig.ask_as(&by, shared::ids::EventId(uuid::Uuid::now_v7()), vehicle, Verb::Resume);
        }
    }
}

fn go_on(effect: &Effect) -> Option<(usize, String)> {
    match effect {
        Effect::GoOn { vehicle, by } => Some((*vehicle, by.clone())),
        _ => None,
    }
}

fn count(rig: &Rig, order: Order) -> usize {
    rig.sent.iter().filter(|(_, vehicle, sent)| *vehicle == ROVER && *sent == order).count()
}

fn energised(rig: &Rig) -> [bool; 4] {
    [0, 1, 2, 3].map(|output| rig.machine.energised(output))
}

/// A person stands in the yard for two seconds.
fn somebody(rig: &mut Rig) {
    rig.present = true;
    pass(rig, 2000, Some(0));
    assert_eq!(rig.state[ROVER].mode, HOLD);
    rig.present = false;
}

#[test]
fn lines_are_energised_for_what_they_are_for_and_drop_with_the_estop_and_a_late_loop() {
    let mut rig = patrolling(equipped());
    pass(&mut rig, 200, None);
    assert_eq!(energised(&rig), [true, false, true, false]);
    rig.present = true;
    pass(&mut rig, 400, None);
    assert_eq!(energised(&rig), [true, true, true, false], "alarm while it is held");
    rig.press();
    assert!(!rig.machine.energised(0), "the stop relay drops with the press, in the same step");
    rig.reset();
    pass(&mut rig, 200, None);
    assert!(rig.machine.energised(0));
    // The loop hangs for half a second.
    rig.now = rig.now.plus(Duration::from_millis(500));
    rig.give(Input::Tick);
    assert_eq!(energised(&rig), [false; 4]);
}

#[test]
fn a_vehicle_goes_on_by_itself_after_five_seconds_of_its_siren() {
    let mut rig = patrolling(equipped());
    somebody(&mut rig);
    // Two seconds until the zone counts as clear, then the siren.
    let before = rig.now;
    while !rig.machine.energised(SIREN) {
        pass(&mut rig, 200, Some(0));
        assert!(rig.now.since(before) < Duration::from_secs(4), "no siren");
    }
    let announced = rig.now;
    while rig.state[ROVER].mode == HOLD {
        pass(&mut rig, 200, Some(0));
        assert!(rig.now.since(announced) < Duration::from_secs(8), "it stands");
    }
    let passed = rig.now.since(announced);
    assert!(passed >= Duration::from_millis(4800) && passed < Duration::from_millis(5600), "{passed:?}");
    assert_eq!(rig.state[ROVER].mode, AUTO);
    assert_eq!(count(&rig, Order::PulseRelay(2)), 3, "a pulse each two seconds");
    assert!(!rig.machine.energised(SIREN), "and no longer");
    assert_eq!(
        rig.sent.iter().rev().find(|(_, _, order)| matches!(order, Order::Relay(2, _))).unwrap().2,
        Order::Relay(2, false)
    );
}

/// Whatever happens after a person was seen, it must not go on.
#[track_caller]
fn stands(policy: Policy, result: Option<u8>, change: impl FnOnce(&mut Rig)) {
    let mut rig = patrolling(policy);
    somebody(&mut rig);
    pass(&mut rig, 3000, result);
    assert!(rig.machine.energised(SIREN), "it was about to go on");
    change(&mut rig);
    rig.effects.clear();
    pass(&mut rig, 20_000, result);
    let went = rig.effects.iter().any(|effect| matches!(effect, Effect::Send(ROVER, Order::Mode(AUTO))));
    assert!(!went && !rig.machine.energised(SIREN));
}

#[test]
fn nothing_goes_on_by_itself_without_its_siren_its_mission_or_somebody_who_answers() {
    stands(equipped(), None, |_| {});
    stands(equipped(), Some(3), |_| {});
    stands(equipped(), Some(0), |rig| assert!(rig.ask(ROVER, Verb::EndPatrol).is_empty()));
    stands(equipped(), Some(0), |rig| rig.state[ROVER].plans.mission = Verdict::Half);
    stands(equipped(), Some(0), |rig| assert!(rig.ask(ROVER, Verb::Hold).is_empty()));
    stands(equipped(), Some(0), |rig| {
        rig.press();
        rig.reset();
    });
    // Somebody has disarmed it, or driven it elsewhere.
    stands(equipped(), Some(0), |rig| rig.state[ROVER].armed = false);
    stands(equipped(), Some(0), |rig| rig.state[ROVER].mode = 15);
}

#[test]
fn it_waits_again_for_whoever_comes_while_the_siren_sounds() {
    let mut rig = patrolling(equipped());
    somebody(&mut rig);
    pass(&mut rig, 4000, Some(0));
    assert!(rig.machine.energised(SIREN));
    rig.present = true;
    pass(&mut rig, 4000, Some(0));
    assert_eq!((rig.state[ROVER].mode, rig.machine.energised(SIREN)), (HOLD, false));
    rig.present = false;
    pass(&mut rig, 8400, Some(0));
    assert_eq!(rig.state[ROVER].mode, AUTO, "and goes on once they have left");
}

#[test]
fn without_the_policy_an_operator_sends_it_on() {
    let mut policy = equipped();
    policy.keep_out[0].resumes = false;
    let mut rig = patrolling(policy);
    somebody(&mut rig);
    pass(&mut rig, 20_000, Some(0));
    assert_eq!((rig.state[ROVER].mode, rig.machine.energised(SIREN)), (HOLD, false));
    assert!(rig.resume().is_empty());
}

#[test]
fn a_pin_that_cannot_be_written_is_said_and_its_siren_counts_as_silent() {
    let mut policy = equipped();
    policy.outputs[SIREN].relay = None;
    let mut rig = patrolling(policy.clone());
    somebody(&mut rig);
    rig.give(Input::Pin { output: SIREN, faulty: true });
    let said =
        |rig: &Rig, energised, faulty| rig.effects.contains(&Effect::Output { output: SIREN, energised, faulty });
    assert!(said(&rig, false, true));
    pass(&mut rig, 20_000, None);
    assert_eq!(rig.state[ROVER].mode, HOLD, "nobody would hear it");
    let mut rig = patrolling(policy);
    somebody(&mut rig);
    pass(&mut rig, 8400, None);
    assert_eq!(rig.state[ROVER].mode, AUTO);
}
