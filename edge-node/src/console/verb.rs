//! A command as people send it, made a verb of the interlock: fixed-point numbers within what the wire can carry.

use serde::Deserialize;
use shared::ids::Name;

use crate::interlock::machine::Verb;
use crate::vehicle::VehicleConfig;
use crate::vehicle::command::{Circle, Height, Target};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Hold,
    Return,
    Land,
    Disarm,
    Resume,
    Clear,
    Arm,
    TakeOff,
    GoTo,
    Orbit,
    Speed,
    Point,
    Output,
    BrakeTest,
}

/// A command for a vehicle, and who asks. Which of the numbers a verb needs, and no others, README tells.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    verb: Word,
    /// Who asks.
    pub by: String,
    lat_deg: Option<f64>,
    lon_deg: Option<f64>,
    height_m: Option<f64>,
    radius_m: Option<f64>,
    speed_mps: Option<f64>,
    pitch_deg: Option<f64>,
    yaw_deg: Option<f64>,
    output: Option<Name>,
    on: Option<bool>,
}

impl Command {
    /// The verb.
    ///
    /// # Errors
    /// Which field is missing, too many, or out of range, and what was expected.
    pub fn verb(&self, vehicle: &VehicleConfig) -> Result<Verb, String> {
        let (verb, used) = match self.verb {
            Word::Hold => (Verb::Hold, 0),
            Word::Return => (Verb::Return, 0),
            Word::Land => (Verb::Land, 0),
            Word::Disarm => (Verb::Disarm, 0),
            Word::Resume => (Verb::Resume, 0),
            Word::Clear => (Verb::Clear, 0),
            Word::Arm => (Verb::Arm, 0),
            Word::BrakeTest => (Verb::Trial, 0),
            Word::TakeOff => (Verb::TakeOff(self.height()?), 1),
            // What drives has no height.
            Word::GoTo if !vehicle.class.flies() && self.height_m.is_none() => (Verb::GoTo(self.target(false)?), 2),
            Word::GoTo => (Verb::GoTo(self.target(true)?), 3),
            Word::Orbit => {
                let radius_cm = whole("radius_m", self.radius_m, 100.0, 0.0..=600.0)?;
                (Verb::Orbit(self.target(true)?, Circle { radius_cm, speed_cmps: self.speed()? }), 5)
            }
            Word::Speed => (Verb::Speed(self.speed()?), 1),
            Word::Point => {
                let pitch_cdeg = whole("pitch_deg", self.pitch_deg, 100.0, -90.0..=90.0)?;
                (Verb::Point { pitch_cdeg, yaw_cdeg: whole("yaw_deg", self.yaw_deg, 100.0, -180.0..=180.0)? }, 2)
            }
            Word::Output => (Verb::Output(self.output(vehicle)?, self.on.ok_or("on: expected true or false")?), 2),
        };
        match self.given() == used {
            true => Ok(verb),
            false => {
                Err(format!("{}: expected {used} values besides verb and by, found {}", verb.as_str(), self.given()))
            }
        }
    }

    fn given(&self) -> usize {
        let numbers =
            [self.lat_deg, self.lon_deg, self.height_m, self.radius_m, self.speed_mps, self.pitch_deg, self.yaw_deg];
        let others = usize::from(self.output.is_some()) + usize::from(self.on.is_some());
        numbers.iter().flatten().count() + others
    }

    fn height(&self) -> Result<Height, String> {
        let above_home_cm = whole("height_m", self.height_m, 100.0, -500.0..=10_000.0)?;
        Ok(Height { above_home_cm, home_cm: 0 })
    }

    fn target(&self, high: bool) -> Result<Target, String> {
        let lat_e7 = whole("lat_deg", self.lat_deg, 1e7, -85.0..=85.0)?;
        let lon_e7 = whole("lon_deg", self.lon_deg, 1e7, -180.0..=180.0)?;
        Ok(Target { lat_e7, lon_e7, height: if high { self.height()? } else { Height::default() } })
    }

    fn speed(&self) -> Result<u16, String> {
        whole("speed_mps", self.speed_mps, 100.0, 0.0..=100.0)
    }

    fn output(&self, vehicle: &VehicleConfig) -> Result<u8, String> {
        let found = self.output.as_ref().and_then(|name| vehicle.outputs.keys().position(|known| known == name));
        found.and_then(|index| u8::try_from(index).ok()).ok_or_else(|| {
            let names = vehicle.outputs.keys().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
            format!("output: expected one of the vehicle's outputs ({names})")
        })
    }
}

/// A number in units of the wire.
fn whole<T: TryFrom<i64>>(
    name: &str,
    value: Option<f64>,
    scale: f64,
    range: std::ops::RangeInclusive<f64>,
) -> Result<T, String> {
    let expected = || format!("{name}: expected a number from {} to {}", range.start(), range.end());
    let value = value.filter(|value| range.contains(value)).ok_or_else(expected)?;
    #[expect(clippy::cast_possible_truncation, reason = "in range")]
    let scaled = (value * scale).round() as i64;
    T::try_from(scaled).map_err(|_| expected())
}
