//! Where an autopilot is sent by hand: a place in GUIDED, and up.

use mavlink::dialects::ardupilotmega::{COMMAND_INT_DATA, MavCmd, MavResult};

use super::{Autopilot, mode};
use crate::plans::metres;
use crate::scenario::Class;

impl Autopilot {
    /// DO_REPOSITION: only in GUIDED, or where it may change there.
    pub(super) fn command_at(&mut self, command: &COMMAND_INT_DATA) -> MavResult {
        let guided = match self.config.class {
            Class::Rover => mode::ROVER_GUIDED,
            Class::Copter => mode::COPTER_GUIDED,
        };
        if command.command != MavCmd::MAV_CMD_DO_REPOSITION {
            return MavResult::MAV_RESULT_UNSUPPORTED;
        }
        if self.mode != guided && (command.param2 != 1.0 || self.set_mode(guided) != MavResult::MAV_RESULT_ACCEPTED) {
            return MavResult::MAV_RESULT_DENIED;
        }
        if self.body.landed() && self.config.class == Class::Copter {
            return MavResult::MAV_RESULT_FAILED;
        }
        let place = metres(self.config.home, [f64::from(command.x) / 1e7, f64::from(command.y) / 1e7]);
        self.sent_to = Some((place, f64::from(command.z)));
        MavResult::MAV_RESULT_ACCEPTED
    }

    /// NAV_TAKEOFF: armed, in GUIDED, from the ground.
    pub(super) fn take_off(&mut self, alt: f32) -> MavResult {
        let may = self.config.class == Class::Copter && self.mode == mode::COPTER_GUIDED && self.armed;
        if !may || !self.body.landed() || alt <= 0.0 {
            return MavResult::MAV_RESULT_FAILED;
        }
        self.sent_to = Some((self.body.place().0, f64::from(alt)));
        MavResult::MAV_RESULT_ACCEPTED
    }
}
