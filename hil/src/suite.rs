//! `./dev test`: the servers, every test of the workspace, one summary line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::binaries::FEATURES;
use crate::media::root;
use crate::servers::{ENV, Servers};

/// Sums of the test runner's `test result:` lines.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    /// Passed.
    pub passed: u64,
    /// Failed.
    pub failed: u64,
    /// Skipped.
    pub skipped: u64,
}

impl Sums {
    /// Adds a line of libtest, if it is a result: `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    pub fn add(&mut self, line: &str) {
        let Some(rest) = line.trim().strip_prefix("test result: ") else { return };
        let counts = rest.split(['.', ';']).filter_map(|part| {
            let (number, what) = part.trim().split_once(' ')?;
            Some((number.parse::<u64>().ok()?, what))
        });
        for (number, what) in counts {
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }
}

/// Runs the tests; prints the summary as the last line. Arguments go to `cargo test`.
///
/// # Errors
/// When a test failed, nothing ran, or the servers do not start.
pub fn run(arguments: &[String], out: &mut impl Write) -> anyhow::Result<()> {
    crate::binaries::built()?;
    let servers = Servers::start()?;
    let skipped = tempfile::NamedTempFile::new().context("make the list of skipped tests")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut tests = Command::new(cargo);
    tests.args(["test", "--workspace", "--no-fail-fast"]).args(FEATURES).args(arguments).current_dir(root());
    tests.env(ENV, servers.publish()?).env("PICKET_SKIPPED", skipped.path()).stdout(Stdio::piped());
    let mut child = tests.spawn().context("run cargo test")?;
    let mut sums = Sums::default();
    for line in BufReader::new(child.stdout.take().context("read cargo test")?).lines() {
        let line = line.context("read cargo test")?;
        writeln!(out, "{line}")?;
        sums.add(&line);
    }
    let status = child.wait().context("wait for cargo test")?;
    servers.stop()?;
    let names = std::fs::read_to_string(skipped.path()).context("read the list of skipped tests")?;
    for name in names.lines() {
        writeln!(out, "skipped: {name}")?;
        sums.passed = sums.passed.saturating_sub(1);
        sums.skipped += 1;
    }
    // A build that failed or a binary that crashed counts no test as failed: the status does.
    if !status.success() {
        sums.failed = sums.failed.max(1);
    }
    writeln!(out, "{} passed, {} failed, {} skipped", sums.passed, sums.failed, sums.skipped)?;
    anyhow::ensure!(sums.failed == 0, "run the tests: {} failed", sums.failed);
    anyhow::ensure!(sums.passed > 0, "run the tests: none ran");
    Ok(())
}
