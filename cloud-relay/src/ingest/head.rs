//! Whether a batch continues what the relay has of its lane: a pure decision.

use shared::ids::{Digest, Epoch, Seq};
use shared::wire::{Batch, Item, Why};

/// How far the relay is in one (lane, epoch).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Last stored sequence number; 0 for none.
    pub seq: Seq,
    /// Chain there.
    pub chain: Digest,
}

impl Head {
    /// Nothing stored yet.
    pub const NONE: Self = Self { seq: Seq(0), chain: Digest([0; 32]) };
}

/// What the relay knows that bears on a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// Its head in the batch's epoch.
    pub head: Head,
    /// Whether another history was adopted in the place of this epoch.
    pub closed: bool,
    /// The earliest place of this epoch behind which another epoch goes on.
    pub continued_at: Option<Seq>,
    /// Its head in the epoch that the batch's `Opened` continues, while the batch's own epoch is new.
    pub parent: Option<Head>,
    /// Whether another history was adopted in the place of that parent.
    pub parent_closed: bool,
    /// Whether another epoch continues the very place that the batch's `Opened` names.
    pub parent_taken: bool,
    /// Whether an operator has said that this epoch goes on with the node's history, whatever its parent.
    pub adopted: bool,
}

/// What to do with a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// Store these items, which begin at `first`; the head becomes `head`. Empty when all is there already.
    Store {
        /// Place of the first of `items`.
        first: Seq,
        /// What is new.
        items: &'a [Item],
        /// Head after them.
        head: Head,
        /// How many leading items were there already.
        duplicates: usize,
    },
    /// Refuse: the node must look at this head of this epoch.
    Mismatch {
        /// Epoch.
        epoch: Epoch,
        /// The relay's head in it.
        head: Head,
        /// Why.
        why: Why,
    },
    /// Refuse: another history of this node. An operator adopts one.
    Fork {
        /// What shows it.
        shown_by: &'static str,
    },
}

/// Decides on a batch.
pub fn decide<'a>(facts: &Facts, batch: &'a Batch) -> Decision<'a> {
    let head = facts.head;
    let mismatch = |why| Decision::Mismatch { epoch: batch.epoch, head, why };
    let fork = |shown_by| Decision::Fork { shown_by };
    if batch.first_seq > head.seq.next() {
        return mismatch(Why::Gap);
    }
    if let Some(Item::Opened(opened)) = batch.items.first()
        && head == Head::NONE
    {
        let known = facts.parent.unwrap_or(Head::NONE);
        if known.seq < opened.parent_seq {
            return Decision::Mismatch { epoch: opened.parent_epoch, head: known, why: Why::Behind };
        }
        match () {
            () if facts.adopted => {}
            () if facts.parent_taken => return fork("its parent has another child"),
            () if facts.parent_closed => return fork("another history was adopted in its parent's place"),
            // The relay has more of the parent than the node remembers: a restored image, and the original may run.
            () if known.seq > opened.parent_seq => return fork("the relay has more of its parent than it remembers"),
            () if known.chain != opened.parent_chain => return fork("its parent has other content"),
            () => {}
        }
    }
    let (mut at, mut chain) = (batch.first_seq, batch.prev_chain);
    let mut duplicates = 0;
    for item in &batch.items {
        if at > head.seq {
            break;
        }
        let (last, after) = item.advance(at, chain);
        if last > head.seq {
            // A gap that reaches over the head: the node cuts it there, so that what lies behind gets its name.
            return mismatch(Why::Gap);
        }
        (at, chain) = (last.next(), after);
        duplicates += 1;
    }
    if at == head.seq.next() && chain != head.chain {
        return fork("other content at the same place");
    }
    let (_, items) = batch.items.split_at(duplicates);
    let first = at;
    let mut new_head = head;
    for item in items {
        let (last, after) = item.advance(at, chain);
        new_head = Head { seq: last, chain: after };
        (at, chain) = (last.next(), after);
    }
    // Whoever goes on behind the place where another went on is the other of two.
    let left_behind = facts.closed || facts.continued_at.is_some_and(|at| at < new_head.seq);
    if !items.is_empty() && left_behind {
        return fork("another epoch continues an earlier place of this one");
    }
    Decision::Store { first, items, head: new_head, duplicates }
}

#[cfg(test)]
mod tests {
    use super::{Decision, Facts, Head, decide};
    use shared::ids::{Digest, Epoch, Lane, Seq};
    use shared::record::{Opened, Record};
    use shared::units::Uptime;
    use shared::wire::{Batch, Item, PROTOCOL, Why};

