//! Drawn yards: what `sim render` makes.

use std::path::Path;
use std::process::Command;

use crate::binaries::built;
use crate::process::output;

/// Draws so many pictures from a seed on into a folder; `more`: further arguments of `sim render`.
///
/// # Errors
/// When it fails, with what it said.
pub fn render(folder: &Path, seed: &str, count: usize, more: &[&str]) -> anyhow::Result<()> {
    let mut render = Command::new(built()?.join("sim"));
    render.args(["render", "--seed", seed, "--count", &count.to_string()]).args(more);
    output(render.arg("--folder").arg(folder)).map(drop)
}
