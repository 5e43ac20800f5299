//! What the writer looks after between commits: errands, outbox cursors, quotas, thinning, the ballast, signed heads. No
//! event waits for any of it, and none of it takes long.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use shared::ids::Lane;
use shared::units::Uptime;
use tracing::{error, info};

use super::block::Head;
use super::errand::Errand;
use super::segment::StoreError;
use super::thin;
use super::writer::State;
use crate::clock;

/// Outbox cursors are written this often: one lost with a crash only repeats batches, which the relay recognises.
const ACK_PERIOD: Duration = Duration::from_millis(200);
/// Quotas, rotation and ballast are looked after this often.
const MAINTAIN_PERIOD: Duration = Duration::from_secs(1);
/// Heads are signed this often, and at the end.
const SIGN_PERIOD: Duration = Duration::from_secs(300);

impl State {
    /// Does what is due; all of it when the journal closes.
    pub(super) fn look_after(&mut self, errands: &Receiver<Errand>, now: Uptime, closing: bool) {
        for errand in errands.try_iter() {
            match errand {
                Errand::Acked(lane, head) => {
                    if let Some(cursor) = self.cursors.get_mut(lane as usize) {
                        *cursor = Some(head);
                    }
                }
                Errand::Damaged(file) => self.mend(&file, now),
                Errand::Letter(letter, done) => {
                    let kept = self.store.as_mut().map(|store| store.keep_letter(&letter));
                    if let Some(Err(error)) = &kept {
                        error!("letter of the relay cannot be kept: {error}");
                    }
                    let _ = done.send(matches!(kept, Some(Ok(()))));
                }
            }
        }
        let Some(store) = &mut self.store else { return };
        let moved: Vec<(Lane, Head)> =
            Lane::ALL.into_iter().zip(self.cursors).filter_map(|(lane, head)| Some((lane, head?))).collect();
        if !moved.is_empty() && (closing || now.since(self.acked) >= ACK_PERIOD) {
            self.acked = now;
            match store.ack(&moved) {
                Ok(()) => self.cursors = [None; Lane::ALL.len()],
                Err(error) => {
                    error!("outbox cursors cannot be moved: {error}");
                    self.mend_if_damaged(&error, now);
                }
            }
        }
        if closing || now.since(self.maintained) >= MAINTAIN_PERIOD {
            self.maintained = now;
            // First what gives room, then what is given up for room.
            self.put_thinned_in_place();
            match self.store.as_mut().map(|store| store.maintain(clock::utc().0)) {
                Some(Ok(Some(number))) if !closing && self.thinning.is_none() => self.begin_to_thin(number),
                Some(Err(error)) => {
                    error!("journal cannot be looked after: {error}");
                    self.mend_if_damaged(&error, now);
                }
                Some(Ok(_)) | None => {}
            }
        }
        if let Some((store, signer)) = self.store.as_mut().zip(self.signer.as_ref())
            && (closing || now.since(self.signed) >= SIGN_PERIOD)
        {
            self.signed = now;
            if let Err(error) = store.sign(signer) {
                error!("heads cannot be signed: {error}");
            }
        }
    }

    fn mend_if_damaged(&mut self, error: &StoreError, now: Uptime) {
        if let Some(file) = error.damaged_file() {
            self.mend(file, now);
        }
    }

    fn put_thinned_in_place(&mut self) {
        let finished = self.thinning.take_if(|(_, thread)| thread.is_finished());
        let (Some((number, thread)), Some(store)) = (finished, &self.store) else { return };
        let made = thread.join().unwrap_or_else(|_| Err(StoreError::other(&self.folder, "thinning has panicked")));
        let placed = made.and_then(|gone| thin::put_in_place(&store.urgent, &self.folder, number).map(|()| gone));
        match placed {
            Ok(gone) => info!(number, gone, "telemetry of a segment that was not sent is thinned"),
            Err(error) => {
                // It would fail again: it goes whole when its room is needed.
                error!("segment cannot be thinned: {error}");
                if let Err(error) = thin::mark(&store.urgent, number) {
                    error!("failed to {error}");
                }
            }
        }
    }

    fn begin_to_thin(&mut self, number: i64) {
        let folder = self.folder.clone();
        let thread = std::thread::Builder::new().name("thin".into()).spawn(move || thin::make(&folder, number));
        self.thinning = thread.ok().map(|thread| (number, thread));
    }
}
