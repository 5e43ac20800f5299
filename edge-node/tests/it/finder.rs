//! What is found in a camera's pictures with the gate in front, and pictures that somebody sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use edge_node::detect::Detection;
use edge_node::detect::finder::{ClassConfig, Finder, Seen, counting};
use edge_node::detect::manifest::Manifest;
use edge_node::detect::model::{Model, Timing};
use edge_node::detect::ondemand::{self, Answer, Refusal};
use edge_node::detect::runtime::Runtime;
use edge_node::health::{Metrics, Of};
use edge_node::sensor::camera::CameraConfig;
use edge_node::sensor::camera::video::Video;
use edge_node::sensor::frame::{Frame, Picture};
use edge_node::sensor::outline::Outline;
use shared::units::Uptime;

fn finder(name: &str) -> Finder {
    let manifest = Manifest::read(&hil::media::root().join("models/manifest.toml")).unwrap();
    let (entry, file) = manifest.find(name).unwrap();
    let model = Model::load(&Runtime::Tract, entry, &file).unwrap();
    Finder { model, min_score: 0.35, classes: [].into(), metrics: Metrics::default() }
}

fn camera(motion: &str) -> CameraConfig {
    toml::from_str(&format!("name = \"room\"\nsource = \"folder:none\"\n{motion}")).unwrap()
}

fn frame(number: u64, picture: &Arc<Picture>) -> Frame {
    Frame { camera: 0, number, captured: Uptime::from_millis(10_000 + number * 100), picture: picture.clone() }
}

#[test]
fn after_a_failed_look_and_a_doubtful_picture_a_still_scene_is_looked_at_again() {
    let (mut finder, config, of) = (finder("yard"), camera("motion = { full_every = \"60s\" }"), Of::new("room"));
    let (still, mut seen) = (Arc::new(Picture::rgb(320, 180, vec![90; 320 * 180 * 3])), Seen::default());
    let mut number = 0;
    let mut look = |finder: &mut Finder, picture: &Arc<Picture>, evidence: bool| {
        number += 1;
        finder.find(&mut seen, &config, &frame(number, picture), evidence, &of).map(|found| found.is_some())
    };
    for _ in 0..25 {
        look(&mut finder, &still, true).unwrap();
    }
    assert!(!look(&mut finder, &still, true).unwrap(), "nothing moves, nobody looks");
    // What comes and cannot be believed is no answer for what is there next.
    let mut rgb = vec![90; 320 * 180 * 3];
    rgb.chunks_exact_mut(320 * 3).for_each(|row| row[..300].fill(220));
    let doubtful = Arc::new(Picture::rgb(320, 180, rgb));
    let looked = [(); 3].map(|()| look(&mut finder, &doubtful, false).unwrap());
    assert_eq!(looked, [false, true, true], "what differs for two frames is looked at");
    assert!(look(&mut finder, &still, true).unwrap(), "the first that can be believed");
    for _ in 0..60 {
        look(&mut finder, &still, true).unwrap();
    }
    assert!(!look(&mut finder, &still, true).unwrap());
    // A picture whose lower rows are missing makes the model fail.
    let broken = Arc::new(Picture { height: 180, ..Picture::rgb(320, 60, vec![220; 320 * 60 * 3]) });
    let failed = (0..4).filter(|_| look(&mut finder, &broken, true).is_err()).count();
    assert!(failed > 0);
    assert!(look(&mut finder, &still, true).unwrap(), "until a look has succeeded");
}

