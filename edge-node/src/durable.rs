//! How a small file is replaced so that a power cut leaves the old one or the new one: file, fsync, rename, fsync of the
//! folder.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

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

fn sync(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}
