//! The usual view of each camera on disk, a small file beside the journal: a camera that somebody turned while the node was
//! off is not what it was when it comes back.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use shared::ids::Name;
use tracing::warn;

use super::CameraConfig;
use super::view::Usual;
use crate::durable;

/// How often what is usual is written down, as often as it follows what is seen: a power cut costs no more.
pub const WRITES: Duration = Duration::from_secs(600);

/// What is usual for a camera now; `None`: what was is to be forgotten.
pub type Change = (Name, Option<Usual>);

/// Whose views are kept: cameras that show what is now.
#[derive(Debug, Clone)]
pub struct ViewStore {
    /// By camera.
    kept: Vec<Option<(Name, Option<Usual>)>>,
    changes: SyncSender<Change>,
}

impl ViewStore {
    /// Reads what is kept. What is to be written, by [`keep`], comes out of the other end.
    pub fn open(folder: &Path, cameras: &[CameraConfig]) -> (Self, Receiver<Change>) {
        // For each camera one that waits while another is written, and one when the node stops.
        let (changes, written) = sync_channel(2 * cameras.len());
        let kept = |name: &Name| (name.clone(), read(folder, name));
        let kept = cameras.iter().map(|camera| camera.live().then(|| kept(&camera.name))).collect();
        (Self { kept, changes }, written)
    }

    /// What was usual for a camera when the store was opened.
    pub fn usual(&self, camera: usize) -> Option<Usual> {
        self.kept.get(camera)?.as_ref()?.1.clone()
    }

    /// Has it written down, without a wait; whether it has been taken.
    pub fn offer(&self, camera: usize, usual: Option<Usual>) -> bool {
        let kept = self.kept.get(camera).and_then(Option::as_ref);
        kept.is_none_or(|(name, _)| self.changes.try_send((name.clone(), usual)).is_ok())
    }
}

/// Reads it; `None`: none is kept, or what is there is none of ours, which is learned anew.
pub fn read(folder: &Path, camera: &Name) -> Option<Usual> {
    let bytes = match std::fs::read(folder.join(file(camera))) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            warn!(%camera, %error, "the usual view cannot be read: it is learned anew");
            return None;
        }
    };
    let usual: Result<Usual, _> = serde_json::from_slice(&bytes);
    usual.inspect_err(|error| warn!(%camera, %error, "the usual view cannot be read: it is learned anew")).ok()
}

/// Writes what comes until nobody can send more; a power cut leaves the old view or the new one.
pub fn keep(folder: &Path, changes: &Receiver<Change>) {
    for (camera, usual) in changes {
        let done = match usual {
            Some(usual) => {
                let bytes = serde_json::to_vec(&usual).unwrap_or_default();
                durable::write(folder, &file(&camera), &bytes, 0o600)
            }
            None => durable::remove(folder, &file(&camera)),
        };
        if let Err(error) = done {
            warn!(%camera, %error, "the usual view is not written down");
        }
    }
}

fn file(camera: &Name) -> String {
    format!("view-{camera}.json")
}
