//! `edge-node detect`: the detection path on files, with nothing else running.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use anyhow::Context;
use serde::Serialize;

use crate::detect::manifest::Manifest;
use crate::detect::model::{Model, Named};
use crate::detect::network::LibraryConfig;
use crate::detect::runtime::Runtime;
use crate::sensor::camera::rtsp::{self, Address, Carrier, TICKS};
use crate::sensor::camera::stream::{Pictures, Taken};
use crate::sensor::camera::video::Video;
use crate::sensor::picture;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Model name of the manifest, or path of its file.
    #[arg(long)]
    model: String,
    /// Model manifest.
    #[arg(long)]
    manifest: Option<PathBuf>,
    /// Prints one JSON object: file path -> detections.
    #[arg(long)]
    json: bool,
    /// Least score of a detection, 0 to 1.
    #[arg(long, default_value_t = 0.3, value_parser = score)]
    score: f32,
    /// Instead of detections, prints the median milliseconds of each part over this many passes of the pictures.
    #[arg(long, value_name = "PASSES")]
    timing: Option<u32>,
    /// Of a camera, how long it is looked at, seconds.
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    seconds: f64,
    /// Whom a camera knows; its password is in the file of `--password-file`.
    #[arg(long, requires = "password_file")]
    user: Option<String>,
    /// File with the password of `--user`, one line.
    #[arg(long, requires = "user")]
    password_file: Option<PathBuf>,
    /// Packets of a camera as datagrams instead of in its connection.
    #[arg(long)]
    udp: bool,
    #[command(flatten)]
    onnxruntime: Option<LibraryConfig>,
    /// Pictures (JPEG, PNG), videos (H.264 in MP4), cameras (rtsp://HOST/PATH).
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// The detections of one file.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Result {
    Picture(Vec<Named>),
    Video(Vec<VideoFrame>),
}

#[derive(Debug, Serialize)]
struct VideoFrame {
    t_s: f64,
    detections: Vec<Named>,
}

fn score(text: &str) -> std::result::Result<f32, String> {
    let wrong = || format!("expected a number from 0 to 1, found {text:?}");
    text.parse().ok().filter(|s| (0.0..=1.0).contains(s)).ok_or_else(wrong)
}

/// Runs the command: every readable file is answered, and the first failure decides the exit code.
///
/// # Errors
/// A model that cannot be used; after all files, the first that could not be read.
pub fn run(args: Args) -> anyhow::Result<()> {
    let manifest = Manifest::read(&super::manifest_path(args.manifest.clone()))?;
    let (entry, file) = manifest.find(&args.model)?;
    let mut model = Model::load(&Runtime::new(args.onnxruntime.as_ref())?, entry, &file)?;
    if let Some(passes) = args.timing {
        return time(&mut model, passes, &args.files, args.score);
    }
    let mut results = BTreeMap::new();
    let mut first_error = None;
    for file in &args.files {
        let (result, errors) = match file.to_str().filter(|text| text.starts_with("rtsp:")) {
            Some(url) => detect_camera(&mut model, url, &args),
            None => detect_file(&mut model, file, args.score),
        };
        for error in errors {
            tracing::error!("failed to {error:#}");
            first_error.get_or_insert(error);
        }
        if let Some(result) = result {
            results.insert(file.display().to_string(), result);
        }
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, &results).context("write JSON")?;
        writeln!(out).context("write JSON")?;
    } else {
        print(&mut out, &results).context("write detections")?;
    }
    first_error.map_or(Ok(()), |_| Err(anyhow::anyhow!("read every file: the errors are above")))
}

/// Pictures of a video that are timed.
const TIMED_MOST: usize = 60;

/// Times the parts of an inference on pictures, decoding of the files left out; of videos the first sixty.
fn time(model: &mut Model, passes: u32, files: &[PathBuf], score: f32) -> anyhow::Result<()> {
    let mut pictures = Vec::new();
    for file in files {
        if picture::is_picture(file) {
            pictures.push(picture::read(file)?);
            continue;
        }
        for shot in Video::open(file)?.take(TIMED_MOST) {
            pictures.push(shot?.picture);
        }
    }
    let mut parts = [const { Vec::new() }; 3];
    for picture in (0..passes).flat_map(|_| &pictures) {
        let (_, timing) = model.detect_timed(picture, score)?;
        for (part, value) in parts.iter_mut().zip([timing.preprocess, timing.inference, timing.postprocess]) {
            part.push(value.as_secs_f64() * 1000.0);
        }
    }
    let [preprocess, inference, postprocess] = parts.map(|mut values| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    });
    let line = serde_json::json!({ "preprocess": preprocess, "inference": inference, "postprocess": postprocess });
    writeln!(std::io::stdout(), "{line}").context("write timing")
}

