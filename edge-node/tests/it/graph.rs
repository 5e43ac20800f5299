//! A network that is made lean gives what it gave; what only looks like what can be changed is left alone.

use edge_node::detect::graph::{Graph, lean};
use edge_node::detect::manifest::{Anchor, Channels, Entry, Head, Input, Layout, Letterbox, Output, Shrink};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::Approximation;
use tract_onnx::tract_core::ops::Downsample;
use tract_onnx::tract_core::ops::array::{Slice, TypedConcat};
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, MaxPool, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::nn::silu::silu;
use tract_onnx::tract_core::ops::nn::{DataFormat, sigmoid};

use crate::seeing::random;

const PLANES: usize = 3;
const SIZE: (usize, usize) = (10, 14);

fn values(seed: u32, shape: &[usize]) -> Tensor {
    let bytes = random(seed, shape.iter().product());
    let values: Vec<f32> = bytes.into_iter().map(|byte| f32::from(byte) / 127.5 - 1.0).collect();
    Tensor::from_shape(shape, &values).unwrap()
}

fn entry() -> Entry {
    let (width, height) = (u32::try_from(SIZE.1).unwrap(), u32::try_from(SIZE.0).unwrap());
    Entry {
        name: "made".into(),
        file: "made.onnx".into(),
        sha256: String::new(),
        head: Head::Yolov8,
        input: Input { width, height, channels: Channels::Rgb, scale: 1.0, layout: Layout::Planes },
        letterbox: Letterbox { anchor: Anchor::TopLeft, fill: 114, shrink: Shrink::Bilinear },
        output: Output { rows: 1, columns: 1 },
        strides: vec![8, 16, 32],
        classes: vec!["person".into()],
        licence: String::new(),
        source: String::new(),
    }
}

/// A network that is being made: its newest outlet.
struct Net(TypedModel, OutletId, usize);

impl Net {
    fn new() -> Self {
        let mut model = TypedModel::default();
        let source = model.add_source("x", f32::fact([1, PLANES, SIZE.0, SIZE.1])).unwrap();
        Self(model, source, 0)
    }

    fn wire(&mut self, op: impl Into<Box<dyn TypedOp>>, inputs: &[OutletId]) -> OutletId {
        self.2 += 1;
        self.1 = self.0.wire_node(format!("n{}", self.2), op, inputs).unwrap()[0];
        self.1
    }

    fn join(&mut self, inputs: &[OutletId]) -> OutletId {
        self.wire(TypedConcat { axis: 1 }, inputs)
    }

    fn pool(&mut self, input: OutletId, change: impl FnOnce(&mut PoolSpec)) -> OutletId {
        let mut pool_spec = spec(5, PLANES);
        change(&mut pool_spec);
        self.wire(MaxPool { pool_spec, with_index_outputs: None }, &[input])
    }

    /// A depthwise convolution, `times` outputs of each plane.
    fn depthwise(&mut self, input: OutletId, times: usize, change: impl FnOnce(&mut PoolSpec)) -> OutletId {
        let mut pool_spec = spec(3, PLANES);
        pool_spec.output_channels = PLANES * times;
        change(&mut pool_spec);
        let side = pool_spec.kernel_shape[0];
        let kernel = self.0.add_const("kernel", values(5, &[PLANES * times, 1, side, side])).unwrap();
        let bias = self.0.add_const("bias", values(6, &[PLANES * times])).unwrap();
        let conv = Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group: PLANES, q_params: None };
        self.wire(conv, &[input, kernel, bias])
    }

    /// A slice of every second row and column from these on, or every `step`-th.
    fn every(&mut self, input: OutletId, (row, column): (usize, usize), step: isize) -> OutletId {
        let rows = self.wire(Downsample { axis: 2, stride: step, modulo: row }, &[input]);
        self.wire(Downsample { axis: 3, stride: step, modulo: column }, &[rows])
    }

    /// An ordinary convolution to two planes.
    fn convolution(&mut self, input: OutletId, planes: usize) -> OutletId {
        let pool_spec = PoolSpec { output_channels: 2, ..spec(3, planes) };
        let kernel = self.0.add_const("kernel", values(7, &[2, planes, 3, 3])).unwrap();
        let bias = self.0.add_const("bias", values(8, &[2])).unwrap();
        self.wire(Conv { pool_spec, kernel_fmt: KernelFormat::OIHW, group: 1, q_params: None }, &[input, kernel, bias])
    }
}

