//! `./dev evaluate`: how good a model is, by pycocotools (`models/evaluate.py`), through the node's own processing.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::binaries::built;
use crate::drawn::render;
use crate::media::{folder, root};
use crate::process::output;
use crate::python::python;

/// What the script and its reference need, pinned.
const PACKAGES: [&str; 5] =
    ["pycocotools==2.0.10", "onnxruntime==1.31.1", "numpy==2.4.6", "pillow==13.0.0", "pyyaml==6.0.3"];
/// Scenes that no training has seen: `models/train` uses seeds below a million.
const HELD_OUT_SEED: &str = "1000000";
/// Smallest things that our own model is asked for, in pixels of its input.
const LEAST_PX: &str = "12";

/// What to evaluate.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// Model of the manifest; without one both: ours on held-out scenes, YOLOX-nano on real pictures.
    pub model: Option<String>,
    /// Labelled folder (YOLO or COCO); without one held-out scenes are drawn.
    pub folder: Option<PathBuf>,
    /// Held-out scenes.
    pub scenes: usize,
}

/// Evaluates and prints.
///
/// # Errors
/// When a model or pictures are missing, or a program fails.
pub fn run(order: &Order, out: &mut impl Write) -> anyhow::Result<()> {
    let python = python("evaluate-venv", &PACKAGES)?;
    let bin = built()?;
    let evaluate = |model: &str, folder: &Path, more: &[&str]| {
        let mut command = Command::new(&python);
        command.arg(root().join("models/evaluate.py")).arg("--node").arg(bin.join("edge-node"));
        command.arg("--manifest").arg(root().join("models/manifest.toml")).args(["--model", model]);
        output(command.arg("--folder").arg(folder).args(more))
    };
    if let (Some(model), Some(folder)) = (&order.model, &order.folder) {
        return out.write_all(evaluate(model, folder, &[])?.as_bytes()).context("write the table");
    }
    let drawn = |model: &str| !model.starts_with("yolox");
    if order.model.as_deref().is_none_or(drawn) {
        let scenes = tempfile::TempDir::with_prefix("picket-scenes-").context("make a folder for scenes")?;
        let held_out = scenes.path().join("held-out");
        render(&held_out, HELD_OUT_SEED, order.scenes, &[])?;
        for model in order.model.as_deref().map_or_else(|| vec!["yard", "yard-square"], |model| vec![model]) {
            out.write_all(evaluate(model, &held_out, &["--least-px", LEAST_PX])?.as_bytes())
                .context("write the table")?;
            writeln!(out)?;
        }
    }
    if order.model.as_deref().is_none_or(|model| !drawn(model)) {
        let media = folder().context("find the labelled pictures: ../shared/media or PICKET_MEDIA")?;
        let weights = media.join("../models/yolox_nano.onnx").display().to_string();
        let pictures = media.join("coco64");
        for model in order.model.as_deref().map_or_else(|| vec!["yolox-nano", "yolox-nano-wide"], |model| vec![model]) {
            // The reference knows the square input only.
            let more = if model == "yolox-nano" { vec!["--reference", weights.as_str()] } else { Vec::new() };
            out.write_all(evaluate(model, &pictures, &more)?.as_bytes()).context("write the table")?;
            writeln!(out)?;
        }
    }
    Ok(())
}
