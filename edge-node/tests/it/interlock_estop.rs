//! The e-stop: scopes, who resets, the second person, the hardware line, the latch on disk.

use std::time::Duration;

use edge_node::interlock::latch::{self, Latch};
use edge_node::interlock::machine::{Demand, Effect, Input, Policy, Role, Source, Verb};
use edge_node::interlock::rules::estop::{Latched, Scope};
use shared::ids::{EventId, Name};
use tempfile::TempDir;
use uuid::Uuid;

use crate::rig::{COPTER, ROVER, Rig, policy};

fn site(change: impl FnOnce(&mut Policy)) -> Rig {
    let mut policy = policy();
    change(&mut policy);
    let mut rig = Rig::begin(policy);
    for _ in 0..15 {
        rig.now = rig.now.plus(Duration::from_millis(20));
        rig.give(Input::Line { pressed: false });
    }
    rig.ask(COPTER, Verb::Patrol(Duration::from_secs(3600)));
    rig.ask(ROVER, Verb::Patrol(Duration::from_secs(3600)));
    rig
}

/// Asks; gives every reason against it. A release that is to be written is durable at once.
fn answer(rig: &mut Rig, make: impl FnOnce(EventId) -> Input) -> Vec<String> {
    let (id, before) = (EventId(Uuid::now_v7()), rig.effects.len());
    rig.give(make(id));
    let release = rig.effects[before..].iter().find_map(|effect| match effect {
        Effect::Latch { pressed: false, press, by, .. } => Some(Input::Released { press: *press, by: by.clone() }),
        _ => None,
    });
    let reasons = rig.effects[before..].iter().find_map(|effect| match effect {
        Effect::Answered { reasons, .. } => Some(reasons.clone()),
        _ => None,
    });
    release.into_iter().for_each(|input| rig.give(input));
    reasons.unwrap()
}

fn reset(rig: &mut Rig, by: &str, scope: Scope) -> Vec<String> {
    answer(rig, |id| Input::Reset { id, by: by.into(), scope })
}

fn confirm(rig: &mut Rig, by: &str) -> Vec<String> {
    answer(rig, |id| Input::Confirm { id, by: by.into() })
}

fn press(rig: &mut Rig, scope: Scope) {
    rig.give(Input::Press { source: Source::Console, by: String::new(), scope });
}

fn people() -> Vec<(String, Role)> {
    [("ann", Role::Supervisor), ("bob", Role::Operator), ("eve", Role::Supervisor)].map(|(n, r)| (n.into(), r)).into()
}

#[test]
fn a_press_for_one_vehicle_stops_that_one_and_its_reset_frees_that_one() {
    let mut rig = site(|_| {});
    press(&mut rig, Scope::Vehicle(ROVER));
    rig.pass(100);
    assert_eq!(rig.machine.demand(ROVER), Demand::Stop);
    assert!(!rig.tripped(COPTER, "estop"));
    press(&mut rig, Scope::Vehicle(COPTER));
    assert!(reset(&mut rig, "ann", Scope::Vehicle(ROVER)).is_empty());
    assert!(!rig.tripped(ROVER, "estop") && rig.tripped(COPTER, "estop"));
    assert_eq!(reset(&mut rig, "ann", Scope::Vehicle(ROVER)), ["that is not latched"]);
    press(&mut rig, Scope::Site);
    assert!(rig.tripped(ROVER, "estop"));
    assert!(reset(&mut rig, "ann", Scope::Vehicle(COPTER)).is_empty() && rig.tripped(COPTER, "estop"));
    let still =
        |effect: &&Effect| matches!(effect, Effect::LatchReleased { pressed: true, scope: Scope::Vehicle(COPTER), .. });
    assert_eq!(rig.effects.iter().filter(still).count(), 1, "what is recorded: the site's press holds it still");
    assert!(reset(&mut rig, "ann", Scope::Site).is_empty());
    assert!(!rig.pressed());
}

#[test]
fn a_press_for_a_zone_stops_the_vehicles_of_its_rules_and_one_for_a_zone_without_any_the_whole_site() {
    let mut rig = site(|policy| policy.keep_out[0].vehicles = vec![COPTER]);
    press(&mut rig, Scope::Zone(0));
    rig.pass(20);
    assert!(rig.tripped(COPTER, "estop") && !rig.tripped(ROVER, "estop"));
    let why = ["a zone's vehicles are reset by name, or the whole site is"];
    assert_eq!(reset(&mut rig, "ann", Scope::Zone(0)), why);
    press(&mut rig, Scope::Zone(7));
    rig.pass(20);
    assert!(rig.tripped(ROVER, "estop"));
    let mut rig = site(|_| {});
    press(&mut rig, Scope::Vehicle(9));
    assert!(rig.machine.latched().site, "of a vehicle that is not known the whole site is stopped");
}

#[test]
fn only_a_supervisor_resets_and_anybody_presses() {
    let mut rig = site(|policy| policy.people = people());
    press(&mut rig, Scope::Site);
    for nobody in ["bob", "mallory", ""] {
        assert_eq!(reset(&mut rig, nobody, Scope::Site), ["authority: only a supervisor resets the e-stop"]);
    }
    assert!(rig.pressed());
    assert!(reset(&mut rig, "eve", Scope::Site).is_empty() && !rig.pressed());
}

