//! `./dev bench detect`: YOLOX-nano in tract beside ONNX Runtime, part by part.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::{Value, json};

use super::{Target, last_line, median, number, round};
use crate::binaries::built;
use crate::media::{folder, root};
use crate::process::output;
use crate::python::{REFERENCE, onnxruntime, python};

/// Pairs of runs: the product and the reference in turn, so that a drifting machine meets both.
const PAIRS: usize = 5;
/// Another build of the node to measure than the development profile's: as it ships, for one kind of processor.
const NODE: &str = "PICKET_NODE";
/// Passes over the twelve pictures in each run.
const PASSES: &str = "5";
const PARTS: [&str; 3] = ["preprocess", "inference", "postprocess"];

/// Measures and prints.
///
/// # Errors
/// When pictures or reference are missing, or a run fails.
pub fn run(out: &mut impl Write) -> anyhow::Result<()> {
    let media = folder().context("find the pictures: ../shared/media or PICKET_MEDIA")?;
    let (python, own) = (python("bench-venv", &REFERENCE)?, built()?.join("edge-node"));
    let node = std::env::var_os(NODE).map_or_else(|| own.clone(), PathBuf::from);
    let model = media.join("../models/yolox_nano.onnx");
    let mut pictures: Vec<PathBuf> = std::fs::read_dir(media.join("images"))
        .context("read the pictures")?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "jpg"))
        .collect();
    pictures.sort();
    let ours = || timed(&node, "yolox-nano", &pictures, &[]);
    let (library, hash) = onnxruntime()?;
    let library = [OsStr::new("--onnxruntime"), library.as_os_str(), "--onnxruntime-sha256".as_ref(), hash.as_ref()];
    let other = || timed(&own, "yolox-nano", &pictures, &library);
    let reference =
        || parts(Command::new(&python).arg(root().join("models/reference.py")).arg(&model).arg(PASSES).args(&pictures));
    let (mut pairs, mut others_of) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        others_of.push(other()?);
        pairs.push((ours()?, reference()?));
    }
    writeln!(
        out,
        "YOLOX-nano, 416 px, one thread, {} pictures, {PAIRS} pairs of {PASSES} passes; milliseconds, median",
        pictures.len()
    )?;
    writeln!(out, "node: {}", node.display())?;
    writeln!(out, "reference: {}; intra_op_num_threads = 1", REFERENCE.join(", "))?;
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
    let ratios = others_of
        .iter()
        .zip(&pairs)
        .map(|(ours, (_, reference))| number(ours, "inference") / number(reference, "inference"));
    let ratio = median(ratios);
    writeln!(out, "inference with [model.onnxruntime], the same library in the node: ratio {ratio:.3}")?;
    if let Some(metrics) = metrics.as_object_mut() {
        metrics.insert("ort_ratio".into(), json!(round(ratio)));
    }
    others(out, &media, &node, &pictures, &mut metrics)?;
    let targets = [
        Target::Most("inference_ratio", 2.1),
        Target::Most("ort_ratio", 1.05),
        Target::Most("wide_ratio_to_onnxruntime_square", 1.35),
        Target::Most("around_share", 0.10),
        Target::Most("yard_inference_ms", 8.0),
        Target::Most("yard_square_inference_ms", 8.0),
        Target::Most("yard_720p_around_ms", 1.0),
    ];
    last_line(out, "detect", &metrics, &targets)
}

/// What has no reference beside it: other sizes, our own model, pictures of a video.
fn others(
    out: &mut impl Write,
    media: &Path,
    node: &Path,
    pictures: &[PathBuf],
    metrics: &mut Value,
) -> anyhow::Result<()> {
    let square = number(metrics, "inference_onnxruntime_ms");
    let mut add = |name: &str, value: f64| {
        if let Some(metrics) = metrics.as_object_mut() {
            metrics.insert(name.into(), json!(round(value)));
        }
    };
    writeln!(
        out,
        "\n{:<44}{:>12}{:>12}{:>12}",
        "others, one thread, median of 5", "preprocess", "inference", "decode"
    )?;
    let time = |model: &str, files: &[PathBuf]| -> anyhow::Result<[f64; 3]> {
        let runs = (0..PAIRS).map(|_| timed(node, model, files, &[])).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(PARTS.map(|part| median(runs.iter().map(|run| number(run, part)))))
    };
    let video = vec![super::cameras::enlarged(&media.join("one-by-one-person-detection.mp4"))?];
    for (name, model, files, of) in [
        ("wide", "yolox-nano-wide", pictures, "twelve pictures"),
        ("yard", "yard", pictures, "twelve pictures"),
        ("yard_square", "yard-square", pictures, "twelve pictures"),
        ("yard_720p", "yard", &video, "720p video, I420"),
    ] {
        let [before, inference, after] = time(model, files)?;
        writeln!(out, "{:<44}{before:>12.2}{inference:>12.2}{after:>12.3}", format!("{model}, {of}"))?;
        add(&format!("{name}_inference_ms"), inference);
        add(&format!("{name}_around_ms"), before + after);
        if name == "wide" {
            add("wide_ratio_to_onnxruntime_square", inference / square);
        }
    }
    let around = number(metrics, "preprocess_ms") + number(metrics, "postprocess_ms");
    let share = around / number(metrics, "inference_ms");
    if let Some(metrics) = metrics.as_object_mut() {
        metrics.insert("around_share".into(), json!(round(share)));
    }
    Ok(())
}

/// The parts of one model's inference on some files.
fn timed(node: &Path, model: &str, files: &[PathBuf], more: &[&OsStr]) -> anyhow::Result<Value> {
    let manifest = root().join("models/manifest.toml");
    let mut detect = Command::new(node);
    detect.args(["detect", "--timing", PASSES, "--model", model, "--manifest"]).arg(manifest);
    parts(detect.args(more).args(files))
}

fn parts(command: &mut Command) -> anyhow::Result<Value> {
    let text = output(command)?;
    serde_json::from_str(text.trim()).with_context(|| format!("read timings: {text}"))
}
