//! Cameras that see no more, end to end: dark, blurred, covered, frozen, moved, or full of garbage. It is said, where a zone
//! hangs on it a person is assumed, and it is good again when it can see.

use std::path::{Path, PathBuf};
use std::process::Command;

use hil::drawn::render;
use hil::media::claims;
use hil::process::{free_tcp_port, output};
use hil::site::{Plan, Ports, Site};
use hil::wait::eventually;
use serde_json::{Value, json};

use crate::footage::{LONG, events, wait_for_events};
use crate::interlock::{tripped, vehicle, wait_for_state};
use crate::radio::{alone, link, pinned, simulated};

fn view(state: &Value) -> &Value {
    &state["cameras"][0]["view"]
}

fn alert(state: &Value) -> bool {
    state["alerts"].as_array().unwrap().iter().any(|alert| alert["rule"] == "view")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_goes_dark_is_a_person_in_its_zone_until_it_sees_again() {
    let Some(media) = hil::media::or_skip("a_camera_that_goes_dark_is_a_person_in_its_zone_until_it_sees_again") else {
        return;
    };
    // Eight seconds of a room, eight of the dark, five pictures a second.
    let pictures = tempfile::tempdir().unwrap();
    let dark = pictures.path().join("040.jpg");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", "color=black:s=640x480", "-frames:v", "1"]);
    output(ffmpeg.arg(&dark)).unwrap();
    for n in 0..80 {
        let from = if n < 40 { media.join("coco64/images/000000000802.jpg") } else { dark.clone() };
        let to = pictures.path().join(format!("{n:03}.jpg"));
        if from != to {
            std::fs::copy(from, to).unwrap();
        }
    }
    let ports = Ports::free().unwrap();
    let node = link("radio", &format!("udpin:127.0.0.1:{}", ports.link), "")
        + &pinned("rover", 1, "\"radio\"")
        + &format!(
            "\n[[camera]]\nname = \"yard\"\nsource = \"mjpeg:http://127.0.0.1:{}/yard\"\nview = {{ frozen_after = \"0s\" }}\n\n\
             [[zone]]\nname = \"yard\"\ncamera = \"yard\"\npolygon = [[0, 0], [1, 0], [1, 1], [0, 1]]\n\n\
             [[keep_out]]\nzone = \"yard\"\nvehicles = [\"rover\"]\nclear_after = \"1s\"\n",
            ports.camera
        );
    let sim = simulated("rover", 1, &format!("\"127.0.0.1:{}\"", ports.link), "")
        + &format!(
            "\n[[camera]]\nname = \"yard\"\nlisten = \"127.0.0.1:{}\"\nsource = \"{}\"\nfps = 5\n",
            ports.camera,
            pictures.path().display()
        );
    let mut site = alone(&Plan { node, sim, model: true, ..Plan::default() }, ports);
    site.start_sim().unwrap();
    site.start_node().unwrap();
    wait_for_state(&site, "it to see", |state| !tripped(state, "keep-out", "rover") && view(state) == "good").await;
    let state = wait_for_state(&site, "the dark", |state| view(state) == "dark" && alert(state)).await;
    let rules = state["interlock"]["rules"].as_array().unwrap();
    let why = rules.iter().find(|rule| rule["rule"] == "keep-out").unwrap();
    assert_eq!(why["reason"], "camera blind: a person is assumed in zone yard", "{state}");
    assert_eq!(vehicle(&state, "rover")["demand"], "hold");
    let reasons = site.readiness("rover").await.unwrap()["reasons"].to_string();
    assert!(reasons.contains("readiness: no fresh pictures of zone yard"), "{reasons}");
    wait_for_state(&site, "it to see again", |state| {
        view(state) == "good" && !alert(state) && !tripped(state, "keep-out", "rover")
    })
    .await;
    let events = site.inspect(&["events", "--json", "--type", "camera.view_changed"]).unwrap();
    let views: Vec<String> = events
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|event| event["data"]["view"].as_str().unwrap().to_owned())
        .collect();
    assert!(views.starts_with(&["dark".into(), "good".into()]), "{views:?}");
    // Only a supervisor says that a camera looks where it should; with nobody named, anybody with a name is one.
    let accept = async |name: &str, by: &str| {
        site.post(&format!("/api/v1/cameras/{name}/accept"), &json!({ "by": by })).await.unwrap().0
    };
    assert_eq!((accept("yard", "ann").await, accept("yard", "").await, accept("gone", "ann").await), (202, 409, 404));
    let metrics = site.metrics().await.unwrap();
    assert!(metrics.contains("picket_camera_frames_doubted_total{name=\"yard\"}"), "{metrics}");
}

