//! A picture with its capture time, and the mailbox that holds only the newest.
//!
//! A slow detector must see the present, not a queue of the past: putting a frame drops an unread one and counts it.

use std::borrow::Cow;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use shared::units::Uptime;

/// A picture, 8 bits a sample, rows without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Its samples.
    pub pixels: Pixels,
}

/// How the samples of a picture lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pixels {
    /// `width * height * 3` bytes, row by row, R G B.
    Rgb(Vec<u8>),
    /// What video decoders give: `width * height` bytes of luma, then two planes of chroma (U, V) of half the width and
    /// height, rounded up. ITU-R BT.601, studio range.
    I420(Vec<u8>),
}

impl Picture {
    /// A picture of R G B samples.
    pub const fn rgb(width: u32, height: u32, rgb: Vec<u8>) -> Self {
        Self { width, height, pixels: Pixels::Rgb(rgb) }
    }

    /// Bytes of its samples.
    pub const fn bytes(&self) -> usize {
        match &self.pixels {
            Pixels::Rgb(bytes) | Pixels::I420(bytes) => bytes.len(),
        }
    }

    /// Sizes of the chroma planes of an I420 picture.
    pub const fn chroma(&self) -> (u32, u32) {
        (self.width.div_ceil(2), self.height.div_ceil(2))
    }

    /// The three planes of an I420 picture: luma, U, V; `None` for others, or where bytes are missing.
    pub fn planes(&self) -> Option<[&[u8]; 3]> {
        let Pixels::I420(bytes) = &self.pixels else { return None };
        let (across, down) = self.chroma();
        let (luma, chroma) = (area(self.width, self.height), area(across, down));
        let (luma, rest) = bytes.split_at_checked(luma)?;
        let (u, rest) = rest.split_at_checked(chroma)?;
        Some([luma, u, rest.get(..chroma)?])
    }

    /// Its samples as R G B.
    pub fn to_rgb(&self) -> Cow<'_, [u8]> {
        match &self.pixels {
            Pixels::Rgb(rgb) => Cow::Borrowed(rgb),
            Pixels::I420(_) => {
                let Some(planes) = self.planes() else { return Cow::Borrowed(&[]) };
                Cow::Owned(kernels::rgb(planes, self.width as usize))
            }
        }
    }

    /// A part of it: left, top, width, height in pixels, all even; `None` where it reaches outside.
    pub fn part(&self, (left, top, width, height): (u32, u32, u32, u32)) -> Option<Self> {
        let cut = |plane: &[u8], row: usize, (left, top): (usize, usize), (width, height): (usize, usize)| {
            let rows = plane.chunks_exact(row.max(1)).skip(top).take(height);
            let mut out = Vec::with_capacity(width * height);
            for line in rows {
                out.extend_from_slice(line.get(left..left + width)?);
            }
            (out.len() == width * height).then_some(out)
        };
        let at = (left as usize, top as usize);
        let size = (width as usize, height as usize);
        let pixels = match &self.pixels {
            Pixels::Rgb(rgb) => Pixels::Rgb(cut(rgb, self.width as usize * 3, (at.0 * 3, at.1), (size.0 * 3, size.1))?),
            Pixels::I420(_) => {
                let [luma, u, v] = self.planes()?;
                let mut bytes = cut(luma, self.width as usize, at, size)?;
                for plane in [u, v] {
                    let row = self.chroma().0 as usize;
                    bytes.extend(cut(plane, row, (at.0 / 2, at.1 / 2), (size.0 / 2, size.1 / 2))?);
                }
                Pixels::I420(bytes)
            }
        };
        Some(Self { width, height, pixels })
    }

    /// Brightness of a pixel, 0 to 255 (ITU-R BT.601); 0 outside.
    pub fn luma(&self, x: usize, y: usize) -> f32 {
        let at = y * self.width as usize + x;
        match &self.pixels {
            Pixels::Rgb(rgb) => {
                let rgb = rgb.get(at * 3..at * 3 + 3).and_then(|rgb| <[u8; 3]>::try_from(rgb).ok());
                let [r, g, b] = rgb.unwrap_or_default();
                // In 256ths.
                (u32::from(r) * 77 + u32::from(g) * 150 + u32::from(b) * 29) as f32 / 256.0
            }
            // Studio range: black is 16, white 235.
            Pixels::I420(bytes) => {
                let luma = bytes.get(at).copied().unwrap_or_default();
                ((f32::from(luma) - 16.0) * (255.0 / 219.0)).clamp(0.0, 255.0)
            }
        }
    }
}

/// Samples of a plane.
const fn area(width: u32, height: u32) -> usize {
    width as usize * height as usize
}

/// A picture of a camera at a time.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Index of the camera in the configuration.
    pub camera: usize,
    /// Frame number at the camera, from 0.
    pub number: u64,
    /// When it reached this machine.
    pub captured: Uptime,
    /// The picture.
    pub picture: Arc<Picture>,
}

