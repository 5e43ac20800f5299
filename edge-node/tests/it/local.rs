//! Cameras at this machine, without one: which of their offers is taken, and what becomes of a driver's buffers. Where
//! there is one (`PICKET_V4L2=/dev/video0`) it is opened, too; the rig meets a driver in a virtual machine.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use edge_node::health::{Metrics, Of};
use edge_node::sensor::camera::Source;
use edge_node::sensor::camera::complaints::{Bad, Failures};
use edge_node::sensor::camera::offer::{Coding, Offer, V4l2Config, choose, step, within};
use edge_node::sensor::camera::tables::complete;
use edge_node::sensor::camera::v4l2::{Form, Shot, Shots, Told, open, play};
use edge_node::sensor::camera::yuyv::i420;
use edge_node::sensor::frame::Pixels;
use edge_node::sensor::picture;
use shared::units::Uptime;

const SILENCE: Duration = Duration::from_secs(5);

fn offer(coding: Coding, width: u32, height: u32, fps: u32) -> Offer {
    Offer { coding, width, height, interval: Some((1, fps)) }
}

/// What a usual webcam at USB 2 has.
fn webcam() -> Vec<Offer> {
    use Coding::{Mjpeg, Yuyv};
    vec![
        offer(Yuyv, 640, 480, 30),
        offer(Yuyv, 1280, 720, 10),
        offer(Yuyv, 1920, 1080, 5),
        offer(Mjpeg, 640, 480, 30),
        offer(Mjpeg, 1280, 720, 60),
        Offer { interval: Some((1001, 30_000)), ..offer(Mjpeg, 1280, 720, 30) },
        offer(Mjpeg, 1920, 1080, 30),
    ]
}

#[test]
fn the_nearest_offer_is_chosen() {
    let chosen = |wanted: V4l2Config| choose(&webcam(), &wanted).map(|offer| offer.to_string());
    let any = V4l2Config::default();
    assert_eq!(chosen(any.clone()).unwrap(), "Mjpeg 1280×720 at 29.9700/s");
    assert_eq!(chosen(V4l2Config { fps: Some(10), ..any.clone() }).unwrap(), "Yuyv 1280×720 at 10.0000/s");
    assert_eq!(chosen(V4l2Config { fps: Some(30), ..any.clone() }).unwrap(), "Mjpeg 1280×720 at 29.9700/s");
    assert_eq!(chosen(V4l2Config { size: Some((640, 480)), ..any.clone() }).unwrap(), "Yuyv 640×480 at 30.0000/s");
    let raw = V4l2Config { format: Some(Coding::Yuyv), fps: Some(30), ..any.clone() };
    assert_eq!(chosen(raw).unwrap(), "Yuyv 640×480 at 30.0000/s");
    let error = chosen(V4l2Config { size: Some((800, 600)), ..any.clone() }).unwrap_err();
    assert!(error.starts_with("expected what the camera has, found YUYV or MJPEG 800×600: it has "), "{error}");
    // What is cut off where there is little room is the smallest.
    assert!(error.contains("it has Mjpeg 1920×1080 up to 30/s, "), "{error}");
    // Each size once, however many rates it has.
    assert_eq!(error.matches("1280×720").count(), 2, "{error}");
    let coded =
        choose(&webcam(), &V4l2Config { format: Some(Coding::Mjpeg), fps: Some(200), ..any.clone() }).unwrap_err();
    assert!(!coded.contains("Yuyv"), "what is not wanted is not listed: {coded}");
    let raw = V4l2Config { format: Some(Coding::Yuyv), fps: Some(5), ..any };
    for offers in [vec![], vec![Offer { coding: Coding::Yuyv, width: 8192, height: 6144, interval: None }]] {
        let error = choose(&offers, &raw).unwrap_err();
        assert!(error.starts_with("expected what the camera has, found Yuyv at 5/s: it has nothing of"), "{error}");
    }
}

#[test]
fn ranges_give_what_is_wanted_or_the_nearest() {
    assert_eq!(step(1280, 16, 3280, 2), 1280);
    assert_eq!((step(5, 16, 64, 8), step(99, 16, 60, 8), step(30, 16, 64, 0)), (16, 56, 30));
    assert_eq!([30, 120, 1].map(|fps| within(fps, (1, 90), (1, 5))), [(1, 30), (1, 90), (1, 5)]);
}

/// A driver whose buffers are bytes, a damaged one, or an error; the number says after how many polls.
struct Driver(Cell<u32>, VecDeque<(u32, Filled)>, Vec<u8>);
type Filled = io::Result<(Vec<u8>, bool)>;

