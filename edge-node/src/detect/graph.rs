//! What is changed in a network before it is optimised, so that the same answer costs less. Each change is found by its
//! structure, not by names, and left out where the network is built otherwise.
//!
//! Of YOLOX-nano (Ge et al., 2021): three pools of 5, 9 and 13 on the same planes become three of 5 behind each other; the
//! slices that put four pixels into twelve planes are left to the preprocessor, which writes them so at once; the sigmoids,
//! turns and joins behind the heads are left to the decoder, which needs few of their values.

use std::collections::HashMap;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{AxisOp, DimLike, InletId, TypedModelPatch};
use tract_onnx::tract_core::model::{Rewriter, TypedNode};
use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::array::{Slice, TypedConcat};
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, MaxPool, PaddingSpec};
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::nn::{DataFormat, Sigmoid, Silu};
use tract_onnx::tract_core::ops::source::TypedSource;
use tract_onnx::tract_core::{rule_if, rule_if_let, rule_if_some};

use super::manifest::{Entry, Head, Layout};
use super::ops::{DepthwiseSilu, SquareMax};

/// A network, ready to be optimised.
pub struct Graph {
    /// The network.
    pub model: TypedModel,
    /// Whether its outputs are those of [`raw_heads`].
    pub raw: bool,
    /// Whether its input is in blocks of two by two pixels, twelve planes.
    pub blocks: bool,
}

/// Changes what can be changed.
///
/// # Errors
/// The library's; no network that it could load is known to cause one.
pub fn lean(mut model: TypedModel, entry: &Entry) -> TractResult<Graph> {
    chain_pools(&mut model)?;
    let heads = (entry.head == Head::Yolox).then(|| raw_heads(&model, entry)).flatten();
    let raw = match heads {
        Some(heads) => {
            model.select_output_outlets(&heads.concat())?;
            model.compact()?;
            true
        }
        None => false,
    };
    let blocks = entry.input.layout == Layout::Planes && cut_slices(&mut model)?;
    model.declutter()?;
    fuse_depthwise(&mut model)?;
    square_pools(&mut model)?;
    Ok(Graph { model, raw, blocks })
}

/// Side of a square pool that keeps the size of its planes: stride 1, no dilation, padded alike on all sides.
fn same_pool(model: &TypedModel, node: &TypedNode) -> Option<usize> {
    let pool = node.op_as::<MaxPool>().filter(|pool| pool.with_index_outputs.is_none())?;
    let spec = &pool.pool_spec;
    let fact = model.outlet_fact(*node.inputs.first()?).ok()?;
    let shape = spec.data_format.shape(fact.shape.as_concrete()?).ok()?;
    let &[side, other] = spec.kernel_shape.as_slice() else { return None };
    let plain = side == other && side % 2 == 1 && spec.strides().iter().chain(spec.dilations().iter()).all(|s| *s == 1);
    let padding = spec.computed_padding(shape.hw_dims());
    let same = padding.iter().all(|dim| dim.pad_before == side / 2 && dim.pad_after == side / 2);
    (plain && same).then_some(side)
}

/// The largest in a square of 2a + 1 of the largest in a square of 2b + 1 is the largest in a square of 2(a + b) + 1.
fn chain_pools(model: &mut TypedModel) -> TractResult<()> {
    let mut groups: HashMap<OutletId, Vec<(usize, usize)>> = HashMap::new();
    for node in model.nodes() {
        if let (Some(side), Some(input)) = (same_pool(model, node), node.inputs.first()) {
            groups.entry(*input).or_default().push((side, node.id));
        }
    }
    for pools in groups.values_mut() {
        pools.sort_unstable();
        for pair in pools.windows(2) {
            let &[(small, before), (large, after)] = pair else { continue };
            if small < 3 || large == small {
                continue;
            }
            let step = large - small + 1;
            let Some(pool) = model.node_mut(after).op_as_mut::<MaxPool>() else { continue };
            pool.pool_spec.kernel_shape = tvec!(step, step);
            pool.pool_spec.padding = PaddingSpec::Explicit(tvec!(step / 2, step / 2), tvec!(step / 2, step / 2));
            model.add_edge(OutletId::new(before, 0), InletId::new(after, 0))?;
        }
    }
    model.compact()
}

