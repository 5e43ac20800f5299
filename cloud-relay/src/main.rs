//! `cloud-relay`: parses, runs, maps the exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cloud_relay::relay;
use shared::config::ConfigError;

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
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("failed to {error:#}");
            ExitCode::from(if error.chain().any(|cause| cause.is::<ConfigError>()) { 2 } else { 1 })
        }
    }
}
