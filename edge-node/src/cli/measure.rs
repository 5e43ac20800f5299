//! `edge-node outbox measure`: the journal beside bare SQLite on this machine's disk, in interleaved pairs.
//!
//! The reference inserts the same encoded bytes as `(id INTEGER PRIMARY KEY, blob)` rows, with the same pragmas and the
//! same commits. CPU time is that of this process, bytes written are what the kernel counts for it (`/proc/self/io`).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use shared::event::{Event, Payload, SensorReading};
use shared::ids::{Epoch, EventId, Lane};
use shared::record::Record;
use uuid::Uuid;

use crate::clock::{self, Stamp};
use crate::journal::block::Head;
use crate::journal::inspect;
use crate::journal::limits::Limits;
use crate::journal::segment::{CHECKPOINT_PAGES, Segment};
use crate::journal::store::{Entry, Store};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// New folder on the disk that is measured; removed afterwards, except by `fill`.
    #[arg(long)]
    data: PathBuf,
    /// What to measure.
    #[arg(long, value_enum)]
    what: What,
    /// Events in one commit, for `append`.
    #[arg(long, default_value_t = 100)]
    group: usize,
    /// Events in one run, for `append` and `fill`; seconds, for `paced`; MiB, for `open`.
    #[arg(long, default_value_t = 20_000)]
    count: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Durable commits as fast as they go, ours and bare.
    Append,
    /// 1 000 events a second, every tenth of a second one commit of 95 bulk events and five of one urgent event each.
    Paced,
    /// Opening a journal of that size.
    Open,
    /// Makes a journal with a backlog of that many events, and leaves it.
    Fill,
}

/// Runs the command: one JSON object.
///
/// # Errors
/// A folder that is there already, or a disk that fails.
pub fn run(args: &Args) -> anyhow::Result<()> {
    std::fs::create_dir(&args.data).with_context(|| format!("make new folder {}", args.data.display()))?;
    let measured = match args.what {
        What::Append => append(args),
        What::Paced => paced(args),
        What::Open => open(args),
        What::Fill => return fill(args),
    };
    std::fs::remove_dir_all(&args.data).context("remove the measured folder")?;
    writeln!(std::io::stdout(), "{}", measured?)?;
    Ok(())
}

/// Records of about 200 bytes, as sensors make them.
fn records(count: usize) -> anyhow::Result<Vec<Record>> {
    let stamp = Stamp::new();
    let make = |n: usize| {
        let value = f64::from(u32::try_from(n % 100_000).unwrap_or(0)) / 7.0;
        let sensor = format!("fence-{:03}/strain/{}", n % 400, "segment-of-the-north-perimeter-by-the-transformer-bay");
        let payload = SensorReading { sensor, value, unit: "kN".into() };
        let event = Event {
            event_id: EventId(Uuid::now_v7()),
            aggregate_id: format!("sensor/fence-{:03}", n % 400),
            occurred: stamp.now(),
            trace_id: None,
            cause_id: None,
            payload: Payload::SensorReading(payload),
        };
        Record::encode(event)
    };
    (0..count).map(make).collect::<Result<_, _>>().context("make records")
}

fn store(folder: &Path) -> anyhow::Result<Store> {
    Ok(Store::open(folder, Limits::default(), [Head::NONE; Lane::ALL.len()], || Epoch(Uuid::new_v4().into_bytes()))?)
}

fn bare(folder: &Path) -> anyhow::Result<Connection> {
    let db = Connection::open(folder.join("bare.db"))?;
    db.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};
         CREATE TABLE event(id INTEGER PRIMARY KEY, blob BLOB NOT NULL);"
    ))?;
    Ok(db)
}

fn bare_commit(db: &mut Connection, records: &[Record]) -> anyhow::Result<()> {
    let tx = db.transaction()?;
    {
        let mut insert = tx.prepare_cached("INSERT INTO event(blob) VALUES (?1)")?;
        for record in records {
            insert.execute(params![record.bytes])?;
        }
    }
    Ok(tx.commit()?)
}

fn commit(store: &mut Store, lane: Lane, records: &[Record]) -> anyhow::Result<()> {
    let entries: Vec<Entry<'_>> = records.iter().map(|record| Entry { lane, at: 0, record }).collect();
    let [urgent, bulk] = store.commit(&entries);
    urgent.and(bulk).context("commit")
}

