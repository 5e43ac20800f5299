//! Proving a node's history.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Context;
use shared::identity::head_statement;
use shared::ids::{Digest, Epoch, Lane, Name, Seq};
use shared::wire::{Batch, Item};
use tokio_postgres::{IsolationLevel, Transaction};
use uuid::Uuid;

use crate::config::Config;
use crate::database;
use crate::fleet::verifies;

/// Batches of the log read at a time: bounds memory, whatever the history's length.
const PAGE: i64 = 64;

/// A run of places of one lane and epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Range {
    first: u64,
    last: u64,
    gap: Option<String>,
}

/// Prints, per lane and epoch, `complete from A to B` or each gap with its reason. Recomputes the chain from the batches
/// as they came, and counts the events in event_store and outbox.
///
/// # Errors
/// When Postgres fails, or a history cannot be proved.
pub async fn verify(config: &Config, node: &Name, out: &mut impl Write) -> anyhow::Result<()> {
    let mut client = database::connect(&config.postgres).await?;
    // One snapshot of all of it: the node goes on sending.
    let client = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let client = client.start().await.context("begin")?;
    // Before the snapshot is taken: a partition that is dropped meanwhile would be gone from it.
    client.batch_execute("LOCK TABLE event_store IN ACCESS SHARE MODE").await.context("hold the event store")?;
    let sql = "SELECT h.lane, h.epoch, h.seq, h.chain, h.closed_at IS NOT NULL,
            coalesce(h.updated_at < (SELECT dropped_before FROM retention), false) FROM lane_head h
        LEFT JOIN epoch e USING (tenant, node, lane, epoch)
        WHERE h.tenant = $1 AND h.node = $2 AND h.seq > 0 ORDER BY h.lane, e.opened_at, h.updated_at";
    let heads = client.query(sql, &[&config.tenant.as_str(), &node.as_str()]).await.context("read heads")?;
    anyhow::ensure!(!heads.is_empty(), "verify {node}: nothing was ever received of it");
    let mut broken = 0;
    for lane in Lane::ALL {
        for head in heads.iter().filter(|head| head.get::<_, &str>(0) == lane.as_str()) {
            let (epoch, seq, chain): (Uuid, i64, Vec<u8>) = (head.get(1), head.get(2), head.get(3));
            let closed = if head.get(4) { ", closed: another history was adopted" } else { "" };
            if head.get(5) {
                writeln!(out, "{lane} {} from 1 to {seq}: kept for its time and dropped, not proved", epoch.simple())?;
                continue;
            }
            let place = Place { tenant: config.tenant.as_str(), node: node.as_str(), lane, epoch };
            let mut signed = place.signed(&client).await?;
            let (ranges, problem) = place.prove(&client, seq.unsigned_abs(), &chain, &mut signed).await?;
            for Range { first, last, gap } in ranges {
                let what = gap.map_or_else(|| "complete".to_owned(), |reason| format!("gap ({reason})"));
                writeln!(out, "{lane} {} {what} from {first} to {last}{closed}", epoch.simple())?;
            }
            if let Some(last) = signed.last {
                writeln!(out, "{lane} {} signed by the node up to {last}", epoch.simple())?;
            }
            if let Some(problem) = problem {
                broken += 1;
                writeln!(out, "{lane} {} NOT PROVED: {problem}", epoch.simple())?;
            }
        }
    }
    anyhow::ensure!(broken == 0, "verify {node}: {broken} histories cannot be proved");
    Ok(())
}

struct Place<'a> {
    tenant: &'a str,
    node: &'a str,
    lane: Lane,
    epoch: Uuid,
}

