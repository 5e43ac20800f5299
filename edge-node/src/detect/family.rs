//! Which of the processor's families of matrix kernels computes a network: measured when it is loaded.
//!
//! Tract prefers the widest vectors there are. On many processors narrower ones are quicker (they clock down for the wide
//! ones, or have half the units), on others not, and one network may be unlike another: nothing but a measurement says.
//! Where there is one family there is nothing to measure.

use std::cell::Cell;
use std::sync::LazyLock;
use std::time::Duration;

use tract_onnx::prelude::{DatumType, Tensor};
use tract_onnx::tract_core::tract_linalg::isa::{Arch, Isa, IsaSet, native};
use tract_onnx::tract_core::tract_linalg::mmm::{MmmDispatch, Query, Suitable};
use tract_onnx::tract_core::tract_linalg::mmm_tiers::MmmTier;

use super::manifest::ModelError;
use super::network::Loaded;
use crate::clock;

/// Runs of each network that is measured; the quickest counts, so what else the processor does hardly does.
const ROUNDS: usize = 8;

/// The matrix kernels that a processor of certain instruction sets has.
#[derive(Clone, Copy)]
pub struct Family {
    name: &'static str,
    /// Whom to ask; `None`: whom tract asks by itself.
    dispatch: Option<&'static MmmDispatch>,
}

thread_local! {
    /// The family that is being loaded with on this thread.
    static CHOSEN: Cell<Option<&'static MmmDispatch>> = const { Cell::new(None) };
}

// Asked before tract's own choices, and without an opinion outside of `Family::during`.
inventory::submit! {
    MmmTier { arch: Some(Arch::X86_64), precedence: u8::MAX, name: "picket", applies: |_| true, preferred }
}

fn preferred(_: &IsaSet, sum: DatumType, query: &Query, _: &[Suitable]) -> Option<&'static str> {
    // The family's own choices begin here, too: they are not to be asked for ever.
    let family = CHOSEN.take()?;
    let kernel = family.preferred_kernel(sum, query.m, query.k, query.n);
    CHOSEN.set(Some(family));
    let name = kernel?.name().to_owned();
    family.runnable().iter().map(|kernel| kernel.name()).find(|known| *known == name)
}

impl Family {
    /// What tract chooses by itself.
    pub const OWN: Self = Self { name: "widest", dispatch: None };

    /// The kernels of these instruction sets, for as long as the process lives.
    pub fn of(name: &'static str, isa: IsaSet) -> Self {
        Self { name, dispatch: Some(Box::leak(Box::new(MmmDispatch::for_isa(isa)))) }
    }

    /// Does something on this thread; networks that are loaded meanwhile have kernels of this family.
    pub fn during<T>(self, work: impl FnOnce() -> T) -> T {
        struct Back(Option<&'static MmmDispatch>);
        impl Drop for Back {
            fn drop(&mut self) {
                CHOSEN.set(self.0);
            }
        }
        let _back = Back(CHOSEN.replace(self.dispatch));
        work()
    }
}

/// The families of this processor, the widest first.
pub fn families() -> &'static [Family] {
    static FAMILIES: LazyLock<Vec<Family>> = LazyLock::new(|| {
        let own = native();
        let wide = [Isa::X86_64Avx512f, Isa::X86_64Avx512Vnni, Isa::X86_64Avx512Fp16];
        let narrow = wide.into_iter().fold(own, IsaSet::without);
        let narrower = own.has(Isa::X86_64Avx512f).then(|| Family::of("avx2", narrow));
        std::iter::once(Family::OWN).chain(narrower).collect()
    });
    &FAMILIES
}

/// A network loaded with the family it is quickest with, of some.
///
/// # Errors
/// As `load`, where it fails with each of them.
pub fn quickest(
    families: &[Family],
    load: impl Fn() -> Result<Loaded, ModelError>,
) -> Result<(Loaded, Family), ModelError> {
    let (mut loaded, mut failed) = (Vec::new(), None);
    for family in families {
        match family.during(&load) {
            Ok(one) => loaded.push((one, *family, Duration::MAX)),
            Err(error) => failed = Some(error),
        }
    }
    if let (true, Some(error)) = (loaded.is_empty(), failed) {
        return Err(error);
    }
    for _ in 0..if loaded.len() > 1 { ROUNDS } else { 0 } {
        for (one, _, least) in &mut loaded {
            let Ok(input) = Tensor::zero::<f32>(&one.input.shape()) else { continue };
            let begun = clock::uptime();
            // What fails here fails at its warm-up, too, where it is said.
            if one.network.run(input, &mut |_| ()).is_ok() {
                *least = (*least).min(clock::uptime().since(begun));
            }
        }
    }
    let times = loaded.iter().map(|(_, family, time)| format!("{} {time:?}", family.name)).collect::<Vec<_>>();
    tracing::debug!(times = times.join(", "), "families of matrix kernels");
    let best = loaded.into_iter().min_by_key(|(_, _, time)| *time);
    best.map(|(one, family, _)| (one, family)).map_or_else(|| load().map(|one| (one, Family::OWN)), Ok)
}
