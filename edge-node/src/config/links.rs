//! Links that vehicles cannot have, ground stations that anybody could be, vehicles that cannot be told apart.

use shared::config::ConfigError;

use super::Config;
use crate::vehicle::LINKS;

/// Links of a site: each signs with two link ids of its own.
const LINKS_MAX: usize = 32;

impl Config {
    /// Links that vehicles cannot have, and ground stations that anybody could be.
    pub(super) fn check_links(&self, file: &str) -> Result<(), ConfigError> {
        let wrong = |key: String, expected: String| Err(ConfigError::new(file, key, expected));
        if self.links.len() > LINKS_MAX {
            return wrong("link".into(), format!("expected at most {LINKS_MAX}, found {}", self.links.len()));
        }
        for (index, link) in self.links.iter().enumerate() {
            let Some(stations) = &link.ground_stations else { continue };
            // A serial port may be a radio.
            let local = link.url.address().is_some_and(|address| address.ip().is_loopback());
            if !local && link.key_file.is_none() {
                let expected = "expected a key: anybody on that network or radio could be a ground station";
                return wrong(format!("link[{index}].key_file"), expected.into());
            }
            if !(1..=1000).contains(&stations.per_second) {
                let expected = format!("expected 1 to 1000, found {}", stations.per_second);
                return wrong(format!("link[{index}].ground_stations.per_second"), expected);
            }
            if self.people.iter().any(|person| person.name == link.name.as_str()) {
                let expected = format!("expected a name that no person of the site has, found {}", link.name);
                return wrong(format!("link[{index}].name"), expected);
            }
            let stranger = |name: &&String| !self.people.iter().any(|person| &&person.name == name);
            if let Some(name) = stations.operator.as_ref().filter(stranger).filter(|_| !self.people.is_empty()) {
                let expected = format!("expected the name of a person of the site, found {name:?}");
                return wrong(format!("link[{index}].ground_stations.operator"), expected);
            }
        }
        Ok(())
    }

    /// Vehicles that cannot be told apart, or be heard.
    pub(super) fn check_vehicles(&self, file: &str) -> Result<(), ConfigError> {
        let wrong = |key: String, expected: String| Err(ConfigError::new(file, key, expected));
        for (index, vehicle) in self.vehicles.iter().enumerate() {
            let twin = self.vehicles.iter().take(index).any(|v| v.sysid == vehicle.sysid);
            if twin || [0, self.mavlink_sysid, self.supervisor_sysid].contains(&vehicle.sysid) {
                let found = vehicle.sysid;
                return wrong(
                    format!("vehicle[{index}].sysid"),
                    format!("expected 1 to 255, used once and not ours, found {found}"),
                );
            }
            let key = format!("vehicle[{index}].links");
            if !(1..=LINKS).contains(&vehicle.links.len()) {
                return wrong(key, format!("expected 1 to {LINKS} links, found {}", vehicle.links.len()));
            }
            for (n, name) in vehicle.links.iter().enumerate() {
                let link = self.links.iter().find(|link| &link.name == name);
                let good = link.is_some_and(|link| link.ground_stations.is_none());
                if !good || vehicle.links.iter().take(n).any(|before| before == name) {
                    let links = self.links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>().join(", ");
                    let expected = format!("expected a link ({links}), once, not of ground stations, found {name}");
                    return wrong(format!("{key}[{n}]"), expected);
                }
            }
        }
        Ok(())
    }
}
