//! `./dev bench`: measurements beside a reference in the same run, since machines are noisy.
//!
//! Each benchmark prints a table, what it was measured with, and one JSON object as its last line.

mod cameras;
mod detect;
mod journal;
mod uplink;
mod ingest;
mod console;
mod load;
mod rover;
mod frame;
mod mavlink;
mod interlock;
mod infer;

use std::io::Write;

use anyhow::Context;
use serde_json::{Value, json};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// Runs a benchmark by name; all of them without one.
///
/// # Errors
/// An unknown name, or a measurement that cannot be made.
pub fn run(name: Option<&str>, out: &mut impl Write) -> anyhow::Result<()> {
    let all = ["detect", "cameras", "journal", "uplink", "ingest", "interlock", "mavlink", "infer"];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for name in name.map_or_else(|| all.to_vec(), |name| vec![name]) {
        match name {
            "detect" => detect::run(out),
            "cameras" => runtime.block_on(cameras::run(out)),
            "journal" => journal::run(out),
            "uplink" => runtime.block_on(uplink::run(out)),
            "ingest" => runtime.block_on(ingest::run(out)),
            "interlock" => interlock::run(out),
            "mavlink" => mavlink::run(out),
            "infer" => infer::run(out),
            other => anyhow::bail!("run benchmark {other}: expected {}", all.join(", ")),
        }
        .with_context(|| format!("measure {name}"))?;
    }
    Ok(())
}

/// A target of an issue.
#[derive(Debug, Clone, Copy)]
enum Target {
    /// At most.
    Most(&'static str, f64),
    /// At least.
    Least(&'static str, f64),
}

/// The JSON object that a benchmark ends with.
fn last_line(out: &mut impl Write, bench: &str, metrics: &Value, targets: &[Target]) -> anyhow::Result<()> {
    let (mut named, mut met) = (serde_json::Map::new(), true);
    for target in targets {
        let (name, sign, limit, good) = match *target {
            Target::Most(name, limit) => (name, "<=", limit, number(metrics, name) <= limit),
            Target::Least(name, limit) => (name, ">=", limit, number(metrics, name) >= limit),
        };
        if !good {
            writeln!(out, "missed: {name} {sign} {limit}, measured {}", number(metrics, name))?;
        }
        met &= good;
        named.insert(name.to_owned(), json!(format!("{sign} {limit}")));
    }
    let line = json!({ "bench": bench, "metrics": metrics, "targets": named, "met": met });
    writeln!(out, "{line}")?;
    Ok(())
}

/// A witness must not wait for what it watches: SCHED_FIFO for this thread, where the system permits it.
fn prefer_this_thread() {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    // Above the node's own threads.
    let Ok(priority) = ThreadPriorityValue::try_from(60u8).map(ThreadPriority::Crossplatform) else { return };
    if set_thread_priority_and_policy(thread_native_id(), priority, policy).is_err() {
        tracing::warn!("the witness has no real-time priority: what it waits for is measured too");
    }
}

fn number(parts: &Value, part: &str) -> f64 {
    parts.get(part).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The median, the 99th and 99.9th in a hundred, and the largest.
fn percentiles(mut values: Vec<f64>) -> [f64; 4] {
    values.sort_by(f64::total_cmp);
    [0.5, 0.99, 0.999, 1.0].map(|part| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of a list")]
        let index = ((values.len() as f64 * part) as usize).min(values.len().saturating_sub(1));
        values.get(index).copied().unwrap_or(f64::NAN)
    })
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