/// A square that keeps the size of its planes.
fn spec(side: usize, planes: usize) -> PoolSpec {
    PoolSpec {
        data_format: DataFormat::NCHW,
        kernel_shape: tvec!(side, side),
        padding: PaddingSpec::Explicit(tvec!(side / 2, side / 2), tvec!(side / 2, side / 2)),
        dilations: None,
        strides: None,
        input_channels: planes,
        output_channels: planes,
    }
}

fn run(model: TypedModel, input: &Tensor) -> Tensor {
    let outputs = model.into_optimized().unwrap().into_runnable().unwrap().run(tvec!(input.clone().into())).unwrap();
    outputs[0].clone().into_tensor()
}

/// The same pixels in blocks of two by two, as the preprocessor writes them.
fn blocks(input: &Tensor) -> Tensor {
    let plain = input.try_as_plain_ram().unwrap();
    let values = plain.as_slice::<f32>().unwrap();
    let (height, width) = SIZE;
    let mut out = Vec::new();
    for (row, column) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        for plane in 0..PLANES {
            for y in (row..height).step_by(2) {
                out.extend((column..width).step_by(2).map(|x| values[(plane * height + y) * width + x]));
            }
        }
    }
    Tensor::from_shape(&[1, 4 * PLANES, height / 2, width / 2], &out).unwrap()
}

/// Makes a network lean; holds that it gives what it gave. Which of our operations it then has, and whether it wants blocks.
fn lean_is_the_same(name: &str, make: impl FnOnce(&mut Net)) -> (Vec<String>, bool) {
    let mut net = Net::new();
    make(&mut net);
    let Net(mut model, last, _) = net;
    model.select_output_outlets(&[last]).unwrap();
    let input = values(9, &[1, PLANES, SIZE.0, SIZE.1]);
    let expected = run(model.clone(), &input);
    let Graph { model, raw, blocks: wanted } = lean(model, &entry()).unwrap();
    assert!(!raw, "{name}");
    let mut ours: Vec<String> = model.nodes().iter().map(|node| node.op().name().into_owned()).collect();
    ours.retain(|op| op == "DepthwiseSilu" || op == "SquareMax");
    let found = run(model, &if wanted { blocks(&input) } else { input });
    found.close_enough(&expected, Approximation::Approximate).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    (ours, wanted)
}

#[test]
fn pools_that_keep_their_size_are_ours_and_chained_and_all_others_are_left_alone() {
    let sides = |sides: &'static [usize]| {
        move |net: &mut Net| {
            let source = net.1;
            let pools: Vec<_> = sides.iter().map(|side| net.pool(source, |pool| *pool = spec(*side, PLANES))).collect();
            net.join(&pools);
        }
    };
    assert_eq!(lean_is_the_same("5, 9, 13", sides(&[5, 9, 13])).0.len(), 3);
    // What is there twice is computed once.
    assert_eq!(lean_is_the_same("in another order, one twice", sides(&[13, 5, 5, 9])).0.len(), 3);
    let one = |name: &str, change: fn(&mut PoolSpec)| {
        let (ours, _) = lean_is_the_same(name, |net| {
            let source = net.1;
            let pools = [net.pool(source, |_| {}), net.pool(source, change)].map(|pool| net.pool(pool, |_| {}));
            net.wire(silu(), &pools[1..]);
        });
        ours.len()
    };
    // The odd one and what is not used are not ours; what comes behind it is.
    assert_eq!(one("every second", |pool| pool.strides = Some(tvec!(2, 2))), 1);
    assert_eq!(one("only down", |pool| pool.strides = Some(tvec!(2, 1))), 1);
    assert_eq!(one("wide", |pool| pool.dilations = Some(tvec!(2, 2))), 1);
    assert_eq!(one("not square", |pool| *pool = PoolSpec { kernel_shape: tvec!(5, 3), ..pool.clone() }), 1);
    assert_eq!(one("even", |pool| *pool = PoolSpec { kernel_shape: tvec!(4, 4), ..pool.clone() }), 1);
    assert_eq!(one("shifted", |pool| pool.padding = PaddingSpec::Explicit(tvec!(1, 2), tvec!(3, 2))), 1);
    assert_eq!(one("no padding", |pool| pool.padding = PaddingSpec::Valid), 1);
}

