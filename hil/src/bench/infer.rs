//! `./dev bench infer`: pictures sent over HTTP, answered with the event of it journaled, without an event, and with the disk
//! stalled: what is written down must not be waited for. The three in turn, so that a drifting machine meets all.

use std::io::Write;

use anyhow::Context;
use serde_json::{Value, json};

use super::Target::Most;
use super::console::Console;
use super::interlock::stall;
use super::{last_line, percentiles, round};
use crate::drawn::render;
use crate::servers::Place;
use crate::site::{Plan, Ports, Site, reading};
use crate::wait::now;
use crate::witness;

/// Rounds, and pictures of each kind in one: what a stall holds back must fit the queue to the journal.
const ROUNDS: usize = 20;
const PICTURES: usize = 50;

/// Measures and prints.
///
/// # Errors
/// When the node does not start, or a picture is not answered.
pub fn run(out: &mut impl Write) -> anyhow::Result<()> {
    let ports = Ports::free()?;
    let node = "\n[[camera]]\nname = \"none\"\nsource = \"folder:/nowhere\"\n".to_owned();
    let place = Place { postgres: String::new(), kafka: String::new(), topic_prefix: String::new() };
    let plan = Plan { node, model: true, detector: Some("yard".into()), plain: true, ..Plan::default() };
    let mut site = Site::prepare(place, ports, &plan, None)?;
    site.start_node()?;
    let folder = tempfile::tempdir().context("make a folder for the picture")?;
    render(folder.path(), "1", 1, &[])?;
    let picture = std::fs::read(folder.path().join("images/000000.jpg")).context("read the picture")?;
    let mut console = Console::open(ports.console)?;
    let (mut on, mut off, mut stalled) = (Vec::new(), Vec::new(), Vec::new());
    // The first ones find nothing warm.
    send(&mut console, false, &picture, PICTURES)?;
    for _ in 0..ROUNDS {
        on.extend(send(&mut console, true, &picture, PICTURES)?);
        off.extend(send(&mut console, false, &picture, PICTURES)?);
        let locks = stall(&site)?;
        stalled.extend(send(&mut console, true, &picture, PICTURES)?);
        drop(locks);
        // Durable when it is answered: what waited before it is, too.
        console.ask("POST", "/api/v1/events", &reading(1).to_string())?;
    }
    let journaled = witness::journal(&site.data())?.by_type.get("inference.done").copied().unwrap_or_default();
    writeln!(
        out,
        "{} pictures of 640 x 360 of each kind over one connection, model yard; milliseconds until the answer is read",
        ROUNDS * PICTURES
    )?;
    writeln!(out, "                              p50      p99    p99.9      max")?;
    let mut metrics = serde_json::Map::new();
    let kinds = [("on", "journal on"), ("off", "journal off (?record=false)"), ("stalled", "journal stalled")];
    for ((name, what), times) in kinds.into_iter().zip([on, off, stalled]) {
        let found = percentiles(times);
        let [p50, p99, p999, max] = found;
        writeln!(out, "  {what:<24}{p50:>9.2}{p99:>9.2}{p999:>9.2}{max:>9.2}")?;
        for (part, value) in ["p50", "p99", "p999", "max"].iter().zip(found) {
            metrics.insert(format!("{name}_{part}_ms"), json!(round(value)));
        }
    }
    let events = (ROUNDS * 2 * PICTURES) as u64;
    writeln!(out, "  events in the journal, as SQL counts them: {journaled} of {events}")?;
    let ms = |name: &str| metrics.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let over = [ms("on_p99_ms") - ms("off_p99_ms"), ms("stalled_p99_ms") - ms("off_p99_ms")];
    metrics.insert("lost_events".into(), json!(events.saturating_sub(journaled)));
    for (name, over) in ["on_over_off_p99_ms", "stalled_over_off_p99_ms"].into_iter().zip(over) {
        metrics.insert(name.into(), json!(round(over)));
    }
    // What a shared machine varies by between two runs of the same.
    let targets = [Most("on_over_off_p99_ms", 2.0), Most("stalled_over_off_p99_ms", 2.0), Most("lost_events", 0.0)];
    last_line(out, "infer", &metrics.into(), &targets)
}

/// Sends a picture so many times, one after the other; milliseconds each.
fn send(console: &mut Console, record: bool, picture: &[u8], count: usize) -> anyhow::Result<Vec<f64>> {
    let path = format!("/api/v1/infer?by=bench&record={record}");
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = now();
        let answer = console.send("POST", &path, picture)?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        anyhow::ensure!(answer.contains("\"detections\""), "look at a picture: {answer}");
    }
    Ok(times)
}
