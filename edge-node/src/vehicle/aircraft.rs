//! Aircraft that are not ours, as receivers on the links tell of them: ADS-B, and Open Drone ID of other drones. Readings for
//! people; nothing is decided by them, since anybody may broadcast anything. Pure.
//!
//! Fields by offset after <https://mavlink.io/en/messages/common.html#ADSB_VEHICLE> and
//! <https://mavlink.io/en/services/opendroneid.html>.

use std::time::Duration;

use shared::event::AircraftSeen;
use shared::units::Uptime;

use super::codec::{Fields, Packet};
use super::message::{ADSB_VEHICLE, OPEN_DRONE_ID_BASIC_ID, OPEN_DRONE_ID_LOCATION};

/// Aircraft that are kept at once: more within a minute are refused, so that nobody fills memory or journal by inventing them.
pub const MOST: usize = 128;
/// Messages in a second that are read: two of each aircraft.
const SECOND_MAX: usize = 2 * MOST;
/// Without a word for this time one is gone.
pub const GONE: Duration = Duration::from_secs(60);
/// Each is told of this often.
const TOLD: Duration = Duration::from_secs(10);
/// ADSB_FLAGS: which fields are valid.
const COORDS: u16 = 1;
const ALTITUDE: u16 = 2;
const HEADING: u16 = 4;
const VELOCITY: u16 = 8;
const CALLSIGN: u16 = 16;
/// Direction and speed of Open Drone ID that mean "unknown", and the altitude.
const NO_DIRECTION: u16 = 36_100;
const NO_SPEED: u16 = 25_500;
const NO_CLIMB: i16 = 6300;
const NO_ALTITUDE_M: f32 = -1000.0;
/// Altitudes beyond these are none, metres.
const ALTITUDES_M: std::ops::RangeInclusive<f32> = -500.0..=50_000.0;

/// An aircraft.
#[derive(Debug, Clone, PartialEq)]
pub struct Aircraft {
    /// What is known of it.
    pub seen: AircraftSeen,
    /// When it was last heard of.
    pub at: Uptime,
    told: Option<Uptime>,
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub struct Skies {
    known: Vec<Aircraft>,
    /// The second that messages are counted in, and how many came.
    counted: (Uptime, usize),
}

/// Whether a message tells of one.
pub const fn tells(id: u32) -> bool {
    matches!(id, ADSB_VEHICLE | OPEN_DRONE_ID_BASIC_ID | OPEN_DRONE_ID_LOCATION)
}

impl Skies {
    /// A receiver told of one; gives what is to be journaled.
    ///
    /// # Errors
    /// Why nothing was taken.
    pub fn hear(&mut self, packet: &Packet, now: Uptime) -> Result<Option<AircraftSeen>, &'static str> {
        if now.since(self.counted.0) >= Duration::from_secs(1) {
            self.counted = (now, 0);
        }
        self.counted.1 += 1;
        if self.counted.1 > SECOND_MAX {
            return Err("too many words of aircraft");
        }
        let told = read(packet)?;
        self.known.retain(|known| now.since(known.at) < GONE);
        let index = match self.known.iter().position(|known| known.seen.aircraft == told.aircraft) {
            Some(index) => index,
            None if self.known.len() >= MOST => return Err("too many aircraft"),
            None => {
                self.known.push(Aircraft { seen: told.clone(), at: now, told: None });
                self.known.len() - 1
            }
        };
        let Some(known) = self.known.get_mut(index) else { return Ok(None) };
        known.at = now;
        merge(&mut known.seen, told);
        // A name alone says nothing yet.
        let due = known.seen.lat_deg.is_some() && known.told.is_none_or(|at| now.since(at) >= TOLD);
        if due {
            known.told = Some(now);
        }
        Ok(due.then(|| known.seen.clone()))
    }

    /// Those that were heard of within a minute, when the last one was.
    pub fn all(&self) -> Vec<Aircraft> {
        self.known.clone()
    }
}

/// What is newly told takes the place of what was; a message with a name alone has no place, and the other way round.
fn merge(known: &mut AircraftSeen, told: AircraftSeen) {
    if !told.name.is_empty() {
        known.name = told.name;
    }
    if told.lat_deg.is_some() {
        (known.lat_deg, known.lon_deg, known.alt_m) = (told.lat_deg, told.lon_deg, told.alt_m);
        (known.heading_deg, known.speed_mps, known.climb_mps) = (told.heading_deg, told.speed_mps, told.climb_mps);
    }
}

