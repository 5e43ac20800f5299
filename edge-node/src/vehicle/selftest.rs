//! What an autopilot finds of itself: sensors of SYS_STATUS that are there, enabled, and not well. Pure.
//!
//! Bits after MAV_SYS_STATUS_SENSOR (<https://mavlink.io/en/messages/common.html#MAV_SYS_STATUS_SENSOR>).

/// MAV_SYS_STATUS_PREARM_CHECK: whether it could be armed.
pub const PREARM_CHECK: u32 = 0x1000_0000;

/// Names by bit, from 0.
const NAMES: [&str; 32] = [
    "gyroscope",
    "accelerometer",
    "magnetometer",
    "absolute pressure",
    "differential pressure",
    "GPS",
    "optical flow",
    "vision position",
    "laser position",
    "external ground truth",
    "angular rate control",
    "attitude stabilisation",
    "yaw position",
    "altitude control",
    "horizontal position control",
    "motor outputs",
    "RC receiver",
    "second gyroscope",
    "second accelerometer",
    "second magnetometer",
    "geofence",
    "AHRS",
    "terrain",
    "reversed motors",
    "logging",
    "battery",
    "proximity",
    "satellite communication",
    "pre-arm check",
    "obstacle avoidance",
    "propulsion",
    "extended sensors",
];

/// What is not well, for people; `None`: all is.
pub fn unwell(bits: u32) -> Option<String> {
    let named = NAMES.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0).map(|(_, name)| *name);
    (bits != 0).then(|| named.collect::<Vec<_>>().join(", "))
}
