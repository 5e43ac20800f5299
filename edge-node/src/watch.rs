//! How the node is, looked at once a second for the interlock: whether its journal commits, its disk has room, and its wall
//! clock goes as time does.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shared::units::{Uptime, UtcMicros};
use tokio::sync::watch;

use crate::clock;
use crate::interlock::rules::node::Ill;
use crate::journal::Journal;

/// It is looked at this often.
const PERIOD: Duration = Duration::from_secs(1);
/// A commit that takes longer, or failed within this time, is a journal that does not commit.
const STUCK: Duration = Duration::from_secs(2);
/// A wall clock that goes this much otherwise than time does between two looks has jumped.
const JUMP: Duration = Duration::from_secs(1);

/// What one look sees.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Time since boot.
    pub now: Uptime,
    /// Wall clock.
    pub wall: UtcMicros,
    /// Bytes that the disk has left, where that can be told.
    pub room: Option<u64>,
    /// Since when something waits for its commit, and when one last failed; microseconds since boot, 0: not.
    pub journal: [u64; 2],
}

/// What was seen before.
#[derive(Debug, Default)]
pub struct Watch {
    before: Option<(Uptime, UtcMicros)>,
}

impl Watch {
    /// What is wrong. `headroom`: bytes that the disk should have left.
    pub fn look(&mut self, look: &Look, headroom: u64) -> Ill {
        let lately = |at: u64, within: bool| at != 0 && (look.now.since(Uptime(at)) < STUCK) == within;
        let [stuck_since, failed_at] = look.journal;
        let clock = self.before.replace((look.now, look.wall)).is_some_and(|(then, wall)| {
            let passed = i64::try_from(look.now.since(then).as_micros()).unwrap_or(i64::MAX);
            let off = look.wall.0.saturating_sub(wall.0).saturating_sub(passed);
            Duration::from_micros(off.unsigned_abs()) > JUMP
        });
        Ill {
            journal: lately(stuck_since, false) || lately(failed_at, true),
            // What cannot be told is not enough.
            disk: look.room.is_none_or(|room| room < headroom),
            clock,
        }
    }
}

/// Looks until stopped.
pub async fn run(
    folder: PathBuf,
    headroom: u64,
    journal: Journal,
    tell: impl Fn(Ill) + Send,
    mut stop: watch::Receiver<bool>,
) {
    let (mut watch, mut ticks) = (Watch::default(), tokio::time::interval(PERIOD));
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            // Gone with the node.
            _ = stop.changed() => return,
        }
        // A disk that hangs hangs here too, and the interlock is then told nothing, which it takes for an answer.
        let disk = folder.clone();
        let room = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&disk).ok()).await.ok().flatten();
        let room = room.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        let counts = journal.counts();
        let journal = [&counts.stuck_since, &counts.failed_at].map(|at| at.load(Ordering::Relaxed));
        tell(watch.look(&Look { now: clock::uptime(), wall: clock::utc(), room, journal }, headroom));
    }
}
