//! Output of a YOLOX head into boxes, and per-class non-maximum suppression.
//!
//! Decoding after YOLOX (Ge et al., 2021, <https://arxiv.org/abs/2107.08430>; `demo_postprocess` in the reference
//! code): centre = (value + cell) · stride, size = exp(value) · stride, score = objectness · class score.

use super::Detection;
use super::letterbox::Fit;

/// Boxes of one class that overlap by more than this are one object (as the reference detections).
pub const NMS_IOU: f32 = 0.45;
/// Most detections of one picture: beyond this a picture is noise, and later stages stay bounded.
pub const DETECTIONS_MAX: usize = 300;
const STRIDES: [u32; 3] = [8, 16, 32];

/// Reads `output` (rows of `5 + classes` values) of an input of `width` × `height` pixels.
/// Boxes come in pixels of the original picture, best score first.
pub fn decode(output: &[f32], classes: usize, input: (u32, u32), fit: Fit, min_score: f32) -> Vec<Detection> {
    let cells = STRIDES.iter().flat_map(|stride| {
        let (columns, rows) = (input.0 / stride, input.1 / stride);
        (0..rows).flat_map(move |y| (0..columns).map(move |x| (x as f32, y as f32, *stride as f32)))
    });
    let mut found: Vec<Detection> = output
        .chunks_exact(5 + classes)
        .zip(cells)
        .filter_map(|(row, (cell_x, cell_y, stride))| {
            let (&[x, y, w, h, objectness], scores) = row.split_first_chunk::<5>()?;
            // A class score is at most 1: most rows end here.
            if objectness < min_score || !objectness.is_finite() {
                return None;
            }
            let (class, best) = scores.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
            let score = objectness * best;
            let (cx, cy) = ((x + cell_x) * stride, (y + cell_y) * stride);
            let (half_w, half_h) = (w.exp() * stride / 2.0, h.exp() * stride / 2.0);
            let across = |v: f32| (v - fit.left) / fit.ratio;
            let down = |v: f32| (v - fit.top) / fit.ratio;
            let box_xyxy_px = [across(cx - half_w), down(cy - half_h), across(cx + half_w), down(cy + half_h)];
            let sane = box_xyxy_px.iter().all(|v| v.is_finite());
            (sane && score >= min_score).then_some(Detection { class, score, box_xyxy_px })
        })
        .collect();
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    suppress(found)
}

/// Keeps the best of each group of overlapping boxes of one class. `found` is sorted by score, best first.
fn suppress(found: Vec<Detection>) -> Vec<Detection> {
    let mut kept: Vec<Detection> = Vec::new();
    for candidate in found {
        let covered = |other: &Detection| {
            other.class == candidate.class && iou(&other.box_xyxy_px, &candidate.box_xyxy_px) > NMS_IOU
        };
        if kept.len() < DETECTIONS_MAX && !kept.iter().any(covered) {
            kept.push(candidate);
        }
    }
    kept
}

/// Intersection over union of two boxes (left, top, right, bottom), 0–1; 0 for empty boxes.
pub fn iou(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let area = |[left, top, right, bottom]: &[f32; 4]| (right - left).max(0.0) * (bottom - top).max(0.0);
    let ([al, at, ar, ab], [bl, bt, br, bb]) = (a, b);
    let common = area(&[al.max(*bl), at.max(*bt), ar.min(*br), ab.min(*bb)]);
    let union = area(a) + area(b) - common;
    if union > 0.0 { common / union } else { 0.0 }
}
