//! The detection path on real pictures against the reference, and the tracker and zones on what it gives.

use std::collections::BTreeMap;
use std::time::Duration;

use edge_node::detect::Detection;
use edge_node::detect::head::iou;
use edge_node::detect::manifest::Manifest;
use edge_node::detect::model::Model;
use edge_node::detect::runtime::Runtime;
use edge_node::detect::track::Tracker;
use edge_node::detect::zone::{Presence, Turn, ZoneConfig};
use edge_node::sensor::camera::video::Video;
use edge_node::sensor::outline::Outline;
use edge_node::sensor::picture;
use serde::Deserialize;
use shared::event::TrackPhase;
use shared::units::Uptime;

#[derive(Debug, Deserialize)]
struct Expected {
    label: String,
    score: f32,
    box_xyxy_px: [f32; 4],
}

fn model() -> Model {
    let manifest = Manifest::read(&hil::media::root().join("models/manifest.toml")).unwrap();
    let (entry, file) = manifest.find("yolox-nano").unwrap();
    Model::load(&Runtime::Tract, entry, &file).unwrap()
}

#[test]
fn the_twelve_pictures_give_the_reference_detections_and_nothing_else() {
    let test = "the_twelve_pictures_give_the_reference_detections_and_nothing_else";
    let Some(media) = hil::media::or_skip(test) else { return };
    let text = std::fs::read(media.join("images/expected.json")).unwrap();
    let expected: BTreeMap<String, Vec<Expected>> = serde_json::from_slice(&text).unwrap();
    assert_eq!(expected.len(), 12);
    let mut model = model();
    for (file, reference) in expected {
        let picture = picture::read(&media.join("images").join(&file)).unwrap();
        let found = model.detect(&picture, 0.3).unwrap();
        let same =
            |e: &Expected, d: &Detection| model.label(d.class) == e.label && iou(&d.box_xyxy_px, &e.box_xyxy_px) >= 0.9;
        for wanted in reference.iter().filter(|e| e.score >= 0.4) {
            let close = |d: &&Detection| same(wanted, d) && (d.score - wanted.score).abs() <= 0.05;
            assert!(found.iter().any(|d| close(&d)), "{file}: {wanted:?} not among {found:?}");
        }
        for extra in found.iter().filter(|d| d.score > 0.45) {
            assert!(reference.iter().any(|e| same(e, extra)), "{file}: {extra:?} is not in the reference");
        }
    }
}

#[test]
fn the_video_yields_every_frame_in_order() {
    let Some(media) = hil::media::or_skip("the_video_yields_every_frame_in_order") else { return };
    let video = Video::open(&media.join("one-by-one-person-detection.mp4")).unwrap();
    let times: Vec<f64> = video.map(|shot| shot.unwrap().time_s).collect();
    assert_eq!(times.len(), 1394);
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
    assert!((times[1393] - 139.3).abs() < 0.01, "{}", times[1393]);
}

fn zone(polygon: Vec<[f32; 2]>) -> ZoneConfig {
    ZoneConfig {
        name: "z".parse().unwrap(),
        camera: "c".parse().unwrap(),
        polygon: Outline(polygon),
        min_score: 0.0,
        min_height: 0.0,
        dwell: Duration::ZERO,
        labels: vec!["person".into()],
        clear_after: Duration::from_secs(2),
        alert: false,
    }
}

#[track_caller]
fn check_zone(polygon: &[[f32; 2]], box_xyxy: [f32; 4], inside: bool) {
    assert_eq!(zone(polygon.to_vec()).holds(&box_xyxy, (100, 100)), inside, "{polygon:?} {box_xyxy:?}");
}

#[test]
fn the_bottom_centre_decides_the_zone() {
    let lower_half = [[0.0, 0.5], [1.0, 0.5], [1.0, 1.0], [0.0, 1.0]];
    check_zone(&lower_half, [10.0, 0.0, 20.0, 60.0], true);
    check_zone(&lower_half, [10.0, 0.0, 20.0, 40.0], false);
    // Cut off by the lower edge, or by the left one: still standing in the zone.
    check_zone(&lower_half, [10.0, 50.0, 20.0, 104.0], true);
    check_zone(&lower_half, [-30.0, 50.0, 20.0, 90.0], true);
    let concave = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.5, 0.5], [0.0, 1.0]];
    check_zone(&concave, [45.0, 0.0, 55.0, 80.0], false);
    check_zone(&concave, [5.0, 0.0, 15.0, 80.0], true);
}

#[test]
fn a_presence_is_one_episode_until_the_clear_time_has_passed() {
    let mut presence = Presence::default();
    let clear = Duration::from_secs(2);
    let mut turns = Vec::new();
    for (ms, present) in
        [(0, false), (100, true), (200, false), (2000, false), (2100, true), (4000, false), (4100, false), (4200, true)]
    {
        turns.extend(presence.step(present, clear, Uptime::from_millis(ms)));
    }
    assert_eq!(turns, [Turn::Occupied(1), Turn::Cleared(1), Turn::Occupied(2)]);
}

#[test]
fn a_zone_counts_one_sure_or_two_of_three_likely_frames() {
    let mut zone = edge_node::detect::zone::Confirmation::default();
    let present: Vec<bool> = [0.0, 0.4, 0.0, 0.4, 0.0, 0.0, 0.4, 0.3, 0.7, 0.0].map(|best| zone.step(best)).into();
    assert_eq!(present, [false, false, false, true, false, false, false, false, true, false]);
}

fn person(score: f32, x: f32) -> Detection {
    Detection { class: 0, score, box_xyxy_px: [x, 0.0, x + 50.0, 100.0] }
}

#[test]
fn a_track_needs_one_sure_or_two_of_three_likely_detections() {
    let at = |n: u64| Uptime::from_millis(n * 100);
    let mut weak = Tracker::default();
    assert!(weak.step(&[person(0.4, 0.0)], at(0), |_| vec![]).is_empty());
    assert!(weak.step(&[], at(1), |_| vec![]).is_empty());
    let told = weak.step(&[person(0.4, 5.0)], at(2), |_| vec![]);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].phase, TrackPhase::New);

    let mut lone = Tracker::default();
    for n in [0, 5, 10, 15] {
        assert!(lone.step(&[person(0.5, 0.0)], at(n), |_| vec![]).is_empty());
        for between in 1..5 {
            assert!(lone.step(&[], at(n + between), |_| vec![]).is_empty(), "one weak detection in five is noise");
        }
    }

    let mut sure = Tracker::default();
    assert_eq!(sure.step(&[person(0.7, 0.0)], at(0), |_| vec![]).len(), 1);
}

#[test]
fn a_track_keeps_its_number_while_it_walks_and_ends_once() {
    let mut tracker = Tracker::default();
    let mut phases = Vec::new();
    for n in 0..60u64 {
        let found =
            if n < 30 { vec![person(0.8, n as f32 * 6.0), person(0.8, 600.0 - n as f32 * 3.0)] } else { vec![] };
        phases.extend(
            tracker
                .step(&found, Uptime::from_millis(n * 100), |_| vec![])
                .into_iter()
                .map(|c| (c.track.number, c.phase)),
        );
    }
    let numbers: std::collections::BTreeSet<u64> = phases.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers.len(), 2, "{phases:?}");
    for number in numbers {
        let of = |phase| phases.iter().filter(|told| **told == (number, phase)).count();
        assert_eq!((of(TrackPhase::New), of(TrackPhase::End)), (1, 1), "{phases:?}");
    }
}
