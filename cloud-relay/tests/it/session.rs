//! The session protocol, model-checked: nodes, relay, and a channel that loses, reorders and duplicates; crashes, a
//! relay restored from a backup, a clone started from an image. The relay decides with its production code
//! (`ingest::head::decide`); the node's rules are those of ARCHITECTURE.md, "Journal" and "Uplink".

use std::collections::{BTreeMap, BTreeSet};

use cloud_relay::ingest::head::{Decision, Facts, Head, decide};
use shared::ids::{Digest, Epoch, Lane, Seq};
use shared::record::{Opened, Record};
use shared::units::Uptime;
use shared::wire::{Batch, Item, PROTOCOL, Why};
use stateright::{Checker, HasDiscoveries, Model, Property};

/// Names an event: the node that made it, and its number there.
type Event = (u8, u8);

/// One epoch of one lane in a journal: which place it continues, and its events behind its opening.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Run {
    epoch: u8,
    parent: (u8, u8),
    events: Vec<Event>,
}

/// A place: an epoch and a sequence number in it.
type Place = (u8, u8);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    runs: Vec<Run>,
    /// What the relay has, as the node believes; durable.
    acked: Place,
    made: u8,
    /// The relay has refused this history.
    refused: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct Relay {
    heads: BTreeMap<u8, u8>,
    parents: BTreeMap<u8, Place>,
    stored: Vec<Event>,
    forks: BTreeSet<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Message {
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

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    nodes: Vec<Node>,
    relay: Relay,
    backup: Option<Relay>,
    image: Option<Node>,
    wire: BTreeSet<Message>,
    epochs: u8,
    faults: u8,
    restored: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Act {
    Append(u8),
    Send(u8),
    Compare(u8),
    Deliver(Message),
    /// Delivered, and still there to come again.
    Duplicate(Message),
    Lose(Message),
    Crash(u8),
    Backup,
    Restore,
    Image,
    Clone,
}

#[derive(Clone)]
struct Protocol {
    events: u8,
    faults: u8,
    /// Messages under way at once.
    wire: usize,
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
    fn last(&self) -> Place {
        self.runs.last().map_or((0, 0), |run| (run.epoch, run.events.len() as u8 + 1))
    }

    /// The next places behind what the relay has, at most two, within one epoch.
    fn next(&self) -> Option<(u8, u8, u8)> {
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
    fn believed(&self) -> Vec<Event> {
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

    fn take(&mut self, message: &Message, all: &[Node]) -> Option<Message> {
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

impl State {
    /// Moves a node's cursor to a place that it knows; 0 in an epoch is the place before it.
    fn go_to(&mut self, to: u8, (epoch, seq): Place) {
        let node = &mut self.nodes[usize::from(to)];
        let Some(at) = node.runs.iter().position(|run| run.epoch == epoch) else { return };
        node.acked = match (seq, at) {
            (0, 0) => (0, 0),
            (0, at) => (node.runs[at - 1].epoch, node.runs[at - 1].events.len() as u8 + 1),
            _ => (epoch, seq.min(node.runs[at].events.len() as u8 + 1)),
        };
    }

    fn receive(&mut self, message: &Message) {
        match message {
            Message::Batch { .. } => {
                let all = self.nodes.clone();
                let answer = self.relay.take(message, &all);
                self.wire.extend(answer);
            }
            // Only forwards: an old ack that comes late tells nothing new.
            Message::Ack { to, place } => {
                let node = &self.nodes[usize::from(*to)];
                let index =
                    |place: &Place| node.runs.iter().position(|run| run.epoch == place.0).map(|at| (at, place.1));
                if index(place) > index(&node.acked) {
                    self.go_to(*to, *place);
                }
            }
            Message::Behind { to, place } => self.go_to(*to, *place),
            Message::Fork { to } => self.nodes[usize::from(*to)].refused = true,
        }
    }
}

impl Protocol {
    fn progress(&self, state: &State, acts: &mut Vec<Act>) {
        for (at, node) in state.nodes.iter().enumerate() {
            if state.wire.len() < self.wire && !node.refused {
                acts.extend(node.next().map(|_| Act::Send(at as u8)));
                acts.push(Act::Compare(at as u8));
            }
        }
        acts.extend(state.wire.iter().cloned().map(Act::Deliver));
    }

    /// Everything is sent, one thing after another and nothing lost: what is left then was not drained.
    fn drained(&self, state: &State) -> bool {
        let mut state = state.clone();
        for _ in 0..60 {
            let before = state.clone();
            while let Some(message) = state.wire.pop_first() {
                state.receive(&message);
            }
            for at in 0..state.nodes.len() {
                for act in [Act::Compare(at as u8), Act::Send(at as u8)] {
                    state = self.next_state(&state, act).unwrap_or(state);
                }
            }
            if state == before {
                break;
            }
        }
        let missing = |node: &Node| {
            let events = node.runs.iter().flat_map(|run| &run.events);
            !node.refused && events.into_iter().any(|event| !state.relay.stored.contains(event))
        };
        !state.nodes.iter().any(missing)
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        let first = Run { epoch: 1, parent: (0, 0), events: Vec::new() };
        let node = Node { runs: vec![first], acked: (0, 0), made: 0, refused: false };
        vec![State {
            nodes: vec![node],
            relay: Relay::default(),
            backup: None,
            image: None,
            wire: BTreeSet::new(),
            epochs: 1,
            faults: 0,
            restored: false,
        }]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        self.progress(state, acts);
        for (at, node) in state.nodes.iter().enumerate() {
            if node.made < self.events {
                acts.push(Act::Append(at as u8));
            }
        }
        if state.faults >= self.faults {
            return;
        }
        acts.extend(
            state.wire.iter().cloned().flat_map(|message| [Act::Lose(message.clone()), Act::Duplicate(message)]),
        );
        acts.extend((0..state.nodes.len()).map(|at| Act::Crash(at as u8)));
        match state.backup {
            None => acts.push(Act::Backup),
            Some(_) if !state.restored => acts.push(Act::Restore),
            Some(_) => {}
        }
        match state.image {
            None => acts.push(Act::Image),
            Some(_) if state.nodes.len() == 1 => acts.push(Act::Clone),
            Some(_) => {}
        }
    }

    fn next_state(&self, before: &State, act: Act) -> Option<State> {
        let mut state = before.clone();
        match act {
            Act::Append(at) => {
                let node = &mut state.nodes[usize::from(at)];
                node.made += 1;
                let event = (at, node.made);
                node.runs.last_mut().unwrap().events.push(event);
            }
            Act::Send(at) if state.nodes[usize::from(at)].refused => return None,
            Act::Send(at) => {
                let (epoch, first, last) = state.nodes[usize::from(at)].next()?;
                state.wire.insert(Message::Batch { from: at, epoch, first, last });
            }
            Act::Compare(at) => {
                let (epoch, seq) = state.nodes[usize::from(at)].acked;
                let known = state.relay.heads.get(&epoch).copied().unwrap_or(0);
                if epoch != 0 && known < seq {
                    state.go_to(at, (epoch, known));
                }
            }
            Act::Deliver(message) => {
                state.wire.remove(&message);
                state.receive(&message);
            }
            Act::Duplicate(message) => {
                state.faults += 1;
                state.receive(&message);
            }
            Act::Lose(message) => {
                state.faults += 1;
                state.wire.remove(&message);
            }
            Act::Crash(at) => {
                state.faults += 1;
                state.epochs += 1;
                let parent = state.nodes[usize::from(at)].last();
                let run = Run { epoch: state.epochs, parent, events: Vec::new() };
                state.nodes[usize::from(at)].runs.push(run);
            }
            Act::Backup => state.backup = Some(state.relay.clone()),
            Act::Restore => {
                state.faults += 1;
                state.restored = true;
                state.relay = state.backup.clone()?;
            }
            Act::Image => state.image = Some(state.nodes[0].clone()),
            Act::Clone => {
                state.faults += 1;
                state.epochs += 1;
                let mut clone = state.image.clone()?;
                let run = Run { epoch: state.epochs, parent: clone.last(), events: Vec::new() };
                clone.runs.push(run);
                clone.made = 0;
                state.nodes.push(clone);
            }
        }
        (state != *before && state.wire.len() <= self.wire).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("what a node believes acked is stored", |_, state: &State| {
                // A relay that was restored has less, until the node has compared.
                let has = |event: &Event| state.relay.stored.contains(event);
                state.restored || state.nodes.iter().all(|node| node.believed().iter().all(has))
            }),
            Property::always("nothing is stored twice", |_, state: &State| {
                state.relay.stored.windows(2).all(|pair| pair[0] != pair[1])
            }),
            Property::always(
                "everything is drained once nothing is lost any more",
                |model: &Protocol, state: &State| model.drained(state),
            ),
            Property::always("a clone and its original are never both accepted unnoticed", |_, state: &State| {
                let Some(clone) = state.nodes.get(1) else { return true };
                let shared: usize =
                    state.image.as_ref().map_or(0, |image| image.runs.iter().map(|r| r.events.len()).sum());
                let own = |event: &&Event| event.0 == 0 && usize::from(event.1) > shared;
                let original = state.relay.stored.iter().any(|event| own(&event));
                let cloned = clone.made > 0 && state.relay.stored.iter().any(|event| event.0 == 1);
                !original || !cloned || !state.relay.forks.is_empty() || state.restored
            }),
            Property::sometimes("a clone is refused", |_, state: &State| !state.relay.forks.is_empty()),
            Property::sometimes("a restored relay gets everything again", |model: &Protocol, state: &State| {
                state.restored
                    && state.nodes[0].made == model.events
                    && state.relay.stored.len() == usize::from(model.events)
            }),
        ]
    }
}

#[test]
fn the_session_keeps_its_promises_in_every_order_of_events() {
    // Together they take seconds; (1, 3, 2) has 2.3 million states and takes half a minute.
    for (events, faults, wire) in [(2, 2, 1), (1, 2, 2), (2, 1, 2)] {
        let model = Protocol { events, faults, wire };
        let checked = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        println!("{events} events, {faults} faults, {wire} under way: {} states", checked.unique_state_count());
        checked.assert_properties();
        assert!(checked.unique_state_count() > 50_000, "{} states", checked.unique_state_count());
    }
}
