//! Changing the model of a running node: the trial, the probation, the way back; shadows, drift and hard frames.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hil::process::output;
use hil::site::{Plan, Ports, Site};
use hil::wait::eventually;
use serde_json::{Value, json};

use crate::footage::wait_for_events;
use crate::radio::alone;

const LONG: Duration = Duration::from_secs(90);
const ZONE: &str = "\n[[zone]]\nname = \"room\"\ncamera = \"room\"\npolygon = [[0, 0], [1, 0], [1, 1], [0, 1]]\n\
                    clear_after = \"1s\"\nalert = true\n";

/// A node whose camera plays a source; `upkeep`: lines of `[model.upkeep]`.
fn site(source: &str, detector: Option<&str>, upkeep: &str) -> Site {
    let node = format!(
        "\n[model.upkeep]\n{upkeep}\n\n[[camera]]\nname = \"room\"\nsource = \"{source}\"\nrepeat = true\n\
         period = \"15ms\"\n{ZONE}"
    );
    let plan = Plan { node, model: true, detector: detector.map(str::to_owned), ..Plan::default() };
    alone(&plan, Ports::free().unwrap())
}

async fn wait_for_models(site: &Site, what: &str, enough: impl Fn(&Value) -> bool) -> Value {
    let look = async || {
        let (_, about) = site.get("/api/v1/models").await.map_err(|error| error.to_string())?;
        if enough(&about) { Ok(about) } else { Err(about.to_string()) }
    };
    eventually(what, LONG, look).await.unwrap()
}

/// A node with YOLOX-nano that sees the real room, once it shows its model; `before`: what is done before it starts.
async fn running(media: &Path, before: impl FnOnce(&Site)) -> Site {
    let mut site = site(&format!("file:{}/one-by-one-person-detection.mp4", media.display()), None, "");
    before(&site);
    site.start_node().unwrap();
    wait_for_models(&site, "the models to be shown", |about| about["model"] == "yolox-nano").await;
    site
}

/// The hard frames of a model.
fn hard(site: &Site, model: &str) -> PathBuf {
    let folders = std::fs::read_dir(site.data().join("hard")).unwrap().flatten().map(|folder| folder.path());
    let ours = |folder: &PathBuf| folder.file_name().is_some_and(|name| name.to_str().unwrap().starts_with(model));
    folders.into_iter().find(ours).unwrap()
}

