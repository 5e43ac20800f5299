//! `sim`: parses, runs, maps the exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::config::ConfigError;
use sim::render::Order;

/// A simulated site for Picket: vehicles over MAVLink, cameras over MJPEG.
#[derive(Debug, Parser)]
#[command(name = "sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a scenario until stopped.
    Run {
        /// Scenario file (TOML).
        #[arg(long)]
        scenario: PathBuf,
        /// Seed of everything random.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Draws labelled pictures of a yard: people, cars, trucks, drones, animals; day, dusk, infrared night, rain.
    Render {
        /// Folder to fill: images, labels (YOLO format), names.yaml.
        #[arg(long)]
        folder: PathBuf,
        /// Pictures.
        #[arg(long, default_value_t = 100)]
        count: u32,
        /// Seed of the first picture; each further one has the next.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Pixels across.
        #[arg(long, default_value_t = 640)]
        width: usize,
        /// Pixels down.
        #[arg(long, default_value_t = 360)]
        height: usize,
        /// One clip of so many pictures a second in which people walk by, instead of a scene for each picture.
        #[arg(long)]
        clip: Option<f32>,
    },
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("PICKET_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let done = match Cli::parse().command {
        Command::Run { scenario, seed } => sim::run::run(&scenario, seed),
        Command::Render { folder, count, seed, width, height, clip } => {
            // Even sides: the canvas is drawn twice as large.
            let size = (width.clamp(16, 4096) & !1, height.clamp(16, 4096) & !1);
            sim::render::run(&Order { folder, count, seed, size, clip_fps: clip.filter(|fps| *fps > 0.0) })
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("failed to {error:#}");
            ExitCode::from(if error.chain().any(|cause| cause.is::<ConfigError>()) { 2 } else { 1 })
        }
    }
}
