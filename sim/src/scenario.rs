//! What is simulated: the scenario file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use shared::config::{ConfigError, parse};
use shared::ids::Name;

use crate::wire::Url;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Where vehicles write what they were told, one JSON object a line.
    pub trace: Option<PathBuf>,
    /// Vehicles.
    #[serde(default, rename = "vehicle")]
    pub vehicles: Vec<Vehicle>,
    /// Cameras.
    #[serde(default, rename = "camera")]
    pub cameras: Vec<Camera>,
}

/// Kind of vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Like ArduRover.
    Rover,
    /// Like ArduCopter.
    Copter,
}

/// One vehicle.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vehicle {
    /// Name.
    pub name: Name,
    /// Kind.
    pub class: Class,
    /// MAVLink system id.
    pub sysid: u8,
    /// Its link, or several: an address for datagrams, or URLs.
    pub connect: Connect,
    /// Key of its links, 64 hexadecimal digits: it takes nothing that is not signed with it.
    pub key: Option<Key>,
    /// Home, latitude and longitude in degrees.
    pub home: [f64; 2],
    /// Mission: corners of a closed path, metres east and north of home.
    pub mission_m: Vec<[f64; 2]>,
    /// Its own fence, an inclusion: corners, latitude and longitude in degrees.
    #[serde(default)]
    pub fence_deg: Vec<[f64; 2]>,
    /// Mission speed, m/s.
    pub speed_mps: f64,
    /// Mode at start.
    pub mode: u32,
    /// Whether it starts armed.
    #[serde(default)]
    pub armed: bool,
    /// Modes it refuses with MAV_RESULT_FAILED.
    #[serde(default)]
    pub refuse_modes: Vec<u32>,
    /// Modes it acks and does not enter.
    #[serde(default)]
    pub ignore_modes: Vec<u32>,
    /// It enters modes that stop it, and keeps its speed.
    #[serde(default)]
    pub flies_on: bool,
    /// Commands by number, and how many of each it leaves without an answer at first.
    #[serde(default, deserialize_with = "numbers")]
    pub deaf: BTreeMap<u32, u32>,
    /// Battery at the start, percent.
    #[serde(default = "full")]
    pub battery_pct: f64,
    /// Sensors that are not well: MAV_SYS_STATUS_SENSOR.
    #[serde(default)]
    pub unwell: u32,
    /// A copter lands by itself, once, when its battery falls below this.
    pub land_below_pct: Option<f64>,
    /// It sends nothing for a while, or no heartbeats, and hears all the same.
    pub mute: Option<Mute>,
    /// It takes a mode at once, and enters it after this many seconds.
    #[serde(default)]
    pub delay_s: f64,
    /// It loses its satellites this many seconds after the start.
    pub gps_lost_at_s: Option<f64>,
    /// Parameters that are not as ArduPilot has them by default.
    #[serde(default)]
    pub parameters: BTreeMap<String, f32>,
    /// What its pilot does at the radio control.
    pub pilot: Option<Pilot>,
}

/// One link or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Connect {
    /// One.
    One(Url),
    /// Several.
    Many(Vec<Url>),
}

impl Connect {
    /// Each of them.
    pub fn urls(&self) -> &[Url] {
        match self {
            Self::One(url) => std::slice::from_ref(url),
            Self::Many(urls) => urls,
        }
    }
}

/// A secret key of MAVLink's signing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Key(pub [u8; 32]);

impl TryFrom<String> for Key {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut key = [0; 32];
        let digits = |n: usize| text.get(2 * n..2 * n + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        for (n, byte) in key.iter_mut().enumerate() {
            *byte = digits(n).filter(|_| text.len() == 64).ok_or("expected 64 hexadecimal digits")?;
        }
        Ok(Self(key))
    }
}

/// A pilot who switches the mode once.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pilot {
    /// Seconds after the start.
    pub at_s: f64,
    /// To this mode.
    pub mode: u32,
    /// RC channel of the switch, from 1.
    pub channel: u8,
}

/// What a vehicle does not send for a while.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mute {
    /// From when its first command to go on its mission came, seconds.
    pub after_s: f64,
    /// For so long, seconds.
    pub for_s: f64,
    /// Heartbeats alone.
    #[serde(default)]
    pub heartbeats: bool,
}

/// TOML's keys are texts.
fn numbers<'de, D: serde::Deserializer<'de>>(from: D) -> Result<BTreeMap<u32, u32>, D::Error> {
    let read = BTreeMap::<String, u32>::deserialize(from)?;
    let number = |key: &str| key.parse().map_err(|_| serde::de::Error::custom("expected the number of a command"));
    read.into_iter().map(|(key, count)| Ok((number(&key)?, count))).collect()
}

fn full() -> f64 {
    100.0
}

/// One camera: an MJPEG server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Camera {
    /// Name; the stream is at `/NAME`.
    pub name: Name,
    /// Address of its HTTP server.
    pub listen: SocketAddr,
    /// A video file, or a folder of pictures.
    pub source: PathBuf,
    /// Pictures per second.
    #[serde(default = "ten")]
    pub fps: u32,
}

fn ten() -> u32 {
    10
}

impl Scenario {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`] naming file and key path.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError::new(&file, "file", e.to_string()))?;
        let scenario: Self = parse(&file, &text)?;
        for (index, vehicle) in scenario.vehicles.iter().enumerate() {
            let key = |field: &str| format!("vehicle[{index}].{field}");
            if vehicle.mission_m.len() < 2 {
                return Err(ConfigError::new(&file, key("mission_m"), "expected at least 2 corners"));
            }
            if vehicle.pilot.is_some_and(|pilot| ![5, 8].contains(&pilot.channel)) {
                return Err(ConfigError::new(&file, key("pilot.channel"), "expected 5 or 8"));
            }
            if !(0.1..=50.0).contains(&vehicle.speed_mps) {
                return Err(ConfigError::new(&file, key("speed_mps"), "expected 0.1 to 50"));
            }
        }
        if let Some(index) = scenario.cameras.iter().position(|c| !(1..=60).contains(&c.fps)) {
            return Err(ConfigError::new(&file, format!("camera[{index}].fps"), "expected 1 to 60"));
        }
        Ok(scenario)
    }
}
