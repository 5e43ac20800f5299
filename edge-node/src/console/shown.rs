//! What the console shows of a camera: a JPEG of the newest picture, as large and as often as its live role says, made once
//! for all who look.

use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::Duration;

use axum::body::Bytes;
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use shared::units::Uptime;

use crate::footage::snapshot::jpeg;
use crate::sensor::camera::LiveConfig;
use crate::sensor::frame::Picture;

/// The newest picture of a camera that was shown.
#[derive(Debug)]
pub struct Shown {
    live: LiveConfig,
    newest: Mutex<Option<(u64, Uptime, Bytes)>>,
    making: Mutex<()>,
}

impl Shown {
    /// None yet.
    pub const fn new(live: LiveConfig) -> Self {
        Self { live, newest: Mutex::new(None), making: Mutex::new(()) }
    }

    /// Pictures a second, at most.
    pub const fn fps(&self) -> f32 {
        self.live.fps
    }

    /// A JPEG of a picture with this frame number; an older one while it is not time for another, or while another is made.
    /// `None`: it cannot be encoded. Encodes on the calling thread.
    pub fn jpeg(&self, number: u64, picture: &Picture, now: Uptime) -> Option<Bytes> {
        let newest = || self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let apart = Duration::from_secs_f32(1.0 / self.live.fps.max(0.1));
        let good = |(shown, made, _): &(u64, Uptime, Bytes)| *shown == number || now.since(*made) < apart;
        let before = newest();
        if let Some((.., bytes)) = before.clone().filter(good) {
            return Some(bytes);
        }
        let _making = match (self.making.try_lock(), before) {
            (Err(TryLockError::WouldBlock), Some((_, made, bytes))) if now.since(made) < 2 * apart => {
                return Some(bytes);
            }
            // None, or an old one: whoever waits finds it made.
            (Err(TryLockError::WouldBlock), _) => self.making.lock().unwrap_or_else(PoisonError::into_inner),
            (Err(TryLockError::Poisoned(making)), _) => making.into_inner(),
            (Ok(making), _) => making,
        };
        if let Some((.., bytes)) = newest().filter(good) {
            return Some(bytes);
        }
        let bytes = Bytes::from(encode(picture, self.live.width)?);
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some((number, now, bytes.clone()));
        Some(bytes)
    }
}

/// A JPEG, so wide at most.
fn encode(picture: &Picture, most: u32) -> Option<Vec<u8>> {
    if picture.width <= most {
        return jpeg(picture, &[]);
    }
    let height = u64::from(picture.height) * u64::from(most) / u64::from(picture.width);
    let height = u32::try_from(height).ok()?.max(1);
    let rgb = picture.to_rgb();
    let source = ImageRef::new(picture.width, picture.height, &rgb, PixelType::U8x3).ok()?;
    let mut inner = Image::new(most, height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new().resize(&source, &mut inner, &options).ok()?;
    jpeg(&Picture::rgb(most, height, inner.into_vec()), &[])
}
