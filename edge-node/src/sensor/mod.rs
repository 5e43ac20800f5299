//! World -> Frame | Reading. Owns the sources; never decides what a picture or reading means.

pub mod frame;
pub mod picture;
pub mod outline;
pub mod camera;
pub mod http;
