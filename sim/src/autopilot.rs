//! What an ArduPilot-like autopilot does with messages: modes, arming, acks, parameters, stream requests. Pure.

use std::collections::BTreeMap;

use mavlink::dialects::ardupilotmega::{
    COMMAND_ACK_DATA, COMMAND_LONG_DATA, EKF_STATUS_REPORT_DATA, EXTENDED_SYS_STATE_DATA, EkfStatusFlags,
    GLOBAL_POSITION_INT_DATA, GPS_RAW_INT_DATA, GpsFixType, HEARTBEAT_DATA, MavAutopilot, MavCmd, MavLandedState,
    MavMessage, MavModeFlag, MavParamType, MavResult, MavState, MavType, PARAM_VALUE_DATA, RC_CHANNELS_DATA,
    SYS_STATUS_DATA,
};

use crate::body::{Body, Wish};
use crate::scenario::{Class, Vehicle};

/// The force magic of COMPONENT_ARM_DISARM.
const FORCE: f32 = 21196.0;
/// Metres of a degree of latitude on a sphere of 6 371 km.
const METRES_PER_DEGREE: f64 = 111_194.93;
/// After the satellites are lost: the fix goes, the position's estimate goes, a copter lands; seconds (INTERLOCKS).
const FIX_LOST_S: f64 = 0.5;
const ESTIMATE_LOST_S: f64 = 7.3;
const LANDS_S: f64 = 8.1;
/// Modes that are refused without a position.
const NEED_POSITION: [(Class, u32); 6] = [
    (Class::Copter, mode::COPTER_AUTO),
    (Class::Copter, 4),
    (Class::Copter, 5),
    (Class::Copter, mode::COPTER_RTL),
    (Class::Copter, 17),
    (Class::Rover, mode::ROVER_AUTO),
];
/// In the trace: its ground-station failsafe acted; parameters are seconds without a heartbeat, and the mode it chose.
const STATION_LOST: &str = "FAILSAFE_GCS";
/// In the trace: it stands after that.
const STANDS: &str = "STANDS";
/// Slower than this is standing, m/s.
const STANDING: f64 = 0.05;
/// Battery used per second, percent.
const DRAIN: f64 = 0.005;

/// Mode numbers (ArduRover and ArduCopter's own).
mod mode {
    pub const ROVER_HOLD: u32 = 4;
    pub const ROVER_AUTO: u32 = 10;
    pub const ROVER_ALL: [u32; 9] = [0, 1, 3, 4, 5, 6, 10, 11, 15];
    pub const COPTER_AUTO: u32 = 3;
    pub const COPTER_LAND: u32 = 9;
    pub const COPTER_RTL: u32 = 6;
    pub const COPTER_ALL: [u32; 9] = [0, 2, 3, 4, 5, 6, 9, 16, 17];
}

/// The autopilot.
pub struct Autopilot {
    config: Vehicle,
    /// How it moves.
    pub body: Body,
    /// HEARTBEAT.custom_mode.
    pub mode: u32,
    /// Whether armed.
    pub armed: bool,
    battery: f64,
    /// Its battery failsafe has acted: it acts once.
    failed_safe: bool,
    /// Its failsafe for a lost position has acted.
    lost_acted: bool,
    /// Its pilot has switched.
    switched: bool,
    time_s: f64,
    parameters: BTreeMap<String, f32>,
    /// When a ground station was last heard; its failsafe begins with the first.
    station: Option<f64>,
    /// Its ground-station failsafe has acted, and no ground station was heard since.
    station_lost: bool,
    /// It moves still after a failsafe.
    stopping: bool,
    streams: BTreeMap<u32, Stream>,
}

struct Stream {
    interval_s: f64,
    next_s: f64,
}

/// What a message did, for the trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// What it was.
    pub command: String,
    /// Parameter 1 and 2.
    pub parameters: [f32; 2],
    /// MAV_RESULT of the answer.
    pub result: u32,
}

