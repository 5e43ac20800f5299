//! The hardware line of the e-stop: a normally closed contact between a serial port's RTS and one of its inputs.
//!
//! Open, unplugged or unreadable means pressed. The port is opened again for ever; until it can be read the line says
//! "pressed", and when this thread hangs the machine says it by itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serialport::SerialPort;
use tracing::{info, warn};

use super::driver::Interlock;
use crate::realtime::prefer_this_thread;

/// The line is looked at this often.
const PERIOD: Duration = Duration::from_millis(2);
/// And told this often while it has not changed: the machine believes a reading for half a second.
const TOLD_EVERY: u32 = 50;
/// The input needs this long to follow RTS after the port was opened.
const SETTLES: Duration = Duration::from_millis(50);
/// Speed of the port; nothing is sent over it.
const BAUD: u32 = 9600;

/// Where the contact is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineConfig {
    /// Serial port, e.g. `/dev/ttyS1`.
    pub port: String,
    /// The input that the contact pulls up to RTS.
    #[serde(default)]
    pub input: LineInput,
}

/// An input of a serial port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineInput {
    /// Clear to send.
    #[default]
    Cts,
    /// Data set ready.
    Dsr,
    /// Carrier detect.
    Cd,
}

/// Reads the line until stopped.
pub fn run(config: &LineConfig, interlock: &Interlock, stop: &AtomicBool) {
    prefer_this_thread("the e-stop line's thread");
    let (mut port, mut told, mut warned): (_, Option<bool>, _) = (None, None, false);
    let mut since_told = 0;
    while !stop.load(Ordering::Relaxed) {
        let read = match &mut port {
            Some(port) => closed(port, config.input),
            None => open(config).and_then(|mut opened| {
                let read = closed(&mut opened, config.input);
                port = Some(opened);
                read
            }),
        };
        match &read {
            Ok(_) if warned => info!(port = config.port, "line of the e-stop is read again"),
            Err(error) if !warned => warn!(port = config.port, %error, "line of the e-stop cannot be read: pressed"),
            _ => {}
        }
        warned = read.is_err();
        if warned {
            port = None;
            // A port that is not there is not looked for as often as one is read.
            std::thread::sleep(SETTLES);
        }
        let pressed = !read.unwrap_or(false);
        since_told += 1;
        // A press that found no room is told again at the next look.
        if (told != Some(pressed) || since_told >= TOLD_EVERY) && interlock.line(pressed) {
            (told, since_told) = (Some(pressed), 0);
        }
        std::thread::sleep(PERIOD);
    }
}

fn open(config: &LineConfig) -> Result<Box<dyn SerialPort>, serialport::Error> {
    let mut port = serialport::new(&config.port, BAUD).open()?;
    port.write_request_to_send(true)?;
    std::thread::sleep(SETTLES);
    Ok(port)
}

fn closed(port: &mut Box<dyn SerialPort>, input: LineInput) -> Result<bool, serialport::Error> {
    match input {
        LineInput::Cts => port.read_clear_to_send(),
        LineInput::Dsr => port.read_data_set_ready(),
        LineInput::Cd => port.read_carrier_detect(),
    }
}
