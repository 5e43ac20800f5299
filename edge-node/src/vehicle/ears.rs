//! What a link's reading threads have: where packets go, counters, the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use shared::ids::Name;
use shared::units::Uptime;
use tracing::warn;

use super::LinkConfig;
use super::codec::{Packet, Parsed};
use super::way::Way;
use crate::clock;
use crate::health::{Metrics, Of};

/// Batches of one link waiting for the vehicles' thread: a tenth of a second at 2 500 datagrams a second. Full: the batch is
/// counted and lost, as the socket itself would have lost it, and other links are not hindered.
pub const QUEUE: usize = 256;
/// Packets of one batch: a datagram of thousands is several.
const BATCH: usize = 64;
/// Longest wait for bytes, so that a stop is noticed.
pub const WAIT: Duration = Duration::from_millis(100);

/// What a link says.
#[derive(Debug)]
pub enum Heard {
    /// A way to whoever is at the other end, before anything came from there.
    Opened(usize, Way),
    /// Packets that came over a way, and when.
    Packets(usize, Way, Vec<Packet>, Uptime),
    /// That way is no more.
    Closed(usize, Way),
}

/// What a reading thread has.
#[derive(Clone)]
pub struct Ears {
    /// Index of the link in the configuration.
    pub link: usize,
    /// The link.
    pub config: LinkConfig,
    /// Its batches that wait for the vehicles' thread.
    pub waiting: Arc<AtomicUsize>,
    /// The vehicles' thread.
    pub to: SyncSender<Heard>,
    /// Counters.
    pub metrics: Metrics,
    /// Ends the thread.
    pub stop: Arc<AtomicBool>,
}

impl Ears {
    /// Name of the link.
    pub const fn name(&self) -> &Name {
        &self.config.name
    }

    /// Whether the node is stopping.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits, unless the node stops.
    pub fn rest(&self, pause: Duration) {
        let mut left = pause;
        while !left.is_zero() && !self.stopped() {
            let part = left.min(WAIT);
            std::thread::sleep(part);
            left -= part;
        }
    }

    /// Something came over a way.
    pub fn hear(&self, parsed: Parsed, way: &Way) {
        let of = Of::new(self.name().as_str());
        self.metrics.mavlink_packets.get_or_create(&of).inc_by(parsed.packets.len() as u64);
        if let Some(offset) = parsed.first_garbage {
            let count = self.metrics.mavlink_garbage_bytes.get_or_create(&of);
            // Once: a broken sender would fill the log.
            if count.inc_by(parsed.garbage as u64) == 0 {
                warn!(link = %self.name(), %way, offset, bytes = parsed.garbage, "expected a MAVLink packet");
            }
        }
        let (now, mut packets) = (clock::uptime(), parsed.packets);
        while !packets.is_empty() {
            let rest = packets.split_off(packets.len().min(BATCH));
            let room = self.waiting.fetch_add(1, Ordering::Relaxed) < QUEUE;
            let batch = Heard::Packets(self.link, way.clone(), packets, now);
            if !room || self.to.try_send(batch).is_err() {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                self.metrics.mavlink_lost.get_or_create(&of).inc();
            }
            packets = rest;
        }
    }

    /// There is a way now.
    pub fn opened(&self, way: Way) {
        // Waits: it must not be lost, and nothing comes in meanwhile. An error is the end of the node.
        let _ = self.to.send(Heard::Opened(self.link, way));
    }

    /// And not any more.
    pub fn closed(&self, way: Way) {
        let _ = self.to.send(Heard::Closed(self.link, way));
    }
}
