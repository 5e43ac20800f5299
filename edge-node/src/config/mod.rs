//! The node's typed configuration: one TOML file, unknown keys refused, names checked against each other.

mod links;
mod outputs;
mod seeing;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use shared::config::{ConfigError, parse};
use shared::ids::Name;

use crate::detect::chain::ChainConfig;
use crate::detect::finder::ClassConfig;
use crate::detect::journey::LineConfig;
use crate::detect::network::LibraryConfig;
use crate::detect::zone::ZoneConfig;
use crate::ground::calibration::Calibration;
use crate::ground::polygon::Polygon;
use crate::ground::{Origin, Place};
use crate::interlock::words::{Role, Rule};
use crate::interlock::{FenceConfig, InterlockConfig, KeepOutConfig, OutputConfig, PersonConfig, WeatherConfig};
use crate::journal::limits::Limits;
use crate::media::MediaConfig;
use crate::models::UpkeepConfig;
use crate::sensor::camera::CameraConfig;
use crate::uplink::RelayConfig;
use crate::vehicle::{LinkConfig, Needs, VehicleConfig};

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This node.
    pub node: Name,
    /// Folder of the journal and the latch.
    pub data: PathBuf,
    /// Address of console and API. Loopback only, until the console has accounts.
    pub listen: SocketAddr,
    /// Our MAVLink system id.
    #[serde(default = "default_sysid")]
    pub mavlink_sysid: u8,
    /// System id of the supervisor's heartbeat, which the vehicles' ground-station failsafe waits for: their MAV_GCS_SYSID.
    #[serde(default = "default_supervisor")]
    pub supervisor_sysid: u8,
    /// Who may do what, and how the e-stop is reset.
    #[serde(default)]
    pub interlock: InterlockConfig,
    /// People of the site. Without anybody every name may do everything: the console is on loopback.
    #[serde(default, rename = "person")]
    pub people: Vec<PersonConfig>,
    /// Sizes and times of the journal.
    #[serde(default)]
    pub journal: Limits,
    /// Sizes of the store of pictures and clips.
    #[serde(default)]
    pub media: MediaConfig,
    /// Room for what is said on the links, MiB; nothing is kept of it for 0.
    #[serde(default = "default_tlog")]
    pub tlog_mib: u16,
    /// Where events go; without it they stay here.
    pub relay: Option<RelayConfig>,
    /// What looks at pictures; needed where there is a camera.
    pub model: Option<ModelConfig>,
    /// Cameras.
    #[serde(default, rename = "camera")]
    pub cameras: Vec<CameraConfig>,
    /// Zones.
    #[serde(default, rename = "zone")]
    pub zones: Vec<ZoneConfig>,
    /// Lines.
    #[serde(default, rename = "line")]
    pub lines: Vec<LineConfig>,
    /// What looks second, at what is followed.
    #[serde(default, rename = "chain")]
    pub chains: Vec<ChainConfig>,
    /// Links.
    #[serde(default, rename = "link")]
    pub links: Vec<LinkConfig>,
    /// Vehicles.
    #[serde(default, rename = "vehicle")]
    pub vehicles: Vec<VehicleConfig>,
    /// Fences.
    #[serde(default, rename = "fence")]
    pub fences: Vec<FenceConfig>,
    /// Where metres are counted from, latitude and longitude; without it the first corner of the first fence.
    pub origin_deg: Option<Place>,
    /// Readings that keep aircraft on the ground.
    #[serde(default)]
    pub weather: Vec<WeatherConfig>,
    /// Keep-out rules.
    #[serde(default, rename = "keep_out")]
    pub keep_out: Vec<KeepOutConfig>,
    /// Output lines.
    #[serde(default, rename = "output")]
    pub outputs: Vec<OutputConfig>,
    /// The text it was read from, which recordings keep.
    #[serde(skip)]
    pub text: String,
}

/// The detector.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Name in the manifest.
    pub name: String,
    /// Manifest file.
    pub manifest: PathBuf,
    /// Least score of a detection that is counted; tracks have their own thresholds.
    #[serde(default = "default_score")]
    pub min_score: f32,
    /// A picture older than this when its turn comes is not looked at: another one will be there.
    #[serde(default = "default_deadline", with = "shared::config::duration")]
    pub deadline: Duration,
    /// By label, what counts: `[model.classes.person]`.
    #[serde(default)]
    pub classes: HashMap<String, ClassConfig>,
    /// Threads that look, each at its share of the cameras: 1 or 2.
    #[serde(default = "default_workers")]
    pub workers: usize,
    /// What is asked of a new model, and what is kept to train the next one.
    #[serde(default)]
    pub upkeep: UpkeepConfig,
    /// What computes networks instead of tract: `[model.onnxruntime]`.
    pub onnxruntime: Option<LibraryConfig>,
}

fn default_workers() -> usize {
    1
}

fn default_deadline() -> Duration {
    Duration::from_secs(1)
}

