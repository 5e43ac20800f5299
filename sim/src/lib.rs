//! A simulated site: vehicles that speak real MAVLink 2, a camera that replays real pictures, links that fail, and drawn scenes with labels. It
//! shares no code with the node, so that both cannot have the same misreading: here the mavlink crate's own types are
//! used.

pub mod wire;
pub mod scenario;
pub mod body;
pub mod plans;
pub mod fence;
pub mod relays;
pub mod autopilot;
pub mod telemetry;
pub mod vehicle;
pub mod camera;
pub mod random;
pub mod render;
pub mod link;
pub mod run;
