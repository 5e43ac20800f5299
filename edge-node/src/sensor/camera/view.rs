//! Whether what a camera shows can be believed: a frozen picture, or one that is dark, glaring, covered, blurred or of another
//! view, shows nobody and proves nothing. Pure: a look at each frame, and a step over the looks.
//!
//! A look is a sketch of the picture in small cells, made of a few samples each, so that it costs a fraction of a millisecond.
//! What is doubtful is no evidence from its first frame on; the camera counts as blind, and that is told, once it has been so
//! for a while.

use std::time::Duration;

use serde::Deserialize;
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
/// Another view for this time: moved. People and vehicles who fill the picture pass by.
const MOVED_AFTER: Duration = Duration::from_secs(10);
/// How fast the usual view follows what is seen: the light of a day, not of a minute.
const FOLLOWS: Duration = Duration::from_secs(600);
/// Looks after which the usual view is known.
const KNOWN: u32 = 50;
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
    /// Dark: a mean brightness below this, of 255.
    pub dark: f32,
    /// Glaring: a mean brightness above this.
    pub glaring: f32,
    /// Covered: cells that differ by less than this, as a standard deviation of brightness.
    pub flat: f32,
    /// Blurred: less than this part of the usual sharpness.
    pub blurred: f32,
    /// Moved: less than this likeness to the usual view, from -1 to 1.
    pub moved: f32,
}

