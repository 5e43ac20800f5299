//! The few messages Picket sends, as payload bytes. What is not here cannot be sent: there is no other way out.

use super::class::Class;
use super::codec::Writer;
use super::message::{
    AUTOPILOT, COMMAND_ACK, COMMAND_LONG, HEARTBEAT, PARAM_REQUEST_READ, SET_POSITION_TARGET_LOCAL_NED, STATUSTEXT,
    TEXT,
};

/// DO_SET_MODE.
pub const DO_SET_MODE: u16 = 176;
/// COMPONENT_ARM_DISARM.
pub const ARM_DISARM: u16 = 400;
/// DO_LAND_START.
pub const DO_LAND_START: u16 = 189;
/// DO_REPOSITION.
pub const DO_REPOSITION: u16 = 192;
const SET_MESSAGE_INTERVAL: u16 = 511;
/// MAV_DO_REPOSITION_FLAGS_CHANGE_MODE.
const CHANGE_MODE: f32 = 1.0;
/// MAV_MODE_FLAG_CUSTOM_MODE_ENABLED.
const CUSTOM_MODE: f32 = 1.0;
/// Use velocity only: position, acceleration, yaw and yaw rate are ignored.
const VELOCITY_ONLY: u16 = 0b0000_1101_1100_0111;
/// MAV_FRAME_LOCAL_NED.
const LOCAL_NED: u8 = 1;
/// MAV_COMP_ID_ONBOARD_COMPUTER.
pub const OUR_COMPONENT: u8 = 191;

/// MAV_COMP_ID_MISSIONPLANNER: what ground stations call themselves.
pub const SUPERVISOR_COMPONENT: u8 = 190;

/// What a heartbeat of ours says that it is (MAV_TYPE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The observer: MAV_TYPE_ONBOARD_CONTROLLER.
    Onboard,
    /// The supervisor: MAV_TYPE_GCS.
    GroundStation,
}

/// One thing a vehicle can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// DO_SET_MODE to a custom mode.
    Mode(u32),
    /// Disarm, without force: in the air the autopilot refuses it.
    Disarm,
    /// GUIDED, and zero velocity.
    GuidedStill(u32),
    /// DO_REPOSITION to where it is (PX4).
    StayHere,
    /// DO_LAND_START: the landing sequence of the mission (ArduPlane).
    LandStart,
}

impl Order {
    /// Command number whose COMMAND_ACK answers this.
    pub const fn command(self) -> u16 {
        match self {
            Self::Mode(_) | Self::GuidedStill(_) => DO_SET_MODE,
            Self::Disarm => ARM_DISARM,
            Self::StayHere => DO_REPOSITION,
            Self::LandStart => DO_LAND_START,
        }
    }

    /// The mode that the vehicle shows once it has taken this, where there is one.
    pub const fn mode(self) -> Option<u32> {
        match self {
            Self::Mode(mode) | Self::GuidedStill(mode) => Some(mode),
            Self::Disarm | Self::StayHere | Self::LandStart => None,
        }
    }

    /// Writes the order's packets to `vehicle`, one call of `send` each.
    pub fn write(self, to: (Class, u8), writer: &mut Writer, buffer: &mut Vec<u8>, mut send: impl FnMut(&[u8])) {
        let (class, vehicle) = to;
        let payload = command_long(vehicle, self.command(), self.parameters(class));
        writer.write(COMMAND_LONG, &payload, buffer);
        send(buffer);
        if let Self::GuidedStill(_) = self {
            writer.write(SET_POSITION_TARGET_LOCAL_NED, &zero_velocity(vehicle), buffer);
            send(buffer);
        }
    }
}

impl Order {
    /// Parameters 1 to 7 of its COMMAND_LONG.
    fn parameters(self, class: Class) -> [f32; 7] {
        match self {
            // PX4 takes main and sub mode apart, as its HEARTBEAT packs them.
            Self::Mode(mode) if class == Class::Px4Copter => {
                let [_, _, main, sub] = mode.to_le_bytes();
                [CUSTOM_MODE, f32::from(main), f32::from(sub), 0.0, 0.0, 0.0, 0.0]
            }
            Self::Mode(mode) | Self::GuidedStill(mode) => [CUSTOM_MODE, mode as f32, 0.0, 0.0, 0.0, 0.0, 0.0],
            Self::StayHere => [-1.0, CHANGE_MODE, 0.0, f32::NAN, f32::NAN, f32::NAN, f32::NAN],
            Self::Disarm | Self::LandStart => [0.0; 7],
        }
    }
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mode(mode) => write!(f, "mode {mode}"),
            Self::Disarm => f.write_str("disarm"),
            Self::GuidedStill(_) => f.write_str("guided, zero velocity"),
            Self::StayHere => f.write_str("stay here"),
            Self::LandStart => f.write_str("landing sequence"),
        }
    }
}

/// Asks `vehicle` to send message `id` every `interval_us` microseconds.
pub fn request_stream(writer: &mut Writer, vehicle: u8, id: u32, interval_us: u32, buffer: &mut Vec<u8>) {
    let parameters = [id as f32, interval_us as f32, 0.0, 0.0, 0.0, 0.0, 0.0];
    writer.write(COMMAND_LONG, &command_long(vehicle, SET_MESSAGE_INTERVAL, parameters), buffer);
}

/// Asks `vehicle` for a parameter by name.
pub fn request_parameter(writer: &mut Writer, vehicle: u8, name: &str, buffer: &mut Vec<u8>) {
    // An index of -1: by name.
    let mut payload = [0; 20];
    let bytes = [0xFF, 0xFF, vehicle, AUTOPILOT].into_iter().chain(name.bytes());
    for (field, byte) in payload.iter_mut().zip(bytes) {
        *field = byte;
    }
    writer.write(PARAM_REQUEST_READ, &payload, buffer);
}

/// MAV_SEVERITY_WARNING.
const WARNING: u8 = 4;

/// Answers a command in the name of a system and component: command and MAV_RESULT, to who asked.
pub fn command_ack(writer: &mut Writer, from: (u8, u8), answer: (u16, u8), to: (u8, u8), buffer: &mut Vec<u8>) {
    let [low, high] = answer.0.to_le_bytes();
    writer.write_as(from, COMMAND_ACK, &[low, high, answer.1, 0, 0, 0, 0, 0, to.0, to.1], buffer);
}

/// A line for people, in the name of a system and component; cut where it is too long.
pub fn status_text(writer: &mut Writer, from: (u8, u8), text: &str, buffer: &mut Vec<u8>) {
    let mut payload = [0; 1 + TEXT];
    for (field, byte) in payload.iter_mut().zip(std::iter::once(WARNING).chain(text.bytes())) {
        *field = byte;
    }
    writer.write_as(from, STATUSTEXT, &payload, buffer);
}

/// Our own heartbeat: no autopilot, active, MAVLink 2.
pub fn heartbeat(writer: &mut Writer, kind: Kind, buffer: &mut Vec<u8>) {
    let kind = match kind {
        Kind::Onboard => 18,
        Kind::GroundStation => 6,
    };
    writer.write(HEARTBEAT, &[0, 0, 0, 0, kind, 8, 0, 4, 3], buffer);
}

fn command_long(vehicle: u8, command: u16, parameters: [f32; 7]) -> [u8; 33] {
    let mut payload = [0; 33];
    let mut fields = payload.iter_mut();
    let values = parameters.into_iter().flat_map(f32::to_le_bytes);
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
