//! What a ground station may send towards a vehicle: by default only questions. Pure. No parameter may be set: of the
//! thousand that an autopilot has, too many move it or switch a failsafe off (SERVOn_FUNCTION, RCn_OPTION, AFS_TERMINATE).
//!
//! Requests that mean hold, return, land, disarm or "go on" become requests of the interlock, in the name of the link's
//! operator; a forced disarm is a press of the e-stop for that vehicle. Everything else is refused by message and command
//! number, and no configuration opens more than what this file names. Field offsets after the MAVLink common message set
//! (<https://mavlink.io/en/messages/common.html>), in the order of the wire.

use serde::Deserialize;

use super::class::{Class, Meaning};
use super::codec::{Fields, Packet};
use super::command::{ARM_DISARM, DO_SET_MODE};
use super::message::{
    AUTOPILOT, COMMAND_INT, COMMAND_LONG, HEARTBEAT, LOG_REQUEST_DATA, LOG_REQUEST_END, LOG_REQUEST_LIST, MISSION_ACK,
    MISSION_REQUEST, MISSION_REQUEST_INT, MISSION_REQUEST_LIST, NAV_LAND, NAV_RETURN_TO_LAUNCH, PARAM_REQUEST_LIST,
    PARAM_REQUEST_READ, PING, SET_MODE, TIMESYNC,
};

const NAV_LOITER_UNLIM: u16 = 17;
const DO_PAUSE_CONTINUE: u16 = 193;
const MISSION_START: u16 = 300;

/// Commands that only ask: REQUEST_MESSAGE, and the older ones for protocol, version and capabilities.
const QUESTIONS: [u16; 5] = [512, 519, 520, 521, 527];
/// Commands of cameras. None of gimbals: a copter whose mount cannot pan turns itself (DO_MOUNT_CONTROL).
const CAMERA: [u16; 11] = [203, 206, 530, 531, 532, 2000, 2001, 2500, 2501, 2502, 2503];

/// What a link's configuration may let through besides questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allowed {
    /// Downloads of logs.
    Logs,
    /// Commands of cameras.
    Camera,
}

/// Something that a ground station wants of the interlock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Stand still.
    Hold,
    /// Go home.
    Return,
    /// Land.
    Land,
    /// Motors off, on the ground.
    Disarm,
    /// Go on with the mission.
    Resume,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on as it came.
    Forward,
    /// The e-stop is pressed.
    Press,
    /// The interlock is asked.
    Ask(Wish),
    /// It does not, and the sender is told: by a COMMAND_ACK where it was a command.
    Refuse,
    /// It is of no concern to a vehicle.
    Ignore,
}

/// A judged packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// System it is for; 0: all.
    pub target: u8,
    /// Component it is for.
    pub component: u8,
    /// Command number, where it is one.
    pub command: Option<u16>,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// Where a packet's target system and component are.
const fn target_at(id: u32) -> Option<usize> {
    match id {
        PARAM_REQUEST_LIST | MISSION_REQUEST_LIST | MISSION_ACK | LOG_REQUEST_END => Some(0),
        PARAM_REQUEST_READ | MISSION_REQUEST | MISSION_REQUEST_INT => Some(2),
        SET_MODE | LOG_REQUEST_LIST => Some(4),
        LOG_REQUEST_DATA => Some(10),
        PING => Some(12),
        COMMAND_LONG | COMMAND_INT => Some(30),
        _ => None,
    }
}

/// Bytes of a message that may go on, extension fields included.
const fn most(id: u32) -> usize {
    match id {
        PARAM_REQUEST_LIST | LOG_REQUEST_END => 2,
        MISSION_REQUEST_LIST => 3,
        MISSION_REQUEST | MISSION_REQUEST_INT => 5,
        LOG_REQUEST_LIST => 6,
        MISSION_ACK => 8,
        LOG_REQUEST_DATA => 12,
        PING => 14,
        TIMESYNC => 18,
        PARAM_REQUEST_READ => 20,
        COMMAND_LONG => 33,
        COMMAND_INT => 35,
        _ => 0,
    }
}

