//! The commands of one vehicle that people gave: one that moves it and one that does not, and how the last one went.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::ids::EventId;
use shared::units::Uptime;

use super::acks::AckBook;
use super::fixed::Text;
use super::obey::Sight;
use super::rules::autonomy::Autonomy;
use super::transaction::{Outcome, Steps, Transaction, Turn};
use super::words::Effect;
use crate::vehicle::command::Order;

/// Between two commands of one sort at least.
const PAUSE: Duration = Duration::from_millis(200);

/// The last command that was permitted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Request id.
    pub id: EventId,
    /// What it was.
    pub verb: Text,
    /// How it ended, and why, for people; `None`: it is on its way.
    pub ended: Option<(Text, Text)>,
}

/// Where orders go out, and what is remembered of each.
pub struct Wire<'a> {
    index: usize,
    acks: &'a mut AckBook,
    autonomy: &'a mut Autonomy,
    out: &'a mut Vec<Effect>,
}

/// Of a vehicle, by its index.
pub const fn wire<'a>(
    index: usize,
    acks: &'a mut AckBook,
    autonomy: &'a mut Autonomy,
    out: &'a mut Vec<Effect>,
) -> Wire<'a> {
    Wire { index, acks, autonomy, out }
}

impl Wire<'_> {
    /// An order goes out; `new`: it is another one than before.
    pub fn send(&mut self, order: Order, new: bool, now: Uptime) {
        self.remember(order, new, now);
        self.out.push(Effect::Send(self.index, order));
    }

    /// The same order of a command, sent so often before.
    fn send_again(&mut self, order: Order, before: u8, now: Uptime) {
        self.remember(order, false, now);
        self.out.push(Effect::Again(self.index, order, before));
    }

    fn remember(&mut self, order: Order, new: bool, now: Uptime) {
        if let Some(acks) = self.acks.of(order.command()) {
            acks.sent(new, now);
        }
        if let Some(mode) = order.mode() {
            self.autonomy.ordered(mode, now);
        }
    }
}

/// The commands of one vehicle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Commands {
    /// One that moves it, and one that does not.
    slots: [Option<Transaction>; 2],
    /// When one of each sort last began.
    begun: [Option<Uptime>; 2],
    record: Record,
}

/// How commands went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Record {
    told: Option<Told>,
    /// Arming did not succeed, and nobody has been told.
    unarmed: bool,
}

impl Commands {
    /// Whether one of these steps would come too soon after another: whoever asks without end must not fill the line that
    /// demands go out on. Motors off come too soon only while they are being switched off.
    pub fn too_soon(&self, steps: &Steps, now: Uptime) -> bool {
        let aside = steps.iter().flatten().any(|order| order.is_aside());
        let ([moving, other], [moved, switched]) = (&self.slots, self.begun);
        let (slot, begun) = if aside { (other, switched) } else { (moving, moved) };
        let lately = begun.is_some_and(|at| now.since(at) < PAUSE);
        match steps.first() {
            Some(Some(Order::Disarm)) => lately && slot.is_some_and(|running| !running.moves()),
            _ => lately,
        }
    }

    /// Whether one that moves it is on its way.
    pub const fn moves(&self) -> bool {
        let [moving, _] = &self.slots;
        moving.is_some()
    }

    /// Whether arming did not succeed since this was last asked.
    pub fn arming_failed(&mut self) -> bool {
        std::mem::take(&mut self.record.unarmed)
    }

    /// The last one.
    pub const fn told(&self) -> Option<Told> {
        self.record.told
    }

    /// A command begins, in the place of any before it of its sort; it is sent once the rules have been looked at.
    pub fn begin(&mut self, id: EventId, command: (&'static str, Steps), now: Uptime, wire: &mut Wire) {
        let (verb, steps) = command;
        let aside = steps.iter().flatten().any(|order| order.is_aside());
        let [moving, other] = &mut self.slots;
        let slot = if aside { other } else { moving };
        self.record.take(slot, Turn::Ended(Outcome::Cancelled("another command came")), now, wire);
        // Whoever gave the newer one answers for what it is left in.
        self.record.unarmed = false;
        *slot = Some(Transaction::new(id, verb, steps, now));
        let [moved, switched] = &mut self.begun;
        *(if aside { switched } else { moved }) = Some(now);
        self.record.told = Some(Told { id, verb: Text(verb), ended: None });
    }

    /// Time passed. `against`: why nothing may move it now.
    pub fn tick(&mut self, sight: &Sight, against: Option<&'static str>, now: Uptime, wire: &mut Wire) {
        for slot in &mut self.slots {
            let Some(transaction) = slot.as_mut() else { continue };
            let turn = match against.filter(|_| transaction.moves()) {
                Some(why) => Turn::Ended(Outcome::Cancelled(why)),
                None => transaction.tick(sight, now),
            };
            self.record.take(slot, turn, now, wire);
        }
    }

    /// The vehicle answered: command and MAV_RESULT. `ours`: the ack belongs to what was sent last.
    pub fn answered(&mut self, ack: (u16, u8), ours: bool, now: Uptime, wire: &mut Wire) {
        for slot in &mut self.slots {
            if let Some(turn) = slot.as_mut().map(|transaction| transaction.answered(ack.0, ack.1, ours, now)) {
                self.record.take(slot, turn, now, wire);
            }
        }
    }
}

impl Record {
    /// What a command's next turn is.
    fn take(&mut self, slot: &mut Option<Transaction>, turn: Turn, now: Uptime, wire: &mut Wire) {
        match (turn, *slot) {
            (Turn::Send(order, 0), _) => wire.send(order, true, now),
            (Turn::Send(order, before), _) => wire.send_again(order, before, now),
            (Turn::Ended(outcome), Some(ended)) => {
                let (id, verb) = ended.of();
                *slot = None;
                self.unarmed |= ended.arms() && outcome != Outcome::Done;
                if let Some(told) = self.told.as_mut().filter(|told| told.id == id) {
                    told.ended = Some((Text(outcome.as_str()), Text(outcome.detail())));
                }
                wire.out.push(Effect::Ended { id, vehicle: wire.index, verb, outcome });
            }
            _ => {}
        }
    }
}
