//! Access units into pictures, each with the time its first packet came. Pure but for the decoder.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use shared::units::Uptime;

use super::h264::{Decoder, Parameters, annex_b};
use super::rtsp::Unit;
use crate::sensor::frame::Picture;

/// The pictures of one stream.
#[derive(Default)]
pub struct Pictures {
    decoder: Option<(Arc<Parameters>, Decoder)>,
    /// Nothing is decoded before a whole key frame: what refers to what was lost would be wrong, not missing.
    running: bool,
    held: BinaryHeap<Reverse<(i64, Uptime)>>,
}

/// What became of a unit.
#[derive(Debug)]
pub enum Taken {
    /// A picture, when it came, and when it is shown, in ticks of its stream.
    Picture(Picture, Uptime, i64),
    /// It belongs to a picture that is still to come.
    Held,
    /// It cannot be decoded without what was lost.
    Waiting,
}

impl Pictures {
    /// Takes a unit.
    ///
    /// # Errors
    /// What is wrong with it: what follows is passed over up to the next key frame.
    pub fn take(&mut self, unit: &Unit) -> Result<Taken, String> {
        if unit.lost {
            self.running = false;
        }
        if unit.key && !unit.lost && !self.running {
            self.running = true;
            // What they still hold is from before.
            self.held.clear();
            self.decoder = None;
        }
        if !self.running {
            return Ok(Taken::Waiting);
        }
        let taken = self.decode(unit);
        self.running = taken.is_ok();
        taken
    }

    fn decode(&mut self, unit: &Unit) -> Result<Taken, String> {
        if self.decoder.as_ref().is_none_or(|(parameters, _)| *parameters != unit.parameters) {
            self.held.clear();
            self.decoder = Some((unit.parameters.clone(), Decoder::new(unit.parameters.reorder > 0)?));
        }
        let Some((parameters, decoder)) = &mut self.decoder else { return Ok(Taken::Held) };
        let mut packet = if unit.key { parameters.annex_b() } else { Vec::new() };
        annex_b(&unit.data, 4, &mut packet)?;
        self.held.push(Reverse((unit.shown, unit.received)));
        let decoded = decoder.decode(&packet)?;
        // They come out in the order they are shown in; of what never came out nothing is left behind.
        let received = if decoded.is_some() { self.held.pop() } else { None };
        while self.held.len() > parameters.reorder as usize + 1 {
            self.held.pop();
        }
        let Some(picture) = decoded else { return Ok(Taken::Held) };
        let (shown, received) = match received {
            Some(Reverse(stamps)) if parameters.reorder > 0 => stamps,
            _ => (unit.shown, unit.received),
        };
        Ok(Taken::Picture(picture, received, shown))
    }
}
