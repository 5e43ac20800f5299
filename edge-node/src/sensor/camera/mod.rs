//! Cameras: one capture thread each, newest frame to the mailbox.

pub mod video;
