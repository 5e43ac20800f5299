//! A plane shrunk by a whole number.

/// The largest factor: sums of that many bytes squared fit sixteen bits.
pub const FACTOR_MOST: usize = 16;

/// Each value the rounded mean of `factor` by `factor` values of rows of `width`; `None`: they do not come out even, or the
/// factor is not of 2 to [`FACTOR_MOST`].
pub fn means(plane: &[u8], width: usize, factor: usize) -> Option<Vec<u8>> {
    let known = (2..=FACTOR_MOST).contains(&factor) && width > 0;
    if !known || !width.is_multiple_of(factor) || !plane.len().is_multiple_of(width * factor) {
        return None;
    }
    let mut out = Vec::with_capacity(plane.len() / (factor * factor));
    let mut sums = vec![0u16; width];
    for rows in plane.chunks_exact(width * factor) {
        sums.fill(0);
        for row in rows.chunks_exact(width) {
            sums.iter_mut().zip(row).for_each(|(sum, byte)| *sum += u16::from(*byte));
        }
        // The factors that cameras have, each with loops of its own.
        match factor {
            2 => across::<2>(&sums, &mut out),
            3 => across::<3>(&sums, &mut out),
            4 => across::<4>(&sums, &mut out),
            6 => across::<6>(&sums, &mut out),
            8 => across::<8>(&sums, &mut out),
            12 => across::<12>(&sums, &mut out),
            _ => out.extend(sums.chunks_exact(factor).map(|some| mean(some.iter().sum(), factor))),
        }
    }
    Some(out)
}

fn across<const N: usize>(sums: &[u16], out: &mut Vec<u8>) {
    out.extend(sums.as_chunks::<N>().0.iter().map(|some| mean(some.iter().sum(), N)));
}

#[expect(clippy::cast_possible_truncation, reason = "a mean of bytes is a byte")]
fn mean(sum: u16, factor: usize) -> u8 {
    let count = (factor * factor) as u32;
    ((u32::from(sum) + count / 2) / count) as u8
}