impl Autopilot {
    /// An autopilot as the scenario has it. Only HEARTBEAT is sent unasked, once a second.
    pub fn new(config: Vehicle) -> Self {
        let body = Body::new(config.class, config.mission_m.clone(), config.armed);
        let (mode, armed) = (config.mode, config.armed);
        // ArduPilot's defaults: the failsafe and the fence are off.
        let defaults = [
            ("SYSID_THISMAV", f32::from(config.sysid)),
            ("MAV_GCS_SYSID", 255.0),
            ("FS_GCS_ENABLE", 0.0),
            ("FS_GCS_TIMEOUT", 5.0),
            ("FS_OPTIONS", 16.0),
            ("FENCE_ENABLE", 0.0),
        ];
        let mut parameters: BTreeMap<String, f32> =
            defaults.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        parameters.extend(config.parameters.clone());
        let streams = BTreeMap::from([(0, Stream { interval_s: 1.0, next_s: 0.0 })]);
        let battery = config.battery_pct;
        let (failed_safe, lost_acted, switched, time_s) = (false, false, false, 0.0);
        let (station, station_lost, stopping) = (None, false, false);
        Self {
            config,
            body,
            mode,
            armed,
            battery,
            failed_safe,
            lost_acted,
            switched,
            time_s,
            parameters,
            station,
            station_lost,
            stopping,
            streams,
        }
    }

    /// Lets time pass; gives what it sends, and what it did by itself.
    pub fn step(&mut self, dt: f64) -> (Vec<MavMessage>, Option<Told>) {
        self.time_s += dt;
        self.battery = (self.battery - DRAIN * dt).max(0.0);
        self.act_alone();
        let alone = self.miss_station();
        self.body.step(self.wish(), dt);
        if self.config.class == Class::Copter && self.mode == mode::COPTER_LAND && self.body.landed() {
            self.armed = false;
        }
        let due: Vec<u32> = self.streams.iter().filter(|(_, s)| s.next_s <= self.time_s).map(|(id, _)| *id).collect();
        for id in &due {
            if let Some(stream) = self.streams.get_mut(id) {
                stream.next_s = self.time_s + stream.interval_s;
            }
        }
        let sent = due.into_iter().filter_map(|id| self.message(id)).collect();
        let stands = self.stopping && self.body.speed < STANDING;
        self.stopping &= !stands;
        let stands = stands.then(|| Told { command: STANDS.into(), parameters: [0.0, 0.0], result: 0 });
        (sent, alone.or(stands))
    }

    /// The ground-station failsafe: heartbeats of MAV_GCS_SYSID, whatever component sends them, missed for FS_GCS_TIMEOUT.
    fn miss_station(&mut self) -> Option<Told> {
        let value = |name: &str| self.parameters.get(name).copied().unwrap_or(0.0);
        let missed = self.time_s - self.station?;
        let late = value("FS_GCS_ENABLE") != 0.0 && missed > f64::from(value("FS_GCS_TIMEOUT"));
        // FS_OPTIONS bit 4, set by default: where a pilot could steer, BRAKE among them, nothing happens.
        let goes = [mode::COPTER_AUTO, mode::COPTER_RTL, mode::COPTER_LAND].contains(&self.mode);
        let left = self.config.class == Class::Copter && value("FS_OPTIONS") == 16.0 && !goes;
        if !late || left || !self.armed || std::mem::replace(&mut self.station_lost, true) {
            return None;
        }
        self.mode = match self.config.class {
            Class::Rover => mode::ROVER_HOLD,
            Class::Copter => mode::COPTER_LAND,
        };
        self.stopping = true;
        #[expect(clippy::cast_possible_truncation, reason = "as MAVLink's parameters")]
        Some(Told { command: STATION_LOST.into(), parameters: [missed as f32, self.mode as f32], result: 0 })
    }

    /// What nobody ordered: the battery failsafe, and the pilot.
    fn act_alone(&mut self) {
        let low = self.config.land_below_pct.is_some_and(|limit| self.battery < limit);
        if low && self.armed && !self.failed_safe && self.config.class == Class::Copter {
            (self.failed_safe, self.mode) = (true, mode::COPTER_LAND);
        }
        let lands = self.without_gps_s() > LANDS_S && self.config.class == Class::Copter && self.armed;
        if lands && !std::mem::replace(&mut self.lost_acted, true) {
            self.mode = mode::COPTER_LAND;
        }
        if let Some(pilot) = self.config.pilot.filter(|pilot| !self.switched && self.time_s >= pilot.at_s) {
            (self.switched, self.mode) = (true, pilot.mode);
        }
    }

    fn without_gps_s(&self) -> f64 {
        self.config.gps_lost_at_s.map_or(0.0, |at| self.time_s - at)
    }

    /// Whether it does not know where it is (INTERLOCKS, "Measured": the estimate fails 7.3 s after the satellites).
    fn lost(&self) -> bool {
        self.without_gps_s() > ESTIMATE_LOST_S
    }

    fn wish(&self) -> Wish {
        let going = Wish::Go(self.config.speed_mps);
        match (self.config.class, self.mode) {
            _ if !self.armed => Wish::Off,
            (Class::Rover, mode::ROVER_AUTO) | (Class::Copter, mode::COPTER_AUTO) => going,
            (Class::Copter, mode::COPTER_LAND | mode::COPTER_RTL) => Wish::Land,
            _ => Wish::Stop,
        }
    }

