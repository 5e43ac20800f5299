//! A picture into the model's input: shrink keeping the aspect, fill the rest, planes of f32.
//!
//! The resize is a bilinear convolution that antialiases when shrinking, as Pillow's BILINEAR does: the reference
//! detections were made with it.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::manifest::{Anchor, Channels, Entry};
use crate::sensor::frame::Picture;

/// How picture pixels map to input pixels: `input = picture * ratio + offset`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    /// Input pixels per picture pixel.
    pub ratio: f32,
    /// Left edge of the picture in the input, pixels.
    pub left: f32,
    /// Top edge of the picture in the input, pixels.
    pub top: f32,
}

/// Reusable buffers of the preprocessing.
#[derive(Debug, Default)]
pub struct Preprocessor {
    resizer: Resizer,
}

impl Preprocessor {
    /// Fills `tensor` (3 × height × width of the model, planes in the model's order) from a picture.
    /// Returns `None` if the picture is empty or its buffer does not hold it.
    pub fn fill(&mut self, entry: &Entry, picture: &Picture, tensor: &mut [f32]) -> Option<Fit> {
        let (width, height) = (entry.input.width, entry.input.height);
        let ratio = (width as f32 / picture.width as f32).min(height as f32 / picture.height as f32);
        let inner_width = shrunk(picture.width, ratio)?.min(width);
        let inner_height = shrunk(picture.height, ratio)?.min(height);
        let source = ImageRef::new(picture.width, picture.height, &picture.rgb, PixelType::U8x3).ok()?;
        let mut inner = Image::new(inner_width, inner_height, PixelType::U8x3);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        self.resizer.resize(&source, &mut inner, &options).ok()?;
        let (left, top) = match entry.letterbox.anchor {
            Anchor::TopLeft => (0, 0),
            Anchor::Center => ((width - inner_width) / 2, (height - inner_height) / 2),
        };
        let scale = entry.input.scale;
        tensor.fill(f32::from(entry.letterbox.fill) * scale);
        let (row_len, plane_len) = (width as usize, (width * height) as usize);
        let rows = inner.buffer().chunks_exact(inner_width as usize * 3);
        for (plane, values) in tensor.chunks_exact_mut(plane_len).enumerate() {
            let channel = match entry.input.channels {
                Channels::Rgb => plane,
                Channels::Bgr => 2 - plane.min(2),
            };
            let targets = values.chunks_exact_mut(row_len).skip(top as usize);
            for (target, row) in targets.zip(rows.clone()) {
                let pixels = row.iter().skip(channel).step_by(3);
                for (value, byte) in target.iter_mut().skip(left as usize).zip(pixels) {
                    *value = f32::from(*byte) * scale;
                }
            }
        }
        Some(Fit { ratio, left: left as f32, top: top as f32 })
    }
}

/// A side after shrinking, rounded down as the reference does; `None` for an empty one.
fn shrunk(side: u32, ratio: f32) -> Option<u32> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a side of at most 8192 times a ratio, floored"
    )]
    let side = (side as f32 * ratio) as u32;
    (side > 0).then_some(side)
}
