//! `cloud-relay republish`: a broker that was restored to an older state gets again what the event store took in since.
//!
//! Each node's events in their order, as they were published at first: whoever has one already knows it by its id.

use std::io::Write;

use anyhow::Context;
use futures_util::future::try_join_all;
use shared::units::UtcMicros;

use crate::config::Config;
use crate::database;
use crate::publish::{Message, make_topics, producer};

/// Rows on their way to Kafka at once.
const ROUND: i32 = 1000;

/// Publishes what was taken in since a time; prints how much that was.
///
/// # Errors
/// When Postgres or Kafka fails: then it is to be run again.
pub async fn republish(config: &Config, since: UtcMicros, out: &mut impl Write) -> anyhow::Result<()> {
    make_topics(&config.kafka, config.retention.topics).await?;
    let producer = producer(&config.kafka)?;
    let mut client = database::connect(&config.postgres).await?;
    let tx = client.transaction().await.context("begin")?;
    let sql = "SELECT event_id, 0::bigint, event_id, event_type, aggregate_id,
            (extract(epoch FROM \"timestamp\") * 1000000)::bigint, payload, metadata, site, epoch, seq, tenant, node, lane
        FROM event_store WHERE ingested_at >= to_timestamp($1::bigint / 1000000.0)
        ORDER BY ingested_at, tenant, node, lane, epoch, seq";
    let statement = tx.prepare(sql).await.context("read event_store")?;
    let portal = tx.bind(&statement, &[&since.0]).await.context("read event_store")?;
    let mut count = 0;
    loop {
        let rows = tx.query_portal(&portal, ROUND).await.context("read event_store")?;
        if rows.is_empty() {
            break;
        }
        let messages: Vec<Message> =
            rows.iter().map(|row| Message::new(config, &(row.get(11), row.get(12), row.get(13)), row)).collect();
        try_join_all(messages.iter().map(|message| message.send(&producer))).await?;
        count += rows.len();
    }
    writeln!(out, "published again: {count} events taken in since {since}")?;
    Ok(())
}
