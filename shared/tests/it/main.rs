//! Promises of the shared words: bytes that never change, limits, errors with their place.

mod golden;
mod rim;
mod wire;
