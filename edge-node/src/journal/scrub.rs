//! Reading everything in the journal from time to time, slowly: damage that nobody reads is found while what is around
//! it can still be saved, not years later when it is needed.
//!
//! [`Scrub`] is one pass over all lanes, a page at a time; [`run`] makes passes for ever. A file that cannot be read is
//! made anew by the writer of what can be; a record that is not what was written is a gap from then on, and named here.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared::ids::{Epoch, Lane, Seq};
use shared::wire::Item;
use tokio::sync::watch;
use tracing::{error, info};

use super::block::DAMAGED;
use super::errand::Acks;
use super::reader::Reader;
use super::row_sum;
use super::segment::{Segment, StoreError};
use super::store::path_in;
use crate::clock;
use crate::health::{Metrics, Of};

/// Rows and bytes of records read at a time.
const PAGE: usize = 512;
const PAGE_BYTES: usize = 256 * 1024;
/// Bytes per second: 4 GiB take an hour, and neither card nor core feels it.
const PACE: u64 = 1024 * 1024;
/// Damaged places that are remembered, so that each is logged once.
const SEEN_MAX: usize = 10_000;

/// Places of a lane whose bytes are not what was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Damage {
    /// Lane.
    pub lane: Lane,
    /// Epoch.
    pub epoch: Epoch,
    /// First place.
    pub first: Seq,
    /// Last place.
    pub last: Seq,
}

/// What a page came to.
#[derive(Debug)]
pub struct Page {
    /// Bytes of records read.
    pub bytes: usize,
    /// What is damaged in it.
    pub damage: Vec<Damage>,
    /// A file that cannot be read at all; the pass goes on with the next lane.
    pub unreadable: Option<PathBuf>,
}

/// One pass.
pub struct Scrub {
    reader: Reader,
    lanes: std::slice::Iter<'static, Lane>,
    at: Option<(Lane, i64)>,
}

impl Scrub {
    /// Begins a pass over the journal of a folder.
    ///
    /// # Errors
    /// [`StoreError`] naming the file.
    pub fn begin(folder: &Path) -> Result<Self, StoreError> {
        let mut lanes = Lane::ALL.iter();
        let at = lanes.next().map(|lane| (*lane, 0));
        Ok(Self { reader: Reader::open(folder)?, lanes, at })
    }

    /// Reads the next page; `None` when the pass is over.
    ///
    /// # Errors
    /// [`StoreError`] of another kind than damage: the next pass tries again.
    pub fn page(&mut self) -> Result<Option<Page>, StoreError> {
        let Some((lane, pos)) = self.at else { return Ok(None) };
        let mut page = Page { bytes: 0, damage: Vec::new(), unreadable: None };
        let rows = match self.reader.after(lane, pos, PAGE, PAGE_BYTES) {
            Ok(rows) => rows,
            Err(error) => {
                let Some(file) = error.damaged_file() else { return Err(error) };
                page.unreadable = Some(file.to_owned());
                Vec::new()
            }
        };
        for row in &rows {
            match &row.item {
                Item::Record(record) => page.bytes += record.bytes.len(),
                Item::Skip { first, last, reason, .. } if reason == DAMAGED => {
                    page.damage.push(Damage { lane, epoch: row.epoch, first: *first, last: *last });
                }
                Item::Skip { .. } | Item::Opened(_) => {}
            }
        }
        self.at = match rows.last() {
            Some(last) => Some((lane, last.pos)),
            None => self.lanes.next().map(|lane| (*lane, 0)),
        };
        Ok(Some(page))
    }
}

/// Makes a pass every `period`, until stopped.
///
/// # Errors
/// Never: what fails is tried again with the next pass.
pub async fn run(
    (folder, period): (PathBuf, Duration),
    acks: Acks,
    metrics: Metrics,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut seen = HashSet::new();
    loop {
        let begun = clock::uptime();
        let passing = pass(&folder, &acks, &metrics, &mut seen);
        tokio::select! {
            passed = passing => if let Err(error) = passed { error!("failed to scrub the journal: {error:#}") },
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
        let rest = period.saturating_sub(clock::uptime().since(begun));
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
    }
}

/// Reads the catalogue whole; its file, where it is not what was written.
fn damaged_catalogue(folder: &Path) -> Option<PathBuf> {
    let path = path_in(folder);
    let read = Segment::read(&path).and_then(|file| row_sum::check(&file.db).map_err(StoreError::at(&path)));
    read.err().filter(StoreError::is_damage).map(|_| path)
}

async fn pass(folder: &Path, acks: &Acks, metrics: &Metrics, seen: &mut HashSet<Damage>) -> anyhow::Result<()> {
    let (begun, folder) = (clock::uptime(), folder.to_owned());
    let (asked, writer) = (folder.clone(), acks.clone());
    let catalogue = tokio::task::spawn_blocking(move || {
        let found = damaged_catalogue(&asked);
        found.inspect(|file| writer.damaged(file))
    });
    if let Some(file) = catalogue.await? {
        error!(file = %file.display(), "catalogue is damaged: it is made anew of the rows that are whole");
    }
    let mut scrub = tokio::task::spawn_blocking(move || Scrub::begin(&folder)).await??;
    let (mut bytes, mut places) = (0, [0; Lane::ALL.len()]);
    loop {
        let (back, page) = tokio::task::spawn_blocking(move || {
            let page = scrub.page();
            (scrub, page)
        })
        .await?;
        scrub = back;
        let Some(page) = page? else { break };
        for damage in page.damage {
            if let Some(places) = places.get_mut(damage.lane as usize) {
                *places += i64::try_from(damage.last.0 - damage.first.0 + 1).unwrap_or(i64::MAX);
            }
            let Damage { lane, epoch, first, last } = &damage;
            if !seen.contains(&damage) && seen.len() < SEEN_MAX {
                error!(%lane, %epoch, first = first.0, last = last.0, "journal is damaged: these events are gone");
                seen.insert(damage);
            }
        }
        if let Some(file) = page.unreadable {
            error!(file = %file.display(), "journal file cannot be read: it is made anew of what can be");
            let acks = acks.clone();
            // Waits while the writer has much to do.
            tokio::task::spawn_blocking(move || acks.damaged(&file)).await?;
        }
        bytes += page.bytes;
        tokio::time::sleep(Duration::from_micros(page.bytes as u64 * 1_000_000 / PACE)).await;
    }
    for (lane, places) in Lane::ALL.into_iter().zip(places) {
        metrics.journal_damaged.get_or_create(&Of::new(lane.as_str())).set(places);
    }
    metrics.journal_scrubs.inc();
    let damaged: i64 = places.iter().sum();
    info!(bytes, damaged, took_s = clock::uptime().since(begun).as_secs(), "journal was read through");
    Ok(())
}
