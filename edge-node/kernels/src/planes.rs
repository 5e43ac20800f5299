//! Planes of a network: a depthwise convolution, a square pool.

/// One plane of a depthwise convolution; `None`: the slices are too short. Its rows are copied once with zeros around them,
/// for a stride of 2 first every even column, then every odd one: so each of the nine parts of a sum is a plain run of values.
#[expect(clippy::too_many_arguments, reason = "an inner loop")]
pub fn convolve(
    source: &[f32],
    (height, width): (usize, usize),
    kernel: &[f32; 9],
    bias: f32,
    stride: usize,
    target: &mut [f32],
    across: usize,
    padded: &mut Vec<f32>,
) -> Option<()> {
    let half = (width + 2).div_ceil(stride) + 1;
    let pitch = half * stride;
    padded.clear();
    padded.resize((height + 2) * pitch, 0.0);
    for (row, line) in source.chunks_exact(width).zip(padded.chunks_exact_mut(pitch).skip(1)) {
        if stride == 1 {
            line.get_mut(1..=width)?.copy_from_slice(row);
        } else {
            // The first column of the picture is the second of the padded row: odd.
            let (even, odd) = line.split_at_mut(half);
            odd.iter_mut().zip(row.iter().step_by(2)).for_each(|(to, value)| *to = *value);
            even.iter_mut().skip(1).zip(row.iter().skip(1).step_by(2)).for_each(|(to, value)| *to = *value);
        }
    }
    for (y, out) in target.chunks_exact_mut(across).enumerate() {
        let mut parts: [&[f32]; 9] = [&[]; 9];
        for (n, part) in parts.iter_mut().enumerate() {
            let (down, right) = (n / 3, n % 3);
            let from = (y * stride + down) * pitch + right % stride * half + right / stride;
            *part = padded.get(from..from + across)?;
        }
        let [a, b, c, d, e, f, g, h, i] = parts;
        let [ka, kb, kc, kd, ke, kf, kg, kh, ki] = *kernel;
        let upper = out.iter_mut().zip(a).zip(b).zip(c);
        let all = upper.zip(d.iter().zip(e).zip(f)).zip(g.iter().zip(h).zip(i));
        for (((((out, a), b), c), ((d, e), f)), ((g, h), i)) in all {
            *out = bias + ka * a + kb * b + kc * c + kd * d + ke * e + kf * f + kg * g + kh * h + ki * i;
        }
    }
    Some(())
}

/// One plane: the largest in a square around each value, first of its row, then of its column. `sideways`: as large.
pub fn largest(source: &[f32], (height, width): (usize, usize), side: usize, target: &mut [f32], sideways: &mut [f32]) {
    let around = side / 2;
    for (row, out) in source.chunks_exact(width).zip(sideways.chunks_exact_mut(width)) {
        // What is no number is passed over, as tract's own pool does.
        out.fill(f32::MIN);
        fold(out, row);
        for shift in 1..=around.min(width - 1) {
            fold(out, row.get(shift..).unwrap_or_default());
            fold(out.get_mut(shift..).unwrap_or_default(), row);
        }
    }
    target.copy_from_slice(sideways);
    // The same with whole rows.
    for shift in 1..=around.min(height - 1) {
        fold(target, sideways.get(shift * width..).unwrap_or_default());
        fold(target.get_mut(shift * width..).unwrap_or_default(), sideways);
    }
}

/// The larger of each pair, as far as both go.
fn fold(largest: &mut [f32], values: &[f32]) {
    for (largest, value) in largest.iter_mut().zip(values) {
        *largest = if *largest < *value { *value } else { *largest };
    }
}

/// Whether all are numbers, none infinite: not all bits of the exponent are set.
pub fn finite(values: &[f32]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    // Without a way out in between, so that several are looked at at once.
    let bad = |value: &f32| u32::from(value.to_bits() & EXPONENT == EXPONENT);
    values.iter().fold(0, |any, value| any | bad(value)) == 0
}
