//! Pictures and clips beside the journal, each named by its BLAKE3; events of the media lane refer to them by it.
//!
//! Layout of `media/` in the data folder: `new/` (being written; emptied at the start), `waiting/HASH` (not at the relay
//! yet), `sent/HASH`. Limits are [`MediaConfig`]. A file is kept by one recipe: written, synced, renamed, folder synced.
//! Over the quota the oldest sent ones go first, which the relay has, then the oldest that wait, each named by a
//! `media.dropped` event; of both, what an alert asked for (`locked/HASH` beside it) goes last.

pub mod http;

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::Deserialize;
use shared::event::{MediaDropped, Payload};
use shared::ids::Digest;
use tracing::warn;

const MIB: u64 = 1024 * 1024;

/// Sizes, in MiB in the configuration.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MediaConfig {
    /// Room of all of them.
    #[serde(rename = "quota_mib")]
    quota: u64,
    /// Largest one.
    #[serde(rename = "largest_mib")]
    largest: u64,
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self { quota: 2048, largest: 64 }
    }
}

impl MediaConfig {
    /// Largest one, in bytes.
    pub const fn largest(&self) -> u64 {
        self.largest * MIB
    }

    /// Key and expectation of a value that would make no sense, if there is one.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        let Self { quota, largest } = *self;
        if !(1..=1024).contains(&largest) {
            return Some(("largest_mib", format!("expected 1 to 1024, found {largest}")));
        }
        let fits = (largest..=1024 * 1024).contains(&quota);
        (!fits).then(|| ("quota_mib", format!("expected at least largest_mib, at most 1048576, found {quota}")))
    }
}

/// The store: cheap to clone.
#[derive(Debug, Clone)]
pub struct Media {
    folder: Arc<PathBuf>,
    config: MediaConfig,
    drafts: Arc<AtomicU64>,
    /// Held while files move between the folders or go.
    moving: Arc<Mutex<()>>,
}

/// How long a file is to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// As long as there is room.
    Plain,
    /// An alert asked for it: longer than the plain ones.
    Alert,
}

/// The events that name what had to go before it was sent.
pub fn dropped(gone: Vec<(Blob, bool)>) -> impl Iterator<Item = Payload> {
    gone.into_iter().filter(|(_, was_sent)| !was_sent).map(|(Blob { hash, bytes }, _)| {
        warn!(%hash, bytes, "media is dropped before it was sent: the quota is full");
        Payload::MediaDropped(MediaDropped { hash: hash.to_string(), bytes, reason: "quota".into() })
    })
}

/// A file that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// BLAKE3 of its bytes.
    pub hash: Digest,
    /// Bytes.
    pub bytes: u64,
}

/// Why a file was not kept.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// Larger than one may be: the same file will be refused again.
    #[error("larger than {0} bytes")]
    TooLarge(u64),
    /// The disk refused.
    #[error("{0}")]
    Disk(#[from] std::io::Error),
}

