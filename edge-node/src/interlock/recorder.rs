//! Keeps what the machine takes, in files beside the journal with a quota. The safety thread hands over by value and never
//! waits; when there is no room, or a disk that fails, steps are missing and the next file begins with the machine as it is.

use std::fs::File;
use std::io::BufWriter;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::Context;
use shared::ids::TraceId;
use shared::units::Uptime;
use tracing::warn;
use uuid::Uuid;

use super::machine::Machine;
use super::recording::{Head, Step, VERSION, outcome, trace, write_block};
use super::words::{Effect, Input};
use crate::clock::Stamp;
use crate::durable::{self, make_room, private_folder};

/// Steps waiting to be written: a second of 16 vehicles.
const QUEUE: usize = 1024;
/// Folder of the recordings, in the data folder.
pub const FOLDER: &str = "recordings";
const EXTENSION: &str = "rec";
/// One file, and the bytes that are packed together.
const FILE_BYTES: u64 = 8 << 20;
const BLOCK: usize = 256 << 10;
/// A file is wanted, and the machine given for one, this often at most: also while the disk fails or hangs.
const RETRY: Duration = Duration::from_secs(2);
/// What waits is written after this time at the latest.
const FLUSH: Duration = Duration::from_secs(1);

#[expect(clippy::large_enum_variant, reason = "a box would ask for memory with each step")]
enum Note {
    /// The machine before the step of this number.
    Begin(Box<Machine>, u64, Uptime),
    Step(Step),
}

/// The safety thread's end.
pub struct Recorder {
    to: Option<SyncSender<Note>>,
    wanted: Arc<AtomicBool>,
    run: u64,
    number: u64,
    /// When the machine was last given.
    given: Option<Uptime>,
}

/// The end that writes.
pub struct Scribe {
    from: Receiver<Note>,
    wanted: Arc<AtomicBool>,
    run: u64,
    folder: PathBuf,
    config: String,
    quota: u64,
    stamp: Stamp,
}

/// Both ends, for a data folder and so many bytes; nothing is kept for zero.
pub fn recorder(data: &Path, config: String, quota: u64) -> (Recorder, Option<Scribe>) {
    let wanted = Arc::new(AtomicBool::new(true));
    if quota == 0 {
        return (Recorder { to: None, wanted, run: 0, number: 0, given: None }, None);
    }
    // By time, and above what is there: a box whose clock went back must not take its newest for its oldest.
    let newest = files(&data.join(FOLDER)).ok().and_then(|files| run_of(files.last()?));
    let run = Uuid::now_v7().as_u64_pair().0.max(newest.unwrap_or(0).saturating_add(1));
    let (to, from) = sync_channel(QUEUE);
    let folder = data.join(FOLDER);
    let scribe = Scribe { from, wanted: wanted.clone(), run, folder, config, quota, stamp: Stamp::new() };
    (Recorder { to: Some(to), wanted, run, number: 0, given: None }, Some(scribe))
}

impl Recorder {
    /// Before a step: the machine, when a file wants to begin, and the input.
    pub fn before(&mut self, machine: &Machine, input: &Input, now: Uptime) -> Option<Input> {
        let to = self.to.as_ref()?;
        self.number += 1;
        let due = self.given.is_none_or(|at| now.since(at) >= RETRY);
        if due && self.wanted.swap(false, Ordering::Relaxed) {
            self.given = Some(now);
            if to.try_send(Note::Begin(Box::new(machine.clone()), self.number, now)).is_err() {
                self.wanted.store(true, Ordering::Relaxed);
            }
        }
        Some(input.clone())
    }

    /// After it: what followed.
    pub fn after(&self, input: Option<Input>, effects: &[Effect], now: Uptime) {
        if let (Some(to), Some(input)) = (&self.to, input) {
            let step = Step { number: self.number, at: now, input, outcome: outcome(effects) };
            // No room: the scribe sees that a number is missing.
            let _ = to.try_send(Note::Step(step));
        }
    }

    /// The reference of the last step, where steps are kept.
    pub fn trace(&self) -> Option<TraceId> {
        self.to.as_ref().map(|_| trace(self.run, self.number))
    }
}

struct Page {
    file: BufWriter<File>,
    written: u64,
    next: u64,
    block: Vec<u8>,
    /// When the block was begun.
    begun: Uptime,
}

