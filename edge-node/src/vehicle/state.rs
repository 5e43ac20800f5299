//! What a vehicle last said, with the age of each part: a pure fold over its packets.
//!
//! Field offsets after the MAVLink common message set (<https://mavlink.io/en/messages/common.html>).

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

use super::audit::Audit;
use super::codec::{Fields, Packet};
use super::message::{
    COMMAND_ACK, EKF_STATUS_REPORT, ESTIMATOR_STATUS, EXTENDED_SYS_STATE, GLOBAL_POSITION_INT, GPS_RAW_INT, HEARTBEAT,
    HOME_POSITION, RC_CHANNELS, SYS_STATUS,
};
use super::plan::Plans;
use super::timesync::Sync;

/// GPS_FIX_TYPE_3D_FIX; better fixes have larger numbers.
const FIX_3D: u8 = 3;
/// EKF_POS_HORIZ_ABS and ESTIMATOR_POS_HORIZ_ABS.
const ABSOLUTE: u16 = 0x10;
/// EKF_GPS_GLITCHING.
const EKF_GLITCH: u16 = 0x8000;
/// ESTIMATOR_GPS_GLITCH.
const ESTIMATOR_GLITCH: u16 = 0x0400;
/// MAV_MODE_FLAG_SAFETY_ARMED.
const ARMED: u8 = 0x80;
/// MAV_AUTOPILOT_INVALID: a heartbeat of something that flies nothing.
const NO_AUTOPILOT: u8 = 8;
/// Offset of COMMAND_ACK.target_system, an extension field.
const ACK_TARGET: usize = 8;
/// MAV_LANDED_STATE_ON_GROUND.
const ON_GROUND: u8 = 1;

/// Channels of RC_CHANNELS that are kept.
const CHANNELS: usize = 16;

/// What the autopilot thinks of its own position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// It has an absolute horizontal position.
    pub absolute: bool,
    /// Satellites and the rest disagree.
    pub glitch: bool,
    /// When it said so.
    pub at: Uptime,
}

/// What the interlock is told of a vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Index of the vehicle in the configuration.
    pub vehicle: usize,
    /// Its state now.
    pub state: VehicleState,
    /// What its last packet meant.
    pub heard: Heard,
}

/// A vehicle's state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct VehicleState {
    /// HEARTBEAT.custom_mode.
    pub mode: u32,
    /// Whether it is armed.
    pub armed: bool,
    /// When the last heartbeat came.
    pub heartbeat_at: Option<Uptime>,
    /// Latitude and longitude in degrees, WGS-84.
    pub position_deg: Option<(f64, f64)>,
    /// Where it returns to, latitude and longitude in degrees.
    pub home_deg: Option<(f64, f64)>,
    /// Sensors that are enabled and not well, MAV_SYS_STATUS_SENSOR; among them that it could be armed.
    pub unwell: u32,
    /// Height above home in metres.
    pub relative_alt_m: f32,
    /// Speed over ground in m/s.
    pub speed_mps: f32,
    /// Speed to the north and to the east in m/s.
    pub velocity_mps: (f32, f32),
    /// Height above the sea in metres.
    pub alt_m: f32,
    /// Upwards in m/s.
    pub climb_mps: f32,
    /// When the last position came.
    pub position_at: Option<Uptime>,
    /// When it last had a satellite fix in three dimensions.
    pub fixed_at: Option<Uptime>,
    /// What it thinks of its position.
    pub estimate: Option<Estimate>,
    /// How its own failsafes are set up.
    pub audit: Audit,
    /// How its plans are beside the site's.
    pub plans: Plans,
    /// How its clock is beside ours.
    pub sync: Option<Sync>,
    /// Battery remaining in percent; absent where the vehicle does not say.
    pub battery_pct: Option<u8>,
    /// When it told its battery.
    pub battery_at: Option<Uptime>,
    /// Pulse widths of the radio control's channels, microseconds; zero where they are not told.
    pub rc_us: [u16; CHANNELS],
    /// When it last said that it stands on the ground; anything else counts as airborne.
    pub landed_at: Option<Uptime>,
    /// When any valid packet came.
    pub packet_at: Option<Uptime>,
}