impl Media {
    /// Opens the store of a data folder, making it if it is not there.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(data: &Path, config: MediaConfig) -> std::io::Result<Self> {
        let folder = data.join("media");
        for name in ["new", "waiting", "sent", "locked"] {
            std::fs::create_dir_all(folder.join(name))?;
        }
        // What was being written when the power failed was acknowledged to nobody.
        for draft in std::fs::read_dir(folder.join("new"))? {
            std::fs::remove_file(draft?.path())?;
        }
        // Marks of files that are gone mark nothing.
        for mark in std::fs::read_dir(folder.join("locked"))? {
            let mark = mark?;
            let there = ["waiting", "sent"].iter().any(|state| folder.join(state).join(mark.file_name()).exists());
            if !there {
                std::fs::remove_file(mark.path())?;
            }
        }
        let (drafts, moving) = (Arc::default(), Arc::default());
        Ok(Self { folder: Arc::new(folder), config, drafts, moving })
    }

    /// Begins a file.
    ///
    /// # Errors
    /// The disk's.
    pub fn draft(&self) -> Result<Draft, MediaError> {
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("new/{number}"));
        let file = File::create(&path)?;
        let (most, hasher) = (self.config.largest * MIB, Box::new(blake3::Hasher::new()));
        Ok(Draft { file, path, hasher, bytes: 0, most })
    }

    /// Keeps a draft durably, for the relay; gives it with what had to go for its room, each with whether it was sent.
    /// One that is there already is there once.
    ///
    /// # Errors
    /// The disk's; the draft is then gone.
    pub fn keep(&self, draft: Draft, rank: Rank) -> Result<(Blob, Vec<(Blob, bool)>), MediaError> {
        draft.file.sync_all()?;
        let blob = Blob { hash: Digest(*draft.hasher.finalize().as_bytes()), bytes: draft.bytes };
        let _moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let dropped = self.make_room(blob)?;
        if rank == Rank::Alert {
            // Before the file is there: one without its mark would go too early after a power cut.
            File::create(self.path("locked", blob.hash))?;
            File::open(self.folder.join("locked"))?.sync_all()?;
        }
        if !self.path("sent", blob.hash).exists() {
            std::fs::rename(&draft.path, self.path("waiting", blob.hash))?;
            File::open(self.folder.join("waiting"))?.sync_all()?;
        }
        Ok((blob, dropped))
    }

    /// The file that has waited longest for the relay.
    ///
    /// # Errors
    /// The disk's.
    pub fn oldest(&self) -> std::io::Result<Option<Blob>> {
        Ok(self.list("waiting")?.into_iter().map(|(_, blob)| blob).next())
    }

    /// Bytes of a waiting file from an offset on, at most so many; empty at its end, `None` where it is gone.
    ///
    /// # Errors
    /// The disk's.
    pub fn read(&self, hash: Digest, offset: u64, most: usize) -> std::io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.path("waiting", hash)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let left = file.metadata()?.len().saturating_sub(offset);
        let mut bytes = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(most)];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(Some(bytes))
    }

    /// Whether a waiting file is still what it was kept as.
    ///
    /// # Errors
    /// The disk's.
    pub fn is_whole(&self, hash: Digest) -> std::io::Result<bool> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(self.path("waiting", hash))?)?;
        Ok(hasher.finalize().as_bytes() == &hash.0)
    }

    /// The relay has it: it stays while there is room.
    ///
    /// # Errors
    /// The disk's: it will be offered again, and the relay knows it.
    pub fn sent(&self, hash: Digest) -> std::io::Result<()> {
        let _moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        std::fs::rename(self.path("waiting", hash), self.path("sent", hash))
    }

    /// Removes a waiting file for good.
    ///
    /// # Errors
    /// The disk's.
    pub fn drop_waiting(&self, hash: Digest) -> std::io::Result<()> {
        let _moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        std::fs::remove_file(self.path("waiting", hash))?;
        self.unlock(hash);
        Ok(())
    }

    fn path(&self, state: &str, hash: Digest) -> PathBuf {
        self.folder.join(format!("{state}/{hash}"))
    }

    fn unlock(&self, hash: Digest) {
        // Most have no mark; one that stays marks nothing.
        let _ = std::fs::remove_file(self.path("locked", hash));
    }

    /// A file's bytes, wherever it lies, and whether it is there: for people who look at it.
    ///
    /// # Errors
    /// The disk's.
    pub fn open_kept(&self, hash: Digest) -> std::io::Result<Option<File>> {
        for state in ["waiting", "sent"] {
            match File::open(self.path(state, hash)) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => return other.map(Some),
            }
        }
        Ok(None)
    }

    /// Oldest first; files that are not ours are passed over.
    fn list(&self, state: &str) -> std::io::Result<Vec<(SystemTime, Blob)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.folder.join(state))? {
            let entry = entry?;
            let Some(hash) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // Moved or dropped since the folder was read.
            let Ok(file) = entry.metadata() else { continue };
            found.push((file.modified()?, Blob { hash, bytes: file.len() }));
        }
        found.sort_by_key(|(at, blob)| (*at, blob.hash.0));
        Ok(found)
    }

    fn make_room(&self, coming: Blob) -> std::io::Result<Vec<(Blob, bool)>> {
        let (sent, waiting) = (self.list("sent")?, self.list("waiting")?);
        let all = sent.iter().map(|(_, blob)| (*blob, true)).chain(waiting.iter().map(|(_, blob)| (*blob, false)));
        let locked = |blob: &Blob| self.path("locked", blob.hash).exists();
        let mut all: Vec<(Blob, bool)> = all.filter(|(blob, _)| blob.hash != coming.hash).collect();
        // Oldest first within each kind: the sort is stable.
        all.sort_by_cached_key(|(blob, was_sent)| (!was_sent, locked(blob)));
        let mut used: u64 = coming.bytes + sent.iter().chain(&waiting).map(|(_, blob)| blob.bytes).sum::<u64>();
        let mut gone = Vec::new();
        for (blob, was_sent) in all {
            if used <= self.config.quota * MIB {
                break;
            }
            std::fs::remove_file(self.path(if was_sent { "sent" } else { "waiting" }, blob.hash))?;
            self.unlock(blob.hash);
            used = used.saturating_sub(blob.bytes);
            gone.push((blob, was_sent));
        }
        Ok(gone)
    }
}

/// A file that is being written; gone when dropped without being kept.
#[derive(Debug)]
pub struct Draft {
    file: File,
    path: PathBuf,
    hasher: Box<blake3::Hasher>,
    bytes: u64,
    most: u64,
}

impl Draft {
    /// Bytes that it may still take.
    pub const fn room(&self) -> u64 {
        self.most.saturating_sub(self.bytes)
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// [`MediaError`]; the draft is of no use then.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), MediaError> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.most {
            return Err(MediaError::TooLarge(self.most));
        }
        self.hasher.update(bytes);
        Ok(self.file.write_all(bytes)?)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Kept, it is elsewhere by now; else it was acknowledged to nobody.
        let _ = std::fs::remove_file(&self.path);
    }
}
