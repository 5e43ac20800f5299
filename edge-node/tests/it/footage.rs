//! What of a stream is kept as a clip: the seconds before and after, and nothing that cannot be shown.

use std::sync::Arc;
use std::time::Duration;

use edge_node::footage::roll::{Effect, Roll};
use edge_node::sensor::camera::clip::ClipConfig;
use edge_node::sensor::camera::h264::Parameters;
use edge_node::sensor::camera::rtsp::Unit;
use shared::units::Uptime;

pub fn at(frame: u64) -> Uptime {
    Uptime::from_millis(10_000 + frame * 100)
}

pub fn parameters() -> Arc<Parameters> {
    Arc::new(Parameters { sps: vec![0x67, 66, 0, 30], pps: vec![0x68], width: 640, height: 360, reorder: 0 })
}

/// A unit at a frame of ten a second; each tenth is a key frame.
pub fn unit(of: &Arc<Parameters>, frame: u64) -> Unit {
    let data: Arc<[u8]> = vec![0; 1000].into();
    let shown = frame as i64 * 9000;
    Unit { data, shown, received: at(frame), key: frame.is_multiple_of(10), lost: false, parameters: of.clone() }
}

/// The frames of each file that a roll's effects make: complete ones, then the one being written.
fn files(effects: Vec<Effect>) -> Vec<Vec<u64>> {
    let frame = |unit: &Unit| unit.shown.unsigned_abs() / 9000;
    let mut files: Vec<Vec<u64>> = Vec::new();
    for effect in effects {
        match effect {
            Effect::Begin(units) => files.push(units.iter().map(frame).collect()),
            Effect::Add(unit) => files.last_mut().unwrap().push(frame(&unit)),
            Effect::End => {}
        }
    }
    files
}

fn config(before: u64, after: u64, longest: u64) -> ClipConfig {
    let s = Duration::from_secs;
    ClipConfig { source: None, before: s(before), after: s(after), longest: s(longest) }
}

#[test]
fn a_clip_has_the_seconds_before_and_after_and_begins_with_a_key_frame() {
    let (mut roll, of) = (Roll::new(config(3, 2, 60)), parameters());
    let mut effects = Vec::new();
    for frame in 3..200 {
        effects.extend(roll.unit(unit(&of, frame)));
        if frame == 75 {
            effects.extend(roll.occupied(1));
        }
        if frame == 90 {
            effects.extend(roll.occupied(2));
            roll.cleared(1, at(90));
        }
        if frame == 110 {
            roll.cleared(2, at(110));
        }
    }
    // Three seconds before 7.5 s is 4.5 s; the key frame before it is at 4 s.
    assert_eq!(files(effects), [(40..130).collect::<Vec<u64>>()]);
}

#[test]
fn a_long_presence_is_clip_after_clip_without_a_missing_picture() {
    let (mut roll, of) = (Roll::new(config(1, 1, 5)), parameters());
    let mut effects = Vec::new();
    for frame in 0..200 {
        effects.extend(roll.unit(unit(&of, frame)));
        if frame == 25 {
            effects.extend(roll.occupied(1));
        }
    }
    let files = files(effects);
    assert!(files.len() >= 3 && files.iter().all(|file| file[0].is_multiple_of(10)), "{files:?}");
    assert_eq!(files.concat(), (10..200).collect::<Vec<u64>>());
}

#[test]
fn after_a_loss_nothing_is_kept_up_to_the_next_key_frame_and_another_session_is_another_clip() {
    let (mut roll, of) = (Roll::new(config(1, 1, 60)), parameters());
    let mut effects = Vec::new();
    for frame in 0..60 {
        let lost = frame == 34;
        effects.extend(roll.unit(Unit { lost, ..unit(&of, frame) }));
        if frame == 5 {
            effects.extend(roll.occupied(1));
        }
    }
    let again = parameters();
    for frame in 63..80 {
        effects.extend(roll.unit(unit(&again, frame)));
    }
    let kept = (0..34).chain(40..60).collect::<Vec<u64>>();
    assert_eq!(files(effects), [kept, (70..80).collect()]);
}

#[test]
fn a_stream_without_key_frames_fills_no_memory() {
    let (mut roll, of) = (Roll::new(config(30, 1, 60)), parameters());
    let big: Arc<[u8]> = vec![0; 1024 * 1024].into();
    for frame in 0..200 {
        let one = Unit { key: frame == 0, data: big.clone(), ..unit(&of, frame) };
        assert!(roll.unit(one).is_empty());
    }
    assert!(roll.kept_bytes() <= 16 * 1024 * 1024, "{}", roll.kept_bytes());
}

#[test]
fn a_clip_ends_in_its_time_though_no_key_frame_comes_any_more() {
    let (mut roll, of) = (Roll::new(config(1, 1, 5)), parameters());
    let mut ends = Vec::new();
    for frame in 0..200 {
        // After a loss only what refers to it.
        let one = Unit { lost: frame == 31, key: frame <= 30 && frame % 10 == 0, ..unit(&of, frame) };
        for effect in roll.unit(one) {
            if matches!(effect, Effect::End) {
                ends.push(frame);
            }
        }
        if frame == 25 {
            assert_eq!(roll.occupied(1).len(), 1);
        }
        if frame == 40 {
            roll.cleared(1, at(40));
        }
    }
    assert_eq!(ends, [50], "a second after it was clear");
}
