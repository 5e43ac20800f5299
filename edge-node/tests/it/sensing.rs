//! Where frames wait for the detector, and the thread that plays a camera.

use edge_node::detect::camera_health::Health;
use edge_node::health::Metrics;
use edge_node::sensor::camera::Source;
use edge_node::sensor::camera::capture::Capture;
use edge_node::sensor::frame::{Frame, Mailbox, Picture};
use shared::units::Uptime;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;

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

/// A camera named gate whose thread runs.
pub struct Playing {
    pub mailbox: Arc<Mailbox>,
    pub newest: watch::Receiver<Option<Frame>>,
    pub metrics: Metrics,
    pub stop: Arc<AtomicBool>,
    pub thread: std::thread::JoinHandle<()>,
    _runtime: tokio::runtime::Runtime,
}

impl Playing {
    pub fn start(source: &str) -> Self {
        Self::with(source, "")
    }

    /// With more lines of its configuration.
    pub fn with(source: &str, more: &str) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (mailbox, metrics) = (Arc::new(Mailbox::new(&[1], Duration::from_secs(60))), Metrics::new());
        let (stop, (live, newest)) = (Arc::new(AtomicBool::new(false)), watch::channel(None));
        let capture = Capture {
            index: 0,
            config: toml::from_str(&format!("name = \"gate\"\nsource = \"{source}\"\n{more}")).unwrap(),
            mailbox: mailbox.clone(),
            live,
            metrics: metrics.clone(),
            tap: None,
            stop: stop.clone(),
            runtime: runtime.handle().clone(),
        };
        let thread = std::thread::spawn(move || capture.run());
        Self { mailbox, newest, metrics, stop, thread, _runtime: runtime }
    }

    /// Ends it.
    pub fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

#[test]
fn a_camera_a_little_slower_than_it_may_be_is_told_of_once_and_once_when_it_is_good_again() {
    let (mut health, mut newest, mut told) = (Health::default(), 0, Vec::new());
    // A picture each 1.2 s for a minute, then ten a second.
    for at in (0..70_000).step_by(100) {
        if at % 1200 == 0 || at >= 60_000 {
            newest = at;
        }
        let age = Duration::from_millis(at - newest);
        if health.step(age, Duration::from_secs(1), None, Uptime::from_millis(at)) {
            told.push((at, health.stale));
        }
    }
    assert_eq!(told, [(1100, true), (62_000, false)]);
    // Why is told once for as long as it is stale, whatever comes between.
    let mut step = |age: u64, said: Option<&str>, at: u64| {
        let now = Uptime::from_millis(at);
        health.step(Duration::from_millis(age), Duration::from_secs(1), said.map(Into::into), now)
    };
    assert_eq!([step(1100, None, 80_000), step(1200, Some("gone"), 80_100)], [true, true]);
    assert_eq!([step(1300, Some("gone"), 80_200), step(0, None, 80_300), step(1100, Some("gone"), 81_400)], [false; 3]);
}
