//! The e-stop latch on disk: two copies, each with a checksum, outside SQLite. Unreadable or disagreeing = pressed.
//!
//! Layout of each copy: `pressed` or `released`, a space, BLAKE3 of that word in hexadecimal, a newline. A write
//! replaces copy A, then copy B. A release is durable only after both.

use std::path::Path;

use crate::durable;

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
