//! Counting from outside: SQL on Postgres and on the node's journal, kcat on Kafka. Never the products' own counters.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use rusqlite::{Connection, OpenFlags};
use shared::event::EVENT_TYPES;
use shared::ids::Lane;
use shared::record::Record;
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
    /// Where each event is.
    pub places: HashMap<Uuid, Place>,
    /// Events by type.
    pub by_type: BTreeMap<String, u64>,
}

/// The place of an event in its node's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Epoch.
    pub epoch: Uuid,
    /// Lane.
    pub lane: Lane,
    /// Sequence number.
    pub seq: i64,
}

/// The journal's files of a data folder: `urgent.db`, then the bulk segments, each with the lanes it holds.
fn files(data: &Path) -> anyhow::Result<Vec<(Connection, &'static [Lane])>> {
    let urgent: &[Lane] = &[Lane::Safety, Lane::Alert];
    let bulk: &[Lane] = &[Lane::Detection, Lane::Telemetry, Lane::Media];
    let mut paths = vec![(data.join("urgent.db"), urgent)];
    for entry in std::fs::read_dir(data).with_context(|| format!("read folder {}", data.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("bulk-") && name.ends_with(".db") {
            paths.push((path, bulk));
        }
    }
    paths.sort();
    let open = |(path, lanes): (std::path::PathBuf, _)| {
        let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY);
        let db = db.with_context(|| format!("open {}", path.display()))?;
        db.busy_timeout(std::time::Duration::from_secs(5))?;
        Ok((db, lanes))
    };
    paths.into_iter().map(open).collect()
}

/// The records of a block with their places in it, read by the layout that `edge-node/src/journal/block.rs` documents.
fn records(mut body: &[u8]) -> Option<Vec<(i64, Record)>> {
    let (mut found, mut place) = (Vec::new(), 0);
    while !body.is_empty() {
        let (frame, rest) = body.split_at_checked(41)?;
        let type_id = u16::from_le_bytes(*frame.get(33..)?.first_chunk()?);
        let len = usize::try_from(u32::from_le_bytes(*frame.get(37..)?.first_chunk()?)).ok()?;
        let (bytes, rest) = rest.split_at_checked(len)?;
        if frame.get(32) == Some(&1) {
            let schema_version = u16::from_le_bytes(*frame.get(35..)?.first_chunk()?);
            found.push((place, Record { type_id, schema_version, bytes: bytes.to_vec() }));
        }
        (body, place) = (rest, place + 1);
    }
    Some(found)
}

/// Reads a node's journal.
///
/// # Errors
/// When it cannot be read.
pub fn journal(data: &Path) -> anyhow::Result<Journaled> {
    let mut found = Journaled::default();
    each_place(data, |place, record| {
        // postcard: a length of 16, then the id.
        let id = record.bytes.get(1..17).context("find the id of a record")?;
        let id = Uuid::from_slice(id).context("read the id of a record")?;
        found.ids.insert(id);
        found.places.insert(id, place);
        found.rows += 1;
        let name = EVENT_TYPES.iter().find(|known| known.0 == record.type_id).map_or("unknown", |known| known.1);
        *found.by_type.entry(name.to_owned()).or_default() += 1;
        Ok(())
    })?;
    Ok(found)
}

/// Gives every record of a node's journal, by file, lane and place.
///
/// # Errors
/// When it cannot be read, and those of `each`.
pub fn each_record(data: &Path, mut each: impl FnMut(Lane, Record) -> anyhow::Result<()>) -> anyhow::Result<()> {
    each_place(data, |place, record| each(place.lane, record))
}

fn each_place(data: &Path, mut each: impl FnMut(Place, Record) -> anyhow::Result<()>) -> anyhow::Result<()> {
    for (db, lanes) in files(data)? {
        for lane in lanes {
            let mut select =
                db.prepare(&format!("SELECT body, epoch, first_seq FROM block_{lane} ORDER BY first_pos"))?;
            let rows =
                select.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?, row.get::<_, i64>(2)?)))?;
            for row in rows {
                let (body, epoch, first_seq) = row.context("read the journal")?;
                let epoch = Uuid::from_bytes(epoch);
                for (index, record) in records(&body).context("read a block of the journal")? {
                    each(Place { epoch, lane: *lane, seq: first_seq + index }, record)?;
                }
            }
        }
    }
    Ok(())
}

