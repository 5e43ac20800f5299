//! Promises of the whole, on the real binaries with real Postgres and Kafka.

mod crash;
mod interlock;
mod relay;
mod shape;
mod summary;
