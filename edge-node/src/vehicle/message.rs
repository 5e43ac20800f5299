//! Numbers of the messages, commands and components that are used here, after MAVLink's common and ardupilotmega sets
//! (<https://mavlink.io/en/messages/>): each once, under its own name.

/// HEARTBEAT.
pub const HEARTBEAT: u32 = 0;
/// SYS_STATUS.
pub const SYS_STATUS: u32 = 1;
/// PING.
pub const PING: u32 = 4;
/// SET_MODE.
pub const SET_MODE: u32 = 11;
/// PARAM_REQUEST_READ.
pub const PARAM_REQUEST_READ: u32 = 20;
/// PARAM_REQUEST_LIST.
pub const PARAM_REQUEST_LIST: u32 = 21;
/// PARAM_VALUE.
pub const PARAM_VALUE: u32 = 22;
/// ADSB_VEHICLE.
pub const ADSB_VEHICLE: u32 = 246;
/// OPEN_DRONE_ID_BASIC_ID.
pub const OPEN_DRONE_ID_BASIC_ID: u32 = 12_900;
/// OPEN_DRONE_ID_LOCATION.
pub const OPEN_DRONE_ID_LOCATION: u32 = 12_901;
/// HOME_POSITION.
pub const HOME_POSITION: u32 = 242;
/// GPS_RAW_INT.
pub const GPS_RAW_INT: u32 = 24;
/// GLOBAL_POSITION_INT.
pub const GLOBAL_POSITION_INT: u32 = 33;
/// MISSION_REQUEST.
pub const MISSION_REQUEST: u32 = 40;
/// MISSION_REQUEST_LIST.
pub const MISSION_REQUEST_LIST: u32 = 43;
/// MISSION_COUNT.
pub const MISSION_COUNT: u32 = 44;
/// MISSION_ITEM_INT.
pub const MISSION_ITEM_INT: u32 = 73;
/// MISSION_ACK.
pub const MISSION_ACK: u32 = 47;
/// MISSION_REQUEST_INT.
pub const MISSION_REQUEST_INT: u32 = 51;
/// RC_CHANNELS.
pub const RC_CHANNELS: u32 = 65;
/// COMMAND_INT.
pub const COMMAND_INT: u32 = 75;
/// COMMAND_LONG.
pub const COMMAND_LONG: u32 = 76;
/// COMMAND_ACK.
pub const COMMAND_ACK: u32 = 77;
/// SET_POSITION_TARGET_LOCAL_NED.
pub const SET_POSITION_TARGET_LOCAL_NED: u32 = 84;
/// TIMESYNC.
pub const TIMESYNC: u32 = 111;
/// LOG_REQUEST_LIST.
pub const LOG_REQUEST_LIST: u32 = 117;
/// LOG_REQUEST_DATA.
pub const LOG_REQUEST_DATA: u32 = 119;
/// LOG_REQUEST_END.
pub const LOG_REQUEST_END: u32 = 122;
/// EKF_STATUS_REPORT (ArduPilot).
pub const EKF_STATUS_REPORT: u32 = 193;
/// ESTIMATOR_STATUS (PX4).
pub const ESTIMATOR_STATUS: u32 = 230;
/// EXTENDED_SYS_STATE.
pub const EXTENDED_SYS_STATE: u32 = 245;
/// STATUSTEXT.
pub const STATUSTEXT: u32 = 253;

/// MAV_COMP_ID_AUTOPILOT1.
pub const AUTOPILOT: u8 = 1;
/// MAV_RESULT_ACCEPTED.
pub const ACCEPTED: u8 = 0;
/// MAV_RESULT_TEMPORARILY_REJECTED: it may be asked again.
pub const TEMPORARILY_REJECTED: u8 = 1;
/// MAV_RESULT_DENIED.
pub const DENIED: u8 = 2;
/// MAV_RESULT_IN_PROGRESS: another ack will follow.
pub const IN_PROGRESS: u8 = 5;
/// Bytes of a STATUSTEXT's text.
pub const TEXT: usize = 50;

/// NAV_WAYPOINT.
pub const NAV_WAYPOINT: u16 = 16;
/// NAV_LOITER_TIME.
pub const NAV_LOITER_TIME: u16 = 19;
/// NAV_RETURN_TO_LAUNCH.
pub const NAV_RETURN_TO_LAUNCH: u16 = 20;
/// NAV_LAND.
pub const NAV_LAND: u16 = 21;
/// NAV_TAKEOFF.
pub const NAV_TAKEOFF: u16 = 22;
/// DO_CHANGE_SPEED.
pub const DO_CHANGE_SPEED: u16 = 178;
/// DO_LAND_START.
pub const DO_LAND_START: u16 = 189;
/// MAV_RESULT_UNSUPPORTED.
pub const UNSUPPORTED: u8 = 3;
/// MAV_RESULT_FAILED.
pub const FAILED: u8 = 4;
/// MAV_RESULT_CANCELLED.
pub const CANCELLED: u8 = 6;
/// MAV_FRAME_GLOBAL: heights above the sea.
pub const ABOVE_SEA: u8 = 0;
/// MAV_FRAME_MISSION: no place.
pub const NOWHERE: u8 = 2;
/// MAV_FRAME_GLOBAL_RELATIVE_ALT: above home; 6 is the same by an older name.
pub const ABOVE_HOME: u8 = 3;
