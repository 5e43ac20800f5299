//! Everything hazardous -> permit, deny, demand. People's safety rests here: plain, small, proved.
//!
//! `machine` decides: pure and total. `driver` is the safety thread that feeds it and carries out its effects.
//! `latch` keeps the e-stop over restarts, on the thread of `keeper`; `clerk` keeps and shows what was decided, `recorder`
//! what the machine took. Nothing else in the node can move a vehicle.

pub mod rule;
pub mod fixed;
pub mod verb;
pub mod words;
pub mod obey;
pub mod rules;
pub mod output;
pub mod resume;
pub mod acks;
pub mod action;
pub mod transaction;
pub mod commands;
pub mod around;
pub mod vehicle;
pub mod permit;
pub mod machine;
pub mod recording;
pub mod recorder;
pub mod latch;
pub mod keeper;
pub mod clerk;
pub mod handle;
pub mod pin;
pub mod driver;
pub mod line;

use std::time::Duration;

use serde::Deserialize;
use shared::ids::Name;

use line::LineConfig;
use output::While;
use pin::Pin;
use rules::fence::Side;
use words::{Role, Rule};

use crate::ground::Place;

/// Who may do what, and how the e-stop is reset.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InterlockConfig {
    /// Whether a second person must confirm a reset of the e-stop within 30 s.
    pub two_person: bool,
    /// The least distance between two vehicles, metres; those named first are of more importance.
    pub separation_m: Option<f64>,
    /// The hardware line of the e-stop.
    pub line: Option<LineConfig>,
    /// Rules that are switched off. For trials: each is there for a reason.
    pub off: Vec<Rule>,
    /// Room for recordings of what the interlock takes, MiB; none are made for 0.
    pub recording_mib: Option<u16>,
    /// Nothing begins to move with less room on the disk than this, MiB; 100 without it.
    pub headroom_mib: Option<u16>,
}

impl InterlockConfig {
    /// Room that the disk should have left, in bytes.
    pub fn headroom_bytes(&self) -> u64 {
        u64::from(self.headroom_mib.unwrap_or(HEADROOM_MIB)) << 20
    }

    /// Room for recordings in bytes: some days of two vehicles.
    pub fn recording_bytes(&self) -> u64 {
        u64::from(self.recording_mib.unwrap_or(RECORDING_MIB)) << 20
    }
}

/// Room on the disk where the configuration says nothing, MiB.
const HEADROOM_MIB: u16 = 100;
/// Room for recordings where the configuration says nothing, MiB.
const RECORDING_MIB: u16 = 256;

/// A fence on the ground.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FenceConfig {
    /// Name.
    pub name: Name,
    /// Which side of it is allowed.
    pub side: Side,
    /// Corners, latitude and longitude in degrees.
    pub polygon_deg: Vec<Place>,
    /// Vehicles it is for; all without any.
    #[serde(default)]
    pub vehicles: Vec<Name>,
    /// Highest flight of these vehicles, metres above home.
    pub ceiling_m: Option<f32>,
}

/// A person of the site.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonConfig {
    /// Name, as the person gives it.
    pub name: String,
    /// What the person may do.
    pub role: Role,
}

/// A reading that keeps aircraft on the ground, and brings them home.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeatherConfig {
    /// Sensor, as its readings name it.
    pub sensor: String,
    /// More than this is too much, in the sensor's unit.
    pub most: f64,
    /// Without a reading for this time it counts as silent.
    #[serde(default = "default_silent", with = "shared::config::duration")]
    pub silent_after: Duration,
    /// Vehicles it is for; all that fly without any.
    #[serde(default)]
    pub vehicles: Vec<Name>,
}

fn default_silent() -> Duration {
    Duration::from_secs(30)
}

/// Stop vehicles while somebody is in a zone.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepOutConfig {
    /// Zone.
    pub zone: Name,
    /// Vehicles that drive in it.
    pub vehicles: Vec<Name>,
    /// Clear when fresh frames have shown nobody for this time.
    #[serde(default = "default_clear", with = "shared::config::duration")]
    pub clear_after: Duration,
    /// Who sends its vehicles on once it is clear.
    #[serde(default)]
    pub resume: ResumeBy,
}

/// Who sends a vehicle on that keep-out has stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResumeBy {
    /// Whoever answers for it.
    #[default]
    Operator,
    /// Nobody: it goes on with its mission by itself, while somebody answers for it, after five seconds of a siren.
    Automatic,
}

/// An output line.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputConfig {
    /// Name.
    pub name: Name,
    /// Where it is.
    pub pin: Pin,
    /// Energised while any of these is so.
    pub energised_while: Vec<While>,
    /// Vehicles it is for; all without any.
    #[serde(default)]
    pub vehicles: Vec<Name>,
}

fn default_clear() -> Duration {
    Duration::from_secs(5)
}