impl Shots for Driver {
    fn ready(&self, _: Duration) -> io::Result<bool> {
        let polls = self.0.replace(self.0.get() + 1);
        Ok(self.1.front().is_some_and(|(after, _)| polls >= *after))
    }
    fn take(&mut self) -> io::Result<Shot<'_>> {
        self.0.set(0);
        let (_, next) = self.1.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        let (bytes, broken) = next?;
        self.2 = bytes;
        Ok(Shot { bytes: &self.2, broken })
    }
}

#[test]
fn what_came_while_decoding_is_passed_over_and_a_camera_that_goes_is_an_error() {
    let good = |after, byte: u8| (after, Ok((vec![byte], false)));
    let gone = io::Error::from_raw_os_error(19);
    let damaged = |after| (after, Ok((vec![5], true)));
    let list = vec![good(1, 1), good(0, 2), damaged(0), good(0, 3), good(1, 4), damaged(1), (1, Err(gone))];
    let (mut told, mut driver) = (Vec::new(), Driver(Cell::new(0), list.into(), Vec::new()));
    let error = play(
        &mut driver,
        SILENCE,
        || false,
        |what| {
            told.push(match what {
                Told::Shot(bytes, _) => i32::from(bytes[0]),
                Told::Broken => -1,
                Told::Passed => 0,
            });
            true
        },
    );
    assert_eq!(told, [1, 0, -1, 0, 4, -1]);
    assert!(format!("{:#}", error.unwrap_err()).contains("os error 19"));
    let mut silent = Driver(Cell::new(0), VecDeque::new(), Vec::new());
    assert!(
        play(&mut silent, Duration::from_millis(20), || false, |_| true)
            .unwrap_err()
            .to_string()
            .contains("no picture in 20ms")
    );
    assert!(play(&mut silent, SILENCE, || true, |_| true).is_ok());
    // Pictures that cannot be used, thirty in a row: those the driver calls damaged, and those of another size.
    for (broken, expected) in [(true, 30), (false, 32)] {
        let list = (0..100).map(|n| (1, Ok((vec![u8::from(n == 1)], broken)))).collect();
        let (mut count, mut driver) = (0, Driver(Cell::new(0), list, Vec::new()));
        let played = play(
            &mut driver,
            SILENCE,
            || false,
            |what| {
                count += 1;
                matches!(what, Told::Shot([1], _))
            },
        );
        assert!(played.unwrap_err().to_string().contains("30 pictures in a row"));
        assert_eq!(count, expected, "a good one among them, and it begins anew");
    }
}

/// 4×3, luma counts up, U 100 110 120 and V 200 210 220 by row; rows `stride` bytes apart, 0xEE between.
fn sample(stride: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for row in 0..3u8 {
        let (y, u, v) = (row * 4, 100 + 10 * row, 200 + 10 * row);
        let mut line = vec![y, u, y + 1, v, y + 2, u, y + 3, v];
        line.resize(stride, 0xEE);
        bytes.extend(line);
    }
    bytes
}

#[test]
fn planes_are_taken_apart_and_padding_is_left_out() {
    let wanted: Vec<u8> = (0..12).chain([105, 105, 120, 120, 205, 205, 220, 220]).collect();
    for stride in [8u8, 10, 64] {
        let picture = i420(&sample(stride.into()), 4, 3, stride.into()).unwrap();
        assert_eq!(picture.pixels, Pixels::I420(wanted.clone()), "stride {stride}");
        assert_eq!(picture.planes().map(|[y, u, v]| (y.len(), u.len(), v.len())), Some((12, 4, 4)));
    }
    // The last row needs no padding; what a page has behind it is no part.
    assert!(i420(&sample(64)[..64 * 2 + 8], 4, 3, 64).is_ok());
    let longer = [sample(8), vec![0xEE; 4096]].concat();
    assert_eq!(i420(&longer, 4, 3, 8), i420(&sample(8), 4, 3, 8));
}

#[test]
fn what_cannot_be_is_refused() {
    let bytes = sample(8);
    assert!(i420(&bytes[..23], 4, 3, 8).unwrap_err().contains("expected 24 bytes, found 23"));
    assert!(i420(&bytes, 4, 3, 7).unwrap_err().contains("at least 8 bytes a row"));
    for (width, height) in [(3, 3), (0, 3), (4, 0), (8194, 2)] {
        assert!(i420(&bytes, width, height, 8).is_err(), "{width}×{height}");
    }
    assert!(i420(&[], 4, 8192, u32::MAX).is_err());
}

