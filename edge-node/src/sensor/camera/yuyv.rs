//! YUYV 4:2:2 (Y0 U Y1 V), what cameras at USB send uncoded, to I420. Pure.

use crate::sensor::frame::{Picture, Pixels};
use crate::sensor::picture::{PIXELS_MAX, SIDE_MAX, fits};

/// A picture of rows that are `stride` bytes apart; of two rows' chroma the mean.
///
/// # Errors
/// What was expected, where the sizes cannot be or bytes are missing: nothing is filled in.
pub fn i420(bytes: &[u8], width: u32, height: u32, stride: u32) -> Result<Picture, String> {
    if width < 2 || !width.is_multiple_of(2) || height == 0 || !fits(width, height) {
        let most = format!("at most {SIDE_MAX} pixels a side and {PIXELS_MAX} in all");
        return Err(format!("expected an even width and {most}, found {width}×{height}"));
    }
    let (across, down, stride) = (width as usize, height as usize, stride as usize);
    let row = across * 2;
    if stride < row {
        return Err(format!("expected at least {row} bytes a row, found {stride}"));
    }
    let least = stride.saturating_mul(down - 1).saturating_add(row);
    if bytes.len() < least {
        return Err(format!("cut off: expected {least} bytes, found {}", bytes.len()));
    }
    let chroma = across / 2 * down.div_ceil(2);
    let mut out = Vec::with_capacity(across * down + 2 * chroma);
    let (mut u, mut v) = (Vec::with_capacity(chroma), Vec::with_capacity(chroma));
    let mut rows = bytes.chunks(stride).take(down).filter_map(|line| line.get(..row));
    while let Some(upper) = rows.next() {
        // The last row of an odd height has no other.
        let lower = rows.next();
        out.extend(upper.iter().step_by(2));
        out.extend(lower.unwrap_or_default().iter().step_by(2));
        for pair in upper.chunks_exact(4).zip(lower.unwrap_or(upper).chunks_exact(4)) {
            let ([_, u0, _, v0], [_, u1, _, v1]) = pair else { continue };
            u.push(u8::midpoint(*u0, *u1));
            v.push(u8::midpoint(*v0, *v1));
        }
    }
    out.extend(u);
    out.extend(v);
    Ok(Picture { width, height, pixels: Pixels::I420(out) })
}
