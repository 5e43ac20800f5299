//! A drawn yard through which somebody walks: what zones, lines, masks and thresholds make of it, as whoever set them up sees
//! it, and what is kept of the alert.

use hil::drawn::render;
use hil::site::{Plan, Ports};
use image::RgbImage;
use serde_json::Value;

use crate::footage::{events, file, seconds, wait_for_events};
use crate::radio::alone;

/// Somebody walks from the left to the right, in twelve seconds.
const SEED: &str = "10";
const COUNT: usize = 120;

/// A camera that shows the clip, and what is set up for it.
fn camera(name: &str, folder: &std::path::Path, more: &str) -> String {
    let source = format!("folder:{}/images", folder.display());
    format!("\n[[camera]]\nname = \"{name}\"\nsource = \"{source}\"\nrepeat = true\nperiod = \"100ms\"\n{more}")
}

/// A zone of the middle of its picture.
fn zone(name: &str, more: &str) -> String {
    format!(
        "\n[[zone]]\nname = \"{name}\"\ncamera = \"{name}\"\npolygon = [[0.3, 0], [0.7, 0], [0.7, 1], [0.3, 1]]\n\
         clear_after = \"1s\"\ndwell = \"1s\"\n{more}"
    )
}

fn of<'a>(events: &'a [Value], camera: &str) -> Vec<&'a Value> {
    events.iter().map(|event| &event["data"]).filter(|data| data["camera"] == camera).collect()
}

/// The picture is twelve metres of ground wide and ten high, its top in the north.
fn ground() -> String {
    let (south, west) = (47.4, 8.5);
    let (north, east) = (south + 10.0 / 111_195.0, west + 12.0 / (111_195.0 * 47.4_f64.to_radians().cos()));
    let marks = [(0, 0, north, west), (1, 0, north, east), (1, 1, south, east), (0, 1, south, west)];
    let mark = |(x, y, lat, lon)| format!("{{ image = [{x}, {y}], place_deg = [{lat:.7}, {lon:.7}] }}");
    format!("ground = [{}]\n", marks.map(mark).join(", "))
}

