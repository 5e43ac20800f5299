//! `./dev bench journal`: the node's journal beside bare `INSERT(id, blob)` with the same bytes, commits and pragmas.

use std::io::Write;
use std::process::Command;

use anyhow::Context;
use serde_json::{Value, json};

use super::Target::{Least, Most};
use super::{last_line, median, number, round};
use crate::binaries::built;
use crate::process::output;

/// Pairs for each group size.
const PAIRS: usize = 7;
/// Events in one commit, and in one run.
const GROUPS: [(&str, &str); 4] = [("1", "5000"), ("10", "20000"), ("100", "100000"), ("1000", "200000")];
/// Seconds at 1 000 events/s.
const PACED_S: &str = "20";
/// Size of the journal that is opened, MiB.
const OPEN_MIB: &str = "2048";

fn measure(arguments: &[&str]) -> anyhow::Result<Value> {
    // On the disk that the build lies on: /tmp may be memory.
    let folder = built()?.join(format!("bench-journal-{}", std::process::id()));
    let mut command = Command::new(built()?.join("edge-node"));
    command.args(["outbox", "measure", "--data"]).arg(&folder).args(arguments).env("PICKET_LOG", "error");
    let text = output(&mut command);
    if text.is_err() {
        // Left by a run that failed.
        let _ = std::fs::remove_dir_all(&folder);
    }
    serde_json::from_str(text?.trim()).context("read what edge-node measured")
}

/// Measures and prints.
///
/// # Errors
/// When a run fails.
pub fn run(out: &mut impl Write) -> anyhow::Result<()> {
    let mut metrics = json!({});
    let mut keep = |name: String, value: f64| {
        if let Some(metrics) = metrics.as_object_mut() {
            metrics.insert(name, json!(round(value)));
        }
    };
    writeln!(
        out,
        "durable commits, {PAIRS} interleaved pairs, medians; reference: bare SQLite, same bytes and commits"
    )?;
    writeln!(
        out,
        "{:<8}{:>14}{:>14}{:>8}{:>12}{:>12}",
        "a commit", "ours, ev/s", "bare, ev/s", "rate", "our CPU us", "bare CPU us"
    )?;
    let mut worst = f64::INFINITY;
    for (group, count) in GROUPS {
        let pairs: Vec<Value> = (0..PAIRS)
            .map(|_| measure(&["--what", "append", "--group", group, "--count", count]))
            .collect::<Result<_, _>>()?;
        let of = |name: &str| median(pairs.iter().map(|pair| number(pair, name)));
        let rate = median(pairs.iter().map(|pair| number(pair, "bare_s") / number(pair, "ours_s")));
        let events: f64 = count.parse()?;
        let (ours, bare) = (events / of("ours_s"), events / of("bare_s"));
        let (our_cpu, bare_cpu) = (of("ours_cpu_us"), of("bare_cpu_us"));
        writeln!(out, "{group:<8}{ours:>14.0}{bare:>14.0}{rate:>8.2}{our_cpu:>12.2}{bare_cpu:>12.2}")?;
        keep(format!("append_{group}_rate"), rate);
        keep(format!("append_{group}_per_s"), ours);
        keep(format!("append_{group}_cpu_us"), our_cpu);
        worst = worst.min(rate);
    }
    keep("append_rate".into(), worst);
    let paced = measure(&["--what", "paced", "--count", PACED_S])?;
    let amplified = |written: &str, bytes: &str| number(&paced, written) / number(&paced, bytes);
    let bulk = amplified("bulk_written", "bulk_bytes");
    let (urgent, bare) = (amplified("urgent_written", "urgent_bytes"), amplified("bare_bulk_written", "bulk_bytes"));
    let (ours, theirs) = (number(&paced, "urgent_p99_ms"), number(&paced, "bare_p99_ms"));
    writeln!(out, "1 000 events/s for {PACED_S} s, 5 % urgent, each its own commit:")?;
    writeln!(out, "  written to disk per byte of bulk event {bulk:.2} (bare {bare:.2}), of urgent event {urgent:.1}")?;
    writeln!(out, "  urgent commit p99 {ours:.3} ms, bare {theirs:.3} ms")?;
    keep("bulk_written_per_byte".into(), bulk);
    keep("urgent_written_per_byte".into(), urgent);
    keep("p99_over_bare_ms".into(), ours - theirs);
    let opened = measure(&["--what", "open", "--count", OPEN_MIB])?;
    let seconds = number(&opened, "open_s");
    writeln!(out, "opening a journal of {OPEN_MIB} MiB in {} segments: {seconds:.4} s", number(&opened, "segments"))?;
    keep("open_s".into(), seconds);
    let targets = [
        Least("append_rate", 0.8),
        Most("p99_over_bare_ms", 10.0),
        Most("bulk_written_per_byte", 4.0),
        Most("open_s", 2.0),
    ];
    last_line(out, "journal", &metrics, &targets)
}
