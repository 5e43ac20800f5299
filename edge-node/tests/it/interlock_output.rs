//! Output lines, and vehicles that go on by themselves after a siren.

use std::time::Duration;

use edge_node::interlock::machine::{Effect, Input, Policy, Verb};
use edge_node::interlock::output::{Output, While};
use edge_node::vehicle::command::{DO_REPEAT_RELAY, Order};
use edge_node::vehicle::plan::Verdict;
use edge_node::vehicle::state::Heard;
use shared::ids::EventId;
use uuid::Uuid;

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
        // Pins of this box say that they can be written.
        for output in [0, 1, 2] {
            rig.give(Input::Pin { output, faulty: false });
        }
        let now = count(rig, Order::PulseRelay(2));
        if let Some(result) = result.filter(|_| now > pulses) {
            rig.hear(ROVER, Heard::Ack { command: DO_REPEAT_RELAY, result, to: 0 });
        }
        pulses = now;
        let asked: Vec<(usize, String)> = rig.effects.iter().filter_map(go_on).collect();
        rig.effects.retain(|effect| go_on(effect).is_none());
        for (vehicle, by) in asked {
            rig.ask_as(&by, EventId(Uuid::now_v7()), vehicle, Verb::GoOn);
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

/// A siren on a pin of this box, which says of itself what it says.
fn on_a_pin(says: Option<bool>) -> (u32, Vec<Effect>) {
    let mut policy = equipped();
    policy.outputs[SIREN].relay = None;
    let mut rig = patrolling(policy);
    somebody(&mut rig);
    rig.effects.clear();
    let mut all = Vec::new();
    for _ in 0..50 {
        if let Some(faulty) = says {
            rig.give(Input::Pin { output: SIREN, faulty });
        }
        pass(&mut rig, 200, None);
        all.append(&mut rig.effects);
    }
    (rig.state[ROVER].mode, all)
}

#[test]
fn a_pin_that_cannot_be_written_or_says_nothing_is_a_silent_siren() {
    let faulty = |effects: &[Effect]| {
        effects.iter().any(|effect| matches!(effect, Effect::Output { output: SIREN, faulty: true, .. }))
    };
    let (mode, effects) = on_a_pin(Some(true));
    assert!(mode == HOLD && faulty(&effects));
    let (mode, effects) = on_a_pin(None);
    assert!(mode == HOLD && faulty(&effects), "it hangs");
    let (mode, effects) = on_a_pin(Some(false));
    assert!(mode == AUTO && !faulty(&effects));
}

#[test]
fn five_seconds_of_siren_are_counted_from_when_it_sounds() {
    let mut rig = patrolling(equipped());
    somebody(&mut rig);
    pass(&mut rig, 2200, None);
    assert!(rig.machine.energised(SIREN));
    // Its first pulses are lost.
    pass(&mut rig, 4000, None);
    let heard = rig.now;
    while rig.state[ROVER].mode == HOLD {
        pass(&mut rig, 200, Some(0));
        assert!(rig.now.since(heard) < Duration::from_secs(9), "it stands");
    }
    assert!(rig.now.since(heard) >= Duration::from_millis(4800), "{:?}", rig.now.since(heard));
}

#[test]
fn what_is_asked_in_the_moment_before_it_goes_on_comes_first() {
    for verb in [Verb::Hold, Verb::Disarm] {
        let mut rig = patrolling(equipped());
        somebody(&mut rig);
        let asks = |rig: &Rig| rig.effects.iter().any(|effect| go_on(effect).is_some());
        for _ in 0..500 {
            rig.pass(20);
            if count(&rig, Order::PulseRelay(2)) > 0 {
                rig.hear(ROVER, Heard::Ack { command: DO_REPEAT_RELAY, result: 0, to: 0 });
            }
            if asks(&rig) {
                break;
            }
        }
        assert!(asks(&rig));
        // It waits in the queue already.
        assert!(rig.ask(ROVER, verb).is_empty());
        let denied = rig.ask_as("ann", EventId(Uuid::now_v7()), ROVER, Verb::GoOn);
        assert!(denied.iter().any(|why| why.contains("something else came")), "{denied:?}");
        rig.pass(2000);
        assert_eq!(rig.state[ROVER].mode, HOLD);
    }
}

#[test]
fn a_stop_relay_is_open_before_the_line_was_read_and_on_a_site_without_vehicles() {
    let mut policy = equipped();
    policy.line = true;
    let mut rig = Rig::begin(policy.clone());
    rig.give(Input::Tick);
    assert!(!rig.machine.energised(0), "the button may be pressed");
    for _ in 0..15 {
        rig.now = rig.now.plus(Duration::from_millis(20));
        rig.give(Input::Line { pressed: false });
    }
    assert!(rig.machine.energised(0));
    policy.line = false;
    policy.outputs[0].vehicles.clear();
    let mut rig = Rig::begin(policy);
    rig.give(Input::Tick);
    assert!(rig.machine.energised(0));
    rig.press();
    assert!(!rig.machine.energised(0));
}

#[test]
fn a_relay_is_opened_a_few_times_when_it_drops_and_when_its_vehicle_is_heard_again() {
    let opened = |rig: &Rig| count(rig, Order::Relay(2, false));
    let mut rig = Rig::begin(equipped());
    rig.pass(8000);
    assert_eq!(opened(&rig), 3, "at the start, and not for ever");
    for _ in 0..200 {
        rig.now = rig.now.plus(Duration::from_millis(20));
        rig.give(Input::Tick);
    }
    let silent = opened(&rig);
    pass(&mut rig, 8000, None);
    assert!(opened(&rig) > silent, "it was away");
}

#[test]
fn a_node_that_ends_energises_nothing_more() {
    let mut rig = patrolling(equipped());
    pass(&mut rig, 200, None);
    rig.give(Input::Ending);
    assert_eq!(energised(&rig), [false; 4]);
    rig.pass(400);
    assert_eq!(energised(&rig), [false; 4]);
}

#[test]
fn nothing_is_sent_to_the_relay_of_what_its_pilot_has() {
    let mut policy = equipped();
    policy.outputs = vec![Output { vehicles: vec![COPTER], ..line("light", While::Armed, Some((COPTER, 2))) }];
    let mut rig = patrolling(policy);
    rig.state[COPTER].rc_us[4] = 1100;
    rig.pass(1000);
    rig.sent.clear();
    rig.pass(3000);
    assert!(!rig.orders(COPTER).is_empty(), "its light blinks");
    (rig.state[COPTER].mode, rig.state[COPTER].rc_us[4]) = (5, 1500);
    rig.pass(1000);
    assert!(rig.tripped(COPTER, "pilot"));
    rig.sent.clear();
    rig.pass(8000);
    assert_eq!(rig.orders(COPTER), []);
}
