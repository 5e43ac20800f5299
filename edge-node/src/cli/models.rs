//! `edge-node models list|verify`.

use std::io::Write;
use std::path::PathBuf;

use crate::detect::manifest::Manifest;
use crate::detect::model::Model;

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
    Verify,
}

/// Runs the command.
///
/// # Errors
/// A manifest that cannot be read; for `verify`, the first model that failed.
pub fn run(args: Args) -> anyhow::Result<()> {
    let manifest = Manifest::read(&super::manifest_path(args.manifest))?;
    let mut out = std::io::stdout().lock();
    let mut failed = 0;
    for entry in &manifest.models {
        let file = manifest.file_of(entry);
        let (width, height) = (entry.input.width, entry.input.height);
        match args.verb {
            Verb::List => {
                let there = if file.exists() { "present" } else { "missing" };
                let (name, classes) = (&entry.name, entry.classes.len());
                writeln!(
                    out,
                    "{name}\t{width}x{height}\t{classes} classes\t{}\t{there}\t{}",
                    entry.licence,
                    file.display()
                )?;
            }
            Verb::Verify => match Model::load(entry.clone(), &file) {
                Ok(_) => writeln!(out, "{}\tok\t{}", entry.name, file.display())?,
                Err(error) => {
                    failed += 1;
                    writeln!(out, "{}\tfailed\t{error}", entry.name)?;
                }
            },
        }
    }
    if failed > 0 { Err(anyhow::anyhow!("verify {failed} of {} models", manifest.models.len())) } else { Ok(()) }
}
