//! `edge-node`: parses, runs, maps the exit code.

use std::process::ExitCode;

use clap::Parser;
use edge_node::cli;

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("PICKET_LOG").unwrap_or_else(|_| "info,tract=warn".into());
    // A closed log must not end a stage.
    tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    match cli::run(cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("failed to {error:#}");
            cli::exit_code(&error)
        }
    }
}
