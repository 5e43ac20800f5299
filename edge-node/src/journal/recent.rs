//! The ids of the newest events, so that an event sent again after an unknown outcome is recognised.

use std::collections::{HashSet, VecDeque};

use shared::ids::EventId;
use uuid::Uuid;

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
    /// SQLite's.
    pub fn read(store: &Store) -> rusqlite::Result<Self> {
        let mut recent = Self::default();
        store.newest_ids(REMEMBERED / 5, |id| recent.add(EventId(Uuid::from_bytes(id))))?;
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
