//! `multipart/x-mixed-replace` as cameras send it: bytes in, JPEG pictures out. Pure; limits before allocation.
//!
//! A part without a Content-Length, which many cameras leave out, ends where its JPEG does: the next boundary may come with the
//! next picture only. One that is no JPEG ends there.

use shared::units::Uptime;

use super::markers::Walk;

/// Largest part in bytes: a JPEG above this is not a camera picture.
pub const PART_MAX: usize = 8 * 1024 * 1024;
/// Longest header block of a part in bytes.
const HEADER_MAX: usize = 8 * 1024;
/// Ends the headers of a part.
const END: &[u8] = b"\r\n\r\n";

/// What is wrong with the stream; the parser goes on behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PartError {
    /// Too large.
    #[error("part at byte {at}: expected at most {PART_MAX} bytes")]
    TooLarge {
        /// Byte offset in the stream.
        at: u64,
    },
    /// Header without end.
    #[error("part at byte {at}: expected headers of at most {HEADER_MAX} bytes that end in an empty line")]
    Header {
        /// Byte offset in the stream.
        at: u64,
    },
}

/// A whole part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// When the first byte of its body came. Not of its headers: many servers send them with the part before.
    pub received: Uptime,
    /// Its body.
    pub body: Vec<u8>,
}

/// The parser.
#[derive(Debug)]
pub struct Parts {
    boundary: Vec<u8>,
    buffer: Vec<u8>,
    /// What of the buffer was taken; it goes once for all parts of a piece.
    taken: usize,
    /// Up to where what is looked for next is not: nothing is searched twice.
    searched: usize,
    /// Length of the headers of the part that has begun, and its own, if they say so.
    head: Option<(usize, Option<usize>)>,
    received: Option<Uptime>,
    walk: Walk,
    consumed: u64,
}

impl Parts {
    /// A parser for the boundary that a Content-Type names.
    ///
    /// # Errors
    /// When the type is not `multipart/x-mixed-replace` with a boundary.
    pub fn new(content_type: &str) -> Result<Self, String> {
        let wrong = || format!("expected multipart/x-mixed-replace with a boundary, found {content_type:?}");
        let (kind, parameters) = content_type.split_once(';').ok_or_else(wrong)?;
        let named = parameters.split(';').find_map(|p| p.trim().strip_prefix("boundary="));
        let boundary = named.ok_or_else(wrong)?.trim_matches('"').trim_start_matches("--");
        if !kind.trim().eq_ignore_ascii_case("multipart/x-mixed-replace") || boundary.is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            boundary: format!("--{boundary}").into_bytes(),
            buffer: Vec::new(),
            taken: 0,
            searched: 0,
            head: None,
            received: None,
            walk: Walk::default(),
            consumed: 0,
        })
    }

    /// Takes the next bytes of the stream, which came now, and gives every part they complete.
    pub fn push(&mut self, bytes: &[u8], now: Uptime) -> Vec<Result<Part, PartError>> {
        self.buffer.extend_from_slice(bytes);
        let mut parts = Vec::new();
        while let Some(part) = self.next_part(now) {
            parts.push(part);
        }
        self.buffer.drain(..self.taken);
        self.taken = 0;
        parts
    }

    fn next_part(&mut self, now: Uptime) -> Option<Result<Part, PartError>> {
        let (body, length) = match self.head {
            Some(head) => head,
            None => match self.next_head()? {
                Ok(head) => *self.head.insert(head),
                Err(error) => return Some(Err(error)),
            },
        };
        let at = self.consumed;
        let there = self.rest().len() - body;
        if there == 0 && length != Some(0) {
            return None;
        }
        let received = *self.received.get_or_insert(now);
        let end = match length {
            Some(length) => (there >= length).then_some(length),
            None => {
                let whole = self.walk.end(self.buffer.get(self.taken + body..).unwrap_or_default());
                let next = self.find(body, false).map(|end| end - body);
                // A picture that was cut off ends at the boundary.
                whole.into_iter().chain(next).min()
            }
        };
        match end {
            Some(end) => {
                let part = self.rest().get(body..body + end).unwrap_or_default().to_vec();
                self.skip(body + end);
                Some(Ok(Part { received, body: part }))
            }
            None if there > PART_MAX => {
                self.skip(body);
                Some(Err(PartError::TooLarge { at }))
            }
            None => None,
        }
    }

    /// The headers of the next part, if they have come: their length from the boundary on, and the part's.
    fn next_head(&mut self) -> Option<Result<(usize, Option<usize>), PartError>> {
        if !self.rest().starts_with(&self.boundary) {
            let Some(start) = self.find(0, false) else {
                // Only a boundary cut in two can still matter.
                let keep = self.boundary.len().min(self.rest().len());
                self.skip(self.rest().len() - keep);
                return None;
            };
            self.skip(start);
        }
        let at = self.consumed;
        let Some(headers) = self.find(0, true) else {
            return (self.rest().len() >= HEADER_MAX).then(|| {
                // What was searched is not searched again, whatever boundaries are in it.
                self.skip(HEADER_MAX - END.len());
                Err(PartError::Header { at })
            });
        };
        self.searched = 0;
        let body = headers + END.len();
        let length = content_length(self.rest().get(..headers).unwrap_or_default());
        if length.is_some_and(|length| length > PART_MAX) {
            self.skip(body);
            return Some(Err(PartError::TooLarge { at }));
        }
        Some(Ok((body, length)))
    }

    /// What was not taken yet.
    fn rest(&self) -> &[u8] {
        self.buffer.get(self.taken..).unwrap_or_default()
    }

    /// Where the end of headers, or else the next boundary, begins behind `from`.
    fn find(&mut self, from: usize, headers: bool) -> Option<usize> {
        let needle = if headers { END } else { &self.boundary };
        let (rest, from) = (self.rest(), from.max(self.searched));
        let rest = if headers { rest.get(..HEADER_MAX).unwrap_or(rest) } else { rest };
        let found = rest.get(from..)?.windows(needle.len()).position(|window| window == needle);
        let next = found.map_or((rest.len() + 1).saturating_sub(needle.len()).max(from), |found| from + found);
        self.searched = next;
        found.map(|found| from + found)
    }

    /// What is taken is not looked at again: another part begins.
    fn skip(&mut self, count: usize) {
        (self.head, self.received, self.searched, self.walk) = (None, None, 0, Walk::default());
        self.taken += count;
        self.consumed += count as u64;
    }
}

fn content_length(headers: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(headers);
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    })
}
