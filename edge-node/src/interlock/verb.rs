//! What people may ask of a vehicle. By value: the safety thread asks for no memory.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::ids::EventId;

use crate::vehicle::command::{Circle, Height, Target};

/// What a person may ask of a vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// Stand still. Like the next two it is never denied for lease, link, readiness, node or authority.
    Hold,
    /// Go home.
    Return,
    /// Land.
    Land,
    /// Motors off, on the ground.
    Disarm,
    /// Go on with the mission.
    Resume,
    /// Go on with the mission after keep-out, as the siren has said.
    GoOn,
    /// Whether it could; changes nothing.
    Ready,
    /// What the vehicle does on its own, or its pilot, has ended: a supervisor says so.
    Clear,
    /// Become the one who answers for it, under this number.
    Lease(EventId),
    /// Still there.
    Renew(EventId),
    /// Answer for it no longer.
    Leave(EventId),
    /// Let it do its mission alone for this time.
    Patrol(Duration),
    /// Not any longer.
    EndPatrol,
    /// Motors on, standing.
    Arm,
    /// Up to a height, here.
    TakeOff(Height),
    /// To a place.
    GoTo(Target),
    /// Around a place.
    Orbit(Target, Circle),
    /// This fast from now on, centimetres a second.
    Speed(u16),
    /// Its camera looks there: hundredths of a degree, down is negative, zero ahead.
    Point {
        /// Pitch.
        pitch_cdeg: i16,
        /// Yaw.
        yaw_cdeg: i16,
    },
    /// Another mission instead of its own.
    Plan,
    /// A supervisor measures how it stops: for a while it needs no brake test to move.
    Trial,
    /// One of its outputs, by its place in the configuration, on or off.
    Output(u8, bool),
}

impl Verb {
    /// Whether it begins motion, or lets it begin.
    pub const fn moves(self) -> bool {
        matches!(
            self,
            Self::Resume | Self::GoOn | Self::Arm | Self::TakeOff(_) | Self::GoTo(_) | Self::Orbit(..) | Self::Speed(_)
        )
    }

    /// For events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Return => "return",
            Self::Land => "land",
            Self::Disarm => "disarm",
            Self::Resume => "resume",
            Self::GoOn => "go on",
            Self::Ready => "ready",
            Self::Clear => "clear",
            Self::Lease(_) => "lease",
            Self::Renew(_) => "renew",
            Self::Leave(_) => "leave",
            Self::Patrol(_) => "patrol",
            Self::EndPatrol => "end patrol",
            Self::Arm => "arm",
            Self::TakeOff(_) => "take-off",
            Self::GoTo(_) => "go-to",
            Self::Orbit(..) => "orbit",
            Self::Speed(_) => "speed",
            Self::Point { .. } => "point",
            Self::Output(..) => "output",
            Self::Plan => "mission",
            Self::Trial => "brake-test",
        }
    }
}
