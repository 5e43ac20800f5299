//! The inner loops over pixels and planes: plain slices, no state, no dependency. A crate of its own so that the development
//! profile has them at full speed, as tests, demo and benchmarks use it.

mod area;
mod colour;
mod input;
mod planes;

pub use area::{FACTOR_MOST, means};
pub use colour::{colour, rgb};
pub use input::{Place, rgb_planes, yuv_planes};
pub use planes::{convolve, finite, largest};
