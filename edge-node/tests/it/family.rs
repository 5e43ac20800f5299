//! Families of matrix kernels: which are used, that they give the same, and that the quickest is kept.

use std::cell::Cell;

use edge_node::detect::family::{Family, quickest};
use edge_node::detect::manifest::Manifest;
use edge_node::detect::network::Loaded;
use edge_node::detect::runtime::Runtime;
use tract_onnx::prelude::{DatumType, Tensor};
use tract_onnx::tract_core::tract_linalg::isa::{Arch, Isa, IsaSet, native};
use tract_onnx::tract_core::tract_linalg::mmm::MmmDispatch;

use crate::seeing::random;

fn load(name: &str, family: Family) -> Loaded {
    let manifest = Manifest::read(&hil::media::root().join("models/manifest.toml")).unwrap();
    let (entry, file) = manifest.find(name).unwrap();
    Runtime::Tract.load_with(&[family], &entry, &file).unwrap()
}

/// A processor with these.
fn having(sets: &[Isa]) -> IsaSet {
    sets.iter().fold(IsaSet::of_arch(Arch::X86_64), |all, one| all.with(*one))
}

const AVX2: [Isa; 4] = [Isa::X86_64Avx, Isa::X86_64Avx2, Isa::X86_64Fma, Isa::X86_64F16c];

#[test]
fn a_family_is_used_as_long_as_it_is_said_and_only_on_this_thread() {
    // Which kernels there are is known of every processor, whatever this one is.
    let dispatch = MmmDispatch::for_isa(having(&AVX2).with(Isa::X86_64Avx512f));
    let narrow = Family::of("avx2", having(&AVX2));
    for (m, k, n) in [(64, 576, 2704), (16, 27, 10816), (128, 128, 676), (85, 96, 169)] {
        let ask = || dispatch.preferred_kernel(DatumType::F32, Some(m), Some(k), Some(n)).unwrap().name().to_owned();
        let own = ask();
        assert!(own.starts_with("avx512"), "{own}");
        let narrower = narrow.during(|| {
            let elsewhere = std::thread::scope(|scope| scope.spawn(ask).join().unwrap());
            assert_eq!(elsewhere, own);
            assert_eq!(Family::OWN.during(ask), own);
            ask()
        });
        assert!(narrower.starts_with("fma"), "{narrower}");
        assert_eq!(ask(), own);
    }
}

/// Every output of a network for one input.
fn outputs(loaded: &Loaded) -> Vec<f32> {
    let shape = loaded.input.shape();
    let values: Vec<f32> = random(3, shape.iter().product()).iter().map(|byte| f32::from(*byte) / 255.0).collect();
    let mut found = Vec::new();
    let input = Tensor::from_shape(&shape, &values).unwrap();
    loaded.network.run(input, &mut |outputs| found.extend(outputs.iter().flat_map(|o| o.iter().copied()))).unwrap();
    found
}

#[test]
fn every_family_gives_the_same() {
    // Two families that every processor of the last ten years has.
    assert!(native().has(Isa::X86_64Fma), "expected a processor with FMA");
    let without = Family::of("avx", having(&[Isa::X86_64Avx]));
    let kernel = || MmmDispatch::native().preferred_kernel(DatumType::F32, Some(64), Some(64), Some(960)).unwrap();
    assert!(without.during(kernel).name().starts_with("avx_"));
    let (one, other) = (outputs(&load("yard", Family::OWN)), outputs(&load("yard", without)));
    assert_eq!(one.len(), other.len());
    let apart = one.iter().zip(&other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart > 0.0, "rounded alike to the last bit: the same kernels were used");
    assert!(apart < 1e-3, "{apart}");
}

#[test]
fn the_quickest_is_kept_whichever_comes_first() {
    // One takes several times as long as the other.
    for order in [["yard", "yolox-nano"], ["yolox-nano", "yard"]] {
        let calls = Cell::new(0);
        let next = || {
            let name = order[calls.get()];
            calls.set(calls.get() + 1);
            Ok(load(name, Family::OWN))
        };
        let (kept, _) = quickest(&[Family::OWN, Family::of("avx2", having(&AVX2))], next).unwrap();
        assert_eq!((kept.input.width, calls.get()), (320, 2));
    }
}
