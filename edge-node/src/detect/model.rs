//! One loaded model: a picture in, detections out. Runs on the calling thread.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kernels::finite;
use tract_onnx::prelude::Tensor;

use super::Detection;
use super::head;
use super::letterbox::{Fit, Preprocessor};
use super::manifest::{Entry, Head, Input, ModelError};
use super::network::{Loaded, Network};
use super::runtime::{Runtime, unpanicked};
use crate::clock;
use crate::sensor::frame::Picture;

/// Time each part of one inference took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timing {
    /// Letterbox.
    pub preprocess: Duration,
    /// The network.
    pub inference: Duration,
    /// Decode and suppression.
    pub postprocess: Duration,
}

/// One thing that was found, as people and programs are told of it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Named {
    /// Class label.
    pub label: String,
    /// Score, 0 to 1.
    pub score: f32,
    /// Left, top, right, bottom in pixels of the picture.
    pub box_xyxy_px: [f32; 4],
}

/// A model ready to run.
pub struct Model {
    entry: Arc<Entry>,
    /// What the network takes, and whether it gives heads before their sigmoids.
    input: Input,
    raw: bool,
    network: Arc<dyn Network>,
    preprocessor: Preprocessor,
}

impl Model {
    /// Loads a model file: hash, shapes and plan are checked, and one empty picture is run to warm it up.
    ///
    /// # Errors
    /// [`ModelError`] naming the file and what was expected.
    pub fn load(runtime: &Runtime, entry: Entry, file: &Path) -> Result<Self, ModelError> {
        let name = entry.name.clone();
        let loaded = unpanicked(|| Self::warmed_up(runtime, entry, file));
        loaded.unwrap_or_else(|panic| Err(ModelError::Run { name, reason: format!("{}: {panic}", file.display()) }))
    }

    fn warmed_up(runtime: &Runtime, entry: Entry, file: &Path) -> Result<Self, ModelError> {
        let Loaded { network, input, raw } = runtime.load(&entry, file)?;
        let mut model = Self { entry: Arc::new(entry), input, raw, network, preprocessor: Preprocessor::default() };
        let grey = Picture::rgb(64, 64, vec![114; 64 * 64 * 3]);
        match model.entry.head {
            Head::Classes => _ = model.classify(&grey)?,
            _ => _ = model.detect(&grey, 1.0)?,
        }
        Ok(model)
    }

    /// The same model, with buffers of its own.
    pub fn again(&self) -> Self {
        let (entry, network) = (self.entry.clone(), self.network.clone());
        Self { entry, input: self.input, raw: self.raw, network, preprocessor: Preprocessor::default() }
    }

    /// The manifest entry.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Label of a class number.
    pub fn label(&self, class: usize) -> &str {
        self.entry.classes.get(class).map_or("unknown", String::as_str)
    }

    /// What was found, with its labels.
    pub fn named(&self, found: &[Detection]) -> Vec<Named> {
        let name =
            |d: &Detection| Named { label: self.label(d.class).to_owned(), score: d.score, box_xyxy_px: d.box_xyxy_px };
        found.iter().map(name).collect()
    }

    /// Finds objects of score at least `min_score`, boxes in pixels of the picture.
    ///
    /// # Errors
    /// [`ModelError::Run`] for an empty picture, a failing network, or one whose output is no number; the next picture is
    /// unaffected.
    pub fn detect(&mut self, picture: &Picture, min_score: f32) -> Result<Vec<Detection>, ModelError> {
        self.detect_timed(picture, min_score).map(|(found, _)| found)
    }

    /// As [`Model::detect`], with the time each part took.
    ///
    /// # Errors
    /// As [`Model::detect`].
    pub fn detect_timed(&mut self, picture: &Picture, score: f32) -> Result<(Vec<Detection>, Timing), ModelError> {
        let begun = clock::uptime();
        let (tensor, fit) = self.preprocess(picture)?;
        let prepared = clock::uptime();
        let (mut found, mut inferred) = (Err("expected one output"), prepared);
        let mut read = |values: &[&[f32]]| {
            inferred = clock::uptime();
            found = match (self.raw, values) {
                // Who is not found may be there: that must not pass for an empty picture.
                _ if !values.iter().all(|values| finite(values)) => Err("expected numbers, found NaN or infinity"),
                (false, [values]) => Ok(head::decode(&self.entry, values, fit, score)),
                (true, maps) => Ok(head::decode_maps(&self.entry, maps, fit, score)),
                _ => return,
            };
        };
        self.network.run(tensor, &mut read).map_err(|e| self.failed(&e))?;
        let found = found.map_err(|reason| self.failed(&reason))?;
        let timing = Timing {
            preprocess: prepared.since(begun),
            inference: inferred.since(prepared),
            postprocess: clock::uptime().since(inferred),
        };
        Ok((found, timing))
    }

    /// What a classifier says of a picture: probabilities by class.
    ///
    /// # Errors
    /// As [`Model::detect`], and where it gives what is no number.
    pub fn classify(&mut self, picture: &Picture) -> Result<Vec<f32>, ModelError> {
        let (tensor, _) = self.preprocess(picture)?;
        let mut values = Vec::new();
        let mut read = |found: &[&[f32]]| values.extend_from_slice(found.first().copied().unwrap_or_default());
        self.network.run(tensor, &mut read).map_err(|e| self.failed(&e))?;
        let likely = |value: &f32| (-1e-3..=1.001).contains(value);
        let good = values.len() == self.entry.classes.len() && values.iter().all(likely);
        if good {
            Ok(values)
        } else {
            Err(self.failed(&format!("expected a probability of each class, found {values:?}")))
        }
    }

    fn preprocess(&mut self, picture: &Picture) -> Result<(Tensor, Fit), ModelError> {
        let mut tensor = Tensor::zero::<f32>(&self.input.shape()).map_err(|e| self.failed(&e))?;
        let mut view = tensor.view_mut();
        let values = view.as_slice_mut::<f32>().map_err(|e| self.failed(&e))?;
        let fit = self.preprocessor.fill((&self.input, &self.entry.letterbox), picture, values);
        let fit = fit.ok_or_else(|| self.failed(&format!("picture of {}×{}", picture.width, picture.height)))?;
        Ok((tensor, fit))
    }

    fn failed(&self, reason: &dyn std::fmt::Display) -> ModelError {
        ModelError::Run { name: self.entry.name.clone(), reason: format!("{reason:#}") }
    }
}
