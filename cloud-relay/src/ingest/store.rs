//! One batch into the outbox, its lane's head with it, in one transaction.

use std::pin::pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::cloudevent::CloudEvent;
use shared::identity::{Identity, head_statement};
use shared::ids::{Digest, Seq};
use shared::record::Record;
use shared::units::UtcMicros;
use shared::wire::{Ack, Batch, Item, Mismatch, Why};
use tokio_postgres::Transaction;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::Ingest;
use super::head::{Decision, Head, decide};
use super::history::{Key, int, uuid};
use crate::clock;
use crate::fleet::caller::Caller;
use crate::fleet::register::{Shown, stands};
use crate::fleet::verifies;

/// Channel that publishers listen on; one notification a batch.
pub const CHANNEL: &str = "picket_outbox";
const COPY: &str = "COPY outbox(outbox_id, event_payload, event_id, event_type, aggregate_id, \"timestamp\", metadata,
    tenant, site, node, epoch, lane, seq, ingested_at) FROM STDIN BINARY";

/// What became of a batch.
#[derive(Debug)]
pub enum Outcome {
    /// Committed.
    Stored(Ack),
    /// Refused; nothing was stored.
    Mismatch(Mismatch),
    /// The certificate was revoked or has expired while the batch came in; nothing was stored.
    Unwelcome,
}

/// One lane's head, as told to a node.
#[derive(Debug, Serialize, Deserialize)]
pub struct LaneCursor {
    /// Lane.
    pub lane: String,
    /// Epoch, hexadecimal.
    pub epoch: String,
    /// Last stored sequence number.
    pub seq: i64,
    /// Chain there, hexadecimal.
    pub chain: String,
}

/// The heads of all lanes and epochs of a node.
///
/// # Errors
/// When Postgres fails.
pub async fn cursor(ingest: &Ingest, of: &Identity) -> anyhow::Result<Vec<LaneCursor>> {
    let mut pooled = ingest.pool.get().await?;
    let sql = "SELECT lane, epoch, seq, chain FROM lane_head WHERE tenant = $1 AND node = $2 ORDER BY updated_at";
    let rows = pooled.client()?.query(sql, &[&of.tenant.as_str(), &of.node.as_str()]).await?;
    let head = |row: &tokio_postgres::Row| LaneCursor {
        lane: row.get(0),
        epoch: row.get::<_, Uuid>(1).simple().to_string(),
        seq: row.get(2),
        chain: Digest(row.get::<_, Vec<u8>>(3).try_into().unwrap_or_default()).to_string(),
    };
    Ok(rows.iter().map(head).collect())
}

/// Stores a batch once, however often it comes; `body` is what it came in.
///
/// # Errors
/// When Postgres fails: nothing is stored, or the outcome is unknown and a repeat is recognised.
pub async fn store(ingest: &Ingest, caller: &Caller, batch: &Batch, body: &[u8]) -> anyhow::Result<Outcome> {
    let mut pooled = ingest.pool.get().await?;
    let tx = pooled.client()?.transaction().await.context("begin")?;
    let key = Key { tenant: caller.identity.tenant.as_str(), node: batch.node.as_str(), lane: batch.lane.as_str() };
    key.lock(&tx).await?;
    // A body may take its time to come, and the caller was looked at before it.
    if let Some(certificate) = &caller.certificate
        && !stands(&tx, &certificate.serial).await?
    {
        return Ok(Outcome::Unwelcome);
    }
    // The row is made first, so that FOR UPDATE has something to lock: two copies of a batch cannot pass each other.
    let make = "INSERT INTO lane_head(tenant, node, lane, epoch, seq, chain) VALUES ($1, $2, $3, $4, 0, $5)
        ON CONFLICT DO NOTHING";
    let epoch = uuid(batch.epoch);
    let zero = Head::NONE.chain.0;
    tx.execute(make, &[&key.tenant, &key.node, &key.lane, &epoch, &zero.as_slice()]).await.context("make head")?;
    let (facts, received) = key.facts(&tx, batch).await?;
    let (first, items, new_head, duplicates) = match decide(&facts, batch) {
        Decision::Store { first, items, head, duplicates } => (first, items, head, duplicates),
        Decision::Mismatch { epoch, head, why } => {
            let (epoch, chain) = (epoch.to_string(), head.chain.to_string());
            return Ok(Outcome::Mismatch(Mismatch { epoch, seq: head.seq, chain, why }));
        }
        Decision::Fork { shown_by } => return refuse(tx, &key, batch, facts.head, shown_by).await,
    };
    let mut stored = 0;
    if !items.is_empty() {
        let site = caller.identity.site.as_str();
        stored = copy(ingest, &tx, (&key, site, received), batch, first, items).await?;
        let sql = "UPDATE lane_head SET seq = $5, chain = $6, updated_at = $7
            WHERE tenant = $1 AND node = $2 AND lane = $3 AND epoch = $4";
        let (seq, chain) = (int(new_head.seq), new_head.chain.0);
        let chain = chain.as_slice();
        let values: [&(dyn ToSql + Sync); 7] = [&key.tenant, &key.node, &key.lane, &epoch, &seq, &chain, &received];
        tx.execute(sql, &values).await.context("move head")?;
        key.log(&tx, batch, (first, new_head.seq), body, received).await?;
        keep_signed(&tx, &key, caller, batch).await?;
        tx.execute(&format!("NOTIFY {CHANNEL}"), &[]).await.context("notify")?;
    }
    tx.commit().await.context("commit batch")?;
    ingest.metrics.batches.inc();
    ingest.metrics.events.inc_by(stored);
    ingest.metrics.duplicates.inc_by(duplicates as u64);
    let (epoch, chain) = (batch.epoch.to_string(), new_head.chain.to_string());
    Ok(Outcome::Stored(Ack { lane: batch.lane, epoch, acked_seq: new_head.seq, chain }))
}

