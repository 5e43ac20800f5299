//! What the relay remembers of a node's history: heads, epochs and their parents, refused histories, batches as they
//! came. Each function is one statement in the caller's transaction.

use std::time::SystemTime;

use anyhow::Context;
use shared::ids::{Digest, Epoch, Seq};
use shared::record::Opened;
use shared::wire::{Batch, Item};
use tokio_postgres::Transaction;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::head::{Facts, Head};

/// A lane of a node.
pub struct Key<'a> {
    /// Tenant.
    pub tenant: &'a str,
    /// Node.
    pub node: &'a str,
    /// Lane.
    pub lane: &'a str,
}

impl Key<'_> {
    /// The relay's head of an epoch, whether the epoch is closed, and now, by Postgres's clock and never before the epoch's
    /// last batch.
    async fn head(
        &self,
        tx: &Transaction<'_>,
        epoch: Epoch,
        lock: &str,
    ) -> anyhow::Result<Option<(Head, bool, SystemTime)>> {
        let sql = format!(
            "SELECT seq, chain, closed_at IS NOT NULL, greatest(clock_timestamp(), updated_at) FROM lane_head WHERE tenant = $1 AND node = $2 AND lane = $3 AND epoch = $4{lock}"
        );
        let row =
            tx.query_opt(&sql, &[&self.tenant, &self.node, &self.lane, &uuid(epoch)]).await.context("read head")?;
        Ok(row.map(|row| {
            let (seq, chain): (i64, Vec<u8>) = (row.get(0), row.get(1));
            let head =
                Head { seq: Seq(u64::try_from(seq).unwrap_or(0)), chain: Digest(chain.try_into().unwrap_or_default()) };
            (head, row.get(2), row.get(3))
        }))
    }

    /// Lets one batch of the lane in at a time: two children of one parent must see each other. Another seed than the
    /// publisher's, which holds its lock for as long as it lives.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn lock(&self, tx: &Transaction<'_>) -> anyhow::Result<()> {
        let name = format!("{}/{}/{}", self.tenant, self.node, self.lane);
        tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 1))", &[&name]).await.context("lock the lane")?;
        Ok(())
    }

    /// What is known that bears on a batch, and the time of its receipt; locks the head of its epoch, which must be there.
    /// The time is by the clock that retention goes by: days are dropped whole, and an epoch must lose its oldest first.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn facts(&self, tx: &Transaction<'_>, batch: &Batch) -> anyhow::Result<(Facts, SystemTime)> {
        let head = self.head(tx, batch.epoch, " FOR UPDATE").await?;
        let (head, closed, received) = head.context("find the head that was just made")?;
        let continued_at = self.continued_at(tx, batch.epoch).await?;
        let mut facts = Facts { head, closed, continued_at, ..Facts::default() };
        if let Some(Item::Opened(opened)) = batch.items.first()
            && head == Head::NONE
        {
            let parent = self.head(tx, opened.parent_epoch, "").await?;
            facts.parent = parent.map(|(head, ..)| head);
            facts.parent_closed = parent.is_some_and(|(_, closed, _)| closed);
            facts.parent_taken = self.has_other_child(tx, batch.epoch, opened).await?;
            facts.adopted = self.is_adopted(tx, batch.epoch).await?;
        }
        Ok((facts, received))
    }

    /// Whether another epoch continues the same parent: two nodes write under one name.
    async fn has_other_child(&self, tx: &Transaction<'_>, epoch: Epoch, opened: &Opened) -> anyhow::Result<bool> {
        let sql = "SELECT 1 FROM epoch JOIN lane_head USING (tenant, node, lane, epoch)
            WHERE tenant = $1 AND node = $2 AND lane = $3 AND parent_epoch = $4 AND parent_seq = $5 AND epoch <> $6
            AND closed_at IS NULL LIMIT 1";
        let (parent, seq) = (uuid(opened.parent_epoch), int(opened.parent_seq));
        let values: [&(dyn ToSql + Sync); 6] = [&self.tenant, &self.node, &self.lane, &parent, &seq, &uuid(epoch)];
        Ok(tx.query_opt(sql, &values).await.context("look for a clone")?.is_some())
    }

    /// The earliest place behind which another epoch continues this one.
    async fn continued_at(&self, tx: &Transaction<'_>, epoch: Epoch) -> anyhow::Result<Option<Seq>> {
        let sql = "SELECT min(parent_seq) FROM epoch JOIN lane_head USING (tenant, node, lane, epoch)
            WHERE tenant = $1 AND node = $2 AND lane = $3 AND parent_epoch = $4 AND closed_at IS NULL";
        let values: [&(dyn ToSql + Sync); 4] = [&self.tenant, &self.node, &self.lane, &uuid(epoch)];
        let earliest: Option<i64> = tx.query_one(sql, &values).await.context("look for children")?.get(0);
        Ok(earliest.map(|seq| Seq(seq.unsigned_abs())))
    }

    /// Whether an operator has adopted the epoch.
    async fn is_adopted(&self, tx: &Transaction<'_>, epoch: Epoch) -> anyhow::Result<bool> {
        let sql = "SELECT 1 FROM fork WHERE tenant = $1 AND node = $2 AND lane = $3 AND epoch = $4
            AND adopted_at IS NOT NULL";
        let values: [&(dyn ToSql + Sync); 4] = [&self.tenant, &self.node, &self.lane, &uuid(epoch)];
        Ok(tx.query_opt(sql, &values).await.context("look for an adoption")?.is_some())
    }

    /// Keeps a refused history for the operator.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn remember_fork(&self, tx: &Transaction<'_>, batch: &Batch, why: &str) -> anyhow::Result<()> {
        let (parent, parent_seq) = match batch.items.first() {
            Some(Item::Opened(opened)) => (opened.parent_epoch, opened.parent_seq),
            _ => (batch.epoch, batch.first_seq),
        };
        let sql = "INSERT INTO fork(tenant, node, lane, epoch, parent_epoch, parent_seq, why)
            VALUES ($1, $2, $3, $4, $5, $6, $7)
            ON CONFLICT (tenant, node, lane, epoch) DO UPDATE SET last_seen = now(), why = $7,
            adopted_at = NULL, adopted_by = NULL";
        let (epoch, parent, parent_seq) = (uuid(batch.epoch), uuid(parent), int(parent_seq));
        let values: [&(dyn ToSql + Sync); 7] =
            [&self.tenant, &self.node, &self.lane, &epoch, &parent, &parent_seq, &why];
        tx.execute(sql, &values).await.context("keep a refused history")?;
        Ok(())
    }

    /// Keeps a batch as it came; `received` is that of its events, so that both are kept equally long.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn log(
        &self,
        tx: &Transaction<'_>,
        batch: &Batch,
        (first, last): (Seq, Seq),
        body: &[u8],
        received: SystemTime,
    ) -> anyhow::Result<()> {
        let sql = "INSERT INTO batch_log(tenant, node, lane, epoch, first_seq, last_seq, dict_id, body,
            received_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let (first, last, dictionary) = (int(first), int(last), i32::try_from(batch.dict_id).unwrap_or(0));
        let epoch = uuid(batch.epoch);
        let values: [&(dyn ToSql + Sync); 9] =
            [&self.tenant, &self.node, &self.lane, &epoch, &first, &last, &dictionary, &body, &received];
        tx.execute(sql, &values).await.context("log a batch")?;
        Ok(())
    }

    /// Keeps which head an epoch continues.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn opened(&self, tx: &Transaction<'_>, epoch: Epoch, opened: &Opened) -> anyhow::Result<()> {
        let sql = "INSERT INTO epoch(tenant, node, lane, epoch, parent_epoch, parent_seq, parent_chain)
            VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let (parent, seq, chain) = (uuid(opened.parent_epoch), int(opened.parent_seq), opened.parent_chain.0);
        let values: [&(dyn ToSql + Sync); 7] =
            [&self.tenant, &self.node, &self.lane, &uuid(epoch), &parent, &seq, &chain.as_slice()];
        tx.execute(sql, &values).await.context("record epoch")?;
        Ok(())
    }
}

/// An epoch as Postgres holds it.
pub fn uuid(epoch: Epoch) -> Uuid {
    Uuid::from_bytes(epoch.0)
}

/// A sequence number as Postgres holds it.
pub fn int(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}
