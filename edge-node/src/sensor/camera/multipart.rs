//! `multipart/x-mixed-replace` as cameras send it: bytes in, JPEG pictures out. Pure; limits before allocation.
//!
//! A part is found by its JPEG markers (SOI `FFD8`, EOI `FFD9` before the next boundary) where it has no
//! Content-Length, since many cameras leave it out.

/// Largest part in bytes: a JPEG above this is not a camera picture.
pub const PART_MAX: usize = 8 * 1024 * 1024;
/// Longest header block of a part in bytes.
const HEADER_MAX: usize = 8 * 1024;

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

/// The parser.
#[derive(Debug)]
pub struct Parts {
    boundary: Vec<u8>,
    buffer: Vec<u8>,
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
        Ok(Self { boundary: format!("--{boundary}").into_bytes(), buffer: Vec::new(), consumed: 0 })
    }

    /// Takes the next bytes of the stream and gives every part they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Result<Vec<u8>, PartError>> {
        self.buffer.extend_from_slice(bytes);
        let mut parts = Vec::new();
        while let Some(part) = self.next_part() {
            parts.push(part);
        }
        parts
    }

    fn next_part(&mut self) -> Option<Result<Vec<u8>, PartError>> {
        let Some(start) = find(&self.buffer, &self.boundary) else {
            // Only a boundary cut in two can still matter.
            let keep = self.boundary.len().min(self.buffer.len());
            self.skip(self.buffer.len() - keep);
            return None;
        };
        self.skip(start);
        let at = self.consumed;
        let Some(headers) = find(&self.buffer, b"\r\n\r\n") else {
            return (self.buffer.len() > HEADER_MAX).then(|| {
                self.skip(self.boundary.len());
                Err(PartError::Header { at })
            });
        };
        let body = headers + 4;
        let length = content_length(self.buffer.get(..headers).unwrap_or_default());
        if length.is_some_and(|length| length > PART_MAX) {
            self.skip(body);
            return Some(Err(PartError::TooLarge { at }));
        }
        let rest = self.buffer.get(body..).unwrap_or_default();
        let end = match length {
            Some(length) => (rest.len() >= length).then_some(length),
            None => find(rest, &self.boundary),
        };
        match end {
            Some(end) => {
                let part = rest.get(..end).unwrap_or_default().to_vec();
                self.skip(body + end);
                Some(Ok(part))
            }
            None if rest.len() > PART_MAX => {
                self.skip(body);
                Some(Err(PartError::TooLarge { at }))
            }
            None => None,
        }
    }

    fn skip(&mut self, count: usize) {
        self.buffer.drain(..count);
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

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