impl Place<'_> {
    /// Follows the chain from the oldest batch kept to the head.
    async fn prove(
        &self,
        client: &Transaction<'_>,
        head: u64,
        chain: &[u8],
        signed: &mut Signed,
    ) -> anyhow::Result<(Vec<Range>, Option<String>)> {
        let (mut ranges, mut at, mut running): (Vec<Range>, Option<u64>, Digest) =
            (Vec::new(), None, Digest::default());
        let mut records = 0i64;
        loop {
            let sql = "SELECT first_seq, dict_id, body FROM batch_log WHERE tenant = $1 AND node = $2 AND lane = $3
                AND epoch = $4 AND first_seq > $5 ORDER BY first_seq LIMIT $6";
            let after = i64::try_from(at.unwrap_or(0)).unwrap_or(i64::MAX);
            let rows = client
                .query(sql, &[&self.tenant, &self.node, &self.lane.as_str(), &self.epoch, &after, &PAGE])
                .await
                .context("read the batch log")?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                let (first, dictionary, body): (i64, i32, Vec<u8>) = (row.get(0), row.get(1), row.get(2));
                let first = first.unsigned_abs();
                if at.is_some_and(|at| first != at + 1) {
                    return Ok((
                        ranges,
                        Some(format!("the batch that begins at {} is not in the log", at.unwrap_or(0) + 1)),
                    ));
                }
                let batch = match Batch::decode(&body, dictionary.unsigned_abs()) {
                    Ok(batch) => batch,
                    Err(error) => return Ok((ranges, Some(format!("the batch that begins at {first}: {error}")))),
                };
                let (mut place, mut chained) = (batch.first_seq, batch.prev_chain);
                for item in &batch.items {
                    let (last, after) = item.advance(place, chained);
                    if place == Seq(first) && at.is_some() && chained != running {
                        return Ok((ranges, Some(format!("the chain breaks before {first}"))));
                    }
                    if signed.contradicts(last, after) {
                        return Ok((ranges, Some(format!("the node signed another history at {last}"))));
                    }
                    if last.0 >= first {
                        add(&mut ranges, place.0, last.0, item);
                        records += i64::from(matches!(item, Item::Record(_)));
                        (at, running) = (Some(last.0), after);
                    }
                    (place, chained) = (last.next(), after);
                }
            }
        }
        let oldest = ranges.first().map_or(1, |range| range.first);
        if oldest > 1 && !self.may_begin_late(client).await? {
            return Ok((ranges, Some(format!("the log begins at {oldest}, and nothing was dropped yet"))));
        }
        if at != Some(head) || running.0 != chain {
            let reached = at.map_or("no batch is in the log".to_owned(), |at| format!("the log ends at {at}"));
            return Ok((ranges, Some(format!("{reached}, the head is {head}"))));
        }
        if let Some(unmet) = signed.unmet(oldest) {
            return Ok((ranges, Some(format!("the node signed {unmet}, which the history does not come by"))));
        }
        let stored = self.stored(client, oldest).await?;
        let missing = (stored != records).then(|| format!("{records} events were received and {stored} are stored"));
        Ok((ranges, missing))
    }

    /// Whether batches were dropped for their age since the epoch was opened.
    async fn may_begin_late(&self, client: &Transaction<'_>) -> anyhow::Result<bool> {
        // An epoch whose opening was lost before it was sent is not in the table.
        let sql = "SELECT 1 FROM retention LEFT JOIN epoch ON tenant = $1 AND node = $2 AND lane = $3 AND epoch = $4
            WHERE opened_at IS NULL OR opened_at < dropped_before";
        let row = client.query_opt(sql, &[&self.tenant, &self.node, &self.lane.as_str(), &self.epoch]).await;
        Ok(row.context("read how far retention went")?.is_some())
    }

    /// What the node has signed of the epoch.
    async fn signed(&self, client: &Transaction<'_>) -> anyhow::Result<Signed> {
        let sql = "SELECT seq, chain, signature, public_key, EXISTS (SELECT 1 FROM node_certificate c
                WHERE c.tenant = h.tenant AND c.node = h.node AND c.public_key = h.public_key) FROM head_log h
            WHERE tenant = $1 AND node = $2 AND lane = $3 AND epoch = $4 ORDER BY seq";
        let rows = client.query(sql, &[&self.tenant, &self.node, &self.lane.as_str(), &self.epoch]).await;
        let node: Name = self.node.parse()?;
        let mut heads: BTreeMap<Seq, Option<Digest>> = BTreeMap::new();
        for row in rows.context("read signed heads")? {
            let (seq, chain) = (Seq(row.get::<_, i64>(0).unsigned_abs()), row.get::<_, Vec<u8>>(1));
            let chain = Digest(chain.try_into().unwrap_or_default());
            let statement = head_statement(&node, self.lane, Epoch(self.epoch.into_bytes()), seq, chain);
            // A row that no key of the node vouches for was not written by this relay, and two that differ cannot be.
            let vouched = row.get(4) && verifies(row.get(3), &statement, row.get(2));
            let found = vouched.then_some(chain);
            heads.entry(seq).and_modify(|before| *before = before.filter(|at| Some(*at) == found)).or_insert(found);
        }
        Ok(Signed { heads, last: None })
    }

    /// Events of the epoch from a place on, in event_store and on their way there.
    async fn stored(&self, client: &Transaction<'_>, from: u64) -> anyhow::Result<i64> {
        let sql =
            "SELECT (SELECT count(*) FROM event_store WHERE tenant = $1 AND node = $2 AND lane = $3 AND epoch = $4
                AND seq >= $5)
            + (SELECT count(*) FROM outbox WHERE tenant = $1 AND node = $2 AND lane = $3 AND epoch = $4 AND seq >= $5)";
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        let row = client.query_one(sql, &[&self.tenant, &self.node, &self.lane.as_str(), &self.epoch, &from]).await;
        Ok(row.context("count events")?.get(0))
    }
}

/// Heads that the node's key vouches for (`None`: the row is not the node's), and how far the history was found to agree.
/// A head is taken out when the history comes by it.
struct Signed {
    heads: BTreeMap<Seq, Option<Digest>>,
    last: Option<Seq>,
}

impl Signed {
    fn contradicts(&mut self, at: Seq, chain: Digest) -> bool {
        let Some(signed) = self.heads.remove(&at) else { return false };
        self.last = Some(at);
        signed != Some(chain)
    }

    /// A head at or behind `from`, where the log begins, that the history did not come by.
    fn unmet(&self, from: u64) -> Option<Seq> {
        self.heads.range(Seq(from)..).next().map(|(seq, _)| *seq)
    }
}

fn add(ranges: &mut Vec<Range>, first: u64, last: u64, item: &Item) {
    let gap = if let Item::Skip { reason, .. } = item { Some(reason.clone()) } else { None };
    match ranges.last_mut() {
        Some(range) if range.gap == gap && range.last + 1 == first => range.last = last,
        _ => ranges.push(Range { first, last, gap }),
    }
}
