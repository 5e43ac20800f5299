//! Child processes that never outlive their owner, with their output in a file.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context;
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process, kill_process_group};

use crate::wait::until;

/// What keeps glibc from holding memory that is free: as README says that the node is run.
pub const MEMORY: [(&str, &str); 2] = [("MALLOC_ARENA_MAX", "2"), ("MALLOC_MMAP_THRESHOLD_", "2000000")];

/// A running child; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command, its output in `folder/name.log`; that of a run before goes to `folder/name.log.before`.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        // Absent at the first start.
        let _ = std::fs::rename(&log, folder.join(format!("{name}.log.before")));
        let out =
            File::options().create(true).append(true).open(&log).with_context(|| format!("make {}", log.display()))?;
        let err = out.try_clone().context("share the log")?;
        // A group of its own: Ctrl-C at the terminal is for the runner, which stops its children in order.
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0).spawn();
        let child = child.with_context(|| format!("start {name}: {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Its resident memory as the kernel has it, now and at most so far, MiB.
    ///
    /// # Errors
    /// When it has ended.
    pub fn memory_mib(&self) -> anyhow::Result<(f64, f64)> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.id())).context("read a process's memory")?;
        let mib = |key: &str| -> Option<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
        };
        Ok((mib("VmRSS:").context("find VmRSS")?, mib("VmHWM:").context("find VmHWM")?))
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it printed so far.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The exit status, once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("signal a process")?;
        kill_process(pid, signal).with_context(|| format!("signal {}", self.name))
    }

    /// Asks it to end and waits; kills it at the deadline and says so.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn stop(mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.ended() {
            return Ok(status);
        }
        self.signal(Signal::TERM)?;
        let name = self.name.clone();
        until(&format!("{name} to end"), deadline, || self.ended().ok_or_else(|| "running".into()))
    }

    /// kill -9, and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().with_context(|| format!("kill {}", self.name))?;
        self.child.wait().with_context(|| format!("wait for {}", self.name))?;
        Ok(())
    }

    /// kill -9 of it and everything it started, and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill_group(&mut self) -> anyhow::Result<()> {
        if self.ended().is_some() {
            return Ok(());
        }
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("find a process group")?;
        kill_process_group(group, Signal::KILL).with_context(|| format!("kill {}", self.name))?;
        self.child.wait().with_context(|| format!("wait for {}", self.name))?;
        Ok(())
    }

    /// Waits until its output holds `text`.
    ///
    /// # Errors
    /// At the deadline, or when it ends first; with the end of its output.
    pub fn wait_for_output(&mut self, text: &str, deadline: Duration) -> anyhow::Result<()> {
        let what = format!("{} to print {text:?}", self.name);
        let mut gone = None;
        let seen = until(&what, deadline, || {
            let output = self.output();
            gone = self.ended();
            match (output.contains(text), gone) {
                (true, _) => Ok(true),
                (false, Some(_)) => Ok(false),
                (false, None) => Err(tail(&output)),
            }
        })?;
        anyhow::ensure!(seen, "wait for {what}: it ended with {gone:?}: {}", tail(&self.output()));
        Ok(())
    }
}

fn tail(output: &str) -> String {
    let lines: Vec<&str> = output.lines().rev().take(12).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is the usual case. With its group: a tracer that is killed leaves what it traced.
        let _ = self.kill_group();
        let _ = self.child.wait();
    }
}

/// CPU time of a process so far.
///
/// # Errors
/// When it has ended.
pub fn cpu(process: u32) -> anyhow::Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).context("read the CPU time")?;
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |n: usize| fields.get(n).and_then(|field| field.parse::<u64>().ok());
    // utime and stime, in hundredths of a second.
    let sum = ticks(11).zip(ticks(12)).map(|(user, system)| user + system).context("read the CPU time")?;
    Ok(Duration::from_millis(sum * 10))
}

/// Below those that outgoing sockets get by themselves (from 32768 on, Linux): nobody takes one of them by chance between its
/// choice and its use.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// A port that can be bound; each is given once in this process, and others begin elsewhere.
fn free_port<T>(bind: impl Fn((Ipv4Addr, u16)) -> std::io::Result<T>) -> anyhow::Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    let mut tries = (0..count).map(|_| {
        let place = std::process::id().wrapping_mul(613).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % count;
        PORTS.start + u16::try_from(place).unwrap_or(0)
    });
    tries.find(|port| bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).context("find a free port")
}

/// A TCP port that was free a moment ago.
///
/// # Errors
/// When loopback has none.
pub fn free_tcp_port() -> anyhow::Result<u16> {
    free_port(TcpListener::bind)
}

/// A UDP port that was free a moment ago.
///
/// # Errors
/// When loopback has none.
pub fn free_udp_port() -> anyhow::Result<u16> {
    free_port(UdpSocket::bind)
}

/// Runs a command to its end and gives its standard output.
///
/// # Errors
/// When it cannot be started or fails, with what it printed.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let done = command.stdin(Stdio::null()).output().with_context(|| format!("run {command:?}"))?;
    let errors = String::from_utf8_lossy(&done.stderr);
    anyhow::ensure!(done.status.success(), "run {command:?}: {}: {errors}", done.status);
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
