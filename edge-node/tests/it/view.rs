//! Whether a camera's pictures can be believed: real pictures, and the same spoiled in each way.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use edge_node::sensor::camera::video::{Shot, Video};
use edge_node::sensor::camera::view::{Fault, Seen, View, ViewConfig, look};
use edge_node::sensor::camera::view_store::{keep, read};
use edge_node::sensor::frame::Picture;
use hil::media;
use shared::ids::Name;
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
        let own = picture.to_rgb();
        let rgb = own.iter().map(|byte| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            byte.saturating_add((random >> 30) as u8)
        });
        let noisy = like(picture, rgb.collect());
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

/// A yard of boxes, each with its own brightness and stripes.
fn scene(seed: u32) -> Picture {
    let (width, height) = (640u32, 480u32);
    let hash =
        |a: u32, b: u32| (a.wrapping_mul(73_856_093) ^ b.wrapping_mul(19_349_663) ^ seed.wrapping_mul(83_492_791)) >> 7;
    let pixel = |n: u32| {
        let (x, y) = (n % width, n / width);
        let block = hash(x / 53, y / 41) % 150 + 30;
        let stripe = if (x / 3 + y / 5).is_multiple_of(4) { 25 } else { 0 };
        [(block + stripe) as u8, block as u8, (block / 2 + stripe) as u8]
    };
    Picture::rgb(width, height, (0..width * height).flat_map(pixel).collect())
}

/// Of the same size, with other samples.
fn like(picture: &Picture, rgb: Vec<u8>) -> Picture {
    Picture::rgb(picture.width, picture.height, rgb)
}

fn room() -> Picture {
    scene(1)
}

/// So much of the picture, from the left, behind something plain.
fn behind(picture: &Picture, part: usize) -> Picture {
    let width = picture.width as usize;
    let own = picture.to_rgb();
    let rgb = own.iter().enumerate().map(|(n, byte)| if n / 3 % width < width * part / 100 { 90 } else { *byte });
    like(picture, rgb.collect())
}

fn plain(like: &Picture, value: u8) -> Picture {
    self::like(like, vec![value; like.to_rgb().len()])
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
    let rows = pass(&picture.to_rgb(), 1, width, &|line| line * width, height);
    let rgb = pass(&rows, width, height, &|line| line, width);
    like(picture, rgb)
}

/// So many seventy-seconds of the light.
fn dimmer(picture: &Picture, part: u16) -> Picture {
    like(picture, picture.to_rgb().iter().map(|byte| (u16::from(*byte) * part / 72) as u8).collect())
}

/// Moved to the side by so many pixels: what comes in is the far edge.
fn shifted(picture: &Picture, pixels: usize) -> Picture {
    let width = picture.width as usize * 3;
    let rgb = picture.to_rgb();
    let rows = rgb.chunks_exact(width).flat_map(|row| row[pixels * 3..].iter().chain(&row[..pixels * 3]).copied());
    like(picture, rows.collect())
}

#[test]
fn a_view_that_is_spoiled_is_named_after_its_time_and_is_no_evidence_before() {
    let room = room();
    let other = scene(2);
    let spoiled = [
        (plain(&room, 2), Fault::Dark),
        (plain(&room, 252), Fault::Glaring),
        (plain(&room, 130), Fault::Covered),
        (blurred(&room, 6), Fault::Blurred),
        (behind(&room, 95), Fault::Covered),
    ];
    for (picture, fault) in spoiled {
        let mut camera = Camera::new();
        assert_eq!(camera.shows(&room, 30), (Vec::new(), 150), "it is good at first");
        let (turns, evidence) = camera.shows(&picture, 4);
        assert_eq!((turns, evidence), (vec![Some(fault)], 0), "{fault:?}: no evidence from the first frame on");
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
        assert_eq!(evidence, 0, "{what}");
        assert_eq!(camera.shows(&picture, 600).0, [], "it does not get used to it");
        camera.view.accept();
        assert_eq!(camera.shows(&picture, 20).0, [None], "somebody says that it is right: {what}");
        assert_eq!(camera.shows(&room, 20).0, [Some(Fault::Moved)], "and the old view is none now: {what}");
    }
}

#[test]
fn the_same_picture_again_and_again_is_frozen_whatever_clock_ticks_in_it_and_noise_is_not() {
    let room = room();
    for clock in [false, true] {
        let mut camera = Camera::new();
        assert_eq!(camera.shows(&room, 60), (Vec::new(), 300));
        let mut frozen = None;
        for n in 0..10 * FPS {
            let mut rgb = room.to_rgb().to_vec();
            // Digits in a corner.
            let digits = if clock { 20 } else { 0 };
            for y in 0..20 {
                rgb[y * 1920..y * 1920 + digits * 3].fill((n * 37 % 256) as u8);
            }
            let seen = camera.show(&like(&room, rgb));
            if seen.turn == Some(Some(Fault::Frozen)) {
                frozen = Some(n);
            }
            assert!(frozen.is_none() || !seen.evidence);
        }
        assert!(frozen.is_some_and(|n| (2 * FPS..=2 * FPS + 1).contains(&n)), "after {frozen:?} frames");
        assert_eq!(camera.shows(&room, 3).0, [None]);
    }
    let mut camera = Camera::new();
    camera.config.frozen_after = Duration::ZERO;
    assert!((0..600).all(|_| camera.show(&room).evidence), "a folder of pictures is not frozen");
}

