//! Two operations of networks in which tract is slow on x86-64: a depthwise convolution of stride 2 runs there one value at
//! a time, a pool folds all of its square for each value. Pure.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{
    EvalContext, EvalOp, Op, StaticName, TractErrorContext, TypedOp, Validation, args_1, as_op, op_as_typed_op,
    op_out_of_plan,
};
use tract_onnx::tract_core::tract_linalg::routines::Func;

/// Depthwise 3 × 3 convolution, padded by one, stride 1 or 2, with bias, then SiLU; of planes × height × width, with a
/// dimension of one before them or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepthwiseSilu {
    /// Planes × 9.
    pub kernel: Arc<Tensor>,
    /// Planes.
    pub bias: Arc<Tensor>,
    /// 1 or 2, both ways.
    pub stride: usize,
    /// Planes, height, width.
    pub input: [usize; 3],
    /// Whether there is a dimension of one before them.
    pub batch: bool,
}

impl DepthwiseSilu {
    fn shape(&self) -> TVec<usize> {
        let [planes, height, width] = self.input;
        let out = |side: usize| side.saturating_sub(1) / self.stride + 1;
        if self.batch { tvec!(1, planes, out(height), out(width)) } else { tvec!(planes, out(height), out(width)) }
    }
}

impl Op for DepthwiseSilu {
    fn name(&self) -> StaticName {
        "DepthwiseSilu".into()
    }

    fn validation(&self) -> Validation {
        Validation::Rounding
    }

    op_as_typed_op!();
}

impl EvalOp for DepthwiseSilu {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let [_, height, width] = self.input;
        let out = |side: usize| side.saturating_sub(1) / self.stride + 1;
        let silu = Func::Silu.ew_f32()?;
        let source = input.try_as_plain_ram()?.as_slice::<f32>()?;
        let kernels = self.kernel.try_as_plain_ram()?.as_slice::<f32>()?;
        let biases = self.bias.try_as_plain_ram()?.as_slice::<f32>()?;
        let mut output = Tensor::zero::<f32>(&self.shape())?;
        let mut plain = output.try_as_plain_ram_mut()?;
        let target = plain.as_slice_mut::<f32>()?;
        let mut padded = Vec::new();
        let planes = source.chunks_exact(height * width).zip(target.chunks_exact_mut(out(height) * out(width)));
        for ((source, target), (kernel, bias)) in planes.zip(kernels.as_chunks::<9>().0.iter().zip(biases)) {
            convolve(source, (height, width), kernel, *bias, self.stride, target, out(width), &mut padded)
                .context("convolve a plane")?;
            // While the plane is in the cache.
            silu.run(target)?;
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for DepthwiseSilu {
    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::datum_type().fact(self.shape())))
    }

    as_op!();
}

/// One plane of a depthwise convolution; `None`: the slices are too short. Its rows are copied once with zeros around them, for a stride of 2 first every even column, then every odd one:
/// so each of the nine parts of a sum is a plain run of values.
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

/// The largest value in a square around each, as large a plane as before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SquareMax {
    /// Side of the square, odd.
    pub side: usize,
    /// Height and width.
    pub plane: [usize; 2],
}

impl Op for SquareMax {
    fn name(&self) -> StaticName {
        "SquareMax".into()
    }

    op_as_typed_op!();
}

impl EvalOp for SquareMax {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let [height, width] = self.plane;
        let source = input.try_as_plain_ram()?.as_slice::<f32>()?;
        let mut output = Tensor::zero::<f32>(input.shape())?;
        let mut plain = output.try_as_plain_ram_mut()?;
        let target = plain.as_slice_mut::<f32>()?;
        let mut sideways = vec![f32::MIN; height * width];
        for (source, target) in source.chunks_exact(height * width).zip(target.chunks_exact_mut(height * width)) {
            largest(source, (height, width), self.side, target, &mut sideways);
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for SquareMax {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        inputs.iter().map(|fact| Ok((*fact).without_value())).collect()
    }

    as_op!();
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
