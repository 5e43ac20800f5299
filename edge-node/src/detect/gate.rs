//! Whether and where a picture is worth the detector's time: a background of coarse cells, and what differs from it.
//! Pure.
//!
//! A cell counts as moving when it differs in two frames running, by more than this camera's own noise: one frame alone is
//! a key frame's pulse, an insect, a flash. Whatever moves or not, a whole picture is looked at every so often, so that
//! nobody who stands still, or comes too slowly, is lost.

use shared::units::Uptime;

use super::Detection;
use super::head::iou;
use crate::sensor::camera::gate::GateConfig;
use crate::sensor::frame::Picture;

/// Side of a cell in pixels, of a picture this wide; others in proportion.
const CELL: usize = 16;
const WIDE: usize = 1280;
/// Every so many pixels of a cell, across and down, is a sample.
const STEP: usize = 4;
/// A cell differs when it does so by this many of its usual differences.
const USUAL: f32 = 4.0;
/// How much of a new frame goes into the background, where nothing moves.
const FOLLOWS: f32 = 0.05;
/// What has differed for so many frames without a break is the background.
const SETTLES: u32 = 50;
/// Darker cells say nothing about the light, of 255.
const DIM: f32 = 20.0;
/// Frames after which the background is known.
const KNOWN: u32 = 20;
/// Cells around what moves that are looked at, too: a person is larger than what of it moves.
const MARGIN: usize = 3;
/// More than this part of the picture: all of it is looked at.
const WHOLE: f32 = 0.5;
/// A part is at least this share of the picture's width and height: the detector has seen people among other things.
const PART_LEAST: f32 = 0.4;

/// A part of a picture, in pixels: left, top, width, height.
pub type Part = (u32, u32, u32, u32);

/// What of a picture is worth looking at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// All of it.
    Whole,
    /// A part.
    Part(Part),
    /// Nothing: it is as it was.
    Nothing,
}

#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    usual: f32,
    /// Mean difference from the usual, the camera's noise.
    noise: f32,
    last: f32,
    /// Mean difference from the frame before, whatever it shows.
    wobble: f32,
    /// Frames for which it has differed, without a break.
    differing: u32,
}

impl Cell {
    /// Takes its brightness in the next frame. Where something differs nothing is learnt, so that no ghost of it is left
    /// behind; what differs without a break for long enough is the background, as noisy as it has been.
    fn take(&mut self, now: f32, gain: f32, least: f32, known: bool) {
        let (difference, most) = ((now - self.usual * gain).abs(), least + USUAL * self.noise);
        self.wobble += ((now - self.last).abs() - self.wobble) * FOLLOWS;
        self.last = now;
        self.differing = if known && difference > most { self.differing + 1 } else { 0 };
        if self.differing >= SETTLES {
            (self.usual, self.noise, self.differing) = (now, self.noise.max(self.wobble), 0);
        } else if self.differing == 0 {
            self.usual += (now - self.usual) * FOLLOWS;
            self.noise += (difference.min(most) - self.noise) * FOLLOWS;
        }
    }

    /// Whether it differs in this frame and did in the one before.
    const fn moves(&self) -> bool {
        self.differing >= 2
    }
}

/// How much brighter than usual the middle one of all cells is.
fn gain(cells: &[Cell], sums: &[f32]) -> f32 {
    let lit = cells.iter().zip(sums).filter(|(cell, _)| cell.usual > DIM);
    let mut ratios: Vec<f32> = lit.map(|(cell, now)| now / cell.usual).collect();
    let middle = ratios.len() / 2;
    if ratios.is_empty() { 1.0 } else { *ratios.select_nth_unstable_by(middle, f32::total_cmp).1 }
}

/// One camera's gate.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    size: (u32, u32),
    columns: usize,
    cells: Vec<Cell>,
    frames: u32,
    looked: Option<Uptime>,
}

impl Gate {
    /// Takes a picture. What it asks for is expected to be done; `again`: a whole look is wanted whatever moves.
    pub fn step(&mut self, config: &GateConfig, picture: &Picture, again: bool, now: Uptime) -> Worth {
        if self.size != (picture.width, picture.height) {
            *self = Self { size: (picture.width, picture.height), ..Self::default() };
        }
        self.compare(config, picture);
        self.frames = self.frames.saturating_add(1);
        let due = self.looked.is_none_or(|looked| now.since(looked) >= config.full_every);
        let worth = if due || again || self.frames <= KNOWN { Worth::Whole } else { self.worth(picture) };
        if worth == Worth::Whole {
            self.looked = Some(now);
        }
        worth
    }

    fn compare(&mut self, config: &GateConfig, picture: &Picture) {
        let (width, height) = (picture.width as usize, picture.height as usize);
        let side = (CELL * width / WIDE).max(STEP);
        self.columns = width.div_ceil(side);
        let known = self.frames >= KNOWN;
        let sums = sums(picture, side, self.columns);
        self.cells.resize(self.columns * height.div_ceil(side), Cell::default());
        // The light of the whole scene, and the camera's exposure for it, are nobody who moves.
        let gain = gain(&self.cells, &sums);
        for (cell, now) in self.cells.iter_mut().zip(sums) {
            if self.frames == 0 {
                *cell = Cell { usual: now, last: now, ..Cell::default() };
                continue;
            }
            cell.take(now, gain, config.least, known);
        }
    }