    /// Takes a message of a system; gives its answers and what it did.
    pub fn take(&mut self, from: u32, message: &MavMessage) -> (Vec<MavMessage>, Option<Told>) {
        match message {
            MavMessage::HEARTBEAT(_) => {
                if self.parameters.get("MAV_GCS_SYSID").is_some_and(|id| f64::from(*id) == f64::from(from)) {
                    (self.station, self.station_lost) = (Some(self.time_s), false);
                }
                (Vec::new(), None)
            }
            MavMessage::COMMAND_LONG(command) if command.target_system == self.config.sysid => {
                let result = self.command(command);
                let target_system = u8::try_from(from).unwrap_or(0);
                let ack =
                    COMMAND_ACK_DATA { command: command.command, result, target_system, ..COMMAND_ACK_DATA::DEFAULT };
                let told = Told {
                    command: format!("{:?}", command.command),
                    parameters: [command.param1, command.param2],
                    result: result as u32,
                };
                (vec![MavMessage::COMMAND_ACK(ack)], Some(told))
            }
            MavMessage::PARAM_REQUEST_READ(wanted) if wanted.target_system == self.config.sysid => {
                let name = wanted.param_id.to_str().unwrap_or_default().to_owned();
                (self.parameter(&name).into_iter().collect(), None)
            }
            MavMessage::PARAM_REQUEST_LIST(wanted) if wanted.target_system == self.config.sysid => {
                (self.parameters.keys().filter_map(|name| self.parameter(name)).collect(), None)
            }
            MavMessage::PARAM_SET(set) if set.target_system == self.config.sysid => {
                let name = set.param_id.to_str().unwrap_or_default().to_owned();
                if let Some(value) = self.parameters.get_mut(&name) {
                    *value = set.param_value;
                }
                (self.parameter(&name).into_iter().collect(), None)
            }
            _ => (Vec::new(), None),
        }
    }

    fn command(&mut self, command: &COMMAND_LONG_DATA) -> MavResult {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "MAVLink carries numbers as f32")]
        let number = |value: f32| value.max(0.0) as u32;
        match command.command {
            MavCmd::MAV_CMD_DO_SET_MODE => self.set_mode(number(command.param2)),
            MavCmd::MAV_CMD_COMPONENT_ARM_DISARM => self.set_armed(command.param1 > 0.5, command.param2 == FORCE),
            MavCmd::MAV_CMD_SET_MESSAGE_INTERVAL => {
                let id = number(command.param1);
                if self.message(id).is_none() {
                    return MavResult::MAV_RESULT_FAILED;
                }
                // 0 asks for the default rate, -1 for none.
                if command.param2 < 0.0 {
                    self.streams.remove(&id);
                } else {
                    let interval_s = if command.param2 == 0.0 { 1.0 } else { f64::from(command.param2) / 1e6 };
                    let next_s = self.streams.get(&id).map_or(self.time_s, |s| s.next_s.min(self.time_s + interval_s));
                    self.streams.insert(id, Stream { interval_s, next_s });
                }
                MavResult::MAV_RESULT_ACCEPTED
            }
            _ => MavResult::MAV_RESULT_UNSUPPORTED,
        }
    }

    fn set_mode(&mut self, wanted: u32) -> MavResult {
        let known = match self.config.class {
            Class::Rover => mode::ROVER_ALL,
            Class::Copter => mode::COPTER_ALL,
        };
        let blind = self.lost() && NEED_POSITION.contains(&(self.config.class, wanted));
        if blind || !known.contains(&wanted) || self.config.refuse_modes.contains(&wanted) {
            return MavResult::MAV_RESULT_FAILED;
        }
        if !self.config.ignore_modes.contains(&wanted) {
            self.mode = wanted;
        }
        MavResult::MAV_RESULT_ACCEPTED
    }

    fn set_armed(&mut self, arm: bool, force: bool) -> MavResult {
        let flying = !self.body.landed();
        if !arm && flying && !force {
            return MavResult::MAV_RESULT_FAILED;
        }
        // Disarming leaves the mode as it was: an AUTO vehicle drives off when armed again.
        self.armed = arm;
        MavResult::MAV_RESULT_ACCEPTED
    }

    fn parameter(&self, name: &str) -> Option<MavMessage> {
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

    fn message(&self, id: u32) -> Option<MavMessage> {
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
                ..SYS_STATUS_DATA::DEFAULT
            })),
            33 => Some(self.place()),
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
