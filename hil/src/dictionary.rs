//! Trains a wire dictionary on the journals of real runs: `hil demo --keep FOLDER`, then `hil dictionary`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use shared::ids::{Digest, Epoch, Lane, Seq};
use shared::record::Record;
use shared::units::Uptime;
use shared::wire::{Batch, Item, PROTOCOL};
use uuid::Uuid;

use crate::witness::each_record;

/// Size of a dictionary in bytes: it must earn its place in both binaries for ever.
const SIZE: usize = 32 * 1024;
/// Items of the batches it is trained on: small ones are where a dictionary matters.
const SIZES: [usize; 3] = [1, 3, 10];

/// Every record of some journals.
///
/// # Errors
/// When one cannot be read.
pub fn records(journals: &[PathBuf]) -> anyhow::Result<Vec<(Lane, Record)>> {
    let mut records = Vec::new();
    for journal in journals {
        let read = each_record(journal, |lane, record| {
            records.push((lane, record));
            Ok(())
        });
        read.with_context(|| format!("read the journal in {}", journal.display()))?;
    }
    Ok(records)
}

/// The batches that a node would make of records, `count` items in each, lane by lane.
///
/// # Errors
/// Never.
pub fn batches(records: &[(Lane, Record)], count: usize, dict_id: u32) -> anyhow::Result<Vec<Batch>> {
    let random = || Uuid::new_v4().into_bytes();
    let (epoch, boot_id) = (Epoch(random()), random());
    let mut made = Vec::new();
    for lane in Lane::ALL {
        let of_lane: Vec<&Record> = records.iter().filter(|(of, _)| *of == lane).map(|(_, record)| record).collect();
        for (index, run) in of_lane.chunks(count).enumerate() {
            let mut chain = [0; 32];
            chain.iter_mut().zip(random().into_iter().chain(random())).for_each(|(byte, random)| *byte = random);
            made.push(Batch {
                protocol: PROTOCOL,
                dict_id,
                node: "yard".parse()?,
                // The boot that made the events, as in life: a batch rarely outlives one.
                boot_id: run.first().and_then(|r| r.decode().ok()).map_or(boot_id, |d| d.envelope.occurred.boot_id),
                epoch,
                lane,
                first_seq: Seq(2 + (index * count) as u64),
                prev_chain: Digest(chain),
                sent_uptime: Uptime(1_000_000 * index as u64),
                downlink_acked: 0,
                items: run.iter().map(|record| Item::Record((*record).clone())).collect(),
                head_sig: Vec::new(),
            });
        }
    }
    Ok(made)
}

/// Trains a dictionary and writes it to a new file.
///
/// # Errors
/// Too few records, or a file that is there already: a number's bytes never change.
pub fn train(journals: &[PathBuf], out: &Path) -> anyhow::Result<String> {
    let records = records(journals)?;
    let mut samples = Vec::new();
    for size in SIZES {
        for batch in batches(&records, size, 0)? {
            samples.push(postcard::to_stdvec(&batch)?);
        }
    }
    let dictionary = zstd::dict::from_samples(&samples, SIZE).context("train a dictionary: more records are needed")?;
    anyhow::ensure!(!out.exists(), "write {}: it is there, and a number's bytes never change", out.display());
    std::fs::write(out, &dictionary).with_context(|| format!("write {}", out.display()))?;
    Ok(format!("{} bytes from {} records in {} samples", dictionary.len(), records.len(), samples.len()))
}
