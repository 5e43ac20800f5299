//! What keeps the model in use a good one: choice, comparison, drift, hard frames.

use std::path::Path;
use std::time::Duration;

use edge_node::clock::Stamp;
use edge_node::config::Config;
use edge_node::detect::Detection;
use edge_node::detect::manifest::{Entry, Manifest};
use edge_node::detect::model::{Model, Named};
use edge_node::detect::runtime::{Runtime, unpanicked};
use edge_node::detect::track::Tracker;
use edge_node::journal::writer;
use edge_node::models::UpkeepConfig;
use edge_node::models::choice::{Choice, Pinned};
use edge_node::models::compare::{Compared, Limits, Things};
use edge_node::models::drift::{MUCH, Psi, Thing, Watch, Window, psi};
use edge_node::models::hard::{Hard, Store, Turns, Why, unsure};
use edge_node::seeing;
use edge_node::sensor::frame::Picture;
use shared::units::{Uptime, UtcMicros};

fn pinned(name: &str) -> Pinned {
    Pinned { name: name.into(), sha256: "00".into() }
}

fn choice(probation: Option<u32>) -> Choice {
    Choice { configured: "a".into(), model: pinned("b"), before: Some(pinned("a")), probation, forced: false }
}

#[test]
fn a_choice_is_read_as_it_was_written_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Choice::read(folder.path()), None);
    choice(Some(1)).write(folder.path()).unwrap();
    assert_eq!(Choice::read(folder.path()), Some(choice(Some(1))));
    for wrong in ["", "{}", "[]", "\0", "{\"configured\":\"a\",\"model\":7,\"before\":null,\"probation\":null}"] {
        std::fs::write(folder.path().join("model.json"), wrong).unwrap();
        assert_eq!(Choice::read(folder.path()), None, "{wrong:?}");
    }
    Choice::forget(folder.path()).unwrap();
    Choice::forget(folder.path()).unwrap();
}

#[test]
fn a_model_that_takes_the_node_down_while_on_probation_is_left_at_the_third_start() {
    let mut now = choice(Some(0));
    for start in 1..=2 {
        let (next, why) = now.at_start("a");
        now = next.unwrap();
        assert_eq!((now.probation, why), (Some(start), None));
    }
    let (left, why) = now.at_start("a");
    let left = left.unwrap();
    assert_eq!((left.model, left.before, left.probation), (pinned("a"), None, None));
    assert_eq!(why.unwrap(), "the node has started 3 times while it was on probation");
    // One that has passed is kept however often the node starts.
    assert_eq!(choice(None).at_start("a"), (Some(choice(None)), None));
}

#[test]
fn a_configuration_that_names_another_model_since_then_comes_first() {
    let (now, why) = choice(None).at_start("c");
    assert_eq!(now, None);
    assert!(why.unwrap().contains("names c"));
}

fn named(label: &str, score: f32, left: f32) -> Named {
    Named { label: label.into(), score, box_xyxy_px: [left, 0.0, left + 10.0, 20.0] }
}

const MS: Duration = Duration::from_millis(1);

fn compared(first: &[Named], second: &[Named], labels: &[&str]) -> (Compared, bool) {
    let labels: Vec<String> = labels.iter().map(ToString::to_string).collect();
    let mut compared = Compared::default();
    let differ = compared.add(&labels, (first, 20 * MS), (second, 5 * MS));
    (compared, differ)
}

#[test]
fn a_score_near_the_threshold_is_no_disagreement_and_one_that_is_sure_is() {
    let counts = |(compared, differ): (Compared, bool)| {
        (compared.all.both, compared.all.only_first, compared.all.only_second, differ)
    };
    let sure = [named("person", 0.9, 0.0)];
    assert_eq!(counts(compared(&sure, &[named("person", 0.36, 1.0)], &[])), (1, 0, 0, false));
    assert_eq!(counts(compared(&[named("person", 0.36, 1.0)], &sure, &[])), (1, 0, 0, false));
    assert_eq!(counts(compared(&sure, &[named("person", 0.34, 1.0)], &[])), (0, 1, 0, true));
    // The same thing by another name.
    assert_eq!(counts(compared(&sure, &[named("car", 0.9, 0.0)], &[])), (0, 1, 0, true));
    assert_eq!(counts(compared(&sure, &[named("person", 0.9, 30.0)], &[])), (0, 1, 1, true));
    // What nobody is sure of is nothing, and what nobody watches for counts for nothing.
    assert_eq!(counts(compared(&[named("person", 0.5, 0.0)], &[], &[])), (0, 0, 0, false));
    assert_eq!(counts(compared(&[named("dog", 0.9, 0.0)], &[], &["person"])), (0, 0, 0, false));
    // One thing is one thing.
    let twice = [named("person", 0.9, 0.0), named("person", 0.8, 1.0)];
    assert_eq!(counts(compared(&twice, &sure, &[])), (1, 1, 0, true));
}

