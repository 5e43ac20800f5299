//! The command line. `main` parses and maps the exit code; each command is a file here.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::config::ConfigError;

pub mod detect;
pub mod models;
pub mod cameras;
pub mod events;
pub mod measure;
pub mod outbox;
pub mod enroll;
pub mod step;
pub mod replay;
pub mod client;
pub mod live;
pub mod brake;

/// Exit code of a configuration that cannot be used; systemd does not restart on it.
const EXIT_CONFIG: u8 = 2;

/// The edge node of Picket: cameras, sensors and vehicles of one site, its journal and its safety interlocks.
#[derive(Debug, Parser)]
#[command(name = "edge-node", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the node until stopped.
    Run(ConfigArgs),
    /// Checks a configuration and everything it names, without running.
    Check(ConfigArgs),
    /// Prints the journal's events.
    Events(events::Args),
    /// Looks at the journal and its outbox, checks and repairs them.
    Outbox(outbox::Args),
    /// Makes this box a node of a relay, by a token.
    Enroll(enroll::Args),
    /// Looks at the running node's interlock.
    #[command(subcommand)]
    Interlock(live::Interlock),
    /// Looks at the running node's vehicles.
    #[command(subcommand)]
    Vehicle(live::Vehicle),
    /// Finds objects in pictures and videos.
    Detect(detect::Args),
    /// Lists the models of the manifest, checks them, compares two, changes the one that the running node uses.
    Models(models::Args),
    /// Lists the cameras at this machine and what they offer.
    Cameras,
}

/// A configuration file.
#[derive(Debug, clap::Args)]
pub struct ConfigArgs {
    /// Configuration file (TOML).
    #[arg(long)]
    config: PathBuf,
}

/// Where the model manifest is looked for when it is not given: the environment variable PICKET_MANIFEST,
/// `models/manifest.toml` here, then the installed one.
fn manifest_path(given: Option<PathBuf>) -> PathBuf {
    let here = PathBuf::from("models/manifest.toml");
    let from_env = || std::env::var_os("PICKET_MANIFEST").map(PathBuf::from);
    given
        .or_else(from_env)
        .or_else(|| here.exists().then_some(here))
        .unwrap_or_else(|| PathBuf::from("/usr/share/picket/models/manifest.toml"))
}

/// Runs a command.
///
/// # Errors
/// What ended it; [`exit_code`] tells configuration errors from others.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Run(args) => crate::node::run(crate::config::Config::read(&args.config)?),
        Command::Check(args) => {
            crate::node::check(&args.config)?;
            tracing::info!("{}: ok", args.config.display());
            Ok(())
        }
        Command::Events(args) => events::run(args),
        Command::Outbox(args) => outbox::run(args),
        Command::Enroll(args) => enroll::run(&args),
        Command::Interlock(what) => live::interlock(&what),
        Command::Vehicle(what) => live::vehicle(&what),
        Command::Detect(args) => detect::run(args),
        Command::Models(args) => models::run(args),
        Command::Cameras => cameras::run(),
    }
}

/// 2 for a configuration error, 1 for any other failure.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    let config = error.chain().any(|cause| {
        let model = cause.downcast_ref::<crate::detect::manifest::ModelError>();
        cause.is::<ConfigError>() || matches!(model, Some(crate::detect::manifest::ModelError::Manifest(_)))
    });
    ExitCode::from(if config { EXIT_CONFIG } else { 1 })
}
