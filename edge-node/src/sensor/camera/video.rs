//! H.264 in MP4 -> pictures in presentation order.
//!
//! Demuxed by re_mp4. Pictures come out in presentation order, so the n-th picture has the n-th smallest composition
//! time.

use std::path::Path;

use re_mp4::{Mp4, StsdBoxContent, TrackKind};

use super::boxes::{Once, promises, shorten_cut_box};
use super::h264::{Decoder, Parameters, annex_b};
use crate::sensor::frame::Picture;

/// Largest video file read into memory, in bytes.
const FILE_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Why a video ended before its last frame.
#[derive(Debug, thiserror::Error)]
pub enum VideoError {
    /// Cannot be opened.
    #[error("{file}: cannot be read: {reason}")]
    Read {
        /// File.
        file: String,
        /// Why.
        reason: String,
    },
    /// Not a video that can be played: no further frames.
    #[error("{file}: expected an MP4 file with an H.264 track: {reason}")]
    Format {
        /// File.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// Damaged or truncated: the frames before were given, later ones may still be.
    #[error("{file}: sample {sample} at byte {offset}: {reason}")]
    Damaged {
        /// File.
        file: String,
        /// Sample number, from 0.
        sample: usize,
        /// Byte offset in the file.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
}

/// One decoded picture and its time from the first, in seconds.
#[derive(Debug)]
pub struct Shot {
    /// Presentation time, seconds from the first picture.
    pub time_s: f64,
    /// The picture.
    pub picture: Picture,
}

/// An open video. Iterates over its pictures in presentation order; damage is an `Err` item, and the rest goes on.
pub struct Video {
    file: String,
    bytes: Vec<u8>,
    samples: Vec<re_mp4::Sample>,
    times_s: Vec<f64>,
    decoder: Decoder,
    headers: Vec<u8>,
    length_size: usize,
    next: usize,
    shown: usize,
    tail: Option<std::vec::IntoIter<Picture>>,
}

impl Video {
    /// Opens a file.
    ///
    /// # Errors
    /// [`VideoError`] naming the file and what was expected.
    pub fn open(path: &Path) -> Result<Self, VideoError> {
        let file = path.display().to_string();
        let unread = |reason: String| VideoError::Read { file: file.clone(), reason };
        let size = std::fs::metadata(path).map_err(|e| unread(e.to_string()))?.len();
        if size > FILE_MAX {
            return Err(unread(format!("{size} bytes, the limit is {FILE_MAX}")));
        }
        let bytes = std::fs::read(path).map_err(|e| unread(e.to_string()))?;
        Self::read(file, bytes)
    }

    /// Reads a file's bytes; `file` names it in errors.
    ///
    /// # Errors
    /// [`VideoError`] naming what was expected.
    pub fn read(file: String, mut bytes: Vec<u8>) -> Result<Self, VideoError> {
        let wrong = |reason: String| VideoError::Format { file: file.clone(), reason };
        shorten_cut_box(&mut bytes);
        promises(&bytes).map_err(wrong)?;
        // re_mp4 0.5 indexes and asserts on some broken boxes; a damaged file must be an error, not the end.
        let parsed = std::panic::catch_unwind(|| Mp4::read(Once::new(&bytes), bytes.len() as u64));
        let mp4 = parsed.map_err(|_| wrong("broken box".into()))?.map_err(|e| wrong(e.to_string()))?;
        let track = mp4.tracks().values().find(|track| track.kind == Some(TrackKind::Video));
        let track = track.ok_or_else(|| wrong("no video track".into()))?;
        let StsdBoxContent::Avc1(avc1) = &track.trak(&mp4).mdia.minf.stbl.stsd.contents else {
            return Err(wrong(format!("codec is {}", track.codec_string(&mp4).unwrap_or_else(|| "unknown".into()))));
        };
        for set in &avc1.avcc.sequence_parameter_sets {
            // What asks for too much is not shown to the decoder.
            Parameters::new(&set.bytes, &[]).map_err(wrong)?;
        }
        let sets = avc1.avcc.sequence_parameter_sets.iter().chain(&avc1.avcc.picture_parameter_sets);
        let headers = sets.flat_map(|set| [0, 0, 0, 1].into_iter().chain(set.bytes.iter().copied())).collect();
        let length_size = usize::from(avc1.avcc.length_size_minus_one & 3) + 1;
        let mut times: Vec<i64> = track.samples.iter().map(|s| s.composition_timestamp).collect();
        times.sort_unstable();
        let scale = track.timescale.max(1) as f64;
        let times_s = times.iter().map(|t| *t as f64 / scale).collect();
        // Told of no reordering a decoder loses pictures of a video that has it; a file can wait.
        let decoder = Decoder::new(true).map_err(wrong)?;
        let samples = track.samples.clone();
        Ok(Self { file, bytes, samples, times_s, decoder, headers, length_size, next: 0, shown: 0, tail: None })
    }

    /// Time of the `n`-th picture in seconds from the first.
    fn time_s(&self, n: usize) -> f64 {
        self.times_s.get(n).or(self.times_s.last()).copied().unwrap_or(0.0)
    }

    fn shot(&mut self, picture: Picture) -> Shot {
        let time_s = self.time_s(self.shown);
        self.shown += 1;
        Shot { time_s, picture }
    }

    /// Decodes sample `at`: a picture, none yet, or what is wrong with it.
    fn decode(&mut self, at: usize) -> Result<Option<Picture>, VideoError> {
        let Some(sample) = self.samples.get(at).copied() else { return Ok(None) };
        let file = self.file.clone();
        let damaged =
            |reason: String| VideoError::Damaged { file: file.clone(), sample: at, offset: sample.offset, reason };
        let end = sample.offset.saturating_add(sample.size);
        let range = usize::try_from(sample.offset).ok().zip(usize::try_from(end).ok());
        let Some(data) = range.and_then(|(start, end)| self.bytes.get(start..end)) else {
            let len = self.bytes.len();
            return Err(damaged(format!("expected {} bytes, the file ends at byte {len}", sample.size)));
        };
        let mut packet = if sample.is_sync { self.headers.clone() } else { Vec::new() };
        annex_b(data, self.length_size, &mut packet).map_err(damaged)?;
        self.decoder.decode(&packet).map_err(damaged)
    }
}

impl Iterator for Video {
    type Item = Result<Shot, VideoError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.samples.len() {
            let at = self.next;
            self.next += 1;
            match self.decode(at) {
                Ok(Some(picture)) => return Some(Ok(self.shot(picture))),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
        if self.tail.is_none() {
            self.tail = Some(self.decoder.rest().into_iter());
        }
        let picture = self.tail.as_mut()?.next()?;
        Some(Ok(self.shot(picture)))
    }
}