/// Judges a packet of a ground station. `class_of` gives the class of a system that is ours.
pub fn judge(packet: &Packet, allowed: &[Allowed], class_of: impl Fn(u8) -> Option<Class>) -> Judged {
    let fields = Fields(&packet.payload);
    let at = target_at(packet.id);
    let (target, component) = match (packet.id, at) {
        // SET_MODE has a base mode after its target, no component.
        (SET_MODE, Some(at)) => (fields.u8(at), AUTOPILOT),
        (_, Some(at)) => (fields.u8(at), fields.u8(at + 1)),
        (_, None) => (0, 0),
    };
    let commanded = matches!(packet.id, COMMAND_LONG | COMMAND_INT);
    let command = commanded.then(|| fields.u16(28));
    let verdict = match packet.id {
        // What keeps the vehicle's failsafe quiet comes from the node alone, for whoever holds a live lease.
        HEARTBEAT => Verdict::Ignore,
        PARAM_REQUEST_READ | PARAM_REQUEST_LIST | MISSION_REQUEST | MISSION_REQUEST_INT | MISSION_REQUEST_LIST
        | MISSION_ACK | PING | TIMESYNC => Verdict::Forward,
        LOG_REQUEST_LIST | LOG_REQUEST_DATA | LOG_REQUEST_END if allowed.contains(&Allowed::Logs) => Verdict::Forward,
        SET_MODE => mode(class_of(target), f64::from(fields.u32(0))),
        COMMAND_LONG | COMMAND_INT => {
            let first = [fields.f32(0), fields.f32(4), fields.f32(8)];
            judge_command(fields.u16(28), first, allowed, class_of(target))
        }
        _ => Verdict::Refuse,
    };
    // More bytes than the message has are somebody's own.
    let long = packet.payload.len() > most(packet.id);
    let verdict = if long && verdict == Verdict::Forward { Verdict::Refuse } else { verdict };
    Judged { target, component, command, verdict }
}

fn judge_command(command: u16, [p1, p2, p3]: [f32; 3], allowed: &[Allowed], class: Option<Class>) -> Verdict {
    match command {
        // Any second parameter but zero is a force; NaN is not zero.
        ARM_DISARM if p1 == 0.0 && p2 != 0.0 => Verdict::Press,
        ARM_DISARM if p1 == 0.0 => Verdict::Ask(Wish::Disarm),
        DO_SET_MODE => match class {
            // PX4's main and sub mode are apart.
            Some(Class::Px4Copter) => mode(class, f64::from(p2) * 65_536.0 + f64::from(p3) * 16_777_216.0),
            _ => mode(class, f64::from(p2)),
        },
        NAV_RETURN_TO_LAUNCH => Verdict::Ask(Wish::Return),
        NAV_LAND => Verdict::Ask(Wish::Land),
        NAV_LOITER_UNLIM => Verdict::Ask(Wish::Hold),
        DO_PAUSE_CONTINUE if p1 == 0.0 => Verdict::Ask(Wish::Hold),
        MISSION_START | DO_PAUSE_CONTINUE => Verdict::Ask(Wish::Resume),
        command if QUESTIONS.contains(&command) => Verdict::Forward,
        command if CAMERA.contains(&command) && allowed.contains(&Allowed::Camera) => Verdict::Forward,
        _ => Verdict::Refuse,
    }
}

/// A mode that the interlock can be asked for.
fn mode(class: Option<Class>, mode: f64) -> Verdict {
    let whole = mode.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&mode);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number in range")]
    let number = whole.then_some(mode as u32);
    match class.zip(number).map(|(class, mode)| class.meaning(mode)) {
        Some(Meaning::Hold) => Verdict::Ask(Wish::Hold),
        Some(Meaning::Return) => Verdict::Ask(Wish::Return),
        Some(Meaning::Land) => Verdict::Ask(Wish::Land),
        Some(Meaning::Auto) => Verdict::Ask(Wish::Resume),
        Some(Meaning::Guided | Meaning::Other) | None => Verdict::Refuse,
    }
}