fn detect_file(model: &mut Model, file: &Path, score: f32) -> (Option<Result>, Vec<anyhow::Error>) {
    if picture::is_picture(file) {
        let found = picture::read(file)
            .context("read picture")
            .and_then(|p| model.detect(&p, score).with_context(|| format!("detect in {}", file.display())));
        return match found {
            Ok(found) => (Some(Result::Picture(model.named(&found))), Vec::new()),
            Err(error) => (None, vec![error]),
        };
    }
    let video = match Video::open(file).context("open video") {
        Ok(video) => video,
        Err(error) => return (None, vec![error]),
    };
    let (mut frames, mut errors) = (Vec::new(), Vec::new());
    for shot in video {
        let shot = shot.context("decode video");
        let answer = shot.and_then(|shot| {
            let found = model.detect(&shot.picture, score).context("detect in video frame")?;
            Ok(VideoFrame { t_s: shot.time_s, detections: model.named(&found) })
        });
        match answer {
            Ok(frame) => frames.push(frame),
            Err(error) => errors.push(error),
        }
    }
    (Some(Result::Video(frames)), errors)
}

/// Units that wait for the model: datagrams are not asked for again.
const WAITING: usize = 256;

/// Looks at every picture of a camera for a while: a model slower than the camera makes it wait.
fn detect_camera(model: &mut Model, url: &str, args: &Args) -> (Option<Result>, Vec<anyhow::Error>) {
    let (mut frames, mut errors) = (Vec::new(), Vec::new());
    match look(model, url, args, &mut frames) {
        Ok(bad) => errors.extend(bad),
        Err(error) => errors.push(error),
    }
    (Some(Result::Video(frames)), errors)
}

fn look(model: &mut Model, url: &str, args: &Args, frames: &mut Vec<VideoFrame>) -> anyhow::Result<Vec<anyhow::Error>> {
    let login = rtsp::login(args.user.as_deref(), args.password_file.as_deref())?;
    let url = rtsp::parse(url).map_err(anyhow::Error::msg).context("read the address")?;
    let carrier = if args.udp { Carrier::Udp } else { Carrier::Tcp };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (units, queue) = sync_channel(WAITING);
    let reader = runtime.spawn(rtsp::play(Address { url, login, carrier }, move |unit| {
        // Nobody listens any more: it is over.
        let _ = units.send(unit);
    }));
    let (mut pictures, mut begun, mut bad) = (Pictures::default(), None, Vec::new());
    for unit in &queue {
        let first = *begun.get_or_insert(unit.shown);
        let time_s = |shown: i64| (shown - first) as f64 / f64::from(TICKS);
        if time_s(unit.shown) >= args.seconds {
            reader.abort();
            return Ok(bad);
        }
        match pictures.take(&unit) {
            Ok(Taken::Picture(picture, _, shown)) => {
                let found = model.detect(&picture, args.score).context("detect in a camera's picture")?;
                frames.push(VideoFrame { t_s: time_s(shown), detections: model.named(&found) });
            }
            Ok(Taken::Held | Taken::Waiting) => {}
            Err(error) => bad.push(anyhow::anyhow!("decode a camera's picture: {error}")),
        }
    }
    // It has ended before its time: what was found until then is told, and why.
    runtime.block_on(reader).context("read RTSP")??;
    Ok(bad)
}

fn print(out: &mut impl Write, results: &BTreeMap<String, Result>) -> std::io::Result<()> {
    let line = |found: &Named| {
        let [left, top, right, bottom] = found.box_xyxy_px;
        format!("{:.3} {} [{left:.1} {top:.1} {right:.1} {bottom:.1}]", found.score, found.label)
    };
    for (file, result) in results {
        match result {
            Result::Picture(found) => {
                for found in found {
                    writeln!(out, "{file}: {}", line(found))?;
                }
            }
            Result::Video(frames) => {
                for frame in frames {
                    for found in &frame.detections {
                        writeln!(out, "{file} {:.2} s: {}", frame.t_s, line(found))?;
                    }
                }
            }
        }
    }
    Ok(())
}
