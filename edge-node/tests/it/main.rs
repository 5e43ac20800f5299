//! Promises of the edge node.

mod command_line;
mod detection;
mod interlock;
mod journal;
mod mavlink;
mod sensing;
mod uplink;
