//! Whether a camera's pictures can be believed: real pictures, and the same spoiled in each way.

use std::time::Duration;

use edge_node::sensor::camera::video::{Shot, Video};
use edge_node::sensor::camera::view::{Fault, Seen, View, ViewConfig, look};
use edge_node::sensor::frame::Picture;
use edge_node::sensor::picture;
use hil::media;
use shared::units::Uptime;

/// Pictures a second.
const FPS: u64 = 5;

/// A camera that shows pictures with the noise of a sensor.
struct Camera {
    view: View,
    config: ViewConfig,
    frame: u64,
    random: u32,
}

impl Camera {
    fn new() -> Self {
        Self { view: View::default(), config: ViewConfig::default(), frame: 0, random: 7 }
    }

    fn noisy(&mut self, picture: &Picture) -> Picture {
        let mut random = self.random;
        let rgb = picture.rgb.iter().map(|byte| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            byte.saturating_add((random >> 30) as u8)
        });
        let noisy = Picture { rgb: rgb.collect(), ..*picture };
        self.random = random;
        noisy
    }

    fn show(&mut self, picture: &Picture) -> Seen {
        self.frame += 1;
        let captured = Uptime::from_millis(100_000 + self.frame * 1000 / FPS);
        self.view.saw(&self.config, &look(picture).unwrap(), captured)
    }

    /// Shows one for so long; what the camera became, and how many frames were evidence.
    fn shows(&mut self, picture: &Picture, seconds: u64) -> (Vec<Option<Fault>>, u64) {
        let (mut turns, mut evidence) = (Vec::new(), 0);
        for _ in 0..seconds * FPS {
            let noisy = self.noisy(picture);
            let seen = self.show(&noisy);
            turns.extend(seen.turn);
            evidence += u64::from(seen.evidence);
        }
        (turns, evidence)
    }
}

fn room() -> Option<Picture> {
    let folder = media::or_skip("view")?;
    Some(picture::read(&folder.join("coco64/images/000000000632.jpg")).unwrap())
}

fn plain(like: &Picture, value: u8) -> Picture {
    Picture { rgb: vec![value; like.rgb.len()], ..*like }
}

/// A mean over so many pixels to each side, in both directions.
fn blurred(picture: &Picture, reach: usize) -> Picture {
    let (width, height) = (picture.width as usize, picture.height as usize);
    let pass = |from: &[u8], step: usize, length: usize, lines: &dyn Fn(usize) -> usize, count: usize| {
        let mut to = from.to_vec();
        for line in 0..count {
            for n in 0..length {
                for channel in 0..3 {
                    let around = n.saturating_sub(reach)..(n + reach + 1).min(length);
                    let sum: usize =
                        around.clone().map(|m| usize::from(from[(lines(line) + m * step) * 3 + channel])).sum();
                    to[(lines(line) + n * step) * 3 + channel] = (sum / around.len()) as u8;
                }
            }
        }
        to
    };
    let rows = pass(&picture.rgb, 1, width, &|line| line * width, height);
    let rgb = pass(&rows, width, height, &|line| line, width);
    Picture { rgb, ..*picture }
}

/// So many seventy-seconds of the light.
fn dimmer(picture: &Picture, part: u16) -> Picture {
    Picture { rgb: picture.rgb.iter().map(|byte| (u16::from(*byte) * part / 72) as u8).collect(), ..*picture }
}

/// Moved to the side by so many pixels: what comes in is the far edge.
fn shifted(picture: &Picture, pixels: usize) -> Picture {
    let width = picture.width as usize * 3;
    let rows =
        picture.rgb.chunks_exact(width).flat_map(|row| row[pixels * 3..].iter().chain(&row[..pixels * 3]).copied());
    Picture { rgb: rows.collect(), ..*picture }
}

