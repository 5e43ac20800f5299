//! What an ArduPilot-like autopilot does with messages: modes, arming, acks, parameters, stream requests. Pure.

mod failsafe;
mod guided;

use std::collections::BTreeMap;

use mavlink::dialects::ardupilotmega::{
    COMMAND_ACK_DATA, COMMAND_LONG_DATA, MavCmd, MavMessage, MavResult, TIMESYNC_DATA,
};

use crate::body::{Body, Wish};
use crate::plans::Plans;
use crate::relays::Relays;
use crate::scenario::{Class, Vehicle};

/// The force magic of COMPONENT_ARM_DISARM.
const FORCE: f32 = 21196.0;
/// After the satellites are lost the position's estimate goes, seconds (INTERLOCKS).
const ESTIMATE_LOST_S: f64 = 7.3;
/// Modes that are refused without a position.
const NEED_POSITION: [(Class, u32); 6] = [
    (Class::Copter, mode::COPTER_AUTO),
    (Class::Copter, 4),
    (Class::Copter, 5),
    (Class::Copter, mode::COPTER_RTL),
    (Class::Copter, 17),
    (Class::Rover, mode::ROVER_AUTO),
];
/// In the trace: it stands after that.
const STANDS: &str = "STANDS";
/// Slower than this is standing, m/s.
const STANDING: f64 = 0.05;
/// Battery used per second, percent.
const DRAIN: f64 = 0.005;

/// Mode numbers (ArduRover and ArduCopter's own).
pub(crate) mod mode {
    pub const ROVER_HOLD: u32 = 4;
    pub const ROVER_AUTO: u32 = 10;
    pub const ROVER_GUIDED: u32 = 15;
    pub const ROVER_ALL: [u32; 9] = [0, 1, 3, 4, 5, 6, 10, 11, 15];
    pub const COPTER_AUTO: u32 = 3;
    pub const COPTER_GUIDED: u32 = 4;
    pub const COPTER_LAND: u32 = 9;
    pub const COPTER_BRAKE: u32 = 17;
    pub const COPTER_RTL: u32 = 6;
    pub const COPTER_ALL: [u32; 9] = [0, 2, 3, 4, 5, 6, 9, 16, 17];
}

