//! The words both sides speak: ids, units, events, records, the wire, and how a configuration file is read.
//!
//! Owns no state, does no I/O and knows no runtime: everything here is a pure function of its arguments, so the node,
//! the relay and the tests cannot disagree about a byte. Read `event` first, then `record`, then `wire`.

pub mod ids;
pub mod identity;
pub mod units;
pub mod safety;
pub mod seen;
pub mod event;
pub mod record;
pub mod cloudevent;
pub mod dictionary;
pub mod wire;
pub mod downlink;
pub mod media;
pub mod config;
