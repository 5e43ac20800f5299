//! Drawn yards, and our own model in them: it ships with the product, so it must find people without anything beside it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use hil::binaries::built;
use hil::drawn::render;
use hil::process::output;
use hil::site::{Plan, Ports};
use serde_json::Value;

use crate::footage::wait_for_events;
use crate::interlock::wait_for_state;
use crate::radio::alone;

/// Scenes beyond the seeds of training and of the model's card.
const SEED: &str = "5000000";
const SCENES: usize = 60;
/// Height of the smallest people that are asked for: 12 pixels of the model's 180, as a share of the picture's.
const LEAST: f64 = 12.0 / 180.0;

/// People of a scene: centre and size, shares of the picture's sides.
fn people(folder: &Path, kind: &str, scene: usize) -> Vec<[f64; 4]> {
    let text = std::fs::read_to_string(folder.join(format!("{kind}/{scene:06}.txt"))).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("0 "));
    lines.map(|line| line.split(' ').map(|v| v.parse().unwrap()).collect::<Vec<f64>>().try_into().unwrap()).collect()
}

fn overlap(a: [f64; 4], b: [f64; 4]) -> f64 {
    let side = |(ac, al): (f64, f64), (bc, bl): (f64, f64)| {
        ((ac + al / 2.0).min(bc + bl / 2.0) - (ac - al / 2.0).max(bc - bl / 2.0)).max(0.0)
    };
    let common = side((a[0], a[2]), (b[0], b[2])) * side((a[1], a[3]), (b[1], b[3]));
    common / (a[2] * a[3] + b[2] * b[3] - common)
}

#[test]
fn a_drawn_scene_is_the_same_for_the_same_seed_and_its_labels_are_where_things_are() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    render(one.path(), "42", 12, &[]).unwrap();
    render(other.path(), "42", 12, &[]).unwrap();
    let read = |folder: &Path, file: &str| std::fs::read(folder.join(file)).unwrap();
    let mut labels = 0;
    for scene in 0..12 {
        for file in
            [format!("images/{scene:06}.jpg"), format!("labels/{scene:06}.txt"), format!("unsure/{scene:06}.txt")]
        {
            assert_eq!(read(one.path(), &file), read(other.path(), &file), "{file}");
        }
        for [x, y, w, h] in people(one.path(), "labels", scene) {
            labels += 1;
            let inside = x - w / 2.0 >= -1e-4 && x + w / 2.0 <= 1.0001 && y - h / 2.0 >= -1e-4 && y + h / 2.0 <= 1.0001;
            assert!(inside && w > 0.0 && h > 0.0, "scene {scene}: {x} {y} {w} {h}");
        }
    }
    assert!(labels >= 10, "somebody is in it: {labels}");
    let another = tempfile::tempdir().unwrap();
    render(another.path(), "43", 1, &[]).unwrap();
    assert_eq!(
        read(another.path(), "images/000000.jpg"),
        read(one.path(), "images/000001.jpg"),
        "each has the next seed"
    );
}