#[test]
fn a_picture_of_another_size_than_the_driver_said_is_refused() {
    let form = Form { coding: Coding::Yuyv, width: 4, height: 3, stride: 8 };
    assert!(form.picture(&sample(8), "camera gate").is_ok());
    let mut jpeg = Vec::new();
    let grey = [128; 16 * 8 * 3];
    jpeg_encoder::Encoder::new(&mut jpeg, 90).encode(&grey, 16, 8, jpeg_encoder::ColorType::Rgb).unwrap();
    let form = Form { coding: Coding::Mjpeg, width: 16, height: 8, stride: 0 };
    assert_eq!(form.picture(&jpeg, "camera gate").unwrap().width, 16);
    let other = Form { height: 9, ..form };
    assert_eq!(other.picture(&jpeg, "camera gate").unwrap_err(), "expected 16×9, found 16×8");
    // Cut: behind it lies an older picture, which no one gets to see.
    assert!(form.picture(&jpeg[..jpeg.len() / 2], "camera gate").is_err());
}

#[test]
fn a_configuration_says_what_is_wrong_with_it() {
    assert_eq!("v4l2:/dev/video0".parse(), Ok(Source::V4l2(PathBuf::from("/dev/video0"))));
    assert!("v4l2:video0".parse::<Source>().is_err());
    let problem = |wanted: V4l2Config| wanted.problem().map(|(key, _)| key);
    assert_eq!(problem(V4l2Config::default()), None);
    assert_eq!(problem(V4l2Config { size: Some((8, 720)), ..V4l2Config::default() }), Some("v4l2.size"));
    assert_eq!(problem(V4l2Config { fps: Some(0), ..V4l2Config::default() }), Some("v4l2.fps"));
    let controls = [("gian".to_owned(), 3)].into();
    assert_eq!(problem(V4l2Config { controls, ..V4l2Config::default() }), Some("v4l2.controls"));
}

#[test]
fn what_is_no_camera_is_an_error_that_names_it() {
    for path in ["/dev/video-none", "/dev/null"] {
        let error = open(path.as_ref(), &V4l2Config::default()).err().map(|error| format!("{error:#}")).unwrap();
        assert!(error.contains(path), "{error}");
    }
}

#[test]
fn a_camera_that_is_here_gives_pictures() {
    let Some(path) = std::env::var_os("PICKET_V4L2") else { return };
    let (mut camera, form) = open(path.as_ref(), &V4l2Config::default()).unwrap();
    let good = Cell::new(0);
    let played = play(
        &mut camera,
        SILENCE,
        || good.get() >= 10,
        |told| {
            if let Told::Shot(bytes, _) = told {
                form.picture(bytes, "camera").unwrap();
                good.set(good.get() + 1);
            }
            true
        },
    );
    assert!(played.is_ok());
}

#[test]
fn a_jpeg_without_tables_is_read_with_those_of_the_standard() {
    let mut jpeg = Vec::new();
    let rgb: Vec<u8> = (0..64u32 * 48 * 3).map(|n| (n / 7 % 251) as u8).collect();
    jpeg_encoder::Encoder::new(&mut jpeg, 90).encode(&rgb, 64, 48, jpeg_encoder::ColorType::Rgb).unwrap();
    // As some cameras send it.
    let (mut bare, mut at) = (jpeg[..2].to_vec(), 2);
    while jpeg[at + 1] != 0xDA {
        let next = at + 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        if jpeg[at + 1] != 0xC4 {
            bare.extend(&jpeg[at..next]);
        }
        at = next;
    }
    bare.extend(&jpeg[at..]);
    assert!(bare.len() < jpeg.len() && picture::decode(&bare, "camera").is_err());
    assert_eq!(picture::decode(&complete(&bare), "camera").unwrap(), picture::decode(&jpeg, "camera").unwrap());
    // What has its tables, and what is no JPEG, is left as it is.
    for whole in [&jpeg[..], b"", b"\xFF\xD8", b"\xFF\xD8\xFF\xC4\xFF\xFF", b"nothing of the kind"] {
        assert_eq!(*complete(whole), *whole);
    }
}

#[test]
fn a_failure_is_told_when_it_is_another_or_pictures_came_between() {
    let mut failures = Failures::default();
    let told = [("gone", 0), ("gone", 0), ("dark", 0), ("gone", 0), ("gone", 0), ("gone", 700), ("gone", 700)];
    assert_eq!(
        told.map(|(text, pictures)| failures.is_new(text, pictures)),
        [true, false, true, true, false, true, false]
    );
}

#[test]
fn pictures_that_cannot_be_used_are_all_counted_and_told_of_once_a_minute() {
    let metrics = Metrics::default();
    let bad = Bad::new("yard", metrics.clone());
    let at = [5, 5_033, 60_004, 60_005, 60_038].map(|ms| bad.picture(&"it is none", Uptime::from_millis(ms)));
    assert_eq!(at, [true, false, false, true, false]);
    assert_eq!(metrics.frames_bad.get_or_create(&Of::new("yard")).get(), 5);
}
