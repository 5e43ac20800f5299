//! `hil`: what `./dev` hands over to.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use hil::servers::Servers;
use hil::{bench, demo, evaluate, servers, suite};

/// The rig runner of Picket.
#[derive(Debug, Parser)]
#[command(name = "hil")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a whole site with relay, Postgres and Kafka.
    Demo {
        /// How long, e.g. `60s`; without it until Ctrl-C.
        #[arg(long = "for", value_parser = shared::config::duration::parse)]
        length: Option<Duration>,
        /// Says nothing but the report.
        #[arg(long)]
        headless: bool,
        /// Copies the node's data folder there after the run.
        #[arg(long)]
        keep: Option<PathBuf>,
    },
    /// Trains a wire dictionary on kept journals; see shared/src/dictionary.rs.
    Dictionary {
        /// Data folders of nodes.
        #[arg(long = "journal", required = true)]
        journals: Vec<PathBuf>,
        /// New file.
        #[arg(long)]
        out: PathBuf,
    },
    /// Runs every test; arguments go to `cargo test`.
    Test {
        /// For `cargo test`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// kill -9 of node, relay, Postgres and Kafka in seeded rounds; then counts what was acknowledged.
    Faults {
        /// Rounds; seven kinds of moment take turns.
        #[arg(long, default_value_t = 200)]
        rounds: usize,
        /// The same seed gives the same moments.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Runs node and relay of this release with those of another: newer with older and the reverse, then updated in place.
    Skew {
        /// Folder of the other release's `edge-node` and `cloud-relay`.
        #[arg(long)]
        other: PathBuf,
    },
    /// Measures; without a name everything.
    Bench {
        /// `detect`, `cameras`, `journal`, `uplink`, `ingest`, `interlock`, `mavlink` or `infer`.
        name: Option<String>,
    },
    /// How good a model is (COCO mAP): ours on drawn scenes that it has not seen, YOLOX-nano on real pictures.
    Evaluate {
        /// A model of the manifest.
        #[arg(long)]
        model: Option<String>,
        /// A labelled folder: images/, labels/ (YOLO format), names.yaml.
        #[arg(long, requires = "model")]
        folder: Option<PathBuf>,
        /// Scenes that are drawn.
        #[arg(long, default_value_t = 1000)]
        scenes: usize,
    },
    /// Starts Postgres and Kafka and leaves them running.
    Up,
    /// Stops what `up` started.
    Down,
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("PICKET_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("failed to {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    match command {
        Command::Demo { length, headless, keep } => {
            anyhow::ensure!(!headless || length.is_some(), "run the demo: --headless needs --for");
            hil::binaries::built()?;
            let say = |text: &str| match headless {
                true => tracing::info!("{text}"),
                false => drop(writeln!(std::io::stdout(), "{text}")),
            };
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            let report = runtime.block_on(demo::run(length, keep.as_deref(), say))?;
            writeln!(out, "{}", serde_json::to_string(&report)?)?;
            anyhow::ensure!(
                report.lost + report.duplicated + report.misplaced == 0,
                "keep every event once, in its place"
            );
            anyhow::ensure!(report.unpublished == 0 && report.disordered == 0, "publish every event, in order");
            Ok(())
        }
        Command::Dictionary { journals, out: file } => {
            Ok(writeln!(out, "{}", hil::dictionary::train(&journals, &file)?)?)
        }
        Command::Test { arguments } => suite::run(&arguments, &mut out),
        Command::Faults { rounds, seed } => faults(rounds, seed, &mut out),
        Command::Skew { other } => {
            hil::binaries::built()?;
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            let found = runtime.block_on(hil::skew::run(&other))?;
            found.iter().try_for_each(|line| Ok(writeln!(out, "{line}")?))
        }
        Command::Evaluate { model, folder, scenes } => {
            evaluate::run(&evaluate::Order { model, folder, scenes }, &mut out)
        }
        Command::Bench { name } => bench::run(name.as_deref(), &mut out),
        Command::Up => {
            let addresses = Servers::start()?.leave()?;
            writeln!(out, "Postgres: 127.0.0.1:{}\nKafka: {}", addresses.postgres_port, addresses.kafka)?;
            Ok(())
        }
        Command::Down => servers::down(),
    }
}

/// Prints where each kill fell and, last, one JSON object.
fn faults(rounds: usize, seed: u64, out: &mut impl Write) -> anyhow::Result<()> {
    hil::binaries::built()?;
    let repeat = format!("to repeat: cargo run -p hil -- faults --rounds {rounds} --seed {seed}");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(hil::crash::run(seed, rounds)).context(repeat.clone())?;
    outcome.falls.iter().try_for_each(|fall| writeln!(out, "{fall}"))?;
    let lost = outcome.lost + outcome.report.lost;
    let line = serde_json::json!({
        "rounds": rounds, "acknowledged": outcome.acknowledged.len(), "lost": lost,
        "duplicated": outcome.report.duplicated, "gaps_named": outcome.gaps_named, "seed": seed,
    });
    writeln!(out, "{line}")?;
    match outcome.problem() {
        Some(problem) => anyhow::bail!("keep every event once and in order: {problem}; {repeat}"),
        None => Ok(()),
    }
}
