//! Kinds of vehicles and what their mode numbers mean. Pinned by configuration, never learnt from the air.
//!
//! Numbers are HEARTBEAT.custom_mode of ArduCopter, ArduRover and ArduPlane (their `mode.h`); PX4 packs main and sub mode
//! into bytes 2 and 3 (`px4_custom_mode.h`).

use serde::Deserialize;

use super::codec::{Fields, Packet};
use super::message::HEARTBEAT;

/// MAV_TYPE of what drives: GROUND_ROVER, SURFACE_BOAT, SUBMARINE.
const DRIVES: [u8; 3] = [10, 11, 12];
/// Of multicopters and helicopters.
const HOVERS: [u8; 8] = [2, 3, 4, 13, 14, 15, 29, 35];
/// FIXED_WING.
const WING: u8 = 1;
/// MAV_AUTOPILOT_ARDUPILOTMEGA and MAV_AUTOPILOT_PX4.
const ARDUPILOT: u8 = 3;
const PX4: u8 = 12;

/// Kind of vehicle; decides modes and actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// ArduRover.
    Rover,
    /// ArduCopter.
    Copter,
    /// ArduPlane.
    Plane,
    /// ArduPlane that can hover.
    Vtol,
    /// A multicopter under PX4.
    Px4Copter,
}

/// What a mode does with the vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// It drives or flies its mission.
    Auto,
    /// It goes where it is told from outside.
    Guided,
    /// It stays where it is.
    Hold,
    /// It goes home.
    Return,
    /// It lands.
    Land,
    /// Anything else: somebody steers, or the number is unknown.
    Other,
}

/// HEARTBEAT.custom_mode of PX4's AUTO with a sub mode.
pub const fn px4_auto(sub: u32) -> u32 {
    4 << 16 | sub << 24
}

/// Sub modes of PX4's AUTO.
pub mod px4 {
    /// Takes off.
    pub const TAKEOFF: u32 = 2;
    /// Loiters.
    pub const LOITER: u32 = 3;
    /// Flies its mission.
    pub const MISSION: u32 = 4;
    /// Goes home.
    pub const RETURN: u32 = 5;
    /// Lands.
    pub const LAND: u32 = 6;
}

impl Class {
    /// Whether it leaves the ground.
    pub const fn flies(self) -> bool {
        !matches!(self, Self::Rover)
    }

    /// Whether it can stay in one place in the air.
    pub const fn hovers(self) -> bool {
        matches!(self, Self::Copter | Self::Vtol | Self::Px4Copter)
    }

    /// Whether it has a wing, which stalls.
    pub const fn has_wing(self) -> bool {
        matches!(self, Self::Plane | Self::Vtol)
    }

    /// Whether the first item of its missions is its home, which it sets by itself: ArduPilot. PX4 counts from its first place.
    pub const fn counts_home(self) -> bool {
        !matches!(self, Self::Px4Copter)
    }

    /// What a mode means.
    pub const fn meaning(self, mode: u32) -> Meaning {
        const MISSION: u32 = px4_auto(px4::MISSION);
        const TAKEOFF: u32 = px4_auto(px4::TAKEOFF);
        const LOITER: u32 = px4_auto(px4::LOITER);
        const RETURN: u32 = px4_auto(px4::RETURN);
        const LAND: u32 = px4_auto(px4::LAND);
        match (self, mode) {
            (Self::Rover, 10) | (Self::Copter, 3) | (Self::Plane | Self::Vtol, 10) => Meaning::Auto,
            (Self::Rover | Self::Plane | Self::Vtol, 15) | (Self::Copter, 4) => Meaning::Guided,
            (Self::Rover, 4 | 5) | (Self::Copter, 5 | 16 | 17) | (Self::Plane | Self::Vtol, 12 | 19) => Meaning::Hold,
            (Self::Rover, 11 | 12) | (Self::Copter, 6 | 21 | 27) | (Self::Plane | Self::Vtol, 11 | 21) => {
                Meaning::Return
            }
            (Self::Copter, 9) | (Self::Plane | Self::Vtol, 20 | 26) => Meaning::Land,
            (Self::Px4Copter, MISSION | TAKEOFF) => Meaning::Auto,
            (Self::Px4Copter, LOITER) => Meaning::Hold,
            (Self::Px4Copter, RETURN) => Meaning::Return,
            (Self::Px4Copter, LAND) => Meaning::Land,
            // OFFBOARD.
            (Self::Px4Copter, 0x0006_0000) => Meaning::Guided,
            _ => Meaning::Other,
        }
    }

    /// Whether a packet is a heartbeat that says plainly that the vehicle is another kind: its mode numbers would mean
    /// something else. A type that nobody knows contradicts nothing.
    pub fn contradicts(self, packet: &Packet) -> bool {
        if packet.id != HEARTBEAT {
            return false;
        }
        let (kind, autopilot) = (Fields(&packet.payload).u8(4), Fields(&packet.payload).u8(5));
        let (drives, hovers, wing) = (DRIVES.contains(&kind), HOVERS.contains(&kind), kind == WING);
        match self {
            Self::Rover => hovers || wing || autopilot == PX4,
            Self::Copter => drives || wing || autopilot == PX4,
            // A plane that hovers calls itself either.
            Self::Plane | Self::Vtol => drives || autopilot == PX4,
            Self::Px4Copter => drives || wing || autopilot == ARDUPILOT,
        }
    }

    /// The mode in which it drives or flies its mission.
    pub const fn auto(self) -> u32 {
        match self {
            Self::Rover | Self::Plane | Self::Vtol => 10,
            Self::Copter => 3,
            Self::Px4Copter => px4_auto(px4::MISSION),
        }
    }

    /// The mode in which it goes where it is told; PX4 takes DO_REPOSITION while it loiters.
    pub const fn guided(self) -> u32 {
        match self {
            Self::Rover | Self::Plane | Self::Vtol => 15,
            Self::Copter => 4,
            Self::Px4Copter => px4_auto(px4::LOITER),
        }
    }

    /// The first choice to stand still: HOLD, BRAKE, LOITER, QLOITER.
    pub const fn hold(self) -> u32 {
        match self {
            Self::Rover => 4,
            Self::Copter => 17,
            Self::Plane => 12,
            Self::Vtol => 19,
            Self::Px4Copter => px4_auto(px4::LOITER),
        }
    }

    /// The mode in which it goes home; a rover's home way is not known to be clear, so it holds.
    pub const fn home(self) -> u32 {
        match self {
            Self::Rover => 4,
            Self::Copter => 6,
            Self::Plane => 11,
            Self::Vtol => 21,
            Self::Px4Copter => px4_auto(px4::RETURN),
        }
    }

    /// The mode in which it lands.
    pub const fn land(self) -> u32 {
        match self {
            Self::Rover => 4,
            Self::Copter => 9,
            Self::Plane => 26,
            Self::Vtol => 20,
            Self::Px4Copter => px4_auto(px4::LAND),
        }
    }

    /// RC channel that chooses the mode, from 1, where the configuration names none (MODE_CH, FLTMODE_CH).
    pub const fn mode_channel(self) -> u8 {
        match self {
            Self::Rover | Self::Plane | Self::Vtol => 8,
            Self::Copter | Self::Px4Copter => 5,
        }
    }
}
