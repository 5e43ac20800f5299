//! The node's threads: each has a name, and one that ends tells.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;

use anyhow::Context;
use shared::units::Uptime;
use tracing::error;

use crate::clock;

/// Named threads that must all live as long as the node.
pub struct Stages {
    threads: Vec<(String, JoinHandle<()>)>,
    ended: Sender<String>,
}

/// Tells that a stage has ended, however it did.
struct Ended(Sender<String>, String);

impl Drop for Ended {
    fn drop(&mut self) {
        // Nobody listens once the node is stopping.
        let _ = self.0.send(std::mem::take(&mut self.1));
    }
}

impl Stages {
    /// None yet. `ended`: told the name of one that ends.
    pub const fn new(ended: Sender<String>) -> Self {
        Self { threads: Vec::new(), ended }
    }

    /// Starts one.
    ///
    /// # Errors
    /// When the system has no room for a thread.
    pub fn spawn(&mut self, name: &str, run: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
        let (ended, stage) = (self.ended.clone(), name.to_owned());
        let thread = std::thread::Builder::new().name(name.chars().take(15).collect()).spawn(move || {
            // Sent when dropped: a stage that panics ends the node as one that returns does.
            let _ended = Ended(ended, stage);
            run();
        });
        self.threads.push((name.to_owned(), thread.with_context(|| format!("start {name}"))?));
        Ok(())
    }

    /// Waits for them, at most until the deadline; names those that hang.
    pub fn join(self, deadline: Uptime) {
        join(self.threads, deadline);
    }
}

/// Waits for the stages, at most until the deadline; names those that hang.
pub fn join(threads: Vec<(String, JoinHandle<()>)>, deadline: Uptime) {
    let (done, finished) = channel();
    let names: Vec<String> = threads.iter().map(|(name, _)| name.clone()).collect();
    for (name, thread) in threads {
        let done = done.clone();
        std::thread::spawn(move || {
            let _ = thread.join();
            let _ = done.send(name);
        });
    }
    let mut left = names;
    while !left.is_empty() {
        match finished.recv_timeout(deadline.since(clock::uptime())) {
            Ok(name) => left.retain(|other| *other != name),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                error!(stages = left.join(", "), "stages do not stop");
                return;
            }
        }
    }
}