#[test]
fn a_view_that_is_spoiled_is_named_after_its_time_and_is_no_evidence_before() {
    let Some(room) = room() else { return };
    let other = picture::read(&media::folder().unwrap().join("coco64/images/000000003845.jpg")).unwrap();
    let spoiled = [
        (plain(&room, 2), Fault::Dark),
        (plain(&room, 252), Fault::Glaring),
        (plain(&room, 130), Fault::Covered),
        (blurred(&room, 6), Fault::Blurred),
    ];
    for (picture, fault) in spoiled {
        let mut camera = Camera::new();
        assert_eq!(camera.shows(&room, 30), (Vec::new(), 150), "it is good at first");
        let (turns, evidence) = camera.shows(&picture, 4);
        assert_eq!((turns, evidence), (vec![Some(fault)], 0), "{fault:?}");
        // Good again after a second.
        let (turns, evidence) = camera.shows(&room, 3);
        assert_eq!(turns, [None], "{fault:?}");
        assert!((8..=10).contains(&evidence), "{fault:?}: {evidence} frames of two seconds");
    }
    for (picture, what) in [(shifted(&room, 80), "turned aside"), (other, "another place")] {
        let mut camera = Camera::new();
        camera.shows(&room, 30);
        let (turns, evidence) = camera.shows(&picture, 20);
        assert_eq!(turns, [Some(Fault::Moved)], "{what}");
        assert!((49..=52).contains(&evidence), "{what}: {evidence} frames of ten seconds");
        assert_eq!(camera.shows(&picture, 600).0, [], "it does not get used to it");
        camera.view.accept();
        assert_eq!(camera.shows(&picture, 20).0, [None], "somebody says that it is right: {what}");
        assert_eq!(camera.shows(&room, 20).0, [Some(Fault::Moved)], "and the old view is none now: {what}");
    }
}

#[test]
fn the_same_picture_again_and_again_is_frozen_and_noise_is_not() {
    let Some(room) = room() else { return };
    let mut camera = Camera::new();
    assert_eq!(camera.shows(&room, 60), (Vec::new(), 300));
    let seen: Vec<Seen> = (0..20 * FPS).map(|_| camera.show(&room)).collect();
    let frozen = seen.iter().position(|seen| seen.turn == Some(Some(Fault::Frozen))).unwrap() as u64;
    assert!((10 * FPS..=10 * FPS + 1).contains(&frozen), "after {frozen} frames");
    assert!(seen[frozen as usize..].iter().all(|seen| !seen.evidence));
    assert_eq!(camera.shows(&room, 3).0, [None]);
    camera.config.frozen_after = Duration::ZERO;
    assert!((0..600).all(|_| camera.show(&room).evidence), "a folder of pictures is not frozen");
}

#[test]
fn a_dark_moment_dusk_and_a_shaking_mast_are_no_fault() {
    let Some(room) = room() else { return };
    let mut camera = Camera::new();
    camera.shows(&room, 30);
    let dark = plain(&room, 2);
    assert!(!camera.show(&dark).evidence, "it proves nothing");
    assert_eq!(camera.shows(&room, 5), (Vec::new(), 25), "and is forgotten");
    // Dusk: in half an hour to a sixth of the light.
    for step in 0..60 {
        let part = 72 - step;
        assert_eq!(camera.shows(&dimmer(&room, part), 30).0, [], "at {part}");
    }
    let mut camera = Camera::new();
    camera.shows(&room, 30);
    for n in 0..60 {
        assert_eq!(camera.shows(&shifted(&room, [0, 6, 12, 6][n % 4]), 1).0, [], "shaking");
    }
}

#[test]
fn people_who_walk_through_a_room_leave_every_frame_of_it_good() {
    let Some(video) = media::video() else {
        assert!(media::or_skip("view of a video").is_none());
        return;
    };
    let (mut view, config, mut frames) = (View::default(), ViewConfig::default(), 0u64);
    for frame in Video::open(&video).unwrap() {
        let Shot { time_s, picture } = frame.unwrap();
        let captured = Uptime::from_millis(100_000).plus(Duration::from_secs_f64(time_s));
        let seen = view.saw(&config, &look(&picture).unwrap(), captured);
        assert_eq!((seen.turn, seen.evidence), (None, true), "frame {frames}");
        frames += 1;
    }
    assert!(frames > 1300, "{frames}");
}
