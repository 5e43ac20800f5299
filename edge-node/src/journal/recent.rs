//! The ids of the newest events, so that an event sent again after an unknown outcome is recognised.

use std::collections::{HashSet, VecDeque};

use shared::ids::{EventId, Lane};
use shared::wire::Item;

use super::segment::StoreError;
use super::store::Store;

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
