//! The few messages Picket sends, as payload bytes. What is not here cannot be sent: there is no other way out.

use super::Class;
use super::codec::Writer;

/// DO_SET_MODE.
pub const DO_SET_MODE: u16 = 176;
/// COMPONENT_ARM_DISARM.
pub const ARM_DISARM: u16 = 400;
const SET_MESSAGE_INTERVAL: u16 = 511;
/// MAV_MODE_FLAG_CUSTOM_MODE_ENABLED.
const CUSTOM_MODE: f32 = 1.0;
const HEARTBEAT: u32 = 0;
const COMMAND_LONG: u32 = 76;
const SET_POSITION_TARGET_LOCAL_NED: u32 = 84;
/// Use velocity only: position, acceleration, yaw and yaw rate are ignored.
const VELOCITY_ONLY: u16 = 0b0000_1101_1100_0111;
/// MAV_FRAME_LOCAL_NED.
const LOCAL_NED: u8 = 1;
/// MAV_COMP_ID_AUTOPILOT1.
const AUTOPILOT: u8 = 1;
/// MAV_COMP_ID_ONBOARD_COMPUTER.
pub const OUR_COMPONENT: u8 = 191;

/// Mode numbers of HEARTBEAT.custom_mode.
impl Class {
    /// The autopilot drives its mission.
    pub const fn auto(self) -> u32 {
        match self {
            Self::Rover => 10,
            Self::Copter => 3,
        }
    }

    /// GUIDED.
    pub const fn guided(self) -> u32 {
        match self {
            Self::Rover => 15,
            Self::Copter => 4,
        }
    }

    /// The first choice to stand still: ArduRover HOLD, ArduCopter BRAKE.
    pub const fn hold(self) -> u32 {
        match self {
            Self::Rover => 4,
            Self::Copter => 17,
        }
    }
}

/// ArduCopter LAND.
pub const COPTER_LAND: u32 = 9;

/// One thing a vehicle can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// DO_SET_MODE to a custom mode.
    Mode(u32),
    /// Disarm, without force: in the air the autopilot refuses it.
    Disarm,
    /// GUIDED, and zero velocity.
    GuidedStill(u32),
}

impl Order {
    /// Command number whose COMMAND_ACK answers this.
    pub const fn command(self) -> u16 {
        match self {
            Self::Mode(_) | Self::GuidedStill(_) => DO_SET_MODE,
            Self::Disarm => ARM_DISARM,
        }
    }

    /// Writes the order's packets to `vehicle`, one call of `send` each.
    pub fn write(self, writer: &mut Writer, vehicle: u8, buffer: &mut Vec<u8>, mut send: impl FnMut(&[u8])) {
        let (command, p1, p2) = match self {
            Self::Mode(mode) | Self::GuidedStill(mode) => (DO_SET_MODE, CUSTOM_MODE, mode as f32),
            Self::Disarm => (ARM_DISARM, 0.0, 0.0),
        };
        writer.write(COMMAND_LONG, &command_long(vehicle, command, p1, p2), buffer);
        send(buffer);
        if let Self::GuidedStill(_) = self {
            writer.write(SET_POSITION_TARGET_LOCAL_NED, &zero_velocity(vehicle), buffer);
            send(buffer);
        }
    }
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mode(mode) => write!(f, "mode {mode}"),
            Self::Disarm => f.write_str("disarm"),
            Self::GuidedStill(_) => f.write_str("guided, zero velocity"),
        }
    }
}

/// Asks `vehicle` to send message `id` every `interval_us` microseconds.
pub fn request_stream(writer: &mut Writer, vehicle: u8, id: u32, interval_us: u32, buffer: &mut Vec<u8>) {
    let payload = command_long(vehicle, SET_MESSAGE_INTERVAL, id as f32, interval_us as f32);
    writer.write(COMMAND_LONG, &payload, buffer);
}

/// Our own heartbeat: MAV_TYPE_ONBOARD_CONTROLLER, no autopilot, active, MAVLink 2.
pub fn heartbeat(writer: &mut Writer, buffer: &mut Vec<u8>) {
    writer.write(HEARTBEAT, &[0, 0, 0, 0, 18, 8, 0, 4, 3], buffer);
}

fn command_long(vehicle: u8, command: u16, p1: f32, p2: f32) -> [u8; 33] {
    let mut payload = [0; 33];
    let mut fields = payload.iter_mut();
    let values = [p1, p2, 0.0, 0.0, 0.0, 0.0, 0.0].into_iter().flat_map(f32::to_le_bytes);
    let tail = command.to_le_bytes().into_iter().chain([vehicle, AUTOPILOT, 0]);
    for (field, byte) in fields.by_ref().zip(values.chain(tail)) {
        *field = byte;
    }
    payload
}

fn zero_velocity(vehicle: u8) -> [u8; 53] {
    let mut payload = [0; 53];
    let [low, high] = VELOCITY_ONLY.to_le_bytes();
    for (field, byte) in payload.iter_mut().skip(48).zip([low, high, vehicle, AUTOPILOT, LOCAL_NED]) {
        *field = byte;
    }
    payload
}
