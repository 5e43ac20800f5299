//! Counting from outside: SQL on Postgres and on the node's journal, kcat on Kafka. Never the products' own counters.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use rusqlite::{Connection, OpenFlags};
use shared::event::EVENT_TYPES;
use shared::ids::Lane;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use crate::process::output;

/// A connection to a database.
///
/// # Errors
/// When Postgres refuses.
pub async fn sql(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.context("connect to Postgres")?;
    // It ends with the client.
    tokio::spawn(connection);
    Ok(client)
}

/// What a journal file holds, by plain SQL on a read-only connection.
#[derive(Debug, Default)]
pub struct Journaled {
    /// Event ids.
    pub ids: HashSet<Uuid>,
    /// Rows with an event: more than ids if one is there twice.
    pub rows: usize,
    /// Events by type.
    pub by_type: BTreeMap<String, u64>,
}

/// Reads a node's journal.
///
/// # Errors
/// When it cannot be read.
pub fn journal(data: &Path) -> anyhow::Result<Journaled> {
    let file = data.join("journal.db");
    let db = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_ONLY);
    let db = db.with_context(|| format!("open {}", file.display()))?;
    let mut found = Journaled::default();
    for lane in Lane::ALL {
        let mut select =
            db.prepare(&format!("SELECT event_id, type_id FROM entry_{lane} WHERE event_id IS NOT NULL"))?;
        let rows = select.query_map([], |row| Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, u16>(1)?)))?;
        for row in rows {
            let (id, type_id) = row.context("read the journal")?;
            found.ids.insert(Uuid::from_bytes(id));
            found.rows += 1;
            let name = EVENT_TYPES.iter().find(|known| known.0 == type_id).map_or("unknown", |known| known.1);
            *found.by_type.entry(name.to_owned()).or_default() += 1;
        }
    }
    Ok(found)
}

/// Events of a journal that the relay has not acknowledged.
///
/// # Errors
/// When it cannot be read.
pub fn backlog(data: &Path) -> anyhow::Result<i64> {
    let db = Connection::open_with_flags(data.join("journal.db"), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut waiting = 0;
    for lane in Lane::ALL {
        let sql = format!(
            "SELECT (SELECT coalesce(max(pos), 0) FROM entry_{lane})
                  - coalesce((SELECT pos FROM acked WHERE lane = '{lane}'), 0)"
        );
        waiting += db.query_row(&sql, [], |row| row.get::<_, i64>(0))?;
    }
    Ok(waiting)
}

/// What is in the central store.
#[derive(Debug, Default)]
pub struct Central {
    /// Rows of event_store.
    pub rows: usize,
    /// Their event ids.
    pub ids: HashSet<Uuid>,
    /// Rows still in the outbox.
    pub outbox: i64,
}

/// Reads event_store and outbox.
///
/// # Errors
/// When Postgres refuses.
pub async fn central(url: &str) -> anyhow::Result<Central> {
    let client = sql(url).await?;
    let outbox = client.query_one("SELECT count(*) FROM outbox", &[]).await?.get(0);
    let rows = client.query("SELECT event_id FROM event_store", &[]).await?;
    Ok(Central { rows: rows.len(), ids: rows.iter().map(|row| row.get(0)).collect(), outbox })
}

/// Event ids in Kafka, one for each message, over every topic with a prefix.
///
/// # Errors
/// When kcat fails.
pub fn kafka(brokers: &str, topic_prefix: &str) -> anyhow::Result<Vec<Uuid>> {
    let mut ids = Vec::new();
    for topic in ["sensor-events", "inference-events", "user-actions", "system-events"] {
        let topic = format!("{topic_prefix}{topic}");
        let mut kcat = Command::new("kcat");
        let text = output(kcat.args(["-b", brokers, "-C", "-e", "-q", "-o", "beginning", "-f", "%h\n", "-t", &topic]))?;
        for line in text.lines().filter(|line| !line.is_empty()) {
            let id = line.split(',').find_map(|header| header.strip_prefix("event_id="));
            let id = id.with_context(|| format!("find the header event_id in {line}"))?;
            ids.push(Uuid::try_parse(id).with_context(|| format!("read the header event_id of {line}"))?);
        }
    }
    Ok(ids)
}
