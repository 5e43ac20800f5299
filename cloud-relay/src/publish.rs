//! Outbox -> event store and Kafka, then the row goes.
//!
//! One publisher per relay; relays beside each other share the lanes: each takes an advisory lock per (tenant, node,
//! lane), reads in order past a remembered watermark, produces, waits for every ack, then moves the rows in one
//! statement. Lock and move belong to one session, so a publisher that slept while its lock went to another cannot move
//! anything. A crash in between only repeats Kafka records. It wakes on NOTIFY, and every [`POLL`] in case one was missed.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::{join, try_join_all};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use serde_json::Value;
use shared::units::UtcMicros;
use tokio_postgres::{Client, Row};
use tracing::{info, warn};
use uuid::Uuid;

use crate::config::{Config, Kafka};
use crate::database;
use crate::ingest::store::CHANNEL;
use crate::metrics::Metrics;

/// Longest time a committed batch waits when its notification was lost.
const POLL: Duration = Duration::from_millis(500);
/// Wait after a failure of Postgres or Kafka.
const RETRY: Duration = Duration::from_secs(1);
/// Rows of one lane per round: usually well under a megabyte, 128 MiB if every record is as large as it may be.
const ROUND: i64 = 500;
/// Rounds of one lane before the next lane gets its turn.
const TURN: usize = 8;
/// How long the broker may take to ack before the round is repeated.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// Topics that are filled from the event store.
pub const TOPICS: [&str; 4] = ["sensor-events", "inference-events", "user-actions", "system-events"];

/// The topic of an event type.
pub fn topic(event_type: &str) -> &'static str {
    match event_type.split('.').next().unwrap_or_default() {
        "sensor" | "custom" => "sensor-events",
        "detection" | "zone" => "inference-events",
        "command" | "lease" | "operator" | "estop" => "user-actions",
        _ => "system-events",
    }
}

/// Makes the topics that are not there.
///
/// # Errors
/// When the broker is not there or refuses.
pub async fn make_topics(kafka: &Kafka, keep: Duration) -> anyhow::Result<()> {
    let keep = keep.as_millis().to_string();
    let admin: AdminClient<DefaultClientContext> = client(kafka).create().context("make Kafka admin client")?;
    let names: Vec<String> = TOPICS.iter().map(|topic| format!("{}{topic}", kafka.topic_prefix)).collect();
    let topics: Vec<NewTopic<'_>> = names
        .iter()
        .map(|name| NewTopic::new(name, kafka.partitions, TopicReplication::Fixed(1)))
        .map(|topic| topic.set("retention.ms", &keep))
        .collect();
    let made = admin.create_topics(&topics, &AdminOptions::new()).await.context("make topics")?;
    for result in made {
        match result {
            Ok(topic) => info!(topic, "topic is made"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => anyhow::bail!("make topic {topic}: {code}"),
        }
    }
    Ok(())
}

/// Settings that every Kafka client of the relay shares.
pub fn client(kafka: &Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &kafka.brokers).set("client.id", "picket-relay");
    config
}

/// Runs until the task is dropped; a failure of Postgres or Kafka is retried for ever.
///
/// # Errors
/// Never.
pub async fn run(config: Config, metrics: Metrics) -> anyhow::Result<()> {
    loop {
        let Err(error) = publish(&config, &metrics).await;
        metrics.publish_failures.inc();
        warn!("failed to {error:#}; trying again");
        tokio::time::sleep(RETRY).await;
    }
}

/// A producer; made anew with each attempt, since a fatal error of librdkafka ends one for good.
pub(crate) fn producer(kafka: &Kafka) -> anyhow::Result<FutureProducer> {
    client(kafka)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.codec", "zstd")
        .set("linger.ms", "5")
        .set("message.timeout.ms", ACK_WAIT.as_millis().to_string())
        .create()
        .context("make Kafka producer")
}

/// Tenant, node and lane.
pub(crate) type Lane = (String, String, String);

async fn publish(config: &Config, m: &Metrics) -> Result<std::convert::Infallible, anyhow::Error> {
    make_topics(&config.kafka, config.retention.topics).await?;
    let producer = producer(&config.kafka)?;
    let (client, mut notified) = database::connect_listening(&config.postgres).await?;
    client.batch_execute(&format!("LISTEN {CHANNEL}")).await.context("listen")?;
    let mut watermarks: HashMap<Lane, i64> = HashMap::new();
    loop {
        let (mut moved, mut failed) = (0, None);
        for lane in lanes(&client).await? {
            if !watermarks.contains_key(&lane) {
                let lock = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))";
                let held = client.query_one(lock, &[&format!("{}/{}/{}", lane.0, lane.1, lane.2)]).await?;
                if !held.get::<_, bool>(0) {
                    continue;
                }
            }
            let watermark = watermarks.entry(lane.clone()).or_insert(0);
            // A lane that fails does not keep the others waiting.
            match turn(config, &producer, &client, &lane, watermark).await {
                Ok(count) => moved += count,
                Err(error) => failed = Some(error),
            }
        }
        m.published.inc_by(moved);
        if let Some(error) = failed {
            // A lost connection or a producer that has failed for good must be made anew.
            if client.is_closed() || producer.client().fatal_error().is_some() {
                return Err(error);
            }
            m.publish_failures.inc();
            warn!("failed to {error:#}; trying again");
            tokio::time::sleep(RETRY).await;
            continue;
        }
        if moved == 0 {
            let closed = matches!(tokio::time::timeout(POLL, notified.recv()).await, Ok(None));
            anyhow::ensure!(!closed, "listen: the connection is lost");
            while notified.try_recv().is_ok() {}
        }
    }
}

