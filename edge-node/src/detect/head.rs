//! Output of a detection head into boxes, and per-class non-maximum suppression.
//!
//! YOLOX (Ge et al., 2021, <https://arxiv.org/abs/2107.08430>; `demo_postprocess` in the reference code):
//! centre = (value + cell) · stride, size = exp(value) · stride, score = objectness · class score. YOLOv5 and YOLOv8
//! (Ultralytics' ONNX exports) give centre and size in input pixels; YOLOv8 has no objectness, and its values lie class
//! by class.

use super::Detection;
use super::letterbox::Fit;
use super::manifest::{Entry, Head};

/// Boxes of one class that overlap by more than this are one object (as the reference detections).
pub const NMS_IOU: f32 = 0.45;
/// Most detections of one picture: beyond this a picture is noise, and later stages stay bounded.
pub const DETECTIONS_MAX: usize = 300;
/// Most candidates that are compared with each other; the best are.
const CANDIDATES_MAX: usize = 3000;

/// Reads a model's output. Boxes come in pixels of the original picture, best score first. What is not a number is no
/// detection.
pub fn decode(entry: &Entry, output: &[f32], fit: Fit, min_score: f32) -> Vec<Detection> {
    let found = match entry.head {
        Head::Yolox => yolox(entry, output, min_score),
        Head::Yolov5 => yolov5(entry, output, min_score),
        Head::Yolov8 => yolov8(entry, output, min_score),
        // It says what something is, not where.
        Head::Classes => Vec::new(),
    };
    placed(found, fit)
}

/// Reads the outputs of a head as YOLOX's before their sigmoids: of each grid planes of boxes, objectness and classes. What is
/// not likely enough by its objectness alone, most of it, costs one comparison.
pub fn decode_maps(entry: &Entry, maps: &[&[f32]], fit: Fit, min_score: f32) -> Vec<Detection> {
    // Of a value before its sigmoid: log odds.
    let least = (min_score.max(0.0) / (1.0 - min_score).max(f32::EPSILON)).ln();
    let sigmoid = |value: f32| 1.0 / (1.0 + (-value).exp());
    let mut found = Vec::new();
    for (level, &stride) in maps.chunks(3).zip(&entry.strides) {
        let [boxes, likely, scores] = level else { continue };
        let (columns, cells) = ((entry.input.width / stride) as usize, likely.len());
        if columns == 0 || boxes.len() != 4 * cells || scores.len() != entry.classes.len() * cells {
            continue;
        }
        let value = |plane: usize, cell: usize| boxes.get(plane * cells + cell).copied().unwrap_or(f32::NAN);
        for (cell, objectness) in likely.iter().enumerate().filter(|(_, value)| **value >= least) {
            let of_cell = scores.iter().skip(cell).step_by(cells);
            let Some((class, top)) = of_cell.copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1)) else { continue };
            let score = sigmoid(*objectness) * sigmoid(top);
            if score < min_score || !score.is_finite() {
                continue;
            }
            let (x, y, side) = ((cell % columns) as f32, (cell / columns) as f32, stride as f32);
            let centre = [(value(0, cell) + x) * side, (value(1, cell) + y) * side];
            let size = [value(2, cell).exp() * side, value(3, cell).exp() * side];
            found.push(boxed(class, score, [centre[0], centre[1], size[0], size[1]]));
        }
    }
    placed(found, fit)
}

/// Boxes in pixels of the picture, best score first, one for each thing.
fn placed(found: Vec<Detection>, fit: Fit) -> Vec<Detection> {
    let across = |v: f32| (v - fit.left) / fit.ratio;
    let down = |v: f32| (v - fit.top) / fit.ratio;
    let placed = found.into_iter().map(|Detection { class, score, box_xyxy_px: [left, top, right, bottom] }| {
        Detection { class, score, box_xyxy_px: [across(left), down(top), across(right), down(bottom)] }
    });
    let mut found: Vec<Detection> = placed.filter(|d| d.box_xyxy_px.iter().all(|v| v.is_finite())).collect();
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found.truncate(CANDIDATES_MAX);
    suppress(found)
}

/// The cells of all grids in order: column, row, stride.
fn cells(entry: &Entry) -> impl Iterator<Item = (f32, f32, f32)> {
    entry.strides.iter().flat_map(|&stride| {
        let (columns, rows) = (entry.input.width / stride, entry.input.height / stride);
        (0..rows).flat_map(move |y| (0..columns).map(move |x| (x as f32, y as f32, stride as f32)))
    })
}

fn yolox(entry: &Entry, output: &[f32], least: f32) -> Vec<Detection> {
    let rows = output.chunks_exact(5 + entry.classes.len()).zip(cells(entry));
    let read = |(row, (cell_x, cell_y, stride)): (&[f32], (f32, f32, f32))| {
        let (&[x, y, w, h, objectness], scores) = row.split_first_chunk::<5>()?;
        let (class, score) = best(objectness, scores, least)?;
        Some(boxed(class, score, [(x + cell_x) * stride, (y + cell_y) * stride, w.exp() * stride, h.exp() * stride]))
    };
    rows.filter_map(read).collect()
}

fn yolov5(entry: &Entry, output: &[f32], least: f32) -> Vec<Detection> {
    let read = |row: &[f32]| {
        let (&[x, y, w, h, objectness], scores) = row.split_first_chunk::<5>()?;
        let (class, score) = best(objectness, scores, least)?;
        Some(boxed(class, score, [x, y, w, h]))
    };
    output.chunks_exact(5 + entry.classes.len()).filter_map(read).collect()
}

fn yolov8(entry: &Entry, output: &[f32], least: f32) -> Vec<Detection> {
    let cells = entry.output.columns;
    let mut lines = output.chunks_exact(cells.max(1));
    let [Some(xs), Some(ys), Some(ws), Some(hs)] = std::array::from_fn(|_| lines.next()) else { return Vec::new() };
    // Class by class, so that memory is read in order.
    let mut tops = vec![(0, 0.0); cells];
    for (class, scores) in lines.enumerate() {
        for (top, score) in tops.iter_mut().zip(scores) {
            if *score > top.1 {
                *top = (class, *score);
            }
        }
    }
    let sizes = xs.iter().zip(ys).zip(ws.iter().zip(hs));
    let likely = tops.into_iter().zip(sizes).filter(|((_, score), _)| *score >= least && score.is_finite());
    likely.map(|((class, score), ((x, y), (w, h)))| boxed(class, score, [*x, *y, *w, *h])).collect()
}

/// The best class of a candidate and its score, if that is enough.
fn best(objectness: f32, scores: &[f32], least: f32) -> Option<(usize, f32)> {
    // A class score is at most 1: most candidates end here.
    if objectness < least || !objectness.is_finite() {
        return None;
    }
    let (class, top) = scores.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let score = objectness * top;
    (score >= least && score.is_finite()).then_some((class, score))
}

/// A detection from centre and size.
fn boxed(class: usize, score: f32, [x, y, w, h]: [f32; 4]) -> Detection {
    Detection { class, score, box_xyxy_px: [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0] }
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