/// A camera of the simulator that shows a folder, ten pictures a second, and the node's of it.
fn shown(name: &str, folder: &Path, more: &str) -> (String, String) {
    let port = free_tcp_port().unwrap();
    let sim = format!(
        "\n[[camera]]\nname = \"{name}\"\nlisten = \"127.0.0.1:{port}\"\nsource = \"{}\"\nfps = 10\n",
        folder.display()
    );
    let node = format!("\n[[camera]]\nname = \"{name}\"\nsource = \"mjpeg:http://127.0.0.1:{port}/{name}\"\n{more}");
    (sim, node)
}

/// A site of cameras that the simulator shows, looked at with our own model; it runs.
fn site_of(cameras: &[(String, String)]) -> Site {
    let (sim, node): (Vec<_>, Vec<_>) = cameras.iter().cloned().unzip();
    let plan =
        Plan { node: node.concat(), sim: sim.concat(), model: true, detector: Some("yard".into()), ..Plan::default() };
    let mut site = alone(&plan, Ports::free().unwrap());
    site.start_sim().unwrap();
    site.start_node().unwrap();
    site
}

/// Fills a folder with so many of each picture, one after the other.
fn reel(folder: &Path, name: &str, parts: &[(&[u8], usize)]) -> PathBuf {
    let reel = folder.join(name);
    std::fs::create_dir(&reel).unwrap();
    let pictures = parts.iter().flat_map(|(picture, count)| std::iter::repeat_n(*picture, *count));
    for (number, picture) in pictures.enumerate() {
        std::fs::write(reel.join(format!("{number:04}.jpg")), picture).unwrap();
    }
    reel
}

