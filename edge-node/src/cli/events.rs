//! `edge-node events`: what the journal holds, and what comes.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use shared::cloudevent::CloudEvent;
use shared::config::ConfigError;
use shared::units::UtcMicros;

use crate::config::Config;
use crate::journal::query::{Cursor, Filter};
use crate::journal::reader::Reader;

/// With `--follow`, the journal is looked at this often.
const LOOK: Duration = Duration::from_millis(250);

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file (TOML): names the node and its data folder.
    #[arg(long, default_value = "/etc/picket/picket.toml")]
    config: PathBuf,
    /// Event type, or a prefix with a star: `interlock.*`.
    #[arg(long = "type")]
    event_type: Option<String>,
    /// Not before this time (RFC 3339).
    #[arg(long, value_parser = UtcMicros::parse_rfc3339)]
    since: Option<UtcMicros>,
    /// Goes on with new events until stopped.
    #[arg(long)]
    follow: bool,
    /// Prints CloudEvents, one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// A configuration or journal that cannot be read.
pub fn run(args: Args) -> anyhow::Result<()> {
    let config = Config::read(&args.config).map_err(|e: ConfigError| e)?;
    let mut reader = Reader::open(&config.data).context("open the journal")?;
    let filter = Filter { event_type: args.event_type, since: args.since };
    let mut cursor = Cursor::default();
    let mut out = std::io::stdout().lock();
    loop {
        let mut found = Vec::new();
        let undecodable = reader.events(&config.node, &filter, &mut cursor, |event| found.push(event));
        let undecodable = undecodable.context("read the journal")?;
        if undecodable > 0 {
            tracing::warn!(undecodable, "records were passed over");
        }
        // UUIDv7 begins with the time: this is the order in which the facts were seen.
        found.sort_by(|a, b| a.id.cmp(&b.id));
        for event in &found {
            print(&mut out, event, args.json).context("write events")?;
        }
        out.flush().context("write events")?;
        if !args.follow {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
}

fn print(out: &mut impl Write, event: &CloudEvent, json: bool) -> std::io::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, event)?;
        return writeln!(out);
    }
    writeln!(out, "{} {:<22} {:<18} {}", event.time, event.event_type, event.subject, event.data)
}
