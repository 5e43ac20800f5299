//! The parameters of a vehicle's own failsafes: asked for, held against what they must be, a reason against motion.

use edge_node::interlock::machine::Verb;
use edge_node::vehicle::Class;
use edge_node::vehicle::audit::{Audit, wanted};

use crate::rig::{COPTER, Rig, told};

fn wrong(class: Class, values: &[(&str, f32)]) -> Vec<String> {
    let mut audit = crate::rig::set_up(class);
    values.iter().for_each(|(name, value)| audit.hear(class, &told(name, *value)));
    audit.reasons(class, 255).collect()
}

#[test]
fn failsafes_that_are_not_set_up_are_named_with_what_they_must_be() {
    assert!(wrong(Class::Copter, &[]).is_empty() && wrong(Class::Rover, &[]).is_empty());
    assert_eq!(wrong(Class::Copter, &[("FS_GCS_ENABLE", 0.0)]), ["audit: FS_GCS_ENABLE is 0, expected 5 or 7"]);
    assert_eq!(wrong(Class::Copter, &[("FS_OPTIONS", 16.0)]), ["audit: FS_OPTIONS is 16, expected without bit 16"]);
    assert_eq!(wrong(Class::Copter, &[("FLTMODE_GCSBLOCK", 8.0)]).len(), 1, "told, and not as it must be");
    assert_eq!(wrong(Class::Rover, &[("MAV_GCS_SYSID", 254.0)]), ["audit: MAV_GCS_SYSID is 254, expected 255"]);
    for odd in [f32::NAN, f32::INFINITY, -1.0, 0.5] {
        assert_eq!(wrong(Class::Copter, &[("FS_OPTIONS", odd), ("FENCE_ENABLE", odd)]).len(), 2, "{odd}");
    }
    // The names of older firmware.
    assert!(wrong(Class::Copter, &[("SYSID_MYGCS", 255.0)]).is_empty());
    assert_eq!(wrong(Class::Copter, &[("SYSID_MYGCS", 1.0)]).len(), 1);
    let nothing: Vec<String> = Audit::default().reasons(Class::Px4Copter, 255).collect();
    assert_eq!(nothing, ["audit: NAV_DLL_ACT was not told yet, expected not 0"]);
    let mut px4 = Audit::default();
    px4.hear(Class::Px4Copter, &told("NAV_DLL_ACT", f32::from_bits(2)));
    assert_eq!(px4.reasons(Class::Px4Copter, 255).count(), 0, "PX4 sends the bits of an integer");
}

#[test]
fn every_parameter_is_asked_for_and_again_for_ever() {
    for class in [Class::Rover, Class::Copter, Class::Plane, Class::Px4Copter] {
        let nothing = Audit::default();
        let mut names: Vec<&str> = (0..200).filter_map(|turn| nothing.next(class, turn)).collect();
        names.sort_unstable();
        names.dedup();
        let both = if class == Class::Px4Copter { 0 } else { 1 };
        assert_eq!(names.len(), wanted(class).len() + both, "{class:?}: {names:?}");
        let known = crate::rig::set_up(class);
        let again: Vec<&str> = (0..200).filter_map(|turn| known.next(class, turn)).collect();
        assert!(wanted(class).len() <= 2 || again.contains(&"FS_GCS_ENABLE"), "{class:?}");
    }
}

#[test]
fn audit_a_vehicle_whose_failsafes_are_not_set_up_is_not_sent_on_and_may_be_held() {
    let mut rig = Rig::new();
    rig.state[COPTER].audit.hear(Class::Copter, &told("FS_GCS_ENABLE", 0.0));
    rig.pass(400);
    assert!(rig.sent.is_empty(), "it is not stopped for it");
    assert_eq!(rig.ask(COPTER, Verb::Resume), ["audit: FS_GCS_ENABLE is 0, expected 5 or 7"]);
    for verb in [Verb::Hold, Verb::Return, Verb::Land] {
        assert!(rig.ask(COPTER, verb).is_empty());
    }
}
