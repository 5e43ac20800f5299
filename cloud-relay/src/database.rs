//! Connections to Postgres and the migrations.

use anyhow::Context;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_postgres::{AsyncMessage, Client, NoTls};
use tracing::{info, warn};

use crate::config::Postgres;

/// Migrations in order; each is applied once, in a transaction. Never edited after release.
const MIGRATIONS: [(i32, &str); 5] = [
    (1, include_str!("../migrations/0001_main_path.sql")),
    (2, include_str!("../migrations/0002_history.sql")),
    (3, include_str!("../migrations/0003_fleet.sql")),
    (4, include_str!("../migrations/0004_retention.sql")),
    (5, include_str!("../migrations/0005_downlink.sql")),
];
/// Days of event_store partitions made ahead.
const PARTITIONS_AHEAD: i32 = 3;
/// How often they are made.
const PARTITIONS_PERIOD: std::time::Duration = std::time::Duration::from_secs(6 * 3600);
/// Advisory lock of the migrator, so that two relays starting together do not race.
const MIGRATE_LOCK: i64 = 0x7069_636b_6574;

/// A connection whose notifications nobody reads.
///
/// # Errors
/// When Postgres refuses or is not there.
pub async fn connect(config: &Postgres) -> anyhow::Result<Client> {
    Ok(connect_listening(config).await?.0)
}

/// A connection and its notifications, one `()` each; the channel closes with the connection.
///
/// # Errors
/// When Postgres refuses or is not there.
pub async fn connect_listening(config: &Postgres) -> anyhow::Result<(Client, UnboundedReceiver<()>)> {
    let (client, mut connection) = tokio_postgres::connect(&config.url, NoTls).await.context("connect to Postgres")?;
    // Unbounded, because it holds units and the reader drains all of them at each wake.
    let (notified, notifications) = unbounded_channel();
    tokio::spawn(async move {
        loop {
            match std::future::poll_fn(|cx| connection.poll_message(cx)).await {
                Some(Ok(AsyncMessage::Notification(_))) => {
                    let _ = notified.send(());
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    warn!(%error, "connection to Postgres is lost");
                    return;
                }
                None => return,
            }
        }
    });
    Ok((client, notifications))
}

/// Brings the schema up to date and makes partitions ahead.
///
/// # Errors
/// When Postgres refuses, or the schema is newer than this build.
pub async fn migrate(client: &mut Client) -> anyhow::Result<()> {
    client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATE_LOCK]).await.context("lock migrations")?;
    let done = apply(client).await;
    client.execute("SELECT pg_advisory_unlock($1)", &[&MIGRATE_LOCK]).await.context("unlock migrations")?;
    done
}

async fn apply(client: &mut Client) -> anyhow::Result<()> {
    let ledger = "CREATE TABLE IF NOT EXISTS schema_migration(
        version int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())";
    client.batch_execute(ledger).await.context("make schema_migration")?;
    let row = client.query_one("SELECT coalesce(max(version), 0) FROM schema_migration", &[]).await?;
    let at: i32 = row.get(0);
    let newest = MIGRATIONS.last().map_or(0, |(version, _)| *version);
    anyhow::ensure!(at <= newest, "migrate: schema version {at} is newer than this build's {newest}");
    for (version, sql) in MIGRATIONS.iter().filter(|(version, _)| *version > at) {
        let tx = client.transaction().await?;
        tx.batch_execute(sql).await.with_context(|| format!("apply migration {version}"))?;
        tx.execute("INSERT INTO schema_migration(version) VALUES ($1)", &[version]).await?;
        tx.commit().await.with_context(|| format!("commit migration {version}"))?;
        info!(version, "migration is applied");
    }
    make_partitions(client).await
}

/// Makes event_store's partitions of today (UTC) and the days ahead. Called at start and daily.
///
/// # Errors
/// When Postgres refuses.
pub async fn make_partitions(client: &Client) -> anyhow::Result<()> {
    let days = "SELECT to_char(d, 'YYYYMMDD'), d::text, (d + interval '1 day')::date::text
        FROM generate_series(0, $1) n, LATERAL (SELECT ((now() AT TIME ZONE 'UTC')::date + n) AS d) AS day";
    for row in client.query(days, &[&PARTITIONS_AHEAD]).await.context("list days")? {
        let (name, from, to): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS event_store_{name} PARTITION OF event_store
             FOR VALUES FROM ('{from} 00:00+00') TO ('{to} 00:00+00')"
        );
        if let Err(error) = client.batch_execute(&sql).await {
            // Rows already in the default partition forbid it; they are served from there.
            warn!(%error, partition = name, "partition cannot be made");
        }
    }
    Ok(())
}

/// Makes partitions ahead for ever; a failure is repeated at the next turn, rows go to the default partition meanwhile.
///
/// # Errors
/// Never.
pub async fn keep_partitions(config: Postgres) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(PARTITIONS_PERIOD).await;
        let made = async { make_partitions(&connect(&config).await?).await };
        if let Err(error) = made.await {
            warn!("failed to {error:#}");
        }
    }
}

/// A few connections shared by the handlers. A broken one is replaced when it is next wanted.
///
/// Bound: [`Pool::SIZE`] connections, a small share of Postgres's default 100; full means a handler waits its turn.
pub struct Pool {
    config: Postgres,
    idle: std::sync::Mutex<Vec<Client>>,
    permits: tokio::sync::Semaphore,
}

/// A borrowed connection; goes back when dropped, unless it broke.
pub struct Pooled<'a> {
    pool: &'a Pool,
    client: Option<Client>,
    _permit: tokio::sync::SemaphorePermit<'a>,
}

impl Pool {
    /// Most connections at once.
    pub const SIZE: usize = 8;

    /// An empty pool: connections are made when wanted.
    pub fn new(config: Postgres) -> Self {
        Self { config, idle: std::sync::Mutex::default(), permits: tokio::sync::Semaphore::new(Self::SIZE) }
    }

    /// Borrows a connection.
    ///
    /// # Errors
    /// When Postgres is not there.
    pub async fn get(&self) -> anyhow::Result<Pooled<'_>> {
        let permit = self.permits.acquire().await.context("borrow a connection")?;
        let idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        let client = match idle.filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => connect(&self.config).await?,
        };
        Ok(Pooled { pool: self, client: Some(client), _permit: permit })
    }
}

impl Pooled<'_> {
    /// The connection.
    ///
    /// # Errors
    /// Never, while the borrow lives.
    pub fn client(&mut self) -> anyhow::Result<&mut Client> {
        self.client.as_mut().context("use a borrowed connection")
    }
}

impl Drop for Pooled<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.client.take().filter(|client| !client.is_closed()) {
            self.pool.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(client);
        }
    }
}
