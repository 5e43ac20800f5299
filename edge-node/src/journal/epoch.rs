//! Where a new epoch begins: behind the furthest that anybody knows of a lane.
//!
//! The file itself may have lost its tail. The catalogue, what this process has committed, what the other file saw a
//! moment ago, and the relay's ack may know more; then the lost tail is a hole with a name and no place is used twice.

use std::path::Path;

use shared::ids::Lane;
use tracing::error;

use super::block::{Block, Head};
use super::catalogue;
use super::segment::{Segment, StoreError, write};
use super::store::{BULK, Bulk, Heads, Store, URGENT, bulk_numbers, bulk_path, path_in};

impl Store {
    /// Begins a new epoch in the urgent or the bulk lanes: writes its `Opened`.
    pub(super) fn begin(&mut self, lanes: &[Lane], bulk: bool) -> Result<(), StoreError> {
        let epoch = (self.new_epoch)();
        let catalogue_at = |source| StoreError::Sqlite { file: path_in(&self.folder).display().to_string(), source };
        let mut parents = Vec::new();
        for lane in lanes {
            let own = self.bulk.as_ref().filter(|_| bulk).map_or(&self.urgent, |bulk| &bulk.segment);
            let tail = own.tail(*lane).map_err(StoreError::at(&own.path))?;
            let witnessed = self.urgent.witnessed(*lane).map_err(catalogue_at)?;
            let catalogued = catalogue::last_end(&self.urgent.db, *lane).map_err(catalogue_at)?;
            let acked = catalogue::acked(&self.urgent.db, *lane).map_err(catalogue_at)?;
            let committed = self.heads.get(*lane as usize).copied();
            let known = [tail, witnessed, catalogued, Some(acked), committed];
            let parent = known.into_iter().flatten().max_by_key(|head| head.pos).unwrap_or(Head::NONE);
            if tail.map_or(0, |tail| tail.pos) < parent.pos && catalogued.map_or(0, |end| end.pos) < parent.pos {
                error!(%lane, from = tail.map_or(0, |tail| tail.pos), to = parent.pos, "tail is lost: a named gap");
            }
            catalogue::begun(&self.urgent.db, *lane, &parent).map_err(catalogue_at)?;
            parents.push((*lane, parent));
        }
        let mut heads = self.heads;
        let own = self.bulk.as_mut().filter(|_| bulk).map_or(&mut self.urgent, |bulk| &mut bulk.segment);
        let at = StoreError::at(&own.path);
        let tx = own.db.transaction().map_err(at)?;
        for (lane, parent) in parents {
            let mut block = Block::new(Head { pos: parent.pos, epoch, ..Head::NONE });
            block.push_opened(&parent.opened());
            write(&tx, lane, &block).map_err(at)?;
            if let Some(head) = heads.get_mut(lane as usize) {
                *head = block.after;
            }
        }
        tx.commit().map_err(at)?;
        self.heads = heads;
        Ok(())
    }

    /// Keeps in each file where the other's lanes stand.
    pub(super) fn bear_witness(&mut self) -> Result<(), StoreError> {
        let moved = |lanes: &[Lane]| -> Vec<(Lane, Head)> {
            let heads = Lane::ALL.into_iter().zip(self.heads).zip(self.witnessed);
            let moved = heads.filter(|((lane, head), seen)| lanes.contains(lane) && head != seen);
            moved.map(|(moved, _)| moved).collect()
        };
        let (urgent, bulk) = (moved(&URGENT), moved(&BULK));
        if !bulk.is_empty() {
            self.urgent.witness(&bulk).map_err(StoreError::at(&self.urgent.path))?;
        }
        if let Some(Bulk { segment, .. }) = self.bulk.as_ref().filter(|_| !urgent.is_empty()) {
            segment.witness(&urgent).map_err(StoreError::at(&segment.path))?;
        }
        self.witnessed = self.heads;
        Ok(())
    }
}

/// Where the urgent lanes stood when the newest segments were last told: two of them, since one may be new.
pub fn seen_by_bulk(folder: &Path) -> Heads {
    let mut seen = [Head::NONE; Lane::ALL.len()];
    for number in bulk_numbers(folder).unwrap_or_default().into_iter().rev().take(2) {
        // One that cannot be read is mended when it is opened.
        let Ok(segment) = Segment::read(&bulk_path(folder, number)) else { continue };
        let told = Lane::ALL.map(|lane| segment.witnessed(lane).ok().flatten().unwrap_or(Head::NONE));
        seen = further(seen, told);
    }
    seen
}

/// Of each lane the further head.
pub fn further(mut heads: Heads, others: Heads) -> Heads {
    for (head, other) in heads.iter_mut().zip(others) {
        *head = if other.pos > head.pos { other } else { *head };
    }
    heads
}