/// Of each level the convolutions that give boxes, objectness and classes, before their sigmoids, in the order of the output
/// that they are joined to.
fn raw_heads(model: &TypedModel, entry: &Entry) -> Option<Vec<[OutletId; 3]>> {
    fn joined(model: &TypedModel, outlet: OutletId) -> Option<&TypedNode> {
        let mut node = model.node(outlet.node);
        while node.op_is::<AxisOp>() {
            node = model.node(node.inputs.first()?.node);
        }
        node.op_is::<TypedConcat>().then_some(node)
    }
    let side = |pixels: u32, stride: u32| (pixels / stride) as usize;
    let conv = |outlet: OutletId, planes: usize, stride: u32| {
        let wanted = [1, planes, side(entry.input.height, stride), side(entry.input.width, stride)];
        let shape = model.outlet_fact(outlet).ok()?.shape.as_concrete()?;
        (model.node(outlet.node).op_is::<Conv>() && *shape == wanted).then_some(outlet)
    };
    let before_sigmoid = |outlet: OutletId, planes: usize, stride: u32| {
        let node = model.node(outlet.node);
        node.op_as::<ElementWiseOp>().filter(|op| op.0.is::<Sigmoid>())?;
        conv(*node.inputs.first()?, planes, stride)
    };
    let &[output] = model.output_outlets().ok()? else { return None };
    let level = |(input, stride): (&OutletId, u32)| {
        let level = joined(model, *input).filter(|node| node.op_as::<TypedConcat>().is_some_and(|op| op.axis == 1))?;
        let &[boxes, objectness, scores] = level.inputs.as_slice() else { return None };
        let classes = entry.classes.len();
        let (boxes, objectness) = (conv(boxes, 4, stride)?, before_sigmoid(objectness, 1, stride)?);
        Some([boxes, objectness, before_sigmoid(scores, classes, stride)?])
    };
    let levels = &joined(model, output)?.inputs;
    if levels.len() != entry.strides.len() {
        return None;
    }
    levels.iter().zip(entry.strides.iter().copied()).map(level).collect()
}

/// Leaves out the four slices of every second row and column before the first convolution; whether they were there.
fn cut_slices(model: &mut TypedModel) -> TractResult<bool> {
    let first = model.nodes().iter().find(|node| node.op_is::<Conv>()).and_then(|node| node.inputs.first().copied());
    let (Some(outlet), Ok([input])) = (first, model.input_outlets()) else { return Ok(false) };
    if sliced(model, model.node(outlet.node), *input) != Some(true) {
        return Ok(false);
    }
    let mut cut = model.clone();
    cut.set_input_outlets(&[outlet])?;
    cut.compact()?;
    // One that is needed elsewhere, too, is still a source.
    let sources = cut.nodes().iter().filter(|node| node.op_is::<TypedSource>()).count();
    if sources != 1 {
        return Ok(false);
    }
    *model = cut;
    Ok(true)
}

/// Whether a node joins the four slices of the input, in the order of our blocks: (row, column) (0,0), (1,0), (0,1), (1,1).
fn sliced(model: &TypedModel, joined: &TypedNode, input: OutletId) -> Option<bool> {
    joined.op_as::<TypedConcat>().filter(|op| op.axis == 1)?;
    let &[a, b, c, d] = joined.inputs.as_slice() else { return None };
    let mut places = Vec::new();
    for outlet in [a, b, c, d] {
        let (mut at, mut place) = (outlet, [None, None]);
        while at != input {
            let node = model.node(at.node);
            at = *node.inputs.first()?;
            if let Some(op) = node.op_as::<Downsample>() {
                let first = place.get_mut(op.axis.checked_sub(2)?)?;
                if op.stride != 2 || first.is_some() {
                    return None;
                }
                *first = Some(op.modulo);
            } else {
                // What is left out before every second one is taken: nothing, or the first.
                let op = node.op_as::<Slice>()?;
                let first = place.get_mut(op.axis.checked_sub(2)?)?.as_mut()?;
                let (start, end) = (op.start.to_usize().ok()?, op.end.to_usize().ok()?);
                let length = model.outlet_fact(at).ok()?.shape.get(op.axis)?.to_usize().ok()?;
                if end < length {
                    return None;
                }
                *first += start;
            }
        }
        places.push(place);
    }
    let wanted = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(row, column)| [Some(row), Some(column)]);
    Some(places == wanted)
}