/// The autopilot.
pub struct Autopilot {
    pub(crate) config: Vehicle,
    /// How it moves.
    pub body: Body,
    /// HEARTBEAT.custom_mode.
    pub mode: u32,
    /// Whether armed.
    pub armed: bool,
    pub(crate) battery: f64,
    /// Its battery failsafe has acted: it acts once.
    failed_safe: bool,
    /// Its failsafe for a lost position has acted.
    lost_acted: bool,
    /// Its pilot has switched.
    pub(crate) switched: bool,
    pub(crate) time_s: f64,
    pub(crate) parameters: BTreeMap<String, f32>,
    /// When a ground station was last heard; its failsafe begins with the first.
    station: Option<f64>,
    /// Its ground-station failsafe has acted, and no ground station was heard since.
    station_lost: bool,
    /// It moves still after a failsafe.
    stopping: bool,
    /// It is outside its own fence, and has acted.
    outside: bool,
    streams: BTreeMap<u32, Stream>,
    /// Where it was sent in GUIDED, metres east and north of home, and its height.
    sent_to: Option<([f64; 2], f64)>,
    /// How fast it goes, m/s.
    speed_mps: f64,
    /// Missions and fences as they were uploaded.
    plans: Plans,
    /// Commands of each number that it will leave without an answer.
    deaf: BTreeMap<u32, u32>,
    /// Its relays.
    pub relays: Relays,
    /// A mode that it will enter, and when.
    entering: Option<(u32, f64)>,
    /// When it was first sent on its mission.
    gone_s: Option<f64>,
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
        let (speed_mps, deaf, plans) =
            (config.speed_mps, config.deaf.clone(), Plans::new(config.sysid, &config.fence_deg));
        Self {
            sent_to: None,
            speed_mps,
            plans,
            deaf,
            relays: Relays::default(),
            entering: None,
            gone_s: None,
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
            outside: false,
            streams,
        }
    }

    /// Lets time pass; gives what it sends, and what it did by itself.
    pub fn step(&mut self, dt: f64) -> (Vec<MavMessage>, Option<Told>) {
        self.time_s += dt;
        self.battery = (self.battery - DRAIN * dt).max(0.0);
        if let Some((entering, _)) = self.entering.filter(|(_, at)| self.time_s >= *at) {
            self.entering = None;
            self.enter(entering);
        }
        self.act_alone();
        let alone = self.miss_station();
        self.body.step(self.wish(), dt);
        let down = [mode::COPTER_LAND, mode::COPTER_RTL].contains(&self.mode) && self.body.landed();
        if self.config.class == Class::Copter && down {
            self.armed = false;
        }
        let due: Vec<u32> = self.streams.iter().filter(|(_, s)| s.next_s <= self.time_s).map(|(id, _)| *id).collect();
        for id in &due {
            if let Some(stream) = self.streams.get_mut(id) {
                stream.next_s = self.time_s + stream.interval_s;
            }
        }
        let sent = due.into_iter().filter_map(|id| self.message(id)).filter(|message| !self.is_mute(message)).collect();
        let stands = self.stopping && self.body.speed < STANDING;
        self.stopping &= !stands;
        let stands = stands.then(|| Told { command: STANDS.into(), parameters: [0.0, 0.0], result: 0 });
        (sent, alone.or(stands))
    }

    pub(crate) fn without_gps_s(&self) -> f64 {
        self.config.gps_lost_at_s.map_or(0.0, |at| self.time_s - at)
    }

    /// Whether it does not know where it is (INTERLOCKS, "Measured": the estimate fails 7.3 s after the satellites).
    pub(crate) fn lost(&self) -> bool {
        self.without_gps_s() > ESTIMATE_LOST_S
    }

    fn wish(&self) -> Wish {
        let going = Wish::Go(self.speed_mps);
        match (self.config.class, self.mode) {
            _ if !self.armed => Wish::Off,
            (Class::Copter, mode::COPTER_BRAKE | mode::COPTER_GUIDED) if self.config.flies_on => {
                Wish::Go(self.body.speed)
            }
            (Class::Rover, mode::ROVER_GUIDED) | (Class::Copter, mode::COPTER_GUIDED) => match self.sent_to {
                Some((place, alt)) => Wish::To(place, alt, self.speed_mps),
                None => Wish::Stop,
            },
            (Class::Rover, mode::ROVER_AUTO) | (Class::Copter, mode::COPTER_AUTO) => going,
            (Class::Copter, mode::COPTER_LAND | mode::COPTER_RTL) => Wish::Land,
            _ => Wish::Stop,
        }
    }

    /// Takes a message of a system; gives its answers and what it did.
    pub fn take(&mut self, from: u32, message: &MavMessage) -> (Vec<MavMessage>, Option<Told>) {
        let (mut answers, told) = self.answer(from, message);
        answers.retain(|answer| !self.is_mute(answer));
        (answers, told)
    }

    fn answer(&mut self, from: u32, message: &MavMessage) -> (Vec<MavMessage>, Option<Told>) {
        match message {
            MavMessage::HEARTBEAT(_) => {
                if self.parameters.get("MAV_GCS_SYSID").is_some_and(|id| f64::from(*id) == f64::from(from)) {
                    (self.station, self.station_lost) = (Some(self.time_s), false);
                }
                (Vec::new(), None)
            }
            MavMessage::COMMAND_LONG(command) if command.target_system == self.config.sysid => {
                if self.is_deaf(command.command as u32) {
                    return (Vec::new(), None);
                }
                let result = self.command(command);
                acked(from, command.command, [command.param1, command.param2], result)
            }
            MavMessage::COMMAND_INT(command) if command.target_system == self.config.sysid => {
                if self.is_deaf(command.command as u32) {
                    return (Vec::new(), None);
                }
                let result = self.command_at(command);
                acked(from, command.command, [command.param1, command.param2], result)
            }
            // A question has no time of ours in it.
            MavMessage::TIMESYNC(asked) if asked.tc1 == 0 => {
                #[expect(clippy::cast_possible_truncation, reason = "nanoseconds since its start")]
                let tc1 = (self.time_s * 1e9) as i64 + 1;
                (vec![MavMessage::TIMESYNC(TIMESYNC_DATA { tc1, ..*asked })], None)
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
            other => {
                let from = u8::try_from(from).unwrap_or(0);
                let (answers, uploaded) = self.plans.take(from, other, self.time_s);
                if uploaded && let Some(mission) = self.plans.corners(self.config.home) {
                    (self.body.mission, self.body.next) = (mission, 0);
                }
                (answers, None)
            }
        }
    }

    /// Whether it leaves one more command of this number without an answer.
    fn is_deaf(&mut self, command: u32) -> bool {
        self.deaf.get_mut(&command).is_some_and(|left| {
            let deaf = *left > 0;
            *left = left.saturating_sub(1);
            deaf
        })
    }

    fn command(&mut self, command: &COMMAND_LONG_DATA) -> MavResult {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "MAVLink carries numbers as f32")]
        let number = |value: f32| value.max(0.0) as u32;
        match command.command {
            MavCmd::MAV_CMD_DO_SET_MODE => self.set_mode(number(command.param2)),
            MavCmd::MAV_CMD_NAV_TAKEOFF => self.take_off(command.param7),
            MavCmd::MAV_CMD_DO_CHANGE_SPEED if command.param2 > 0.0 => {
                self.speed_mps = f64::from(command.param2);
                MavResult::MAV_RESULT_ACCEPTED
            }
            MavCmd::MAV_CMD_DO_SET_RELAY => {
                self.relays.set(number(command.param1), command.param2 > 0.5);
                MavResult::MAV_RESULT_ACCEPTED
            }
            MavCmd::MAV_CMD_DO_REPEAT_RELAY => {
                let (count, period_s) = (number(command.param2), f64::from(command.param3));
                self.relays.repeat(number(command.param1), count, period_s, self.time_s);
                MavResult::MAV_RESULT_ACCEPTED
            }
            MavCmd::MAV_CMD_DO_SET_SERVO | MavCmd::MAV_CMD_DO_GIMBAL_MANAGER_PITCHYAW => MavResult::MAV_RESULT_ACCEPTED,
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
        let auto = match self.config.class {
            Class::Rover => mode::ROVER_AUTO,
            Class::Copter => mode::COPTER_AUTO,
        };
        if wanted == auto {
            self.gone_s = self.gone_s.or(Some(self.time_s));
        }
        match self.config.delay_s > 0.0 {
            _ if self.config.ignore_modes.contains(&wanted) => {}
            true if self.entering.is_none_or(|(entering, _)| entering != wanted) => {
                self.entering = Some((wanted, self.time_s + self.config.delay_s));
            }
            true => {}
            false => self.enter(wanted),
        }
        MavResult::MAV_RESULT_ACCEPTED
    }

    fn enter(&mut self, wanted: u32) {
        if self.mode != wanted {
            self.sent_to = None;
        }
        self.mode = wanted;
    }

    /// Whether it keeps a message to itself now.
    fn is_mute(&self, message: &MavMessage) -> bool {
        let Some((mute, gone)) = self.config.mute.zip(self.gone_s) else { return false };
        let passed = self.time_s - gone - mute.after_s;
        let beat = matches!(message, MavMessage::HEARTBEAT(_));
        (0.0..mute.for_s).contains(&passed) && (beat || !mute.heartbeats)
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
}

/// The answer to a command of a system, and what it did, for the trace.
fn acked(from: u32, command: MavCmd, parameters: [f32; 2], result: MavResult) -> (Vec<MavMessage>, Option<Told>) {
    let target_system = u8::try_from(from).unwrap_or(0);
    let ack = COMMAND_ACK_DATA { command, result, target_system, ..COMMAND_ACK_DATA::DEFAULT };
    let told = Told { command: format!("{command:?}"), parameters, result: result as u32 };
    (vec![MavMessage::COMMAND_ACK(ack)], Some(told))
}
