//! Counters of the relay, served at `/metrics`.

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// What the relay did. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Batches stored.
    pub batches: Counter,
    /// Events accepted into the outbox.
    pub events: Counter,
    /// Items that were sent again and recognised.
    pub duplicates: Counter,
    /// Bodies refused before they were a batch.
    pub refused: Counter,
    /// Batches told to come later, because too many were there.
    pub crowded: Counter,
    /// Batches that did not continue the head.
    pub mismatches: Counter,
    /// Records whose type or bytes this build does not know, stored raw.
    pub unknown: Counter,
    /// Events moved to the event store and Kafka.
    pub published: Counter,
    /// Publish attempts that failed and will be repeated.
    pub publish_failures: Counter,
    registry: Arc<Registry>,
}

impl Metrics {
    /// Fresh counters, registered.
    pub fn new() -> Self {
        let mut made = Self::default();
        let mut registry = Registry::with_prefix("picket_relay");
        registry.register("batches", "Batches stored", made.batches.clone());
        registry.register("events", "Events accepted into the outbox", made.events.clone());
        registry.register("duplicate_items", "Items sent again and recognised", made.duplicates.clone());
        registry.register("refused_bodies", "Bodies that are not a batch", made.refused.clone());
        registry.register("crowded_batches", "Batches told to come later", made.crowded.clone());
        registry.register("mismatched_batches", "Batches that do not continue the head", made.mismatches.clone());
        registry.register("unknown_records", "Records stored raw", made.unknown.clone());
        registry.register("published_events", "Events in event store and Kafka", made.published.clone());
        registry.register("publish_failures", "Publish attempts to be repeated", made.publish_failures.clone());
        made.registry = Arc::new(registry);
        made
    }

    /// The OpenMetrics text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