#[test]
fn a_candidate_is_refused_for_its_time_or_for_what_it_finds() {
    let limits = Limits { budget: 30 * MS, agreement: Some(0.3), heeded: &[] };
    let many: Vec<Named> = (0..10u8).map(|n| named("person", 0.9, f32::from(n) * 30.0)).collect();
    let with = |second: &[Named], took: Duration| {
        let mut compared = Compared::default();
        compared.add(&[], (&many, 20 * MS), (second, took));
        compared
    };
    assert_eq!(with(&many, 5 * MS).verdict(limits), Ok(()));
    assert_eq!(with(&many[..4], 5 * MS).verdict(limits), Ok(()));
    let wild = with(&many[..2], 5 * MS).verdict(limits).unwrap_err();
    assert!(wild.contains("both find 2 things, only the model in use 8, only this one 0: 0.20"), "{wild}");
    assert_eq!(with(&many[..2], 5 * MS).verdict(Limits { agreement: None, ..limits }), Ok(()));
    let slow = with(&many, 31 * MS).verdict(limits).unwrap_err();
    assert!(slow.contains("31 ms") && slow.contains("at most 30"), "{slow}");
    // Nine things say nothing.
    let mut few = Compared::default();
    few.add(&[], (&many[..9], MS), (&[], MS));
    assert_eq!((few.agreement(&[]), few.verdict(limits)), (None, Ok(())));
}

#[test]
fn the_index_is_that_of_the_definition() {
    // (0.5 - 0.25) ln(0.5 / 0.25) + (0.5 - 0.75) ln(0.5 / 0.75)
    let by_hand = 0.25 * 2.0f64.ln() - 0.25 * (2.0f64 / 3.0).ln();
    assert!((psi(&[500, 500], &[250, 750]) - by_hand).abs() < 1e-12);
    assert_eq!((psi(&[3, 7], &[300, 700]), psi(&[], &[]), psi(&[5], &[5, 0])), (0.0, 0.0, 0.0));
    // A bin that was never seen before is finite, and much.
    assert!((MUCH..10.0).contains(&psi(&[1000, 0], &[500, 500])));
}

/// A window of looks of a hundred seconds at a camera of this brightness, with people of this height.
fn window(watch: &mut Watch, begun: u64, brightness: f32, height: f32, class: usize) -> Option<Window> {
    let length = Duration::from_secs(100);
    let mut ended = None;
    for tenth in 0..=1000u64 {
        let now = Uptime((begun * 1000 + tenth * 100) * 1000);
        if watch.wants(length, now) {
            // Neither all the same nor random: what varies varies alike in each window.
            let wave = (tenth % 17) as f32 / 17.0;
            let thing = Thing { class, score: 0.5 + wave * 0.4, height: height * (0.8 + wave * 0.4) };
            ended = ended.or(watch.step(length, brightness + wave * 0.05, &[thing], now));
        }
    }
    ended
}

#[test]
fn pictures_of_another_kind_are_drift_and_those_of_the_same_are_not() {
    let mut watch = Watch::default();
    assert!(matches!(window(&mut watch, 0, 0.5, 0.2, 0), Some(Window::Normal)));
    let apart = |ended: Option<Window>| match ended {
        Some(Window::Apart(psi)) => psi,
        other => panic!("expected the end of a window, found {other:?}"),
    };
    let most = |psi: Psi| psi.all().into_iter().flatten().reduce(f64::max).unwrap();
    let same = apart(window(&mut watch, 100, 0.5, 0.2, 0));
    assert!(most(same) < 0.05, "{same:?}");
    let dark = apart(window(&mut watch, 200, 0.1, 0.2, 0));
    assert!(dark.brightness.unwrap() > MUCH && dark.heights.unwrap() < 0.05, "{dark:?}");
    let small = apart(window(&mut watch, 300, 0.5, 0.05, 0));
    assert!(small.heights.unwrap() > MUCH && small.brightness.unwrap() < 0.05, "{small:?}");
    let others = apart(window(&mut watch, 400, 0.5, 0.2, 3));
    assert!(others.classes.unwrap() > MUCH && others.scores.unwrap() < 0.05, "{others:?}");
    assert!(most(apart(window(&mut watch, 500, 0.5, 0.2, 0))) < 0.05);
}

