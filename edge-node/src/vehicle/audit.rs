//! Whether an autopilot's own failsafes are set up: parameters that are asked for at connect and again for ever, and what
//! they must be (INTERLOCKS, "Heartbeats of the node"). Pure.

use super::class::Class;
use super::codec::{Fields, Packet};
use super::message::PARAM_VALUE;
use serde::{Deserialize, Serialize};

/// Bytes of a parameter's name.
const NAME: usize = 16;
/// Most parameters of one class.
pub const MOST: usize = 8;

/// What a value must be.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Must {
    /// One of these.
    Be(&'static [f32]),
    /// Anything but zero.
    NotZero,
    /// A number without this bit.
    Lack(u32),
    /// Our supervisor's system id.
    Supervisor,
}

/// One parameter that is looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted {
    /// Its name, and the one that older firmware has for it.
    names: [&'static str; 2],
    must: Must,
    /// Firmware that does not have it is as good.
    optional: bool,
}

const fn must(name: &'static str, must: Must) -> Wanted {
    Wanted { names: [name, name], must, optional: false }
}

const fn may(name: &'static str, must: Must) -> Wanted {
    Wanted { names: [name, name], must, optional: true }
}

const STATION: Wanted = Wanted { names: ["MAV_GCS_SYSID", "SYSID_MYGCS"], must: Must::Supervisor, optional: false };
const FENCE: Wanted = must("FENCE_ENABLE", Must::Be(&[1.0]));
const NO_BLOCK: Wanted = may("FLTMODE_GCSBLOCK", Must::Be(&[0.0]));
const FENCE_OPTIONS: Wanted = may("FENCE_OPTIONS", Must::Lack(1));

const COPTER: [Wanted; 7] = [
    STATION,
    must("FS_GCS_ENABLE", Must::Be(&[5.0, 7.0])),
    must("FS_GCS_TIMEOUT", Must::Be(&[2.0])),
    must("FS_OPTIONS", Must::Lack(16)),
    FENCE,
    FENCE_OPTIONS,
    NO_BLOCK,
];
const ROVER: [Wanted; 6] = [
    STATION,
    must("FS_GCS_ENABLE", Must::NotZero),
    must("FS_ACTION", Must::Be(&[2.0])),
    must("FS_TIMEOUT", Must::Be(&[1.0])),
    FENCE,
    FENCE_OPTIONS,
];
const PLANE: [Wanted; 2] = [STATION, must("FS_GCS_ENABL", Must::NotZero)];
const PX4: [Wanted; 1] = [must("NAV_DLL_ACT", Must::NotZero)];

/// What is looked at for a class.
pub const fn wanted(class: Class) -> &'static [Wanted] {
    match class {
        Class::Rover => &ROVER,
        Class::Copter => &COPTER,
        Class::Plane | Class::Vtol => &PLANE,
        Class::Px4Copter => &PX4,
    }
}

/// What a vehicle said of them, in the order of [`wanted`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Audit([Option<f32>; MOST]);

/// One parameter, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Its name.
    pub name: &'static str,
    /// What the vehicle said, if it did.
    pub value: Option<f32>,
    /// What it must be.
    pub expected: String,
    /// Whether it is.
    pub good: bool,
}

impl Audit {
    /// Takes a packet, if it tells one of them.
    pub fn hear(&mut self, class: Class, packet: &Packet) {
        if packet.id != PARAM_VALUE {
            return;
        }
        let name: [u8; NAME] = std::array::from_fn(|n| packet.payload.get(8 + n).copied().unwrap_or(0));
        let len = name.iter().position(|byte| *byte == 0).unwrap_or(NAME);
        let name = name.get(..len).unwrap_or_default();
        let known = wanted(class).iter().position(|wanted| wanted.names.iter().any(|own| own.as_bytes() == name));
        if let Some(value) = known.and_then(|index| self.0.get_mut(index)) {
            *value = Some(f32::from_bits(Fields(&packet.payload).u32(0)));
        }
    }

    /// The name to ask for next: those not told first, then all in turn. `turn` counts what was asked.
    pub fn next(&self, class: Class, turn: usize) -> Option<&'static str> {
        let all = wanted(class);
        let left = || all.iter().zip(&self.0).filter(|(_, value)| value.is_none());
        let unknown = left().count();
        let pick = |wanted: &Wanted| wanted.names.get((turn / all.len().max(1)) % 2).copied();
        // Every other question is for one that was not told, so that those are soon known and the others stay true.
        match unknown {
            0 => all.get(turn.checked_rem(all.len())?).and_then(pick),
            _ if turn.is_multiple_of(2) => {
                let (wanted, _) = left().nth((turn / 2) % unknown)?;
                wanted.names.get((turn / 2 / unknown) % 2).copied()
            }
            _ => all.get((turn / 2).checked_rem(all.len())?).and_then(pick),
        }
    }

    /// Every parameter that is looked at.
    pub fn findings(&self, class: Class, supervisor: u8) -> impl Iterator<Item = Finding> + '_ {
        wanted(class).iter().zip(&self.0).map(move |(wanted, value)| {
            let good = value.map_or(wanted.optional, |value| is_good(wanted.must, value, supervisor));
            let expected = match wanted.must {
                Must::Be(values) => values.iter().map(|value| format!("{value}")).collect::<Vec<_>>().join(" or "),
                Must::NotZero => "not 0".into(),
                Must::Lack(bit) => format!("without bit {bit}"),
                Must::Supervisor => format!("{supervisor}"),
            };
            Finding { name: wanted.names[0], value: *value, expected, good }
        })
    }

    /// Every reason against motion.
    pub fn reasons(&self, class: Class, supervisor: u8) -> impl Iterator<Item = String> + '_ {
        self.findings(class, supervisor).filter(|finding| !finding.good).map(|finding| match finding.value {
            Some(value) => format!("audit: {} is {value}, expected {}", finding.name, finding.expected),
            None => format!("audit: {} was not told yet, expected {}", finding.name, finding.expected),
        })
    }
}

fn is_good(must: Must, value: f32, supervisor: u8) -> bool {
    match must {
        Must::Be(values) => values.contains(&value),
        // PX4 sends the bits of its integers: those of 1 are a number next to nothing.
        Must::NotZero => value.to_bits() != 0,
        Must::Lack(bit) => {
            let whole = value.fract() == 0.0 && (0.0..16_777_216.0).contains(&value);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number in range")]
            let bits = value as u32;
            whole && bits & bit == 0
        }
        Must::Supervisor => value == f32::from(supervisor),
    }
}
