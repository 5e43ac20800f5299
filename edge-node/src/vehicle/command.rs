//! The few messages Picket sends, as payload bytes. What is not here cannot be sent: there is no other way out.

use serde::{Deserialize, Serialize};

use super::class::Class;
use super::codec::Writer;
use super::message::{
    ABOVE_HOME, ABOVE_SEA, AUTOPILOT, COMMAND_ACK, COMMAND_INT, COMMAND_LONG, DO_CHANGE_SPEED, DO_LAND_START,
    HEARTBEAT, NAV_TAKEOFF, PARAM_REQUEST_READ, SET_POSITION_TARGET_LOCAL_NED, STATUSTEXT, TEXT,
};

/// DO_SET_MODE.
pub const DO_SET_MODE: u16 = 176;
/// COMPONENT_ARM_DISARM.
pub const ARM_DISARM: u16 = 400;
/// DO_REPOSITION.
pub const DO_REPOSITION: u16 = 192;
/// DO_ORBIT.
pub const DO_ORBIT: u16 = 34;
const DO_SET_RELAY: u16 = 181;
/// DO_REPEAT_RELAY.
pub const DO_REPEAT_RELAY: u16 = 182;
/// A relay that is pulsed turns twice in this time, seconds.
const PULSE_S: f32 = 2.0;
const DO_SET_SERVO: u16 = 183;
const DO_GIMBAL_MANAGER_PITCHYAW: u16 = 1000;
/// SPEED_TYPE_AIRSPEED and SPEED_TYPE_GROUNDSPEED.
const AIRSPEED: f32 = 0.0;
const GROUNDSPEED: f32 = 1.0;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// Motors on, without force.
    Arm,
    /// NAV_TAKEOFF, here.
    TakeOff(Height),
    /// DO_REPOSITION to a place.
    GoTo(Target),
    /// DO_ORBIT around a place.
    Orbit(Target, Circle),
    /// DO_CHANGE_SPEED, centimetres a second.
    Speed(u16),
    /// DO_GIMBAL_MANAGER_PITCHYAW: down is negative, zero ahead; hundredths of a degree.
    Point {
        /// Pitch.
        pitch_cdeg: i16,
        /// Yaw.
        yaw_cdeg: i16,
    },
    /// DO_SET_RELAY: which, and whether it is closed.
    Relay(u8, bool),
    /// DO_REPEAT_RELAY, once: it turns now, and back after a second by itself.
    PulseRelay(u8),
    /// DO_SET_SERVO: which, and its pulse in microseconds.
    Servo(u8, u16),
}

/// A height above home, and home's above the sea, centimetres: ArduPilot takes the first, PX4 the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Height {
    /// Above home.
    pub above_home_cm: i32,
    /// Home above the sea.
    pub home_cm: i32,
}

impl Height {
    /// Metres in the frame that a class takes.
    fn metres(self, class: Class) -> f32 {
        let cm = if class == Class::Px4Copter {
            self.above_home_cm.saturating_add(self.home_cm)
        } else {
            self.above_home_cm
        };
        cm as f32 / 100.0
    }
}

/// A place, and a height above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Target {
    /// Latitude, ten-millionths of a degree.
    pub lat_e7: i32,
    /// Longitude, ten-millionths of a degree.
    pub lon_e7: i32,
    /// Height.
    pub height: Height,
}

/// A way around a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Circle {
    /// Radius; clockwise.
    pub radius_cm: u16,
    /// Speed, centimetres a second.
    pub speed_cmps: u16,
}

impl Order {
    /// Command number whose COMMAND_ACK answers this.
    pub const fn command(self) -> u16 {
        match self {
            Self::Mode(_) | Self::GuidedStill(_) => DO_SET_MODE,
            Self::Disarm => ARM_DISARM,
            Self::StayHere | Self::GoTo(_) => DO_REPOSITION,
            Self::LandStart => DO_LAND_START,
            Self::Arm => ARM_DISARM,
            Self::TakeOff(_) => NAV_TAKEOFF,
            Self::Orbit(..) => DO_ORBIT,
            Self::Speed(_) => DO_CHANGE_SPEED,
            Self::Point { .. } => DO_GIMBAL_MANAGER_PITCHYAW,
            Self::Relay(..) => DO_SET_RELAY,
            Self::PulseRelay(_) => DO_REPEAT_RELAY,
            Self::Servo(..) => DO_SET_SERVO,
        }
    }

    /// The mode that the vehicle shows once it has taken this, where there is one.
    pub const fn mode(self) -> Option<u32> {
        match self {
            Self::Mode(mode) | Self::GuidedStill(mode) => Some(mode),
            _ => None,
        }
    }

    /// Whether it begins motion, or lets it begin.
    pub const fn begins_motion(self, class: Class) -> bool {
        match self {
            Self::Mode(mode) => mode == class.auto() || (mode == class.guided() && mode != class.hold()),
            Self::Arm | Self::TakeOff(_) | Self::GoTo(_) | Self::Orbit(..) | Self::Speed(_) => true,
            _ => false,
        }
    }

    /// Whether it moves neither the vehicle nor its motors: a camera, a light, a siren.
    pub const fn is_aside(self) -> bool {
        matches!(self, Self::Point { .. } | Self::Relay(..) | Self::PulseRelay(_) | Self::Servo(..))
    }