#[test]
fn a_window_goes_on_where_it_was_when_the_node_is_started_again() {
    let apart = |psi: Psi| psi.all().into_iter().flatten().reduce(f64::max).unwrap();
    let length = Duration::from_secs(100);
    let mut watch = Watch::default();
    window(&mut watch, 0, 0.5, 0.2, 0);
    // Starts every forty seconds: no window would ever end. What is kept is what is written down.
    let (mut ends, mut normal, mut kept) = (0, watch.normal.clone(), watch.unfinished(Uptime(100_000_000)));
    for start in 0..11u64 {
        let text = serde_json::to_string(&kept).unwrap();
        let mut watch = Watch::new(normal.clone(), serde_json::from_str(&text).unwrap());
        for tenth in 0..400u64 {
            let now = Uptime((start * 1000 + 5 + tenth / 10) * 1_000_000 + tenth % 10 * 100_000);
            if watch.wants(length, now) {
                let thing = Thing { class: 0, score: 0.5 + (tenth % 17) as f32 / 17.0 * 0.4, height: 0.2 };
                let ended = watch.step(length, 0.1, &[thing], now);
                ends += usize::from(matches!(ended, Some(Window::Apart(psi)) if apart(psi) > MUCH));
            }
        }
        (normal, kept) = (watch.normal.clone(), watch.unfinished(Uptime((start * 1000 + 45) * 1_000_000)));
    }
    assert_eq!(ends, 4, "four windows in four hundred seconds and forty");
}

fn entry() -> Entry {
    let text = "[[model]]\nname = \"a/../b\"\nfile = \"m.onnx\"\nsha256 = \"00\"\nhead = \"yolox\"\n\
        input = { width = 64, height = 32, channels = \"rgb\", scale = 1.0 }\n\
        letterbox = { anchor = \"top-left\", fill = 114 }\noutput = { rows = 42, columns = 7 }\n\
        classes = [\"person\", \"car\"]\nlicence = \"MIT\"\nsource = \"here\"\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("manifest.toml");
    std::fs::write(&file, text).unwrap();
    Manifest::read(&file).unwrap().models.remove(0)
}

#[test]
fn hard_frames_are_a_folder_that_training_reads_and_stay_within_their_quota() {
    let data = tempfile::tempdir().unwrap();
    let rgb: Vec<u8> = (0..200u32 * 100 * 3).map(|n| (n * 7919 % 251) as u8).collect();
    let picture = Picture::rgb(200, 100, rgb);
    let found = [
        Detection { class: 1, score: 0.9, box_xyxy_px: [50.0, -10.0, 150.0, 50.0] },
        Detection { class: 0, score: 0.2, box_xyxy_px: [0.0, 0.0, 9.0, 9.0] },
    ];
    let hard = Hard { why: Why::Margin, camera: "gate", by: "", picture: &picture, found: &found, at: UtcMicros(0) };
    let one = Store::new(data.path(), 1 << 20).keep(&entry(), &hard).unwrap().unwrap();
    let folder = data.path().join("hard/a____b-00");
    let bytes = std::fs::metadata(folder.join(format!("images/{one}.jpg"))).unwrap().len();
    assert_eq!(
        std::fs::read_to_string(folder.join(format!("labels/{one}.txt"))).unwrap(),
        "1 0.500000 0.250000 0.500000 0.500000\n"
    );
    assert_eq!(std::fs::read_to_string(folder.join("names.yaml")).unwrap(), "names:\n  0: \"person\"\n  1: \"car\"\n");
    let about: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join(format!("about/{one}.json"))).unwrap()).unwrap();
    assert_eq!(
        (&about["why"], &about["camera"], &about["at"]),
        (&"margin".into(), &"gate".into(), &"1970-01-01T00:00:00.000000Z".into())
    );
    // Room for three and a half: the oldest go, with what lies beside them.
    let store = Store::new(data.path(), bytes * 7 / 2);
    for _ in 0..6 {
        store.keep(&entry(), &hard).unwrap().unwrap();
    }
    assert_eq!(store.size(), (3, bytes * 3));
    for part in ["images", "labels", "about"] {
        assert_eq!(std::fs::read_dir(folder.join(part)).unwrap().count(), 3, "{part}");
    }
    assert_eq!(Store::new(data.path(), bytes - 1).keep(&entry(), &hard).unwrap(), None);
    assert_eq!(store.size().0, 3);
}