#[test]
fn depthwise_convolutions_of_three_by_three_with_their_silu_are_ours_and_all_others_are_left_alone() {
    let one = |name: &str, times: usize, change: fn(&mut PoolSpec)| {
        let (ours, _) = lean_is_the_same(name, |net| {
            let conv = net.depthwise(net.1, times, change);
            net.wire(silu(), &[conv]);
        });
        ours.len()
    };
    assert_eq!(one("plain", 1, |_| {}), 1);
    assert_eq!(one("every second", 1, |conv| conv.strides = Some(tvec!(2, 2))), 1);
    assert_eq!(one("only across", 1, |conv| conv.strides = Some(tvec!(1, 2))), 0);
    assert_eq!(one("every third", 1, |conv| conv.strides = Some(tvec!(3, 3))), 0);
    assert_eq!(one("five by five", 1, |conv| *conv = spec(5, PLANES)), 0);
    assert_eq!(one("wide", 1, |conv| conv.dilations = Some(tvec!(2, 2))), 0);
    assert_eq!(one("no padding", 1, |conv| conv.padding = PaddingSpec::Valid), 0);
    assert_eq!(
        one("padded before by two", 1, |conv| conv.padding = PaddingSpec::Explicit(tvec!(2, 2), tvec!(0, 0))),
        0
    );
    assert_eq!(one("two of each", 2, |_| {}), 0);
    let (ours, _) = lean_is_the_same("another function", |net| {
        let conv = net.depthwise(net.1, 1, |_| {});
        net.wire(sigmoid(), &[conv]);
    });
    assert!(ours.is_empty());
    let (ours, _) = lean_is_the_same("used before its function, too", |net| {
        let conv = net.depthwise(net.1, 1, |_| {});
        let silu = net.wire(silu(), &[conv]);
        net.join(&[conv, silu]);
    });
    assert!(ours.is_empty());
}

#[test]
fn slices_into_twelve_planes_are_left_to_the_preprocessor_and_all_others_stay() {
    let places = [(0, 0), (1, 0), (0, 1), (1, 1)];
    let one = |name: &str, places: [(usize, usize); 4], step: isize, also: bool| {
        let (_, blocks) = lean_is_the_same(name, |net| {
            let source = net.1;
            let slices = places.map(|place| net.every(source, place, step));
            let joined = net.join(&slices);
            let conv = net.convolution(joined, 4 * PLANES);
            if also {
                let first = net.every(source, (0, 0), 2);
                net.join(&[conv, first]);
            }
        });
        blocks
    };
    assert!(one("as YOLOX has it", places, 2, false));
    assert!(!one("rows first", [(0, 0), (0, 1), (1, 0), (1, 1)], 2, false));
    assert!(!one("one twice", [(0, 0), (1, 0), (1, 0), (1, 1)], 2, false));
    assert!(!one("whose input is needed elsewhere", places, 2, true));
    // With a slice before it that leaves out the first row or column, as ONNX files have it.
    let cut = |name: &str, end: usize| {
        let (_, blocks) = lean_is_the_same(name, |net| {
            let source = net.1;
            let slices = places.map(|(row, column)| {
                let rows = net.wire(Slice::new(2, row, if end > 0 { SIZE.0 - end + row } else { SIZE.0 }), &[source]);
                let rows = net.wire(Downsample { axis: 2, stride: 2, modulo: 0 }, &[rows]);
                let columns = net.wire(Slice::new(3, column, SIZE.1), &[rows]);
                net.wire(Downsample { axis: 3, stride: 2, modulo: 0 }, &[columns])
            });
            let joined = net.join(&slices);
            net.convolution(joined, 4 * PLANES);
        });
        blocks
    };
    assert!(cut("from the first or second on", 0));
    assert!(!cut("without the last rows", 2));
}
