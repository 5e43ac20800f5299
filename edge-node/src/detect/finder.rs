//! What is found in a camera's picture: the gate in front, the model, then masks and thresholds. Owns the model.

use std::collections::HashMap;

use serde::Deserialize;

use super::Detection;
use super::gate::{Gate, Part, Worth, merge};
use super::manifest::ModelError;
use super::model::Model;
use super::zone::LIKELY;
use crate::health::{Metrics, Of};
use crate::sensor::camera::CameraConfig;
use crate::sensor::camera::gate::GateConfig;
use crate::sensor::frame::{Frame, Picture};
use crate::sensor::outline::Outline;

/// A box that ends this near to a part's edge, in pixels of the model's input, is cut by it.
const EDGE_PX: f32 = 2.0;

/// What of a class counts.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassConfig {
    /// Least score.
    pub min_score: f32,
    /// Least height of its box, as a share of the picture's.
    pub min_height: f32,
}

impl Default for ClassConfig {
    fn default() -> Self {
        Self { min_score: LIKELY, min_height: 0.0 }
    }
}

/// What one camera's pictures have shown so far.
#[derive(Debug, Default)]
pub struct Seen {
    gate: Gate,
    known: Vec<Detection>,
    again: bool,
    /// Whether the last look was one at a whole picture, and nothing else.
    pub whole: bool,
}

impl Seen {
    /// What was known is another model's: the next look is at everything.
    pub fn forget(&mut self) {
        self.known.clear();
        self.again = true;
    }
}

/// The model and what is believed of it.
pub struct Finder {
    /// What looks at pictures.
    pub model: Model,
    /// Least score of a detection.
    pub min_score: f32,
    /// By label, what counts.
    pub classes: HashMap<String, ClassConfig>,
    /// Counters.
    pub metrics: Metrics,
}

impl Finder {
    /// Finds what is in a frame, in pixels of its picture; `None`: it is as it was, and nobody has looked. `evidence`: whether
    /// the picture can be believed; what one that cannot shows is not taken for what the next ones show.
    ///
    /// # Errors
    /// When the model fails on this picture; the next one is looked at.
    pub fn find(
        &mut self,
        seen: &mut Seen,
        config: &CameraConfig,
        frame: &Frame,
        evidence: bool,
        of: &Of,
    ) -> Result<Option<Vec<Detection>>, ModelError> {
        let picture = &frame.picture;
        let gate = |gate: &GateConfig| seen.gate.step(gate, picture, seen.again, frame.captured);
        let worth = config.motion.as_ref().map_or(Worth::Whole, gate);
        if worth == Worth::Nothing {
            self.metrics.frames_still.get_or_create(of).inc();
            return Ok(None);
        }
        // Until a look has succeeded, on a picture that can be believed.
        seen.again = true;
        let (known, again) = match worth {
            Worth::Part(part) => self.look_at_part(&seen.known, part, picture, &config.masks, of)?,
            _ => (self.look(picture, &config.masks)?, false),
        };
        seen.whole = !matches!(worth, Worth::Part(_));
        (seen.known, seen.again) = (known, again || !evidence);
        self.metrics.detections.get_or_create(of).inc_by(seen.known.len() as u64);
        Ok(Some(seen.known.clone()))
    }

    /// Looks at a part, or at the whole where something is cut by the part's edge: only all of it shows where it stands.
    fn look_at_part(
        &mut self,
        known: &[Detection],
        part: Part,
        picture: &Picture,
        masks: &[Outline],
        of: &Of,
    ) -> Result<(Vec<Detection>, bool), ModelError> {
        if let Some(cut) = picture.part(part) {
            let found = self.model.detect(&cut, self.min_score)?;
            let size = (picture.width, picture.height);
            let placed = placed(found, (part.0, part.1));
            let input = &self.model.entry().input;
            let scale = (part.2 as f32 / input.width as f32).max(part.3 as f32 / input.height as f32);
            let near = EDGE_PX * scale.max(1.0);
            if !placed.iter().any(|d| cut_by(&d.box_xyxy_px, part, size, near)) {
                self.metrics.frames_part.get_or_create(of).inc();
                return Ok(merge(known, part, self.counting(placed, size, masks)));
            }
        }
        Ok((self.look(picture, masks)?, false))
    }

    /// Looks at a whole picture.
    fn look(&mut self, picture: &Picture, masks: &[Outline]) -> Result<Vec<Detection>, ModelError> {
        let found = self.model.detect(picture, self.min_score)?;
        Ok(self.counting(found, (picture.width, picture.height), masks))
    }

    /// What of it counts, by class and masks.
    fn counting(&self, found: Vec<Detection>, size: (u32, u32), masks: &[Outline]) -> Vec<Detection> {
        counting(&self.model, &self.classes, masks, size, found)
    }
}

/// What of a model's detections counts, by class and masks.
pub fn counting(
    model: &Model,
    classes: &HashMap<String, ClassConfig>,
    masks: &[Outline],
    size: (u32, u32),
    mut found: Vec<Detection>,
) -> Vec<Detection> {
    found.retain(|d| {
        let [_, top, _, bottom] = d.box_xyxy_px;
        let large = |class: &ClassConfig| (bottom - top) / size.1.max(1) as f32 >= class.min_height;
        let class = classes.get(model.label(d.class));
        let likely = class.is_none_or(|class| d.score >= class.min_score && large(class));
        likely && !masks.iter().any(|mask| mask.holds(&d.box_xyxy_px, size))
    });
    found
}

/// What was found in a part, in pixels of the whole.
fn placed(mut found: Vec<Detection>, (left, top): (u32, u32)) -> Vec<Detection> {
    let (x, y) = (left as f32, top as f32);
    for Detection { box_xyxy_px: [l, t, r, b], .. } in &mut found {
        (*l, *t, *r, *b) = (*l + x, *t + y, *r + x, *b + y);
    }
    found
}

/// Whether a box ends at an edge of a part that is none of the picture.
fn cut_by([l, t, r, b]: &[f32; 4], (left, top, width, height): Part, size: (u32, u32), near: f32) -> bool {
    let (right, bottom) = (left + width, top + height);
    let at = |inner: bool, beyond: f32| inner && beyond > -near;
    at(left > 0, left as f32 - l)
        || at(top > 0, top as f32 - t)
        || at(right < size.0, r - right as f32)
        || at(bottom < size.1, b - bottom as f32)
}
