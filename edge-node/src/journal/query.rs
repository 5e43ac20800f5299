//! Reading the journal for people: by type and time, with a cursor that stays valid while events are added.

use shared::cloudevent::CloudEvent;
use shared::ids::{Lane, Name};
use shared::units::UtcMicros;
use shared::wire::Item;

use super::reader::Reader;
use super::segment::StoreError;

/// Rows read at a time: bounds memory, whatever the journal's size.
const PAGE: usize = 1000;
/// Bytes read at a time.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Which events.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Dotted type, or a prefix that ends in a dot and star: `interlock.*`.
    pub event_type: Option<String>,
    /// Not before.
    pub since: Option<UtcMicros>,
}

/// Position in each lane: everything up to it was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor([i64; Lane::ALL.len()]);

impl Filter {
    /// Whether an event is meant.
    pub fn matches(&self, event_type: &str, at: UtcMicros) -> bool {
        let typed = self.event_type.as_deref().is_none_or(|wanted| match wanted.strip_suffix('*') {
            Some(prefix) => event_type.starts_with(prefix),
            None => event_type == wanted,
        });
        typed && self.since.is_none_or(|since| at >= since)
    }
}

impl Reader {
    /// Events after the cursor, each lane in its order, lanes by urgency; moves the cursor past them. An undecodable
    /// record is passed over and counted in the second value.
    ///
    /// # Errors
    /// [`StoreError`]; the cursor is unchanged for the lanes not yet read.
    pub fn events(
        &mut self,
        node: &Name,
        filter: &Filter,
        cursor: &mut Cursor,
        mut each: impl FnMut(CloudEvent),
    ) -> Result<u64, StoreError> {
        let mut undecodable = 0;
        for (lane, pos) in Lane::ALL.into_iter().zip(&mut cursor.0) {
            loop {
                let rows = self.after(lane, *pos, PAGE, PAGE_BYTES)?;
                let Some(last) = rows.last() else { break };
                *pos = last.pos;
                for row in rows {
                    let Item::Record(record) = row.item else { continue };
                    let Ok(decoded) = record.decode() else {
                        undecodable += 1;
                        continue;
                    };
                    let (id, version) = (record.type_id, record.schema_version);
                    let event =
                        CloudEvent::new(node.as_str(), id, version, &decoded.envelope, decoded.payload.as_ref());
                    if filter.matches(&event.event_type, decoded.envelope.occurred.at) {
                        each(event);
                    }
                }
            }
        }
        Ok(undecodable)
    }
}
