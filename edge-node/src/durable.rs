//! How a small file is replaced so that a power cut leaves the old one or the new one: file, fsync, rename, fsync of the
//! folder. And how one process at a time has a folder.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file that one holder at a time has locked (flock).
#[derive(Debug)]
pub struct Locked(File);

impl Locked {
    /// Locks `folder/name`, making it if it is not there; `None` while another has it.
    ///
    /// # Errors
    /// The disk's.
    pub fn take(folder: &Path, name: &str) -> std::io::Result<Option<Self>> {
        let file = File::create(folder.join(name))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for Locked {
    /// Closing is not enough: a child process that was forked and has not yet become its program has the file open too,
    /// and the lock would be held until it has.
    fn drop(&mut self) {
        // It cannot fail for an open file.
        let _ = self.0.unlock();
    }
}

/// Replaces `folder/name`; `mode` is the new file's.
///
/// # Errors
/// The disk's; the file is then as it was, or new.
pub fn write(folder: &Path, name: &str, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let made = folder.join(format!("{name}.new"));
    let mut file = File::options().create(true).truncate(true).write(true).mode(mode).open(&made)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&made, folder.join(name))?;
    sync(folder)
}

/// Removes `folder/name`, if it is there.
///
/// # Errors
/// The disk's.
pub fn remove(folder: &Path, name: &str) -> std::io::Result<()> {
    match std::fs::remove_file(folder.join(name)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => sync(folder),
    }
}

/// Makes a folder that only its owner can look into.
///
/// # Errors
/// The disk's.
pub fn private_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Files of a folder that end so, in the order of their names.
///
/// # Errors
/// A folder that cannot be read.
pub fn files(folder: &Path, extension: &str) -> std::io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == extension)).collect();
    files.sort();
    Ok(files)
}

/// Removes the first of a folder's files until so many bytes more fit into its quota.
///
/// # Errors
/// The disk's.
pub fn make_room(folder: &Path, extension: &str, quota: u64, more: u64) -> std::io::Result<()> {
    let files = files(folder, extension)?;
    let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |meta| meta.len());
    let mut total: u64 = files.iter().map(size).sum();
    for path in files {
        if total + more <= quota {
            break;
        }
        total -= size(&path).min(total);
        std::fs::remove_file(&path)?;
    }
    Ok(())
}

fn sync(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}
