//! A picture with its capture time, and the mailbox that holds only the newest.
//!
//! A slow detector must see the present, not a queue of the past: putting a frame drops an unread one and counts it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use shared::units::Uptime;

/// An RGB picture, 8 bits a channel, rows without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `width * height * 3` bytes, row by row, R G B.
    pub rgb: Vec<u8>,
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

#[derive(Debug, Default)]
struct Slot {
    frame: Option<Frame>,
    dropped: u64,
    closed: bool,
}

/// Holds the newest frame of each camera for the detector.
///
/// Bound: one frame a camera, because an older one is worthless to an interlock; full means the old one is dropped.
#[derive(Debug)]
pub struct Mailbox {
    slots: Mutex<Vec<Slot>>,
    filled: Condvar,
}

impl Mailbox {
    /// A mailbox for `cameras` cameras.
    pub fn new(cameras: usize) -> Self {
        Self { slots: Mutex::new((0..cameras).map(|_| Slot::default()).collect()), filled: Condvar::new() }
    }

    /// Puts a frame, dropping an unread one.
    pub fn put(&self, frame: Frame) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get_mut(frame.camera) {
            if slot.frame.replace(frame).is_some() {
                slot.dropped += 1;
            }
            self.filled.notify_one();
        }
    }

    /// Says that a camera gives no more frames.
    pub fn close(&self, camera: usize) {
        if let Some(slot) = self.slots.lock().unwrap_or_else(PoisonError::into_inner).get_mut(camera) {
            slot.closed = true;
        }
        self.filled.notify_all();
    }

    /// Takes the newest frame of the next camera at or after `from` that has one; waits up to `wait`.
    /// The second value is how many frames of that camera were dropped since the last take.
    pub fn take(&self, from: usize, wait: Duration) -> Option<(Frame, u64)> {
        let empty = |slots: &mut Vec<Slot>| slots.iter().all(|slot| slot.frame.is_none());
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut slots, _) = self.filled.wait_timeout_while(slots, wait, empty).unwrap_or_else(PoisonError::into_inner);
        let count = slots.len();
        (0..count).find_map(|step| {
            let slot = slots.get_mut((from + step) % count)?;
            slot.frame.take().map(|frame| (frame, std::mem::take(&mut slot.dropped)))
        })
    }

    /// Whether every camera has ended and its last frame was taken.
    pub fn finished(&self) -> bool {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.iter().all(|slot| slot.closed && slot.frame.is_none())
    }
}
