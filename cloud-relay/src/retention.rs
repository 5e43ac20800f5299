//! What has been kept for its time goes: day by day the partition of event_store, and with it the batches that filled
//! it. Heads, epochs, gaps and signed heads stay: `operate::verify` starts at the oldest batch that is left.

use std::time::Duration;

use anyhow::Context;
use tokio_postgres::Client;
use tracing::{info, warn};

use crate::config::Config;
use crate::database;

/// How often old days are looked for.
const PERIOD: Duration = Duration::from_secs(3600);

/// Runs until the task is dropped; a failure is repeated at the next turn.
///
/// # Errors
/// Never.
pub async fn run(config: Config) -> anyhow::Result<()> {
    loop {
        let done = async { drop_old(&mut database::connect(&config.postgres).await?, config.retention.events).await };
        match done.await {
            Ok(0) => {}
            Ok(days) => info!(days, "events and batches that were kept for their time are dropped"),
            Err(error) => warn!("failed to {error:#}; trying again"),
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Drops the whole days (UTC, by the time of receipt) that ended longer than `keep` ago; returns how many.
///
/// # Errors
/// When Postgres fails: each day goes wholly or stays.
pub async fn drop_old(client: &mut Client, keep: Duration) -> anyhow::Result<u32> {
    let sql = "SELECT to_date(right(c.relname, 8), 'YYYYMMDD')::text, c.relname FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'event_store'::regclass AND c.relname ~ '^event_store_[0-9]{8}$'
        AND to_date(right(c.relname, 8), 'YYYYMMDD') < ((now() - $1 * interval '1 second') AT TIME ZONE 'UTC')::date
        ORDER BY 1";
    let old = client.query(sql, &[&keep.as_secs_f64()]).await.context("look for old partitions")?;
    let mut days = 0;
    for row in old {
        let (day, partition): (&str, &str) = (row.get(0), row.get(1));
        let tx = client.transaction().await.context("begin")?;
        // Whoever reads for long must not make every writer wait behind this.
        tx.batch_execute("SET LOCAL lock_timeout = '5s'").await.context("limit the wait")?;
        let sql = "INSERT INTO retention(dropped_before) VALUES (($1::text::date + 1)::timestamp AT TIME ZONE 'UTC')
            ON CONFLICT (only_one) DO UPDATE SET dropped_before = greatest(retention.dropped_before,
            excluded.dropped_before) RETURNING dropped_before";
        let before: std::time::SystemTime = tx.query_one(sql, &[&day]).await.context("keep how far it went")?.get(0);
        tx.execute("DELETE FROM batch_log WHERE received_at < $1", &[&before]).await.context("drop old batches")?;
        stray(&tx, before).await?;
        tx.batch_execute(&format!("DROP TABLE {partition}")).await.with_context(|| format!("drop {partition}"))?;
        tx.commit().await.context("commit")?;
        days += 1;
    }
    Ok(days)
}

/// Events of a day whose partition was not there, or was gone, when they came through. No partition holds them alone, so
/// they are deleted, the one exception of the table's rule.
async fn stray(tx: &tokio_postgres::Transaction<'_>, before: std::time::SystemTime) -> anyhow::Result<()> {
    let sql = "SELECT 1 FROM event_store_default WHERE ingested_at < $1 LIMIT 1";
    if tx.query_opt(sql, &[&before]).await.context("look for strays")?.is_none() {
        return Ok(());
    }
    let steps = "ALTER TABLE event_store_default DISABLE TRIGGER append_only";
    tx.batch_execute(steps).await.context("unlock event_store_default")?;
    let sql = "DELETE FROM event_store_default WHERE ingested_at < $1";
    tx.execute(sql, &[&before]).await.context("delete strays")?;
    let steps = "ALTER TABLE event_store_default ENABLE TRIGGER append_only";
    tx.batch_execute(steps).await.context("lock event_store_default")
}
