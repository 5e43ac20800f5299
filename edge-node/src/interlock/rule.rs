//! The rules by name, and what people are told of them.

use serde::Deserialize;

/// Rules that a policy may switch off, to see what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Keep-out zones.
    KeepOut,
    /// The vehicle is not heard.
    Link,
    /// What its autopilot does by itself.
    Foreign,
    /// Its pilot has it.
    Pilot,
    /// Nobody answers for its motion.
    Lease,
    /// An operator asked for it.
    Asked,
    /// Its fence.
    Fence,
    /// Another vehicle.
    Separation,
    /// Its battery.
    Energy,
    /// It does not know where it is.
    Position,
    /// Its own failsafes are not set up: denies motion, demands nothing.
    Audit,
    /// Wind, and what else keeps aircraft down.
    Weather,
    /// This node is not well.
    Node,
}

impl Rule {
    /// As events and people know it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeepOut => "keep-out",
            Self::Link => "link",
            Self::Foreign => "foreign",
            Self::Pilot => "pilot",
            Self::Lease => "lease",
            Self::Asked => "asked",
            Self::Fence => "fence",
            Self::Separation => "separation",
            Self::Energy => "energy",
            Self::Position => "position",
            Self::Audit => "audit",
            Self::Weather => "weather",
            Self::Node => "node",
        }
    }

    /// What would clear it.
    pub const fn clears(self) -> &'static str {
        match self {
            Self::KeepOut => "fresh pictures that show nobody for the clear time",
            Self::Link => "ten heartbeats in a row",
            Self::Foreign | Self::Pilot => "disarmed on the ground, or a supervisor clears it",
            Self::Lease => "a live lease or an authorised patrol",
            Self::Asked => "whoever answers for it sends it on; of return and land, disarmed on the ground",
            Self::Fence => "two metres inside for three seconds",
            Self::Separation => "a fifth more than the least distance",
            Self::Energy => "disarmed on the ground, and charged",
            Self::Position => "five seconds of a good position",
            Self::Audit => "parameters as they must be",
            Self::Weather => "a minute of readings that are not too much",
            Self::Node => "ten seconds in which it is well",
        }
    }

    /// That it has cleared.
    pub const fn cleared(self) -> &'static str {
        match self {
            Self::KeepOut => "nobody",
            Self::Link => "heard again",
            Self::Lease => "somebody answers for it",
            Self::Foreign | Self::Pilot | Self::Asked => "has ended",
            Self::Fence => "inside",
            Self::Separation => "apart",
            Self::Energy => "charged",
            Self::Position => "known again",
            Self::Audit => "set up",
            Self::Weather => "good again",
            Self::Node => "is well",
        }
    }
}
