//! Python programs with pinned packages, in environments of their own in the cache: references and witnesses from outside.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use crate::kafka::cache;
use crate::process::output;

/// A Python that has these packages, each pinned; made once in the cache under `name`.
///
/// # Errors
/// When it cannot be made.
pub fn python(name: &str, packages: &[&str]) -> anyhow::Result<PathBuf> {
    let venv = cache().join(name);
    std::fs::create_dir_all(cache()).context("make the cache")?;
    // Tests of several programs ask at the same time.
    let lock = File::create(cache().join(format!("{name}.lock"))).context("lock a Python environment")?;
    lock.lock().context("lock a Python environment")?;
    let (python, stamp, wanted) = (venv.join("bin/python"), venv.join("packages"), packages.join(" "));
    if !std::fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        output(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(packages))?;
        std::fs::write(stamp, wanted).context("mark the packages as installed")?;
    }
    // Given back by hand: a child that was just forked has the file open, too.
    lock.unlock().context("unlock a Python environment")?;
    Ok(python)
}