#[test]
fn what_counts_is_what_its_class_and_the_masks_of_its_camera_let_through() {
    let finder = finder("yard");
    let label = |label: &str| finder.model.entry().classes.iter().position(|class| class == label).unwrap();
    let (person, car) = (label("person"), label("car"));
    // Tall enough and not, sure enough and not; feet in the masked corner and head in it.
    let found = [
        (person, 0.7, [10.0, 10.0, 30.0, 60.0]),
        (person, 0.5, [10.0, 10.0, 30.0, 60.0]),
        (person, 0.7, [10.0, 10.0, 20.0, 25.0]),
        (car, 0.36, [10.0, 40.0, 60.0, 60.0]),
        (car, 0.9, [150.0, 70.0, 190.0, 90.0]),
        (person, 0.9, [60.0, 45.0, 80.0, 99.0]),
    ];
    let found: Vec<Detection> = found.map(|(class, score, box_xyxy_px)| Detection { class, score, box_xyxy_px }).into();
    let class = ClassConfig { min_score: 0.6, min_height: 0.2 };
    let mask: Vec<Outline> = vec![toml::from_str::<Mask>("at = [[0.5, 0.5], [1, 0.5], [1, 1], [0.5, 1]]").unwrap().at];
    let count = |classes: &[(String, ClassConfig)], masks: &[Outline]| {
        let classes = classes.iter().cloned().collect();
        let left = counting(&finder.model, &classes, masks, (200, 100), found.clone());
        found.iter().enumerate().filter(|(_, d)| left.contains(d)).map(|(n, _)| n).collect::<Vec<_>>()
    };
    assert_eq!(count(&[], &[]), [0, 1, 2, 3, 4, 5]);
    assert_eq!(count(&[("person".into(), class)], &[]), [0, 3, 4, 5], "others as they were");
    assert_eq!(count(&[], &mask), [0, 1, 2, 3, 5], "a thing is where it stands");
    assert_eq!(count(&[("car".into(), class)], &mask), [0, 1, 2, 5]);
}

#[derive(serde::Deserialize)]
struct Mask {
    at: Outline,
}

/// Frames that are looked at: from the first second, in which the room is empty, until somebody has come and gone.
const SECONDS: usize = 16;

#[test]
fn with_the_gate_whoever_walks_through_the_room_is_found_as_without_it() {
    let test = "with_the_gate_whoever_walks_through_the_room_is_found_as_without_it";
    let Some(media) = hil::media::or_skip(test) else { return };
    let (mut finder, of) = (finder("yolox-nano-wide"), Of::new("room"));
    let (gated, open) = (camera("motion = {}"), camera(""));
    let (mut with, mut without, mut last) = (Seen::default(), Seen::default(), Vec::<Detection>::new());
    let person = finder.model.entry().classes.iter().position(|class| class == "person").unwrap();
    let people = |found: &[Detection]| found.iter().filter(|d| d.class == person && d.score >= 0.6).count();
    let (mut spared, mut alike, mut there) = (0, 0, 0);
    let video = Video::open(&media.join("one-by-one-person-detection.mp4")).unwrap();
    for (number, shot) in video.take(SECONDS * 10).enumerate() {
        let frame = frame(number as u64, &Arc::new(shot.unwrap().picture));
        match finder.find(&mut with, &gated, &frame, true, &of).unwrap() {
            Some(found) => last = found,
            None => spared += 1,
        }
        let expected = people(&finder.find(&mut without, &open, &frame, true, &of).unwrap().unwrap());
        alike += usize::from(people(&last) == expected);
        there += usize::from(expected > 0);
    }
    let all = SECONDS * 10;
    assert!(there >= 25, "somebody walks through: {there} frames");
    assert!(spared >= 20, "the empty room is not looked at ten times a second: {spared} frames spared");
    // A new arrival is a frame later, and who is at the edge of the threshold is found in one and not in the other.
    assert!(alike * 100 >= all * 93, "{alike} of {all} frames show as many people");
}

#[tokio::test]
async fn a_picture_that_breaks_its_decoder_is_an_answer_and_the_next_one_is_looked_at() {
    let (on_demand, asks) = ondemand::new();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let look = |bytes: &[u8], _: f32| {
        assert!(bytes != b"breaks");
        Ok::<_, Refusal>(Answer { model: "m".into(), size: (1, 1), found: Vec::new(), timing: Timing::default() })
    };
    let thread = std::thread::spawn(move || asks.run(look, || stopped.load(Ordering::Relaxed)));
    let refused = on_demand.ask(b"breaks".to_vec(), 0.3).await.unwrap_err();
    assert!(matches!(&refused, Refusal::Picture(why) if why.contains("breaks the decoder")), "{refused}");
    let answered = tokio::time::timeout(Duration::from_secs(5), on_demand.ask(b"good".to_vec(), 0.3)).await.unwrap();
    assert_eq!(answered.unwrap().size, (1, 1));
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap();
}
