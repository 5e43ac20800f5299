//! `edge-node outbox status|check|repair|measure`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;

use super::measure;
use crate::config::Config;
use crate::journal::inspect::{self, Status};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Prints where each lane stands, how much waits for the relay, and the room taken.
    Status(Folder),
    /// Reads everything and checks every record against its digest and chain; fails if something is damaged.
    Check(Folder),
    /// Makes damaged files anew of what can be read of them. The node must be stopped; its next start names what is
    /// missing.
    Repair(Folder),
    /// Measures what this machine's disk makes of the journal, beside bare SQLite. Writes to a new folder only.
    Measure(measure::Args),
}

#[derive(Debug, clap::Args)]
struct Folder {
    /// Configuration file (TOML), for its data folder.
    #[arg(long, required_unless_present = "data", conflicts_with = "data")]
    config: Option<PathBuf>,
    /// Data folder.
    #[arg(long)]
    data: Option<PathBuf>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

impl Folder {
    fn path(&self) -> anyhow::Result<PathBuf> {
        match (&self.data, &self.config) {
            (Some(data), _) => Ok(data.clone()),
            (None, Some(config)) => Ok(Config::read(config)?.data),
            (None, None) => anyhow::bail!("find the journal: --config or --data is needed"),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// A journal that cannot be read; for `check`, one that is damaged.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.verb {
        Verb::Status(folder) => show(&inspect::status(&folder.path()?).context("read the journal")?, folder.json),
        Verb::Check(folder) => {
            let status = inspect::check(&folder.path()?).context("read the journal")?;
            show(&status, folder.json)?;
            anyhow::ensure!(status.is_whole(), "check the journal: part of it is not what was written");
            Ok(())
        }
        Verb::Repair(folder) => {
            let path = folder.path()?;
            let rebuilt = inspect::repair(&path).context("repair the journal")?;
            let mut out = std::io::stdout().lock();
            if folder.json {
                writeln!(out, "{}", serde_json::json!({ "rebuilt": rebuilt }))?;
            } else if rebuilt.is_empty() {
                writeln!(out, "every file can be read; nothing was changed")?;
            } else {
                writeln!(out, "made anew, the old ones are in {}:", path.join("damaged").display())?;
                rebuilt.iter().try_for_each(|file| writeln!(out, "  {file}"))?;
            }
            Ok(())
        }
        Verb::Measure(args) => measure::run(&args),
    }
}

fn show(status: &Status, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, status)?;
        writeln!(out)?;
        return Ok(());
    }
    writeln!(out, "{:<10} {:>12} {:>12} {:>12}", "lane", "kept", "at relay", "waiting")?;
    for lane in &status.lanes {
        writeln!(out, "{:<10} {:>12} {:>12} {:>12}", lane.lane.as_str(), lane.kept, lane.acked, lane.waiting)?;
        for range in &lane.ranges {
            let what = range.gap.as_ref().map_or_else(|| "complete".to_owned(), |reason| format!("gap ({reason})"));
            writeln!(out, "           epoch {} {what} from {} to {}", range.epoch, range.first, range.last)?;
        }
    }
    for (lane, place) in status.lanes.iter().flat_map(|lane| lane.signed.iter().map(move |place| (lane.lane, place))) {
        let what = match place.holds {
            Some(true) => "as it was signed",
            Some(false) => "NOT what the node has signed",
            None => "signed, and within a gap",
        };
        writeln!(out, "{:<10} epoch {} at {} {what}", lane.as_str(), place.epoch, place.seq)?;
    }
    let mib = |bytes: u64| bytes / (1024 * 1024);
    writeln!(
        out,
        "urgent {} MiB, bulk {} MiB in {} segments, ballast {}, {} files set aside",
        mib(status.urgent_bytes),
        mib(status.bulk_bytes),
        status.segments,
        if status.ballast { "in place" } else { "missing" },
        status.set_aside.len()
    )?;
    status.unreadable.iter().try_for_each(|file| writeln!(out, "unreadable: {file}"))?;
    Ok(())
}
