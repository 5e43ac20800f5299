//! An autopilot's relays, after ArduPilot's AP_ServoRelayEvents: DO_SET_RELAY sets one and ends what repeats it; DO_REPEAT_RELAY
//! turns one at once, and again each half period. Pure.

use std::collections::BTreeMap;

/// A relay.
#[derive(Debug, Clone, Copy, Default)]
struct Relay {
    closed: bool,
    /// Turns that are left, the time between them, and when the next is due, seconds.
    repeats: Option<(u32, f64, f64)>,
}

/// The relays that were ever told anything.
#[derive(Debug, Clone, Default)]
pub struct Relays {
    relays: BTreeMap<u32, Relay>,
    turned: Vec<(u32, bool)>,
}

impl Relays {
    /// Sets one.
    pub fn set(&mut self, number: u32, closed: bool) {
        let relay = self.relays.entry(number).or_default();
        relay.repeats = None;
        if std::mem::replace(&mut relay.closed, closed) != closed {
            self.turned.push((number, closed));
        }
    }

    /// Turns one `count` times there and back.
    pub fn repeat(&mut self, number: u32, count: u32, period_s: f64, now_s: f64) {
        let relay = self.relays.entry(number).or_default();
        relay.closed = !relay.closed;
        let left = (2 * count).saturating_sub(1);
        relay.repeats = (left > 0).then_some((left, period_s / 2.0, now_s + period_s / 2.0));
        self.turned.push((number, relay.closed));
    }

    /// Time passes; gives what has turned since, and whether it is closed now.
    pub fn step(&mut self, now_s: f64) -> Vec<(u32, bool)> {
        for (number, relay) in &mut self.relays {
            let Some((left, half_s, next_s)) = relay.repeats.filter(|(_, _, next_s)| *next_s <= now_s) else {
                continue;
            };
            relay.closed = !relay.closed;
            relay.repeats = (left > 1).then_some((left - 1, half_s, next_s + half_s));
            self.turned.push((*number, relay.closed));
        }
        std::mem::take(&mut self.turned)
    }
}
