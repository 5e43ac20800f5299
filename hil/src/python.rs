//! Python programs with pinned packages, in environments of their own in the cache: references and witnesses from outside.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use crate::kafka::cache;
use crate::process::output;

/// What the reference of models wants.
pub const REFERENCE: [&str; 3] = ["onnxruntime==1.31.1", "numpy==2.4.6", "pillow==13.0.0"];

/// The library of the reference's ONNX Runtime, and its SHA-256.
///
/// # Errors
/// When it cannot be installed.
pub fn onnxruntime() -> anyhow::Result<(PathBuf, String)> {
    let find = "import glob, hashlib, onnxruntime as o, os\n\
        file, = glob.glob(os.path.dirname(o.__file__) + '/capi/libonnxruntime.so.*')\n\
        print(file, hashlib.sha256(open(file, 'rb').read()).hexdigest())";
    let found = output(Command::new(python("bench-venv", &REFERENCE)?).args(["-c", find]))?;
    let (file, hash) = found.trim().rsplit_once(' ').context("find ONNX Runtime's library")?;
    Ok((PathBuf::from(file), hash.to_owned()))
}

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