#[test]
fn a_camera_keeps_one_picture_a_minute_for_each_reason() {
    let mut turns = Turns::default();
    let at = |seconds: u64| Uptime(seconds * 1_000_000);
    assert!(turns.due(0, Why::Margin, at(5)));
    turns.took(0, Why::Margin, at(5));
    assert!(!turns.due(0, Why::Margin, at(64)) && turns.due(0, Why::Margin, at(65)));
    assert!(turns.due(1, Why::Margin, at(6)) && turns.due(0, Why::Flicker, at(6)));
    let score = |score| [Detection { class: 0, score, box_xyxy_px: [0.0; 4] }];
    let least = |class: usize| if class == 0 { 0.35 } else { 0.6 };
    assert!(unsure(&score(0.32), least) && unsure(&score(0.39), least));
    assert!(!unsure(&score(0.41), least) && !unsure(&score(0.29), least) && !unsure(&[], least));
    // Of a class that counts from a higher score on that is what is doubtful.
    let other = |score| [Detection { class: 1, score, box_xyxy_px: [0.0; 4] }];
    assert!(unsure(&other(0.62), least) && !unsure(&other(0.39), least));
}

#[test]
fn one_that_agrees_on_cars_and_is_blind_to_people_does_not_agree() {
    let of = |label: &str, count: u8| (0..count).map(|n| named(label, 0.9, f32::from(n) * 30.0)).collect::<Vec<_>>();
    let heeded = ["person".to_owned()];
    let mut compared = Compared::default();
    compared.add(&[], (&[of("car", 90), of("person", 10)].concat(), MS), (&of("car", 90), MS));
    assert_eq!((compared.agreement(&heeded), compared.agreement(&[])), (Some(0.0), Some(0.9)));
    // Too few people to tell: then all things together are what there is.
    let mut few = Compared::default();
    few.add(&[], (&[of("car", 18), of("person", 2)].concat(), MS), (&of("car", 18), MS));
    assert_eq!(few.agreement(&heeded), Some(0.9));
}

#[test]
fn what_a_power_cut_left_of_a_hard_frame_is_removed() {
    let data = tempfile::tempdir().unwrap();
    let picture = Picture::rgb(32, 32, vec![90; 32 * 32 * 3]);
    let hard = Hard { why: Why::Missed, camera: "gate", by: "ann", picture: &picture, found: &[], at: UtcMicros(0) };
    let store = Store::new(data.path(), 1 << 20);
    store.tidy().unwrap();
    store.keep(&entry(), &hard).unwrap().unwrap();
    let folder = data.path().join("hard/a____b-00");
    for left in ["images/x.jpg.new", "labels/x.txt", "about/x.json", "about/y.json.new"] {
        std::fs::write(folder.join(left), "left").unwrap();
    }
    store.tidy().unwrap();
    for part in ["images", "labels", "about"] {
        assert_eq!(std::fs::read_dir(folder.join(part)).unwrap().count(), 1, "{part}");
    }
}

#[test]
fn what_counts_only_from_a_higher_score_counts_so_for_both() {
    let mut compared = Compared::new([("person".to_owned(), 0.8)].into());
    // Below it neither counts, above it the other may be a little less sure.
    compared.add(&[], (&[], MS), (&[named("person", 0.75, 0.0)], MS));
    assert_eq!(compared.all, Things::default());
    compared.add(&[], (&[named("person", 0.82, 0.0)], MS), (&[named("person", 0.5, 0.0)], MS));
    assert_eq!(compared.all, Things { both: 1, only_first: 0, only_second: 0 });
}

#[test]
fn something_followed_that_is_not_found_for_a_frame_flickers() {
    let person = [Detection { class: 0, score: 0.9, box_xyxy_px: [10.0, 10.0, 30.0, 60.0] }];
    let mut tracker = Tracker::default();
    let mut step = |found: &[Detection], tenths: u64| {
        tracker.step(found, Uptime(tenths * 100_000), |_| Vec::new());
        tracker.flicker()
    };
    assert_eq!((step(&person, 0), step(&person, 1)), ((false, false), (false, false)));
    assert_eq!((step(&[], 2), step(&person, 3), step(&person, 4)), ((true, false), (false, true), (false, false)));
    // Gone for two frames is gone.
    assert_eq!((step(&[], 5), step(&[], 6), step(&person, 7)), ((true, false), (false, false), (false, false)));
}

