//! Promises of the relay that need no servers.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test that panics is a test that fails"
)]

mod fleet;
mod parts;
mod session;