/// Keeps the head that a node has signed. A signature that is not the node's is an alarm, but no reason to refuse what
/// the chain proves: the lane would stand still for ever.
async fn keep_signed(tx: &Transaction<'_>, key: &Key<'_>, caller: &Caller, batch: &Batch) -> anyhow::Result<()> {
    let certificate = caller.certificate.as_ref().filter(|_| !batch.head_sig.is_empty());
    let Some(Shown { public_key, .. }) = certificate else { return Ok(()) };
    let (mut seq, mut chain) = (batch.first_seq, batch.prev_chain);
    let mut last = Seq(0);
    for item in &batch.items {
        (last, chain) = item.advance(seq, chain);
        seq = last.next();
    }
    let statement = head_statement(&batch.node, batch.lane, batch.epoch, last, chain);
    if !verifies(public_key, &statement, &batch.head_sig) {
        tracing::error!(node = key.node, lane = key.lane, "a lane's head is not signed with the node's key");
        return Ok(());
    }
    let sql = "INSERT INTO head_log(tenant, node, lane, epoch, seq, chain, signature, public_key)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
    let (epoch, seq, chain) = (uuid(batch.epoch), int(last), chain.0.as_slice());
    let values: [&(dyn ToSql + Sync); 8] =
        [&key.tenant, &key.node, &key.lane, &epoch, &seq, &chain, &batch.head_sig, public_key];
    tx.execute(sql, &values).await.context("keep a signed head")?;
    Ok(())
}

/// Refuses a history that does not go on from the node's one, and keeps that for the operator.
async fn refuse(tx: Transaction<'_>, key: &Key<'_>, batch: &Batch, head: Head, why: &str) -> anyhow::Result<Outcome> {
    tracing::error!(node = key.node, lane = key.lane, epoch = %batch.epoch, why, "two histories of one node: an operator must adopt one");
    key.remember_fork(&tx, batch, why).await?;
    tx.commit().await.context("commit a refusal")?;
    let (epoch, chain) = (batch.epoch.to_string(), head.chain.to_string());
    Ok(Outcome::Mismatch(Mismatch { epoch, seq: head.seq, chain, why: Why::Fork }))
}

