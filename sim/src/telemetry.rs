//! What an autopilot tells of itself: its messages, made of its state. Pure.

use mavlink::dialects::ardupilotmega::{
    EKF_STATUS_REPORT_DATA, EXTENDED_SYS_STATE_DATA, EkfStatusFlags, GLOBAL_POSITION_INT_DATA, GPS_RAW_INT_DATA,
    GpsFixType, HEARTBEAT_DATA, HOME_POSITION_DATA, MavAutopilot, MavLandedState, MavMessage, MavModeFlag,
    MavParamType, MavState, MavSysStatusSensor, MavType, PARAM_VALUE_DATA, RC_CHANNELS_DATA, SYS_STATUS_DATA,
};

use crate::autopilot::{Autopilot, mode};
use crate::plans::METRES_PER_DEGREE;
use crate::scenario::Class;

/// After the satellites are lost the fix goes, seconds (INTERLOCKS, "Measured").
const FIX_LOST_S: f64 = 0.5;

/// Gyroscope, accelerometer, compass, GPS, and that it could be armed.
const SENSORS: MavSysStatusSensor = MavSysStatusSensor::from_bits_retain(0x1000_0027);

impl Autopilot {
    /// Sensors that are not well.
    fn ill(&self) -> MavSysStatusSensor {
        MavSysStatusSensor::from_bits_retain(self.config.unwell)
    }

    /// A parameter as it is told.
    pub fn parameter(&self, name: &str) -> Option<MavMessage> {
        let (index, (name, value)) = self.parameters.iter().enumerate().find(|(_, (known, _))| *known == name)?;
        Some(MavMessage::PARAM_VALUE(PARAM_VALUE_DATA {
            param_value: *value,
            param_count: u16::try_from(self.parameters.len()).unwrap_or(0),
            param_index: u16::try_from(index).unwrap_or(0),
            param_id: name.as_str().into(),
            param_type: MavParamType::MAV_PARAM_TYPE_REAL32,
        }))
    }

    #[expect(clippy::cast_possible_truncation, reason = "MAVLink's fixed-point fields")]
    fn place(&self) -> MavMessage {
        let ([east, north], [dx, dy]) = self.body.place();
        let [lat, lon] = self.config.home;
        let shrink = lat.to_radians().cos();
        let fixed = |degrees: f64| (degrees * 1e7) as i32;
        let speed = |part: f64| (self.body.speed * part * 100.0) as i16;
        let alt = (self.body.alt * 1000.0) as i32;
        MavMessage::GLOBAL_POSITION_INT(GLOBAL_POSITION_INT_DATA {
            lat: fixed(lat + north / METRES_PER_DEGREE),
            lon: fixed(lon + east / METRES_PER_DEGREE / shrink),
            alt,
            relative_alt: alt,
            vx: speed(dy),
            vy: speed(dx),
            ..GLOBAL_POSITION_INT_DATA::DEFAULT
        })
    }

    /// A message of a stream; `None`: there is none of this number.
    pub fn message(&self, id: u32) -> Option<MavMessage> {
        let (mavtype, holding) = match self.config.class {
            Class::Rover => (MavType::MAV_TYPE_GROUND_ROVER, self.mode == mode::ROVER_HOLD),
            Class::Copter => (MavType::MAV_TYPE_QUADROTOR, false),
        };
        #[expect(clippy::cast_possible_truncation, reason = "MAVLink's fixed-point fields")]
        match id {
            0 => {
                let mut base_mode = MavModeFlag::MAV_MODE_FLAG_CUSTOM_MODE_ENABLED;
                base_mode.set(MavModeFlag::MAV_MODE_FLAG_SAFETY_ARMED, self.armed);
                base_mode.set(MavModeFlag::MAV_MODE_FLAG_STABILIZE_ENABLED, !holding);
                Some(MavMessage::HEARTBEAT(HEARTBEAT_DATA {
                    custom_mode: self.mode,
                    mavtype,
                    autopilot: MavAutopilot::MAV_AUTOPILOT_ARDUPILOTMEGA,
                    base_mode,
                    system_status: if self.armed { MavState::MAV_STATE_ACTIVE } else { MavState::MAV_STATE_STANDBY },
                    mavlink_version: 3,
                }))
            }
            1 => Some(MavMessage::SYS_STATUS(SYS_STATUS_DATA {
                voltage_battery: 12_000,
                battery_remaining: self.battery as i8,
                onboard_control_sensors_present: SENSORS,
                onboard_control_sensors_enabled: SENSORS,
                onboard_control_sensors_health: SENSORS & !self.ill(),
                ..SYS_STATUS_DATA::DEFAULT
            })),
            33 => Some(self.place()),
            242 => Some(MavMessage::HOME_POSITION(HOME_POSITION_DATA {
                latitude: (self.config.home[0] * 1e7) as i32,
                longitude: (self.config.home[1] * 1e7) as i32,
                ..HOME_POSITION_DATA::DEFAULT
            })),
            24 => Some(MavMessage::GPS_RAW_INT(GPS_RAW_INT_DATA {
                fix_type: match self.without_gps_s() > FIX_LOST_S {
                    true => GpsFixType::GPS_FIX_TYPE_NO_FIX,
                    false => GpsFixType::GPS_FIX_TYPE_3D_FIX,
                },
                ..GPS_RAW_INT_DATA::DEFAULT
            })),
            193 => {
                let mut flags = EkfStatusFlags::EKF_ATTITUDE | EkfStatusFlags::EKF_VELOCITY_HORIZ;
                flags.set(EkfStatusFlags::EKF_POS_HORIZ_ABS, !self.lost());
                flags.set(EkfStatusFlags::EKF_CONST_POS_MODE, self.lost());
                Some(MavMessage::EKF_STATUS_REPORT(EKF_STATUS_REPORT_DATA { flags, ..EKF_STATUS_REPORT_DATA::DEFAULT }))
            }
            65 => {
                let mut channels = RC_CHANNELS_DATA { chancount: 8, ..RC_CHANNELS_DATA::DEFAULT };
                let switch = if self.switched { 1500 } else { 1100 };
                match self.config.pilot.map(|pilot| pilot.channel) {
                    Some(5) => channels.chan5_raw = switch,
                    Some(8) => channels.chan8_raw = switch,
                    _ => {}
                }
                Some(MavMessage::RC_CHANNELS(channels))
            }
            245 => Some(MavMessage::EXTENDED_SYS_STATE(EXTENDED_SYS_STATE_DATA {
                landed_state: match self.body.landed() {
                    true => MavLandedState::MAV_LANDED_STATE_ON_GROUND,
                    false => MavLandedState::MAV_LANDED_STATE_IN_AIR,
                },
                ..EXTENDED_SYS_STATE_DATA::DEFAULT
            })),
            _ => None,
        }
    }
}