async fn lanes(client: &Client) -> anyhow::Result<Vec<Lane>> {
    let sql = "SELECT DISTINCT tenant, node, lane FROM lane_head";
    let rows = client.query(sql, &[]).await.context("list lanes")?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect())
}

/// Publishes what a lane has, at most [`TURN`] rounds of it; returns how many rows went. While the rows of one round are
/// moved, those of the next are on their way to Kafka: neither Postgres nor the broker waits for the other.
async fn turn(
    config: &Config,
    producer: &FutureProducer,
    client: &Client,
    lane: &Lane,
    watermark: &mut i64,
) -> anyhow::Result<u64> {
    let (mut moved, mut produced, mut at) = (0, Vec::new(), *watermark);
    for round in 0..=TURN {
        let rows = if round < TURN { read(client, lane, at).await? } else { Vec::new() };
        let messages: Vec<Message> = rows.iter().map(|row| Message::new(config, lane, row)).collect();
        let sends = try_join_all(messages.iter().map(|message| message.send(producer)));
        let (sent, gone) = join(sends, move_rows(client, &produced)).await;
        moved += gone?;
        *watermark = at;
        sent?;
        let Some(last) = rows.last() else { break };
        produced = rows.iter().map(|row| row.get(0)).collect();
        at = last.get(1);
    }
    Ok(moved)
}

async fn read(client: &Client, (tenant, node, lane): &Lane, after: i64) -> anyhow::Result<Vec<Row>> {
    let sql = "SELECT outbox_id, pos, event_id, event_type, aggregate_id,
            (extract(epoch FROM \"timestamp\") * 1000000)::bigint, event_payload, metadata, site, epoch, seq
        FROM outbox WHERE tenant = $1 AND node = $2 AND lane = $3 AND pos > $4 ORDER BY pos LIMIT $5";
    client.query(sql, &[tenant, node, lane, &after, &ROUND]).await.context("read outbox")
}

/// Moves rows that Kafka has acknowledged.
async fn move_rows(client: &Client, ids: &[Uuid]) -> anyhow::Result<u64> {
    if ids.is_empty() {
        return Ok(0);
    }
    let sql = "WITH d AS (DELETE FROM outbox WHERE outbox_id = ANY($1) RETURNING *)
        INSERT INTO event_store(event_id, event_type, aggregate_id, \"timestamp\", payload, metadata, tenant, site,
            node, epoch, lane, seq, ingested_at)
        SELECT event_id, event_type, aggregate_id, \"timestamp\", event_payload, metadata, tenant, site, node, epoch,
            lane, seq, ingested_at FROM d
        ON CONFLICT (event_id, ingested_at) DO NOTHING";
    client.execute(sql, &[&ids]).await.context("move rows to event_store")
}

/// One Kafka record: CloudEvents in binary mode (<https://github.com/cloudevents/spec>, Kafka protocol binding 1.0.2).
pub(crate) struct Message {
    topic: String,
    key: String,
    payload: String,
    headers: OwnedHeaders,
}

impl Message {
    /// Of a row that begins with the columns of [`read`].
    pub(crate) fn new(config: &Config, lane: &Lane, row: &Row) -> Self {
        let (tenant, node, lane) = lane;
        let event_id = row.get::<_, Uuid>(2).to_string();
        let (event_type, aggregate): (String, String) = (row.get(3), row.get(4));
        let time = UtcMicros(row.get(5)).to_string();
        let (payload, metadata): (Value, Value) = (row.get(6), row.get(7));
        let (site, epoch): (String, String) = (row.get(8), row.get::<_, Uuid>(9).simple().to_string());
        let seq = row.get::<_, i64>(10).to_string();
        let text = |key: &str| metadata.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (source, trace, parent) = (text("source"), text("trace_id"), text("traceparent"));
        let headers = [
            ("ce_specversion", "1.0"),
            ("ce_id", &event_id),
            ("ce_type", &event_type),
            ("ce_source", &source),
            ("ce_time", &time),
            ("ce_subject", &aggregate),
            ("content-type", "application/json"),
            ("ce_traceparent", &parent),
            ("event_id", &event_id),
            ("trace_id", &trace),
            ("timestamp", &time),
            ("tenant", tenant),
            ("site", &site),
            ("node", node),
            ("lane", lane),
            ("epoch", &epoch),
            ("seq", &seq),
        ];
        let headers = headers
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .fold(OwnedHeaders::new(), |made, (key, value)| made.insert(Header { key, value: Some(*value) }));
        Self {
            topic: format!("{}{}", config.kafka.topic_prefix, topic(&event_type)),
            key: format!("{tenant}/{node}/{aggregate}"),
            payload: payload.to_string(),
            headers,
        }
    }

    pub(crate) async fn send(&self, producer: &FutureProducer) -> anyhow::Result<()> {
        let record = FutureRecord::to(&self.topic).key(&self.key).payload(&self.payload).headers(self.headers.clone());
        producer.send(record, ACK_WAIT).await.map_err(|(error, _)| error).context("publish to Kafka")?;
        Ok(())
    }
}
