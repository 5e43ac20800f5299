//! A picture into the model's input: shrink keeping the aspect, fill the rest, planes of f32.
//!
//! The resize is a bilinear convolution that antialiases when shrinking, as Pillow's BILINEAR does (the reference
//! detections were made with it), or the mean of what becomes one pixel: the manifest says which the network has learned
//! with. Luma and chroma of a video picture are shrunk as they are and made colours afterwards: both are linear, and a
//! sixteenth of the pixels are left by then.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use kernels::{FACTOR_MOST, Place, means, rgb_planes, yuv_planes};

use super::manifest::{Anchor, Channels, Input, Layout, Letterbox, Shrink};
use crate::sensor::frame::{Picture, Pixels};

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
        let (left, top) = match letterbox.anchor {
            Anchor::TopLeft => (0, 0),
            Anchor::Center => ((width - inner.0) / 2, (height - inner.1) / 2),
        };
        tensor.fill(f32::from(letterbox.fill) * input.scale);
        // Space to depth is the same with blocks of two by two pixels, each place in its block a picture of its own.
        let block = match input.layout {
            Layout::Planes => 1,
            Layout::SpaceToDepth => 2,
        };
        let (at, bgr) = ((left as usize, top as usize), input.channels == Channels::Bgr);
        let place = Place { input: (width as usize, height as usize), at, block, bgr, scale: input.scale };
        // What is made larger is made so smoothly.
        let shrink = if ratio < 1.0 { letterbox.shrink } else { Shrink::Bilinear };
        self.shrink(picture, (inner, shrink), &place, tensor)?;
        Some(Fit { ratio, left: left as f32, top: top as f32 })
    }

    /// Writes the picture, this wide and high.
    fn shrink(
        &mut self,
        picture: &Picture,
        ((width, height), shrink): ((u32, u32), Shrink),
        place: &Place,
        tensor: &mut [f32],
    ) -> Option<()> {
        let filter = match shrink {
            Shrink::Bilinear => FilterType::Bilinear,
            Shrink::Area => FilterType::Box,
        };
        let mut scaled = |bytes: &[u8], size: (u32, u32), kind: PixelType| {
            if let (Shrink::Area, PixelType::U8, Some(factor)) = (shrink, kind, whole(size, (width, height))) {
                return means(bytes, size.0 as usize, factor);
            }
            let source = ImageRef::new(size.0, size.1, bytes, kind).ok()?;
            let mut inner = Image::new(width, height, kind);
            let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
            self.resizer.resize(&source, &mut inner, &options).ok()?;
            Some(inner.into_vec())
        };
        let size = (picture.width, picture.height);
        match &picture.pixels {
            Pixels::Rgb(rgb) => rgb_planes(&scaled(rgb, size, PixelType::U8x3)?, width as usize, place, tensor),
            Pixels::I420(_) => {
                let ([luma, u, v], chroma) = (picture.planes()?, picture.chroma());
                let luma = scaled(luma, size, PixelType::U8)?;
                let (u, v) = (scaled(u, chroma, PixelType::U8)?, scaled(v, chroma, PixelType::U8)?);
                yuv_planes([&luma, &u, &v], width as usize, place, tensor)
            }
        }
    }
}

/// By what both sides are divided, where that is a whole number that has a way of its own.
fn whole(size: (u32, u32), inner: (u32, u32)) -> Option<usize> {
    let factor = size.0 / inner.0;
    let even = size == (inner.0 * factor, inner.1 * factor);
    (even && (2..=FACTOR_MOST).contains(&(factor as usize))).then_some(factor as usize)
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
