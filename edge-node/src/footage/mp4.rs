//! Access units of an H.264 stream into a fragmented MP4 file, as they are: nothing is encoded again. Pure.
//!
//! ISO/IEC 14496-12 (boxes, fragments) and 14496-15 (avc1), written by the mp4-atom crate. Each fragment stands for itself, so
//! that a file needs no index at its end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use mp4_atom::{
    Avc1, Avcc, Codec, Dinf, Dref, Edts, Elst, ElstEntry, Encode, Ftyp, Hdlr, Mdhd, Mdia, Mfhd, Minf, Moof, Moov, Mvex,
    Mvhd, Stbl, Stco, Stsd, Tfdt, Tfhd, Tkhd, Traf, Trak, Trex, Trun, TrunEntry, TrunSamples, Url, Visual, Vmhd,
};

use crate::sensor::camera::h264::Parameters;
use crate::sensor::camera::rtsp::{TICKS, Unit};

const TRACK: u32 = 1;
/// Units of a fragment at most, though no key frame comes.
const FRAGMENT_UNITS: usize = 64;
/// Bytes of a fragment from which on it is closed.
const FRAGMENT_BYTES: usize = 1024 * 1024;
/// Duration of a picture before the second one has told it, in [`TICKS`].
const FRAME: i64 = TICKS as i64 / 25;
/// Sample flags (14496-12, 8.8.3.1): depends on nothing; depends on others and is no key frame.
const KEY: u32 = 0x0200_0000;
const BETWEEN: u32 = 0x0101_0000;

/// A unit with its place in the file.
#[derive(Debug)]
struct Sample {
    data: Arc<[u8]>,
    decode: i64,
    ahead: i64,
    key: bool,
}

/// A file that is being written.
#[derive(Debug)]
pub struct Muxer {
    parameters: Arc<Parameters>,
    times: Times,
    pending: Vec<Sample>,
    fragments: u32,
}

/// Times of decoding, which RTP does not carry: the n-th unit is decoded at the (n − reorder)-th smallest time of showing,
/// so that none is decoded after it is shown.
#[derive(Debug, Default)]
struct Times {
    taken: usize,
    first: i64,
    last: Option<i64>,
    shown: BinaryHeap<Reverse<i64>>,
}

impl Times {
    /// When it is decoded, and how much later it is shown; from 0.
    fn next(&mut self, reorder: usize, shown: i64) -> (i64, i64) {
        if self.taken == 0 {
            self.first = shown;
        }
        let delay = ticks(reorder) * FRAME;
        let shown = shown - self.first + delay;
        self.shown.push(Reverse(shown));
        let wanted = match self.shown.len() > reorder {
            true => self.shown.pop().map_or(shown, |Reverse(earliest)| earliest),
            false => ticks(self.taken) * FRAME,
        };
        let decode = self.last.map_or(wanted, |last| wanted.max(last + 1));
        self.taken += 1;
        self.last = Some(decode);
        (decode, shown - decode)
    }
}