/// Items of a journal that the relay has not acknowledged.
///
/// # Errors
/// When it cannot be read.
pub fn backlog(data: &Path) -> anyhow::Result<i64> {
    let files = files(data)?;
    let mut waiting = 0;
    for lane in Lane::ALL {
        let mut last = 0;
        for (db, _) in files.iter().filter(|(_, lanes)| lanes.contains(&lane)) {
            let sql = format!("SELECT coalesce(max(first_pos + count - 1), 0) FROM block_{lane}");
            last = last.max(db.query_row(&sql, [], |row| row.get::<_, i64>(0))?);
        }
        let (catalogue, _) = files.iter().find(|(_, lanes)| lanes.contains(&Lane::Safety)).context("open urgent.db")?;
        let sql = "SELECT coalesce((SELECT pos FROM acked WHERE lane = ?1), 0)";
        waiting += last - catalogue.query_row(sql, [lane.as_str()], |row| row.get::<_, i64>(0))?;
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
    /// Where each event is, as the relay stored it.
    pub places: HashMap<Uuid, Place>,
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
    let rows = client.query("SELECT event_id, epoch, lane, seq FROM event_store", &[]).await?;
    let mut places = HashMap::new();
    for row in &rows {
        let lane = row.get::<_, String>(2).parse().map_err(|error| anyhow::anyhow!("read a lane: {error}"))?;
        places.insert(row.get(0), Place { epoch: row.get(1), lane, seq: row.get(3) });
    }
    Ok(Central { rows: rows.len(), ids: rows.iter().map(|row| row.get(0)).collect(), places, outbox })
}

/// Event ids in Kafka, one for each message, over every topic with a prefix.
///
/// # Errors
/// When kcat fails.
pub fn kafka(brokers: &str, topic_prefix: &str) -> anyhow::Result<Vec<Uuid>> {
    Ok(messages(brokers, topic_prefix)?.into_iter().map(|message| message.id).collect())
}

/// A message in Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Topic, partition and key: within them order holds.
    pub stream: String,
    /// Event id.
    pub id: Uuid,
}

/// Messages whose event comes after a later one of its stream, epoch and lane: first deliveries only, since a crash repeats
/// some. Places are those of the event store.
pub fn disordered(messages: &[Message], places: &HashMap<Uuid, Place>) -> usize {
    let (mut seen, mut last, mut odd) = (HashSet::new(), HashMap::new(), 0);
    for Message { stream, id } in messages {
        let Some(Place { epoch, lane, seq }) = places.get(id).filter(|_| seen.insert(id)) else { continue };
        let newest = last.entry((stream, epoch, lane)).or_insert(seq);
        odd += usize::from(seq < *newest);
        *newest = seq.max(*newest);
    }
    odd
}

/// Messages in Kafka over every topic with a prefix, each partition's in its order.
///
/// # Errors
/// When kcat fails.
pub fn messages(brokers: &str, topic_prefix: &str) -> anyhow::Result<Vec<Message>> {
    let mut found = Vec::new();
    for topic in ["sensor-events", "inference-events", "user-actions", "system-events"] {
        let topic = format!("{topic_prefix}{topic}");
        let mut kcat = Command::new("kcat");
        let text =
            output(kcat.args(["-b", brokers, "-C", "-e", "-q", "-o", "beginning", "-f", "%p %k\t%h\n", "-t", &topic]))?;
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (stream, headers) = line.split_once('\t').with_context(|| format!("split {line}"))?;
            let id = headers.split(',').find_map(|header| header.strip_prefix("event_id="));
            let id = id.with_context(|| format!("find the header event_id in {line}"))?;
            let id = Uuid::try_parse(id).with_context(|| format!("read the header event_id of {line}"))?;
            found.push(Message { stream: format!("{topic} {stream}"), id });
        }
    }
    Ok(found)
}
