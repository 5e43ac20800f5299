//! What the console shows of a camera.

use edge_node::console::shown::Shown;
use edge_node::sensor::camera::LiveConfig;
use edge_node::sensor::frame::{Picture, Pixels};
use edge_node::sensor::picture;
use shared::units::Uptime;

fn at(ms: u64) -> Uptime {
    Uptime(ms * 1000)
}

#[test]
fn a_picture_is_shown_as_large_and_as_often_as_its_role_says() {
    let shown = Shown::new(LiveConfig { width: 320, fps: 5.0 });
    let grey = |level: u8| Picture {
        width: 1280,
        height: 720,
        pixels: Pixels::I420([vec![level; 1280 * 720], vec![128; 1280 * 360]].concat()),
    };
    let first = shown.jpeg(1, &grey(60), at(0)).unwrap();
    let decoded = picture::decode(&first, "shown").unwrap();
    assert_eq!((decoded.width, decoded.height), (320, 180));
    assert!((decoded.luma(100, 100) - 51.0).abs() < 4.0, "{}", decoded.luma(100, 100));
    // Five a second, whoever asks how often.
    assert_eq!(shown.jpeg(2, &grey(200), at(199)).unwrap(), first);
    let second = shown.jpeg(2, &grey(200), at(201)).unwrap();
    assert_ne!(second, first);
    // The same frame later is no other picture.
    assert_eq!(shown.jpeg(2, &grey(60), at(900)).unwrap(), second);
}

#[test]
fn a_picture_smaller_than_its_role_is_shown_as_it_is_and_an_empty_one_is_not() {
    let shown = Shown::new(LiveConfig::default());
    let bytes = shown.jpeg(1, &Picture::rgb(64, 48, vec![90; 64 * 48 * 3]), at(0)).unwrap();
    let decoded = picture::decode(&bytes, "shown").unwrap();
    assert_eq!((decoded.width, decoded.height), (64, 48));
    assert_eq!(shown.jpeg(2, &Picture::rgb(0, 0, Vec::new()), at(1000)), None);
}
