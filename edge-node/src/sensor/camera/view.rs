//! Whether what a camera shows can be believed: a frozen picture, or one that is dark, glaring, covered, blurred or of another
//! view, shows nobody and proves nothing. Pure: a look at each frame, and a step over the looks.
//!
//! A look is a sketch of the picture in small cells, made of a few samples each, so that it costs a fraction of a millisecond.
//! What is doubtful is no evidence from its first frame on; the camera counts as blind, and that is told, once it has been so
//! for a while.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::units::Uptime;

use crate::sensor::frame::Picture;

/// Cells of a sketch: 16 to 9 as most cameras.
const COLUMNS: usize = 32;
const ROWS: usize = 18;
const CELLS: usize = COLUMNS * ROWS;
/// Samples of a cell, across and down.
const SAMPLES: usize = 4;
/// Doubtful for this time: blind.
const BLIND_AFTER: Duration = Duration::from_secs(2);
/// Good for this time: good again.
const GOOD_AFTER: Duration = Duration::from_secs(1);
/// Another view for this time: moved, which somebody must accept. People and vehicles who fill the picture pass by.
const MOVED_AFTER: Duration = Duration::from_secs(10);
/// How fast the usual view follows what is seen: the light of a day, not of a minute.
const FOLLOWS: Duration = Duration::from_secs(600);
/// Looks after which the usual view is known.
const KNOWN: u32 = 50;
/// One look teaches no more than this time, whatever passed since the last.
const TEACHES: Duration = Duration::from_secs(1);
/// This part of the cells the same: the rest is a lamp, a clock, a name.
const SAME: f32 = 0.95;
const FLAT: f32 = 0.9;
/// What was doubtful must be so much better to be good again.
const BETTER: f32 = 0.1;
/// Cells this far to each side are tried: a mast in the wind is no other view.
const SHAKES: isize = 1;

/// What is wrong with a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The same picture again and again.
    Frozen,
    /// Black: night without light, or a cap.
    Dark,
    /// White.
    Glaring,
    /// One colour: something hangs before it.
    Covered,
    /// Out of focus, or dirty.
    Blurred,
    /// It looks elsewhere.
    Moved,
}

impl Fault {
    /// For events and people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Frozen => "frozen",
            Self::Dark => "dark",
            Self::Glaring => "glaring",
            Self::Covered => "covered",
            Self::Blurred => "blurred",
            Self::Moved => "moved",
        }
    }
}

/// Thresholds of one camera.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ViewConfig {
    /// The same picture for this time is a frozen one; zero: never, as for a folder of pictures.
    #[serde(with = "shared::config::duration")]
    pub frozen_after: Duration,
    /// Dark: half of the cells below this brightness, of 255.
    pub dark: f32,
    /// Glaring: half of the cells above this brightness.
    pub glaring: f32,
    /// Covered: nine of ten cells nearer to the middle one than this brightness.
    pub flat: f32,
    /// Blurred: less than this part of the usual sharpness.
    pub blurred: f32,
    /// Moved: less than this likeness to the usual view, from -1 to 1.
    pub moved: f32,
}

impl Default for ViewConfig {
    fn default() -> Self {
        Self {
            frozen_after: Duration::from_secs(2),
            dark: 10.0,
            glaring: 245.0,
            flat: 4.0,
            blurred: 0.35,
            // Of 64 unrelated pictures of COCO 99 of 100 pairs are less alike than 0.21; a room is like itself by 0.69, whoever
            // walks through it.
            moved: 0.35,
        }
    }
}

/// What one picture looks like.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// Mean brightness of each cell, 0 to 255, row by row.
    cells: [f32; CELLS],
    /// Mean difference of a pixel to its neighbours.
    sharpness: f32,
}

/// Looks at a picture; `None`: it has fewer pixels than a sketch.
pub fn look(picture: &Picture) -> Option<Look> {
    let (width, height) = (usize::try_from(picture.width).ok()?, usize::try_from(picture.height).ok()?);
    let (across, down) = (COLUMNS * SAMPLES, ROWS * SAMPLES);
    if width < across + 2 || height < down + 2 {
        return None;
    }
    let luma = |x: usize, y: usize| picture.luma(x, y);
    let (mut cells, mut sharpness) = ([0.0; CELLS], 0.0);
    for (row, y) in (0..down).map(|n| (n / SAMPLES, 1 + n * (height - 2) / down)) {
        for (column, x) in (0..across).map(|n| (n / SAMPLES, 1 + n * (width - 2) / across)) {
            let own = luma(x, y);
            let around = luma(x - 1, y) + luma(x + 1, y) + luma(x, y - 1) + luma(x, y + 1);
            sharpness += (4.0 * own - around).abs();
            if let Some(cell) = cells.get_mut(row * COLUMNS + column) {
                *cell += own;
            }
        }
    }
    let samples = (SAMPLES * SAMPLES) as f32;
    cells.iter_mut().for_each(|cell| *cell /= samples);
    Some(Look { cells, sharpness: sharpness / (samples * CELLS as f32) })
}

