//! Pins of this box: control lines of serial ports and lines of GPIO chips, as outputs and as the e-stop's contact.
//!
//! An output is pulsed: each pass of the safety loop turns the pin once, a missing-pulse detector or charge pump behind it keeps
//! the load energised, and whatever ends the pulses drops it. The pin is never held: a level would outlive the loop. Opening a
//! port may raise its lines for a moment, which is no pulse either.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use gpiocdev::Request;
use gpiocdev::line::{Bias, Value};
use serde::Deserialize;
use serialport::SerialPort;
use shared::units::Uptime;
use tracing::{info, warn};

use crate::clock;
use crate::realtime::prefer_this_thread;

/// Pulses waiting for a pin: one. Full means that the port hangs: the pulse is lost, as it should be.
pub const QUEUE: usize = 1;
/// Without a pulse for this time the pin is let go.
const LET_GO: Duration = Duration::from_millis(100);
/// A pin that cannot be written is opened again this often.
const AGAIN: Duration = Duration::from_millis(500);
/// Whether it works is told this often: whoever is told nothing takes it for faulty.
const TOLD: Duration = Duration::from_secs(1);
/// Speed of a port; nothing is sent over it.
const BAUD: u32 = 9600;
/// What GPIO lines are taken as.
const CONSUMER: &str = "picket";

/// A pin that can be written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Pin {
    /// An output of a serial port.
    Serial {
        /// Port, e.g. `/dev/ttyS1`.
        port: String,
        /// Which.
        line: SerialOutput,
    },
    /// A line of a GPIO chip.
    Gpio(GpioLine),
    /// A relay of a vehicle.
    Relay {
        /// Vehicle.
        vehicle: shared::ids::Name,
        /// Number, from 0.
        number: u8,
    },
}

/// An output of a serial port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SerialOutput {
    /// Request to send.
    Rts,
    /// Data terminal ready.
    Dtr,
}

/// A line of a GPIO chip.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpioLine {
    /// Chip, e.g. `/dev/gpiochip0`.
    pub chip: PathBuf,
    /// Offset of the line.
    pub line: u32,
}

/// A pin that was opened.
enum Open {
    Serial(Box<dyn SerialPort>, SerialOutput),
    Gpio(Request, u32),
}

impl Open {
    fn write(&mut self, high: bool) -> Result<(), String> {
        match self {
            Self::Serial(port, SerialOutput::Rts) => port.write_request_to_send(high).map_err(|e| e.to_string()),
            Self::Serial(port, SerialOutput::Dtr) => port.write_data_terminal_ready(high).map_err(|e| e.to_string()),
            Self::Gpio(request, line) => {
                let value = if high { Value::Active } else { Value::Inactive };
                request.set_value(*line, value).map_err(|e| e.to_string())
            }
        }
    }
}

fn open(pin: &Pin) -> Result<Open, String> {
    let mut open = match pin {
        Pin::Serial { port, line } => {
            Open::Serial(serialport::new(port, BAUD).open().map_err(|e| e.to_string())?, *line)
        }
        Pin::Gpio(GpioLine { chip, line }) => {
            let mut builder = Request::builder();
            builder.on_chip(chip).with_consumer(CONSUMER).with_line(*line).as_output(Value::Inactive);
            Open::Gpio(builder.request().map_err(|e| e.to_string())?, *line)
        }
        Pin::Relay { .. } => return Err("it is a vehicle's".into()),
    };
    open.write(false)?;
    Ok(open)
}

/// Opens a GPIO line as an input that a contact pulls up. It wants a resistor to ground: chips that have none of their own take
/// the wish for one and leave the line open, and an open line may read as a closed contact.
///
/// # Errors
/// As the kernel says.
pub fn contact(at: &GpioLine) -> Result<Request, String> {
    let mut builder = Request::builder();
    builder.on_chip(&at.chip).with_consumer(CONSUMER).with_line(at.line).as_input().with_bias(Bias::PullDown);
    builder.request().map_err(|error| error.to_string())
}

/// Whether the contact is closed.
///
/// # Errors
/// As the kernel says.
pub fn closed(request: &Request, at: &GpioLine) -> Result<bool, String> {
    request.value(at.line).map(|value| value == Value::Active).map_err(|error| error.to_string())
}

/// Turns the pin with each pulse until there are no more. `tell`: each second whether it is faulty.
pub fn run(name: &str, pin: &Pin, pulses: &Receiver<()>, tell: impl Fn(bool)) {
    prefer_this_thread("an output's thread");
    let (mut opened, mut high): (Option<Open>, _) = (None, false);
    let (mut tried, mut told): (Option<Uptime>, Option<(bool, Uptime)>) = (None, None);
    loop {
        let pulse = match pulses.recv_timeout(LET_GO) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let now = clock::uptime();
        let wish = pulse && !high;
        let turned = match &mut opened {
            Some(open) if wish != high => open.write(wish).map(|()| high = wish),
            Some(_) => Ok(()),
            // Opening raises some ports' lines: not with each pulse.
            None if tried.is_some_and(|at| now.since(at) < AGAIN) => continue,
            None => {
                tried = Some(now);
                open(pin).map(|open| opened = Some(open))
            }
        };
        let faulty = turned.is_err();
        if faulty {
            (opened, high) = (None, false);
        }
        if told.is_none_or(|(before, at)| before != faulty || now.since(at) >= TOLD) {
            if told.is_none_or(|(before, _)| before != faulty) {
                match turned {
                    Ok(()) => info!(output = name, "output can be written"),
                    Err(error) => warn!(output = name, %error, "output cannot be written"),
                }
            }
            told = Some((faulty, now));
            tell(faulty);
        }
    }
    if let Some(mut open) = opened {
        // The process ends: what cannot be written drops for want of pulses.
        let _ = open.write(false);
    }
}
