//! `edge-node models`: the manifest's models, and the one that the running node uses.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use super::client::{Client, Node, text};
use crate::detect::manifest::Manifest;
use crate::detect::model::Model;
use crate::detect::network::LibraryConfig;
use crate::detect::runtime::Runtime;
use crate::models::compare::{Compared, ms};
use crate::models::shadow::{Trial, counts, trial};
use crate::sensor::picture;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// Model manifest.
    #[arg(long, global = true)]
    manifest: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Prints each model: name, input, classes, licence, whether its file is there.
    List,
    /// Checks hash and shapes of each model, and runs it once.
    Verify {
        /// Names in the manifest; all if not given.
        models: Vec<String>,
        #[command(flatten)]
        onnxruntime: Option<LibraryConfig>,
    },
    /// Runs two models over pictures: what both find, what only one does, and how long they take.
    Compare {
        /// The one.
        first: String,
        /// The other.
        second: String,
        /// Folder of JPEG and PNG pictures, such as a node's hard frames.
        #[arg(long)]
        pictures: PathBuf,
        /// What counts, several by commas; all if not given.
        #[arg(long, value_delimiter = ',')]
        labels: Vec<String>,
        /// One JSON object instead of a table.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        onnxruntime: Option<LibraryConfig>,
    },
    /// What the running node uses, its probation, its shadow, its drift.
    Status(Node),
    /// Has the running node use another model, after a trial.
    Use {
        /// Name in the manifest.
        model: String,
        /// Who wants it.
        #[arg(long)]
        by: String,
        /// Whatever it finds: the trial is of failures and time alone.
        #[arg(long)]
        force: bool,
        /// Where the node is, and how it is shown.
        #[command(flatten)]
        node: Node,
    },
    /// Has the running node use the model before again.
    Rollback {
        /// Who wants it.
        #[arg(long)]
        by: String,
        /// Where the node is, and how it is shown.
        #[command(flatten)]
        node: Node,
    },
    /// Has the running node look at some pictures with another model, too, and record where they differ.
    Shadow {
        /// Name in the manifest; none: no more.
        model: Option<String>,
        /// Who wants it.
        #[arg(long)]
        by: String,
        /// Where the node is, and how it is shown.
        #[command(flatten)]
        node: Node,
    },
}

/// Runs the command.
///
/// # Errors
/// A manifest that cannot be read; for `verify`, models that failed; a node that does not answer, or refuses.
pub fn run(args: Args) -> anyhow::Result<()> {
    let manifest = || Manifest::read(&super::manifest_path(args.manifest));
    match args.verb {
        Verb::List => list(&manifest()?),
        Verb::Verify { models, onnxruntime } => verify(&manifest()?, &models, &Runtime::new(onnxruntime.as_ref())?),
        Verb::Compare { first, second, pictures, labels, json, onnxruntime } => {
            let runtime = Runtime::new(onnxruntime.as_ref())?;
            compare(&manifest()?, &runtime, (&first, &second), &pictures, &labels, json)
        }
        Verb::Status(node) => show(&node, &Client::new(&node)?.get("/api/v1/models")?),
        Verb::Use { model, by, force, node } => {
            post(&node, "/api/v1/models/use", &json!({ "model": model, "by": by, "force": force }))
        }
        Verb::Rollback { by, node } => post(&node, "/api/v1/models/rollback", &json!({ "by": by })),
        Verb::Shadow { model, by, node } => post(&node, "/api/v1/models/shadow", &json!({ "model": model, "by": by })),
    }
}

fn list(manifest: &Manifest) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for entry in &manifest.models {
        let file = manifest.file_of(entry);
        let there = if file.exists() { "present" } else { "missing" };
        let (name, classes, licence) = (&entry.name, entry.classes.len(), &entry.licence);
        let (width, height) = (entry.input.width, entry.input.height);
        writeln!(out, "{name}\t{width}x{height}\t{classes} classes\t{licence}\t{there}\t{}", file.display())?;
    }
    Ok(())
}