#[test]
fn with_two_persons_a_reset_acts_when_another_confirms_it_within_half_a_minute() {
    let mut rig = site(|policy| (policy.people, policy.two_person) = (people(), true));
    press(&mut rig, Scope::Site);
    assert_eq!(confirm(&mut rig, "bob"), ["nobody has asked for a reset"]);
    assert!(reset(&mut rig, "ann", Scope::Site).is_empty() && rig.pressed());
    let again = reset(&mut rig, "eve", Scope::Vehicle(ROVER));
    assert!(!again.is_empty(), "whoever confirms knows what was asked for");
    assert_eq!(confirm(&mut rig, "ann"), ["somebody else than who asked must confirm"]);
    assert_eq!(confirm(&mut rig, "mallory"), ["authority: that is nobody of this site"]);
    assert!(rig.pressed());
    assert!(confirm(&mut rig, "bob").is_empty() && !rig.pressed());

    press(&mut rig, Scope::Site);
    assert!(reset(&mut rig, "ann", Scope::Site).is_empty());
    rig.pass(30_000);
    assert_eq!(confirm(&mut rig, "bob"), ["it was asked for more than 30 s ago"]);
    assert!(reset(&mut rig, "ann", Scope::Site).is_empty());
    press(&mut rig, Scope::Site);
    assert_eq!(confirm(&mut rig, "bob"), ["nobody has asked for a reset"], "a press ends what was asked before it");
    assert!(rig.pressed());
}

#[test]
fn one_release_at_a_time_is_written() {
    let mut rig = site(|_| {});
    press(&mut rig, Scope::Vehicle(ROVER));
    press(&mut rig, Scope::Vehicle(COPTER));
    let (one, other) = (EventId(Uuid::now_v7()), EventId(Uuid::now_v7()));
    rig.give(Input::Reset { id: one, by: "ann".into(), scope: Scope::Vehicle(ROVER) });
    rig.give(Input::Reset { id: other, by: "ann".into(), scope: Scope::Vehicle(COPTER) });
    let refused =
        |effect: &&Effect| matches!(effect, Effect::Answered { id, reasons } if *id == other && !reasons.is_empty());
    assert_eq!(rig.effects.iter().filter(refused).count(), 1);
}

#[test]
fn the_hardware_line_presses_at_once_and_holds_the_latch_until_it_was_good_for_a_while() {
    let mut rig = site(|policy| policy.line = true);
    let pass = |rig: &mut Rig, pressed| {
        for _ in 0..15 {
            rig.pass(20);
            rig.give(Input::Line { pressed });
        }
    };
    pass(&mut rig, false);
    assert!(!rig.pressed());
    rig.give(Input::Line { pressed: true });
    assert!(rig.pressed(), "in the same step");
    assert!(reset(&mut rig, "ann", Scope::Site)[0].contains("line is still pressed"));
    // A contact that bounces is not released.
    rig.give(Input::Line { pressed: false });
    assert!(reset(&mut rig, "ann", Scope::Site)[0].contains("line is still pressed"));
    pass(&mut rig, false);
    assert!(rig.pressed(), "letting go resets nothing");
    assert!(reset(&mut rig, "ann", Scope::Site).is_empty() && !rig.pressed());
}

#[test]
fn a_hardware_line_that_is_not_read_any_more_is_a_press() {
    let mut rig = site(|policy| policy.line = true);
    rig.pass(480);
    assert!(!rig.pressed());
    rig.pass(40);
    assert!(rig.pressed());
    assert!(reset(&mut rig, "ann", Scope::Site)[0].contains("cannot be read"));
}

fn names() -> [Name; 2] {
    ["rover", "copter"].map(|name| name.parse().unwrap())
}

#[test]
fn an_unreadable_latch_counts_as_pressed() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    assert_eq!(latch::read(at), Latch::Absent);
    latch::write(at, &Latched::new(2, true), &names()).unwrap();
    assert_eq!(latch::read(at), Latch::Pressed(Vec::new()));
    latch::write(at, &Latched { site: false, vehicles: vec![true, false] }, &names()).unwrap();
    assert_eq!(latch::at_start(at, &names()).unwrap(), Latched { site: false, vehicles: vec![true, false] });
    let others = ["copter".parse().unwrap()];
    assert!(latch::at_start(at, &others).unwrap().site, "it names a vehicle that the site has not any more");
    latch::write(at, &Latched::new(2, false), &names()).unwrap();
    assert_eq!(latch::read(at), Latch::Released);
    let whole = std::fs::read(at.join("estop.a")).unwrap();
    for byte in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[byte] ^= 0x10;
        std::fs::write(at.join("estop.a"), damaged).unwrap();
        assert_eq!(latch::read(at), Latch::Unknown, "byte {byte}");
    }
    std::fs::remove_file(at.join("estop.a")).unwrap();
    assert_eq!(latch::read(at), Latch::Unknown, "one copy is gone");
    assert!(latch::at_start(at, &names()).unwrap().site);
}

#[test]
fn a_latch_as_the_first_release_wrote_it_is_still_read() {
    let folder = TempDir::new().unwrap();
    for (word, meant) in [("pressed", Latch::Pressed(Vec::new())), ("released", Latch::Released)] {
        let text = format!("{word} {}\n", blake3::hash(word.as_bytes()).to_hex());
        ["estop.a", "estop.b"].iter().for_each(|name| std::fs::write(folder.path().join(name), &text).unwrap());
        assert_eq!(latch::read(folder.path()), meant);
    }
}