#[tokio::test(flavor = "multi_thread")]
async fn cameras_that_freeze_blur_are_covered_or_turned_aside_are_named_and_good_again() {
    let folder = tempfile::tempdir().unwrap();
    let drawn = folder.path().join("drawn");
    render(&drawn, "42", 2, &[]).unwrap();
    let picture = |number: usize| drawn.join(format!("images/{number:06}.jpg"));
    let spoiled = |number: usize, filter: &str| {
        let to = folder.path().join("spoiled.jpg");
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-loglevel", "error", "-y", "-i"]).arg(picture(number)).args(["-vf", filter]);
        output(ffmpeg.args(["-frames:v", "1"]).arg(&to)).unwrap();
        std::fs::read(to).unwrap()
    };
    let usual = std::fs::read(picture(0)).unwrap();
    let (blurred, covered) = (spoiled(0, "gblur=sigma=8"), spoiled(0, "drawbox=color=gray:t=fill"));
    // Long enough to be learned, though the node comes to it in the middle. Two that differ in noise alone, so that a still
    // yard is not a frozen camera; and another place, as noisy.
    let noisy = |number: usize, seed: &str| spoiled(number, &format!("noise=alls=12:allf=t:all_seed={seed}"));
    let (one, two, other) = (noisy(0, "1"), noisy(0, "2"), noisy(1, "1"));
    let alive = [(&one[..], 1), (&two[..], 1)].repeat(90);
    let faults = [
        ("blurred", [&alive[..], &[(&blurred, 40)]].concat()),
        ("covered", [&alive[..], &[(&covered, 40)]].concat()),
        ("frozen", [&alive[..], &[(&usual, 40)]].concat()),
        ("moved", [&alive[..], &[(&other, 140)]].concat()),
    ];
    let cameras = faults.each_ref().map(|(fault, parts)| {
        let still = if *fault == "frozen" { "" } else { "view = { frozen_after = \"0s\" }\n" };
        shown(fault, &reel(folder.path(), fault, parts), still)
    });
    let site = site_of(&cameras);
    let views = |found: &[Value], fault: &str| -> Vec<String> {
        let of = found.iter().map(|event| &event["data"]).filter(|data| data["camera"] == fault);
        of.map(|data| data["view"].as_str().unwrap().to_owned()).collect()
    };
    let all = |found: &[Value]| faults.iter().all(|(fault, _)| views(found, fault).len() >= 2);
    let found = wait_for_events(&site, "camera.view_changed", "each to be named, and good again", all).await;
    for (fault, _) in &faults {
        assert!(views(&found, fault).starts_with(&[(*fault).into(), "good".into()]), "{fault}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_was_turned_while_the_power_was_off_is_told_until_somebody_accepts_it() {
    let folder = tempfile::tempdir().unwrap();
    let drawn = folder.path().join("drawn");
    render(&drawn, "42", 2, &[]).unwrap();
    // Two of each place, that differ in noise alone.
    let show = |number: usize, reel: &Path| {
        for seed in [1, 2] {
            let mut ffmpeg = Command::new("ffmpeg");
            ffmpeg
                .args(["-nostdin", "-loglevel", "error", "-y", "-i"])
                .arg(drawn.join(format!("images/{number:06}.jpg")));
            ffmpeg.args(["-vf", &format!("noise=alls=12:allf=t:all_seed={seed}"), "-frames:v", "1"]);
            output(ffmpeg.arg(reel.join(format!("{seed}.jpg")))).unwrap();
        }
    };
    let reel = reel(folder.path(), "reel", &[]);
    show(0, &reel);
    let mut site = site_of(&[shown("yard", &reel, "view = { frozen_after = \"0s\" }\n")]);
    let kept = site.data().join("view-yard.json");
    let is_kept = async || kept.exists().then_some(()).ok_or_else(|| "no file".into());
    eventually("its usual view to be kept", LONG, is_kept).await.unwrap();
    // A power cut; and it looks elsewhere when it is back.
    site.node.take().unwrap().kill().unwrap();
    site.sim.take().unwrap().kill().unwrap();
    show(1, &reel);
    site.start_sim().unwrap();
    site.start_node().unwrap();
    wait_for_state(&site, "it to be told", |state| view(state) == "moved" && alert(state)).await;
    let accept = site.post("/api/v1/cameras/yard/accept", &json!({ "by": "ann" })).await.unwrap();
    assert_eq!(accept.0, 202, "{accept:?}");
    wait_for_state(&site, "it to be good", |state| view(state) == "good" && !alert(state)).await;
    // What was accepted outlasts the next one.
    eventually("what is usual now to be kept", LONG, is_kept).await.unwrap();
    site.node.take().unwrap().kill().unwrap();
    site.start_node().unwrap();
    wait_for_state(&site, "its pictures", |state| state["cameras"][0]["frame"].as_u64() > Some(30)).await;
    let metrics = site.metrics().await.unwrap();
    assert!(!metrics.contains("picket_camera_frames_doubted_total{"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_sends_garbage_bombs_and_other_sizes_costs_the_one_beside_it_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // The same yard, large and small; somebody is in it.
    let [small, large] = ["640", "1280"].map(|width| {
        let drawn = folder.path().join(width);
        let height = if width == "640" { "360" } else { "720" };
        render(&drawn, "5000000", 1, &["--width", width, "--height", height]).unwrap();
        std::fs::read(drawn.join("images/000000.jpg")).unwrap()
    });
    let huge = claims(small.clone(), (10_000, 10_000)).unwrap();
    let bad: [&[u8]; 3] = [b"no picture at all", &huge, &small[..small.len() / 2]];
    let bad: Vec<(&[u8], usize)> = bad.map(|bytes| (bytes, 8)).into();
    let parts = [&[(&small[..], 20)][..], &bad, &[(&large[..], 20)], &bad].concat();
    let still = "view = { frozen_after = \"0s\" }\nstale_after = \"1500ms\"\n";
    let site = site_of(&[
        shown("good", &reel(folder.path(), "good", &[(&small[..], 20)]), still),
        shown("bad", &reel(folder.path(), "bad", &parts), still),
    ]);
    fn of<'a>(state: &'a Value, name: &str) -> &'a Value {
        state["cameras"].as_array().unwrap().iter().find(|camera| camera["name"] == name).unwrap()
    }
    let seen = |state: &Value, name: &str| of(state, name)["boxes"].as_array().is_some_and(|boxes| !boxes.is_empty());
    wait_for_state(&site, "both to be seen", |state| seen(state, "good") && seen(state, "bad")).await;
    let before = events(&site, "camera.health_changed").iter().filter(|e| e["data"]["camera"] == "good").count();
    for size in [[1280, 720], [640, 360], [1280, 720]] {
        let now = |state: &Value| of(state, "bad")["size"] == json!(size) && seen(state, "bad");
        wait_for_state(&site, "its pictures of the other size, and who is in them", now).await;
    }
    wait_for_state(&site, "it to be stale among bad ones", |state| of(state, "bad")["stale"] == true).await;
    let metrics = site.metrics().await.unwrap();
    let bad = |name: &str| metrics.contains(&format!("picket_camera_frames_bad_total{{name=\"{name}\"}}"));
    assert!(bad("bad") && !bad("good"), "{metrics}");
    let health = events(&site, "camera.health_changed");
    let good = health.iter().filter(|event| event["data"]["camera"] == "good").count();
    assert_eq!(good, before, "it was never without pictures");
}
