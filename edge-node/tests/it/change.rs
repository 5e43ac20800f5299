//! The probation of a model, with our own models and time as an argument.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use edge_node::clock::Stamp;
use edge_node::detect::Looked;
use edge_node::detect::current::Current;
use edge_node::detect::manifest::Manifest;
use edge_node::detect::model::Model;
use edge_node::detect::runtime::Runtime;
use edge_node::journal::limits::Limits;
use edge_node::journal::writer;
use edge_node::models::change::{Change, Parts};
use edge_node::models::choice::{Choice, Pinned};
use edge_node::models::{UpkeepConfig, Want};
use edge_node::sensor::frame::{Frame, Picture};
use shared::units::Uptime;

fn load(name: &str) -> anyhow::Result<Model> {
    let manifest = Manifest::read(&hil::media::root().join("models/manifest.toml"))?;
    let (entry, file) = manifest.find(name)?;
    Ok(Model::load(&Runtime::Tract, entry, &file)?)
}

type Ours = Change<fn(&str) -> anyhow::Result<Model>>;

/// A node's models at second 0, with this one in use.
fn change(folder: &Path, name: &str, choice: Option<Choice>) -> (Ours, Current) {
    let (journal, _acks, _writer) = writer::start(folder.to_owned(), Limits::default(), Stamp::new(), None).unwrap();
    let current = Current::new(load(name).unwrap());
    let parts = Parts {
        config: UpkeepConfig {
            budget: Duration::from_secs(2),
            probation: Duration::from_secs(60),
            ..UpkeepConfig::default()
        },
        configured: "yard".into(),
        folder: folder.to_owned(),
        labels: Vec::new(),
        heeded: Vec::new(),
        sure: HashMap::new(),
        current: current.clone(),
        load: load as fn(&str) -> anyhow::Result<Model>,
        sift: Box::new(|_, _, _, found| found),
        journal,
        choice,
    };
    (Change::new(parts, at(0)), current)
}

fn at(seconds: u64) -> Uptime {
    Uptime(seconds * 1_000_000)
}

/// Looks at an empty picture.
fn look(change: &mut Ours, current: &Current, count: usize, took: Duration, now: Uptime) {
    let picture = Arc::new(Picture::rgb(64, 64, vec![114; 64 * 64 * 3]));
    for number in 0..count {
        let frame = Frame { camera: 0, number: number as u64, captured: now, picture: picture.clone() };
        let number = current.number();
        change.looked(&Looked { number, frame, found: Vec::new(), took, whole: true, missed: false, back: false }, now);
    }
}

fn name(current: &Current) -> String {
    current.get().0.entry().name.clone()
}

fn use_square(change: &mut Ours) -> Result<serde_json::Value, String> {
    let want = Want::Use { name: "yard-square".into(), force: false };
    change.ask(&want, "ann", &mut std::iter::empty(), &|| true, at(0))
}

const FAST: Duration = Duration::from_millis(5);

#[test]
fn one_that_becomes_slow_is_replaced_by_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let (mut change, current) = change(folder.path(), "yard", None);
    use_square(&mut change).unwrap();
    let chosen = Choice::read(folder.path()).unwrap();
    assert_eq!(
        (name(&current), chosen.model.name, chosen.probation),
        ("yard-square".into(), "yard-square".into(), Some(0))
    );
    look(&mut change, &current, 29, Duration::from_secs(3), at(1));
    change.judge(at(1));
    assert_eq!(name(&current), "yard-square", "too few looks to tell");
    look(&mut change, &current, 1, Duration::from_secs(3), at(1));
    change.judge(at(1));
    let chosen = Choice::read(folder.path()).unwrap();
    assert_eq!((name(&current), chosen.model.name, chosen.before), ("yard".into(), "yard".into(), None));
}

#[test]
fn one_that_fails_on_three_pictures_is_replaced_by_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let (mut change, current) = change(folder.path(), "yard", None);
    use_square(&mut change).unwrap();
    let number = current.number();
    // Failures of the one before count for nothing.
    [number - 1, number - 1, number, number].into_iter().for_each(|number| current.failed(number));
    change.judge(at(1));
    assert_eq!(name(&current), "yard-square");
    current.failed(number);
    change.judge(at(1));
    assert_eq!((name(&current), current.failures()), ("yard".into(), 0));
}

#[test]
fn one_that_has_seen_nothing_stays_on_probation_for_a_day_and_its_starts_are_counted_anew() {
    let folder = tempfile::tempdir().unwrap();
    let pinned = |name: &str| Pinned::of(load(name).unwrap().entry());
    let choice = Choice {
        configured: "yard".into(),
        model: pinned("yard-square"),
        before: Some(pinned("yard")),
        probation: Some(2),
        forced: false,
    };
    choice.write(folder.path()).unwrap();
    let (mut change, current) = change(folder.path(), "yard-square", Some(choice));
    let starts = || Choice::read(folder.path()).unwrap().probation;
    change.judge(at(61));
    assert_eq!(starts(), Some(2), "without a look nothing is known, not even that it works");
    look(&mut change, &current, 30, FAST, at(30));
    change.judge(at(59));
    assert_eq!(starts(), Some(2));
    change.judge(at(60));
    assert_eq!(starts(), Some(0), "the node lives with it");
    let want = Want::Use { name: "yard".into(), force: true };
    let refused = change.ask(&want, "ann", &mut std::iter::empty(), &|| true, at(61)).unwrap_err();
    assert!(refused.contains("yard-square is on probation"), "{refused}");
    change.judge(at(60 + 24 * 3600));
    assert_eq!((starts(), name(&current)), (None, "yard-square".into()));
    let said = change.ask(&want, "ann", &mut std::iter::empty(), &|| true, at(100_000)).unwrap();
    assert_eq!((said["model"].as_str(), said["before"].as_str()), (Some("yard"), Some("yard-square")));
}

#[test]
fn a_trial_that_nobody_waits_for_any_more_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut change, current) = change(folder.path(), "yard", None);
    let want = Want::Use { name: "yard-square".into(), force: false };
    let mut pictures = std::iter::once(Ok((None, Picture::rgb(64, 64, vec![114; 64 * 64 * 3]))));
    let refused = change.ask(&want, "ann", &mut pictures, &|| false, at(0)).unwrap_err();
    assert!(refused.contains("whoever asked has gone"), "{refused}");
    assert_eq!((name(&current), Choice::read(folder.path())), ("yard".into(), None));
}
