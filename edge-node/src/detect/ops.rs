//! Two operations of networks in which tract is slow on x86-64: a depthwise convolution of stride 2 runs there one value at
//! a time, a pool folds all of its square for each value. Their loops are in `kernels`.

use std::sync::Arc;

use kernels::{convolve, largest};
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
