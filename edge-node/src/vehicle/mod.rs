//! MAVLink links and what the vehicles say. Owns the sockets' reading side and the vehicles' state; sends only stream
//! requests and our heartbeat. Commands that move a vehicle are written by the interlock alone.
//!
//! The mavlink crate gives the checksums of the ardupilotmega dialect; framing and the few payloads that matter are
//! read here, leniently: an unknown enum value must not lose a HEARTBEAT (INTERLOCKS, "Links").

pub mod codec;
pub mod state;
pub mod command;
pub mod link;

use std::net::SocketAddr;

use serde::Deserialize;
use shared::ids::Name;

/// One link.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkConfig {
    /// Name.
    pub name: Name,
    /// `udpin:ADDRESS:PORT`: listens, answers each sender at its address.
    pub url: LinkUrl,
}

/// Kind of vehicle; decides modes and actions. Pinned by configuration, never learnt from the air.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// ArduRover.
    Rover,
    /// ArduCopter.
    Copter,
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
