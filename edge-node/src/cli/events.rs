//! `edge-node events`: what the journal holds, and what comes.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use shared::cloudevent::CloudEvent;
use shared::config::ConfigError;
use shared::units::UtcMicros;

use crate::config::Config;
use crate::journal::query::{Cursor, Filter, Query};
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
    /// What it is about, or a prefix with a star: `vehicle/*`.
    #[arg(long)]
    aggregate: Option<String>,
    /// Not before this time (RFC 3339).
    #[arg(long, value_parser = UtcMicros::parse_rfc3339)]
    since: Option<UtcMicros>,
    /// Before this time (RFC 3339).
    #[arg(long, value_parser = UtcMicros::parse_rfc3339)]
    until: Option<UtcMicros>,
    /// One trace: 32 hexadecimal digits.
    #[arg(long)]
    trace: Option<String>,
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
    let Args { event_type, aggregate, since, until, trace, .. } = args;
    let filter = Filter { event_type, aggregate, since, until, trace };
    let mut cursor = Cursor::default();
    let mut out = std::io::stdout().lock();
    loop {
        let mut query = Query::new(&mut reader, &config.node, &filter, cursor, usize::MAX);
        while let Some(event) = query.next_event().context("read the journal")? {
            print(&mut out, &event, args.json).context("write events")?;
        }
        if query.undecodable > 0 {
            tracing::warn!(undecodable = query.undecodable, "records were passed over");
        }
        cursor = query.cursor();
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
