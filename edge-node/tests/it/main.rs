//! Promises of the edge node.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "a test that panics is a test that fails"
)]

mod audit;
mod catalogue;
mod change;
mod command_line;
mod console;
mod corpus;
mod damage;
mod detection;
mod downlink;
#[cfg(target_arch = "x86_64")]
mod family;
mod finder;
mod floor;
mod footage;
mod graph;
mod interlock;
mod interlock_command;
mod interlock_estop;
mod interlock_ground;
mod interlock_lease;
mod interlock_mission;
mod interlock_model;
mod interlock_near;
mod interlock_off;
mod interlock_output;
mod interlock_properties;
mod interlock_retreat;
mod interlock_rules;
mod interlock_weather;
mod journal;
mod keeper;
mod lean;
mod links;
mod local;
mod mavlink;
mod mjpeg;
mod models;
mod models_command;
#[cfg(feature = "ort")]
mod onnxruntime;
mod plans;
mod retention;
mod rig;
mod rtsp;
mod seeing;
mod sensing;
mod signing;
mod stations;
mod steady;
mod stream;
mod upkeep;
mod uplink;
mod view;
