//! What is planned for a vehicle: items of missions and fences, as MAVLink carries them, and the few that Picket knows. Pure.
//!
//! Fields by offset after <https://mavlink.io/en/messages/common.html#MISSION_ITEM_INT>; commands after MAV_CMD.

use serde::{Deserialize, Serialize};

use super::codec::Fields;
use super::message::{ABOVE_HOME, AUTOPILOT, NOWHERE};

/// NAV_DELAY and CONDITION_DELAY.
pub const DELAYS: [u16; 2] = [93, 112];
/// DO_JUMP.
pub const JUMP: u16 = 177;
/// What cameras and gimbals do: DO_DIGICAM_CONTROL, DO_SET_CAM_TRIGG_DIST, DO_GIMBAL_MANAGER_PITCHYAW, IMAGE_START_CAPTURE.
pub const CAMERA: [u16; 4] = [203, 206, 1000, 2000];
/// NAV_FENCE_POLYGON_VERTEX_INCLUSION.
pub const INCLUSION: u16 = 5001;
/// NAV_FENCE_POLYGON_VERTEX_EXCLUSION.
pub const EXCLUSION: u16 = 5002;
/// Items of one plan: what ArduPilot's smallest boards hold.
pub const MOST: u16 = 700;
/// Bytes of MISSION_ITEM_INT.
pub const ITEM_LEN: usize = 38;

/// Which plan (MAV_MISSION_TYPE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Where it drives or flies.
    Mission,
    /// What it may not leave.
    Fence,
}

impl Kind {
    /// MAV_MISSION_TYPE.
    pub const fn number(self) -> u8 {
        match self {
            Self::Mission => 0,
            Self::Fence => 1,
        }
    }

    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mission => "mission",
            Self::Fence => "fence",
        }
    }
}

/// One item.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// MAV_CMD.
    pub command: u16,
    /// MAV_FRAME.
    pub frame: u8,
    /// Parameters 1 to 4.
    pub params: [f32; 4],
    /// Latitude, ten-millionths of a degree.
    pub lat_e7: i32,
    /// Longitude, ten-millionths of a degree.
    pub lon_e7: i32,
    /// Height in metres of the frame.
    pub height_m: f32,
}

impl Item {
    /// An item without a place.
    pub const fn order(command: u16, params: [f32; 4]) -> Self {
        Self { command, frame: NOWHERE, params, lat_e7: 0, lon_e7: 0, height_m: 0.0 }
    }

    /// The payload of a MISSION_ITEM_INT.
    pub fn payload(&self, kind: Kind, seq: u16, vehicle: u8) -> [u8; ITEM_LEN] {
        let numbers = self.params.into_iter().flat_map(f32::to_le_bytes);
        let place = [self.lat_e7.to_le_bytes(), self.lon_e7.to_le_bytes(), self.height_m.to_le_bytes()];
        let head = [seq.to_le_bytes(), self.command.to_le_bytes()];
        // Not the current one; the next follows by itself.
        let tail = [vehicle, AUTOPILOT, self.frame, 0, 1, kind.number()];
        let bytes = numbers.chain(place.into_iter().flatten()).chain(head.into_iter().flatten()).chain(tail);
        let mut payload = [0; ITEM_LEN];
        payload.iter_mut().zip(bytes).for_each(|(field, byte)| *field = byte);
        payload
    }

    /// The item, its number, the system it is for and MAV_MISSION_TYPE of a MISSION_ITEM_INT.
    pub fn read(payload: &[u8]) -> (Self, u16, u8, u8) {
        let fields = Fields(payload);
        let item = Self {
            command: fields.u16(30),
            frame: fields.u8(34),
            params: [fields.f32(0), fields.f32(4), fields.f32(8), fields.f32(12)],
            lat_e7: fields.i32(16),
            lon_e7: fields.i32(20),
            height_m: fields.f32(24),
        };
        (item, fields.u16(28), fields.u8(32), fields.u8(37))
    }

    /// Whether an autopilot that was told this says the same: it keeps heights in centimetres, waits in seconds, and has one
    /// name for two frames.
    pub fn is_same(&self, told: &Self) -> bool {
        let frame = |frame: u8| if frame == 6 { ABOVE_HOME } else { frame };
        let near = |a: f32, b: f32| (a - b).abs() <= 0.011 || a.is_nan() && (b.is_nan() || b == 0.0);
        // What has no place is told with any frame.
        let placed = self.frame != NOWHERE;
        self.command == told.command
            && (!placed || frame(self.frame) == frame(told.frame))
            && (self.lat_e7, self.lon_e7) == (told.lat_e7, told.lon_e7)
            && near(self.height_m, told.height_m)
            && self.params.iter().zip(told.params).all(|(own, told)| near(*own, told))
    }
}

/// Ten-millionths of a degree.
#[expect(clippy::cast_possible_truncation, reason = "degrees of a place on earth")]
pub fn e7(degrees: f64) -> i32 {
    (degrees * 1e7).round() as i32
}

/// Whether two plans are the same. `skip`: the first item is the autopilot's own, home.
pub fn same(sent: &[Item], told: &[Item], skip: usize) -> bool {
    sent.len() == told.len() && sent.iter().zip(told).skip(skip).all(|(sent, told)| sent.is_same(told))
}

/// What is known of a plan that a vehicle holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It was not read yet, or cannot be.
    #[default]
    Unknown,
    /// It is as it must be.
    Good,
    /// It is another than it must be.
    Other,
    /// It is being replaced, or that was not finished: an autopilot may hold half of each.
    Half,
    /// This item is none that Picket knows.
    Item(u16),
    /// The way to this item leaves the fence.
    Outside(u16),
    /// This item is too high, or its height is not above home.
    High(u16),
    /// This item makes it faster than its brake test.
    Fast(u16),
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown => f.write_str("was not read yet"),
            Self::Good => f.write_str("is as it must be"),
            Self::Other => f.write_str("is not the site's"),
            Self::Half => f.write_str("is being replaced, or that was not finished"),
            Self::Item(n) => write!(f, "has an item that is not known, number {n}"),
            Self::Outside(n) => write!(f, "leaves the fence on the way to item {n}"),
            Self::High(n) => write!(f, "is too high, or not above home, at item {n}"),
            Self::Fast(n) => write!(f, "is faster than the brake test at item {n}"),
        }
    }
}

/// What the vehicle's plans are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plans {
    /// Its fence beside the site's.
    pub fence: Verdict,
    /// Its mission beside its envelope.
    pub mission: Verdict,
    /// A sum of the mission's items as they were read: another mission has another.
    pub mission_sum: u64,
}

/// A sum of items.
pub fn sum(items: &[Item]) -> u64 {
    let bytes = items.iter().flat_map(|item| item.payload(Kind::Mission, 0, 0));
    // FNV-1a: two plans of one site that differ have one sum by no design.
    bytes.fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
