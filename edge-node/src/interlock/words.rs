//! What the interlock hears and says: its policy, inputs and effects, and the demands between them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::ids::EventId;
use shared::units::Uptime;

use super::action::Why;
use super::output::Output;
pub use super::rule::Rule;
use super::rules::estop::{Latched, Scope};
use super::rules::fence::Fence;
use super::rules::keep_out::Ground;
use super::rules::node::Ill;
use super::rules::separation::Apart;
use super::rules::weather::Weather;
use super::transaction::Outcome;
pub use super::verb::Verb;
use crate::ground::Origin;
use crate::ground::people::People;
use crate::vehicle::VehicleConfig;
use crate::vehicle::command::Order;
use crate::vehicle::state::Report;

/// What a vehicle must do now, weakest to strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, Hash)]
pub enum Demand {
    /// Nothing.
    #[default]
    None,
    /// Go slowly.
    Limit,
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
            Self::Limit => "limit",
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
    /// Once it is clear its vehicles go on with their missions by themselves, after a siren.
    pub resumes: bool,
    /// Where the zone is on the ground; without it a person in it holds every vehicle of the rule.
    pub ground: Option<Ground>,
}

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Holds leases, gives commands.
    Operator,
    /// And resets the e-stop, takes a lease from another, clears what a vehicle does by itself.
    Supervisor,
}

/// What the machine enforces.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Vehicles.
    pub vehicles: Vec<VehicleConfig>,
    /// Keep-out rules.
    pub keep_out: Vec<KeepOut>,
    /// Who may do what. Without anybody every name is a supervisor: the console is reached from the box alone.
    pub people: Vec<(String, Role)>,
    /// Whether a second person must confirm a reset of the e-stop.
    pub two_person: bool,
    /// System id of the supervisor's heartbeat.
    pub supervisor_sysid: u8,
    /// Where the site's metres are counted from.
    pub origin: Option<Origin>,
    /// Fences.
    pub fences: Vec<Fence>,
    /// How far vehicles keep apart.
    pub apart: Option<Apart>,
    /// Readings that keep aircraft on the ground.
    pub weather: Vec<Weather>,
    /// Whether the site has a hardware line.
    pub line: bool,
    /// Output lines.
    pub outputs: Vec<Output>,
    /// Rules that are switched off.
    pub off: Vec<Rule>,
}

impl Policy {
    /// What somebody may do; `None`: nothing.
    pub fn role(&self, name: &str) -> Option<Role> {
        let known = self.people.iter().find(|(known, _)| known == name).map(|(_, role)| *role);
        known.or((self.people.is_empty() && !name.trim().is_empty()).then_some(Role::Supervisor))
    }
}

/// Where a press or a release came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Source {
    /// Over HTTP.
    Console,
    /// The hardware line.
    Line,
    /// A ground station.
    Mavlink,
    /// The centre.
    Downlink,
    /// A reset.
    Reset,
}

impl Source {
    /// For events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::Line => "line",
            Self::Mavlink => "mavlink",
            Self::Downlink => "downlink",
            Self::Reset => "reset",
        }
    }
}