impl Scribe {
    /// Writes until the safety thread has ended.
    pub fn run(self) {
        let (mut page, mut failed): (Option<Page>, _) = (None, false);
        loop {
            let note = match self.from.recv_timeout(FLUSH) {
                Ok(note) => Some(note),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if let Err(error) = self.take(note, &mut page) {
                page = None;
                if !std::mem::replace(&mut failed, true) {
                    warn!("what the interlock takes cannot be recorded: {error:#}");
                }
            }
        }
        if let Some(Err(error)) = page.map(|mut page| page.turn()) {
            warn!("the end of a recording cannot be written: {error:#}");
        }
    }

    fn take(&self, note: Option<Note>, page: &mut Option<Page>) -> anyhow::Result<()> {
        match (note, page.as_mut()) {
            (Some(Note::Begin(machine, first, at)), _) => {
                if let Some(mut full) = page.take() {
                    full.turn()?;
                }
                self.keep_quota()?;
                *page = Some(self.begin(&machine, first, at)?);
                Ok(())
            }
            (Some(Note::Step(step)), Some(open)) if step.number == open.next => {
                open.next += 1;
                if open.block.is_empty() {
                    open.begun = step.at;
                }
                open.block.extend(postcard::to_stdvec(&step).context("record a step")?);
                if open.block.len() >= BLOCK || step.at.since(open.begun) >= FLUSH {
                    open.turn()?;
                }
                if open.written >= self.file_bytes() {
                    self.wanted.store(true, Ordering::Relaxed);
                }
                Ok(())
            }
            (Some(Note::Step(_)), open) => {
                // Steps are missing, or nothing is open: from the machine as it is then.
                if let Some(mut open) = open.is_some().then(|| page.take()).flatten() {
                    open.turn()?;
                }
                self.wanted.store(true, Ordering::Relaxed);
                Ok(())
            }
            (None, Some(open)) => open.turn(),
            (None, None) => Ok(()),
        }
    }

    fn begin(&self, machine: &Machine, first: u64, at: Uptime) -> anyhow::Result<Page> {
        let path = self.folder.join(format!("{:016x}-{first:012}.{EXTENSION}", self.run));
        let file = File::options().create_new(true).write(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("make {}", path.display()))?;
        self.head(file, machine, first, at).inspect_err(|_| {
            // Half a head is no use, and a full disk would be filled with them.
            let _ = std::fs::remove_file(&path);
        })
    }

    fn head(&self, file: File, machine: &Machine, first: u64, at: Uptime) -> anyhow::Result<Page> {
        let machine = postcard::to_stdvec(machine).context("record the machine")?;
        let (run, config, occurred) = (self.run, self.config.clone(), self.stamp.now());
        let head = Head { version: VERSION, run, first, at, occurred, config, machine };
        let mut page = Page { file: BufWriter::new(file), written: 0, next: first, block: Vec::new(), begun: at };
        page.block = postcard::to_stdvec(&head).context("record the machine")?;
        page.turn()?;
        Ok(page)
    }

    fn file_bytes(&self) -> u64 {
        FILE_BYTES.min(self.quota / 4)
    }

    /// Makes room for one file more: the oldest go first.
    fn keep_quota(&self) -> anyhow::Result<()> {
        private_folder(&self.folder).context("make the folder of recordings")?;
        make_room(&self.folder, EXTENSION, self.quota, self.file_bytes()).context("make room for a recording")
    }
}

impl Page {
    fn turn(&mut self) -> anyhow::Result<()> {
        use std::io::Write;
        if !self.block.is_empty() {
            self.written += write_block(&mut self.file, &self.block).context("write a recording")?;
            self.block.clear();
            self.file.flush().context("write a recording")?;
        }
        Ok(())
    }
}

/// The run that a recording is of, by its name.
fn run_of(path: &Path) -> Option<u64> {
    u64::from_str_radix(path.file_name()?.to_str()?.split('-').next()?, 16).ok()
}

/// The recordings of a folder, oldest first: names begin with the time of the run and go on with the number of the step.
///
/// # Errors
/// A folder that cannot be read.
pub fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    durable::files(folder, EXTENSION).with_context(|| format!("read {}", folder.display()))
}
