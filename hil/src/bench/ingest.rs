//! `./dev bench ingest`: a batch into the relay beside a bare COPY of the same rows into the same table.

use std::io::Write;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use shared::dictionary::NEWEST;
use shared::ids::{Lane, Seq};
use shared::wire::{Batch, DICTIONARY_HEADER, Item};

use super::Target::Least;
use super::uplink::sample;
use super::{last_line, median, round};
use crate::servers::Servers;
use crate::site::{Plan, Ports, Site};
use crate::wait::now;
use crate::witness::sql;

/// Events in one batch.
const EVENTS: usize = 1000;
/// Pairs.
const PAIRS: u64 = 40;
const COLUMNS: &str = "outbox_id, created_at, event_payload, retry_count, event_id, event_type, aggregate_id,
    \"timestamp\", metadata, tenant, site, node, epoch, lane, seq, ingested_at";

/// Measures and prints.
///
/// # Errors
/// When a server fails.
pub async fn run(out: &mut impl Write) -> anyhow::Result<()> {
    let servers = Servers::start()?;
    let mut place = servers.addresses().place("ingest").await?;
    // Nothing listens there: rows stay in the outbox, and publishing takes no part in the measurement.
    place.kafka = "127.0.0.1:1".into();
    let ports = Ports::free()?;
    let mut site = Site::prepare(place, ports, &Plan { plain: true, ..Plan::default() }, None)?;
    site.start_relay()?;
    let db = sql(&site.place.postgres).await?;
    let client = crate::http::client(Duration::from_secs(30))?;
    let url = format!("http://127.0.0.1:{}/v1/nodes/yard/batches", ports.relay);
    let template = sample(EVENTS, Lane::Telemetry)?;
    let mut chain = template.prev_chain;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        let mut batch = Batch { dict_id: NEWEST, prev_chain: chain, ..template.clone() };
        let first = if pair == 0 { 1 } else { 2 + pair * EVENTS as u64 };
        batch.first_seq = Seq(first);
        if pair == 0 {
            batch.items.insert(0, Item::Opened(shared::record::Opened::FIRST));
            batch.prev_chain = shared::ids::Digest::default();
        }
        let mut at = batch.first_seq;
        chain = batch.prev_chain;
        for item in &batch.items {
            let (last, after) = item.advance(at, chain);
            (at, chain) = (last.next(), after);
        }
        let body = batch.encode()?;
        let begun = now();
        let answer = client.post(&url).header(DICTIONARY_HEADER, NEWEST).body(body).send().await?;
        anyhow::ensure!(answer.status().is_success(), "post a batch: {}", answer.text().await?);
        ours.push(begun.elapsed().as_secs_f64());
        let mut rows = Vec::new();
        let mut copied = pin!(db.copy_out(&format!("COPY (SELECT {COLUMNS} FROM outbox) TO STDOUT BINARY")).await?);
        while let Some(chunk) = copied.next().await {
            rows.extend_from_slice(&chunk?);
        }
        db.batch_execute("DELETE FROM outbox").await?;
        db.batch_execute("VACUUM outbox").await?;
        let begun = now();
        let mut into = pin!(db.copy_in::<_, bytes::Bytes>(&format!("COPY outbox({COLUMNS}) FROM STDIN BINARY")).await?);
        into.send(rows.into()).await?;
        let count = into.finish().await?;
        bare.push(begun.elapsed().as_secs_f64());
        anyhow::ensure!(count == EVENTS as u64, "copy the rows back: {count} of {EVENTS}");
        db.batch_execute("DELETE FROM outbox").await?;
        db.batch_execute("VACUUM outbox").await?;
    }
    let ratio = median(ours.iter().zip(&bare).map(|(ours, bare)| bare / ours));
    let (ours, bare) = (median(ours.into_iter()), median(bare.into_iter()));
    let synchronous: String = db.query_one("SHOW synchronous_commit", &[]).await?.get(0);
    writeln!(out, "a batch of {EVENTS} events, {PAIRS} interleaved pairs, medians; synchronous_commit {synchronous}")?;
    writeln!(out, "  relay: {:.1} ms, {:.0} events/s", ours * 1e3, EVENTS as f64 / ours)?;
    writeln!(
        out,
        "  bare binary COPY of the same rows into the same table: {:.1} ms, {:.0} rows/s; ratio {ratio:.2}",
        bare * 1e3,
        EVENTS as f64 / bare
    )?;
    let metrics = json!({ "ingest_ms": round(ours * 1e3), "copy_ms": round(bare * 1e3), "ingest_rate": round(ratio) });
    drop(site);
    servers.stop().context("stop the servers")?;
    last_line(out, "ingest", &metrics, &[Least("ingest_rate", 0.5)])
}
