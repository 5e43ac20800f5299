//! What the safety lane carries: what the interlock found, demanded and decided, and who answers for a vehicle.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::EventId;

/// `interlock.tripped`, `interlock.cleared`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InterlockChange {
    /// Rule: `estop`, `keep-out`.
    pub rule: String,
    /// Vehicle name.
    pub vehicle: String,
    /// Demand of the rule: `hold`, `stop`.
    pub demand: String,
    /// Why, for people.
    pub reason: String,
}

/// `interlock.demanded`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InterlockDemanded {
    /// Vehicle name.
    pub vehicle: String,
    /// Strongest demand now: `none`, `hold`, `stop`.
    pub demand: String,
    /// Action that carries it out, e.g. `mode 4`, `disarm`; empty for none.
    pub action: String,
    /// Why this action: `demanded`, `refused`, `not accepted`, `stopped`.
    pub why: String,
}

/// `estop.changed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EstopChanged {
    /// Source: `console`, `downlink`, `latch`.
    pub source: String,
    /// Whether the stop is latched now.
    pub pressed: bool,
    /// Who pressed or reset, empty for a line.
    pub by: String,
}

/// `command.requested`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandRequested {
    /// Request id, as answered over HTTP.
    #[schemars(with = "String")]
    pub request: EventId,
    /// Vehicle name.
    pub vehicle: String,
    /// `hold` or `resume`.
    pub verb: String,
    /// Who asked.
    pub by: String,
}

/// `command.ended`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandEnded {
    /// Request id.
    #[schemars(with = "String")]
    pub request: EventId,
    /// Vehicle name.
    pub vehicle: String,
    /// What was asked for: `go-to`, `arm`.
    pub verb: String,
    /// `done`, `refused`, `unanswered`, `not shown`, `cancelled`.
    pub outcome: String,
    /// Why, for people; empty where it is done.
    pub detail: String,
}

/// `lease.changed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseChanged {
    /// Vehicle name.
    pub vehicle: String,
    /// `leased`, `left`, `authorised` (a patrol), `ended` (the patrol); `lapsed`: nobody answers for it any more.
    pub change: String,
    /// Who did it.
    pub by: String,
    /// Seconds that a patrol may last.
    pub lasts_s: Option<u64>,
}

/// `command.decided`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandDecided {
    /// Request id.
    #[schemars(with = "String")]
    pub request: EventId,
    /// Vehicle name.
    pub vehicle: String,
    /// Whether it went out.
    pub permitted: bool,
    /// Every reason against it.
    pub reasons: Vec<String>,
}

/// `output.changed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OutputChanged {
    /// Output name.
    pub output: String,
    /// Whether it is energised by the safety loop.
    pub energised: bool,
    /// Whether it does not work: its pin cannot be written, or the vehicle refused.
    pub faulty: bool,
}
