//! The session protocol, model-checked: nodes, relay, and a channel that loses, reorders and duplicates; crashes, a
//! relay restored from a backup, a clone started from an image. The relay decides with its production code
//! (`ingest::head::decide`); the node's rules are those of ARCHITECTURE.md, "Journal" and "Uplink".

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::parts::{Event, Message, Node, Place, Relay, Run};

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