fn read(packet: &Packet) -> Result<AircraftSeen, &'static str> {
    let fields = Fields(&packet.payload);
    match packet.id {
        ADSB_VEHICLE => adsb(fields),
        OPEN_DRONE_ID_BASIC_ID => {
            let name = text(fields, 24, 20);
            Ok(AircraftSeen { name, ..nameless(drone(fields, 2)?) })
        }
        OPEN_DRONE_ID_LOCATION => location(fields),
        _ => Err("not of an aircraft"),
    }
}

fn nameless(aircraft: String) -> AircraftSeen {
    AircraftSeen {
        aircraft,
        name: String::new(),
        lat_deg: None,
        lon_deg: None,
        alt_m: None,
        heading_deg: None,
        speed_mps: None,
        climb_mps: None,
    }
}

fn adsb(fields: Fields) -> Result<AircraftSeen, &'static str> {
    let (icao, flags) = (fields.u32(0), fields.u16(22));
    if icao == 0 || icao > 0x00FF_FFFF {
        return Err("an aircraft without an address");
    }
    let valid = |flag: u16| flags & flag != 0;
    let place = if valid(COORDS) { Some(place(fields.i32(4), fields.i32(8))?) } else { None };
    let alt = valid(ALTITUDE).then(|| fields.i32(12) as f32 / 1000.0).filter(|alt| ALTITUDES_M.contains(alt));
    Ok(AircraftSeen {
        name: if valid(CALLSIGN) { text(fields, 27, 9) } else { String::new() },
        lat_deg: place.map(|(lat, _)| lat),
        lon_deg: place.map(|(_, lon)| lon),
        alt_m: alt,
        heading_deg: valid(HEADING).then(|| f32::from(fields.u16(16)) / 100.0).filter(|degrees| *degrees < 360.0),
        speed_mps: valid(VELOCITY).then(|| f32::from(fields.u16(18)) / 100.0),
        climb_mps: valid(VELOCITY).then(|| f32::from(fields.i16(20)) / 100.0),
        ..nameless(format!("adsb-{icao:06x}"))
    })
}

fn location(fields: Fields) -> Result<AircraftSeen, &'static str> {
    let aircraft = drone(fields, 32)?;
    let (lat, lon) = (fields.i32(0), fields.i32(4));
    // Both zero: unknown.
    let place = if (lat, lon) == (0, 0) { None } else { Some(place(lat, lon)?) };
    let altitude = fields.f32(12);
    let (direction, speed, climb) = (fields.u16(24), fields.u16(26), fields.i16(28));
    Ok(AircraftSeen {
        lat_deg: place.map(|(lat, _)| lat),
        lon_deg: place.map(|(_, lon)| lon),
        alt_m: Some(altitude).filter(|alt| *alt > NO_ALTITUDE_M && ALTITUDES_M.contains(alt)),
        heading_deg: (direction < NO_DIRECTION)
            .then(|| f32::from(direction) / 100.0)
            .filter(|degrees| *degrees < 360.0),
        speed_mps: (speed < NO_SPEED).then(|| f32::from(speed) / 100.0),
        climb_mps: (climb < NO_CLIMB).then(|| f32::from(climb) / 100.0),
        ..nameless(aircraft)
    })
}

/// Name of a drone by what its receiver calls it; zeros are the vehicle's own transmission.
fn drone(fields: Fields, at: usize) -> Result<String, &'static str> {
    let bytes: Vec<u8> = (at..at + 20).map(|at| fields.u8(at)).collect();
    let used = bytes.iter().rposition(|byte| *byte != 0).ok_or("a vehicle's own identification")?;
    Ok(format!("odid-{}", bytes.iter().take(used + 1).map(|byte| format!("{byte:02x}")).collect::<String>()))
}

fn place(lat_e7: i32, lon_e7: i32) -> Result<(f64, f64), &'static str> {
    let (lat, lon) = (f64::from(lat_e7) / 1e7, f64::from(lon_e7) / 1e7);
    (lat.abs() <= 90.0 && lon.abs() <= 180.0).then_some((lat, lon)).ok_or("an aircraft at no place on earth")
}

/// Printable characters of a field, up to its first zero.
fn text(fields: Fields, at: usize, length: usize) -> String {
    let bytes = (at..at + length).map(|at| fields.u8(at)).take_while(|byte| *byte != 0);
    bytes.filter(|byte| (b' '..=b'~').contains(byte)).map(char::from).collect::<String>().trim().to_owned()
}