#[test]
fn what_is_asked_of_a_model_is_checked() {
    let wrong = |upkeep: UpkeepConfig| upkeep.problem().map(|(key, _)| key);
    let usual = UpkeepConfig::default;
    assert_eq!(wrong(usual()), None);
    assert_eq!(wrong(UpkeepConfig { budget: Duration::ZERO, ..usual() }), Some("budget"));
    assert_eq!(wrong(UpkeepConfig { agreement: f32::NAN, ..usual() }), Some("agreement"));
    assert_eq!(wrong(UpkeepConfig { probation: Duration::from_secs(700_000), ..usual() }), Some("probation"));
    assert_eq!(wrong(UpkeepConfig { drift_window: MS, ..usual() }), Some("drift_window"));
    assert_eq!(wrong(UpkeepConfig { hard_mib: u32::MAX, ..usual() }), Some("hard_mib"));
}

#[test]
fn what_was_chosen_stays_chosen_while_nothing_can_be_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = hil::media::root().join("models/manifest.toml");
    let known = Manifest::read(&manifest).unwrap();
    let pinned = |name: &str| Pinned::of(&known.find(name).unwrap().0);
    let choice = Choice {
        configured: "yard".into(),
        model: pinned("yard-square"),
        before: Some(pinned("yard")),
        probation: None,
        forced: false,
    };
    choice.write(folder.path()).unwrap();
    let limits = toml::from_str("segment_mib = 1\nbulk_mib = 2\nurgent_mib = 1\nballast_mib = 1").unwrap();
    let (journal, acks, thread) = writer::start(folder.path().to_owned(), limits, Stamp::new(), None).unwrap();
    let first = |manifest: &Path, more: &str| {
        let (data, manifest) = (folder.path().display(), manifest.display());
        let text = format!(
            "node = \"n\"\ndata = \"{data}\"\nlisten = \"127.0.0.1:0\"\n[model]\nname = \"yard\"\nmanifest = \"{manifest}\"\n{more}"
        );
        let config = Config::of("n.toml", text).unwrap();
        seeing::first(&config, config.model.as_ref().unwrap(), &journal)
            .map(|(model, _)| model.entry().name.clone())
            .map_err(|error| format!("{error:#}"))
    };
    // A library that is not there; a manifest whose files are not.
    let library = format!("[model.onnxruntime]\nlibrary = \"/nowhere/lib.so\"\nsha256 = \"{}\"\n", "0".repeat(64));
    let elsewhere = folder.path().join("manifest.toml");
    std::fs::copy(&manifest, &elsewhere).unwrap();
    for (manifest, more) in [(&manifest, library.as_str()), (&elsewhere, "")] {
        let said = first(manifest, more).unwrap_err();
        assert!(said.contains("/nowhere/lib.so") || said.contains("yard.onnx"), "{said}");
        assert_eq!(Choice::read(folder.path()), Some(choice.clone()), "{said}");
    }
    assert_eq!(first(&manifest, ""), Ok("yard-square".into()));
    assert_eq!(unpanicked(|| -> u8 { panic!("of a library") }), Err("it panics: of a library".into()));
    drop((journal, acks));
    thread.join();
}

#[test]
fn a_network_that_gives_no_numbers_is_refused_and_does_not_see_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let models = hil::media::root().join("models");
    let mut bytes = std::fs::read(models.join("yard.onnx")).unwrap();
    // The ten biases of a head, behind their name and their length in bytes, are no numbers any more.
    let name = b"heads.0.bias\x4A\x28";
    let at = bytes.windows(name.len()).position(|some| some == name).unwrap() + name.len();
    bytes[at..at + 40].fill(0xFF);
    let file = folder.path().join("yard.onnx");
    std::fs::write(&file, &bytes).unwrap();
    let hash = edge_node::detect::manifest::sha256(&bytes);
    let (mut entry, _) = Manifest::read(&models.join("manifest.toml")).unwrap().find("yard").unwrap();
    entry.sha256 = hash;
    let Err(error) = Model::load(&Runtime::Tract, entry, &file) else { panic!("it was taken") };
    assert!(error.to_string().contains("found NaN or infinity"), "{error}");
}

#[test]
fn a_model_is_no_device_and_its_scale_is_a_factor() {
    let models = hil::media::root().join("models/manifest.toml");
    let error = Manifest::read(&models).unwrap().find("/dev/zero").unwrap_err();
    assert!(error.to_string().contains("is not in"), "{error}");
    let text = std::fs::read_to_string(&models).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for scale in ["nan", "0.0", "-1.0", "inf"] {
        let file = folder.path().join("manifest.toml");
        std::fs::write(&file, text.replacen("scale = 1.0", &format!("scale = {scale}"), 1)).unwrap();
        let error = Manifest::read(&file).unwrap_err().to_string();
        assert!(error.contains("model[0].input.scale") && error.contains("above zero"), "{error}");
    }
}
