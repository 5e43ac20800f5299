//! The three binaries under test, built first: never a stale one.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::Context;

use crate::media::root;

/// What is built with what is optional, too. All builds are alike, here and in `./dev`: another selection of packages or
/// features would rebuild the node, or half of the dependencies.
pub const FEATURES: [&str; 2] = ["--features", "edge-node/ort"];

static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();

/// Builds the workspace's binaries, once per process, and gives their folder.
///
/// # Errors
/// When they do not build.
pub fn built() -> anyhow::Result<PathBuf> {
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.clone().map_err(anyhow::Error::msg)
}

fn build() -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--workspace"]).args(FEATURES).current_dir(root());
    // What cargo tells a test of its package would make ring, and all that needs it, look changed.
    let told = |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|begin| name.starts_with(begin));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(told)) {
        build.env_remove(name);
    }
    let status = build.status();
    anyhow::ensure!(status.context("run cargo build")?.success(), "build the binaries");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(target.join("debug"))
}
