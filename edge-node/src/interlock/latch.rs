//! The e-stop latch on disk: two copies, each with a checksum, outside SQLite. Unreadable or disagreeing = pressed.
//!
//! Layout of each copy: `pressed` or `released`, a space, BLAKE3 of that word in hexadecimal, a newline. A write
//! replaces copy A, then copy B. A release is durable only after both.

use std::path::Path;

use anyhow::Context;
use tracing::info;

use crate::durable;
use crate::journal::store::path_in;

const COPIES: [&str; 2] = ["estop.a", "estop.b"];

/// What the disk says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latch {
    /// Both copies say released.
    Released,
    /// Both copies say pressed.
    Pressed,
    /// A copy is missing, damaged, or they disagree: counts as pressed.
    Unknown,
    /// There was never a latch here: counts as released.
    Absent,
}

/// Reads the latch of a data folder.
pub fn read(folder: &Path) -> Latch {
    let [a, b] = COPIES.map(|name| std::fs::read_to_string(folder.join(name)));
    match (a, b) {
        (Ok(a), Ok(b)) => match (word(&a), word(&b)) {
            (Some(true), Some(true)) => Latch::Pressed,
            (Some(false), Some(false)) => Latch::Released,
            _ => Latch::Unknown,
        },
        (Err(a), Err(b)) if is_absent(&a) && is_absent(&b) => Latch::Absent,
        _ => Latch::Unknown,
    }
}

/// Whether the e-stop begins as pressed. Only a data folder without a journal is new: there the latch is written as
/// released; a latch missing beside a journal counts as pressed.
///
/// # Errors
/// A new folder that cannot be written.
pub fn at_start(folder: &Path) -> anyhow::Result<bool> {
    let found = read(folder);
    info!(?found, "e-stop latch");
    match found {
        Latch::Released => Ok(false),
        Latch::Pressed | Latch::Unknown => Ok(true),
        Latch::Absent if path_in(folder).exists() => Ok(true),
        Latch::Absent => {
            std::fs::create_dir_all(folder).context("make the data folder")?;
            write(folder, false).context("write the latch")?;
            Ok(false)
        }
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}

fn text(pressed: bool) -> String {
    let word = if pressed { "pressed" } else { "released" };
    format!("{word} {}\n", blake3::hash(word.as_bytes()).to_hex())
}

fn word(copy: &str) -> Option<bool> {
    [true, false].into_iter().find(|pressed| text(*pressed) == copy)
}

/// Writes both copies durably.
///
/// # Errors
/// The disk's; the latch then reads as unknown or as it was, never as released by halves.
pub fn write(folder: &Path, pressed: bool) -> std::io::Result<()> {
    for name in COPIES {
        durable::write(folder, name, text(pressed).as_bytes(), 0o644)?;
    }
    Ok(())
}