    /// Items `first..=last` of one node's epoch; item n's bytes are `[n, salt]`.
    fn batch(first: u64, last: u64, salt: u8) -> (Batch, Head) {
        let item = |n: u64| match n {
            1 => Item::Opened(Opened::FIRST),
            _ => Item::Record(Record { type_id: 1, schema_version: 1, bytes: vec![n.to_le_bytes()[0], salt] }),
        };
        let chain_to = |n: u64| (1..=n).fold(Digest::default(), |chain, n| item(n).advance(Seq(n), chain).1);
        let batch = Batch {
            protocol: PROTOCOL,
            dict_id: 0,
            node: "n".parse().unwrap(),
            boot_id: [0; 16],
            epoch: Epoch([1; 16]),
            lane: Lane::Safety,
            first_seq: Seq(first),
            prev_chain: chain_to(first - 1),
            sent_uptime: Uptime(0),
            downlink_acked: 0,
            items: (first..=last).map(item).collect(),
            head_sig: Vec::new(),
        };
        (batch, Head { seq: Seq(last), chain: chain_to(last) })
    }

    fn at(head: Head) -> Facts {
        Facts { head, ..Facts::default() }
    }

    fn below(parent: Head) -> Facts {
        Facts { parent: Some(parent), ..Facts::default() }
    }

    #[track_caller]
    fn check(has: u64, sent: (u64, u64), stored: Option<(u64, usize)>) {
        let head = if has == 0 { Head::NONE } else { batch(1, has, 0).1 };
        let (sent, after) = batch(sent.0, sent.1, 0);
        match (decide(&at(head), &sent), stored) {
            (Decision::Store { first, items, head: new, .. }, Some((at, count))) => {
                assert_eq!((first, items.len()), (Seq(at), count));
                assert_eq!(new, if count == 0 { head } else { after });
            }
            (Decision::Mismatch { why: Why::Gap, .. }, None) => {}
            (other, expected) => panic!("{other:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_batch_is_stored_once_however_often_it_comes() {
        check(0, (1, 5), Some((1, 5)));
        check(5, (6, 9), Some((6, 4)));
        check(5, (1, 5), Some((6, 0)));
        check(5, (3, 8), Some((6, 3)));
        check(9, (3, 8), Some((9, 0)));
    }

    #[test]
    fn a_gap_is_refused() {
        check(5, (7, 9), None);
        check(0, (2, 3), None);
    }

    #[test]
    fn a_gap_across_the_head_is_cut_there_and_named() {
        let (_, head) = batch(1, 5, 0);
        let (mut sent, _) = batch(4, 4, 0);
        let skip = |first| Item::Skip {
            first: Seq(first),
            last: Seq(9),
            reason: "quota".into(),
            chain_after: Digest([9; 32]),
        };
        sent.items = vec![skip(4)];
        assert!(matches!(decide(&at(head), &sent), Decision::Mismatch { why: Why::Gap, .. }));
        (sent.first_seq, sent.prev_chain, sent.items) = (Seq(6), head.chain, vec![skip(6)]);
        let Decision::Store { head: after, items, .. } = decide(&at(head), &sent) else { panic!("refused") };
        assert_eq!((after, items.len()), (Head { seq: Seq(9), chain: Digest([9; 32]) }, 1));
    }

    #[test]
    fn other_content_at_the_same_place_is_a_fork() {
        let head = batch(1, 5, 0).1;
        for (first, last) in [(6, 7), (3, 8), (1, 5)] {
            let (forged, _) = batch(first, last, 1);
            let decision = decide(&at(head), &forged);
            assert!(matches!(decision, Decision::Fork { .. }), "{first}..={last}: {decision:?}");
        }
    }

    #[test]
    fn an_opening_whose_parent_is_not_stored_makes_the_node_rewind() {
        let (mut sent, _) = batch(1, 2, 0);
        let parent_epoch = Epoch([9; 16]);
        sent.items[0] = Item::Opened(Opened { parent_epoch, parent_seq: Seq(7), parent_chain: Digest([3; 32]) });
        let short = Head { seq: Seq(4), chain: Digest([2; 32]) };
        let behind = decide(&below(short), &sent);
        assert_eq!(behind, Decision::Mismatch { epoch: parent_epoch, head: short, why: Why::Behind });
        let forked = Head { seq: Seq(7), chain: Digest([2; 32]) };
        assert!(matches!(decide(&below(forked), &sent), Decision::Fork { .. }));
        let known = Head { seq: Seq(7), chain: Digest([3; 32]) };
        assert!(matches!(decide(&below(known), &sent), Decision::Store { .. }));
        let further = Head { seq: Seq(9), chain: Digest([4; 32]) };
        let restored = decide(&below(further), &sent);
        assert!(matches!(restored, Decision::Fork { .. }), "a restored image: {restored:?}");
        assert!(matches!(decide(&Facts { adopted: true, ..below(further) }, &sent), Decision::Store { .. }), "adopted");
    }
}
