//! A picture as JPEG, plain or with boxes around what was found.

use jpeg_encoder::{ColorType, Encoder};

use crate::sensor::frame::Picture;

/// Of 100: details stay, blocks do not show.
const QUALITY: u8 = 85;
const COLOUR: [u8; 3] = [255, 32, 32];

/// Encodes a picture; `None` for one that is empty or too large for JPEG.
pub fn jpeg(picture: &Picture, boxes: &[[f32; 4]]) -> Option<Vec<u8>> {
    let (width, height) = (u16::try_from(picture.width).ok()?, u16::try_from(picture.height).ok()?);
    let mut rgb = picture.to_rgb().into_owned();
    let stroke = usize::from(height) / 240 + 1;
    for edges in boxes {
        outline(&mut rgb, (usize::from(width), usize::from(height)), edges, stroke);
    }
    let mut out = Vec::new();
    Encoder::new(&mut out, QUALITY).encode(&rgb, width, height, ColorType::Rgb).ok()?;
    Some(out)
}

/// Draws the four sides of a box, so many pixels thick, inwards.
fn outline(rgb: &mut [u8], (width, height): (usize, usize), edges: &[f32; 4], stroke: usize) {
    let [left, top, right, bottom] = *edges;
    let (left, right) = (inside(left, width), inside(right, width));
    let (top, bottom) = (inside(top, height), inside(bottom, height));
    for (y, row) in rgb.chunks_exact_mut(width.max(1) * 3).enumerate().take(bottom).skip(top) {
        let level = y < top + stroke || y + stroke >= bottom;
        for (x, pixel) in row.chunks_exact_mut(3).enumerate().take(right).skip(left) {
            if level || x < left + stroke || x + stroke >= right {
                pixel.copy_from_slice(&COLOUR);
            }
        }
    }
}

fn inside(value: f32, most: usize) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "kept inside the picture")]
    let value = value.clamp(0.0, most as f32) as usize;
    value
}