fn ticks(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Muxer {
    /// A file of one stream.
    pub fn new(parameters: Arc<Parameters>) -> Self {
        Self { parameters, times: Times::default(), pending: Vec::new(), fragments: 0 }
    }

    /// What stands at the file's beginning.
    ///
    /// # Errors
    /// When the parameter sets cannot be written.
    pub fn begin(&self) -> Result<Vec<u8>, mp4_atom::Error> {
        let Parameters { sps, pps, width, height, reorder } = &*self.parameters;
        let side = |pixels: u32| u16::try_from(pixels).unwrap_or(u16::MAX);
        let (width, height) = (side(*width), side(*height));
        let visual = Visual { data_reference_index: 1, width, height, ..Visual::default() };
        let avc1 = Avc1 { visual, avcc: Avcc::new(sps, pps)?, ..Avc1::default() };
        // The first picture is shown at 0, though decoding is ahead.
        let delay = u64::from(*reorder) * FRAME.unsigned_abs();
        let shift = ElstEntry { segment_duration: 0, media_time: Some(delay), media_rate: 1.into() };
        let media = Mdia {
            mdhd: Mdhd { timescale: TICKS, language: "und".into(), ..Mdhd::default() },
            hdlr: Hdlr { handler: b"vide".into(), name: "camera".into() },
            minf: Minf {
                vmhd: Some(Vmhd::default()),
                dinf: Dinf { dref: Dref { entries: vec![Url::default().into()] } },
                stbl: Stbl {
                    stsd: Stsd { codecs: vec![Codec::Avc1(avc1)] },
                    stco: Some(Stco::default()),
                    ..Stbl::default()
                },
                ..Minf::default()
            },
        };
        let track = Trak {
            tkhd: Tkhd {
                track_id: TRACK,
                enabled: true,
                in_movie: true,
                width: width.into(),
                height: height.into(),
                ..Tkhd::default()
            },
            edts: (delay > 0).then(|| Edts { elst: Some(Elst { entries: vec![shift] }) }),
            mdia: media,
            ..Trak::default()
        };
        let defaults = Trex { track_id: TRACK, default_sample_description_index: 1, ..Trex::default() };
        let movie = Moov {
            mvhd: Mvhd {
                timescale: TICKS,
                rate: 1.into(),
                volume: 1.into(),
                next_track_id: TRACK + 1,
                ..Mvhd::default()
            },
            mvex: Some(Mvex { mehd: None, trex: vec![defaults] }),
            trak: vec![track],
            ..Moov::default()
        };
        let mut out = Vec::new();
        let brands = vec![b"iso6".into(), b"mp41".into()];
        Ftyp { major_brand: b"iso6".into(), minor_version: 0, compatible_brands: brands }.encode(&mut out)?;
        movie.encode(&mut out)?;
        Ok(out)
    }

    /// Takes the next unit, the first one a key frame; gives the fragment it closes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn push(&mut self, unit: &Unit) -> Result<Option<Vec<u8>>, mp4_atom::Error> {
        let (decode, ahead) = self.times.next(self.parameters.reorder as usize, unit.shown);
        let bytes: usize = self.pending.iter().map(|sample| sample.data.len()).sum();
        let full = self.pending.len() >= FRAGMENT_UNITS || bytes >= FRAGMENT_BYTES;
        let closed = if !self.pending.is_empty() && (unit.key || full) { Some(self.fragment(decode)?) } else { None };
        self.pending.push(Sample { data: unit.data.clone(), decode, ahead, key: unit.key });
        Ok(closed)
    }

    /// The last fragment, if any unit waits for it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end(mut self) -> Result<Option<Vec<u8>>, mp4_atom::Error> {
        let Some(last) = self.pending.last() else { return Ok(None) };
        let before = self.pending.iter().rev().nth(1).map_or(FRAME, |before| last.decode - before.decode);
        self.fragment(last.decode + before.max(1)).map(Some)
    }

    /// All that is pending; the unit after it is decoded at `next`.
    fn fragment(&mut self, next: i64) -> Result<Vec<u8>, mp4_atom::Error> {
        let samples = std::mem::take(&mut self.pending);
        let ends = samples.iter().skip(1).map(|sample| sample.decode).chain([next]);
        let entries = samples.iter().zip(ends).map(|(sample, end)| TrunEntry {
            duration: Some(u32::try_from(end - sample.decode).unwrap_or(1)),
            size: Some(u32::try_from(sample.data.len()).unwrap_or(u32::MAX)),
            flags: Some(if sample.key { KEY } else { BETWEEN }),
            cts: Some(sample.ahead),
        });
        let entries: Vec<TrunEntry> = entries.collect();
        self.fragments += 1;
        let begins = samples.first().map_or(0, |sample| sample.decode.unsigned_abs());
        let head = |offset: i32| Moof {
            mfhd: Mfhd { sequence_number: self.fragments },
            traf: vec![Traf {
                tfhd: Tfhd { track_id: TRACK, default_base_is_moof: true, ..Tfhd::default() },
                tfdt: Some(Tfdt { base_media_decode_time: begins }),
                trun: vec![Trun { data_offset: Some(offset), samples: TrunSamples::Explicit(entries.clone()) }],
                ..Traf::default()
            }],
        };
        // Once for its length, once with it: where the samples begin, behind the header of their own box.
        let mut out = Vec::new();
        head(0).encode(&mut out)?;
        let offset = i32::try_from(out.len() + 8).unwrap_or(i32::MAX);
        out.clear();
        head(offset).encode(&mut out)?;
        let bytes: usize = samples.iter().map(|sample| sample.data.len()).sum();
        out.reserve(bytes + 8);
        out.extend_from_slice(&u32::try_from(bytes + 8).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(b"mdat");
        for sample in samples {
            out.extend_from_slice(&sample.data);
        }
        Ok(out)
    }
}
