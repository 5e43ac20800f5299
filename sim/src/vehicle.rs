//! A vehicle's thread: its autopilot at 50 Hz behind its links, and a trace of what it was told.

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::autopilot::{Autopilot, Told};
use crate::scenario::Vehicle;
use crate::wire::Wires;

/// Time of one step.
const STEP: Duration = Duration::from_millis(20);

/// The trace file, shared by all vehicles.
pub type Trace = Arc<Mutex<Option<File>>>;

/// The simulator's clock.
#[expect(clippy::disallowed_methods, reason = "the simulator runs in real time")]
fn now() -> Instant {
    Instant::now()
}

/// In the trace: a relay has turned; its number, and whether it is closed.
const RELAY: &str = "RELAY";

/// Runs a vehicle for ever.
///
/// # Errors
/// When one of its links cannot be made.
pub fn run(config: Vehicle, trace: &Trace) -> anyhow::Result<()> {
    let (name, key) = (config.name.to_string(), config.key.as_ref().map(|key| key.0));
    let mut wires = Wires::open(config.connect.urls(), key, config.sysid)?;
    let mut autopilot = Autopilot::new(config);
    let begun = now();
    let mut stepped = begun;
    loop {
        let left = STEP.saturating_sub(stepped.elapsed()).max(Duration::from_millis(1));
        if let Some((link, header, message)) = wires.next(left) {
            let (mode_before, speed) = (autopilot.mode, autopilot.body.speed);
            let (answers, told) = autopilot.take(header.system_id, &message);
            answers.iter().for_each(|answer| wires.send(answer, Some(link)));
            if let Some(told) = told {
                note(trace, &name, (begun.elapsed(), link), &told, mode_before, speed);
            }
        }
        let passed = stepped.elapsed();
        if passed >= STEP {
            stepped = now();
            let (sent, alone) = autopilot.step(passed.as_secs_f64());
            sent.iter().for_each(|message| wires.send(message, None));
            for (number, closed) in autopilot.relays.step(autopilot.time_s) {
                let parameters = [number as f32, f32::from(u8::from(closed))];
                let turned = Told { command: RELAY.into(), parameters, result: 0 };
                note(trace, &name, (begun.elapsed(), 0), &turned, autopilot.mode, autopilot.body.speed);
            }
            if let Some(alone) = alone {
                note(trace, &name, (begun.elapsed(), 0), &alone, autopilot.mode, autopilot.body.speed);
            }
        }
    }
}

fn note(trace: &Trace, vehicle: &str, when: (Duration, usize), told: &Told, mode_before: u32, speed_mps: f64) {
    if let Some(file) = &mut *trace.lock().unwrap_or_else(PoisonError::into_inner) {
        let line = json!({
            "t_s": when.0.as_secs_f64(), "link": when.1, "vehicle": vehicle, "command": told.command, "p1": told.parameters[0],
            "p2": told.parameters[1], "result": told.result, "mode_before": mode_before, "speed_mps": speed_mps,
        });
        // A full disk ends the trace, which its readers notice.
        let _ = writeln!(file, "{line}");
    }
}
