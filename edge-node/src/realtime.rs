//! How threads that people's safety waits for are preferred over all others.

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::mm::{MlockAllFlags, mlockall};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tracing::warn;

static WARNED: AtomicBool = AtomicBool::new(false);

/// Priority under SCHED_FIFO, above everything of ours, below the kernel's own threads.
const PRIORITY: u8 = 40;

/// SCHED_FIFO for this thread, where the system permits it.
pub fn prefer_this_thread(name: &str) {
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let priority = ThreadPriorityValue::try_from(PRIORITY).map(ThreadPriority::Crossplatform);
    let set = priority.map(|priority| set_thread_priority_and_policy(thread_native_id(), priority, policy));
    // Once: writers come and go with their connections.
    if !matches!(set, Ok(Ok(()))) && !WARNED.swap(true, Ordering::Relaxed) {
        warn!("{name} runs without real-time priority: SCHED_FIFO is not permitted");
    }
}

/// Locks what memory the process has: once, at the start, since it holds up every thread.
pub fn lock_memory() {
    if let Err(error) = mlockall(MlockAllFlags::CURRENT) {
        warn!(%error, "memory is not locked");
    }
}
