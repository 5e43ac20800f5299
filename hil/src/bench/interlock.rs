//! `./dev bench interlock`: from the first byte of a press over HTTP to the first demand packet at the vehicle's socket, both
//! seen from outside the node: alone, with both cores busy and the journal taking events, and with the disk stalled. And from the
//! last byte of a picture with a person to the first Hold.

use std::io::Write;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;

use super::Target::Most;
use super::console::Console;
use super::frame;
use super::load::Load;
use super::rover::{self, STANDS};
use super::{last_line, percentiles, round};
use crate::binaries::built;
use crate::process::output;
use crate::servers::Place;
use crate::site::{Plan, Ports, Site, reading};
use crate::wait::{now, until};
use crate::witness;

/// Presses while both cores are busy, and in each of the other conditions.
const PRESSES: usize = 10_000;
const FEWER: usize = 2_000;
/// Presses in one stall: what they make must fit the queue to the journal, or the console shows no more of it.
const STALLED: usize = 100;
/// Longest wait for anything.
const LONG: Duration = Duration::from_secs(30);

/// Measures and prints.
///
/// # Errors
/// When the node does not start, or a press is not answered.
pub fn run(out: &mut impl Write) -> anyhow::Result<()> {
    let ports = Ports::free()?;
    let node = format!(
        "\n[[link]]\nname = \"radio\"\nurl = \"udpin:127.0.0.1:{}\"\n\n\
         [[vehicle]]\nname = \"rover\"\nclass = \"rover\"\nsysid = 1\nlinks = [\"radio\"]\n",
        ports.link
    );
    // No relay: a node alone.
    let place = Place { postgres: String::new(), kafka: String::new(), topic_prefix: String::new() };
    let mut site = Site::prepare(place, ports, &Plan { node, plain: true, ..Plan::default() }, None)?;
    site.start_node()?;
    let (told, orders) = channel();
    let link = ports.link;
    std::thread::spawn(move || rover::run(link, STANDS, &told));
    let mut console = Console::open(ports.console)?;
    until("the vehicle to be heard", LONG, || {
        let rules = console.ask("GET", "/api/v1/interlocks", "").map_err(|error| error.to_string())?;
        if rules.contains("\"tripped\":true") { Err(rules) } else { Ok(()) }
    })?;
    writeln!(
        out,
        "press over HTTP to the first demand packet at the vehicle's socket, milliseconds; {FEWER} or {PRESSES} presses"
    )?;
    writeln!(out, "                              p50      p99    p99.9      max")?;
    let mut metrics = serde_json::Map::new();
    let mut row = |out: &mut dyn Write, name: &str, what: &str, times: Vec<f64>| -> anyhow::Result<()> {
        let found = percentiles(times);
        let [p50, p99, p999, max] = found;
        writeln!(out, "  {what:<24}{p50:>9.2}{p99:>9.2}{p999:>9.2}{max:>9.2}")?;
        for (part, value) in ["p50", "p99", "p999", "max"].iter().zip(found) {
            metrics.insert(format!("{name}_{part}_ms"), json!(round(value)));
        }
        Ok(())
    };
    row(out, "alone", "alone", presses(&mut console, &orders, FEWER)?)?;

    let load = Load::start(ports.console)?;
    let (before, begun) = (witness::journal(&site.data())?.rows, now());
    let loaded = presses(&mut console, &orders, PRESSES)?;
    let journaled = (witness::journal(&site.data())?.rows - before) as f64 / begun.elapsed().as_secs_f64();
    drop(load);
    row(out, "busy", "both cores busy", loaded)?;

    let mut stalled = Vec::new();
    while stalled.len() < FEWER {
        let locks = stall(&site)?;
        stalled.extend(presses(&mut console, &orders, STALLED)?);
        drop(locks);
        // Durable when it is answered: what waited before it is, too.
        console.ask("POST", "/api/v1/events", &reading(1).to_string())?;
    }
    row(out, "stalled", "journal stalled", stalled)?;
    writeln!(
        out,
        "  busy: two processes of inference (nice 10), {journaled:.0} events/s into the journal over HTTP from this process"
    )?;
    metrics.insert("busy_events_per_s".into(), json!(journaled.round()));
    metrics.insert("step_ns".into(), json!(step(out)?));
    drop(site);
    metrics.extend(frames(out)?);
    last_line(
        out,
        "interlock",
        &metrics.into(),
        &[Most("busy_p999_ms", 5.0), Most("stalled_p999_ms", 5.0), Most("frame_over_inference_max_ms", 50.0)],
    )
}

/// What one input of the machine takes, nanoseconds.
fn step(out: &mut impl Write) -> anyhow::Result<f64> {
    let mut step = Command::new(built()?.join("edge-node"));
    let step = output(step.args(["interlock", "measure"]).env("PICKET_LOG", "error"))?;
    let step: serde_json::Value = serde_json::from_str(step.trim()).context("read what edge-node measured")?;
    let nanoseconds =
        step.get("step_ns").and_then(serde_json::Value::as_f64).context("read what edge-node measured")?;
    writeln!(out, "  one input of the machine, 16 vehicles and 32 zones: {nanoseconds:.0} ns")?;
    Ok(nanoseconds)
}

/// From a picture of a person to the Hold.
fn frames(out: &mut impl Write) -> anyhow::Result<Vec<(String, serde_json::Value)>> {
    let found = frame::measure()?;
    let [p50, p99, _, max] = found.hold;
    writeln!(
        out,
        "  {} pictures of a person, last byte to the first Hold: p50 {p50:.1}, p99 {p99:.1}, max {max:.1} ms; the picture \
         alone in another process {:.1} ms",
        found.people, found.inference
    )?;
    let over = max - found.inference;
    let named = [("frame_p50_ms", p50), ("frame_max_ms", max), ("frame_over_inference_max_ms", over)];
    Ok(named.map(|(name, value)| (name.to_owned(), json!(round(value)))).into())
}

/// Takes SQLite's write locks: no commit of the node goes through while they are held.
pub(super) fn stall(site: &Site) -> anyhow::Result<Vec<rusqlite::Connection>> {
    let lock = |file: &&str| {
        let db = rusqlite::Connection::open(site.data().join(file))?;
        db.execute_batch("PRAGMA busy_timeout = 10000; BEGIN IMMEDIATE").map(|()| db)
    };
    ["urgent.db", "bulk-0001.db"].iter().map(lock).collect::<Result<_, _>>().context("lock the journal")
}

/// Presses and resets, one after the other; the time of each press in milliseconds.
fn presses(console: &mut Console, orders: &Receiver<Instant>, count: usize) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        while orders.try_recv().is_ok() {}
        let pressed = now();
        console.ask("POST", "/api/v1/estop", "{\"by\":\"bench\"}")?;
        let seen = loop {
            // One that was on its way before the press is of the demand before.
            match orders.recv_timeout(LONG).context("wait for a demand")? {
                at if at >= pressed => break at,
                _ => {}
            }
        };
        times.push(seen.duration_since(pressed).as_secs_f64() * 1e3);
        // What is shown follows what is done.
        console.shows("\"estop\":true")?;
        console.ask("POST", "/api/v1/estop/reset", "{\"by\":\"bench\"}")?;
        console.shows("\"estop\":false")?;
    }
    Ok(times)
}