/// Seconds and CPU seconds of a run.
fn timed(run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<(f64, f64)> {
    let (begun, cpu) = (clock::uptime(), cpu());
    run()?;
    Ok((clock::uptime().since(begun).as_secs_f64(), (self::cpu() - cpu).as_secs_f64()))
}

fn cpu() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(used.tv_sec).unwrap_or(0), u32::try_from(used.tv_nsec).unwrap_or(0))
}

fn append(args: &Args) -> anyhow::Result<Value> {
    let records = records(args.count)?;
    let bytes: usize = records.iter().map(|record| record.bytes.len()).sum();
    let (mut journal, mut reference) = (store(&args.data.join("ours"))?, bare(&args.data)?);
    let groups = || records.chunks(args.group.max(1));
    let (ours, ours_cpu) = timed(|| groups().try_for_each(|group| commit(&mut journal, Lane::Telemetry, group)))?;
    let (theirs, theirs_cpu) = timed(|| groups().try_for_each(|group| bare_commit(&mut reference, group)))?;
    let per_event = 1e6 / f64::from(u32::try_from(args.count).unwrap_or(u32::MAX));
    Ok(json!({
        "events": args.count, "group": args.group, "record_bytes": bytes / args.count.max(1),
        "ours_s": ours, "bare_s": theirs, "ours_cpu_us": ours_cpu * per_event, "bare_cpu_us": theirs_cpu * per_event,
    }))
}

fn written() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/io").context("read /proc/self/io")?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|count| count.trim().parse().ok()).context("find write_bytes in /proc/self/io")
}

/// Latencies of each urgent commit and the bytes written for bulk and urgent events, ours and bare in turn.
fn paced(args: &Args) -> anyhow::Result<Value> {
    let ticks = args.count.saturating_mul(10);
    let records = records(100)?;
    let (bulk, urgent) = records.split_at(95);
    let size = |records: &[Record]| records.iter().map(|record| record.bytes.len() as u64).sum::<u64>();
    let (mut journal, mut reference) = (store(&args.data.join("ours"))?, bare(&args.data)?);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut bulk_written, mut urgent_written, mut bare_written) = (0, 0, 0);
    let begun = clock::uptime();
    for tick in 0..ticks {
        let due = begun.plus(Duration::from_millis(100).saturating_mul(u32::try_from(tick).unwrap_or(0)));
        std::thread::sleep(due.since(clock::uptime()));
        let before = written()?;
        commit(&mut journal, Lane::Telemetry, bulk)?;
        bulk_written += written()? - before;
        for record in urgent {
            let before = written()?;
            let one = std::slice::from_ref(record);
            ours.push(timed(|| commit(&mut journal, Lane::Alert, one))?.0);
            let middle = written()?;
            theirs.push(timed(|| bare_commit(&mut reference, one))?.0);
            urgent_written += middle - before;
        }
        let before = written()?;
        bare_commit(&mut reference, bulk)?;
        bare_written += written()? - before;
    }
    let p99 = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times.get(times.len() * 99 / 100).copied().unwrap_or(f64::NAN) * 1e3
    };
    let ticks = ticks as u64;
    Ok(json!({
        "seconds": args.count, "bulk_bytes": size(bulk) * ticks, "bulk_written": bulk_written,
        "urgent_bytes": size(urgent) * ticks, "urgent_written": urgent_written,
        "bare_bulk_written": bare_written, "urgent_p99_ms": p99(ours), "bare_p99_ms": p99(theirs),
    }))
}

fn fill(args: &Args) -> anyhow::Result<()> {
    let (mut journal, mut left) = (store(&args.data)?, args.count);
    while left > 0 {
        let group = records(left.min(1000))?;
        commit(&mut journal, Lane::Telemetry, &group)?;
        journal.maintain(clock::utc().0)?;
        left -= group.len();
    }
    Ok(())
}

fn open(args: &Args) -> anyhow::Result<Value> {
    let folder = args.data.join("ours");
    let (mut journal, records) = (store(&folder)?, records(2000)?);
    loop {
        commit(&mut journal, Lane::Telemetry, &records)?;
        journal.maintain(clock::utc().0)?;
        let status = inspect::status(&folder)?;
        if status.bulk_bytes >= (args.count as u64) * 1024 * 1024 {
            break;
        }
    }
    drop(journal);
    let (seconds, _) = timed(|| store(&folder).map(drop))?;
    let status = inspect::status(&folder)?;
    let version: String = Segment::read(&crate::journal::store::path_in(&folder))?.db.query_row(
        "SELECT sqlite_version()",
        [],
        |row| row.get(0),
    )?;
    Ok(json!({ "bulk_bytes": status.bulk_bytes, "segments": status.segments, "open_s": seconds, "sqlite": version }))
}
