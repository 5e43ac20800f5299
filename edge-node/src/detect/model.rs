//! One loaded model: a picture in, detections out. Runs tract on the calling thread.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tract_onnx::prelude::{
    DatumExt, Framework, InferenceModelExt, IntoRunnable, RunnableModel, TValue, Tensor, TypedFact, TypedOp, onnx, tvec,
};

use tract_onnx::tract_hir::infer::Factoid;

use super::Detection;
use super::graph::{self, Graph};
use super::head;
use super::letterbox::{Fit, Preprocessor};
use super::manifest::{Entry, Head, Input, Layout, ModelError, read_verified};
use crate::clock;
use crate::sensor::frame::Picture;

type Plan = RunnableModel<TypedFact, Box<dyn TypedOp>>;

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
    /// What the plan takes: the entry's, but that slices in the network may be left to the preprocessor.
    input: Input,
    /// Whether the plan gives heads before their sigmoids.
    raw: bool,
    plan: Arc<Plan>,
    preprocessor: Preprocessor,
}

impl Model {
    /// Loads a model file: hash, shapes and plan are checked, and one empty picture is run to warm it up.
    ///
    /// # Errors
    /// [`ModelError`] naming the file and what was expected.
    pub fn load(entry: Entry, file: &Path) -> Result<Self, ModelError> {
        let bytes = read_verified(&entry, file)?;
        let run = |e: &dyn std::fmt::Display| ModelError::Run { name: entry.name.clone(), reason: format!("{e:#}") };
        // What the file says of shapes between is of the size it was written with.
        let reader = onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
        let graph = reader.model_for_read(&mut bytes.as_slice()).map_err(|e| run(&e))?;
        let shape_of = |fact: &TypedFact| fact.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("×");
        let shape = |what: &str, expected: String, found: String| {
            let (name, file) = (entry.name.clone(), file.display().to_string());
            if expected == found {
                return Ok(());
            }
            Err(ModelError::Shape { name, file, expected: format!("{what} {expected}"), found })
        };
        // Height and width are the manifest's, whatever size the file was written with: the weights do not know it.
        let [batch, planes, rows, columns] = entry.input.shape();
        let declared = &graph.input_fact(0).map_err(|e| run(&e))?.shape;
        let found: Vec<String> =
            declared.dims().map(|dim| dim.concretize().map_or("?".into(), |dim| dim.to_string())).collect();
        if found.len() != 4 || found.get(1) != Some(&planes.to_string()) {
            shape("input", format!("{batch}×{planes}×{rows}×{columns}"), found.join("×"))?;
        }
        let graph = graph.with_input_fact(0, f32::fact(entry.input.shape()).into()).map_err(|e| run(&e))?;
        let mut typed = graph.into_typed().map_err(|e| run(&e))?;
        let output = shape_of(typed.output_fact(0).map_err(|e| run(&e))?);
        let expected = match entry.head {
            Head::Classes => format!("1×{}", entry.output.columns),
            _ => format!("1×{}×{}", entry.output.rows, entry.output.columns),
        };
        shape("output", expected, output)?;
        // Others, such as heads for training, are not wanted, and cost.
        let first = typed.output_outlets().map_err(|e| run(&e))?.first().copied();
        typed.select_output_outlets(first.as_slice()).and_then(|()| typed.compact()).map_err(|e| run(&e))?;
        let Graph { mut model, raw, blocks } = graph::lean(typed, &entry).map_err(|e| run(&e))?;
        model.optimize().map_err(|e| run(&e))?;
        let plan = model.into_runnable().map_err(|e| run(&e))?;
        let layout = if blocks { Layout::SpaceToDepth } else { entry.input.layout };
        let input = Input { layout, ..entry.input };
        let mut model = Self { entry: Arc::new(entry), input, raw, plan, preprocessor: Preprocessor::default() };
        let grey = Picture::rgb(64, 64, vec![114; 64 * 64 * 3]);
        match model.entry.head {
            Head::Classes => _ = model.classify(&grey)?,
            _ => _ = model.detect(&grey, 1.0)?,
        }
        Ok(model)
    }

    /// The same model, with buffers of its own.
    pub fn again(&self) -> Self {
        let (entry, plan) = (self.entry.clone(), self.plan.clone());
        Self { entry, input: self.input, raw: self.raw, plan, preprocessor: Preprocessor::default() }
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
    /// [`ModelError::Run`] for an empty picture or a failing network; the next picture is unaffected.
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
        let outputs = self.plan.run(tvec!(tensor.into())).map_err(|e| self.failed(&e))?;
        let inferred = clock::uptime();
        let values = self.values(&outputs)?;
        let found = match (self.raw, values.as_slice()) {
            (false, [values]) => head::decode(&self.entry, values, fit, score),
            (true, maps) => head::decode_maps(&self.entry, maps, fit, score),
            _ => return Err(self.failed(&format!("{} outputs", values.len()))),
        };
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
        let outputs = self.plan.run(tvec!(tensor.into())).map_err(|e| self.failed(&e))?;
        let values = self.values(&outputs)?.first().copied().unwrap_or_default();
        let likely = |value: &f32| (-1e-3..=1.001).contains(value);
        let good = values.len() == self.entry.classes.len() && values.iter().all(likely);
        if good {
            Ok(values.to_vec())
        } else {
            Err(self.failed(&format!("expected a probability of each class, found {values:?}")))
        }
    }

    /// The values of each output.
    fn values<'a>(&self, outputs: &'a [TValue]) -> Result<Vec<&'a [f32]>, ModelError> {
        let values = outputs.iter().map(|output| {
            let plain = output.try_as_plain_ram().map_err(|e| self.failed(&e))?;
            plain.as_slice::<f32>().map_err(|e| self.failed(&e))
        });
        values.collect()
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
