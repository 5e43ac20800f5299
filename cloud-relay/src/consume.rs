//! The consumer harness: Kafka records into an effect, the next offset written in the effect's own transaction.
//!
//! Offsets live in Postgres, never in the broker: a restored Postgres rewinds its consumers by itself. Infrastructure
//! failure blocks and retries; a record that can never work goes to `dead_letters`, and the offset moves on.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{Message, Offset, TopicPartitionList};
use serde_json::Value;
use tokio_postgres::Transaction;
use tracing::warn;
use uuid::Uuid;

use crate::config::Config;
use crate::database;
use crate::publish::client;

/// Wait after a failure of Postgres or Kafka.
const RETRY: Duration = Duration::from_secs(1);

/// One event as a consumer sees it.
#[derive(Debug)]
pub struct Record {
    headers: HashMap<String, String>,
    /// The payload.
    pub payload: Value,
}

impl Record {
    /// A header, empty where it is missing.
    pub fn header(&self, key: &str) -> &str {
        self.headers.get(key).map_or("", String::as_str)
    }

    fn new(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        Self {
            headers: headers.map(|h| (h.key.to_owned(), text(h.value))).collect(),
            payload: serde_json::from_slice(message.payload().unwrap_or_default()).unwrap_or(Value::Null),
        }
    }
}

/// What a consumer does with a record.
pub trait Effect: Send + Sync {
    /// Its name, in `consumer_offset` and `dead_letters`.
    fn name(&self) -> &'static str;
    /// The topic it reads, without prefix.
    fn topic(&self) -> &'static str;
    /// Applies a record within `tx`. The inner error is of the record itself and final; the outer is of Postgres.
    fn apply(
        &self,
        tx: &Transaction<'_>,
        record: &Record,
    ) -> impl Future<Output = Result<Result<(), String>, tokio_postgres::Error>> + Send;
}

/// Runs a consumer until the task is dropped; a failure of Postgres or Kafka is retried for ever.
///
/// # Errors
/// Never.
pub async fn run(config: Config, effect: impl Effect) -> anyhow::Result<()> {
    loop {
        let Err(error) = consume(&config, &effect).await;
        warn!(consumer = effect.name(), "failed to {error:#}; trying again");
        tokio::time::sleep(RETRY).await;
    }
}

async fn consume(config: &Config, effect: &impl Effect) -> Result<std::convert::Infallible, anyhow::Error> {
    let mut db = database::connect(&config.postgres).await?;
    let topic = format!("{}{}", config.kafka.topic_prefix, effect.topic());
    let consumer: StreamConsumer = client(&config.kafka)
        .set("group.id", format!("{}{}", config.kafka.topic_prefix, effect.name()))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .create()
        .context("make Kafka consumer")?;
    let sql = "SELECT partition, next_offset FROM consumer_offset WHERE consumer = $1 AND topic = $2";
    let rows = db.query(sql, &[&effect.name(), &topic]).await.context("read offsets")?;
    let stored: HashMap<i32, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..config.kafka.partitions {
        let offset = stored.get(&partition).map_or(Offset::Beginning, |next| Offset::Offset(*next));
        assignment.add_partition_offset(&topic, partition, offset).context("assign partition")?;
    }
    consumer.assign(&assignment).context("assign partitions")?;
    loop {
        let message = consumer.recv().await.context("read Kafka")?;
        let record = Record::new(&message);
        let tx = db.transaction().await.context("begin effect")?;
        if let Err(reason) = effect.apply(&tx, &record).await.context("apply effect")? {
            let sql = "INSERT INTO dead_letters(dlq_id, consumer, event_id, event_payload, error_message)
                VALUES ($1, $2, $3, $4, $5)";
            let event_id = Uuid::try_parse(record.header("event_id")).ok();
            let id = Uuid::now_v7();
            tx.execute(sql, &[&id, &effect.name(), &event_id, &record.payload, &reason])
                .await
                .context("bury record")?;
        }
        let sql = "INSERT INTO consumer_offset(consumer, topic, partition, next_offset) VALUES ($1, $2, $3, $4)
            ON CONFLICT (consumer, topic, partition) DO UPDATE SET next_offset = $4";
        let next = message.offset() + 1;
        tx.execute(sql, &[&effect.name(), &topic, &message.partition(), &next]).await.context("move offset")?;
        tx.commit().await.context("commit effect")?;
    }
}