fn default_sysid() -> u8 {
    // Not 255 or 254: ground stations use those, and ArduPilot's failsafe compares only the system id.
    245
}

fn default_tlog() -> u16 {
    // Some hours of two vehicles.
    256
}

fn default_supervisor() -> u8 {
    // ArduPilot's default.
    255
}

fn default_score() -> f32 {
    0.35
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`] naming file, key path and what was expected.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError::new(&file, "file", e.to_string()))?;
        Self::of(&file, text)
    }

    /// Checks the text of a file.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn of(file: &str, text: String) -> Result<Self, ConfigError> {
        let mut config: Self = parse(file, &text)?;
        config.check(file)?;
        config.text = text;
        Ok(config)
    }

    /// Where metres are counted from.
    pub fn origin(&self) -> Option<Place> {
        let corner = |fence: &FenceConfig| fence.polygon_deg.first().copied();
        let mark = || Some(self.cameras.iter().flat_map(|camera| &camera.ground).next()?.place_deg);
        self.origin_deg.or_else(|| self.fences.first().and_then(corner)).or_else(mark)
    }

    /// Fences that are none, distances that are none.
    fn check_ground(&self, file: &str) -> Result<(), ConfigError> {
        let wrong = |key: String, expected: String| Err(ConfigError::new(file, key, expected));
        let origin = Origin::new(self.origin().unwrap_or(Place { lat_deg: 0.0, lon_deg: 0.0 }));
        for (index, fence) in self.fences.iter().enumerate() {
            if let Err(problem) = Polygon::new(&fence.polygon_deg, &origin) {
                return wrong(format!("fence[{index}].polygon_deg"), problem);
            }
            if fence.ceiling_m.is_some_and(|ceiling| !(1.0..=5000.0).contains(&ceiling)) {
                return wrong(format!("fence[{index}].ceiling_m"), "expected 1 to 5000 metres".into());
            }
            for (n, name) in fence.vehicles.iter().enumerate() {
                if !self.vehicles.iter().any(|vehicle| &vehicle.name == name) {
                    let expected = format!("expected the name of a vehicle, found {name}");
                    return wrong(format!("fence[{index}].vehicles[{n}]"), expected);
                }
            }
        }
        for (index, camera) in self.cameras.iter().enumerate().filter(|(_, camera)| !camera.ground.is_empty()) {
            let calibration = match Calibration::new(&camera.ground, &origin) {
                Ok(calibration) => calibration,
                Err(problem) => return wrong(format!("camera[{index}].ground"), problem),
            };
            for (n, zone) in self.zones.iter().enumerate().filter(|(_, zone)| zone.camera == camera.name) {
                if zone.on_ground(&calibration).is_none() {
                    let expected = "expected a zone below the horizon of its camera's ground";
                    return wrong(format!("zone[{n}].polygon"), expected.into());
                }
            }
        }
        match self.interlock.separation_m {
            Some(metres) if !(0.5..=1000.0).contains(&metres) => {
                wrong("interlock.separation_m".into(), format!("expected 0.5 to 1000, found {metres}"))
            }
            Some(_) if self.origin().is_none() => {
                wrong("origin_deg".into(), "expected a place, since vehicles keep apart and there is no fence".into())
            }
            _ => Ok(()),
        }
    }

    /// Times that would switch a rule off, sizes that would make the journal useless.
    fn check_limits(&self, file: &str) -> Result<(), ConfigError> {
        let wrong = |key: String, expected: String| Err(ConfigError::new(file, key, expected));
        if let Some((key, problem)) = self.journal.problem() {
            return wrong(format!("journal.{key}"), problem);
        }
        if let Some((key, problem)) = self.media.problem() {
            return wrong(format!("media.{key}"), problem);
        }
        for (index, camera) in self.cameras.iter().enumerate() {
            if let Some((key, problem)) = camera.problem() {
                return wrong(format!("camera[{index}].{key}"), problem);
            }
            if !(Duration::from_millis(100)..=Duration::from_secs(5)).contains(&camera.stale_after) {
                return wrong(format!("camera[{index}].stale_after"), "expected 100ms to 5s".into());
            }
        }
        for (index, vehicle) in self.vehicles.iter().enumerate() {
            let found = vehicle.mode_channel();
            let Needs { return_pct, land_pct } = vehicle.battery;
            if land_pct >= return_pct || return_pct > 95 {
                let expected = format!("expected land_pct < return_pct <= 95, found {land_pct} and {return_pct}");
                return wrong(format!("vehicle[{index}].battery"), expected);
            }
            if let Some((key, problem)) = vehicle.problem() {
                return wrong(format!("vehicle[{index}].{key}"), problem);
            }
            if !(1..=16).contains(&found) {
                return wrong(format!("vehicle[{index}].mode_channel"), format!("expected 1 to 16, found {found}"));
            }
        }
        if self.supervisor_sysid == self.mavlink_sysid || self.supervisor_sysid == 0 {
            let expected = "expected another id than mavlink_sysid: the observer must not feed the vehicles' failsafe";
            return wrong("supervisor_sysid".into(), expected.into());
        }
        for (index, person) in self.people.iter().enumerate() {
            let twin = self.people.iter().take(index).any(|other| other.name == person.name);
            if twin || person.name.trim().is_empty() {
                return wrong(
                    format!("person[{index}].name"),
                    format!("expected a name used once, found {:?}", person.name),
                );
            }
        }
        if self.interlock.two_person && self.people.len() < 2 {
            return wrong("interlock.two_person".into(), "expected at least two people in [[person]]".into());
        }
        if !self.people.is_empty() && !self.people.iter().any(|person| person.role == Role::Supervisor) {
            return wrong("person".into(), "expected a supervisor: nobody else resets the e-stop".into());
        }
        if self.interlock.off.contains(&Rule::Asked) {
            return wrong("interlock.off".into(), "expected a rule: what a person asks for is none".into());
        }
        for (index, rule) in self.weather.iter().enumerate() {
            if !rule.most.is_finite() || !(1..=600).contains(&rule.silent_after.as_secs()) {
                let expected = "expected a number for most, and 1s to 10m for silent_after";
                return wrong(format!("weather[{index}]"), expected.into());
            }
            let stranger = |name: &&Name| !self.vehicles.iter().any(|vehicle| &&vehicle.name == name);
            if let Some(name) = rule.vehicles.iter().find(stranger) {
                let expected = format!("expected names of vehicles, found {name}");
                return wrong(format!("weather[{index}].vehicles"), expected);
            }
        }
        for (index, rule) in self.keep_out.iter().enumerate() {
            if rule.clear_after < Duration::from_millis(500) {
                return wrong(format!("keep_out[{index}].clear_after"), "expected at least 500ms".into());
            }
        }
        Ok(())
    }

    fn check(&self, file: &str) -> Result<(), ConfigError> {
        self.check_limits(file)?;
        self.check_ground(file)?;
        self.check_links(file)?;
        self.check_vehicles(file)?;
        self.check_outputs(file)?;
        self.check_seeing(file)?;
        let wrong = |key: String, expected: String| Err(ConfigError::new(file, key, expected));
        if !self.listen.ip().is_loopback() {
            let found = self.listen;
            return wrong(
                "listen".into(),
                format!("expected a loopback address until the console has accounts, found {found}"),
            );
        }
        if let Some((key, problem)) = self.relay.as_ref().and_then(RelayConfig::problem) {
            return wrong(format!("relay.{key}"), problem);
        }
        let cameras: Vec<&Name> = self.cameras.iter().map(|c| &c.name).collect();
        let zones: Vec<&Name> = self.zones.iter().map(|z| &z.name).collect();
        let links: Vec<&Name> = self.links.iter().map(|l| &l.name).collect();
        let vehicles: Vec<&Name> = self.vehicles.iter().map(|v| &v.name).collect();
        for (list, names) in [("camera", &cameras), ("zone", &zones), ("link", &links), ("vehicle", &vehicles)] {
            for (index, name) in names.iter().enumerate() {
                if names.iter().take(index).any(|other| other == name) {
                    return wrong(
                        format!("{list}[{index}].name"),
                        format!("expected a name used once, found {name} again"),
                    );
                }
            }
        }
        let known = |key: String, name: &Name, names: &[&Name], kind: &str| match names.contains(&name) {
            true => Ok(()),
            false => {
                let list = names.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(", ");
                Err(ConfigError::new(file, key, format!("expected the name of a {kind} ({list}), found {name}")))
            }
        };
        for (index, zone) in self.zones.iter().enumerate() {
            known(format!("zone[{index}].camera"), &zone.camera, &cameras, "camera")?;
            if zone.labels.is_empty() {
                return wrong(format!("zone[{index}].labels"), "expected at least one class".into());
            }
            if let Some((key, problem)) = zone.problem() {
                return wrong(format!("zone[{index}].{key}"), problem);
            }
        }
        for (index, rule) in self.keep_out.iter().enumerate() {
            let zone = self.zones.iter().find(|zone| zone.name == rule.zone);
            let camera = zone.and_then(|zone| self.cameras.iter().find(|camera| camera.name == zone.camera));
            if camera.is_some_and(|camera| camera.view().frozen_after > rule.clear_after) {
                let expected = "expected at least view.frozen_after of its camera: a frozen picture would clear it";
                return wrong(format!("keep_out[{index}].clear_after"), expected.into());
            }
        }
        for (index, rule) in self.keep_out.iter().enumerate() {
            known(format!("keep_out[{index}].zone"), &rule.zone, &zones, "zone")?;
            for (n, vehicle) in rule.vehicles.iter().enumerate() {
                known(format!("keep_out[{index}].vehicles[{n}]"), vehicle, &vehicles, "vehicle")?;
            }
        }
        Ok(())
    }
}
