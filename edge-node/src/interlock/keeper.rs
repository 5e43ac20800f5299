//! The latch thread: what is pressed reaches the disk off the safety thread.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use shared::ids::Name;
use tracing::error;

use super::latch;
use super::rules::estop::Latched;

/// So often it is tried when the node ends.
const TRIES_AT_END: u32 = 5;
/// A latch that could not be written is tried again after this time.
const LATCH_RETRY: Duration = Duration::from_millis(200);

/// What the latch shall say; a release acts once it does.
pub struct Write {
    /// What is latched then.
    pub latched: Latched,
    /// Whether that is a press.
    pub pressed: bool,
    /// Its number.
    pub press: u64,
    /// Who.
    pub by: String,
}

/// Persists the latch off the safety thread: the newest wish, until it is durable. A release goes back to the machine
/// only then (`released`).
pub fn keep(folder: &Path, names: &[Name], writes: &Receiver<Write>, released: impl Fn(u64, String)) {
    let (mut wished, mut ending): (Option<Write>, _) = (None, 0);
    loop {
        match (&wished, writes.recv_timeout(LATCH_RETRY)) {
            (_, Ok(newer)) => wished = Some(writes.try_iter().last().unwrap_or(newer)),
            (Some(_), Err(RecvTimeoutError::Timeout)) => {}
            (None, Err(RecvTimeoutError::Timeout)) => continue,
            (Some(_), Err(RecvTimeoutError::Disconnected)) if ending < TRIES_AT_END => {
                ending += 1;
                std::thread::sleep(LATCH_RETRY);
            }
            (_, Err(RecvTimeoutError::Disconnected)) => return,
        }
        let Some(wish) = wished.take() else { continue };
        match latch::write(folder, &wish.latched, names) {
            Ok(()) if !wish.pressed => released(wish.press, wish.by),
            Ok(()) => {}
            Err(error) => {
                error!(pressed = wish.pressed, %error, "latch cannot be written; trying again");
                wished = Some(wish);
            }
        }
    }
}
