//! What the interlock hears and says: its policy, inputs and effects, and the demands between them.

use std::time::Duration;

use shared::ids::EventId;
use shared::units::Uptime;

use super::action::Why;
use crate::vehicle::VehicleConfig;
use crate::vehicle::command::Order;
use crate::vehicle::link::Report;

/// What a vehicle must do now, weakest to strongest. Limit comes with the rules that need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Demand {
    /// Nothing.
    #[default]
    None,
    /// Stand still.
    Hold,
    /// Go home.
    Return,
    /// Land.
    Land,
    /// Stand still, then disarm or land.
    Stop,
}

impl Demand {
    /// For events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Hold => "hold",
            Self::Return => "return",
            Self::Land => "land",
            Self::Stop => "stop",
        }
    }
}

/// One keep-out rule.
#[derive(Debug, Clone)]
pub struct KeepOut {
    /// Name of the zone.
    pub zone: String,
    /// Index of the zone in the configuration.
    pub zone_index: usize,
    /// Indices of the vehicles.
    pub vehicles: Vec<usize>,
    /// Clear when fresh frames have shown nobody for this time.
    pub clear_after: Duration,
    /// A frame older than this is no evidence.
    pub stale_after: Duration,
}

/// What the machine enforces.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Vehicles.
    pub vehicles: Vec<VehicleConfig>,
    /// Keep-out rules.
    pub keep_out: Vec<KeepOut>,
}

/// What a person may ask of a vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Stand still. Never denied.
    Hold,
    /// Go on with the mission.
    Resume,
    /// What the vehicle does on its own, or its pilot, has ended: a named person says so.
    Clear,
}

/// What happens to the machine.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Time passed.
    Tick,
    /// Somebody or something pressed the e-stop.
    Press {
        /// Source.
        source: &'static str,
        /// Who, where known.
        by: String,
    },
    /// A named person wants to reset. Acts only once the release is durable ([`Input::Released`]).
    Reset {
        /// Who.
        by: String,
    },
    /// The latch file says released.
    Released {
        /// Number of the press that was released; a newer press keeps the latch.
        press: u64,
        /// Who reset.
        by: String,
    },
    /// A vehicle was heard.
    Vehicle(Report),
    /// A frame was looked at.
    Seen {
        /// Index of the zone.
        zone: usize,
        /// Whether somebody is in it.
        present: bool,
        /// When the frame was captured.
        captured: Uptime,
    },
    /// Somebody asks for a command.
    Request {
        /// Request id.
        id: EventId,
        /// Index of the vehicle.
        vehicle: usize,
        /// What.
        verb: Verb,
    },
}

/// What the driver must do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Write an order to a vehicle, now.
    Send(usize, Order),
    /// A rule tripped or cleared.
    Rule {
        /// Whether it tripped.
        tripped: bool,
        /// Rule.
        rule: &'static str,
        /// Index of the vehicle.
        vehicle: usize,
        /// Its demand.
        demand: Demand,
        /// Why.
        reason: String,
    },
    /// A demand or its order changed.
    Demanded {
        /// Index of the vehicle.
        vehicle: usize,
        /// Demand.
        demand: Demand,
        /// Order, if any.
        order: Option<Order>,
        /// Why.
        why: Why,
    },
    /// The latch must be written: pressed now, or released once durable.
    Latch {
        /// Whether pressed.
        pressed: bool,
        /// Number of the press.
        press: u64,
        /// Source.
        source: &'static str,
        /// Who.
        by: String,
    },
    /// The latch is released.
    LatchReleased {
        /// Who.
        by: String,
    },
    /// Answer to a request: no reasons mean permitted.
    Decided {
        /// Request id.
        id: EventId,
        /// Index of the vehicle.
        vehicle: usize,
        /// Every reason against it.
        reasons: Vec<String>,
    },
}

/// One rule on one vehicle, for the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleView {
    /// Rule.
    pub rule: &'static str,
    /// Index of the vehicle.
    pub vehicle: usize,
    /// Why it is tripped; absent while it is not.
    pub reason: Option<String>,
}
