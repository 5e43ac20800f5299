//! One plan on its way to a vehicle, or from it (<https://mavlink.io/en/services/mission.html>): what was said last is said
//! again without an answer, and given up in the end. Pure.

use std::time::Duration;

use shared::units::Uptime;

use super::codec::{Fields, Packet};
use super::message::{
    AUTOPILOT, MISSION_ACK, MISSION_COUNT, MISSION_ITEM_INT, MISSION_REQUEST, MISSION_REQUEST_INT, MISSION_REQUEST_LIST,
};
use super::plan::{Item, Kind, MOST};

/// Without an answer for this time it is said again (the protocol's own recommendation).
const AGAIN: Duration = Duration::from_millis(1500);
/// Times that one thing is said.
const TRIES: u8 = 5;
/// A vehicle that asks for the same item for ever does not keep us for ever.
const WHOLE: Duration = Duration::from_secs(120);
/// MAV_MISSION_ACCEPTED.
const TAKEN: u8 = 0;

/// How it ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Done {
    /// What the vehicle holds.
    Read(Vec<Item>),
    /// It took what was sent.
    Taken,
    /// It did not work, and why.
    Failed(String),
}

/// What to say, as message number and payload, or that it has ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Turn {
    /// Say this.
    Say(u32, Vec<u8>),
    /// The end; say this too, if anything.
    Done(Option<(u32, Vec<u8>)>, Done),
}

#[derive(Debug)]
enum Job {
    /// Items still to come of so many.
    Read(Option<u16>, Vec<Item>),
    Write(Vec<Item>),
}

/// A plan on its way.
#[derive(Debug)]
pub struct Transfer {
    kind: Kind,
    /// System ids: the vehicle's and ours.
    ids: (u8, u8),
    job: Job,
    said: (u32, Vec<u8>),
    at: Uptime,
    begun: Uptime,
    tries: u8,
}

impl Transfer {
    /// Reads a plan. `ids`: the vehicle's and ours.
    pub fn read(kind: Kind, ids: (u8, u8), now: Uptime) -> Self {
        let said = (MISSION_REQUEST_LIST, vec![ids.0, AUTOPILOT, kind.number()]);
        Self { kind, ids, job: Job::Read(None, Vec::new()), said, at: now, begun: now, tries: 0 }
    }

    /// Writes a plan of at most [`MOST`] items.
    pub fn write(kind: Kind, items: Vec<Item>, ids: (u8, u8), now: Uptime) -> Self {
        let [low, high] = u16::try_from(items.len()).unwrap_or(MOST).to_le_bytes();
        let said = (MISSION_COUNT, vec![low, high, ids.0, AUTOPILOT, kind.number()]);
        Self { kind, ids, job: Job::Write(items), said, at: now, begun: now, tries: 0 }
    }

    /// Which plan.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Time passed.
    pub fn tick(&mut self, now: Uptime) -> Option<Turn> {
        if now.since(self.begun) >= WHOLE {
            return Some(self.fail("it does not come to an end"));
        }
        if self.tries > 0 && now.since(self.at) < AGAIN {
            return None;
        }
        if self.tries >= TRIES {
            return Some(self.fail("it does not answer"));
        }
        (self.tries, self.at) = (self.tries + 1, now);
        Some(Turn::Say(self.said.0, self.said.1.clone()))
    }

    /// The vehicle's packet, where it is of this.
    pub fn hear(&mut self, packet: &Packet, now: Uptime) -> Option<Turn> {
        let fields = Fields(&packet.payload);
        match packet.id {
            MISSION_COUNT if self.is_mine(fields.u8(2), fields.u8(4)) => self.count(fields.u16(0), now),
            MISSION_ITEM_INT => {
                let (item, seq, to, kind) = Item::read(&packet.payload);
                if self.is_mine(to, kind) { self.item(item, seq, now) } else { None }
            }
            MISSION_REQUEST | MISSION_REQUEST_INT if self.is_mine(fields.u8(2), fields.u8(4)) => {
                self.asked(fields.u16(0), now)
            }
            MISSION_ACK if self.is_mine(fields.u8(0), fields.u8(3)) => self.acked(fields.u8(2)),
            _ => None,
        }
    }

    fn is_mine(&self, to: u8, kind: u8) -> bool {
        to == self.ids.1 && kind == self.kind.number()
    }

    fn say(&mut self, id: u32, payload: Vec<u8>, now: Uptime) -> Turn {
        (self.said, self.at, self.tries) = ((id, payload.clone()), now, 1);
        Turn::Say(id, payload)
    }

    fn fail(&self, why: &str) -> Turn {
        Turn::Done(None, Done::Failed(format!("{} of {}: {why}", self.kind.as_str(), self.ids.0)))
    }

    fn count(&mut self, count: u16, now: Uptime) -> Option<Turn> {
        let Job::Read(expected @ None, _) = &mut self.job else { return None };
        if count > MOST {
            return Some(self.fail(&format!("expected up to {MOST} items, found {count}")));
        }
        *expected = Some(count);
        Some(self.next(now))
    }

    /// Asks for the next item, or has all.
    fn next(&mut self, now: Uptime) -> Turn {
        let Job::Read(Some(count), items) = &mut self.job else { return self.fail("nothing is read") };
        if items.len() >= usize::from(*count) {
            let items = std::mem::take(items);
            let ack = (MISSION_ACK, vec![self.ids.0, AUTOPILOT, TAKEN, self.kind.number()]);
            return Turn::Done(Some(ack), Done::Read(items));
        }
        let [low, high] = u16::try_from(items.len()).unwrap_or(MOST).to_le_bytes();
        self.say(MISSION_REQUEST_INT, vec![low, high, self.ids.0, AUTOPILOT, self.kind.number()], now)
    }

    fn item(&mut self, item: Item, seq: u16, now: Uptime) -> Option<Turn> {
        let Job::Read(Some(_), items) = &mut self.job else { return None };
        // Another than the one asked for came twice, or is somebody else's.
        if usize::from(seq) != items.len() {
            return None;
        }
        items.push(item);
        Some(self.next(now))
    }

    fn asked(&mut self, seq: u16, now: Uptime) -> Option<Turn> {
        let Job::Write(items) = &self.job else { return None };
        let Some(item) = items.get(usize::from(seq)) else {
            return Some(self.fail(&format!("it asked for item {seq} of {}", items.len())));
        };
        let payload = item.payload(self.kind, seq, self.ids.0).to_vec();
        Some(self.say(MISSION_ITEM_INT, payload, now))
    }

    fn acked(&self, result: u8) -> Option<Turn> {
        let turn = match (&self.job, result) {
            (Job::Write(_), TAKEN) => Turn::Done(None, Done::Taken),
            // Of what was written before, once more.
            (Job::Read(..), TAKEN) => return None,
            // MAV_MISSION_RESULT.
            (_, 3) => self.fail("it does not know such plans"),
            (_, 4) => self.fail("it has no room"),
            (_, 13) => self.fail("it got items in the wrong order"),
            (_, 14) => self.fail("it does not take it now"),
            (_, 15) => self.fail("it cancelled it"),
            (_, result) => self.fail(&format!("it refused it with MAV_MISSION_RESULT {result}")),
        };
        Some(turn)
    }
}