/// What a packet meant beyond state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Heard {
    /// State changed.
    State,
    /// A heartbeat: state changed.
    Heartbeat,
    /// COMMAND_ACK: command number and MAV_RESULT.
    Ack {
        /// Command.
        command: u16,
        /// Result, 0 is accepted, 5 in progress.
        result: u8,
        /// System it answers; 0 where the vehicle does not say.
        to: u8,
    },
    /// Nothing we use.
    Nothing,
}

impl VehicleState {
    /// Takes a packet of this vehicle.
    pub fn hear(&mut self, packet: &Packet, now: Uptime) -> Heard {
        self.packet_at = Some(now);
        let fields = Fields(&packet.payload);
        match packet.id {
            HEARTBEAT if fields.u8(5) != NO_AUTOPILOT => {
                self.mode = fields.u32(0);
                self.armed = fields.u8(6) & ARMED != 0;
                self.heartbeat_at = Some(now);
                Heard::Heartbeat
            }
            SYS_STATUS => {
                // -1: not estimated.
                self.battery_at = Some(now);
                // Present, enabled, and not healthy.
                self.unwell = fields.u32(0) & fields.u32(4) & !fields.u32(8);
                self.battery_pct = u8::try_from(fields.i8(30)).ok();
                Heard::State
            }
            GLOBAL_POSITION_INT => {
                let degrees = |at| f64::from(fields.i32(at)) / 1e7;
                // No place on earth: as if nothing had been said, so the position grows old.
                if degrees(4).abs() > 90.0 || degrees(8).abs() > 180.0 {
                    return Heard::Nothing;
                }
                let metres_per_second = |at| f32::from(fields.i16(at)) / 100.0;
                self.position_deg = Some((degrees(4), degrees(8)));
                self.alt_m = fields.i32(12) as f32 / 1000.0;
                self.relative_alt_m = fields.i32(16) as f32 / 1000.0;
                self.velocity_mps = (metres_per_second(20), metres_per_second(22));
                self.climb_mps = -metres_per_second(24);
                self.speed_mps = metres_per_second(20).hypot(metres_per_second(22));
                self.position_at = Some(now);
                Heard::State
            }
            HOME_POSITION => {
                let degrees = |at| f64::from(fields.i32(at)) / 1e7;
                let (lat, lon) = (degrees(0), degrees(4));
                self.home_deg = Some((lat, lon)).filter(|_| lat.abs() <= 90.0 && lon.abs() <= 180.0);
                Heard::State
            }
            GPS_RAW_INT => {
                if fields.u8(28) >= FIX_3D {
                    self.fixed_at = Some(now);
                }
                Heard::State
            }
            EKF_STATUS_REPORT => {
                let flags = fields.u16(20);
                let (absolute, glitch) = (flags & ABSOLUTE != 0, flags & EKF_GLITCH != 0);
                self.estimate = Some(Estimate { absolute, glitch, at: now });
                Heard::State
            }
            ESTIMATOR_STATUS => {
                let flags = fields.u16(40);
                let (absolute, glitch) = (flags & ABSOLUTE != 0, flags & ESTIMATOR_GLITCH != 0);
                self.estimate = Some(Estimate { absolute, glitch, at: now });
                Heard::State
            }
            RC_CHANNELS => {
                self.rc_us = std::array::from_fn(|channel| fields.u16(4 + 2 * channel));
                Heard::State
            }
            EXTENDED_SYS_STATE => {
                self.landed_at = (fields.u8(1) == ON_GROUND).then_some(now);
                Heard::State
            }
            COMMAND_ACK => Heard::Ack { command: fields.u16(0), result: fields.u8(2), to: fields.u8(ACK_TARGET) },
            _ => Heard::Nothing,
        }
    }

    /// Pulse width of a channel, from 1; zero where it is not told.
    pub fn channel(&self, number: u8) -> u16 {
        let index = usize::from(number).checked_sub(1);
        index.and_then(|index| self.rc_us.get(index)).copied().unwrap_or(0)
    }
}
