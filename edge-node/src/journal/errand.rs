//! What the journal's thread is asked beside keeping events: to move the outbox cursor, to make a damaged file anew, to
//! keep what the relay sent. None of it waits for a commit of events, and none of it holds one up for long.

use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;

use shared::ids::Lane;
use tokio::sync::oneshot;

use super::block::Head;
use super::catalogue;
use super::inbox::{self, Letter};
use super::segment::StoreError;
use super::signed::{self, Signer};
use super::store::Store;

/// Errands waiting for the writer, which looks at them several times a second. Full: who asks waits.
pub const ERRANDS: usize = 64;

/// Moves the outbox cursor and tells of unreadable files; held by the uplink, which moves it, and the scrub.
#[derive(Clone)]
pub struct Acks {
    pub(super) queue: SyncSender<Errand>,
}

pub(super) enum Errand {
    Acked(Lane, Head),
    Damaged(PathBuf),
    Letter(Letter, oneshot::Sender<bool>),
}

impl Acks {
    /// Everything up to `head` of the lane is at the relay; an earlier one rewinds. Waits while [`ERRANDS`] are waiting.
    pub fn ack(&self, lane: Lane, head: Head) {
        // A lost cursor only repeats a batch, which the relay recognises.
        let _ = self.queue.send(Errand::Acked(lane, head));
    }

    /// A file cannot be read: the writer makes it anew of what can be.
    pub fn damaged(&self, file: &Path) {
        let _ = self.queue.send(Errand::Damaged(file.to_owned()));
    }

    /// Keeps what the relay sent; false where it could not be, so that the relay must be asked for it again. Does not wait
    /// for room in the queue: the relay keeps the letter meanwhile.
    pub async fn keep(&self, letter: Letter) -> bool {
        let (kept, answer) = oneshot::channel();
        self.queue.try_send(Errand::Letter(letter, kept)).is_ok() && answer.await.unwrap_or(false)
    }
}

impl Store {
    /// Signs where each lane stands, unless it is signed already.
    ///
    /// # Errors
    /// [`StoreError`]; the next turn signs.
    pub fn sign(&mut self, signer: &Signer) -> Result<(), StoreError> {
        let at = StoreError::at(&self.urgent.path);
        let tx = self.urgent.db.transaction().map_err(at)?;
        for (lane, head) in Lane::ALL.into_iter().zip(self.heads).filter(|(_, head)| head.pos > 0) {
            if signed::up_to(&tx, lane, head.epoch).map_err(at)? != Some(head.seq)
                && let Some(by) = signer(lane, &head)
            {
                signed::keep(&tx, lane, &head, &by).map_err(at)?;
            }
        }
        tx.commit().map_err(at)
    }

    /// Keeps a letter of the relay.
    ///
    /// # Errors
    /// [`StoreError`]; nothing of it is kept.
    pub fn keep_letter(&mut self, letter: &Letter) -> Result<(), StoreError> {
        inbox::keep(&mut self.urgent.db, letter).map_err(StoreError::at(&self.urgent.path))
    }

    /// Moves a lane's outbox cursor: everything up to it is at the relay. An earlier one rewinds.
    ///
    /// # Errors
    /// The cursor is unchanged, and the relay recognises what is sent again.
    pub fn ack(&mut self, cursors: &[(Lane, Head)]) -> Result<(), StoreError> {
        let at = StoreError::at(&self.urgent.path);
        let tx = self.urgent.db.transaction().map_err(at)?;
        for (lane, head) in cursors {
            catalogue::ack(&tx, *lane, head).map_err(at)?;
        }
        tx.commit().map_err(at)
    }
}
