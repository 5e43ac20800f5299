//! Waiting on conditions: each wait names what it waits for, its deadline, and what it last saw.

use std::time::{Duration, Instant};

/// How often a condition is looked at. Not a delay of its own: the condition ends the wait.
const LOOK: Duration = Duration::from_millis(20);

/// A moment of the runner's clock.
#[expect(clippy::disallowed_methods, reason = "the rig measures real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// Looks at a condition until it gives a value, or the deadline passes.
///
/// # Errors
/// What was waited for, and what was seen last.
pub fn until<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Result<T, String>) -> anyhow::Result<T> {
    let begun = now();
    loop {
        match look() {
            Ok(value) => return Ok(value),
            Err(seen) if begun.elapsed() > deadline => {
                anyhow::bail!("wait {deadline:?} for {what}: last seen: {seen}");
            }
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

/// As [`until`], for a condition that is asked over the network.
///
/// # Errors
/// What was waited for, and what was seen last.
pub async fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> anyhow::Result<T> {
    let begun = now();
    loop {
        match look().await {
            Ok(value) => return Ok(value),
            Err(seen) if begun.elapsed() > deadline => {
                anyhow::bail!("wait {deadline:?} for {what}: last seen: {seen}");
            }
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}
