//! The steps between a picture and an event: input tensor, heads, gate, ways, clips.

use std::path::PathBuf;
use std::time::Duration;

use edge_node::detect::Detection;
use edge_node::detect::gate::{Gate, Worth, merge};
use edge_node::detect::head::{DETECTIONS_MAX, decode};
use edge_node::detect::journey::{Happening, Journey, LineConfig};
use edge_node::detect::letterbox::{Fit, Preprocessor};
use edge_node::detect::manifest::{Entry, Manifest, Shrink};
use edge_node::detect::track::Tracker;
use edge_node::ground::Point;
use edge_node::sensor::camera::gate::GateConfig;
use edge_node::sensor::camera::video::Video;
use edge_node::sensor::frame::{Picture, Pixels};
use kernels::colour;
use shared::units::Uptime;

/// An entry of a model with this head and input.
fn entry(head: &str, input: &str, rows: usize, columns: usize) -> Entry {
    let text = format!(
        "[[model]]\nname = \"m\"\nfile = \"m.onnx\"\nsha256 = \"00\"\nhead = \"{head}\"\n\
         input = {{ {input}, channels = \"rgb\", scale = 1.0 }}\nletterbox = {{ anchor = \"top-left\", fill = 114 }}\n\
         output = {{ rows = {rows}, columns = {columns} }}\nclasses = [\"person\", \"car\"]\nlicence = \"MIT\"\nsource = \"here\"\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("manifest.toml");
    std::fs::write(&file, text).unwrap();
    Manifest::read(&file).unwrap().models.remove(0)
}

const SIZE: &str = "width = 64, height = 32";
/// Cells of 64 × 32 pixels in grids of strides 8, 16, 32.
const CELLS: usize = 8 * 4 + 4 * 2 + 2;

pub fn random(seed: u32, count: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// A video picture of smooth patches: luma and chroma that a camera would give.
fn video(width: u32, height: u32) -> Picture {
    let wave =
        |x: u32, y: u32, k: u32| 128 + (90.0 * ((x * k) as f32 / 37.0).sin() * ((y * k) as f32 / 29.0).cos()) as i32;
    let (across, down) = (width.div_ceil(2), height.div_ceil(2));
    let mut bytes: Vec<u8> =
        (0..width * height).map(|n| u8::try_from(wave(n % width, n / width, 1).clamp(16, 235)).unwrap()).collect();
    for k in [2, 3] {
        bytes.extend((0..across * down).map(|n| u8::try_from(wave(n % across, n / across, k).clamp(60, 190)).unwrap()));
    }
    Picture { width, height, pixels: Pixels::I420(bytes) }
}

#[test]
fn a_video_picture_and_its_colours_are_the_same_to_the_model() {
    let picture = video(1280, 720);
    let rgb = Picture::rgb(1280, 720, picture.to_rgb().into_owned());
    let entry = entry("yolox", "width = 320, height = 192", 1260, 7);
    let (mut one, mut other) = (vec![0.0; 3 * 320 * 192], vec![0.0; 3 * 320 * 192]);
    let fit = Preprocessor::default().fill((&entry.input, &entry.letterbox), &picture, &mut one).unwrap();
    assert_eq!(fit, Preprocessor::default().fill((&entry.input, &entry.letterbox), &rgb, &mut other).unwrap());
    let most = one.iter().zip(&other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let mean = one.iter().zip(&other).map(|(a, b)| (a - b).abs()).sum::<f32>() / one.len() as f32;
    // Chroma is made finer here from its own samples, there from its neighbour's.
    assert!(most <= 10.0 && mean <= 1.0, "levels of 255 apart: {most}, in the mean {mean}");
    // Below the picture it is filled.
    assert_eq!((one[180 * 320], one[179 * 320] == 114.0), (114.0, false));
}

/// Mean of the pixels of a plane whose middles lie in a rectangle.
fn mean_within(plane: &[u8], width: usize, [left, top, right, bottom]: [f64; 4]) -> f64 {
    let (mut sum, mut all) = (0.0, 0.0);
    for (n, value) in plane.iter().enumerate() {
        // A middle on the edge is still the left one's.
        let (x, y) = ((n % width) as f64 + 0.499, (n / width) as f64 + 0.499);
        if (left..right).contains(&x) && (top..bottom).contains(&y) {
            (sum, all) = (sum + f64::from(*value), all + 1.0);
        }
    }
    sum / all
}

#[test]
fn an_area_becomes_its_mean() {
    let mut entry = entry("yolox", SIZE, CELLS, 7);
    entry.letterbox.shrink = Shrink::Area;
    // By two, three, five, seven, sixteen (a way of its own), by 2.5 and by more than that (the library's).
    for (width, height) in [(128, 64), (192, 96), (320, 160), (448, 224), (1024, 512), (160, 80), (1280, 640)] {
        let mut picture = Picture { width, height, pixels: Pixels::I420(Vec::new()) };
        let (luma, rest) = ((width * height) as usize, (width * height / 2) as usize);
        let mut bytes = random(width, luma);
        bytes.resize(luma + rest, 128);
        picture.pixels = Pixels::I420(bytes.clone());
        let mut tensor = vec![0.0; 3 * 64 * 32];
        Preprocessor::default().fill((&entry.input, &entry.letterbox), &picture, &mut tensor).unwrap();
        let factor = f64::from(width) / 64.0;
        for (x, y) in [(0, 0), (63, 0), (17, 9), (31, 16), (0, 31), (63, 31)] {
            let corner = |by: u32| [f64::from(x + by) * factor, f64::from(y + by) * factor];
            let ([left, top], [right, bottom]) = (corner(0), corner(1));
            let mean = mean_within(&bytes[..luma], width as usize, [left, top, right, bottom]);
            let white = |level: f64| f32::from(colour(u8::try_from(level as i64).unwrap(), 128, 128)[0]);
            let (least, most) = (white((mean - 1.0).max(0.0)), white((mean + 1.5).min(255.0)));
            let found = tensor[(y * 64 + x) as usize];
            assert!((least..=most).contains(&found), "{width}: {found} at {x}, {y}, expected {least} to {most}");
        }
    }
}

#[test]
fn space_to_depth_is_the_same_pixels_in_another_order() {
    for (width, height) in [(640, 360), (333, 250), (64, 300)] {
        let picture = Picture::rgb(width, height, random(width, (width * height * 3) as usize));
        let planes = entry("yolox", SIZE, CELLS, 7);
        let blocks = entry("yolox", &format!("{SIZE}, layout = \"space-to-depth\""), CELLS, 7);
        let (mut one, mut other) = (vec![0.0; 3 * 64 * 32], vec![0.0; 3 * 64 * 32]);
        Preprocessor::default().fill((&planes.input, &planes.letterbox), &picture, &mut one).unwrap();
        Preprocessor::default().fill((&blocks.input, &blocks.letterbox), &picture, &mut other).unwrap();
        for plane in 0..12 {
            let (channel, row, column) = (plane % 3, plane / 3 % 2, plane / 6);
            for y in 0..16 {
                for x in 0..32 {
                    let there = one[channel * 64 * 32 + (2 * y + row) * 64 + 2 * x + column];
                    assert_eq!(other[plane * 16 * 32 + y * 32 + x], there, "plane {plane} at {x}, {y}");
                }
            }
        }
    }
}

/// A car of 20 × 10 pixels at (30, 12) in the middle grid and a person of 6 × 12 at (51, 20) in the fine one.
pub fn outputs() -> [(&'static str, Entry, Vec<f32>); 3] {
    let things =
        [(1usize, 0.9, 0.8, [30.0f32, 12.0, 20.0, 10.0], 16.0f32), (0, 0.7, 0.9, [51.0, 20.0, 6.0, 12.0], 8.0)];
    let mut yolox = vec![0.0; CELLS * 7];
    let mut yolov5 = vec![0.0; 3 * CELLS * 7];
    let mut yolov8 = vec![0.0; 6 * CELLS];
    for (class, objectness, score, [x, y, w, h], stride) in things {
        let (column, row, first) = ((x / stride).floor(), (y / stride).floor(), if stride == 8.0 { 0 } else { 32 });
        let whole = |value: f32| usize::from(value.to_string().parse::<u8>().unwrap());
        let cell = first + whole(row) * (64 / whole(stride)) + whole(column);
        let box_ = [x / stride - column, y / stride - row, (w / stride).ln(), (h / stride).ln(), objectness];
        yolox[cell * 7..cell * 7 + 5].copy_from_slice(&box_);
        yolox[cell * 7 + 5 + class] = score;
        yolov5[cell * 7..cell * 7 + 5].copy_from_slice(&[x, y, w, h, objectness]);
        yolov5[cell * 7 + 5 + class] = score;
        for (line, value) in [x, y, w, h].into_iter().enumerate() {
            yolov8[line * CELLS + cell] = value;
        }
        yolov8[(4 + class) * CELLS + cell] = objectness * score;
    }
    [
        ("yolox", entry("yolox", SIZE, CELLS, 7), yolox),
        ("yolov5", entry("yolov5", SIZE, 3 * CELLS, 7), yolov5),
        ("yolov8", entry("yolov8", SIZE, 6, CELLS), yolov8),
    ]
}

#[test]
fn three_heads_say_the_same_of_the_same_things() {
    let fit = Fit { ratio: 0.5, left: 0.0, top: 4.0 };
    for (head, entry, output) in outputs() {
        let found = decode(&entry, &output, fit, 0.3);
        assert_eq!(found.len(), 2, "{head}: {found:?}");
        for (found, (class, score, box_xyxy_px)) in
            found.iter().zip([(1, 0.72, [40.0, 6.0, 80.0, 26.0]), (0, 0.63, [96.0, 20.0, 108.0, 44.0])])
        {
            assert_eq!(found.class, class, "{head}");
            assert!((found.score - score).abs() < 1e-4, "{head}: {found:?}");
            assert!(found.box_xyxy_px.iter().zip(box_xyxy_px).all(|(a, b)| (a - b).abs() < 1e-2), "{head}: {found:?}");
        }
    }
}

#[test]
fn what_a_broken_network_gives_is_no_detection_and_no_end_of_work() {
    let fit = Fit { ratio: 1.0, left: 0.0, top: 0.0 };
    for (head, entry, output) in outputs() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            let found = decode(&entry, &vec![bad; output.len()], fit, 0.3);
            assert!(
                found.iter().all(|d| d.score.is_finite() && d.box_xyxy_px.iter().all(|v| v.is_finite())),
                "{head} {bad}"
            );
        }
        assert!(decode(&entry, &[], fit, 0.3).is_empty(), "{head}");
    }
    // Everything is a person, everywhere: 100 800 candidates that hardly overlap.
    let wide = entry("yolov5", "width = 1280, height = 1280", 3 * (160 * 160 + 80 * 80 + 40 * 40), 7);
    let all: Vec<f32> = (0..wide.output.rows)
        .flat_map(|n| [(n % 300) as f32 * 4.0, (n / 300) as f32 * 4.0, 2.0, 2.0, 0.9, 0.9, 0.1])
        .collect();
    let begun = hil::wait::now();
    assert_eq!(decode(&wide, &all, fit, 0.3).len(), DETECTIONS_MAX);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// Grey with noise, and a white block of 40 × 90 pixels at a place.
fn yard(frame: u32, at: Option<(usize, usize)>) -> Picture {
    let mut luma: Vec<u8> = random(frame + 1, 640 * 360).into_iter().map(|n| 100 + n % 5).collect();
    if let Some((x, y)) = at {
        for row in luma.chunks_exact_mut(640).skip(y).take(90) {
            row[x..x + 40].fill(220);
        }
    }
    luma.resize(640 * 360 * 3 / 2, 128);
    Picture { width: 640, height: 360, pixels: Pixels::I420(luma) }
}

fn at(frame: u64) -> Uptime {
    Uptime::from_millis(10_000 + frame * 100)
}

#[test]
fn the_gate_opens_for_what_moves_in_two_frames_and_for_a_whole_look_every_second() {
    let (mut gate, config) = (Gate::default(), GateConfig::default());
    let mut worths = Vec::new();
    for frame in 0..100u32 {
        // One frame is brighter, as a key frame's pulse; from frame 80 on somebody walks.
        let mut picture = yard(frame, (frame >= 80).then(|| (100 + 6 * (frame as usize - 80), 150)));
        if let (50, Pixels::I420(bytes)) = (frame, &mut picture.pixels) {
            bytes[..640 * 360].iter_mut().for_each(|luma| *luma += 12);
        }
        worths.push(gate.step(&config, &picture, false, at(u64::from(frame))));
    }
    assert!(worths[..20].iter().all(|worth| *worth == Worth::Whole), "it learns: {worths:?}");
    let whole: Vec<usize> = (21..80).filter(|n| worths[*n] == Worth::Whole).collect();
    assert!(
        whole.windows(2).all(|pair| pair[1] - pair[0] == 10) && whole.len() >= 5,
        "a whole look each second: {whole:?}"
    );
    let others = (21..80).filter(|n| !whole.contains(n)).all(|n| worths[n] == Worth::Nothing);
    assert!(others, "nothing else in it: {worths:?}");
    let walked: Vec<&Worth> = worths[81..].iter().filter(|worth| **worth != Worth::Whole).collect();
    assert!(walked.len() >= 15);
    for (n, worth) in worths.iter().enumerate().skip(81) {
        let x = 100 + 6 * (n as u32 - 80);
        match worth {
            Worth::Part((left, top, width, height)) => {
                let holds = *left <= x && left + width >= x + 40 && *top <= 150 && top + height >= 240;
                assert!(holds, "frame {n}: {worth:?} holds somebody at {x}");
                assert!(width * height < 640 * 360 / 2 && left + width <= 640 && top + height <= 360);
                assert!(picture_part(&yard(0, None), (*left, *top, *width, *height)));
            }
            Worth::Whole => {}
            Worth::Nothing => panic!("frame {n}: somebody walks"),
        }
    }
}

#[test]
fn who_has_passed_leaves_no_ghost_and_what_is_parked_becomes_background() {
    let (mut gate, config) = (Gate::default(), GateConfig::default());
    let mut worths = Vec::new();
    for frame in 0..320u32 {
        // Twelve seconds of somebody who sways, then nobody; from frame 220 on something stands there.
        let place = match frame {
            40..160 => Some((300 + frame as usize % 7 * 9, 150)),
            220.. => Some((300, 150)),
            _ => None,
        };
        worths.push(gate.step(&config, &yard(frame, place), false, at(u64::from(frame))));
    }
    let still = |from: usize, to: usize| worths[from..to].iter().filter(|worth| **worth == Worth::Nothing).count();
    // What of it stays in one place settles after five seconds; its edges go on moving.
    assert!(still(42, 160) <= 30, "while it sways: {:?}", &worths[42..160]);
    assert!(still(162, 220) >= 50, "gone, and nothing of it is left: {:?}", &worths[162..220]);
    assert_eq!(still(222, 265), 0, "something has come");
    assert!(still(280, 320) >= 34, "it belongs there: {:?}", &worths[280..]);
}

fn picture_part(picture: &Picture, part: (u32, u32, u32, u32)) -> bool {
    picture.part(part).is_some_and(|cut| cut.planes().is_some() && (cut.width, cut.height) == (part.2, part.3))
}

#[test]
fn who_was_seen_stays_until_a_whole_look_shows_that_nobody_is_there() {
    let person = |left: f32| Detection { class: 0, score: 0.8, box_xyxy_px: [left, 100.0, left + 40.0, 200.0] };
    let part = (0, 0, 320, 360);
    // Inside the part and found again, a step further; outside of it and as before.
    let (known, again) = merge(&[person(100.0), person(500.0)], part, vec![person(110.0)]);
    assert_eq!((known, again), (vec![person(110.0), person(500.0)], false));
    // Two were inside, one is found: the other stays, and the whole is asked for.
    let (known, again) = merge(&[person(100.0), person(200.0)], part, vec![person(105.0)]);
    assert_eq!((known, again), (vec![person(105.0), person(200.0)], true));
    // Somebody has gone far: the new place, no ghost at the old one, and the whole is asked for, since it may be two.
    let (known, again) = merge(&[person(100.0)], part, vec![person(180.0)]);
    assert_eq!((known, again), (vec![person(180.0)], true));
    // One found between two who stood close: whoever of them is missing is not forgotten.
    let (_, again) = merge(&[person(100.0), person(120.0)], part, vec![person(110.0)]);
    assert!(again);
}

#[test]
fn what_the_last_look_has_not_seen_is_not_kept_alive_by_frames_in_which_nothing_moves() {
    let mut tracker = Tracker::default();
    let person = Detection { class: 0, score: 0.9, box_xyxy_px: [10.0, 10.0, 50.0, 90.0] };
    let nowhere = |_: &[f32; 4]| Vec::new();
    tracker.step(&[person], at(0), nowhere);
    for frame in 1..30 {
        tracker.hold(at(frame));
    }
    assert_eq!(tracker.confirmed().count(), 1, "it was there at the last look");
    // Missed at the next look.
    tracker.step(&[], at(30), nowhere);
    let mut ended = 0;
    for frame in 31..60 {
        match frame % 10 {
            0 => ended += tracker.step(&[], at(frame), nowhere).len(),
            _ => tracker.hold(at(frame)),
        }
    }
    assert_eq!((ended, tracker.confirmed().count()), (1, 0));
}

#[test]
fn a_line_is_crossed_once_each_way_however_a_box_trembles_on_it() {
    let line: LineConfig =
        toml::from_str("name = \"gate\"\ncamera = \"c\"\nfrom = [0.5, 0.2]\nto = [0.5, 0.8]\n").unwrap();
    let (mut journey, mut crossed) = (Journey::default(), Vec::new());
    let mut walk = |xs: &[f32], y: f32| {
        for (n, x) in xs.iter().enumerate() {
            for happening in journey.step([*x, y], &[], None, [(0, &line)].into_iter(), at(n as u64)) {
                crossed.push(happening);
            }
        }
        std::mem::take(&mut crossed)
    };
    // From left to right in the picture, up to the line and trembling on it, then over. Looking down the line its left
    // hand is to the right of the picture.
    assert_eq!(walk(&[0.3, 0.45, 0.495, 0.505, 0.497, 0.503, 0.55], 0.5), [Happening::Crossed(0, false)]);
    assert_eq!(walk(&[0.55, 0.505, 0.495, 0.4], 0.5), [Happening::Crossed(0, true)]);
    assert_eq!(walk(&[0.4, 0.6], 0.9), [], "beyond its end");
}

#[test]
fn a_way_has_its_dwell_direction_and_speed() {
    let (mut journey, dwell) = (Journey::default(), Duration::from_secs(3));
    let mut happened = Vec::new();
    for frame in 0..100u64 {
        // A metre a second to the east; in the zone from 2 s on, with half a second out of it.
        let inside = frame >= 20 && !(30..35).contains(&frame);
        let zones: &[(usize, Duration)] = if inside { &[(7, dwell)] } else { &[] };
        let place = Point { east: frame as f64 * 0.1, north: 5.0 };
        let foot = [0.2 + frame as f32 * 0.004, 0.5];
        for what in journey.step(foot, zones, Some(place), std::iter::empty(), at(frame)) {
            happened.push((frame, what));
        }
    }
    assert_eq!(happened.len(), 1, "told once: {happened:?}");
    assert_eq!(happened[0].0, 55, "three seconds in it: {happened:?}");
    assert!((journey.speed_mps().unwrap() - 1.0).abs() < 0.01);
    assert!((journey.direction_deg((1280, 720)).unwrap() - 90.0).abs() < 0.1);
    let stays: Vec<_> = journey.stays().collect();
    assert_eq!(stays, [(7, Duration::from_millis(7400))], "1 s and 6.4 s");
}

#[test]
fn the_gate_rests_while_a_real_room_is_empty_and_opens_while_somebody_walks() {
    let test = "the_gate_rests_while_a_real_room_is_empty_and_opens_while_somebody_walks";
    let Some(media) = hil::media::or_skip(test) else { return };
    let video = Video::open(&media.join("one-by-one-person-detection.mp4")).unwrap();
    let (mut gate, config) = (Gate::default(), GateConfig::default());
    let mut seconds = vec![(0, 0, 0); 140];
    for (frame, shot) in video.enumerate() {
        let count = &mut seconds[frame / 10];
        match gate.step(&config, &shot.unwrap().picture, false, at(frame as u64)) {
            Worth::Nothing => count.0 += 1,
            Worth::Part(_) => count.1 += 1,
            Worth::Whole => count.2 += 1,
        }
    }
    // Empty for six seconds, of which it learns for two; somebody walks from 8 to 12 s and from 52 to 56 s.
    let sum = |range: std::ops::Range<usize>| seconds[range].iter().map(|second| second.0).sum::<i32>();
    assert!(sum(2..5) >= 20, "{:?}", &seconds[2..5]);
    assert_eq!((sum(8..12), sum(52..56)), (0, 0), "{seconds:?}");
}
