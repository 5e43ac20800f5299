//! A camera that goes dark, end to end: a person is assumed, it is said, and it is good again when it can see.

use std::process::Command;

use hil::process::output;
use hil::site::{Plan, Ports};
use serde_json::{Value, json};

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