impl Default for ViewConfig {
    fn default() -> Self {
        Self {
            frozen_after: Duration::from_secs(10),
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
    /// Of the samples: equal for the same picture.
    sum: u64,
}

/// Looks at a picture; `None`: it has fewer pixels than a sketch.
pub fn look(picture: &Picture) -> Option<Look> {
    let (width, height) = (usize::try_from(picture.width).ok()?, usize::try_from(picture.height).ok()?);
    let (across, down) = (COLUMNS * SAMPLES, ROWS * SAMPLES);
    if width < across + 2 || height < down + 2 {
        return None;
    }
    let luma = |x: usize, y: usize| {
        let at = (y * width + x) * 3;
        let [r, g, b] = picture.rgb.get(at..at + 3).and_then(|rgb| <[u8; 3]>::try_from(rgb).ok()).unwrap_or_default();
        // ITU-R BT.601, in 256ths.
        (u32::from(r) * 77 + u32::from(g) * 150 + u32::from(b) * 29) as f32 / 256.0
    };
    let (mut cells, mut sharpness) = ([0.0; CELLS], 0.0);
    // FNV-1a, as far as the same samples give the same sum.
    let mut sum = 0xcbf2_9ce4_8422_2325u64;
    for (row, y) in (0..down).map(|n| (n / SAMPLES, 1 + n * (height - 2) / down)) {
        for (column, x) in (0..across).map(|n| (n / SAMPLES, 1 + n * (width - 2) / across)) {
            let own = luma(x, y);
            let around = luma(x - 1, y) + luma(x + 1, y) + luma(x, y - 1) + luma(x, y + 1);
            sharpness += (4.0 * own - around).abs();
            sum = (sum ^ u64::from((own * 64.0 + around * 7.0).to_bits())).wrapping_mul(0x0000_0100_0000_01b3);
            if let Some(cell) = cells.get_mut(row * COLUMNS + column) {
                *cell += own;
            }
        }
    }
    let samples = (SAMPLES * SAMPLES) as f32;
    cells.iter_mut().for_each(|cell| *cell /= samples);
    Some(Look { cells, sharpness: sharpness / (samples * CELLS as f32), sum })
}

impl Look {
    /// How alike two views are, from -1 to 1: the correlation of their edges, at the best of a few small shifts.
    pub fn likeness(&self, other: &Self) -> f32 {
        likeness(&self.cells, &other.cells)
    }

    fn mean(&self) -> f32 {
        self.cells.iter().sum::<f32>() / CELLS as f32
    }

    /// Standard deviation of the cells.
    fn spread(&self) -> f32 {
        let mean = self.mean();
        (self.cells.iter().map(|cell| (cell - mean).powi(2)).sum::<f32>() / CELLS as f32).sqrt()
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
#[derive(Debug, Clone, PartialEq)]
struct Usual {
    cells: [f32; CELLS],
    sharpness: f32,
    looks: u32,
    at: Uptime,
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
    doubt: Option<(Fault, Uptime)>,
    good_since: Option<Uptime>,
    same: Option<(u64, Uptime)>,
    usual: Option<Usual>,
}

impl View {
    /// What is wrong with it, if it counts as blind.
    pub const fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Somebody says that what it shows now is what it should show.
    pub fn accept(&mut self) {
        self.usual = None;
    }

    /// A frame was looked at.
    pub fn saw(&mut self, config: &ViewConfig, look: &Look, captured: Uptime) -> Seen {
        let fault = self.find(config, look, captured);
        match fault {
            None => self.doubt = None,
            Some(fault) if self.doubt.is_none_or(|(doubt, _)| doubt != fault) => self.doubt = Some((fault, captured)),
            Some(_) => {}
        }
        self.good_since = if fault.is_none() { self.good_since.or(Some(captured)) } else { None };
        let lasts = |(fault, since): &(Fault, Uptime)| {
            let wait = match fault {
                // It was frozen for its time already.
                Fault::Frozen => Duration::ZERO,
                Fault::Moved => MOVED_AFTER,
                _ => BLIND_AFTER,
            };
            captured.since(*since) >= wait
        };
        let good = self.good_since.is_some_and(|since| captured.since(since) >= GOOD_AFTER);
        let next = match self.doubt.filter(lasts) {
            Some((fault, _)) => Some(fault),
            None if good => None,
            None => self.fault,
        };
        let turn = (next != self.fault).then_some(next);
        self.fault = next;
        if fault.is_none() && self.fault.is_none() {
            self.follow(look, captured);
        }
        // Somebody close by may look like another view for a moment: that is for the detector to say.
        let doubtful = fault.is_some_and(|fault| fault != Fault::Moved);
        Seen { evidence: !doubtful && self.fault.is_none(), turn }
    }

    fn find(&mut self, config: &ViewConfig, look: &Look, now: Uptime) -> Option<Fault> {
        let (_, since) = *self.same.insert(self.same.filter(|(sum, _)| *sum == look.sum).unwrap_or((look.sum, now)));
        if !config.frozen_after.is_zero() && now.since(since) >= config.frozen_after {
            return Some(Fault::Frozen);
        }
        let (mean, flat) = (look.mean(), look.spread() < config.flat);
        if mean < config.dark && flat {
            return Some(Fault::Dark);
        }
        if mean > config.glaring && flat {
            return Some(Fault::Glaring);
        }
        if flat {
            return Some(Fault::Covered);
        }
        let usual = self.usual.as_ref().filter(|usual| usual.looks >= KNOWN)?;
        if look.sharpness < config.blurred * usual.sharpness {
            return Some(Fault::Blurred);
        }
        (likeness(&usual.cells, &look.cells) < config.moved).then_some(Fault::Moved)
    }

    fn follow(&mut self, look: &Look, now: Uptime) {
        let usual = self.usual.get_or_insert(Usual { cells: look.cells, sharpness: look.sharpness, looks: 0, at: now });
        // Until it is known it is the plain mean, afterwards it follows slowly, however many frames come.
        let part = match usual.looks {
            looks if looks < KNOWN => 1.0 / (looks + 1) as f32,
            _ => (now.since(usual.at).as_secs_f32() / FOLLOWS.as_secs_f32()).clamp(0.0, 1.0),
        };
        usual.looks = usual.looks.saturating_add(1);
        usual.at = now;
        usual.cells.iter_mut().zip(look.cells).for_each(|(usual, now)| *usual += (now - *usual) * part);
        usual.sharpness += (look.sharpness - usual.sharpness) * part;
    }
}
