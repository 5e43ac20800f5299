//! The cloud relay: batches of nodes into Postgres and Kafka, read tables, and the read API. Modules stand in the
//! order data flows; a module imports only from those above it. Start reading at `relay`, which wires them.

pub mod clock;
pub mod problem;
pub mod config;
pub mod database;
pub mod metrics;
pub mod fleet;
pub mod downlink;
pub mod media;
pub mod ingest;
pub mod publish;
pub mod consume;
pub mod projections;
pub mod query;
pub mod retention;
pub mod operate;
pub mod relay;
pub mod cli;
