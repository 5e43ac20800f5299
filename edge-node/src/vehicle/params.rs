//! All parameters of a vehicle, read once (<https://mavlink.io/en/services/parameter.html>): the whole list first, then what
//! did not come by number. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use shared::units::Uptime;

use super::codec::{Fields, Packet};
use super::message::{AUTOPILOT, PARAM_REQUEST_LIST, PARAM_REQUEST_READ, PARAM_VALUE};

/// Nothing came for this time: the missing ones are asked for.
const QUIET: Duration = Duration::from_secs(1);
/// As many at once.
const AT_ONCE: usize = 20;
/// Times that something is asked for without anything coming.
const TRIES: u8 = 8;
/// Parameters of a vehicle; ArduPilot has some 1 400.
const MOST: u16 = 5000;
/// MAV_PARAM_TYPE_REAL32 and REAL64; what is not one of them PX4 sends as the bits of an integer.
const REALS: [u8; 2] = [9, 10];

/// One parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its value: a whole number in a float of ArduPilot.
    pub value: f64,
}

/// A message to the vehicle: number and payload.
pub type Question = (u32, Vec<u8>);

/// All of them, or how many came of how many.
pub type Ended = Result<Vec<Parameter>, String>;

/// What is being read.
#[derive(Debug)]
pub struct Listing {
    vehicle: u8,
    /// Integers come as their bits.
    bytewise: bool,
    count: Option<u16>,
    found: BTreeMap<u16, Parameter>,
    at: Option<Uptime>,
    tries: u8,
}

impl Listing {
    /// Nothing yet. `bytewise`: PX4.
    pub const fn new(vehicle: u8, bytewise: bool) -> Self {
        Self { vehicle, bytewise, count: None, found: BTreeMap::new(), at: None, tries: 0 }
    }

    /// Takes a packet of the vehicle.
    pub fn hear(&mut self, packet: &Packet, now: Uptime) {
        let fields = Fields(&packet.payload);
        // What was asked for by name comes without a number.
        let (count, index) = (fields.u16(4), fields.u16(6));
        if packet.id != PARAM_VALUE || count > MOST || index >= count {
            return;
        }
        let name = packet.payload.iter().skip(8).take(16).take_while(|byte| **byte != 0);
        let name = name.map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' }).collect();
        let kind = fields.u8(24);
        let value = match self.bytewise && !REALS.contains(&kind) {
            true => f64::from(fields.i32(0)),
            false => f64::from(fields.f32(0)),
        };
        self.count = Some(count);
        if self.found.insert(index, Parameter { name, value }).is_none() {
            (self.at, self.tries) = (Some(now), 0);
        }
    }

    /// What to ask for now, as message number and payload; the end with all of them, or with how many came.
    ///
    /// # Errors
    /// How many came of how many, when no more do.
    pub fn tick(&mut self, now: Uptime) -> Result<Vec<Question>, Ended> {
        if self.count.is_some_and(|count| self.found.len() >= usize::from(count)) {
            return Err(Ok(std::mem::take(&mut self.found).into_values().collect()));
        }
        if self.at.is_some_and(|at| now.since(at) < QUIET) {
            return Ok(Vec::new());
        }
        if self.tries >= TRIES {
            let count = self.count.map_or_else(|| "an unknown number".into(), |count| count.to_string());
            return Err(Err(format!("{} of {count} parameters came", self.found.len())));
        }
        (self.at, self.tries) = (Some(now), self.tries + 1);
        let Some(count) = self.count else {
            return Ok(vec![(PARAM_REQUEST_LIST, vec![self.vehicle, AUTOPILOT])]);
        };
        let missing = (0..count).filter(|index| !self.found.contains_key(index)).take(AT_ONCE);
        let ask = |index: u16| {
            let [low, high] = index.to_le_bytes();
            (PARAM_REQUEST_READ, [low, high, self.vehicle, AUTOPILOT].into_iter().chain([0; 16]).collect())
        };
        Ok(missing.map(ask).collect())
    }
}