    fn worth(&self, picture: &Picture) -> Worth {
        let (mut low, mut high) = ((usize::MAX, usize::MAX), (0, 0));
        for (at, _) in self.cells.iter().enumerate().filter(|(_, cell)| cell.moves()) {
            let (row, column) = (at / self.columns.max(1), at % self.columns.max(1));
            low = (low.0.min(column), low.1.min(row));
            high = (high.0.max(column + 1), high.1.max(row + 1));
        }
        if high == (0, 0) {
            return Worth::Nothing;
        }
        let side = (CELL * picture.width as usize / WIDE).max(STEP);
        let across = span((low.0, high.0), side, picture.width);
        let down = span((low.1, high.1), side, picture.height);
        let share = (across.1 * down.1) as f32 / (picture.width * picture.height).max(1) as f32;
        if share > WHOLE { Worth::Whole } else { Worth::Part((across.0, down.0, across.1, down.1)) }
    }
}

/// What is known after a part was looked at, in which nothing found is cut by its edge: what lies outside of it is as it was.
/// Where fewer of a kind are found than were in it, the old ones stay, and the whole is to be looked at: only that shows that
/// somebody has gone.
pub fn merge(known: &[Detection], part: Part, found: Vec<Detection>) -> (Vec<Detection>, bool) {
    let (left, top) = (part.0 as f32, part.1 as f32);
    let (right, bottom) = (left + part.2 as f32, top + part.3 as f32);
    let inside = |d: &&Detection| {
        let [l, t, r, b] = d.box_xyxy_px;
        l >= left && t >= top && r <= right && b <= bottom
    };
    let (within, beyond): (Vec<&Detection>, Vec<&Detection>) = known.iter().partition(inside);
    let seen =
        |one: &Detection| found.iter().any(|d| d.class == one.class && iou(&d.box_xyxy_px, &one.box_xyxy_px) > SAME);
    let count = |of: &[&Detection], class: usize| of.iter().filter(|d| d.class == class).count();
    let fewer = |class: usize| found.iter().filter(|d| d.class == class).count() < count(&within, class);
    let gone: Vec<Detection> = within.iter().filter(|d| fewer(d.class) && !seen(d)).map(|d| **d).collect();
    let again = within.iter().any(|d| !seen(d) || fewer(d.class));
    let beyond: Vec<Detection> = beyond.into_iter().copied().filter(|d| !seen(d)).collect();
    let all = found.into_iter().chain(beyond).chain(gone).collect();
    (all, again)
}

/// Boxes of one class that overlap by more than this are one thing.
const SAME: f32 = 0.2;

/// Cells from and to, as pixels with their margin: where it begins and how long it is, even numbers inside the picture.
fn span((from, to): (usize, usize), side: usize, length: u32) -> (u32, u32) {
    let pixels = |cells: usize| u32::try_from(cells * side).unwrap_or(length).min(length);
    let (from, to) = (pixels(from.saturating_sub(MARGIN)), pixels(to + MARGIN));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a side")]
    let least = (length as f32 * PART_LEAST) as u32;
    let wanted = (to - from).max(least).min(length);
    let from = from.saturating_sub((wanted - (to - from)) / 2).min(length - wanted) & !1;
    (from, wanted & !1)
}

/// Mean brightness of each cell, row by row.
fn sums(picture: &Picture, side: usize, columns: usize) -> Vec<f32> {
    let (width, height) = (picture.width as usize, picture.height as usize);
    let mut sums = Vec::with_capacity(columns * height.div_ceil(side));
    let luma = picture.planes().map(|[luma, ..]| luma);
    for top in (0..height).step_by(side) {
        let mut row = vec![(0.0f32, 0.0f32); columns];
        for y in (top..(top + side).min(height)).step_by(STEP) {
            let line = luma.and_then(|luma| luma.get(y * width..(y + 1) * width));
            for (cell, left) in row.iter_mut().zip((0..width).step_by(side)) {
                let xs = (left..(left + side).min(width)).step_by(STEP);
                match line {
                    Some(line) => {
                        let samples = line.get(left..(left + side).min(width)).unwrap_or_default().iter().step_by(STEP);
                        let sum: u32 = samples.clone().map(|luma| u32::from(*luma)).sum();
                        *cell = (cell.0 + sum as f32, cell.1 + samples.len() as f32);
                    }
                    None => xs.for_each(|x| *cell = (cell.0 + picture.luma(x, y), cell.1 + 1.0)),
                }
            }
        }
        sums.extend(row.into_iter().map(|(sum, count)| sum / count.max(1.0)));
    }
    sums
}
