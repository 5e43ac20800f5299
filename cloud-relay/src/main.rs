//! `cloud-relay`: parses, runs, maps the exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cloud_relay::config::Config;
use cloud_relay::{operate, relay};
use shared::config::ConfigError;
use shared::ids::Name;
use uuid::Uuid;

/// The cloud relay of Picket: takes the batches of edge nodes into Postgres and Kafka, and serves what they saw.
#[derive(Debug, Parser)]
#[command(name = "cloud-relay", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs until stopped; applies migrations first.
    Run(Args),
    /// Brings the database schema up to date and ends.
    Migrate(Args),
    /// Proves a node's history: complete from A to B in each lane, or every gap with its reason.
    Verify {
        #[command(flatten)]
        args: Args,
        /// Node.
        #[arg(long)]
        node: Name,
    },
    /// Lists nodes, adopts one of two histories of a node.
    Node {
        #[command(subcommand)]
        verb: Verb,
    },
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Prints every node and the histories that were refused.
    List(Args),
    /// Goes on with a refused history; what went on in its place is closed.
    Adopt {
        #[command(flatten)]
        args: Args,
        /// Node.
        #[arg(long)]
        node: Name,
        /// Only these epochs, as `node list` prints them; all refused ones without it.
        #[arg(long = "epoch")]
        epochs: Vec<Uuid>,
        /// Who decides.
        #[arg(long)]
        by: String,
    },
}

#[derive(Debug, clap::Args)]
struct Args {
    /// Configuration file (TOML).
    #[arg(long)]
    config: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("PICKET_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let done = match Cli::parse().command {
        Command::Run(args) => relay::run(&args.config).await,
        Command::Migrate(args) => relay::migrate(&args.config).await,
        Command::Verify { args, node } => verify(&args, &node).await,
        Command::Node { verb } => node(verb).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("failed to {error:#}");
            ExitCode::from(if error.chain().any(|cause| cause.is::<ConfigError>()) { 2 } else { 1 })
        }
    }
}

async fn verify(args: &Args, node: &Name) -> anyhow::Result<()> {
    operate::verify(&Config::read(&args.config)?, node, &mut std::io::stdout()).await
}

async fn node(verb: Verb) -> anyhow::Result<()> {
    let out = &mut std::io::stdout();
    match verb {
        Verb::List(args) => operate::list(&Config::read(&args.config)?, out).await,
        Verb::Adopt { args, node, epochs, by } => {
            operate::adopt(&Config::read(&args.config)?, &node, &epochs, &by, out).await
        }
    }
}
