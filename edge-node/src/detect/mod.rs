//! Frame -> Detection -> Track -> zone presence. Owns the model and the tracks; decides nothing about vehicles.
//!
//! Read `model` first (one picture), then `track` and `zone` (pure steps), then `worker` (the thread that runs them).

pub mod manifest;
pub mod letterbox;
pub mod head;
pub mod model;
pub mod zone;
pub mod track;
pub mod gate;
pub mod journey;
pub mod finder;
pub mod diary;
pub mod ondemand;
pub mod worker;

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