/// Depthwise 3 × 3 convolutions with a SiLU behind them, in one.
fn fuse_depthwise(model: &mut TypedModel) -> TractResult<()> {
    let rule = |(): &(), model: &TypedModel, node: &TypedNode, name: &str, conv: &Conv| {
        let spec = &conv.pool_spec;
        let depthwise = conv.group > 1 && conv.group == spec.input_channels && conv.group == spec.output_channels;
        let plain = conv.q_params.is_none()
            && conv.kernel_fmt == KernelFormat::OIHW
            && matches!(spec.data_format, DataFormat::NCHW | DataFormat::CHW)
            && *spec.kernel_shape == [3, 3]
            && spec.dilations().iter().all(|dilation| *dilation == 1);
        rule_if_let!(&[input, kernel, bias] = node.inputs.as_slice());
        let fact = model.outlet_fact(input)?;
        rule_if!(depthwise && plain && fact.datum_type == f32::datum_type());
        rule_if_some!(shape = fact.shape.as_concrete());
        rule_if_let!((&[1, planes, height, width] | &[planes, height, width]) = shape);
        let stride = spec.stride(0);
        rule_if!((stride == 1 || stride == 2) && spec.stride(1) == stride && height > 0 && width > 0);
        let padding = spec.computed_padding(&[height, width]);
        rule_if!(
            padding
                .iter()
                .zip([height, width])
                .all(|(dim, side)| { dim.pad_before == 1 && dim.convoluted == (side - 1) / stride + 1 })
        );
        rule_if_some!(kernel = model.outlet_fact(kernel)?.konst.clone());
        rule_if_some!(bias = model.outlet_fact(bias)?.konst.clone());
        rule_if!(kernel.len() == planes * 9 && bias.len() == planes);
        rule_if!(!model.output_outlets()?.contains(&node.id.into()));
        rule_if_some!(next = model.single_succ(node.id)?);
        rule_if!(next.op_as::<ElementWiseOp>().is_some_and(|op| op.0.is::<Silu>()));
        let op = DepthwiseSilu { kernel, bias, stride, input: [planes, height, width], batch: shape.len() == 4 };
        let mut patch = TypedModelPatch::new("depthwise convolution and SiLU");
        let wire = patch.tap_model(model, input)?;
        let wire = patch.wire_node(format!("{name}.silu"), op, &[wire])?;
        rule_if_some!(wire = wire.first().copied());
        patch.shunt_outside(model, next.id.into(), wire)?;
        Ok(Some(patch))
    };
    Rewriter::default().with_rule_for::<Conv>("depthwise-silu", rule).rewrite(&(), model)
}

/// Square pools that keep the size of their planes, one direction after the other.
fn square_pools(model: &mut TypedModel) -> TractResult<()> {
    let rule = |(): &(), model: &TypedModel, node: &TypedNode, _: &str, pool: &MaxPool| {
        rule_if_some!(side = same_pool(model, node));
        rule_if_some!(input = node.inputs.first().copied());
        let fact = model.outlet_fact(input)?;
        rule_if_some!(shape = fact.shape.as_concrete());
        rule_if_let!((&[1, planes, height, width] | &[planes, height, width]) = shape);
        let plain = matches!(pool.pool_spec.data_format, DataFormat::NCHW | DataFormat::CHW);
        rule_if!(plain && fact.datum_type == f32::datum_type() && height > 0 && width > 0 && planes > 0);
        let op = SquareMax { side, plane: [height, width] };
        TypedModelPatch::replace_single_op(model, node, &node.inputs, op).map(Some)
    };
    Rewriter::default().with_rule_for::<MaxPool>("square-max", rule).rewrite(&(), model)
}
