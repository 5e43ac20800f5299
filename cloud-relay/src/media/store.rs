//! The folder of media: `whole/TENANT/HASH` what is all there, `partial/TENANT.NODE.HASH` what is on its way.
//!
//! A piece is appended under a lock and not synced; the last one is synced, the whole is held against its name, and only
//! then renamed. So a crash of the relay may cost pieces, which the node sends again, and never leaves a wrong file.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use shared::identity::Identity;
use shared::ids::{Digest, Name};
use shared::media::Progress;
use tracing::info;

/// Files of one node that may be on their way; the oldest goes. A node sends one after the other.
const PARTIAL_MAX: usize = 8;
/// What has not grown for this long does not come any more.
const PARTIAL_AGE: Duration = Duration::from_secs(30 * 86_400);
/// How often old files are looked for.
const SWEEP: Duration = Duration::from_secs(3600);

/// The folder: cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    folder: Arc<PathBuf>,
    most: u64,
}

/// A part of a file.
#[derive(Debug)]
pub struct Piece {
    /// Where it begins.
    pub offset: u64,
    /// Length of the whole.
    pub length: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What became of a piece.
#[derive(Debug, PartialEq, Eq)]
pub enum Added {
    /// It is there.
    Taken(Progress),
    /// It begins elsewhere than where the file is.
    Elsewhere(Progress),
    /// The whole has another hash than its name: nothing of it is kept.
    Other,
    /// The whole would be larger than this.
    TooLarge(u64),
}

impl Store {
    /// Opens a folder, making it if it is not there. `most` is the largest file.
    ///
    /// # Errors
    /// A folder that cannot be used.
    pub fn open(folder: &Path, most: u64) -> anyhow::Result<Self> {
        for name in ["partial", "whole"] {
            std::fs::create_dir_all(folder.join(name)).with_context(|| format!("make {}", folder.display()))?;
        }
        Ok(Self { folder: Arc::new(folder.to_owned()), most })
    }

    /// Where a whole file is, if it is here.
    pub fn path(&self, tenant: &Name, hash: Digest) -> PathBuf {
        self.folder.join("whole").join(tenant.as_str()).join(hash.to_string())
    }

    fn partial(&self, of: &Identity, hash: Digest) -> PathBuf {
        self.folder.join(format!("partial/{}.{}.{hash}", of.tenant, of.node))
    }

    /// How far a file is.
    ///
    /// # Errors
    /// The disk's.
    pub fn progress(&self, of: &Identity, hash: Digest) -> anyhow::Result<Progress> {
        if let Ok(whole) = std::fs::metadata(self.path(&of.tenant, hash)) {
            return Ok(Progress { offset: whole.len(), complete: true });
        }
        let offset = match std::fs::metadata(self.partial(of, hash)) {
            Ok(partial) => partial.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error).context("look at media"),
        };
        Ok(Progress { offset, complete: false })
    }

    /// Adds a piece.
    ///
    /// # Errors
    /// The disk's; what was there before is there still.
    pub fn add(&self, of: &Identity, hash: Digest, piece: &Piece) -> anyhow::Result<Added> {
        let end = piece.offset.saturating_add(piece.bytes.len() as u64);
        if piece.length > self.most || end > piece.length {
            return Ok(Added::TooLarge(self.most.min(piece.length)));
        }
        let at = self.progress(of, hash)?;
        if at.complete {
            return Ok(Added::Elsewhere(at));
        }
        let path = self.partial(of, hash);
        if at.offset == 0 {
            self.make_room(of)?;
        }
        let mut file = File::options().create(true).append(true).open(&path).context("open media")?;
        // A request that the node has given up may be on its way still.
        file.try_lock().context("add to media: another request does")?;
        let offset = file.metadata().context("look at media")?.len();
        if offset != piece.offset {
            return Ok(Added::Elsewhere(Progress { offset, complete: false }));
        }
        if let Err(error) = file.write_all(&piece.bytes) {
            // Without room half a piece may be there.
            file.set_len(offset).context("take back half a piece of media")?;
            return Err(error).context("write media");
        }
        if end < piece.length {
            return Ok(Added::Taken(Progress { offset: end, complete: false }));
        }
        file.sync_all().context("sync media")?;
        self.finish(of, hash, &path)
    }

    fn finish(&self, of: &Identity, hash: Digest, path: &Path) -> anyhow::Result<Added> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(path).context("read media")?).context("read media")?;
        if hasher.finalize().as_bytes() != &hash.0 {
            std::fs::remove_file(path).context("remove media")?;
            return Ok(Added::Other);
        }
        let folder = self.folder.join("whole").join(of.tenant.as_str());
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        std::fs::rename(path, self.path(&of.tenant, hash)).context("name media")?;
        File::open(&folder).and_then(|folder| folder.sync_all()).context("sync the folder of media")?;
        Ok(Added::Taken(Progress { offset: hasher.count(), complete: true }))
    }

    /// Keeps a node's files on their way few.
    fn make_room(&self, of: &Identity) -> anyhow::Result<()> {
        let prefix = format!("{}.{}.", of.tenant, of.node);
        let mut own: Vec<(SystemTime, PathBuf)> = files(&self.folder.join("partial"))?;
        own.retain(|(_, path)| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)));
        own.sort();
        let many = own.len().saturating_sub(PARTIAL_MAX - 1);
        own.iter().take(many).try_for_each(|(_, path)| std::fs::remove_file(path)).context("remove old media")
    }

    /// Removes what was kept for its time, and what stopped coming; gives how many.
    ///
    /// # Errors
    /// The disk's.
    pub fn sweep(&self, keep: Duration, now: SystemTime) -> anyhow::Result<usize> {
        let mut removed = 0;
        let whole = files(&self.folder.join("whole"))?;
        let folders = whole.into_iter().map(|(_, tenant)| (tenant, keep));
        for (folder, keep) in folders.chain([(self.folder.join("partial"), PARTIAL_AGE)]) {
            for (at, path) in files(&folder)? {
                if now.duration_since(at).is_ok_and(|age| age > keep) {
                    std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    /// Sweeps for ever.
    ///
    /// # Errors
    /// Never: what fails is tried again.
    pub async fn keep_swept(self, keep: Duration) -> anyhow::Result<()> {
        loop {
            let store = self.clone();
            let swept = tokio::task::spawn_blocking(move || store.sweep(keep, crate::clock::now())).await?;
            match swept {
                Ok(0) => {}
                Ok(files) => info!(files, "media that was kept for its time is removed"),
                Err(error) => tracing::warn!("failed to {error:#}"),
            }
            tokio::time::sleep(SWEEP).await;
        }
    }
}

/// What is in a folder, with the time of its last change.
fn files(folder: &Path) -> anyhow::Result<Vec<(SystemTime, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry.context("read a folder of media")?;
        // One that is gone since then is nobody's loss.
        let Ok(file) = entry.metadata() else { continue };
        if let Ok(at) = file.modified() {
            found.push((at, entry.path()));
        }
    }
    Ok(found)
}
