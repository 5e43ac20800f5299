//! The e-stop latch on disk: two copies, each with a checksum, outside SQLite. Unreadable or disagreeing = pressed.
//!
//! Layout of each copy: `released`, `pressed` for the whole site, or `pressed` and the names of vehicles; a space, BLAKE3 of
//! what stands before it in hexadecimal, a newline. A write replaces copy A, then copy B. A release is durable only after
//! both.

use std::path::Path;

use anyhow::Context;
use shared::ids::Name;
use tracing::{info, warn};

use super::rules::estop::Latched;
use crate::durable;
use crate::journal::store::path_in;

const COPIES: [&str; 2] = ["estop.a", "estop.b"];

/// What the disk says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Latch {
    /// Both copies say released.
    Released,
    /// Both copies say pressed, for these vehicles; none: for the whole site.
    Pressed(Vec<String>),
    /// A copy is missing, damaged, or they disagree: counts as pressed.
    Unknown,
    /// There was never a latch here: counts as released.
    Absent,
}

/// Reads the latch of a data folder.
pub fn read(folder: &Path) -> Latch {
    let [a, b] = COPIES.map(|name| std::fs::read_to_string(folder.join(name)));
    match (a, b) {
        (Ok(a), Ok(b)) if a == b => words(&a).unwrap_or(Latch::Unknown),
        (Err(a), Err(b)) if is_absent(&a) && is_absent(&b) => Latch::Absent,
        _ => Latch::Unknown,
    }
}

/// How the e-stop begins. Only a data folder without a journal is new: there the latch is written as released; a latch
/// missing beside a journal counts as pressed, and so does one that names a vehicle that the site has not.
///
/// # Errors
/// A new folder that cannot be written.
pub fn at_start(folder: &Path, vehicles: &[Name]) -> anyhow::Result<Latched> {
    let found = read(folder);
    info!(?found, "e-stop latch");
    let site = |pressed| Ok(Latched::new(vehicles.len(), pressed));
    match found {
        Latch::Released => site(false),
        Latch::Unknown => site(true),
        Latch::Pressed(names) if names.is_empty() => site(true),
        Latch::Pressed(names) => {
            if let Some(unknown) = names.iter().find(|name| !vehicles.iter().any(|known| known.as_str() == *name)) {
                warn!(
                    vehicle = unknown,
                    "e-stop latch names a vehicle that the site has not: the whole site is stopped"
                );
                return site(true);
            }
            let pressed = vehicles.iter().map(|known| names.iter().any(|name| name == known.as_str()));
            Ok(Latched { site: false, vehicles: pressed.collect() })
        }
        Latch::Absent if path_in(folder).exists() => site(true),
        Latch::Absent => {
            std::fs::create_dir_all(folder).context("make the data folder")?;
            let latched = Latched::new(vehicles.len(), false);
            write(folder, &latched, vehicles).context("write the latch")?;
            Ok(latched)
        }
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}

fn text(latched: &Latched, vehicles: &[Name]) -> String {
    let mut words = if latched.any() { "pressed" } else { "released" }.to_owned();
    let names = vehicles.iter().zip(&latched.vehicles).filter(|(_, pressed)| **pressed && !latched.site);
    for (name, _) in names {
        words.push(' ');
        words.push_str(name.as_str());
    }
    format!("{words} {}\n", blake3::hash(words.as_bytes()).to_hex())
}

fn words(copy: &str) -> Option<Latch> {
    let (words, sum) = copy.strip_suffix('\n')?.rsplit_once(' ')?;
    if blake3::hash(words.as_bytes()).to_hex().as_str() != sum {
        return None;
    }
    let mut words = words.split(' ');
    match words.next()? {
        "pressed" => Some(Latch::Pressed(words.map(str::to_owned).collect())),
        "released" => Some(Latch::Released).filter(|_| words.next().is_none()),
        _ => None,
    }
}

/// Writes both copies durably.
///
/// # Errors
/// The disk's; the latch then reads as unknown or as it was, never as released by halves.
pub fn write(folder: &Path, latched: &Latched, vehicles: &[Name]) -> std::io::Result<()> {
    for name in COPIES {
        durable::write(folder, name, text(latched, vehicles).as_bytes(), 0o644)?;
    }
    Ok(())
}
