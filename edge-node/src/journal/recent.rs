//! The ids of the newest events, so that an event sent again after an unknown outcome is recognised.

use std::collections::{HashSet, VecDeque};

use shared::ids::{EventId, Lane};
use shared::wire::Item;

use super::block::Block;
use super::segment::{Segment, StoreError};
use super::store::{Store, bulk_numbers, bulk_path, is_urgent};

/// Ids remembered: about a minute at 1 000 events/s, in 2 MB. An older repeat is stored again.
pub const REMEMBERED: usize = 65_536;

/// The newest ids.
#[derive(Debug, Default)]
pub struct Recent {
    order: VecDeque<EventId>,
    ids: HashSet<EventId>,
}

impl Recent {
    /// The newest ids of a journal, of each lane its share.
    ///
    /// # Errors
    /// [`StoreError`] naming the file.
    pub fn read(store: &Store) -> Result<Self, StoreError> {
        let mut recent = Self::default();
        for lane in Lane::ALL {
            // Newest first: they are remembered in the order they came.
            let mut ids = Vec::new();
            store.newest(lane, |block| {
                ids.extend(block.rows().iter().rev().filter_map(|row| match &row.item {
                    Item::Record(record) => record.event_id(),
                    Item::Skip { .. } | Item::Opened(_) => None,
                }));
                ids.len() < REMEMBERED / Lane::ALL.len()
            })?;
            ids.into_iter().rev().for_each(|id| recent.add(id));
        }
        Ok(recent)
    }

    /// Remembers what another knows, too.
    pub fn join(&mut self, other: Self) {
        other.order.into_iter().for_each(|id| self.add(id));
    }

    /// Whether the id is among them.
    pub fn has(&self, id: EventId) -> bool {
        self.ids.contains(&id)
    }

    /// Remembers an id, forgetting the oldest.
    pub fn add(&mut self, id: EventId) {
        if self.ids.insert(id) {
            self.order.push_back(id);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

impl Store {
    /// The blocks of a lane, newest first, while `each` wants more: in the file that is written now, then in the sealed
    /// segments, as far as those can be read.
    ///
    /// # Errors
    /// [`StoreError`] naming the file that is written now.
    pub fn newest(&self, lane: Lane, mut each: impl FnMut(&Block) -> bool) -> Result<(), StoreError> {
        let mut pos = self.heads.get(lane as usize).map_or(0, |head| head.pos);
        if is_urgent(lane) {
            return walk_back(&self.urgent, lane, &mut pos, &mut each).map(|_| ());
        }
        let Some(bulk) = &self.bulk else { return Ok(()) };
        let mut more = walk_back(&bulk.segment, lane, &mut pos, &mut each)?;
        let numbers = bulk_numbers(&self.folder).map_err(StoreError::file(&self.folder))?;
        for number in numbers.into_iter().rev().filter(|number| *number < bulk.number) {
            if !more {
                break;
            }
            // One that cannot be read is the scrub's.
            let Ok(older) = Segment::read(&bulk_path(&self.folder, number)) else { continue };
            more = walk_back(&older, lane, &mut pos, &mut each).unwrap_or(true);
        }
        Ok(())
    }
}

/// The blocks of a lane in one file that end at `pos` or before, newest first; whether `each` wants more.
fn walk_back(
    segment: &Segment,
    lane: Lane,
    pos: &mut i64,
    each: &mut impl FnMut(&Block) -> bool,
) -> Result<bool, StoreError> {
    while *pos > 0 {
        let block = segment.block_at(lane, *pos).map_err(StoreError::at(&segment.path))?;
        let Some(block) = block.filter(|block| block.before.pos < *pos) else { return Ok(true) };
        *pos = block.before.pos;
        if !each(&block) {
            return Ok(false);
        }
    }
    Ok(false)
}