    /// Writes the order's packets to `vehicle`, one call of `send` each. `confirmation` counts how often it was sent before.
    pub fn write(
        self,
        (class, vehicle, confirmation): (Class, u8, u8),
        writer: &mut Writer,
        buffer: &mut Vec<u8>,
        mut send: impl FnMut(&[u8]),
    ) {
        let parameters = self.parameters(class);
        match self {
            // Places as whole numbers: a float holds a degree to a metre.
            Self::GoTo(target) | Self::Orbit(target, _) => {
                let frame = if class == Class::Px4Copter { ABOVE_SEA } else { ABOVE_HOME };
                let place = (target.lat_e7, target.lon_e7, target.height.metres(class));
                let payload = command_int((vehicle, frame), self.command(), parameters, place);
                writer.write(COMMAND_INT, &payload, buffer);
            }
            _ => {
                let mut payload = command_long(vehicle, self.command(), parameters);
                if let Some(last) = payload.last_mut() {
                    *last = confirmation;
                }
                writer.write(COMMAND_LONG, &payload, buffer);
            }
        }
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
            Self::Arm => [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
            // Where it stands, and as it looks; PX4 takes zero for a place in the Atlantic.
            Self::TakeOff(height) if class == Class::Px4Copter => {
                [f32::NAN, 0.0, 0.0, f32::NAN, f32::NAN, f32::NAN, height.metres(class)]
            }
            Self::TakeOff(height) => [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, height.metres(class)],
            // The speed it has, the yaw it likes.
            Self::GoTo(_) if class == Class::Px4Copter => [-1.0, CHANGE_MODE, 0.0, f32::NAN, 0.0, 0.0, 0.0],
            // It shows GUIDED already: one that comes late must not take it out of what stops it.
            Self::GoTo(_) => [-1.0, 0.0, 0.0, f32::NAN, 0.0, 0.0, 0.0],
            Self::Orbit(_, circle) => {
                // Looking at the place, for ever.
                [f32::from(circle.radius_cm) / 100.0, f32::from(circle.speed_cmps) / 100.0, 0.0, 0.0, 0.0, 0.0, 0.0]
            }
            Self::Speed(cmps) => {
                let kind = if class.has_wing() { AIRSPEED } else { GROUNDSPEED };
                [kind, f32::from(cmps) / 100.0, -1.0, 0.0, 0.0, 0.0, 0.0]
            }
            Self::Point { pitch_cdeg, yaw_cdeg } => {
                let degrees = |cdeg: i16| f32::from(cdeg) / 100.0;
                [degrees(pitch_cdeg), degrees(yaw_cdeg), f32::NAN, f32::NAN, 0.0, 0.0, 0.0]
            }
            Self::Relay(number, closed) => [f32::from(number), f32::from(u8::from(closed)), 0.0, 0.0, 0.0, 0.0, 0.0],
            Self::PulseRelay(number) => [f32::from(number), 1.0, PULSE_S, 0.0, 0.0, 0.0, 0.0],
            Self::Servo(channel, pulse_us) => [f32::from(channel), f32::from(pulse_us), 0.0, 0.0, 0.0, 0.0, 0.0],
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
            Self::Arm => f.write_str("arm"),
            Self::TakeOff(height) => write!(f, "take off to {} m", f64::from(height.above_home_cm) / 100.0),
            Self::GoTo(target) => write!(f, "go to {target}"),
            Self::Orbit(target, circle) => write!(f, "orbit {target} at {} m", f64::from(circle.radius_cm) / 100.0),
            Self::Speed(cmps) => write!(f, "speed {} m/s", f64::from(*cmps) / 100.0),
            Self::Point { pitch_cdeg, yaw_cdeg } => {
                write!(f, "point {} down, {} aside", -f64::from(*pitch_cdeg) / 100.0, f64::from(*yaw_cdeg) / 100.0)
            }
            Self::Relay(number, closed) => write!(f, "relay {number} {}", if *closed { "closed" } else { "open" }),
            Self::PulseRelay(number) => write!(f, "relay {number} for a second"),
            Self::Servo(channel, pulse_us) => write!(f, "servo {channel} at {pulse_us} us"),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let degrees = |e7: i32| f64::from(e7) / 1e7;
        let height = f64::from(self.height.above_home_cm) / 100.0;
        write!(f, "{:.7}, {:.7} at {height} m", degrees(self.lat_e7), degrees(self.lon_e7))
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

/// COMMAND_INT: parameters 1 to 4, a place in ten-millionths of a degree and a height in metres of the frame.
fn command_int((vehicle, frame): (u8, u8), command: u16, parameters: [f32; 7], place: (i32, i32, f32)) -> [u8; 35] {
    let [p1, p2, p3, p4, ..] = parameters;
    let (lat_e7, lon_e7, height_m) = place;
    let head = [p1, p2, p3, p4].into_iter().flat_map(f32::to_le_bytes);
    let place = [lat_e7.to_le_bytes(), lon_e7.to_le_bytes(), height_m.to_le_bytes()].into_iter().flatten();
    let tail = command.to_le_bytes().into_iter().chain([vehicle, AUTOPILOT, frame]);
    let mut payload = [0; 35];
    for (field, byte) in payload.iter_mut().zip(head.chain(place).chain(tail)) {
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
