//! One file a rule: what trips it, as a pure look at what is known. `trip` says when it changes.
//!
//! A hazard is a demand and a reason. No rule sees another's demand, so a hazard more can never lower one.

pub mod trip;
pub mod estop;
pub mod link;
pub mod autonomy;
pub mod lease;
pub mod keep_out;
pub mod position;
pub mod fence;
pub mod envelope;
pub mod mission;
pub mod retreat;
pub mod separation;
pub mod energy;
pub mod weather;
pub mod node;

use super::words::Demand;

/// What a rule finds wrong: what the vehicle must do about it, and why.
pub type Hazard = Option<(Demand, &'static str)>;

/// The worse of what is found now and what was before.
pub fn worse(found: Hazard, before: Hazard) -> Hazard {
    match (found, before) {
        (Some(found), Some(before)) => Some(if found.0 >= before.0 { found } else { before }),
        (found, before) => found.or(before),
    }
}
