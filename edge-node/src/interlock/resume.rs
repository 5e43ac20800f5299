//! Going on after a keep-out stop without being told, where the policy allows it: on the same mission, while somebody answers
//! for the vehicle, after a siren that can be told to have sounded for five seconds. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

use super::words::Demand;
use crate::vehicle::plan::Verdict;

/// The siren sounds for this time before.
const SIREN: Duration = Duration::from_secs(5);
/// One that was not heard by then is not: whoever answers for the vehicle sends it on.
const GIVE_UP: Duration = Duration::from_secs(12);
/// What was asked is decided within this time.
const ASKED: Duration = Duration::from_secs(1);

/// What a mission was found to be, and a sum of its items.
type Mission = (Verdict, u64);

/// What is known of a vehicle.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// What the keep-out rules that let it go on demand.
    pub keep_out: Demand,
    /// Anything else demands something of it, or is about it: its pilot, a command.
    pub other: bool,
    /// It is armed, and on its mission.
    pub on_mission: bool,
    /// It is armed, and stands for us.
    pub held: bool,
    /// What its mission is, and a sum of its items.
    pub mission: Mission,
    /// Somebody answers for it.
    pub answered: bool,
    /// Its siren sounds.
    pub sounds: bool,
}

/// How far it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resume {
    /// It does not go on by itself. Left when keep-out stops it on its mission.
    #[default]
    No,
    /// Keep-out stopped it on this mission. Left when that clears, or for good by anything else.
    Stopped(Mission),
    /// It was announced then; the siren has sounded without a break since. Left after its time, or when keep-out stops it again.
    Announced(Mission, Uptime, Option<Uptime>),
    /// Whoever answers for it asks that it goes on. Left for good by anything else, or within a second.
    Asked(Mission, Uptime),
}

impl Resume {
    /// Whether the siren shall sound.
    pub const fn announced(self) -> bool {
        matches!(self, Self::Announced(..) | Self::Asked(..))
    }

    /// Whether it may be sent on by itself now.
    pub const fn asked(self) -> bool {
        matches!(self, Self::Asked(..))
    }

    /// Looks at it; true: it shall be asked now that it goes on.
    pub fn judge(&mut self, known: &Known, now: Uptime) -> bool {
        let near = known.keep_out != Demand::None;
        let stays = |mission| !known.other && known.answered && known.mission == mission;
        let next = match *self {
            Self::No => {
                let stopped = known.keep_out >= Demand::Hold && known.on_mission && stays(known.mission);
                let good = matches!(known.mission.0, Verdict::Good | Verdict::Unknown);
                if stopped && good { Self::Stopped(known.mission) } else { Self::No }
            }
            // It is on its mission still until it takes the hold.
            Self::Stopped(mission) if stays(mission) && (known.held || known.on_mission && near) => {
                if near || !known.held { *self } else { Self::Announced(mission, now, None) }
            }
            Self::Announced(mission, ..) | Self::Asked(mission, _) if stays(mission) && known.held && near => {
                Self::Stopped(mission)
            }
            Self::Announced(mission, begun, since) if stays(mission) && known.held => {
                let since = if known.sounds { since.or(Some(now)) } else { None };
                match since {
                    Some(since) if now.since(since) >= SIREN => Self::Asked(mission, now),
                    _ if now.since(begun) >= GIVE_UP => Self::No,
                    _ => Self::Announced(mission, begun, since),
                }
            }
            Self::Asked(mission, at) if stays(mission) && known.held && now.since(at) < ASKED => *self,
            Self::Stopped(_) | Self::Announced(..) | Self::Asked(..) => Self::No,
        };
        let asks = next.asked() && !self.asked();
        *self = next;
        asks
    }
}
