//! `./dev bench detect`: YOLOX-nano in tract beside ONNX Runtime, part by part.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use serde_json::{Value, json};

use super::{last_line, median, number, round};
use crate::binaries::built;
use crate::media::{folder, root};
use crate::process::output;
use crate::python::python;

/// Pairs of runs: the product and the reference in turn, so that a drifting machine meets both.
const PAIRS: usize = 5;
/// Passes over the twelve pictures in each run.
const PASSES: &str = "5";
/// The reference's pinned packages.
const PACKAGES: [&str; 3] = ["onnxruntime==1.31.1", "numpy==2.4.6", "pillow==13.0.0"];
const PARTS: [&str; 3] = ["preprocess", "inference", "postprocess"];

/// Measures and prints.
///
/// # Errors
/// When pictures or reference are missing, or a run fails.
pub fn run(out: &mut impl Write) -> anyhow::Result<()> {
    let media = folder().context("find the pictures: ../shared/media or PICKET_MEDIA")?;
    let (python, bin) = (python("bench-venv", &PACKAGES)?, built()?);
    let model = media.join("../models/yolox_nano.onnx");
    let mut pictures: Vec<PathBuf> = std::fs::read_dir(media.join("images"))
        .context("read the pictures")?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "jpg"))
        .collect();
    pictures.sort();
    let ours = || {
        parts(
            Command::new(bin.join("edge-node"))
                .args(["detect", "--timing", PASSES, "--model", "yolox-nano", "--manifest"])
                .arg(root().join("models/manifest.toml"))
                .args(&pictures),
        )
    };
    let reference =
        || parts(Command::new(&python).arg(root().join("models/reference.py")).arg(&model).arg(PASSES).args(&pictures));
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        pairs.push((ours()?, reference()?));
    }
    writeln!(
        out,
        "YOLOX-nano, 416 px, one thread, {} pictures, {PAIRS} pairs of {PASSES} passes; milliseconds, median",
        pictures.len()
    )?;
    writeln!(out, "reference: {}; intra_op_num_threads = 1", PACKAGES.join(", "))?;
    writeln!(out, "{:<14}{:>10}{:>14}{:>10}", "part", "picket", "ONNX Runtime", "ratio")?;
    let mut metrics = json!({});
    for part in PARTS {
        let column = |side: fn(&(Value, Value)) -> &Value| median(pairs.iter().map(|pair| number(side(pair), part)));
        let (ours, reference) = (column(|pair| &pair.0), column(|pair| &pair.1));
        let ratio = median(pairs.iter().map(|(a, b)| number(a, part) / number(b, part)));
        writeln!(out, "{part:<14}{ours:>10.2}{reference:>14.2}{ratio:>10.2}")?;
        if let Some(metrics) = metrics.as_object_mut() {
            metrics.insert(format!("{part}_ms"), json!(round(ours)));
            metrics.insert(format!("{part}_onnxruntime_ms"), json!(round(reference)));
            metrics.insert(format!("{part}_ratio"), json!(round(ratio)));
        }
    }
    last_line(out, "detect", &metrics, &[])
}

fn parts(command: &mut Command) -> anyhow::Result<Value> {
    let text = output(command)?;
    serde_json::from_str(text.trim()).with_context(|| format!("read timings: {text}"))
}