/// Pictures of people, as the node would have kept them.
fn keep(site: &Site, media: &Path) {
    let images = site.data().join("hard/yolox-nano-before/images");
    std::fs::create_dir_all(&images).unwrap();
    for entry in std::fs::read_dir(media.join("images")).unwrap().flatten() {
        std::fs::copy(entry.path(), images.join(entry.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_tried_before_it_is_used_and_the_one_before_can_be_used_again() {
    let test = "a_model_is_tried_before_it_is_used_and_the_one_before_can_be_used_again";
    let Some(media) = hil::media::or_skip(test) else { return };
    let mut site = running(&media, |site| keep(site, &media)).await;
    // Our own has never seen a photograph: it finds next to nothing of what is in these.
    let refused = site.inspect(&["models", "use", "yard", "--by", "ann"]).unwrap_err().to_string();
    assert!(refused.contains("model yard: in ") && refused.contains("model.upkeep.agreement"), "{refused}");
    for (name, reason) in [("yolox-nano", "is in use"), ("nothing", "is not in")] {
        let refused = site.inspect(&["models", "use", name, "--by", "ann"]).unwrap_err().to_string();
        assert!(refused.contains(reason), "{refused}");
    }
    let refused = site.inspect(&["models", "rollback", "--by", "ann"]).unwrap_err().to_string();
    assert!(refused.contains("no model to go back to"), "{refused}");
    let (status, answer) = site.post("/api/v1/models/use", &json!({ "model": "yard", "by": " " })).await.unwrap();
    assert_eq!(status, 400, "{answer}");
    // The same weights for another shape find the same.
    let said = site.inspect(&["models", "use", "yolox-nano-wide", "--by", "ann"]).unwrap();
    assert!(said.contains("in use\tyolox-nano-wide") && said.contains("probation"), "{said}");
    let refused = site.inspect(&["models", "use", "yard", "--force", "--by", "ann"]).unwrap_err().to_string();
    assert!(refused.contains("yolox-nano-wide is on probation"), "{refused}");
    let changed = wait_for_events(&site, "model.changed", "the change", |found| !found.is_empty()).await;
    assert_eq!(
        changed[0]["data"],
        json!({ "model": "yolox-nano-wide", "before": "yolox-nano", "why": "use", "by": "ann" })
    );
    let compared = wait_for_events(&site, "model.compared", "both trials", |found| found.len() == 2).await;
    let verdict = |n: usize| compared[n]["data"]["verdict"].as_str().unwrap();
    assert!(verdict(0).contains("agreed on") && verdict(1) == "accepted", "{compared:?}");
    assert!(compared[1]["data"]["both"].as_u64().unwrap() >= 10, "{compared:?}");
    // It finds people, and a power cut does not undo the choice.
    let before = wait_for_events(&site, "zone.occupied", "somebody to be seen", |found| !found.is_empty()).await.len();
    site.node = None;
    site.start_node().unwrap();
    wait_for_models(&site, "the choice to be kept", |about| about["model"] == "yolox-nano-wide").await;
    wait_for_events(&site, "zone.occupied", "somebody to be seen again", |found| found.len() > before).await;
    let said = site.inspect(&["models", "rollback", "--by", "bob"]).unwrap();
    assert!(said.contains("in use\tyolox-nano ("), "{said}");
    let changed = wait_for_events(&site, "model.changed", "the way back", |found| found.len() == 2).await;
    assert_eq!(
        changed[1]["data"],
        json!({ "model": "yolox-nano", "before": "yolox-nano-wide", "why": "rollback", "by": "bob" })
    );
    // A file of the choice that nobody wrote is no reason not to start.
    site.node = None;
    std::fs::write(site.data().join("model.json"), "{\"configured\":").unwrap();
    site.start_node().unwrap();
    wait_for_models(&site, "the configuration's model", |about| about["model"] == "yolox-nano").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_finds_something_else_altogether_is_replaced_by_itself() {
    let Some(media) = hil::media::or_skip("a_model_that_finds_something_else_altogether_is_replaced_by_itself") else {
        return;
    };
    let site = running(&media, |_| {}).await;
    // Nothing is kept, and the room is empty or one is in it: the trial has nothing to say.
    site.inspect(&["models", "use", "yard", "--by", "ann"]).unwrap();
    let changed =
        wait_for_events(&site, "model.changed", "the change and the way back", |found| found.len() == 2).await;
    assert_eq!((&changed[1]["data"]["model"], &changed[1]["data"]["by"]), (&"yolox-nano".into(), &"".into()));
    let why = changed[1]["data"]["why"].as_str().unwrap();
    assert!(why.starts_with("automatic: ") && why.contains("agreed on"), "{why}");
    wait_for_models(&site, "the model before", |about| about["model"] == "yolox-nano").await;
    // Where the two differed, pictures are kept to learn from.
    let kept =
        wait_for_models(&site, "a hard frame", |about| about["hard_frames"]["pictures"].as_u64() > Some(0)).await;
    assert_eq!(kept["before"], Value::Null, "there is no further back");
    assert!(std::fs::read_dir(hard(&site, "yard-").join("images")).unwrap().count() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_only_looks_on_and_an_operators_word_keeps_a_picture() {
    let Some(media) = hil::media::or_skip("a_shadow_only_looks_on_and_an_operators_word_keeps_a_picture") else {
        return;
    };
    let site = running(&media, |_| {}).await;
    site.inspect(&["models", "shadow", "yolox-nano-wide", "--by", "ann"]).unwrap();
    let shadowed = |about: &Value| about["shadow"]["both"].as_u64() >= Some(5);
    let about = wait_for_models(&site, "the shadow to see people", shadowed).await;
    assert_eq!((&about["model"], &about["shadow"]["model"]), (&"yolox-nano".into(), &"yolox-nano-wide".into()));
    site.inspect(&["models", "shadow", "--by", "ann"]).unwrap();
    let compared = wait_for_events(&site, "model.compared", "what it has seen", |found| !found.is_empty()).await;
    let data = &compared[0]["data"];
    assert_eq!(
        (&data["candidate"], &data["verdict"], &data["by"]),
        (&"yolox-nano-wide".into(), &"ended".into(), &"ann".into())
    );
    assert!(data["both"].as_u64() >= Some(5) && data["model_ms"].as_f64() > data["candidate_ms"].as_f64(), "{data}");
    // Nothing has changed.
    assert!(site.inspect(&["events", "--json", "--type", "model.changed"]).unwrap().trim().is_empty());
    let wrong = json!({ "missed": true, "by": "ann" });
    let (status, answer) = site.post("/api/v1/cameras/room/correct", &wrong).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    let id = answer["kept"].as_str().unwrap();
    let folder = hard(&site, "yolox-nano-");
    let about: Value =
        serde_json::from_slice(&std::fs::read(folder.join(format!("about/{id}.json"))).unwrap()).unwrap();
    assert_eq!((&about["why"], &about["by"], &about["camera"]), (&"missed".into(), &"ann".into(), &"room".into()));
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(["-v", "error", "-of", "csv=p=0", "-show_entries", "stream=width,height"]);
    assert_eq!(output(ffprobe.arg(folder.join(format!("images/{id}.jpg")))).unwrap().trim(), "768,432");
    assert_eq!(site.post("/api/v1/cameras/nowhere/correct", &wrong).await.unwrap().0, 404);
    assert_eq!(site.post("/api/v1/cameras/room/correct", &json!({ "by": "ann" })).await.unwrap().0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_whose_pictures_become_of_another_kind_is_told_of() {
    let test = "a_camera_whose_pictures_become_of_another_kind_is_told_of";
    let Some(media) = hil::media::or_skip(test) else { return };
    let folder = tempfile::tempdir().unwrap();
    let bright = media.join("coco64/images/000000000802.jpg");
    let dark = folder.path().join("dark.jpg");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-i"]).arg(&bright).args(["-vf", "eq=brightness=-0.15"]).arg(&dark);
    output(&mut ffmpeg).unwrap();
    let shown = folder.path().join("shown");
    std::fs::create_dir(&shown).unwrap();
    let show = |picture: &Path| {
        for n in 0..20 {
            let (link, next) = (shown.join(format!("{n:02}.jpg")), shown.join("next"));
            std::os::unix::fs::symlink(picture, &next).unwrap();
            std::fs::rename(next, link).unwrap();
        }
    };
    show(&bright);
    let mut site = site(&format!("folder:{}", shown.display()), Some("yard"), "drift_window = \"3s\"\n");
    site.start_node().unwrap();
    let known = |about: &Value| about["drift"][0]["normal_known"] == true;
    wait_for_models(&site, "what is normal to be known", known).await;
    show(&dark);
    let drifted = wait_for_events(&site, "model.drifted", "the drift", |found| !found.is_empty()).await;
    let data = &drifted[0]["data"];
    assert_eq!((&data["camera"], &data["model"], &data["drifted"]), (&"room".into(), &"yard".into(), &true.into()));
    assert!(data["brightness"].as_f64() > Some(0.25), "{data}");
    let about = wait_for_models(&site, "the drift to be shown", |about| about["drift"][0]["drifted"] == true).await;
    assert!(about["drift"][0]["psi"]["brightness"].as_f64() > Some(0.25), "{about}");
    // What is normal is known to the next run.
    site.node = None;
    site.start_node().unwrap();
    wait_for_models(&site, "what is normal", known).await;
}
