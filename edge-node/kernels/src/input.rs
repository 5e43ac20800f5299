//! A shrunken picture into the planes of a network's input.

use super::colour::colour;

/// Where a picture lies in an input, and how that is laid out.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Width and height of the input, pixels.
    pub input: (usize, usize),
    /// Where the picture's first pixel lies.
    pub at: (usize, usize),
    /// 1: a plane for each colour; 2: each block of two by two pixels is twelve planes, three colours of (row, column)
    /// (0,0), (1,0), (0,1), (1,1).
    pub block: usize,
    /// Blue is the first plane, not red.
    pub bgr: bool,
    /// Factor on the bytes.
    pub scale: f32,
}

/// Writes R G B rows of `width` pixels; `None`: they do not fit.
pub fn rgb_planes(rgb: &[u8], width: usize, place: &Place, target: &mut [f32]) -> Option<()> {
    let mut rows = [const { Vec::new() }; 3];
    for (y, pixels) in rgb.chunks_exact((width * 3).max(1)).enumerate() {
        for (channel, row) in rows.iter_mut().enumerate() {
            row.clear();
            row.extend(pixels.as_chunks::<3>().0.iter().filter_map(|pixel| pixel.get(channel)));
        }
        put(&rows, y, place, target)?;
    }
    Some(())
}

/// Writes rows of `width` pixels whose luma and chroma are planes of the same size; `None`: they do not fit.
pub fn yuv_planes([luma, u, v]: [&[u8]; 3], width: usize, place: &Place, target: &mut [f32]) -> Option<()> {
    let mut rows: [Vec<u8>; 3] = std::array::from_fn(|_| vec![0; width]);
    let lines = luma.chunks_exact(width.max(1)).zip(u.chunks_exact(width.max(1))).zip(v.chunks_exact(width.max(1)));
    for (y, ((luma, u), v)) in lines.enumerate() {
        let [red, green, blue] = &mut rows;
        let out = red.iter_mut().zip(green.iter_mut()).zip(blue.iter_mut());
        for (((red, green), blue), ((luma, u), v)) in out.zip(luma.iter().zip(u).zip(v)) {
            [*red, *green, *blue] = colour(*luma, *u, *v);
        }
        put(&rows, y, place, target)?;
    }
    Some(())
}

/// Writes one row, of each colour a slice.
fn put(rows: &[Vec<u8>; 3], y: usize, place: &Place, target: &mut [f32]) -> Option<()> {
    let Place { input: (width, height), at: (left, top), block, bgr, scale } = *place;
    let (across, plane, down) = (width / block, width * height / (block * block), y + top);
    for (channel, row) in rows.iter().enumerate() {
        let channel = if bgr { 2 - channel } else { channel };
        for column in 0..block {
            // The first pixel of the row that lies in this column of a block.
            let first = (column + block - left % block) % block;
            let number = (column * block + down % block) * 3 + channel;
            let start = number * plane + down / block * across + (left + first) / block;
            let row = row.get(first..)?;
            let out = target.get_mut(start..start + row.len().div_ceil(block))?;
            if block == 1 {
                out.iter_mut().zip(row).for_each(|(value, byte)| *value = f32::from(*byte) * scale);
                continue;
            }
            let (pairs, rest) = row.as_chunks::<2>();
            out.iter_mut().zip(pairs).for_each(|(value, [byte, _])| *value = f32::from(*byte) * scale);
            if let (Some(value), Some(byte)) = (out.last_mut(), rest.first()) {
                *value = f32::from(*byte) * scale;
            }
        }
    }
    Some(())
}
