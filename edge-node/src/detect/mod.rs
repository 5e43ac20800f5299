//! Frame -> Detection -> Track -> zone presence. Owns the model and the tracks; decides nothing about vehicles.
//!
//! Read `model` first (one picture), then `track` and `zone` (pure steps), then `worker` (the thread that runs them).

use std::time::Duration;

use crate::sensor::frame::Frame;

pub mod manifest;
pub mod letterbox;
pub mod head;
pub mod ops;
pub mod graph;
pub mod network;
#[cfg(feature = "ort")]
pub mod onnxruntime;
pub mod family;
pub mod runtime;
pub mod model;
pub mod current;
pub mod zone;
pub mod track;
pub mod gate;
pub mod chain;
pub mod journey;
pub mod finder;
pub mod diary;
pub mod ondemand;
pub mod worker;
pub mod ways;
pub mod camera_health;

/// What the model in use has found in a frame.
#[derive(Debug, Clone)]
pub struct Looked {
    /// Number of the model.
    pub number: u64,
    /// The frame.
    pub frame: Frame,
    /// What was found.
    pub found: Vec<Detection>,
    /// Time of a core that it took.
    pub took: Duration,
    /// Whether it was looked at once and whole, not a part of it or both.
    pub whole: bool,
    /// Whether something that is followed was not found.
    pub missed: bool,
    /// Whether something is found again that was not found in the frame before.
    pub back: bool,
}

/// One object in one picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Class number of the model.
    pub class: usize,
    /// Objectness times class score, 0–1.
    pub score: f32,
    /// Left, top, right, bottom in pixels of the picture; may reach over its edge.
    pub box_xyxy_px: [f32; 4],
}
