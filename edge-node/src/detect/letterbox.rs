//! A picture into the model's input: shrink keeping the aspect, fill the rest, planes of f32.
//!
//! The resize is a bilinear convolution that antialiases when shrinking, as Pillow's BILINEAR does: the reference
//! detections were made with it. Luma and chroma of a video picture are shrunk as they are and made colours afterwards:
//! both are linear, and a sixteenth of the pixels are left by then.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::manifest::{Anchor, Channels, Input, Layout, Letterbox};
use crate::sensor::frame::{Picture, Pixels, colour};

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
    rgb: Vec<u8>,
}

impl Preprocessor {
    /// Fills `tensor` (the model's input, in its layout) from a picture.
    /// Returns `None` if the picture is empty or its buffer does not hold it.
    pub fn fill(
        &mut self,
        (input, letterbox): (&Input, &Letterbox),
        picture: &Picture,
        tensor: &mut [f32],
    ) -> Option<Fit> {
        let (width, height) = (input.width, input.height);
        let ratio = (width as f32 / picture.width as f32).min(height as f32 / picture.height as f32);
        let inner = (shrunk(picture.width, ratio)?.min(width), shrunk(picture.height, ratio)?.min(height));
        self.shrink(picture, inner)?;
        let (left, top) = match letterbox.anchor {
            Anchor::TopLeft => (0, 0),
            Anchor::Center => ((width - inner.0) / 2, (height - inner.1) / 2),
        };
        let scale = input.scale;
        tensor.fill(f32::from(letterbox.fill) * scale);
        // Space to depth is the same with blocks of two by two pixels, each place in its block a picture of its own.
        let block = match input.layout {
            Layout::Planes => 1,
            Layout::SpaceToDepth => 2,
        };
        let (row_len, plane_len) = (width as usize / block, (width * height) as usize / (block * block));
        for (plane, values) in tensor.chunks_exact_mut(plane_len.max(1)).enumerate() {
            let channel = match input.channels {
                Channels::Rgb => plane % 3,
                Channels::Bgr => 2 - plane % 3,
            };
            // Places in a block: (row, column) (0, 0), (1, 0), (0, 1), (1, 1).
            let (row, column) = (plane / 3 % block, plane / 3 / block);
            let rows = self.rgb.chunks_exact(inner.0 as usize * 3).enumerate();
            for (y, pixels) in rows.filter(|(y, _)| (y + top as usize) % block == row) {
                let first = (column + block - left as usize % block) % block;
                let start = (left as usize + first) / block;
                let target = values.get_mut((y + top as usize) / block * row_len + start..)?;
                let samples = pixels.iter().skip(first * 3 + channel).step_by(3 * block);
                for (value, byte) in target.iter_mut().zip(samples) {
                    *value = f32::from(*byte) * scale;
                }
            }
        }
        Some(Fit { ratio, left: left as f32, top: top as f32 })
    }

    /// Leaves the picture in `rgb`, this wide and high.
    fn shrink(&mut self, picture: &Picture, (width, height): (u32, u32)) -> Option<()> {
        let mut scaled = |bytes: &[u8], size: (u32, u32), kind: PixelType| {
            let source = ImageRef::new(size.0, size.1, bytes, kind).ok()?;
            let mut inner = Image::new(width, height, kind);
            let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
            self.resizer.resize(&source, &mut inner, &options).ok()?;
            Some(inner.into_vec())
        };
        let size = (picture.width, picture.height);
        match &picture.pixels {
            Pixels::Rgb(rgb) => self.rgb = scaled(rgb, size, PixelType::U8x3)?,
            Pixels::I420(_) => {
                let ([luma, u, v], chroma) = (picture.planes()?, picture.chroma());
                let luma = scaled(luma, size, PixelType::U8)?;
                let (u, v) = (scaled(u, chroma, PixelType::U8)?, scaled(v, chroma, PixelType::U8)?);
                self.rgb.resize(luma.len() * 3, 0);
                for (pixel, (y, (u, v))) in self.rgb.chunks_exact_mut(3).zip(luma.iter().zip(u.iter().zip(&v))) {
                    pixel.copy_from_slice(&colour(*y, *u, *v));
                }
            }
        }
        Some(())
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
