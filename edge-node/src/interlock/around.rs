//! What concerns every vehicle, as each looks at it.

use super::rules::Hazard;
use super::rules::separation::Track;
use super::rules::weather::Gauge;
use super::words::Policy;

/// What concerns every vehicle.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// What the site allows.
    pub policy: &'a Policy,
    /// Where the vehicles are and go, where that is known.
    pub tracks: &'a [Option<Track>],
    /// What the weather's sensors said.
    pub gauges: &'a [Gauge],
    /// What is wrong with this node.
    pub node: Hazard,
    /// Whether the safety loop is on time.
    pub on_time: bool,
}
