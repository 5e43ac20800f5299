//! The edge node: everything one site's box does. Modules stand in the order data flows through them; a module
//! imports only from those above it. Start reading at `node`, which wires them.

pub mod clock;
pub mod durable;
pub mod realtime;
pub mod tls;
pub mod health;
pub mod journal;
pub mod media;
pub mod ground;
pub mod sensor;
pub mod vehicle;
pub mod footage;
pub mod detect;
pub mod models;
pub mod alert;
pub mod interlock;
pub mod uplink;
pub mod console;
pub mod config;
pub mod policy;
pub mod bridge;
pub mod stages;
pub mod watch;
pub mod seeing;
pub mod node;
pub mod cli;
