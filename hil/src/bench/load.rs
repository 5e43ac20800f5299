//! What a benchmark loads a node and its machine with.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;

use super::console::Console;
use crate::binaries::built;
use crate::media;
use crate::site::reading;
use crate::wait::until;

/// Connections that post events, and the pause of each between two.
const POSTERS: u32 = 32;
const PAUSE: Duration = Duration::from_millis(2);
/// Longest wait for anything.
const LONG: Duration = Duration::from_secs(30);

/// What keeps both cores busy; ends when dropped.
pub struct Load {
    inference: Vec<Child>,
    stop: Arc<AtomicBool>,
    posted: Arc<AtomicU64>,
}

impl Load {
    /// Two processes of inference (nice 10), and events over HTTP at the node with this console.
    ///
    /// # Errors
    /// When there is no video, or the node does not answer.
    pub fn start(console: u16) -> anyhow::Result<Self> {
        let video = media::video().context("find the video: without inference nothing is busy")?;
        let mut inference = Vec::new();
        for _ in 0..2 {
            let mut shell = Command::new("nice");
            let detect = "while \"$0\" detect --model yolox-nano --json \"$1\"; do :; done";
            shell.args(["-n", "10", "sh", "-c", detect]).arg(built()?.join("edge-node")).arg(&video);
            shell.current_dir(media::root()).stdout(Stdio::null()).stderr(Stdio::null());
            std::os::unix::process::CommandExt::process_group(&mut shell, 0);
            inference.push(shell.spawn().context("start inference")?);
        }
        let (stop, posted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        for n in 0..POSTERS {
            let (stop, posted) = (stop.clone(), posted.clone());
            let mut poster = Console::open(console)?;
            std::thread::spawn(move || {
                let body = reading(n.into()).to_string();
                while !stop.load(Ordering::Relaxed) && poster.ask("POST", "/api/v1/events", &body).is_ok() {
                    posted.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(PAUSE);
                }
            });
        }
        until("the load to begin", LONG, || match posted.load(Ordering::Relaxed) {
            count if count > 1000 => Ok(()),
            count => Err(format!("{count} events")),
        })?;
        Ok(Self { inference, stop, posted })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        tracing::debug!(posted = self.posted.load(Ordering::Relaxed), "load ends");
        for child in &mut self.inference {
            let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
            let _ = group.map(|group| rustix::process::kill_process_group(group, rustix::process::Signal::KILL));
            let _ = child.wait();
        }
    }
}
