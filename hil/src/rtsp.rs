//! Cameras over RTSP: GStreamer's server (`rtsp.py`), which shares no code with Picket, playing a video over and over.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::media::root;
use crate::process::Process;

/// A running server; ended when dropped.
pub struct Cameras {
    process: Process,
    /// Its port on loopback.
    pub port: u16,
}

/// Debian's and Ubuntu's Python, which has their GStreamer.
const PYTHON: &str = "/usr/bin/python3";

impl Cameras {
    /// Starts one on a port: each mount is a path and a video; `more` are further arguments of `rtsp.py`.
    ///
    /// # Errors
    /// When GStreamer cannot be had, or a video cannot be read.
    pub fn start(port: u16, mounts: &[(&str, &Path)], more: &[&str], folder: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(PYTHON);
        command.arg(root().join("hil/rtsp.py")).args(["--port", &port.to_string()]).args(more);
        for (path, video) in mounts {
            command.args(["--mount", &format!("/{path}={}", video.display())]);
        }
        let mut process = Process::start("rtsp", &mut command, folder)?;
        process.wait_for_output("\"port\"", Duration::from_secs(60))?;
        Ok(Self { process, port })
    }

    /// The address of a mount.
    pub fn url(&self, path: &str) -> String {
        format!("rtsp://127.0.0.1:{}/{path}", self.port)
    }

    /// The process, for its CPU time.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it as a power cut would.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()
    }
}
