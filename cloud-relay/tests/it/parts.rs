//! The parts of the model-checked session: a node's journal, the relay with its production decision, messages.

use std::collections::{BTreeMap, BTreeSet};

use cloud_relay::ingest::head::{Decision, Facts, Head, decide};
use shared::ids::{Digest, Epoch, Lane, Seq};
use shared::record::{Opened, Record};
use shared::units::Uptime;
use shared::wire::{Batch, Item, PROTOCOL, Why};

/// Names an event: the node that made it, and its number there.
pub type Event = (u8, u8);

/// One epoch of one lane in a journal: which place it continues, and its events behind its opening.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    pub epoch: u8,
    pub parent: (u8, u8),
    pub events: Vec<Event>,
}

/// A place: an epoch and a sequence number in it.
pub type Place = (u8, u8);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub runs: Vec<Run>,
    /// What the relay has, as the node believes; durable.
    pub acked: Place,
    pub made: u8,
    /// The relay has refused this history.
    pub refused: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Relay {
    pub heads: BTreeMap<u8, u8>,
    pub parents: BTreeMap<u8, Place>,
    pub stored: Vec<Event>,
    pub forks: BTreeSet<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Message {
    /// Items `first..=last` of an epoch.
    Batch {
        from: u8,
        epoch: u8,
        first: u8,
        last: u8,
    },
    Ack {
        to: u8,
        place: Place,
    },
    /// Go on from behind this place.
    Behind {
        to: u8,
        place: Place,
    },
    Fork {
        to: u8,
    },
}

fn opened(run: &Run, all: &[Node]) -> Opened {
    let (epoch, seq) = run.parent;
    if epoch == 0 {
        return Opened::FIRST;
    }
    Opened { parent_epoch: id(epoch), parent_seq: Seq(seq.into()), parent_chain: chain(epoch, seq, all) }
}

fn id(epoch: u8) -> Epoch {
    Epoch([epoch; 16])
}

/// The run of an epoch, whoever has it longest: an image has a part of the original's.
fn run_of(epoch: u8, all: &[Node]) -> &Run {
    let of = all.iter().flat_map(|node| &node.runs).filter(|run| run.epoch == epoch);
    of.max_by_key(|run| run.events.len()).unwrap()
}

fn item(epoch: u8, seq: u8, all: &[Node]) -> Item {
    let run = run_of(epoch, all);
    if seq == 1 {
        return Item::Opened(opened(run, all));
    }
    let (node, number) = run.events[usize::from(seq) - 2];
    Item::Record(Record { type_id: 1, schema_version: 1, bytes: vec![node, number] })
}

fn chain(epoch: u8, seq: u8, all: &[Node]) -> Digest {
    (1..=seq).fold(Digest::default(), |chain, n| item(epoch, n, all).advance(Seq(n.into()), chain).1)
}

impl Node {
    pub fn last(&self) -> Place {
        self.runs.last().map_or((0, 0), |run| (run.epoch, run.events.len() as u8 + 1))
    }

    /// The next places behind what the relay has, at most two, within one epoch.
    pub fn next(&self) -> Option<(u8, u8, u8)> {
        let (epoch, seq) = self.acked;
        let at = self.runs.iter().position(|run| run.epoch == epoch);
        let len = |run: &Run| run.events.len() as u8 + 1;
        let (run, first) = match at.and_then(|at| self.runs.get(at)) {
            Some(run) if seq < len(run) => (run, seq + 1),
            _ => (self.runs.get(at.map_or(0, |at| at + 1))?, 1),
        };
        Some((run.epoch, first, (first + 1).min(len(run))))
    }

    /// Events up to what the relay is believed to have.
    pub fn believed(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for run in &self.runs {
            let here = run.epoch == self.acked.0;
            let count = if here { usize::from(self.acked.1).saturating_sub(1) } else { run.events.len() };
            events.extend(run.events.iter().take(count));
            if here {
                return events;
            }
        }
        if self.acked.0 == 0 { Vec::new() } else { events }
    }
}

impl Relay {
    fn head(&self, epoch: u8, all: &[Node]) -> Option<Head> {
        let seq = *self.heads.get(&epoch)?;
        Some(Head { seq: Seq(seq.into()), chain: chain(epoch, seq, all) })
    }

    /// What the SQL of `ingest::history` answers.
    fn facts(&self, batch: &Batch, epoch: u8, all: &[Node]) -> Facts {
        let child =
            |(child, parent): (&u8, &Place)| (parent.0 == epoch && *child != epoch).then_some(Seq(parent.1.into()));
        let mut facts = Facts {
            head: self.head(epoch, all).unwrap_or_default(),
            continued_at: self.parents.iter().filter_map(child).min(),
            ..Facts::default()
        };
        if let (Some(Item::Opened(opened)), true) = (batch.items.first(), facts.head == Head::NONE) {
            let parent = opened.parent_epoch.0[0];
            let place = (parent, opened.parent_seq.0 as u8);
            facts.parent = self.head(parent, all);
            facts.parent_taken = self.parents.iter().any(|(child, of)| *of == place && *child != epoch);
        }
        facts
    }

    pub fn take(&mut self, message: &Message, all: &[Node]) -> Option<Message> {
        let Message::Batch { from, epoch, first, last } = *message else { return None };
        let batch = Batch {
            protocol: PROTOCOL,
            dict_id: 0,
            node: "n".parse().unwrap(),
            boot_id: [0; 16],
            epoch: id(epoch),
            lane: Lane::Safety,
            first_seq: Seq(first.into()),
            prev_chain: chain(epoch, first - 1, all),
            sent_uptime: Uptime(0),
            downlink_acked: 0,
            items: (first..=last).map(|seq| item(epoch, seq, all)).collect(),
            head_sig: Vec::new(),
        };
        let facts = self.facts(&batch, epoch, all);
        Some(match decide(&facts, &batch) {
            Decision::Store { first: new, items, head, .. } => {
                for (at, item) in (new.0 as u8..).zip(items) {
                    match item {
                        Item::Record(record) => self.stored.push((record.bytes[0], record.bytes[1])),
                        Item::Opened(_) => drop(self.parents.insert(epoch, run_of(epoch, all).parent)),
                        Item::Skip { .. } => panic!("no gap is sent at {at}"),
                    }
                }
                self.stored.sort_unstable();
                self.heads.insert(epoch, head.seq.0 as u8);
                Message::Ack { to: from, place: (epoch, head.seq.0 as u8) }
            }
            Decision::Mismatch { epoch, head, why: Why::Gap | Why::Behind } => {
                Message::Behind { to: from, place: (epoch.0[0], head.seq.0 as u8) }
            }
            Decision::Mismatch { why: Why::Fork, .. } | Decision::Fork { .. } => {
                self.forks.insert(epoch);
                Message::Fork { to: from }
            }
        })
    }
}
