//! Where a JPEG ends, found while it comes (ITU-T T.81, B.1): pure. A picture inside the picture, in a segment of its own, is
//! passed over.

/// How far a JPEG was looked at; nothing is looked at twice.
#[derive(Debug, Clone, Copy, Default)]
pub struct Walk {
    at: usize,
    /// Inside the coded data of a scan, which has no length.
    scan: bool,
    /// It is no JPEG.
    lost: bool,
}

impl Walk {
    /// Takes all that has come of it so far; its length, once its end is there. `None` for ever: it is no JPEG.
    pub fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        while !self.lost {
            if self.scan {
                let rest = bytes.get(self.at..)?;
                // Stuffed bytes, restarts and fill bytes belong to it.
                let marker = |pair: &[u8]| matches!(pair, [0xFF, m] if !matches!(m, 0 | 0xD0..=0xD7 | 0xFF));
                let Some(found) = rest.windows(2).position(marker) else {
                    self.at += rest.len().saturating_sub(1);
                    return None;
                };
                (self.at, self.scan) = (self.at + found, false);
            }
            match (self.at, bytes.get(self.at..self.at + 2)?) {
                (0, [0xFF, 0xD8]) => self.at = 2,
                (1.., [0xFF, 0xD9]) => return Some(self.at + 2),
                (1.., [0xFF, 0xFF]) => self.at += 1,
                (1.., [0xFF, 0x01 | 0xD0..=0xD7]) => self.at += 2,
                (1.., [0xFF, marker]) => {
                    let length =
                        bytes.get(self.at + 2..self.at + 4)?.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
                    (self.at, self.scan, self.lost) = (self.at + 2 + length, *marker == 0xDA, length < 2);
                }
                _ => self.lost = true,
            }
        }
        None
    }
}
