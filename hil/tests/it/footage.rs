//! Cameras over RTSP, and the clips and snapshots of their alerts: GStreamer serves them, ffprobe and ffmpeg judge them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hil::process::{free_tcp_port, output};
use hil::rtsp::Cameras;
use hil::site::{Plan, Ports, Site};
use hil::wait::eventually;
use serde_json::{Value, json};
use shared::units::UtcMicros;

use crate::interlock::wait_for_state;
use crate::radio::alone;

/// How long a wait may last.
pub const LONG: Duration = Duration::from_secs(90);
const PASSWORD: &str = "gate:s3cret/word";

/// Events of a type, oldest first.
pub fn events(site: &Site, kind: &str) -> Vec<Value> {
    let text = site.inspect(&["events", "--json", "--type", kind]).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

pub async fn wait_for_events(site: &Site, kind: &str, what: &str, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let look = async || {
        let found = events(site, kind);
        if enough(&found) { Ok(found) } else { Err(format!("{} events {kind}", found.len())) }
    };
    eventually(what, LONG, look).await.unwrap()
}

/// The file of a `media.stored` event.
pub fn file(site: &Site, event: &Value) -> PathBuf {
    let hash = event["data"]["hash"].as_str().unwrap();
    let folder = site.data().join("media");
    ["waiting", "sent"].map(|state| folder.join(state).join(hash)).into_iter().find(|file| file.exists()).unwrap()
}

/// The same video of a quarter of the pixels, a key frame each second.
fn smaller(video: &Path, to: &Path) {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-loglevel", "error", "-i"]).arg(video).args(["-t", "10", "-vf", "scale=384:216", "-an"]);
    output(ffmpeg.args(["-c:v", "libx264", "-bf", "0", "-g", "10"]).arg(to)).unwrap();
}

/// What ffprobe says of the first video stream and the file, every picture decoded.
fn probe(file: &Path) -> Value {
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(["-v", "error", "-count_frames", "-select_streams", "v:0", "-of", "json", "-show_entries"]);
    ffprobe.arg("stream=codec_name,width,height,nb_read_frames:format=duration,start_time,format_name").arg(file);
    serde_json::from_str(&output(&mut ffprobe).unwrap()).unwrap()
}

/// What ffmpeg complains of while it decodes a file.
fn complaints(file: &Path) -> String {
    let done =
        Command::new("ffmpeg").args(["-nostdin", "-v", "warning", "-i"]).arg(file).args(["-f", "null", "-"]).output();
    String::from_utf8(done.unwrap().stderr).unwrap()
}

pub fn seconds(event: &Value) -> f64 {
    UtcMicros::parse_rfc3339(event["time"].as_str().unwrap()).unwrap().0 as f64 / 1e6
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_is_of_the_stream_that_is_named_for_clips() {
    let Some(media) = hil::media::or_skip("a_clip_is_of_the_stream_that_is_named_for_clips") else { return };
    let video = media.join("one-by-one-person-detection.mp4");
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small.mp4");
    smaller(&video, &small);
    let both = [("main", video.as_path()), ("small", small.as_path())];
    let cameras = Cameras::start(free_tcp_port().unwrap(), &both, &[], folder.path()).unwrap();
    let node = format!(
        "\n[[camera]]\nname = \"room\"\nsource = \"{}\"\nclip = {{ source = \"{}\", before = \"2s\", after = \"1s\" }}\n\n\
         [[zone]]\nname = \"room\"\ncamera = \"room\"\npolygon = [[0, 0], [1, 0], [1, 1], [0, 1]]\nclear_after = \"1s\"\nalert = true\n",
        cameras.url("main"),
        cameras.url("small")
    );
    let mut site = alone(&Plan { node, model: true, ..Plan::default() }, Ports::free().unwrap());
    site.start_node().unwrap();
    let clip = |event: &Value| event["data"]["media_type"] == "video/mp4";
    let stored = wait_for_events(&site, "media.stored", "a clip", |found| found.iter().any(clip)).await;
    let path = file(&site, stored.iter().find(|event| clip(event)).unwrap());
    let found = probe(&path);
    let stream = &found["streams"][0];
    assert_eq!((&stream["width"], &stream["height"]), (&384.into(), &216.into()), "{found}");
    assert_eq!(complaints(&path), "");
    let state = site.state().await.unwrap();
    assert_eq!(state["cameras"][0]["size"], json!([768, 432]), "what is looked at is the other");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_of_a_camera_over_rtsp_leaves_a_clip_that_plays_and_two_pictures() {
    let test = "an_alert_of_a_camera_over_rtsp_leaves_a_clip_that_plays_and_two_pictures";
    let Some(media) = hil::media::or_skip(test) else { return };
    let video = media.join("one-by-one-person-detection.mp4");
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("password");
    std::fs::write(&secret, format!("{PASSWORD}\n")).unwrap();
    let port = free_tcp_port().unwrap();
    let login = ["--user", "picket", "--password", PASSWORD];
    let mut cameras = Cameras::start(port, &[("room", &video)], &login, folder.path()).unwrap();
    let node = format!(
        "\n[[camera]]\nname = \"room\"\nsource = \"{}\"\nuser = \"picket\"\npassword_file = \"{}\"\n\
         clip = {{ before = \"2s\", after = \"2s\" }}\nstale_after = \"2s\"\n\n\
         [[zone]]\nname = \"room\"\ncamera = \"room\"\npolygon = [[0, 0], [1, 0], [1, 1], [0, 1]]\nclear_after = \"1s\"\nalert = true\n",
        cameras.url("room"),
        secret.display()
    );
    let mut site = alone(&Plan { node, model: true, ..Plan::default() }, Ports::free().unwrap());
    site.start_node().unwrap();
    let clips = |found: &[Value]| found.iter().filter(|event| event["data"]["media_type"] == "video/mp4").count();
    let stored = wait_for_events(&site, "media.stored", "a clip", |found| clips(found) >= 1).await;
    let clip = stored.iter().find(|event| event["data"]["media_type"] == "video/mp4").unwrap();
    let occupied = &events(&site, "zone.occupied")[0];
    let pictures: Vec<&Value> = stored.iter().filter(|event| event["data"]["media_type"] == "image/jpeg").collect();
    assert!(pictures.len() >= 2, "one as it is, one with boxes: {stored:?}");
    for event in [clip, pictures[0], pictures[1]] {
        assert_eq!(event["causeid"], occupied["id"], "it says what it is about: {event} {occupied}");
    }
    let path = file(&site, clip);
    let found = probe(&path);
    let stream = &found["streams"][0];
    assert_eq!(
        (&stream["codec_name"], &stream["width"], &stream["height"]),
        (&"h264".into(), &768.into(), &432.into())
    );
    let number = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
    let (frames, length) = (number(&stream["nb_read_frames"]), number(&found["format"]["duration"]));
    assert!((frames / length - 10.0).abs() < 0.3, "ten pictures a second, none missing: {frames} in {length} s");
    assert_eq!(number(&found["format"]["start_time"]), 0.0);
    assert_eq!(complaints(&path), "");
    let cleared = &events(&site, "zone.cleared")[0];
    let there = seconds(cleared) - seconds(occupied);
    // The zone was clear a moment before that was written down.
    assert!(length >= there + 4.0 - 1.3, "{length} s for {there} s and two before and after");
    // Taken from the console as an operator does: the same bytes, as what they are.
    let url = format!("{}/api/v1/media/{}", site.console(), clip["data"]["hash"].as_str().unwrap());
    let answer = hil::http::client(LONG).unwrap().get(url).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "video/mp4");
    assert_eq!(answer.bytes().await.unwrap(), std::fs::read(&path).unwrap());
    // The camera loses its power, and another one with fewer pixels is put in its place.
    let small = folder.path().join("small.mp4");
    smaller(&video, &small);
    cameras.kill().unwrap();
    let stale = |state: &Value| state["cameras"][0]["stale"] == true;
    let why = |state: &Value| state["cameras"][0]["error"].as_str().is_some_and(|why| why.contains("RTSP"));
    wait_for_state(&site, "the camera to be stale, and why", |state| stale(state) && why(state)).await;
    let _again = Cameras::start(port, &[("room", &small)], &login, folder.path()).unwrap();
    let back = |state: &Value| !stale(state) && !why(state) && state["cameras"][0]["size"] == json!([384, 216]);
    wait_for_state(&site, "the camera to be back with its pixels", back).await;
    let health = events(&site, "camera.health_changed");
    let told = health.iter().filter(|event| event["data"]["state"] == "stale" && event["data"]["error"] != "");
    assert_eq!(told.count(), 1, "why is written down once, however often it is tried again: {health:?}");
    assert!(site.metrics().await.unwrap().contains("picket_camera_sessions_failed_total{name=\"room\"}"));
    let log = std::fs::read_to_string(site.folder().join("node.log")).unwrap();
    assert!(!log.contains(PASSWORD) && !log.contains("s3cret"), "no password in the log: {log}");
}

/// Posts a picture to be looked at.
async fn infer(site: &Site, query: &str, body: Vec<u8>) -> (u16, Value) {
    let request = hil::http::client(LONG).unwrap().post(format!("{}/api/v1/infer{query}", site.console()));
    let answer = request.body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_is_sent_is_answered_as_the_command_line_answers_it() {
    let Some(media) = hil::media::or_skip("a_picture_that_is_sent_is_answered_as_the_command_line_answers_it") else {
        return;
    };
    let mut site = alone(&Plan { model: true, ..Plan::default() }, Ports::free().unwrap());
    site.start_node().unwrap();
    let picture = media.join("coco64/images/000000000802.jpg");
    let (status, answer) = infer(&site, "?by=bob&record=false", std::fs::read(&picture).unwrap()).await;
    assert_eq!(status, 200, "{answer}");
    let (status, answer) = infer(&site, "?score=0.25&by=ann", std::fs::read(&picture).unwrap()).await;
    assert_eq!(status, 200, "{answer}");
    let mut detect = Command::new(hil::binaries::built().unwrap().join("edge-node"));
    let manifest = hil::media::root().join("models/manifest.toml");
    detect.args(["detect", "--json", "--score", "0.25", "--model", "yolox-nano", "--manifest"]).arg(manifest);
    let expected: Value = serde_json::from_str(&output(detect.arg(&picture)).unwrap()).unwrap();
    assert_eq!(answer["detections"], expected[picture.display().to_string()]);
    assert!(answer["detections"].as_array().is_some_and(|found| !found.is_empty()), "{answer}");
    let done = wait_for_events(&site, "inference.done", "it to be written down", |found| !found.is_empty()).await;
    // Bob's, which came before, is not written down.
    assert_eq!((&done[0]["data"]["by"], &done[0]["id"]), (&"ann".into(), &answer["id"]));
    // What is no picture, or claims to be a huge one, costs an answer.
    let mut bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bomb.extend([0x7F, 0xFF, 0xFF, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 8, 2, 0, 0, 0]);
    for (query, body, expected) in
        [("", b"no picture".to_vec(), 422), ("", bomb, 422), ("", Vec::new(), 422), ("?score=7", vec![1], 400)]
    {
        let (status, answer) = infer(&site, query, body).await;
        assert_eq!(status, expected, "{answer}");
    }
    let large = hil::http::client(LONG).unwrap().post(format!("{}/api/v1/infer", site.console()));
    let refused = large.body(vec![0; 17 * 1024 * 1024]).send().await;
    assert!(refused.map_or(true, |answer| answer.status().as_u16() == 413), "its limit is 16 MiB");
}

/// What `edge-node detect --json` says of a video or a camera: by time in tenths of a second, label and score of each thing.
fn detected(source: &str, more: &[&str]) -> BTreeMap<i64, Vec<(String, f64)>> {
    let mut detect = Command::new(hil::binaries::built().unwrap().join("edge-node"));
    let manifest = hil::media::root().join("models/manifest.toml");
    detect.args(["detect", "--json", "--model", "yolox-nano", "--manifest"]).arg(manifest).args(more).arg(source);
    let found: Value = serde_json::from_str(&output(&mut detect).unwrap()).unwrap();
    let thing = |d: &Value| (d["label"].as_str().unwrap().to_owned(), d["score"].as_f64().unwrap());
    let frames = found[source].as_array().unwrap().iter();
    let frame = |f: &Value| {
        let tenths = (f["t_s"].as_f64().unwrap() * 10.0).round() as i64;
        (tenths, f["detections"].as_array().unwrap().iter().map(thing).collect())
    };
    frames.map(frame).collect()
}

#[test]
fn the_same_is_found_in_a_camera_as_in_the_file_that_it_plays() {
    let Some(media) = hil::media::or_skip("the_same_is_found_in_a_camera_as_in_the_file_that_it_plays") else { return };
    let video = media.join("one-by-one-person-detection.mp4");
    let of_file = detected(&video.display().to_string(), &[]);
    for (transport, more) in [("tcp", &[][..]), ("udp", &["--udp"][..])] {
        let folder = tempfile::tempdir().unwrap();
        let port = free_tcp_port().unwrap();
        let cameras = Cameras::start(port, &[("room", &video)], &["--transport", transport], folder.path()).unwrap();
        let of_camera = detected(&cameras.url("room"), &[&["--seconds", "9"], more].concat());
        assert!(of_camera.len() >= 80, "{transport}: {} pictures", of_camera.len());
        let people = of_camera.values().flatten().filter(|(label, score)| label == "person" && *score > 0.6).count();
        assert!(people >= 10, "{transport}: somebody comes at six seconds: {people}");
        for (at, found) in of_camera {
            assert_eq!(found, of_file[&at], "{transport}: at {at} tenths of a second");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cameras_that_hang_hang_up_or_lose_their_key_frames_leave_the_one_beside_them_alone() {
    let test = "cameras_that_hang_hang_up_or_lose_their_key_frames_leave_the_one_beside_them_alone";
    let Some(media) = hil::media::or_skip(test) else { return };
    let video = media.join("one-by-one-person-detection.mp4");
    let folder = tempfile::tempdir().unwrap();
    let faults: [(&str, &[&str]); 4] = [
        ("good", &[]),
        ("hangs", &["--hang-after", "3"]),
        ("closes", &["--close-after", "3"]),
        ("keyless", &["--no-keyframe", "1"]),
    ];
    let (mut servers, mut node) = (Vec::new(), String::new());
    for (name, more) in faults {
        let port = free_tcp_port().unwrap();
        let at = folder.path().join(name);
        std::fs::create_dir(&at).unwrap();
        let cameras = Cameras::start(port, &[(name, &video)], more, &at).unwrap();
        node += &format!("\n[[camera]]\nname = \"{name}\"\nsource = \"{}\"\nstale_after = \"4s\"\n", cameras.url(name));
        servers.push(cameras);
    }
    let mut site = alone(&Plan { node, model: true, ..Plan::default() }, Ports::free().unwrap());
    site.start_node().unwrap();
    fn of<'a>(state: &'a Value, name: &str) -> &'a Value {
        state["cameras"].as_array().unwrap().iter().find(|camera| camera["name"] == name).unwrap()
    }
    let stale = |state: &Value, name: &str| of(state, name)["stale"] == true;
    let seen = |state: &Value, name: &str| !stale(state, name) && of(state, name)["frame"].as_u64() > Some(0);
    wait_for_state(&site, "all to be seen", |state| faults.iter().all(|(name, _)| seen(state, name))).await;
    let count = |health: &[Value], name: &str| health.iter().filter(|e| e["data"]["camera"] == name).count();
    let before = count(&events(&site, "camera.health_changed"), "good");
    wait_for_state(&site, "the one that hangs to be stale", |state| stale(state, "hangs")).await;
    wait_for_state(&site, "it to be asked again", |state| !stale(state, "hangs")).await;
    // Both faulty ones have been asked again and again meanwhile.
    let log = || std::fs::read_to_string(site.folder().join("node.log")).unwrap();
    let again = |name: &str| {
        let name = format!("camera={name}");
        log().lines().filter(|line| line.contains("trying again") && line.ends_with(&name)).count()
    };
    let look = async || match (again("hangs"), again("closes"), again("keyless")) {
        (1.., 2.., 1..) => Ok(()),
        counts => Err(format!("{counts:?}")),
    };
    eventually("each to be opened again after its fault", LONG, look).await.unwrap();
    // What the console shows is written down a moment later.
    let both = |health: &[Value]| count(health, "hangs") >= 2;
    let health = wait_for_events(&site, "camera.health_changed", "both changes of the one that hangs", both).await;
    assert_eq!((count(&health, "good"), again("good")), (before, 0), "it was never without pictures");
}
