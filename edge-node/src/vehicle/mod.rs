//! MAVLink links, what the vehicles say, and the ground stations. Owns the links and the vehicles' state; sends stream
//! requests, our heartbeat and what ground stations may ask. Commands that move a vehicle are written by the interlock alone.
//!
//! `link` and `stream` read, `hub` is the thread that has all states, `fleet` its pure fold (`roads`: which link a vehicle is
//! listened to on; `gate`: what ground stations may send), `way` is where packets go out. The mavlink crate gives the checksums of the ardupilotmega dialect; framing and the few payloads that matter are
//! read here, leniently: an unknown enum value must not lose a HEARTBEAT (INTERLOCKS, "Links").

pub mod message;
pub mod signing;
pub mod codec;
pub mod class;
pub mod stop;
pub mod selftest;
pub mod audit;
pub mod plan;
pub mod timesync;
pub mod state;
pub mod command;
pub mod url;
pub mod way;
pub mod gate;
pub mod ears;
pub mod stream;
pub mod link;
pub mod recent;
pub mod roads;
pub mod stations;
pub mod transfer;
pub mod params;
pub mod errands;
pub mod craft;
pub mod aircraft;
pub mod act;
pub mod ends;
pub mod fleet;
pub mod tlog;
pub mod hub;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use shared::ids::Name;

pub use class::Class;
use command::Order;
use stations::StationConfig;
use stop::StopTable;
use url::LinkUrl;

/// Links of one vehicle: each needs three streams of signatures, and ArduPilot holds sixteen.
pub const LINKS: usize = 4;

/// One link.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkConfig {
    /// Name.
    pub name: Name,
    /// `udpin:ADDRESS:PORT`, `udpout:…`, `tcpin:…`, `tcpout:…`, `serial:/dev/NAME:BAUD`.
    pub url: LinkUrl,
    /// File of 64 hexadecimal digits: what is not signed with this key is not taken, and what we send is signed.
    pub key_file: Option<PathBuf>,
    /// It is a link of ground stations, and this is what they may do.
    pub ground_stations: Option<StationConfig>,
}

/// One vehicle.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VehicleConfig {
    /// Name.
    pub name: Name,
    /// MAVLink system id.
    pub sysid: u8,
    /// Kind.
    pub class: Class,
    /// Links it is heard on, the best one first.
    pub links: Vec<Name>,
    /// What its brake test measured.
    #[serde(default)]
    pub brake: StopTable,
    /// What of its battery the way home and a landing need.
    #[serde(default)]
    pub battery: Needs,
    /// RC channel that chooses its mode, from 1 (MODE_CH, FLTMODE_CH); its class's usual one without it.
    pub mode_channel: Option<u8>,
    /// How fast and how high it may be sent.
    #[serde(default)]
    pub limits: Limits,
    /// Lights, sirens: what its relays and servos switch.
    #[serde(default)]
    pub outputs: BTreeMap<Name, Output>,
}

/// How fast and how high a vehicle may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The fastest, m/s; without it the fastest that its brake test measured.
    pub speed_mps: Option<f32>,
    /// The slowest, m/s: what a wing needs to stay up, and some.
    pub slowest_mps: Option<f32>,
    /// How fast near people, m/s; without it 1 m/s, and never less than the slowest.
    pub near_mps: Option<f32>,
    /// The highest, metres above home; without it 120 m, which most countries allow. Ceilings of fences hold too.
    pub height_m: Option<f32>,
}

impl Limits {
    /// The highest flight, metres above home.
    pub fn height_m(&self) -> f32 {
        self.height_m.unwrap_or(120.0)
    }
}

/// What switches a light or a siren.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Output {
    /// A relay of the autopilot, closed for on.
    Relay {
        /// Its number, from 0.
        relay: u8,
    },
    /// A servo channel of the autopilot.
    Servo {
        /// Its channel, from 1.
        servo: u8,
        /// Pulse for on, microseconds.
        on_us: u16,
        /// Pulse for off, microseconds.
        off_us: u16,
    },
}

impl Output {
    /// Switches it.
    pub const fn order(self, on: bool) -> Order {
        match self {
            Self::Relay { relay } => Order::Relay(relay, on),
            Self::Servo { servo, on_us, off_us } => Order::Servo(servo, if on { on_us } else { off_us }),
        }
    }
}

impl VehicleConfig {
    /// RC channel that chooses its mode, from 1.
    pub fn mode_channel(&self) -> u8 {
        self.mode_channel.unwrap_or_else(|| self.class.mode_channel())
    }

    /// The fastest that it may be sent, m/s: as configured, and as its brake test measured.
    pub fn fastest_mps(&self) -> f32 {
        self.limits.speed_mps.unwrap_or(f32::MAX).min(self.brake.fastest_mps())
    }

    /// How fast it goes near people, centimetres a second; zero: a wing whose slowest speed is not known.
    pub fn slow_cmps(&self) -> u16 {
        // Never faster than it may go at all; what was not measured moves only on trial.
        let configured = self.limits.speed_mps.unwrap_or(f32::MAX);
        let fastest = if self.brake.is_empty() { configured } else { self.fastest_mps() };
        let near = self.limits.near_mps.unwrap_or(1.0).min(fastest);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "up to 60 m/s")]
        match self.limits.slowest_mps {
            None if self.class.has_wing() => 0,
            slowest => (near.max(slowest.unwrap_or(0.0)) * 100.0) as u16,
        }
    }

    /// What of its limits and outputs cannot be, and what was expected.
    pub fn problem(&self) -> Option<(String, String)> {
        let Limits { speed_mps, slowest_mps, height_m, near_mps } = self.limits;
        let within = |value: Option<f32>, most: f32| value.is_none_or(|value| value > 0.0 && value <= most);
        if ![speed_mps, slowest_mps, near_mps].iter().all(|speed| within(*speed, 60.0))
            || slowest_mps > speed_mps.or(slowest_mps)
        {
            let found = self.limits;
            return Some(("limits".into(), format!("expected slowest_mps <= speed_mps, up to 60, found {found:?}")));
        }
        if !within(height_m, 5000.0) {
            return Some(("limits.height_m".into(), "expected up to 5000 metres".into()));
        }
        let odd = |output: &Output| match *output {
            Output::Relay { relay } => relay > 15,
            Output::Servo { servo, on_us, off_us } => {
                !(1..=32).contains(&servo) || ![on_us, off_us].iter().all(|us| (800..=2200).contains(us))
            }
        };
        let expected = "expected relay 0 to 15, or servo 1 to 32 with pulses of 800 to 2200 us";
        let name = self.outputs.iter().find(|(_, output)| odd(output)).map(|(name, _)| name);
        name.map(|name| (format!("outputs.{name}"), expected.into()))
    }
}

/// What of a battery is needed, percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Needs {
    /// Below this it returns: what the longest way home takes.
    pub return_pct: u8,
    /// Below this it lands where it is.
    pub land_pct: u8,
}

impl Default for Needs {
    fn default() -> Self {
        Self { return_pct: 25, land_pct: 10 }
    }
}