impl Look {
    /// How alike two views are, from -1 to 1: the correlation of their edges, at the best of a few small shifts.
    pub fn likeness(&self, other: &Self) -> f32 {
        likeness(&self.cells, &other.cells)
    }

    /// Brightness of the middle cell.
    fn median(&self) -> f32 {
        let mut cells = self.cells;
        cells.sort_unstable_by(f32::total_cmp);
        cells.get(CELLS / 2).copied().unwrap_or_default()
    }

    /// Part of the cells for which something holds.
    fn share(&self, holds: impl Fn(usize, f32) -> bool) -> f32 {
        self.cells.iter().enumerate().filter(|(n, cell)| holds(*n, **cell)).count() as f32 / CELLS as f32
    }
}

/// Edges between neighbouring cells, to the right and down: what light changes least.
fn edges(cells: &[f32; CELLS]) -> Vec<(f32, f32)> {
    let at = |index: usize| cells.get(index).copied();
    let edge = |index: usize| {
        let own = at(index).unwrap_or_default();
        let right = at(index + 1).filter(|_| index % COLUMNS + 1 < COLUMNS);
        (right.unwrap_or(own) - own, at(index + COLUMNS).unwrap_or(own) - own)
    };
    (0..CELLS).map(edge).collect()
}

/// How alike two views are, from -1 to 1: the correlation of their edges, at the best of a few small shifts.
fn likeness(usual: &[f32; CELLS], now: &[f32; CELLS]) -> f32 {
    let (usual, now) = (edges(usual), edges(now));
    let shifts = (-SHAKES..=SHAKES).flat_map(|down| (-SHAKES..=SHAKES).map(move |right| (right, down)));
    let alike = |(right, down): (isize, isize)| {
        let (mut both, mut one, mut other) = (0.0, 0.0, 0.0);
        for row in 0..ROWS {
            for column in 0..COLUMNS {
                let there = row.checked_add_signed(down).zip(column.checked_add_signed(right));
                let there = there.filter(|(row, column)| *row < ROWS && *column < COLUMNS);
                let pair =
                    there.and_then(|(r, c)| Some((usual.get(row * COLUMNS + column)?, now.get(r * COLUMNS + c)?)));
                let Some(((ax, ay), (bx, by))) = pair else { continue };
                both += ax * bx + ay * by;
                one += ax * ax + ay * ay;
                other += bx * bx + by * by;
            }
        }
        both / (one * other).sqrt().max(f32::MIN_POSITIVE)
    };
    shifts.map(alike).fold(-1.0, f32::max)
}

/// The usual view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Usual {
    cells: [f32; CELLS],
    sharpness: f32,
    looks: u32,
    at: Uptime,
}

/// A known view as it is written down. That a year has passed since, or a night, is told by what the camera shows.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    cells: Vec<f32>,
    sharpness: f32,
}

impl From<Usual> for Written {
    fn from(usual: Usual) -> Self {
        Self { cells: usual.cells.into(), sharpness: usual.sharpness }
    }
}

impl TryFrom<Written> for Usual {
    type Error = String;
    fn try_from(Written { cells, sharpness }: Written) -> Result<Self, String> {
        let bright = |cell: &f32| (0.0..=255.0).contains(cell);
        let cells = <[f32; CELLS]>::try_from(cells).ok().filter(|cells| cells.iter().all(bright));
        match cells.filter(|_| sharpness.is_finite() && sharpness >= 0.0) {
            Some(cells) => Ok(Self { cells, sharpness, looks: KNOWN, at: Uptime::default() }),
            None => Err(format!("expected {CELLS} cells of 0 to 255 and a sharpness from 0 on")),
        }
    }
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Whether it proves that nobody is where nobody was found.
    pub evidence: bool,
    /// What the camera has become: blind, or good again.
    pub turn: Option<Option<Fault>>,
}

/// One camera's view over time.
#[derive(Debug, Clone, Default)]
pub struct View {
    fault: Option<Fault>,
    /// What is wrong of late, and since when anything was, without enough good frames since.
    doubt: Option<(Fault, Uptime)>,
    good_since: Option<Uptime>,
    /// The picture that may be frozen, and since when it is shown.
    same: Option<(Look, Uptime)>,
    usual: Option<Usual>,
}

