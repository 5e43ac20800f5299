//! `edge-node interlock replay`: what the interlock took, decided again: as it was, which must come out the same bit for bit,
//! and under another configuration, whose differences are printed.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use shared::units::{Uptime, UtcMicros};

use crate::config::Config;
use crate::interlock::machine::{Effect, Machine};
use crate::interlock::recorder::{FOLDER, files};
use crate::interlock::recording::{Head, Step, VERSION, outcome, read_block, trace};
use crate::policy::policy;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file (TOML): where the recordings are.
    #[arg(long)]
    config: PathBuf,
    /// Another configuration, whose interlock decides beside the recorded one; by default what CONFIG says today.
    #[arg(long)]
    under: Option<PathBuf>,
    /// Prints every decision, too.
    #[arg(long)]
    decisions: bool,
}

#[derive(Default)]
struct Sums {
    steps: u64,
    decisions: u64,
    unequal: u64,
    differ: u64,
    unreadable: u64,
}

/// Replays every recording of the data folder.
///
/// # Errors
/// A recording that does not come out as it was, or cannot be read; a configuration that cannot be used.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let config = Config::read(&args.config)?;
    let other = args.under.as_deref().map(Config::read).transpose()?;
    let other = other.as_ref().unwrap_or(&config);
    let (mut sums, mut out) = (Sums::default(), std::io::stdout().lock());
    let files = files(&config.data.join(FOLDER))?;
    for path in &files {
        if let Err(error) = replay(path, other, args.decisions, &mut sums, &mut out) {
            sums.unreadable += 1;
            tracing::error!("{}: {error:#}", path.display());
        }
    }
    let Sums { steps, decisions, unequal, differ, unreadable } = sums;
    writeln!(
        out,
        "{} recordings, {steps} inputs, {decisions} with a decision: {unequal} did not come out as recorded, \
         {differ} differ under {}",
        files.len(),
        args.under.as_ref().unwrap_or(&args.config).display(),
    )?;
    anyhow::ensure!(unreadable == 0, "replay: {unreadable} recordings could not be read to their end");
    anyhow::ensure!(unequal == 0, "replay: {unequal} decisions did not come out as recorded");
    Ok(())
}

fn replay(path: &Path, other: &Config, all: bool, sums: &mut Sums, out: &mut impl Write) -> anyhow::Result<()> {
    let mut file = BufReader::new(File::open(path).context("open a recording")?);
    let Some(block) = read_block(&mut file).context("read its head")? else { return Ok(()) };
    let head: Head = postcard::from_bytes(&block).context("read its head")?;
    anyhow::ensure!(head.version == VERSION, "expected format {VERSION}, found {}", head.version);
    let recorded = Config::of("recorded configuration", head.config.clone())?;
    let machine: Machine = postcard::from_bytes(&head.machine).context("read the machine: of another release?")?;
    let mut as_was = machine.clone().under(policy(&recorded)).map_err(anyhow::Error::msg)?;
    // The same text decides the same.
    let mut beside = (recorded.text != other.text).then(|| machine.under(policy(other))).transpose();
    let beside = beside.as_mut().map_err(|error| anyhow::anyhow!("{error}"))?;
    let names: Vec<String> = recorded.vehicles.iter().map(|vehicle| vehicle.name.to_string()).collect();
    let (mut effects, mut theirs) = (Vec::new(), Vec::new());
    while let Some(block) = read_block(&mut file).context("read a block")? {
        let mut rest = block.as_slice();
        while !rest.is_empty() {
            let (step, left): (Step, _) = postcard::take_from_bytes(rest).context("read a step")?;
            rest = left;
            sums.steps += 1;
            let place = || format!("{} {}", when(&head, step.at), trace(head.run, step.number));
            effects.clear();
            as_was.step(step.input.clone(), step.at, &mut effects);
            if !effects.is_empty() {
                sums.decisions += 1;
            }
            if outcome(&effects) != step.outcome {
                sums.unequal += 1;
                writeln!(out, "{} not as recorded: {}", place(), told(&effects, &names))?;
            } else if all && !effects.is_empty() {
                writeln!(out, "{} {}", place(), told(&effects, &names))?;
            }
            if let Some(beside) = beside.as_mut() {
                theirs.clear();
                beside.step(step.input.clone(), step.at, &mut theirs);
                if effects != theirs {
                    sums.differ += 1;
                    writeln!(out, "{} recorded: {}", place(), told(&effects, &names))?;
                    writeln!(out, "{} under the other: {}", place(), told(&theirs, &names))?;
                }
            }
        }
    }
    Ok(())
}

/// When a step was, by the node's clock at the recording's beginning.
fn when(head: &Head, at: Uptime) -> String {
    let passed = i64::try_from(at.since(head.at).as_micros()).unwrap_or(i64::MAX);
    UtcMicros(head.occurred.at.0.saturating_add(passed)).to_string()
}

fn told(effects: &[Effect], names: &[String]) -> String {
    let name = |vehicle: &usize| names.get(*vehicle).map_or("", String::as_str);
    let one = |effect: &Effect| match effect {
        Effect::Send(vehicle, order) | Effect::Pulse(vehicle, order, _) => format!("{} is told {order}", name(vehicle)),
        Effect::Again(vehicle, order, before) => format!("{} is told {order}, after {before} times", name(vehicle)),
        Effect::Ended { vehicle, verb, outcome, .. } => {
            format!("{verb} of {} is {} {}", name(vehicle), outcome.as_str(), outcome.detail())
        }
        Effect::Beat(vehicle) => format!("heartbeat to {}", name(vehicle)),
        Effect::Rule { tripped, rule, vehicle, demand, reason } => {
            let what = if *tripped { "trips" } else { "clears" };
            format!("{rule} {what} for {}: {} ({reason})", name(vehicle), demand.as_str())
        }
        Effect::Demanded { vehicle, demand, why, .. } => {
            format!("{} of {} ({})", demand.as_str(), name(vehicle), why.as_str())
        }
        Effect::Latch { pressed: true, source, by, .. } => format!("e-stop is pressed by {} {by}", source.as_str()),
        Effect::Latch { by, .. } => format!("release by {by} is written"),
        Effect::LatchReleased { by, .. } => format!("e-stop is released by {by}"),
        Effect::Lease { vehicle, change, by, .. } => format!("{} {change} by {by}", name(vehicle)),
        Effect::Decided { vehicle, reasons, .. } if reasons.is_empty() => format!("permit for {}", name(vehicle)),
        Effect::Decided { vehicle, reasons, .. } => format!("deny for {}: {}", name(vehicle), reasons.join("; ")),
        Effect::Output { output, energised, faulty } => {
            let what = if *energised { "is energised" } else { "drops" };
            format!("output {output} {what}{}", if *faulty { ", faulty" } else { "" })
        }
        Effect::GoOn { vehicle, by } => format!("{} goes on in the name of {by}", name(vehicle)),
        Effect::Answered { reasons, .. } => format!("answer: {}", reasons.join("; ")),
    };
    if effects.is_empty() { "nothing".into() } else { effects.iter().map(one).collect::<Vec<_>>().join("; ") }
}
