//! The rig runner: starts the real binaries, the real servers and the simulated site, waits on conditions, counts
//! from outside, and stops everything it started. Modules import only from those above them.

pub mod wait;
pub mod process;
pub mod http;
pub mod media;
pub mod postgres;
pub mod kafka;
pub mod python;
pub mod rtsp;
pub mod machine;
pub mod peer;
pub mod witness;
pub mod servers;
pub mod binaries;
pub mod drawn;
pub mod site;
pub mod dictionary;
pub mod demo;
pub mod skew;
pub mod crash;
pub mod evaluate;
pub mod bench;
pub mod suite;