fn verify(manifest: &Manifest, names: &[String], runtime: &Runtime) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let (mut failed, mut models) = (0, Vec::new());
    for name in names {
        models.push(manifest.find(name)?);
    }
    if names.is_empty() {
        models.extend(manifest.models.iter().map(|entry| (entry.clone(), manifest.file_of(entry))));
    }
    for (entry, file) in &models {
        match Model::load(runtime, entry.clone(), file) {
            Ok(_) => writeln!(out, "{}\tok\t{}", entry.name, file.display())?,
            Err(error) => {
                failed += 1;
                writeln!(out, "{}\tfailed\t{error}", entry.name)?;
            }
        }
    }
    anyhow::ensure!(failed == 0, "verify {failed} of {} models", models.len());
    Ok(())
}

fn compare(
    manifest: &Manifest,
    runtime: &Runtime,
    (first, second): (&str, &str),
    folder: &Path,
    labels: &[String],
    json: bool,
) -> anyhow::Result<()> {
    let load = |name: &str| {
        let (entry, file) = manifest.find(name)?;
        Model::load(runtime, entry, &file)
    };
    let (mut ours, mut theirs) = (load(first)?, load(second)?);
    let entries = std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| picture::is_picture(path));
    files.sort();
    anyhow::ensure!(!files.is_empty(), "{}: expected JPEG or PNG pictures, found none", folder.display());
    // One at a time: a box has other uses for its memory.
    let mut pictures = files.iter().map(|path| Ok((None, picture::read(path).map_err(|error| error.to_string())?)));
    let held = Trial { labels, sift: None, compared: Compared::default(), limit: None, go_on: &|| true };
    let compared = trial(&mut ours, &mut theirs, &mut pictures, held).map_err(anyhow::Error::msg)?;
    let mut out = std::io::stdout().lock();
    if json {
        return Ok(writeln!(out, "{}", counts(&compared))?);
    }
    let (took, takes) = compared.medians();
    let share = compared.agreement(&[]).map_or_else(|| "too few to tell".into(), |share| format!("{share:.2}"));
    writeln!(out, "{} pictures; things of score 0.6 and more, the other's of 0.35 and more", compared.pictures)?;
    writeln!(
        out,
        "both\t{}\nonly {first}\t{}\nonly {second}\t{}",
        compared.all.both, compared.all.only_first, compared.all.only_second
    )?;
    writeln!(out, "agreement\t{share}")?;
    for (name, time) in [(first, took), (second, takes)] {
        writeln!(out, "{name}\t{:.1} ms a picture, median", ms(time))?;
    }
    Ok(())
}

fn post(node: &Node, path: &str, body: &Value) -> anyhow::Result<()> {
    show(node, &Client::new(node)?.post(path, body)?)
}

fn show(node: &Node, about: &Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if node.json {
        return Ok(writeln!(out, "{about}")?);
    }
    writeln!(out, "in use\t{} ({:.12})", text(about, "model"), text(about, "sha256"))?;
    if let Some(left) = about.get("probation_left_s").and_then(Value::as_u64) {
        writeln!(out, "probation\t{left} s left")?;
    }
    writeln!(out, "before\t{}", text(about, "before"))?;
    for (word, key) in [("against it", "against_before"), ("shadow", "shadow")] {
        let Some(counts) = about.get(key).filter(|counts| counts.is_object()) else { continue };
        let count = |key: &str| counts.get(key).and_then(Value::as_u64).unwrap_or(0);
        writeln!(
            out,
            "{word}\t{}\t{} pictures: both {}, only the one in use {}, only the other {}",
            text(counts, "model"),
            count("pictures"),
            count("both"),
            count("only_first"),
            count("only_second"),
        )?;
    }
    for camera in about.get("drift").and_then(Value::as_array).into_iter().flatten() {
        let drifted = camera.get("drifted").and_then(Value::as_bool) == Some(true);
        let known = camera.get("normal_known").and_then(Value::as_bool) == Some(true);
        let word = if drifted {
            "DRIFTED"
        } else if known {
            "as it was"
        } else {
            "learning what is normal"
        };
        writeln!(out, "drift\t{}\t{word}\t{}", text(camera, "camera"), camera.get("psi").unwrap_or(&Value::Null))?;
    }
    let hard = about.get("hard_frames").and_then(|hard| hard.get("pictures")).and_then(Value::as_u64);
    writeln!(out, "hard frames\t{}", hard.unwrap_or(0))?;
    Ok(())
}
