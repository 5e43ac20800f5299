//! A vehicle's thread: its autopilot at 50 Hz over UDP, and a trace of what it was told.

use std::fs::File;
use std::io::Write;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use mavlink::dialects::ardupilotmega::MavMessage;
use mavlink::{MavHeader, MavlinkReader, write_v2_msg};
use serde_json::json;

use crate::autopilot::{Autopilot, Told};
use crate::scenario::Vehicle;

/// Time of one step.
const STEP: Duration = Duration::from_millis(20);

/// The trace file, shared by all vehicles.
pub type Trace = Arc<Mutex<Option<File>>>;

/// The simulator's clock.
#[expect(clippy::disallowed_methods, reason = "the simulator runs in real time")]
fn now() -> Instant {
    Instant::now()
}

/// Runs a vehicle for ever.
///
/// # Errors
/// When its socket cannot be made.
pub fn run(config: Vehicle, trace: &Trace) -> anyhow::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0").context("bind a vehicle's socket")?;
    socket.connect(config.connect).context("connect a vehicle's socket")?;
    let (name, sysid) = (config.name.to_string(), config.sysid);
    let mut autopilot = Autopilot::new(config);
    let begun = now();
    let mut stepped = begun;
    let (mut datagram, mut sequence) = (vec![0; 65_536], 0u8);
    let mut send = |message: &MavMessage| {
        let header = MavHeader { sequence, system_id: u32::from(sysid), component_id: 1 };
        let mut packet = Vec::with_capacity(300);
        if write_v2_msg(&mut packet, header, message).is_ok() {
            sequence = sequence.wrapping_add(1);
            // Nobody listens yet: a radio does not care.
            let _ = socket.send(&packet);
        }
    };
    loop {
        let left = STEP.saturating_sub(stepped.elapsed()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(left)).context("set the read timeout")?;
        if let Ok(len) = socket.recv(&mut datagram) {
            let mut reader = MavlinkReader::new(datagram.get(..len).unwrap_or_default());
            while let Ok((header, message)) = reader.read_any_message::<MavMessage>() {
                let (mode_before, speed) = (autopilot.mode, autopilot.body.speed);
                let (answers, told) = autopilot.take(header.system_id, &message);
                answers.iter().for_each(&mut send);
                if let Some(told) = told {
                    note(trace, &name, begun.elapsed(), &told, mode_before, speed);
                }
            }
        }
        let passed = stepped.elapsed();
        if passed >= STEP {
            stepped = now();
            let (sent, alone) = autopilot.step(passed.as_secs_f64());
            sent.iter().for_each(&mut send);
            if let Some(alone) = alone {
                note(trace, &name, begun.elapsed(), &alone, autopilot.mode, autopilot.body.speed);
            }
        }
    }
}

fn note(trace: &Trace, vehicle: &str, at: Duration, told: &Told, mode_before: u32, speed_mps: f64) {
    if let Some(file) = &mut *trace.lock().unwrap_or_else(PoisonError::into_inner) {
        let line = json!({
            "t_s": at.as_secs_f64(), "vehicle": vehicle, "command": told.command, "p1": told.parameters[0],
            "p2": told.parameters[1], "result": told.result, "mode_before": mode_before, "speed_mps": speed_mps,
        });
        // A full disk ends the trace, which its readers notice.
        let _ = writeln!(file, "{line}");
    }
}
