//! H.264: what a sequence parameter set says, and access units into pictures. Decoded by openh264.

use h264_reader::nal::sps::SeqParameterSet;
use h264_reader::rbsp::{BitReader, decode_nal};
use openh264::OpenH264API;
use openh264::decoder::{DecodedYUV, Decoder as Open, DecoderConfig, Flush};
use openh264::formats::YUVSource;

use crate::sensor::frame::{Picture, Pixels};

/// Longest side of a video picture, in pixels, and most pixels of one: 4096 × 2304. A decoder keeps up to sixteen.
pub const SIDE_MAX: u32 = 4096;
/// Most pixels of one picture.
pub const PIXELS_MAX: u32 = 4096 * 2304;

/// What a stream says of itself before its pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// Sequence parameter set, a whole NAL unit.
    pub sps: Vec<u8>,
    /// Picture parameter set, a whole NAL unit.
    pub pps: Vec<u8>,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// How many pictures may come before one that is shown earlier.
    pub reorder: u32,
}

impl Parameters {
    /// Reads them.
    ///
    /// # Errors
    /// What was expected, where the set is broken or asks for more than is decoded.
    pub fn new(sps: &[u8], pps: &[u8]) -> Result<Self, String> {
        let broken = |what: String| format!("expected a sequence parameter set (ITU-T H.264, 7.3.2.1): {what}");
        // h264-reader 0.8 asserts on some broken sets; a camera's must be an error, not the end.
        let read = std::panic::catch_unwind(|| {
            let bytes = decode_nal(sps).map_err(|e| e.to_string())?;
            SeqParameterSet::from_bits(BitReader::new(&*bytes)).map_err(|e| format!("{e:?}"))
        });
        let set = read.map_err(|_| broken("it contradicts itself".into()))?.map_err(broken)?;
        let (width, height) = set.pixel_dimensions().map_err(|e| broken(format!("{e:?}")))?;
        if width.max(height) > SIDE_MAX || width.saturating_mul(height) > PIXELS_MAX || width.min(height) < 16 {
            let most = format!("expected 16 to {SIDE_MAX} pixels a side and at most {PIXELS_MAX} in all");
            return Err(format!("{most}, found {width}×{height}"));
        }
        let said = set.vui_parameters.as_ref().and_then(|vui| vui.bitstream_restrictions.as_ref());
        // Without a word: order of output is order of decoding for type 2 (8.2.1.3) and the baseline profile (A.2.1).
        let ordered = set.profile_idc == 66.into()
            || matches!(set.pic_order_cnt, h264_reader::nal::sps::PicOrderCntType::TypeTwo);
        let reorder = said.map_or(if ordered { 0 } else { 2 }, |said| said.max_num_reorder_frames).min(16);
        Ok(Self { sps: sps.to_vec(), pps: pps.to_vec(), width, height, reorder })
    }

    /// Both sets with start codes (annex B), as a decoder wants them before a key frame.
    pub fn annex_b(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.sps.len() + self.pps.len() + 8);
        for set in [&self.sps, &self.pps] {
            out.extend_from_slice(&[0, 0, 0, 1]);
            out.extend_from_slice(set);
        }
        out
    }
}

/// Length-prefixed NAL units to start codes (ISO/IEC 14496-15, 5.3.3 to ITU-T H.264, annex B).
///
/// # Errors
/// What is wrong with the lengths; what came before it was taken over.
pub fn annex_b(mut data: &[u8], length_size: usize, out: &mut Vec<u8>) -> Result<(), String> {
    while !data.is_empty() {
        let (prefix, rest) = data.split_at_checked(length_size).ok_or("cut inside a NAL unit's length")?;
        let len = prefix.iter().fold(0usize, |len, byte| (len << 8) | usize::from(*byte));
        let (nal, rest) = rest.split_at_checked(len).ok_or("a NAL unit is longer than its sample")?;
        out.extend_from_slice(&[0, 0, 0, 1]);
        out.extend_from_slice(nal);
        data = rest;
    }
    Ok(())
}

/// A decoder of one stream.
pub struct Decoder(Open);

impl Decoder {
    /// A decoder. One that is told of no reordering gives each picture at once; one that is told of it gives pictures in
    /// the order they are shown in, some units later.
    ///
    /// # Errors
    /// When the decoder cannot be made.
    pub fn new(reorders: bool) -> Result<Self, String> {
        // Flushed after each unit it loses pictures of a stream with B-frames; not flushed it is a picture late.
        let flush = if reorders { Flush::NoFlush } else { Flush::Flush };
        let config = DecoderConfig::new().flush_after_decode(flush);
        Open::with_api_config(OpenH264API::from_source(), config).map(Self).map_err(|e| e.to_string())
    }

    /// Takes an access unit (annex B): a picture, or none yet.
    ///
    /// # Errors
    /// What is wrong with it; the next key frame is unaffected.
    pub fn decode(&mut self, unit: &[u8]) -> Result<Option<Picture>, String> {
        let decoded = self.0.decode(unit).map_err(|e| e.to_string())?;
        Ok(decoded.map(|yuv| i420(&yuv)))
    }

    /// The pictures it still holds.
    pub fn rest(&mut self) -> Vec<Picture> {
        self.0.flush_remaining().unwrap_or_default().iter().map(i420).collect()
    }
}

fn i420(yuv: &DecodedYUV<'_>) -> Picture {
    let ((width, height), (luma, u, v)) = (yuv.dimensions(), yuv.strides());
    let (across, down) = (width.div_ceil(2), height.div_ceil(2));
    let mut bytes = Vec::with_capacity(width * height + 2 * across * down);
    for (plane, stride, row, rows) in
        [(yuv.y(), luma, width, height), (yuv.u(), u, across, down), (yuv.v(), v, across, down)]
    {
        for line in plane.chunks(stride.max(1)).take(rows) {
            bytes.extend_from_slice(line.get(..row).unwrap_or(line));
        }
    }
    let side = |n: usize| u32::try_from(n).unwrap_or(0);
    Picture { width: side(width), height: side(height), pixels: Pixels::I420(bytes) }
}