async fn copy(
    ingest: &Ingest,
    tx: &Transaction<'_>,
    (key, site, received): (&Key<'_>, &str, SystemTime),
    batch: &Batch,
    first: Seq,
    items: &[Item],
) -> anyhow::Result<u64> {
    let mut rows = Vec::with_capacity(items.len());
    let mut at = first;
    for item in items {
        match item {
            Item::Record(record) => rows.push((at, row(ingest, batch, at, record))),
            Item::Opened(opened) => key.opened(tx, batch.epoch, opened).await?,
            Item::Skip { first, last, reason, .. } => {
                let sql = "INSERT INTO gap(tenant, node, lane, epoch, first_seq, last_seq, reason)
                    VALUES ($1, $2, $3, $4, $5, $6, $7)";
                let (first, last) = (int(*first), int(*last));
                let values: [&(dyn ToSql + Sync); 7] =
                    [&key.tenant, &key.node, &key.lane, &uuid(batch.epoch), &first, &last, reason];
                tx.execute(sql, &values).await.context("record gap")?;
            }
        }
        at = item.advance(at, Digest::default()).0.next();
    }
    let types = [
        Type::UUID,
        Type::JSONB,
        Type::UUID,
        Type::TEXT,
        Type::TEXT,
        Type::TIMESTAMPTZ,
        Type::JSONB,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::UUID,
        Type::TEXT,
        Type::INT8,
        Type::TIMESTAMPTZ,
    ];
    let mut writer = pin!(BinaryCopyInWriter::new(tx.copy_in(COPY).await.context("begin COPY")?, &types));
    let epoch = uuid(batch.epoch);
    for (seq, row) in &rows {
        let seq = int(*seq);
        let values: [&(dyn ToSql + Sync); 14] = [
            &row.outbox_id,
            &row.payload,
            &row.event_id,
            &row.event_type,
            &row.aggregate_id,
            &row.timestamp,
            &row.metadata,
            &key.tenant,
            &site,
            &key.node,
            &epoch,
            &key.lane,
            &seq,
            &received,
        ];
        writer.as_mut().write(&values).await.context("COPY a row")?;
    }
    writer.finish().await.context("finish COPY")
}

struct Row {
    outbox_id: Uuid,
    event_id: Uuid,
    event_type: String,
    aggregate_id: String,
    timestamp: SystemTime,
    payload: Value,
    metadata: Value,
}

/// A record as a row. What this build cannot decode is stored raw and flagged: a refusal would block the lane for ever.
fn row(ingest: &Ingest, batch: &Batch, at: Seq, record: &Record) -> Row {
    let outbox_id = Uuid::now_v7();
    let raw = || json!(record.bytes.iter().map(|b| format!("{b:02x}")).collect::<String>());
    let decoded = record.decode();
    let Ok(decoded) = decoded else {
        ingest.metrics.unknown.inc();
        // Of its place, too: two that cannot be read may have the same bytes.
        let mut named = blake3::Hasher::new();
        named.update(&batch.epoch.0).update(batch.lane.as_str().as_bytes()).update(&at.0.to_le_bytes());
        let event_id = Uuid::from_bytes(first_16(Digest(*named.update(&record.digest().0).finalize().as_bytes())));
        let metadata = json!({ "undecodable": true, "type_id": record.type_id });
        let payload = json!({ "raw": raw() });
        let event_type = format!("undecodable.{}", record.type_id);
        let timestamp = clock::now();
        return Row { outbox_id, event_id, event_type, aggregate_id: String::new(), timestamp, payload, metadata };
    };
    let (type_id, version) = (record.type_id, record.schema_version);
    let event = CloudEvent::new(batch.node.as_str(), type_id, version, &decoded.envelope, decoded.payload.as_ref());
    let occurred = decoded.envelope.occurred;
    let mut metadata = json!({
        "source": event.source, "clock": event.clock, "schemaversion": version, "traceparent": event.traceparent,
        "causeid": event.causeid, "uptime_us": occurred.uptime.0, "boot_id": Uuid::from_bytes(occurred.boot_id),
        "trace_id": decoded.envelope.trace_id.map(|trace| trace.to_string()),
    });
    let mut payload = event.data;
    if decoded.payload.is_none() {
        ingest.metrics.unknown.inc();
        payload = json!({ "raw": raw() });
    }
    let replaced = replace_nul(&mut payload) | replace_nul(&mut metadata);
    if let Some(metadata) = metadata.as_object_mut().filter(|_| replaced) {
        metadata.insert("nul_replaced".into(), Value::Bool(true));
    }
    Row {
        outbox_id,
        event_id: decoded.envelope.event_id.0,
        event_type: event.event_type.replace('\0', "\u{fffd}"),
        aggregate_id: event.subject.replace('\0', "\u{fffd}"),
        timestamp: time(occurred.at),
        payload,
        metadata,
    }
}

/// JSONB cannot hold NUL: it becomes U+FFFD, and the row says so.
fn replace_nul(value: &mut Value) -> bool {
    match value {
        Value::String(text) if text.contains('\0') => {
            *text = text.replace('\0', "\u{fffd}");
            true
        }
        Value::Array(values) => values.iter_mut().fold(false, |found, value| replace_nul(value) | found),
        Value::Object(map) => {
            let odd: Vec<String> = map.keys().filter(|key| key.contains('\0')).cloned().collect();
            for key in &odd {
                if let Some(value) = map.remove(key) {
                    map.insert(key.replace('\0', "\u{fffd}"), value);
                }
            }
            map.values_mut().fold(!odd.is_empty(), |found, value| replace_nul(value) | found)
        }
        _ => false,
    }
}

fn time(at: UtcMicros) -> SystemTime {
    // Beyond what timestamptz holds, the nearest it does: the exact value stays in uptime and boot id.
    const LIMIT: i64 = 200_000 * 366 * 86_400 * 1_000_000;
    let micros = at.0.clamp(-62_000_000_000_000_000, LIMIT);
    let span = Duration::from_micros(micros.unsigned_abs());
    if micros < 0 { UNIX_EPOCH - span } else { UNIX_EPOCH + span }
}

fn first_16(digest: Digest) -> [u8; 16] {
    digest.0.first_chunk().copied().unwrap_or_default()
}