impl View {
    /// What was usual before the node was started; `None`: it has to be learned.
    pub fn remembering(usual: Option<Usual>) -> Self {
        Self { usual, ..Self::default() }
    }

    /// What is usual, once that is known.
    pub fn usual(&self) -> Option<&Usual> {
        self.usual.as_ref().filter(|usual| usual.looks >= KNOWN)
    }

    /// What is wrong with it, if it counts as blind.
    pub const fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Somebody says that what it shows now is what it should show.
    pub fn accept(&mut self) {
        (self.usual, self.doubt) = (None, None);
    }

    /// Its pictures came with time stamps that stand still: whatever they show is not now. What it has become, if that is new.
    pub fn freeze(&mut self, now: Uptime) -> Option<Option<Fault>> {
        self.doubt = Some((Fault::Frozen, self.doubt.map_or(now, |(_, since)| since)));
        self.good_since = None;
        let next = Some(Fault::Frozen);
        let turn = (next != self.fault).then_some(next);
        self.fault = next;
        turn
    }

    /// A frame was looked at.
    pub fn saw(&mut self, config: &ViewConfig, look: &Look, captured: Uptime) -> Seen {
        let found = self.find(config, look, captured);
        self.good_since = if found.is_none() { self.good_since.or(Some(captured)) } else { None };
        let good = self.good_since.is_some_and(|since| captured.since(since) >= GOOD_AFTER);
        // One clock for every kind: what is blurred now and covered then sees as little.
        self.doubt = match (found, self.doubt) {
            (Some(fault), doubt) => Some((fault, doubt.map_or(captured, |(_, since)| since))),
            (None, doubt) => doubt.filter(|_| !good),
        };
        let lasts = |(fault, since): &(Fault, Uptime)| {
            let wait = match fault {
                // It was frozen for its time already.
                Fault::Frozen => Duration::ZERO,
                Fault::Moved => MOVED_AFTER,
                _ => BLIND_AFTER,
            };
            captured.since(*since) >= wait
        };
        let next = match self.doubt.filter(lasts) {
            Some((fault, _)) => Some(fault),
            None if good => None,
            None => self.fault,
        };
        let turn = (next != self.fault).then_some(next);
        self.fault = next;
        if self.doubt.is_none() && self.fault.is_none() {
            self.follow(look, captured);
        }
        Seen { evidence: found.is_none() && self.fault.is_none(), turn }
    }

    fn find(&mut self, config: &ViewConfig, look: &Look, now: Uptime) -> Option<Fault> {
        let equal = |shown: &Look| look.share(|n, cell| shown.cells.get(n) == Some(&cell));
        let same = self.same.take().filter(|(shown, _)| equal(shown) >= SAME);
        let (_, since) = *self.same.insert(same.unwrap_or_else(|| (look.clone(), now)));
        if !config.frozen_after.is_zero() && now.since(since) >= config.frozen_after {
            return Some(Fault::Frozen);
        }
        let median = look.median();
        if median < config.dark {
            return Some(Fault::Dark);
        }
        if median > config.glaring {
            return Some(Fault::Glaring);
        }
        if look.share(|_, cell| (cell - median).abs() < config.flat) >= FLAT {
            return Some(Fault::Covered);
        }
        let usual = self.usual()?;
        let more = if self.doubt.is_some() || self.fault.is_some() { BETTER } else { 0.0 };
        if look.sharpness < (config.blurred + more) * usual.sharpness {
            return Some(Fault::Blurred);
        }
        (likeness(&usual.cells, &look.cells) < config.moved + more).then_some(Fault::Moved)
    }

    fn follow(&mut self, look: &Look, now: Uptime) {
        let usual = self.usual.get_or_insert(Usual { cells: look.cells, sharpness: look.sharpness, looks: 0, at: now });
        // Until it is known it is the plain mean, afterwards it follows slowly, however many frames come.
        let part = match usual.looks {
            looks if looks < KNOWN => 1.0 / (looks + 1) as f32,
            _ => now.since(usual.at).min(TEACHES).as_secs_f32() / FOLLOWS.as_secs_f32(),
        };
        usual.looks = usual.looks.saturating_add(1);
        usual.at = now;
        usual.cells.iter_mut().zip(look.cells).for_each(|(usual, now)| *usual += (now - *usual) * part);
        usual.sharpness += (look.sharpness - usual.sharpness) * part;
    }
}
