//! Damage in a SQLite write-ahead log that SQLite itself takes for its end. Pure.
//!
//! Format: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>. A header of 32 bytes (magic, version, page
//! size, checkpoint, two salts, two checksums), then frames: page number, size after commit, the salts, a running
//! checksum, the page. Recovery stops at the first frame whose salts or checksum do not fit, so one flipped byte hides
//! every commit behind it. Each frame's checksum starts from the one stored in the frame before: frames behind the
//! damage are recognised by themselves, and with the checksums made anew SQLite reads them again.

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// Magic of big-endian checksums; one less means little-endian.
const MAGIC_BIG: u32 = 0x377f_0683;
/// Page sizes that SQLite allows.
const PAGE_SIZES: std::ops::RangeInclusive<usize> = 512..=65_536;

/// A log in which valid frames follow damage, with its checksums made anew.
#[derive(Debug, PartialEq, Eq)]
pub struct Mended {
    /// Byte offset of the first damaged frame; 0 for the header.
    pub at: usize,
    /// Frames that SQLite would have ignored, the damaged ones among them.
    pub hidden: usize,
    /// The log, to be used on a copy.
    pub log: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Log<'a> {
    bytes: &'a [u8],
    page: usize,
    big: bool,
    salts: [u8; 8],
}

/// Looks for frames behind damage. `None` for a log that is whole, torn at its end, or not a log at all.
pub fn mend(bytes: &[u8]) -> Option<Mended> {
    let magic = word(bytes, 0)?;
    let page = usize::try_from(word(bytes, 8)?).ok()?;
    let plausible = (magic | 1) == MAGIC_BIG && PAGE_SIZES.contains(&page) && page.is_power_of_two();
    let big = magic == MAGIC_BIG;
    let whole = plausible && checksum([0, 0], bytes.get(..24)?, big) == sums(bytes, 24)?;
    let log =
        if whole { Log { bytes, page, big, salts: *bytes.get(16..)?.first_chunk()? } } else { Log::guess(bytes)? };
    let count = (bytes.len() - HEADER) / (log.page + FRAME_HEADER);
    let mut running = if whole { sums(bytes, 24) } else { None };
    let mut good = 0;
    while good < count && running.is_some_and(|sums| log.frame_is_valid(good, sums)) {
        running = sums(bytes, log.offset(good) + 16);
        good += 1;
    }
    let last = (good..count).rev().find(|frame| *frame > 0 && log.stands_alone(*frame))?;
    // A valid frame right at the end of the good ones cannot be: it would have been taken.
    Some(Mended { at: if whole { log.offset(good) } else { 0 }, hidden: last + 1 - good, log: log.sealed(last + 1)? })
}

impl<'a> Log<'a> {
    /// A log whose header is damaged: page size and salts as its frames have them, checksums as this machine writes.
    fn guess(bytes: &'a [u8]) -> Option<Self> {
        let big = cfg!(target_endian = "big");
        let sizes = std::iter::successors(Some(512), |size| Some(size * 2)).take_while(|size| *size <= 65_536);
        for page in sizes {
            let salts = *bytes.get(HEADER + 8..)?.first_chunk()?;
            let log = Self { bytes, page, big, salts };
            if log.offset(2) <= bytes.len() && log.stands_alone(1) {
                return Some(log);
            }
        }
        None
    }

    fn offset(&self, frame: usize) -> usize {
        HEADER + frame * (self.page + FRAME_HEADER)
    }

    fn frame_is_valid(&self, frame: usize, before: [u32; 2]) -> bool {
        let at = self.offset(frame);
        let (Some(head), Some(page)) = (self.bytes.get(at..at + 8), self.bytes.get(at + 24..at + 24 + self.page))
        else {
            return false;
        };
        let salted = self.bytes.get(at + 8..at + 16) == Some(&self.salts);
        salted && sums(self.bytes, at + 16) == Some(checksum(checksum(before, head, self.big), page, self.big))
    }

    /// Whether a frame fits the checksum stored in the frame before it, whatever that frame is worth.
    fn stands_alone(&self, frame: usize) -> bool {
        let before = frame.checked_sub(1).and_then(|before| sums(self.bytes, self.offset(before) + 16));
        before.is_some_and(|before| self.frame_is_valid(frame, before))
    }

    /// The first `count` frames with salts and checksums made anew.
    fn sealed(&self, count: usize) -> Option<Vec<u8>> {
        let mut log = Vec::with_capacity(self.offset(count));
        let magic = if self.big { MAGIC_BIG } else { MAGIC_BIG & !1 };
        for value in [magic, 3_007_000, u32::try_from(self.page).ok()?, 0] {
            log.extend(value.to_be_bytes());
        }
        log.extend(self.salts);
        let mut running = checksum([0, 0], &log, self.big);
        log.extend(running.iter().flat_map(|sum| sum.to_be_bytes()));
        for frame in 0..count {
            let at = self.offset(frame);
            let (head, page) = (self.bytes.get(at..at + 8)?, self.bytes.get(at + 24..at + 24 + self.page)?);
            running = checksum(checksum(running, head, self.big), page, self.big);
            log.extend(head);
            log.extend(self.salts);
            log.extend(running.iter().flat_map(|sum| sum.to_be_bytes()));
            log.extend(page);
        }
        Some(log)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn sums(bytes: &[u8], at: usize) -> Option<[u32; 2]> {
    Some([word(bytes, at)?, word(bytes, at + 4)?])
}

/// SQLite's checksum: two 32-bit sums over pairs of words.
fn checksum(from: [u32; 2], bytes: &[u8], big: bool) -> [u32; 2] {
    let [mut s0, mut s1] = from;
    for pair in bytes.as_chunks::<8>().0 {
        let [a, b, c, d, e, f, g, h] = *pair;
        let (x, y) = if big {
            (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
        } else {
            (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
        };
        s0 = s0.wrapping_add(x).wrapping_add(s1);
        s1 = s1.wrapping_add(y).wrapping_add(s0);
    }
    [s0, s1]
}
