//! Promises of the shared words: bytes that never change, limits, errors with their place.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "a test that panics is a test that fails"
)]

mod corpus;
mod golden;
mod identity;
mod rim;
mod samples;
mod wire;
