//! Reading the journal for people: by type, aggregate, time and trace, lanes merged in the order in which the facts were
//! seen, with a cursor that stays valid while events are added and old ones go.
//!
//! Blocks carry the times of their events, so that a question about an hour reads little of a journal of weeks.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use shared::cloudevent::CloudEvent;
use shared::ids::{Lane, Name};
use shared::record::Record;
use shared::units::UtcMicros;
use shared::wire::Item;

use super::block::Times;
use super::reader::Reader;
use super::segment::StoreError;

/// Rows read at a time: bounds memory, whatever the journal's size.
const PAGE: usize = 1000;
/// Bytes read at a time.
const PAGE_BYTES: usize = 1024 * 1024;

/// Which events; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Dotted type, or a prefix that ends in a dot and star: `interlock.*`.
    pub event_type: Option<String>,
    /// What it is about, or a prefix that ends in a star: `vehicle/*`.
    pub aggregate: Option<String>,
    /// Not before.
    pub since: Option<UtcMicros>,
    /// Before.
    pub until: Option<UtcMicros>,
    /// W3C trace id, hexadecimal.
    pub trace: Option<String>,
}

/// Position in each lane: everything up to it was given, or was not asked for. As text the positions, most urgent lane
/// first, with dots between them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor([i64; Lane::ALL.len()]);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.map(|pos| pos.to_string()).join("."))
    }
}

impl FromStr for Cursor {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected the `next` of an earlier answer, found {text:?}");
        let parts: Result<Vec<i64>, _> = text.split('.').map(str::parse::<i64>).collect();
        let lanes: [i64; Lane::ALL.len()] = parts.map_err(|_| wrong())?.try_into().map_err(|_| wrong())?;
        if lanes.iter().all(|pos| *pos >= 0) { Ok(Self(lanes)) } else { Err(wrong()) }
    }
}

fn fits(wanted: Option<&str>, found: &str) -> bool {
    wanted.is_none_or(|wanted| match wanted.strip_suffix('*') {
        Some(prefix) => found.starts_with(prefix),
        None => found == wanted,
    })
}

impl Filter {
    /// Times of the events that are meant.
    pub fn times(&self) -> Times {
        let to = self.until.map_or(i64::MAX, |until| until.0.saturating_sub(1));
        Times { from: self.since.map_or(i64::MIN, |since| since.0), to }
    }

    /// The event, if it is meant; an error if the record cannot be decoded.
    fn take(&self, node: &Name, record: &Record) -> Result<Option<CloudEvent>, ()> {
        let decoded = record.decode().map_err(drop)?;
        let envelope = &decoded.envelope;
        let (times, at) = (self.times(), envelope.occurred.at.0);
        let trace = envelope.trace_id.map(|trace| trace.to_string());
        let meant = (times.from..=times.to).contains(&at)
            && fits(self.aggregate.as_deref(), &envelope.aggregate_id)
            && self.trace.as_ref().is_none_or(|wanted| Some(wanted) == trace.as_ref());
        if !meant {
            return Ok(None);
        }
        let (id, version) = (record.type_id, record.schema_version);
        let event = CloudEvent::new(node.as_str(), id, version, envelope, decoded.payload.as_ref());
        Ok(fits(self.event_type.as_deref(), &event.event_type).then_some(event))
    }
}

/// What of one lane was read and not given yet.
#[derive(Debug, Default)]
struct Ahead {
    read: i64,
    waiting: VecDeque<(i64, CloudEvent)>,
    /// At the lane's end, as it was when last looked at.
    ended: bool,
    /// A page of it was read.
    begun: bool,
}

/// A question under way.
pub struct Query<'a> {
    reader: &'a mut Reader,
    node: &'a Name,
    filter: &'a Filter,
    lanes: [Ahead; Lane::ALL.len()],
    /// Bytes of records that may still be read.
    budget: usize,
    /// Records that could not be decoded and were passed over.
    pub undecodable: u64,
}

impl<'a> Query<'a> {
    /// Asks for the events behind a cursor, reading at most about `budget` bytes of records.
    pub fn new(reader: &'a mut Reader, node: &'a Name, filter: &'a Filter, from: Cursor, budget: usize) -> Self {
        let lanes = from.0.map(|read| Ahead { read, ..Ahead::default() });
        Self { reader, node, filter, lanes, budget, undecodable: 0 }
    }

    /// The next event in the order in which the facts were seen; `None` at the end or when the budget is used up.
    ///
    /// # Errors
    /// [`StoreError`]; what was given before stays given.
    pub fn next_event(&mut self) -> Result<Option<CloudEvent>, StoreError> {
        for lane in Lane::ALL {
            self.fill(lane)?;
        }
        if !self.exhausted() {
            // A lane that was not read to its next event may hold an earlier one.
            return Ok(None);
        }
        // UUIDv7 begins with the time.
        let first = self.lanes.iter_mut().filter(|ahead| !ahead.waiting.is_empty());
        let first = first.min_by(|a, b| {
            let id = |ahead: &Ahead| ahead.waiting.front().map(|(_, event)| event.id.clone());
            id(a).cmp(&id(b))
        });
        Ok(first.and_then(|ahead| ahead.waiting.pop_front()).map(|(_, event)| event))
    }

    /// Whether every lane was read to its end or holds an event that waits.
    pub fn exhausted(&self) -> bool {
        self.lanes.iter().all(|ahead| ahead.ended || !ahead.waiting.is_empty())
    }

    /// Where the next question goes on.
    pub fn cursor(&self) -> Cursor {
        let at = |ahead: &Ahead| ahead.waiting.front().map_or(ahead.read, |(pos, _)| pos - 1);
        Cursor(self.lanes.each_ref().map(at))
    }

    fn fill(&mut self, lane: Lane) -> Result<(), StoreError> {
        let Some(ahead) = self.lanes.get_mut(lane as usize) else { return Ok(()) };
        // A page of each lane at least, so that every question gets further than the one before.
        while ahead.waiting.is_empty() && !ahead.ended && (self.budget > 0 || !ahead.begun) {
            ahead.begun = true;
            ahead.read = self.reader.skip_to(lane, ahead.read, self.filter.times())?;
            let rows = self.reader.after(lane, ahead.read, PAGE, PAGE_BYTES)?;
            let Some(last) = rows.last() else {
                ahead.ended = true;
                break;
            };
            ahead.read = last.pos;
            for row in rows {
                let Item::Record(record) = row.item else { continue };
                self.budget = self.budget.saturating_sub(record.bytes.len());
                match self.filter.take(self.node, &record) {
                    Ok(Some(event)) => ahead.waiting.push_back((row.pos, event)),
                    Ok(None) => {}
                    Err(()) => self.undecodable += 1,
                }
            }
        }
        Ok(())
    }
}

impl Reader {
    /// Every event after the cursor that is there now, in the order in which the facts were seen; moves the cursor past
    /// them. Gives how many records could not be decoded.
    ///
    /// # Errors
    /// [`StoreError`]; the cursor is unchanged.
    pub fn events(
        &mut self,
        node: &Name,
        filter: &Filter,
        cursor: &mut Cursor,
        mut each: impl FnMut(CloudEvent),
    ) -> Result<u64, StoreError> {
        let mut query = Query::new(self, node, filter, *cursor, usize::MAX);
        while let Some(event) = query.next_event()? {
            each(event);
        }
        *cursor = query.cursor();
        Ok(query.undecodable)
    }
}
