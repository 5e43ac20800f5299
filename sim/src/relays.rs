//! An autopilot's relays, after ArduPilot's AP_ServoRelayEvents: DO_SET_RELAY sets one and ends what repeats it; DO_REPEAT_RELAY
//! turns one at once, and again each half period. There is one repetition at a time: another one takes its place, wherever its
//! relay is left. Pure.

use std::collections::BTreeMap;

/// What is repeated.
#[derive(Debug, Clone, Copy)]
struct Repeat {
    number: u32,
    left: u32,
    half_s: f64,
    next_s: f64,
}

/// The relays that were ever told anything.
#[derive(Debug, Clone, Default)]
pub struct Relays {
    closed: BTreeMap<u32, bool>,
    repeat: Option<Repeat>,
    turned: Vec<(u32, bool)>,
}

impl Relays {
    fn turn(&mut self, number: u32, closed: bool) {
        if self.closed.insert(number, closed).unwrap_or(false) != closed {
            self.turned.push((number, closed));
        }
    }

    fn is_closed(&self, number: u32) -> bool {
        self.closed.get(&number).copied().unwrap_or(false)
    }

    /// Sets one.
    pub fn set(&mut self, number: u32, closed: bool) {
        self.repeat = self.repeat.filter(|repeat| repeat.number != number);
        self.turn(number, closed);
    }

    /// Turns one `count` times there and back.
    pub fn repeat(&mut self, number: u32, count: u32, period_s: f64, now_s: f64) {
        let left = (2 * count).saturating_sub(1);
        let half_s = period_s / 2.0;
        self.repeat = (left > 0).then_some(Repeat { number, left, half_s, next_s: now_s + half_s });
        self.turn(number, !self.is_closed(number));
    }

    /// Time passes; gives what has turned since, and whether it is closed now.
    pub fn step(&mut self, now_s: f64) -> Vec<(u32, bool)> {
        if let Some(due) = self.repeat.filter(|repeat| repeat.next_s <= now_s) {
            let again = Repeat { left: due.left - 1, next_s: due.next_s + due.half_s, ..due };
            self.repeat = (again.left > 0).then_some(again);
            self.turn(due.number, !self.is_closed(due.number));
        }
        std::mem::take(&mut self.turned)
    }
}
