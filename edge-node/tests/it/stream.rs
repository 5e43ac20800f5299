//! Access units into pictures: what x264 has encoded, with pictures lost on the way and sets that change.

use std::process::Command;
use std::sync::Arc;

use edge_node::sensor::camera::h264::Parameters;
use edge_node::sensor::camera::rtsp::Unit;
use edge_node::sensor::camera::stream::{Pictures, Taken};
use edge_node::sensor::camera::video::Video;
use edge_node::sensor::frame::Picture;
use shared::units::Uptime;

use crate::rtsp::claim;

/// Thirty pictures of one grey each, darker to brighter by seven a picture, a key frame every tenth.
pub fn encoded(size: &str, profile: &str, between: &str) -> Vec<Unit> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stream.h264");
    let mut ffmpeg = Command::new("ffmpeg");
    let source = format!("color=black:s={size}:r=10:d=3,format=yuv420p,geq=lum='20+N*7':cb=128:cr=128");
    ffmpeg.args([
        "-nostdin",
        "-loglevel",
        "error",
        "-f",
        "lavfi",
        "-i",
        &source,
        "-c:v",
        "libx264",
        "-profile:v",
        profile,
    ]);
    ffmpeg.args([
        "-bf",
        between,
        "-g",
        "10",
        "-keyint_min",
        "10",
        "-sc_threshold",
        "0",
        "-threads",
        "1",
        "-x264-params",
    ]);
    ffmpeg.args(["sliced-threads=0:threads=1:open-gop=0:b-adapt=0", "-bsf:v", "h264_mp4toannexb", "-f", "h264"]);
    hil::process::output(ffmpeg.arg(&file)).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let starts: Vec<usize> = (0..bytes.len() - 3).filter(|at| bytes[*at..*at + 3] == [0, 0, 1]).collect();
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    let nals: Vec<&[u8]> = starts.iter().zip(ends).map(|(start, end)| &bytes[start + 3..end]).collect();
    let set = |kind: u8| nals.iter().find(|nal| nal[0] & 31 == kind).unwrap();
    // Where another start code follows, its first zero is no part of a set.
    let trimmed = |nal: &[u8]| nal[..nal.iter().rposition(|byte| *byte != 0).unwrap() + 1].to_vec();
    let parameters = Arc::new(Parameters::new(&trimmed(set(7)), &trimmed(set(8))).unwrap());
    let slices = nals.iter().filter(|nal| matches!(nal[0] & 31, 1 | 5));
    let unit = |(n, nal): (usize, &&[u8])| {
        let nal = trimmed(nal);
        let data = [&u32::try_from(nal.len()).unwrap().to_be_bytes()[..], &nal].concat();
        let (shown, received) = (n as i64 * 9000, Uptime::from_millis(n as u64 * 100));
        Unit { data: data.into(), shown, received, key: nal[0] & 31 == 5, lost: false, parameters: parameters.clone() }
    };
    slices.enumerate().map(unit).collect()
}

/// Which of the thirty a picture is.
pub fn number(picture: &Picture) -> i64 {
    (i64::from(picture.planes().unwrap()[0][0]) - 20 + 3).div_euclid(7)
}

fn shown(pictures: &mut Pictures, units: &[Unit]) -> Vec<Picture> {
    let taken = units.iter().filter_map(|unit| match pictures.take(unit) {
        Ok(Taken::Picture(picture, received, _)) => {
            assert!(received <= unit.received);
            Some(picture)
        }
        _ => None,
    });
    taken.collect()
}

#[test]
fn after_a_loss_nothing_of_before_it_comes_out_and_nothing_up_to_the_next_key_frame() {
    for (profile, between, late) in [("baseline", "0", 0), ("main", "0", 0), ("main", "2", 3)] {
        let units = encoded("64x64", profile, between);
        assert_eq!(units.len(), 30);
        let mut pictures = Pictures::default();
        let before: Vec<i64> = shown(&mut pictures, &units[..14]).iter().map(number).collect();
        assert!(before.len() >= 14 - late && before.windows(2).all(|pair| pair[0] < pair[1]), "{profile}: {before:?}");
        // One is lost, the next one tells so.
        let rest: Vec<Unit> =
            units[15..].iter().enumerate().map(|(n, unit)| Unit { lost: n == 0, ..unit.clone() }).collect();
        let after: Vec<i64> = shown(&mut pictures, &rest).iter().map(number).collect();
        assert!(after.len() >= 10 - late && after[0] == 20, "{profile}, {between} between: {after:?}");
        assert!(after.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{profile}: {after:?}");
    }
}

#[test]
fn a_stream_that_changes_its_resolution_goes_on_in_the_new_one() {
    let (small, large) = (encoded("64x64", "main", "0"), encoded("128x96", "main", "0"));
    let mut pictures = Pictures::default();
    let mixed = [&small[..15], &large[..15], &small[20..]].concat();
    let sizes: Vec<(u32, u32)> = shown(&mut pictures, &mixed).iter().map(|p| (p.width, p.height)).collect();
    let expected = [vec![(64, 64); 15], vec![(128, 96); 15], vec![(64, 64); 10]].concat();
    assert_eq!(sizes, expected);
    // In the middle of a group there is nothing to begin with: no picture of the wrong size, none that is made up.
    let sizes = shown(&mut Pictures::default(), &large[11..]).len();
    assert_eq!(sizes, 10, "from the next key frame on");
}

#[test]
fn a_file_whose_boxes_have_no_length_or_too_many_samples_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("good.mov");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=10:duration=1"]);
    // With audio whose samples are a byte each. Words that are names of boxes elsewhere.
    ffmpeg.args(["-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", "1", "-c:a", "pcm_alaw"]);
    ffmpeg.args(["-metadata", "comment=truncated at noon, stsz"]);
    hil::process::output(ffmpeg.args(["-c:v", "libx264", "-pix_fmt", "yuv420p"]).arg(&file)).unwrap();
    let good = std::fs::read(&file).unwrap();
    let shots = |bytes: &[u8]| Video::read("x.mp4".into(), bytes.to_vec()).map(|video| video.flatten().count());
    assert_eq!(shots(&good).unwrap(), 10);
    let place = |kind: &[u8]| good.windows(4).position(|four| four == kind).unwrap();
    // In a track, a box of another kind that has no length: a demuxer that passes over it stays where it is.
    let mut stuck = good.clone();
    let edts = place(b"edts");
    stuck[edts - 4..edts].fill(0);
    stuck[edts..edts + 4].copy_from_slice(b"none");
    // One size for all samples, and four billion of them, each a tick apart.
    let mut many = good.clone();
    let (sizes, times) = (place(b"stsz"), place(b"stts"));
    many[sizes + 8..sizes + 12].copy_from_slice(&1u32.to_be_bytes());
    many[sizes + 12..sizes + 16].fill(0xFF);
    many[times + 12..times + 16].fill(0xFF);
    // A parameter set that the stream's reader refuses is not shown to the decoder.
    let mut large = good.clone();
    let sps = good.windows(2).position(|pair| pair == [0x67, 0x64]).unwrap();
    let claimed = claim(10_000, 10_000);
    large[sps..sps + claimed.len()].copy_from_slice(&claimed);
    for (bytes, expected) in [(stuck, "x.mp4"), (many, "samples"), (large, "sequence parameter set")] {
        let error = shots(&bytes).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