/// A counter of a camera.
fn counter(metrics: &str, name: &str, camera: &str) -> u64 {
    let line = format!("picket_{name}_total{{name=\"{camera}\"}} ");
    metrics.lines().find_map(|text| text.strip_prefix(&line)).map_or(0, |value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_somebody_who_walks_by_is_what_zones_lines_masks_and_thresholds_say() {
    let clip = tempfile::tempdir().unwrap();
    render(clip.path(), SEED, COUNT, &["--clip", "10"]).unwrap();
    let node = [
        camera("plain", clip.path(), &ground()),
        camera("masked", clip.path(), "masks = [[[0, 0], [1, 0], [1, 1], [0, 1]]]\n"),
        camera("unsure", clip.path(), ""),
        camera("small", clip.path(), ""),
        camera("slow", clip.path(), "detect_fps = 2\n"),
        zone("plain", "alert = true\n"),
        zone("masked", ""),
        zone("unsure", "min_score = 1.0\n"),
        zone("small", "min_height = 0.5\n"),
        // From the bottom to the top: its right is the picture's.
        "\n[[line]]\nname = \"middle\"\ncamera = \"plain\"\nfrom = [0.5, 1]\nto = [0.5, 0]\n".into(),
        "\n[[line]]\nname = \"no-cars\"\ncamera = \"plain\"\nfrom = [0.5, 1]\nto = [0.5, 0]\nlabels = [\"car\"]\n"
            .into(),
    ]
    .concat();
    let plan = Plan { node, model: true, detector: Some("yard".into()), ..Plan::default() };
    let mut site = alone(&plan, Ports::free().unwrap());
    site.start_node().unwrap();
    // Twice through the clip.
    let crossed = wait_for_events(&site, "line.crossed", "somebody to cross it twice", |found| found.len() >= 2).await;
    for data in of(&crossed, "plain") {
        assert_eq!(
            (&data["line"], &data["label"], &data["forwards"]),
            (&"middle".into(), &"person".into(), &true.into())
        );
    }
    let [first, second] = [&crossed[0], &crossed[1]].map(seconds);
    assert!(second - first >= 10.0, "once each time: {crossed:?}");
    let left = |found: &[Value]| of(found, "plain").iter().any(|data| data["direction_deg"].is_number());
    let ended = wait_for_events(&site, "track.ended", "somebody to leave", left).await;
    let ways = of(&ended, "plain");
    let way = ways.iter().find(|data| data["to"][0].as_f64() > Some(0.7)).unwrap();
    let number = |value: &Value| value.as_f64().unwrap();
    assert!(
        number(&way["from"][0]) < number(&way["to"][0]) && (number(&way["direction_deg"]) - 90.0).abs() < 15.0,
        "{way}"
    );
    // Twelve metres in twelve seconds.
    assert!((0.8..1.3).contains(&number(&way["speed_mps"])), "{way}");
    let ended =
        wait_for_events(&site, "track.ended", "one without ground", |found| !of(found, "small").is_empty()).await;
    assert!(of(&ended, "small").iter().all(|data| data["speed_mps"].is_null()), "{ended:?}");
    let stays = way["zones_ms"].as_array().unwrap();
    assert!(stays.iter().all(|stay| stay[0] == "plain") && number(&stays[0][1]) >= 1000.0, "{way}");
    let dwelt = events(&site, "zone.dwelt");
    assert!(dwelt.iter().all(|event| event["data"]["zone"] == "plain"), "{dwelt:?}");
    assert!(of(&dwelt, "plain").iter().any(|data| (1000.0..1600.0).contains(&number(&data["stayed_ms"]))), "{dwelt:?}");
    let tracks = events(&site, "detection.track");
    for phase in ["new", "update", "end"] {
        assert!(of(&tracks, "plain").iter().any(|data| data["phase"] == phase), "{phase}");
    }
    let within = |data: &&Value| data["zones"][0] == "plain" && data["phase"] == "update";
    assert!(of(&tracks, "plain").iter().any(within), "where it is is told when that changes");
    let occupied = events(&site, "zone.occupied");
    assert!(occupied.iter().all(|event| event["data"]["zone"] == "plain") && !occupied.is_empty(), "{occupied:?}");
    assert!(of(&tracks, "masked").is_empty(), "nothing counts in a mask");
    for seen in ["unsure", "small"] {
        assert!(!of(&tracks, seen).is_empty(), "{seen}: seen, though it does not count in the zone");
    }
    let metrics = site.metrics().await.unwrap();
    let [taken, skipped] = ["camera_frames", "camera_frames_skipped"].map(|name| counter(&metrics, name, "slow"));
    assert!(taken >= 20 && skipped >= 2 * taken, "two of ten a second: {taken}, {skipped}");
    pictures(&site, &occupied[0]).await;
}

/// Two pictures of an alert: one as the camera showed it, one with somebody's box drawn into it.
async fn pictures(site: &hil::site::Site, occupied: &Value) {
    let about = |event: &&Value| event["causeid"] == occupied["id"] && event["data"]["media_type"] == "image/jpeg";
    let both = |found: &[Value]| found.iter().filter(about).count() >= 2;
    let stored = wait_for_events(site, "media.stored", "both pictures", both).await;
    let read = |event: &Value| image::load_from_memory(&std::fs::read(file(site, event)).unwrap()).unwrap().into_rgb8();
    let two: Vec<RgbImage> = stored.iter().filter(about).map(read).collect();
    let red = |picture: &RgbImage| picture.pixels().filter(|p| p[0] > 180 && p[1] < 110 && p[2] < 110).count();
    let (plain, boxed) = if red(&two[0]) < red(&two[1]) { (&two[0], &two[1]) } else { (&two[1], &two[0]) };
    let differ =
        |x: u32, y: u32| plain.get_pixel(x, y).0.iter().zip(boxed.get_pixel(x, y).0).any(|(a, b)| a.abs_diff(b) > 40);
    let places: Vec<(u32, u32)> =
        plain.enumerate_pixels().map(|(x, y, _)| (x, y)).filter(|(x, y)| differ(*x, *y)).collect();
    let edge = |of: fn(&(u32, u32)) -> u32| {
        (places.iter().map(of).min().unwrap_or_default(), places.iter().map(of).max().unwrap_or_default())
    };
    let ((left, right), (top, bottom)) = (edge(|place| place.0), edge(|place| place.1));
    assert!(right - left >= 15 && bottom - top >= 45, "as large as somebody: {left} {top} {right} {bottom}");
    // It is drawn around them: what is inside is as it was.
    let inside = |(x, y): &&(u32, u32)| *x > left + 6 && *x + 6 < right && *y > top + 6 && *y + 6 < bottom;
    assert_eq!(places.iter().filter(inside).count(), 0, "{left} {top} {right} {bottom}");
    assert!(places.len() as u32 >= (right - left) + (bottom - top), "{} pixels", places.len());
}
