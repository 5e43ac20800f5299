//! Any bytes as what a camera sends: see `lib`.

use std::sync::Arc;

use edge_node::footage::mp4::Muxer;
use edge_node::footage::roll::{Effect, Roll};
use edge_node::sensor::camera::clip::ClipConfig;
use edge_node::sensor::camera::h264::{self, Parameters};
use edge_node::sensor::camera::multipart::{PART_MAX, Parts};
use edge_node::sensor::camera::rtsp::Unit;
use edge_node::sensor::camera::stream::{Pictures, Taken};
use edge_node::sensor::camera::video::Video;
use edge_node::sensor::camera::{tables, yuyv};
use edge_node::sensor::picture;
use shared::units::Uptime;

/// The parameter sets of the streams in the corpus: 64 × 64, main profile, B-frames.
const SPS: [u8; 23] = [
    0x67, 0x4D, 0x40, 0x0A, 0xEC, 0xA2, 0x13, 0x60, 0x22, 0x00, 0x00, 0x03, 0x00, 0x02, 0x00, 0x00, 0x03, 0x00, 0x28,
    0x1E, 0x24, 0x4B, 0x2C,
];
const PPS: [u8; 5] = [0x68, 0xEB, 0xE3, 0xCB, 0x20];

/// Most pictures of one video.
const SHOTS: usize = 32;

/// The first byte says what the rest is: a picture, a multipart stream, access units, parameter sets, what a camera at this
/// machine sends uncoded, or as a JPEG without tables, a video file.
pub fn seen(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 7 {
        0 => {
            if let Ok(picture) = picture::decode(rest, "fuzz") {
                assert!(picture::fits(picture.width, picture.height));
                assert_eq!(picture.to_rgb().len(), picture.width as usize * picture.height as usize * 3);
            }
        }
        1 => {
            let mut parts = Parts::new("multipart/x-mixed-replace; boundary=edge").unwrap();
            for piece in rest.chunks(7 + usize::from(*kind)) {
                let parts = parts.push(piece, Uptime::default());
                assert!(parts.iter().flatten().all(|part| part.body.len() <= PART_MAX));
            }
        }
        2 => units(rest),
        3 => {
            let (sps, pps) = rest.split_at(rest.len().min(usize::from(*kind)));
            if let Ok(set) = Parameters::new(sps, pps) {
                assert!(set.width * set.height <= h264::PIXELS_MAX && set.reorder <= 16);
            }
        }
        4 => {
            let Some((&[w0, w1, h0, h1, s0, s1], bytes)) = rest.split_first_chunk::<6>() else { return };
            let [width, height, stride] = [[w0, w1], [h0, h1], [s0, s1]].map(|n| u32::from(u16::from_be_bytes(n)));
            if let Ok(picture) = yuyv::i420(bytes, width, height, stride) {
                assert!((picture.width, picture.height) == (width, height) && picture.planes().is_some());
            }
        }
        5 => {
            if let Ok(picture) = picture::decode(&tables::complete(rest), "fuzz") {
                assert!(picture::fits(picture.width, picture.height));
            }
        }
        _ => {
            for shot in Video::read("fuzz".into(), rest.to_vec()).into_iter().flatten().take(SHOTS).flatten() {
                assert!(shot.picture.planes().is_some());
            }
        }
    }
}

/// Access units, each behind two bytes of length, through decoder, roll and file.
fn units(mut rest: &[u8]) {
    let parameters = Arc::new(Parameters::new(&SPS, &PPS).unwrap());
    let (mut pictures, mut roll) = (Pictures::default(), Roll::new(ClipConfig::default()));
    let (mut file, mut number) = (None, 0i64);
    roll.occupied(0);
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let (data, next) = behind.split_at(usize::from(u16::from_be_bytes(*length)).min(behind.len()));
        rest = next;
        number += 1;
        let kind = data.get(4).map_or(0, |head| head & 31);
        let unit = Unit {
            data: data.into(),
            // Whatever a camera's clock does.
            shown: number * 9000 - i64::from(data.last().copied().unwrap_or(0)) * 3000,
            received: Uptime::from_millis(number.unsigned_abs() * 100),
            key: kind == 5,
            lost: kind == 12,
            parameters: parameters.clone(),
        };
        if let Ok(Taken::Picture(picture, received, _)) = pictures.take(&unit) {
            assert!(picture.planes().is_some() && received <= unit.received);
        }
        for effect in roll.unit(unit) {
            match effect {
                Effect::Begin(units) => {
                    assert!(units.first().is_some_and(|unit| unit.key), "it begins with a key frame");
                    let mut muxer = Muxer::new(parameters.clone());
                    muxer.begin().unwrap();
                    units.iter().for_each(|unit| drop(muxer.push(unit).unwrap()));
                    file = Some(muxer);
                }
                Effect::Add(unit) => drop(file.as_mut().unwrap().push(&unit).unwrap()),
                Effect::End => drop(file.take().unwrap().end().unwrap()),
            }
        }
    }
}
