//! The boxes of MP4 files (ISO/IEC 14496-12, 4.2), before a demuxer sees them: what would make it go round for ever, or take
//! memory without end, is refused.

use std::io::{Cursor, Error, Read, Result, Seek, SeekFrom};

/// Bytes that may be read besides twice what there is.
const MORE: u64 = 64 * 1024;

/// Gives bytes about once: re_mp4 0.5 reads the header of a box without length again and again.
pub struct Once<'a> {
    bytes: Cursor<&'a [u8]>,
    left: u64,
}

impl<'a> Once<'a> {
    /// At the beginning of these.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: Cursor::new(bytes), left: bytes.len() as u64 * 2 + MORE }
    }
}

impl Read for Once<'_> {
    fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        let read = self.bytes.read(into)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| Error::other("boxes within themselves"))?;
        Ok(read)
    }
}

impl Seek for Once<'_> {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        self.bytes.seek(to)
    }
}

/// Most samples of all tracks: the demuxer takes 64 bytes for each, also where two numbers stand for all of them. A quarter of
/// an hour of telephone audio, or days of video.
const SAMPLES_MAX: u64 = 8 * 1024 * 1024;

/// Whether a file says of more samples than it can have: tables of them are made from two numbers (8.7.3, 8.8.8). Samples
/// of one size have at least its bytes, others four in the table of their sizes.
///
/// # Errors
/// What it says.
pub fn promises(bytes: &[u8]) -> std::result::Result<(), String> {
    let (mut at, mut said, mut samples) = (0usize, 0u64, 0u64);
    while let Some((kind, length)) = bytes.get(at..).and_then(head) {
        let inside = match &kind {
            b"moov" | b"moof" => bytes.get(at..at.saturating_add(length).min(bytes.len())).unwrap_or_default(),
            _ => &[],
        };
        at = at.saturating_add(length);
        for (place, four) in inside.windows(4).enumerate() {
            let word = |at: Option<usize>| Some(u64::from(u32::from_be_bytes(*inside.get(at?..)?.first_chunk()?)));
            let behind = |n: usize| word(Some(place + n));
            // A box, and not a word of some text: the length before it fits.
            let fits =
                |least: u64| word(place.checked_sub(4)).is_some_and(|n| (least..=inside.len() as u64).contains(&n));
            let more = match (&kind, four) {
                // Version and flags, size of all samples or zero, and how many.
                (b"moov", b"stsz") if fits(20) => {
                    behind(8).zip(behind(12)).map(|(size, count)| (count, if size == 0 { 4 } else { size }))
                }
                (b"moof", b"trun") if fits(16) => behind(8).map(|count| (count, 4)),
                _ => None,
            };
            let (count, size) = more.unwrap_or_default();
            (samples, said) = (samples.saturating_add(count), said.saturating_add(count * size));
        }
    }
    match () {
        () if samples > SAMPLES_MAX => Err(format!("it has {samples} samples, the limit is {SAMPLES_MAX}")),
        () if said <= bytes.len() as u64 => Ok(()),
        () => Err(format!("it says that its samples have {said} bytes or more, it has {}", bytes.len())),
    }
}

/// Kind and length of the box at the beginning (32 bits, kind, and a length of 64 bits where the first is 1); none: it has
/// none, or goes to the end.
fn head(rest: &[u8]) -> Option<([u8; 4], usize)> {
    let (&[a, b, c, d, e, f, g, h], behind) = rest.split_first_chunk::<8>()?;
    let short = u32::from_be_bytes([a, b, c, d]);
    let length = match (short, behind.first_chunk::<8>()) {
        (1, Some(long)) => u64::from_be_bytes(*long),
        (short, _) => u64::from(short),
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    (length >= 8).then_some(([e, f, g, h], length))
}

/// A recording that was cut off ends inside its last top-level box, which the demuxer refuses as a whole. Its length
/// is set to what is there: the samples before the cut are played, the first one behind it is told with its place.
pub fn shorten_cut_box(bytes: &mut [u8]) {
    let mut at = 0usize;
    while let Some((_, length)) = bytes.get(at..).and_then(head) {
        let Some(rest) = bytes.get_mut(at..).filter(|rest| rest.len() < length) else {
            at = at.saturating_add(length);
            continue;
        };
        let fitting = (rest.len() as u64).to_be_bytes();
        let long = rest.first_chunk() == Some(&1u32.to_be_bytes());
        let (place, [_, _, _, _, short @ ..]) = (if long { 8..16 } else { 0..4 }, &fitting);
        let length: &[u8] = if long { &fitting } else { short };
        rest.get_mut(place).into_iter().for_each(|place| place.copy_from_slice(length));
        return;
    }
}
