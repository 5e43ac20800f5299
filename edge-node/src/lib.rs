//! The edge node: everything one site's box does. Modules stand in the order data flows through them; a module
//! imports only from those above it. Start reading at `node`, which wires them.

pub mod clock;
pub mod journal;
pub mod sensor;
pub mod detect;
pub mod cli;
