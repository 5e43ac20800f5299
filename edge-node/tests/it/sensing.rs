//! Camera streams: pictures out of any cutting of the bytes, limits before allocation.

use edge_node::clock;
use edge_node::health::{Metrics, Of};
use edge_node::sensor::camera::Source;
use edge_node::sensor::camera::capture::Capture;
use edge_node::sensor::camera::multipart::{PART_MAX, PartError, Parts};
use edge_node::sensor::frame::{Frame, Mailbox, Picture};
use edge_node::sensor::picture;
use shared::units::Uptime;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

const TYPE: &str = "multipart/x-mixed-replace; boundary=\"edge\"";

fn stream(with_length: bool) -> Vec<u8> {
    let mut bytes = b"preamble\r\n".to_vec();
    for body in [&b"first"[..], b"second", b"third"] {
        let length = if with_length { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
        bytes.extend(format!("--edge\r\nContent-Type: image/jpeg\r\n{length}\r\n").as_bytes());
        bytes.extend(body);
        bytes.extend(if with_length { &b"\r\n"[..] } else { b"" });
    }
    bytes.extend(b"--edge");
    bytes
}

#[test]
fn parts_come_whole_however_the_stream_is_cut() {
    for with_length in [true, false] {
        for size in [1, 2, 7, 1000] {
            let mut parts = Parts::new(TYPE).unwrap();
            let got: Vec<_> = stream(with_length).chunks(size).flat_map(|bytes| parts.push(bytes)).collect();
            let expected: Vec<Result<Vec<u8>, PartError>> =
                [&b"first"[..], b"second", b"third"].map(|b| Ok(b.to_vec())).into();
            assert_eq!(got, expected, "length header {with_length}, cut by {size}");
        }
    }
}

#[test]
fn a_huge_part_is_refused_with_its_place_and_the_next_one_is_given() {
    let mut parts = Parts::new(TYPE).unwrap();
    let huge = format!("--edge\r\nContent-Length: {}\r\n\r\n", PART_MAX + 1);
    assert_eq!(parts.push(huge.as_bytes()), [Err(PartError::TooLarge { at: 0 })]);
    assert_eq!(parts.push(b"--edge\r\nContent-Length: 2\r\n\r\nok"), [Ok(b"ok".to_vec())]);
    assert!(Parts::new("text/html").is_err());
    assert!(Parts::new("multipart/x-mixed-replace").is_err());
}

#[test]
fn a_source_never_shows_its_credentials() {
    let source: Source = "mjpeg:http://ann:secret@10.0.0.9/video".parse().unwrap();
    assert!(!format!("{source:?}").contains("secret"));
    for bad in ["", "file:", "rtsp:x", "rtsp://", "rtsp://ann:secret@10.0.0.9/live", "mjpeg:ftp://x"] {
        assert!(bad.parse::<Source>().is_err(), "{bad}");
    }
}

#[test]
fn a_slow_detector_sees_the_newest_frame_and_how_many_were_dropped() {
    let mailbox = Mailbox::new(&[1, 1], Duration::from_secs(1));
    let now = || Uptime(0);
    let picture = Arc::new(Picture::rgb(1, 1, vec![0; 3]));
    for number in 0..5 {
        mailbox.put(Frame { camera: 1, number, captured: Uptime(number), picture: picture.clone() });
    }
    let (frame, replaced) = mailbox.take(Duration::ZERO, now).unwrap();
    assert_eq!((frame.camera, frame.number, replaced), (1, 4, 4));
    assert!(mailbox.take(Duration::ZERO, now).is_none());
}

#[test]
fn each_camera_has_its_share_of_the_detector_however_often_it_sends() {
    // The first sends at every step, the second at every fourth, the third as the first but with twice its share.
    let mailbox = Mailbox::new(&[1, 1, 2], Duration::from_secs(1));
    let picture = Arc::new(Picture::rgb(1, 1, vec![0; 3]));
    let mut looked = [0i64; 3];
    for step in 0..4000u64 {
        let captured = Uptime::from_millis(step * 10);
        for camera in [0, 1, 2].into_iter().filter(|camera| *camera != 1 || step % 4 == 0) {
            mailbox.put(Frame { camera, number: step, captured, picture: picture.clone() });
        }
        let (frame, _) = mailbox.take(Duration::ZERO, || captured).unwrap();
        looked[frame.camera] += 1;
    }
    // Who sends less often than its share is never waited for: each of its frames has its turn, the rest is divided.
    assert_eq!(looked[1], 1000, "{looked:?}");
    assert!((looked[2] - 2 * looked[0]).abs() <= 3, "{looked:?}");
}

#[test]
fn a_camera_that_was_away_has_no_turns_in_store_and_an_old_frame_is_not_looked_at() {
    let mailbox = Mailbox::new(&[1, 1], Duration::from_millis(300));
    let picture = Arc::new(Picture::rgb(1, 1, vec![0; 3]));
    let put = |camera: usize, at: u64| {
        mailbox.put(Frame { camera, number: at, captured: Uptime::from_millis(at), picture: picture.clone() });
    };
    for step in 0..100 {
        put(0, step);
        assert_eq!(mailbox.take(Duration::ZERO, || Uptime::from_millis(step)).unwrap().0.camera, 0);
    }
    let mut turns = Vec::new();
    for step in 100..110 {
        put(0, step);
        put(1, step);
        turns.push(mailbox.take(Duration::ZERO, || Uptime::from_millis(step)).unwrap().0.camera);
    }
    assert_eq!(turns.iter().filter(|camera| **camera == 1).count(), 5, "turn by turn: {turns:?}");
    put(0, 1000);
    put(1, 1250);
    let (frame, _) = mailbox.take(Duration::ZERO, || Uptime::from_millis(1301)).unwrap();
    assert_eq!((frame.camera, frame.number), (1, 1250));
    assert_eq!((mailbox.late(), mailbox.late()), (vec![1, 0], vec![0, 0]), "told though no frame of it is taken");
}

#[test]
fn a_picture_that_claims_to_be_huge_is_refused_before_it_is_made() {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    png.extend([0x7F, 0xFF, 0xFF, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 8, 2, 0, 0, 0]);
    let error = picture::decode(&png, "bomb.png").unwrap_err().to_string();
    assert!(error.contains("bomb.png") && error.contains("8192"), "{error}");
}

/// A camera that sends 30 large pictures at once, the last one white, then nothing until the sender is dropped.
fn bursting_camera() -> (u16, Sender<()>) {
    let jpeg = |shade: u8| {
        let mut bytes = Vec::new();
        let encoder = jpeg_encoder::Encoder::new(&mut bytes, 90);
        encoder.encode(&vec![shade; 1920 * 1080 * 3], 1920, 1080, jpeg_encoder::ColorType::Rgb).unwrap();
        bytes
    };
    let (black, white) = (jpeg(0), jpeg(255));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (close, closed) = channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0, "no request came");
        let mut bytes = format!("HTTP/1.1 200 OK\r\nContent-Type: {TYPE}\r\n\r\n").into_bytes();
        for number in 0..30 {
            let body = if number == 29 { &white } else { &black };
            bytes.extend(format!("--edge\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes());
            bytes.extend(body);
        }
        stream.write_all(&bytes).unwrap();
        let _ = closed.recv();
    });
    (port, close)
}

