//! The hardware line of the e-stop: a normally closed contact between a serial port's RTS and one of its inputs, or between a
//! GPIO line and its supply.
//!
//! Open, unplugged or unreadable means pressed. The port is opened again for ever; until it can be read the line says
//! "pressed", and when this thread hangs the machine says it by itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gpiocdev::Request;
use serde::Deserialize;
use serialport::SerialPort;
use tracing::{info, warn};

use super::handle::Interlock;
use super::pin::{self, GpioLine};
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
#[serde(untagged, expecting = "expected { port = …, input = … } or { chip = …, line = … }")]
pub enum LineConfig {
    /// Between RTS and an input of a serial port.
    Serial(SerialContact),
    /// Between a GPIO line, which is pulled down, and its supply.
    Gpio(GpioLine),
}

impl std::fmt::Display for LineConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Serial(at) => f.write_str(&at.port),
            Self::Gpio(at) => write!(f, "{} line {}", at.chip.display(), at.line),
        }
    }
}

/// A contact at a serial port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SerialContact {
    /// Serial port, e.g. `/dev/ttyS1`.
    pub port: String,
    /// The input that the contact pulls up to RTS.
    #[serde(default)]
    pub input: LineInput,
}

/// A contact that was opened.
enum Contact {
    Serial(Box<dyn SerialPort>),
    Gpio(Request),
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
            Some(port) => closed(port, config),
            None => open(config).and_then(|mut opened| {
                let read = closed(&mut opened, config);
                port = Some(opened);
                read
            }),
        };
        match &read {
            Ok(_) if warned => info!(port = %config, "line of the e-stop is read again"),
            Err(error) if !warned => warn!(port = %config, %error, "line of the e-stop cannot be read: pressed"),
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

fn open(config: &LineConfig) -> Result<Contact, String> {
    let at = match config {
        LineConfig::Gpio(at) => return pin::contact(at).map(Contact::Gpio),
        LineConfig::Serial(at) => at,
    };
    let said = |error: serialport::Error| error.to_string();
    let mut port = serialport::new(&at.port, BAUD).open().map_err(said)?;
    port.write_request_to_send(true).map_err(said)?;
    std::thread::sleep(SETTLES);
    Ok(Contact::Serial(port))
}

fn closed(contact: &mut Contact, config: &LineConfig) -> Result<bool, String> {
    let read = match (contact, config) {
        (Contact::Gpio(request), LineConfig::Gpio(at)) => return pin::closed(request, at),
        (Contact::Serial(port), LineConfig::Serial(at)) => match at.input {
            LineInput::Cts => port.read_clear_to_send(),
            LineInput::Dsr => port.read_data_set_ready(),
            LineInput::Cd => port.read_carrier_detect(),
        },
        // It was opened as it is configured.
        _ => return Err("another contact".into()),
    };
    read.map_err(|error| error.to_string())
}
