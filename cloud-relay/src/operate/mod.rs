//! What an operator does by hand.

pub mod verify;
pub mod nodes;
pub mod messages;
pub mod republish;