#[test]
fn a_camera_whose_time_stamps_stand_is_frozen_whatever_it_shows_until_they_go_on() {
    let room = room();
    let mut camera = Camera::new();
    camera.shows(&room, 30);
    let now = |camera: &Camera| Uptime::from_millis(100_000 + camera.frame * 1000 / FPS);
    assert_eq!(camera.view.freeze(now(&camera)), Some(Some(Fault::Frozen)));
    // Asked again it begins each time with some pictures before the stamps are seen to stand.
    for _ in 0..5 {
        assert_eq!(camera.shows(&room, 1), (Vec::new(), 0));
        assert_eq!(camera.view.freeze(now(&camera)), None, "that is told once");
    }
    assert_eq!(camera.shows(&room, 3).0, [None]);
}

#[test]
fn doubts_that_take_turns_are_one_doubt_and_a_lamp_in_the_dark_is_no_view() {
    let room = room();
    let mut camera = Camera::new();
    camera.shows(&room, 30);
    let spoiled = [plain(&room, 130), blurred(&room, 6), scene(2)];
    let (mut turns, mut evidence) = (Vec::new(), 0);
    for n in 0..20 {
        let noisy = camera.noisy(&spoiled[n % 3]);
        let seen = camera.show(&noisy);
        turns.extend(seen.turn);
        evidence += u64::from(seen.evidence);
    }
    assert!(turns.iter().all(Option::is_some) && !turns.is_empty() && evidence == 0, "{turns:?}");
    // Night, and one lamp.
    let mut camera = Camera::new();
    let mut night = plain(&room, 1).to_rgb().to_vec();
    for y in 100..130 {
        night[y * 1920 + 300..y * 1920 + 420].fill(220);
    }
    let (turns, evidence) = camera.shows(&like(&room, night), 4);
    assert_eq!((turns, evidence), (vec![Some(Fault::Dark)], 0), "from the very start");
}

#[test]
fn a_view_is_learned_slowly_whatever_time_has_passed_between_two_frames() {
    let room = room();
    let mut camera = Camera::new();
    camera.shows(&room, 30);
    // Away for an hour; then one frame that is half as sharp as usual.
    camera.frame += 3600 * FPS;
    let soft = camera.noisy(&blurred(&room, 1));
    camera.show(&soft);
    camera.shows(&room, 5);
    assert_eq!(camera.shows(&blurred(&room, 6), 5).0, [Some(Fault::Blurred)], "it is measured by the old sharpness");
}

#[test]
fn a_dark_moment_dusk_and_a_shaking_mast_are_no_fault() {
    let room = room();
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

#[test]
fn what_was_usual_before_a_restart_is_held_against_the_first_picture_after_it() {
    let (room, other) = (room(), scene(2));
    let folder = tempfile::tempdir().unwrap();
    let name: Name = "yard".parse().unwrap();
    let mut camera = Camera::new();
    camera.shows(&room, 5);
    assert!(camera.view.usual().is_none(), "it is not known before fifty looks");
    camera.shows(&room, 20);
    let (change, changes) = sync_channel(1);
    change.send((name.clone(), camera.view.usual().cloned())).unwrap();
    drop(change);
    keep(folder.path(), &changes);
    let again = || Camera { view: View::remembering(read(folder.path(), &name)), ..Camera::new() };
    // The same yard in the evening is what it was, and another is none, from the first picture on.
    assert_eq!(again().shows(&dimmer(&room, 50), 20), (vec![], 100));
    assert_eq!(again().shows(&other, 20), (vec![Some(Fault::Moved)], 0));
    assert_eq!(again().shows(&blurred(&room, 6), 20), (vec![Some(Fault::Blurred)], 0));
    let mut accepted = again();
    accepted.shows(&other, 20);
    accepted.view.accept();
    assert_eq!((accepted.shows(&other, 20).0, accepted.view.usual().is_some()), (vec![None], true));
    assert_eq!(read(folder.path(), &"gate".parse().unwrap()), None, "each camera has its own");
}

#[test]
fn a_kept_view_that_is_none_is_learned_anew_and_what_is_forgotten_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let name: Name = "yard".parse().unwrap();
    let path = folder.path().join("view-yard.json");
    let cells = |cell: &str, count: usize| vec![cell; count].join(",");
    let written = |cells: &str, sharpness: &str| format!("{{\"cells\":[{cells}],\"sharpness\":{sharpness}}}");
    let good = written(&cells("90", 576), "4");
    std::fs::write(&path, &good).unwrap();
    assert!(read(folder.path(), &name).is_some());
    let bad = [
        String::new(),
        good[..good.len() / 2].to_owned(),
        written(&cells("90", 575), "4"),
        written(&cells("256", 576), "4"),
        written(&cells("-1", 576), "4"),
        written(&cells("90", 576), "-4"),
        written(&cells("90", 576), "1e99"),
    ];
    for bad in bad {
        std::fs::write(&path, &bad).unwrap();
        assert_eq!(read(folder.path(), &name), None, "{bad}");
    }
    let (change, changes) = sync_channel(1);
    change.send((name, None)).unwrap();
    drop(change);
    keep(folder.path(), &changes);
    assert!(!path.exists());
}
