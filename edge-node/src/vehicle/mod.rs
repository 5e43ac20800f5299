//! MAVLink links and what the vehicles say. Owns the sockets' reading side and the vehicles' state; sends only stream
//! requests and our heartbeat. Commands that move a vehicle are written by the interlock alone.
//!
//! The mavlink crate gives the checksums of the ardupilotmega dialect; framing and the few payloads that matter are
//! read here, leniently: an unknown enum value must not lose a HEARTBEAT (INTERLOCKS, "Links").

pub mod codec;
pub mod class;
pub mod stop;
pub mod audit;
pub mod state;
pub mod command;
pub mod link;

use std::net::SocketAddr;

use serde::Deserialize;
use shared::ids::Name;

pub use class::Class;
use stop::StopTable;

/// One link.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkConfig {
    /// Name.
    pub name: Name,
    /// `udpin:ADDRESS:PORT`: listens, answers each sender at its address.
    pub url: LinkUrl,
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
    /// Link it is heard on.
    pub link: Name,
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

/// Address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LinkUrl(pub SocketAddr);

impl TryFrom<String> for LinkUrl {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("expected udpin:ADDRESS:PORT, found {text:?}");
        text.strip_prefix("udpin:").and_then(|rest| rest.parse().ok()).map(Self).ok_or_else(wrong)
    }
}
