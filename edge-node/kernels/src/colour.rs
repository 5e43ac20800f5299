//! Colours of video: ITU-R BT.601, studio range.

/// ITU-R BT.601, studio range, to R G B; in 65536ths.
#[inline]
pub fn colour(luma: u8, u: u8, v: u8) -> [u8; 3] {
    let (y, u, v) = (76_309 * (i32::from(luma) - 16), i32::from(u) - 128, i32::from(v) - 128);
    [level(y + 104_597 * v), level(y - 25_675 * u - 53_279 * v), level(y + 132_201 * u)]
}

#[inline]
#[expect(clippy::cast_sign_loss, reason = "clamped to a byte")]
fn level(value: i32) -> u8 {
    ((value + 32_768) >> 16).clamp(0, 255) as u8
}

/// A picture of 4:2:0 planes (chroma of half the width and height, rounded up) as R G B; as many rows as are whole.
pub fn rgb([luma, u, v]: [&[u8]; 3], width: usize) -> Vec<u8> {
    let across = width.div_ceil(2);
    let mut rgb = vec![0; luma.len() * 3];
    let rows = rgb.chunks_exact_mut((width * 3).max(1)).zip(luma.chunks_exact(width.max(1)));
    let mut done = 0;
    for (y, (out, row)) in rows.enumerate() {
        let chroma = y / 2 * across..(y / 2 + 1) * across;
        let (Some(u), Some(v)) = (u.get(chroma.clone()), v.get(chroma)) else { break };
        for ((out, luma), (u, v)) in out.chunks_mut(6).zip(row.chunks(2)).zip(u.iter().zip(v)) {
            for (out, luma) in out.chunks_exact_mut(3).zip(luma) {
                out.copy_from_slice(&colour(*luma, *u, *v));
            }
        }
        done += width * 3;
    }
    rgb.truncate(done);
    rgb
}
