//! Output lines that are none, and vehicles that would go on without a siren.

use shared::config::ConfigError;
use shared::ids::Name;

use super::Config;
use crate::interlock::output::While;
use crate::interlock::pin::Pin;
use crate::interlock::{OutputConfig, ResumeBy};
use crate::vehicle::Output;

/// Output lines of a site: each pin has a thread.
const OUTPUTS_MAX: usize = 16;
/// The last relay of an autopilot (ArduPilot's RELAY1 to RELAY16 are 0 to 15).
const RELAYS_MAX: u8 = 15;

impl Config {
    pub(super) fn check_outputs(&self, file: &str) -> Result<(), ConfigError> {
        let wrong = |key: String, expected: String| Err(ConfigError::new(file, key, expected));
        if self.outputs.len() > OUTPUTS_MAX {
            return wrong("output".into(), format!("expected at most {OUTPUTS_MAX}, found {}", self.outputs.len()));
        }
        let stranger = |name: &&Name| !self.vehicles.iter().any(|vehicle| &&vehicle.name == name);
        for (index, output) in self.outputs.iter().enumerate() {
            let mut before = self.outputs.iter().take(index);
            if before.clone().any(|other| other.name == output.name) {
                let expected = format!("expected a name used once, found {} again", output.name);
                return wrong(format!("output[{index}].name"), expected);
            }
            if before.any(|other| other.pin == output.pin) {
                return wrong(format!("output[{index}].pin"), "expected a pin that no other output has".into());
            }
            if output.energised_while.is_empty() {
                let expected = "expected at least one of armed, held, resuming, released";
                return wrong(format!("output[{index}].energised_while"), expected.into());
            }
            let (released, alone) =
                (output.energised_while.contains(&While::Released), output.energised_while.len() == 1);
            if released && !alone {
                let expected = "expected released alone: with another it would stay energised under the e-stop";
                return wrong(format!("output[{index}].energised_while"), expected.into());
            }
            if let Some(name) = output.vehicles.iter().find(stranger) {
                let expected = format!("expected names of vehicles, found {name}");
                return wrong(format!("output[{index}].vehicles"), expected);
            }
            self.check_relay(file, index)?;
        }
        for (index, rule) in self.keep_out.iter().enumerate().filter(|(_, rule)| rule.resume == ResumeBy::Automatic) {
            let heard = |name: &&Name| {
                let mut sirens = self.outputs.iter().filter(|output| output.energised_while.contains(&While::Resuming));
                !sirens.any(|output| output.vehicles.is_empty() || output.vehicles.contains(name))
            };
            if let Some(name) = rule.vehicles.iter().find(heard) {
                let expected =
                    format!("expected an output that is energised while {name} is resuming: nobody may be surprised");
                return wrong(format!("keep_out[{index}].resume"), expected);
            }
        }
        Ok(())
    }

    /// A relay of a vehicle that is there, is nobody else's, and is for what may go on and off.
    fn check_relay(&self, file: &str, index: usize) -> Result<(), ConfigError> {
        let Some(output) = self.outputs.get(index) else { return Ok(()) };
        let Pin::Relay { vehicle: name, number } = &output.pin else { return Ok(()) };
        let wrong =
            |key: &str, expected: String| Err(ConfigError::new(file, format!("output[{index}].{key}"), expected));
        let Some(vehicle) = self.vehicles.iter().find(|vehicle| &vehicle.name == name) else {
            return wrong("pin.relay.vehicle", format!("expected the name of a vehicle, found {name}"));
        };
        let same = |output: &Output| matches!(output, Output::Relay { relay } if relay == number);
        if vehicle.outputs.values().any(same) {
            return wrong("pin.relay.number", format!("expected a relay that is none of the outputs of {name}"));
        }
        if *number > RELAYS_MAX {
            return wrong("pin.relay.number", format!("expected 0 to {RELAYS_MAX}, found {number}"));
        }
        let other = |other: &OutputConfig| matches!(&other.pin, Pin::Relay { vehicle, .. } if vehicle == name);
        if self.outputs.iter().take(index).any(other) {
            let expected = format!("expected one relay of {name}: its autopilot pulses one at a time");
            return wrong("pin.relay", expected);
        }
        if output.energised_while.contains(&While::Released) {
            let expected =
                "expected a pin of this box for what must stay energised: a vehicle's relay opens each second";
            return wrong("energised_while", expected.into());
        }
        Ok(())
    }
}
