//! Promises of the whole, on the real binaries with real Postgres and Kafka.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "a test that panics is a test that fails"
)]

mod aircraft;
mod camera;
mod clock;
mod command;
mod crash;
mod crowd;
mod damage;
mod disk;
mod downlink;
mod drawn;
mod driver;
mod evaluate;
mod fleet;
mod footage;
mod ground;
mod history;
mod interlock;
mod late;
mod lease;
mod link;
mod media;
mod models;
mod output;
mod questions;
mod radio;
mod relay;
mod replay;
mod retreat;
mod shape;
mod station;
mod summary;
mod train;
mod trouble;
mod yard;
