//! What computes networks: tract, or ONNX Runtime where the build has the feature `ort` and the configuration its library.

use std::path::Path;
use std::sync::Arc;

use tract_onnx::prelude::{
    DatumExt, Framework, InferenceModelExt, IntoRunnable, RunnableModel, Tensor, TypedFact, TypedOp, onnx, tvec,
};
use tract_onnx::tract_hir::infer::Factoid;

use super::family::{Family, families, quickest};
use super::graph::{self, Graph};
use super::manifest::{Entry, Input, Layout, ModelError, read_verified};
use super::network::{LibraryConfig, Loaded, Network, shape, written};
#[cfg(feature = "ort")]
use super::onnxruntime::Library;

/// What networks are computed with.
#[derive(Debug, Clone, Default)]
pub enum Runtime {
    /// Tract, which is part of the node.
    #[default]
    Tract,
    /// ONNX Runtime.
    #[cfg(feature = "ort")]
    Ort(Library),
}

impl Runtime {
    /// What the configuration wants.
    ///
    /// # Errors
    /// [`ModelError::Library`]: not there, not the one that is meant, too old; a build without it.
    pub fn new(config: Option<&LibraryConfig>) -> Result<Self, ModelError> {
        let Some(config) = config else { return Ok(Self::Tract) };
        #[cfg(feature = "ort")]
        let runtime = unpanicked(|| Library::open(config).map(Self::Ort)).map_err(anyhow::Error::msg).flatten();
        #[cfg(not(feature = "ort"))]
        let runtime = Err(anyhow::anyhow!("expected a build with the feature ort, this one has tract only"));
        let file = config.library.display().to_string();
        runtime.map_err(|error| ModelError::Library { file, reason: format!("{error:#}") })
    }

    /// Loads a model file: its hash and shapes are checked.
    ///
    /// # Errors
    /// [`ModelError`] naming the file and what was expected.
    pub fn load(&self, entry: &Entry, file: &Path) -> Result<Loaded, ModelError> {
        self.load_with(families(), entry, file)
    }

    /// As [`Runtime::load`], with kernels of the quickest of some families where tract computes.
    ///
    /// # Errors
    /// As [`Runtime::load`].
    pub fn load_with(&self, families: &[Family], entry: &Entry, file: &Path) -> Result<Loaded, ModelError> {
        let bytes = read_verified(entry, file)?;
        match self {
            Self::Tract => quickest(families, || tract(entry, file, &bytes)).map(|(loaded, _)| loaded),
            #[cfg(feature = "ort")]
            Self::Ort(library) => library.load(entry, file, bytes),
        }
    }
}

/// What panics is an error: libraries of others read these files, and the interlock runs in this process.
///
/// # Errors
/// What it says when it panics.
pub fn unpanicked<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        format!("it panics: {}", said.unwrap_or_default())
    })
}

struct Tract(Arc<RunnableModel<TypedFact, Box<dyn TypedOp>>>);

impl Network for Tract {
    fn run(&self, input: Tensor, read: &mut dyn FnMut(&[&[f32]])) -> anyhow::Result<()> {
        let outputs = self.0.run(tvec!(input.into()))?;
        let values = outputs.iter().map(|output| output.try_as_plain_ram()?.as_slice::<f32>());
        read(&values.collect::<Result<Vec<_>, _>>()?);
        Ok(())
    }
}

fn tract(entry: &Entry, file: &Path, bytes: &[u8]) -> Result<Loaded, ModelError> {
    let run = |e: &dyn std::fmt::Display| ModelError::Run { name: entry.name.clone(), reason: format!("{e:#}") };
    // What the file says of shapes between is of the size it was written with.
    let reader = onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    let graph = reader.model_for_read(&mut &*bytes).map_err(|e| run(&e))?;
    // Height and width are the manifest's, whatever size the file was written with: the weights do not know it.
    let wanted = entry.input.shape();
    let declared = &graph.input_fact(0).map_err(|e| run(&e))?.shape;
    let found: Vec<String> =
        declared.dims().map(|dim| dim.concretize().map_or("?".into(), |dim| dim.to_string())).collect();
    if found.len() != 4 || found.get(1) != wanted.get(1).map(ToString::to_string).as_ref() {
        shape(entry, file, "input", &written(wanted), found.join("×"))?;
    }
    let graph = graph.with_input_fact(0, f32::fact(wanted).into()).map_err(|e| run(&e))?;
    let mut typed = graph.into_typed().map_err(|e| run(&e))?;
    let output = written(typed.output_fact(0).map_err(|e| run(&e))?.shape.iter());
    shape(entry, file, "output", &written(entry.shape()), output)?;
    // Others, such as heads for training, are not wanted, and cost.
    let first = typed.output_outlets().map_err(|e| run(&e))?.first().copied();
    typed.select_output_outlets(first.as_slice()).and_then(|()| typed.compact()).map_err(|e| run(&e))?;
    let Graph { mut model, raw, blocks } = graph::lean(typed, entry).map_err(|e| run(&e))?;
    model.optimize().map_err(|e| run(&e))?;
    let network = Arc::new(Tract(model.into_runnable().map_err(|e| run(&e))?));
    let layout = if blocks { Layout::SpaceToDepth } else { entry.input.layout };
    Ok(Loaded { network, input: Input { layout, ..entry.input }, raw })
}