/// Why a camera gives no frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// On one line, without credentials.
    pub text: String,
    /// It gave frames, whose time stamps stood still.
    pub frozen: bool,
}

#[derive(Debug)]
struct Slot {
    frame: Option<Frame>,
    /// Frames that a newer one replaced since its last turn, and those that were too old for one.
    replaced: u64,
    late: u64,
    closed: bool,
    trouble: Option<Trouble>,
    /// What one look costs of this camera's share.
    cost: u64,
    /// Costs so far: the camera with the least is next.
    spent: u64,
}

/// One look of a camera whose share is 1.
const COST: u64 = 1 << 20;

/// Holds the newest frame of each camera for the detector, and says whose turn it is.
///
/// Bound: one frame a camera, because an older one is worthless to an interlock; full means the old one is dropped. Turns are
/// start-time fair queueing (Goyal et al., 1996): a camera that sends more often than others, or was silent, gets no more than
/// its share.
#[derive(Debug)]
pub struct Mailbox {
    turns: Mutex<Turns>,
    filled: Condvar,
    deadline: Duration,
}

#[derive(Debug)]
struct Turns {
    slots: Vec<Slot>,
    /// What the camera whose turn was last had spent before it.
    clock: u64,
}

impl Mailbox {
    /// A mailbox for cameras with these shares of the detector's time. Frames older than `deadline` are not looked at.
    pub fn new(shares: &[u32], deadline: Duration) -> Self {
        let slot = |share: &u32| Slot {
            frame: None,
            replaced: 0,
            late: 0,
            closed: false,
            trouble: None,
            cost: COST / u64::from((*share).max(1)),
            spent: 0,
        };
        let turns = Turns { slots: shares.iter().map(slot).collect(), clock: 0 };
        Self { turns: Mutex::new(turns), filled: Condvar::new(), deadline }
    }

    /// Puts a frame, dropping an unread one.
    pub fn put(&self, frame: Frame) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let clock = turns.clock;
        if let Some(slot) = turns.slots.get_mut(frame.camera) {
            match slot.frame.replace(frame) {
                Some(_) => slot.replaced += 1,
                // Who did not ask has saved nothing.
                None => slot.spent = slot.spent.max(clock),
            }
            self.filled.notify_one();
        }
    }

    /// Says why a camera gives no frames for now. Of what was said before and not heard only that it froze is kept; the frame
    /// of one that did is none.
    pub fn fail(&self, camera: usize, trouble: Trouble) {
        if let Some(slot) = self.turns.lock().unwrap_or_else(PoisonError::into_inner).slots.get_mut(camera) {
            if trouble.frozen && slot.frame.take().is_some() {
                slot.replaced += 1;
            }
            let frozen = trouble.frozen || slot.trouble.as_ref().is_some_and(|before| before.frozen);
            slot.trouble = Some(Trouble { frozen, ..trouble });
        }
    }

    /// By camera, what was said since it was last asked.
    pub fn troubles(&self) -> Vec<Option<Trouble>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.slots.iter_mut().map(|slot| slot.trouble.take()).collect()
    }

    /// Says that a camera gives no more frames.
    pub fn close(&self, camera: usize) {
        if let Some(slot) = self.turns.lock().unwrap_or_else(PoisonError::into_inner).slots.get_mut(camera) {
            slot.closed = true;
        }
        self.filled.notify_all();
    }

    /// Takes the newest frame of the camera whose turn it is, and how many it has replaced; waits up to `wait` for one.
    pub fn take(&self, wait: Duration, now: impl Fn() -> Uptime) -> Option<(Frame, u64)> {
        let empty = |turns: &mut Turns| turns.slots.iter().all(|slot| slot.frame.is_none());
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut turns, _) = self.filled.wait_timeout_while(turns, wait, empty).unwrap_or_else(PoisonError::into_inner);
        let now = now();
        let Turns { slots, clock } = &mut *turns;
        for slot in slots.iter_mut() {
            if slot.frame.as_ref().is_some_and(|frame| now.since(frame.captured) > self.deadline) {
                slot.frame = None;
                slot.late += 1;
            }
        }
        let waiting = slots.iter_mut().filter(|slot| slot.frame.is_some());
        let next = waiting.min_by_key(|slot| (slot.spent, slot.frame.as_ref().map(|frame| frame.captured)))?;
        *clock = next.spent;
        next.spent += next.cost;
        next.frame.take().map(|frame| (frame, std::mem::take(&mut next.replaced)))
    }

    /// By camera, frames that were too old when their turn came, since it was last asked.
    pub fn late(&self) -> Vec<u64> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.slots.iter_mut().map(|slot| std::mem::take(&mut slot.late)).collect()
    }

    /// Whether every camera has ended and its last frame was taken.
    pub fn finished(&self) -> bool {
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.slots.iter().all(|slot| slot.closed && slot.frame.is_none())
    }
}
