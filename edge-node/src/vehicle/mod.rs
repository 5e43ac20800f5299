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
pub mod audit;
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
pub mod craft;
pub mod ends;
pub mod fleet;
pub mod hub;

use std::path::PathBuf;

use serde::Deserialize;
use shared::ids::Name;

pub use class::Class;
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
}

impl VehicleConfig {
    /// RC channel that chooses its mode, from 1.
    pub fn mode_channel(&self) -> u8 {
        self.mode_channel.unwrap_or_else(|| self.class.mode_channel())
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