/// A camera named gate whose thread runs.
pub struct Playing {
    pub mailbox: Arc<Mailbox>,
    pub metrics: Metrics,
    pub stop: Arc<AtomicBool>,
    pub thread: std::thread::JoinHandle<()>,
    _runtime: tokio::runtime::Runtime,
}

impl Playing {
    pub fn start(source: &str) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (mailbox, metrics) = (Arc::new(Mailbox::new(&[1], Duration::from_secs(60))), Metrics::new());
        let stop = Arc::new(AtomicBool::new(false));
        let capture = Capture {
            index: 0,
            config: toml::from_str(&format!("name = \"gate\"\nsource = \"{source}\"")).unwrap(),
            mailbox: mailbox.clone(),
            metrics: metrics.clone(),
            tap: None,
            stop: stop.clone(),
            runtime: runtime.handle().clone(),
        };
        let thread = std::thread::spawn(move || capture.run());
        Self { mailbox, metrics, stop, thread, _runtime: runtime }
    }
}

#[test]
fn a_camera_faster_than_its_decoder_shows_the_newest_picture_and_not_a_backlog() {
    let (port, close) = bursting_camera();
    let camera = Playing::start(&format!("mjpeg:http://127.0.0.1:{port}/"));
    let (metrics, of) = (&camera.metrics, Of::new("gate"));
    hil::wait::until("30 pictures to be shown or dropped", Duration::from_secs(20), || {
        let (shown, dropped) =
            (metrics.frames.get_or_create(&of).get(), metrics.frames_dropped.get_or_create(&of).get());
        if shown + dropped == 30 && dropped > 0 { Ok(()) } else { Err(format!("{shown} shown, {dropped} dropped")) }
    })
    .unwrap();
    let (frame, _) = camera.mailbox.take(Duration::ZERO, clock::uptime).unwrap();
    assert!(frame.picture.to_rgb().iter().all(|value| *value > 250), "the newest picture is white");
    camera.stop.store(true, Ordering::Relaxed);
    drop(close);
    camera.thread.join().unwrap();
}