#[test]
fn our_model_finds_people_in_scenes_that_it_has_not_seen() {
    let folder = tempfile::tempdir().unwrap();
    render(folder.path(), SEED, SCENES, &[]).unwrap();
    let manifest = hil::media::root().join("models/manifest.toml");
    let pictures: Vec<_> = (0..SCENES).map(|n| folder.path().join(format!("images/{n:06}.jpg"))).collect();
    for model in ["yard", "yard-square"] {
        let mut detect = Command::new(built().unwrap().join("edge-node"));
        // Nothing beside the project: the weights are in it.
        detect.args(["detect", "--json", "--score", "0.5", "--model", model, "--manifest"]).arg(&manifest);
        let found: BTreeMap<String, Vec<Value>> =
            serde_json::from_str(&output(detect.args(&pictures)).unwrap()).unwrap();
        let (mut asked, mut hit, mut wrong) = (0, 0, 0);
        for (scene, picture) in pictures.iter().enumerate() {
            let persons = found[&picture.display().to_string()].iter().filter(|d| d["label"] == "person");
            let boxes = persons.map(|d| {
                let edge = |n: usize, side: f64| d["box_xyxy_px"][n].as_f64().unwrap() / side;
                let (left, top, right, bottom) = (edge(0, 640.0), edge(1, 360.0), edge(2, 640.0), edge(3, 360.0));
                [(left + right) / 2.0, (top + bottom) / 2.0, right - left, bottom - top]
            });
            let boxes: Vec<[f64; 4]> = boxes.collect();
            let (labels, unsure) = (people(folder.path(), "labels", scene), people(folder.path(), "unsure", scene));
            for label in labels.iter().filter(|label| label[3] >= LEAST) {
                asked += 1;
                hit += usize::from(boxes.iter().any(|found| overlap(*found, *label) >= 0.4));
            }
            let nobody = |found: &&[f64; 4]| !labels.iter().chain(&unsure).any(|label| overlap(**found, *label) > 0.1);
            wrong += boxes.iter().filter(nobody).count();
        }
        assert!(asked >= 60, "{model}: {asked} people are asked for");
        assert!(hit * 100 >= asked * 60, "{model}: {hit} of {asked} are found");
        assert!(wrong * 10 <= SCENES * 2, "{model}: {wrong} times somebody who is not there in {SCENES} scenes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_look_says_how_somebody_is_held() {
    let folder = tempfile::tempdir().unwrap();
    render(folder.path(), SEED, 49, &[]).unwrap();
    // Somebody lies on the ground in the one, and is low in the other.
    for (scene, posture) in [(48, "lying"), (42, "low")] {
        let words = std::fs::read_to_string(folder.path().join(format!("postures/{scene:06}.txt"))).unwrap();
        assert!(words.lines().any(|word| word == posture), "{words}");
        let shown = tempfile::tempdir().unwrap();
        let picture = folder.path().join(format!("images/{scene:06}.jpg"));
        std::fs::copy(picture, shown.path().join("0.jpg")).unwrap();
        let node = format!(
            "\n[[chain]]\nname = \"posture\"\nlabels = [\"person\"]\nmodel = \"posture\"\nevery = \"200ms\"\n\n\
             [[camera]]\nname = \"yard\"\nsource = \"folder:{}\"\nrepeat = true\nperiod = \"100ms\"\n",
            shown.path().display()
        );
        let plan = Plan { node, model: true, detector: Some("yard".into()), ..Plan::default() };
        let mut site = alone(&plan, Ports::free().unwrap());
        site.start_node().unwrap();
        let said = |event: &&Value| event["data"]["label"] == posture;
        let told = wait_for_events(&site, "track.classified", posture, |found| found.iter().any(|e| said(&e))).await;
        let data = &told.iter().find(said).unwrap()["data"];
        assert_eq!((&data["chain"], &data["camera"]), (&"posture".into(), &"yard".into()));
        assert!(data["score"].as_f64() >= Some(0.6), "{data}");
        let label = format!("person, {posture}");
        let shown = |state: &Value| {
            let boxes = state["cameras"][0]["boxes"].as_array();
            boxes.is_some_and(|boxes| boxes.iter().any(|one| one["label"] == label.as_str()))
        };
        wait_for_state(&site, "the console to show it", shown).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_look_at_two_cameras_and_both_take_another_model_over() {
    let folder = tempfile::tempdir().unwrap();
    render(folder.path(), SEED, 1, &[]).unwrap();
    let camera = |name: &str| {
        format!(
            "\n[[camera]]\nname = \"{name}\"\nsource = \"folder:{}/images\"\nrepeat = true\nperiod = \"100ms\"\n",
            folder.path().display()
        )
    };
    let node = format!("workers = 2\n{}{}", camera("one"), camera("other"));
    let plan = Plan { node, model: true, detector: Some("yard".into()), ..Plan::default() };
    let mut site = alone(&plan, Ports::free().unwrap());
    site.start_node().unwrap();
    let both = |state: &Value, least: &[u64; 2]| {
        let fits = |n: usize| {
            let camera = &state["cameras"][n];
            camera["frame"].as_u64() > Some(least[n]) && camera["boxes"].as_array().is_some_and(|b| !b.is_empty())
        };
        fits(0) && fits(1)
    };
    wait_for_state(&site, "both cameras to be looked at", |state| both(state, &[0, 0])).await;
    let threads = std::fs::read_dir(format!("/proc/{}/task", site.node.as_ref().unwrap().id())).unwrap().flatten();
    let names = threads.map(|thread| std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default());
    assert_eq!(names.filter(|name| name.starts_with("detect-")).count(), 2);
    site.inspect(&["models", "use", "yard-square", "--by", "ann"]).unwrap();
    let ended = |camera: &'static str| {
        move |event: &Value| event["data"]["camera"] == camera && event["data"]["phase"] == "end"
    };
    wait_for_events(&site, "detection.track", "tracks of both to end with their model", |found| {
        found.iter().any(ended("one")) && found.iter().any(ended("other"))
    })
    .await;
    let state = site.state().await.unwrap();
    let now = [0, 1].map(|n| state["cameras"][n]["frame"].as_u64().unwrap());
    wait_for_state(&site, "both to go on with the other model", |state| both(state, &now)).await;
}
