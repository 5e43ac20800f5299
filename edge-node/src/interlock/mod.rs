//! Everything hazardous -> permit, deny, demand. People's safety rests here: plain, small, proved.
//!
//! `machine` decides: pure and total. `driver` is the safety thread that feeds it and carries out its effects.
//! `latch` keeps the e-stop over restarts, `clerk` keeps and shows what was decided. Nothing else in the node can move a vehicle.

pub mod words;
pub mod obey;
pub mod rules;
pub mod acks;
pub mod action;
pub mod machine;
pub mod latch;
pub mod clerk;
pub mod driver;

use std::time::Duration;

use serde::Deserialize;
use shared::ids::Name;

/// Stop vehicles while somebody is in a zone.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepOutConfig {
    /// Zone.
    pub zone: Name,
    /// Vehicles that drive in it.
    pub vehicles: Vec<Name>,
    /// Clear when fresh frames have shown nobody for this time.
    #[serde(default = "default_clear", with = "shared::config::duration")]
    pub clear_after: Duration,
}

fn default_clear() -> Duration {
    Duration::from_secs(5)
}