/// What happens to the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "reports are most of them, and the safety thread asks for no memory")]
pub enum Input {
    /// Time passed.
    Tick,
    /// Somebody or something pressed the e-stop.
    Press {
        /// Source.
        source: Source,
        /// Who, where known.
        by: String,
        /// For what.
        scope: Scope,
    },
    /// The hardware line was read.
    Line {
        /// Open, unplugged or unreadable.
        pressed: bool,
    },
    /// A supervisor wants to reset. Acts only once the release is durable ([`Input::Released`]).
    Reset {
        /// Request id.
        id: EventId,
        /// Who.
        by: String,
        /// What.
        scope: Scope,
    },
    /// A second person confirms a reset.
    Confirm {
        /// Request id.
        id: EventId,
        /// Who.
        by: String,
    },
    /// The latch file says what a release leaves pressed.
    Released {
        /// Number of the press that was released; a newer press keeps the latch.
        press: u64,
        /// Who reset.
        by: String,
    },
    /// A sensor that is watched was read: its place in the policy, its value.
    Reading {
        /// Index of the rule.
        weather: usize,
        /// Value, in the sensor's unit.
        value: f64,
    },
    /// Somebody has looked how the node is.
    Node(Ill),
    /// A pin of this box cannot be written, or can again.
    Pin {
        /// Index of the output.
        output: usize,
        /// Whether it cannot.
        faulty: bool,
    },
    /// The node ends on purpose: what moves is held, since nobody will watch it.
    Ending,
    /// A vehicle was heard.
    Vehicle(Report),
    /// A frame was looked at.
    Seen {
        /// Index of the zone.
        zone: usize,
        /// Whether somebody is in it.
        present: bool,
        /// Where they stand.
        people: People,
        /// When the frame was captured.
        captured: Uptime,
    },
    /// What the camera of a zone shows cannot be believed, or can again.
    Blind {
        /// Index of the zone.
        zone: usize,
        /// Whether it cannot.
        blind: bool,
    },
    /// Somebody asks for a command.
    Request {
        /// Request id.
        id: EventId,
        /// Index of the vehicle.
        vehicle: usize,
        /// What.
        verb: Verb,
        /// Who.
        by: String,
    },
}

/// What the driver must do.
#[derive(Debug, Clone, PartialEq, Hash)]
pub enum Effect {
    /// Write an order to a vehicle, now.
    Send(usize, Order),
    /// Write an order to a vehicle on one link, now: it must not come twice. The last number says which of its ways.
    Pulse(usize, Order, usize),
    /// Write the supervisor's heartbeat to a vehicle, now.
    Beat(usize),
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
    /// The latch must be written: with a press more now, or with what a release leaves, which acts once durable.
    Latch {
        /// What is latched then.
        latched: Latched,
        /// Whether that is a press.
        pressed: bool,
        /// For what.
        scope: Scope,
        /// Number of the press.
        press: u64,
        /// Source.
        source: Source,
        /// Who.
        by: String,
    },
    /// A release acts.
    LatchReleased {
        /// Who.
        by: String,
        /// What was released.
        scope: Scope,
        /// Whether that is stopped still, by another press.
        pressed: bool,
    },
    /// An output line is energised from now on, or not; or could not be written, or can again.
    Output {
        /// Index of the output.
        output: usize,
        /// Whether it is energised.
        energised: bool,
        /// Whether it does not work.
        faulty: bool,
    },
    /// Keep-out has cleared and the siren has sounded: whoever answers for the vehicle asks that it goes on.
    GoOn {
        /// Index of the vehicle.
        vehicle: usize,
        /// Who answers for it.
        by: String,
    },
    /// Who answers for a vehicle has changed.
    Lease {
        /// Index of the vehicle.
        vehicle: usize,
        /// `leased`, `left`, `authorised`, `ended`.
        change: &'static str,
        /// Who.
        by: String,
        /// How long, for an authorisation.
        lasts: Option<Duration>,
    },
    /// Answer to a request about a vehicle: no reasons mean permitted.
    Decided {
        /// Request id.
        id: EventId,
        /// Index of the vehicle.
        vehicle: usize,
        /// Every reason against it.
        reasons: Vec<String>,
        /// Whether it is worth an event: a renewal is not.
        kept: bool,
    },
    /// Answer to a request about the latch.
    Answered {
        /// Request id.
        id: EventId,
        /// Every reason against it.
        reasons: Vec<String>,
    },
    /// Write an order of a command again, now, that was sent so often before.
    Again(usize, Order, u8),
    /// A permitted command has ended.
    Ended {
        /// Request id.
        id: EventId,
        /// Index of the vehicle.
        vehicle: usize,
        /// What it was.
        verb: &'static str,
        /// How.
        outcome: Outcome,
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
    /// Since when it is tripped.
    pub since: Option<Uptime>,
    /// What would clear it.
    pub clears: &'static str,
}
