//! What a network is to those who run it, whatever computes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tract_onnx::prelude::Tensor;

use super::manifest::{Entry, Input, ModelError};

/// A network ready to run, for any number of threads.
pub trait Network: Send + Sync {
    /// Computes the outputs of an input; `read` is given the values of each.
    ///
    /// # Errors
    /// What the library says.
    fn run(&self, input: Tensor, read: &mut dyn FnMut(&[&[f32]])) -> anyhow::Result<()>;
}

/// A network as it was loaded.
pub struct Loaded {
    /// What runs.
    pub network: Arc<dyn Network>,
    /// What it takes: the entry's, but that slices in the network may be left to the preprocessor.
    pub input: Input,
    /// Whether it gives heads before their sigmoids.
    pub raw: bool,
}

/// `[model.onnxruntime]`: ONNX Runtime instead of tract.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct LibraryConfig {
    /// ONNX Runtime's library (libonnxruntime.so) instead of tract; needs a build with the feature `ort`.
    #[arg(long = "onnxruntime", value_name = "FILE", requires = "sha256", required = false)]
    pub library: PathBuf,
    /// Its SHA-256, hexadecimal: no other is loaded.
    #[arg(long = "onnxruntime-sha256", value_name = "HEX", requires = "library", required = false)]
    pub sha256: String,
}

impl LibraryConfig {
    /// What is wrong with it: key, and what was expected.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        let digits = self.sha256.len() == 64 && self.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        (!digits).then(|| ("sha256", format!("expected 64 hexadecimal digits, found {:?}", self.sha256)))
    }
}

/// What is wrong with a file's tensors, if anything is.
pub fn shape(entry: &Entry, file: &Path, what: &str, expected: &str, found: String) -> Result<(), ModelError> {
    if expected == found {
        return Ok(());
    }
    let (name, file) = (entry.name.clone(), file.display().to_string());
    Err(ModelError::Shape { name, file, expected: format!("{what} {expected}"), found })
}

/// A shape as people write it.
pub fn written<T: ToString>(dims: impl IntoIterator<Item = T>) -> String {
    dims.into_iter().map(|dim| dim.to_string()).collect::<Vec<_>>().join("×")
}
