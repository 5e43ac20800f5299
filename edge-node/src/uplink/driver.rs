//! Carries the session out: reads batches from the journal, posts them, moves the cursor after the relay's ack.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use reqwest::StatusCode;
use serde::Deserialize;
use shared::dictionary;
use shared::ids::{Digest, Epoch, Lane, Name, Seq};
use shared::record::{Opened, Record};
use shared::units::Uptime;
use shared::wire::{Ack, Batch, DICTIONARY_HEADER, Item, Mismatch, PROTOCOL, Why};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::RelayConfig;
use super::session::{Outcome, Session, Step};
use crate::clock::{self, Stamp};
use crate::health::{Metrics, Of};
use crate::journal::block::{Head, Row};
use crate::journal::reader::Reader;
use crate::journal::segment::StoreError;
use crate::journal::writer::Acks;

/// Most rows of one batch, and most bytes: a batch that is lost costs this much again.
const ROWS: usize = 1000;
const BYTES: usize = 512 * 1024;

/// The relay is asked for its heads this often, and after each failure.
const CURSOR_PERIOD: Duration = Duration::from_secs(15);

/// One lane's head at the relay.
#[derive(Debug, Deserialize)]
struct LaneHead {
    lane: String,
    epoch: String,
    seq: u64,
    #[serde(default)]
    chain: String,
}

/// What the relay tells of itself and of this node.
#[derive(Debug, Deserialize)]
struct Cursor {
    heads: Vec<LaneHead>,
    #[serde(default)]
    dictionaries: Vec<u32>,
}

/// What the console shows.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Whether the relay answered last.
    pub connected: bool,
    /// Events waiting, by lane.
    pub backlog: [i64; Lane::ALL.len()],
}

/// What the uplink needs.
pub struct Uplink {
    /// Relay.
    pub config: RelayConfig,
    /// This node.
    pub node: Name,
    /// Data folder of the journal.
    pub folder: PathBuf,
    /// Moves the outbox cursor.
    pub acks: Acks,
    /// Boot.
    pub stamp: Stamp,
    /// Where the console looks.
    pub view: watch::Sender<View>,
    /// Counters.
    pub metrics: Metrics,
    /// Set when the node ends.
    pub stop: watch::Receiver<bool>,
    /// The dictionary in use: 0 until the relay has said what it knows.
    pub dictionary: u32,
}

impl Uplink {
    /// Runs until stopped.
    ///
    /// # Errors
    /// When the journal cannot be read or the HTTP client not be made.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let reader = Arc::new(std::sync::Mutex::new(Reader::open(&self.folder).context("open the outbox")?));
        let client = reqwest::Client::builder().timeout(self.config.timeout).build().context("make an HTTP client")?;
        let url = format!("{}/v1/nodes/{}/batches", self.config.url, self.node);
        let mut cursors = [Head::NONE; Lane::ALL.len()];
        for (lane, cursor) in Lane::ALL.into_iter().zip(&mut cursors) {
            // From the beginning where it cannot be read now: the relay recognises what it has.
            *cursor = match read(&reader, move |r| r.backlog(lane)).await {
                Ok((_, acked)) => acked,
                Err(error) => {
                    error!(%lane, "failed to {error:#}");
                    Head::NONE
                }
            };
        }
        let mut session = Session::new(cursors);
        let mut ended = self.stop.clone();
        let mut asked: Option<Uptime> = None;
        loop {
            let now = clock::uptime();
            if !session.failing() && asked.is_none_or(|at| now.since(at) >= CURSOR_PERIOD) {
                asked = Some(now);
                // A page that cannot be read must end neither the uplink nor the node.
                if let Err(error) = self.compare(&client, &reader, &mut session).await {
                    error!("failed to {error:#}");
                }
            }
            match session.next(now) {
                Step::Wait(wait) => {
                    if let Err(error) = self.show(&reader, &session).await {
                        error!("failed to {error:#}");
                    }
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        _ = ended.wait_for(|stop| *stop) => return Ok(()),
                    }
                }
                Step::Send { lane, at } => {
                    let exchanged = self.exchange(&client, &url, &reader, lane, at);
                    let outcome = tokio::select! {
                        outcome = exchanged => outcome,
                        _ = ended.wait_for(|stop| *stop) => return Ok(()),
                    };
                    let outcome = outcome.unwrap_or_else(|error| {
                        error!(%lane, "failed to {error:#}");
                        if let Some(file) = error.downcast_ref::<StoreError>().and_then(StoreError::damaged_file) {
                            self.acks.damaged(file);
                        }
                        Outcome::Refused(lane)
                    });
                    if matches!(outcome, Outcome::Failed { .. }) {
                        self.metrics.uplink_failures.inc();
                    }
                    if let Outcome::Acked { lane, at } | Outcome::Rewind { lane, at } = outcome {
                        self.acks.ack(lane, at);
                    }
                    let was_failing = session.failing();
                    session.happened(outcome, clock::uptime());
                    asked = asked.filter(|_| !was_failing || session.failing());
                }
            }
        }
    }

    async fn show(&mut self, reader: &SharedReader, session: &Session) -> anyhow::Result<()> {
        let mut backlog = [0; Lane::ALL.len()];
        for (lane, waiting) in Lane::ALL.into_iter().zip(&mut backlog) {
            let (last, acked) = read(reader, move |r| r.backlog(lane)).await?;
            *waiting = last - acked.pos;
            self.metrics.backlog.get_or_create(&Of::new(lane.as_str())).set(*waiting);
        }
        let connected = !session.failing();
        if self.view.borrow().connected != connected {
            info!(connected, "uplink");
        }
        self.view.send_replace(View { connected, backlog });
        Ok(())
    }

    async fn exchange(
        &mut self,
        client: &reqwest::Client,
        url: &str,
        reader: &SharedReader,
        lane: Lane,
        at: Head,
    ) -> anyhow::Result<Outcome> {
        let rows = read(reader, move |r| r.after(lane, at.pos, ROWS, BYTES)).await?;
        let rows = one_batch(rows);
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(Outcome::Empty(lane)) };
        let (epoch, first_seq, end) = (first.epoch, first.first_seq(), last.head());
        let parent = continued(first);
        // Each epoch's chain begins with its first item.
        let prev_chain = if epoch == at.epoch && first_seq > Seq(1) { at.chain } else { Digest::default() };
        let batch = Batch {
            protocol: PROTOCOL,
            dict_id: self.dictionary,
            node: self.node.clone(),
            boot_id: self.stamp.boot_id(),
            epoch,
            lane,
            first_seq,
            prev_chain,
            sent_uptime: clock::uptime(),
            downlink_acked: 0,
            items: rows.into_iter().map(|row| row.item).collect(),
            head_sig: Vec::new(),
        };
        let body = batch.encode().context("encode a batch")?;
        let failed = |retry_after| Outcome::Failed { retry_after, jitter: jitter() };
        let answer = match client.post(url).header(DICTIONARY_HEADER, batch.dict_id).body(body).send().await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!("failed to reach the relay: {:#}", error.without_url());
                return Ok(failed(None));
            }
        };
        let retry_after = answer.headers().get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
        let retry_after = retry_after.map(Duration::from_secs);
        match answer.status() {
            StatusCode::OK => match answer.json::<Ack>().await {
                Ok(ack) if ack.lane == lane && ack.epoch == epoch.to_string() && ack.acked_seq >= first_seq => {
                    self.metrics.batches.inc();
                    let ahead = ack.acked_seq >= end.seq;
                    let at = if ahead { end } else { head(end, ack.acked_seq, &ack.chain) };
                    Ok(Outcome::Acked { lane, at })
                }
                Ok(ack) => {
                    warn!(%lane, ?ack, "relay acknowledged something else");
                    Ok(failed(None))
                }
                Err(error) => {
                    warn!("failed to read the relay's ack: {:#}", error.without_url());
                    Ok(failed(None))
                }
            },
            StatusCode::CONFLICT => match answer.json::<Mismatch>().await {
                Ok(mismatch) => self.mismatched(reader, lane, &mismatch, [Some(end), parent]).await,
                Err(_) => Ok(failed(None)),
            },
            StatusCode::UNSUPPORTED_MEDIA_TYPE if self.dictionary != 0 => {
                warn!(dictionary = self.dictionary, "relay does not know the dictionary: going on without");
                self.dictionary = 0;
                Ok(failed(None))
            }
            status if status.is_client_error() => {
                error!(%status, %lane, "relay refused a batch: an operator must look, the other lanes go on");
                Ok(Outcome::Refused(lane))
            }
            status => {
                warn!(%status, %lane, "relay refused a batch");
                Ok(failed(retry_after))
            }
        }
    }

    /// Asks the relay for its heads: a relay restored from a backup needs a lane again that may have nothing new.
    async fn compare(
        &mut self,
        client: &reqwest::Client,
        reader: &SharedReader,
        s: &mut Session,
    ) -> anyhow::Result<()> {
        let url = format!("{}/v1/nodes/{}/cursor", self.config.url, self.node);
        let answer = client.get(url).send().await.and_then(reqwest::Response::error_for_status);
        let cursor: Cursor = match answer {
            Ok(answer) => {
                answer.json().await.map_err(reqwest::Error::without_url).context("read the relay's cursor")?
            }
            // The next batch shows it too.
            Err(_) => return Ok(()),
        };
        let heads = cursor.heads;
        self.dictionary = if cursor.dictionaries.contains(&dictionary::NEWEST) { dictionary::NEWEST } else { 0 };
        for lane in Lane::ALL {
            let (_, acked) = read(reader, move |r| r.backlog(lane)).await?;
            let epoch = acked.epoch.to_string();
            let known = heads.iter().find(|head| head.lane == lane.as_str() && head.epoch == epoch);
            let seq = Seq(known.map_or(0, |head| head.seq));
            if acked.pos > 0 && seq < acked.seq {
                let at = head(acked, seq, known.map_or("", |head| &head.chain));
                warn!(%lane, seq = seq.0, "relay is behind: sending again");
                self.acks.ack(lane, at);
                s.happened(Outcome::Rewind { lane, at }, clock::uptime());
            }
        }
        Ok(())
    }

    async fn mismatched(
        &self,
        reader: &SharedReader,
        lane: Lane,
        at: &Mismatch,
        behind: [Option<Head>; 2],
    ) -> anyhow::Result<Outcome> {
        let why = at.why;
        if why == Why::Fork {
            error!(%lane, epoch = at.epoch, seq = at.seq.0, "relay has another history of this node: an operator must adopt one");
            return Ok(Outcome::Refused(lane));
        }
        let Ok(epoch) = at.epoch.parse::<Epoch>() else { return Ok(Outcome::Refused(lane)) };
        // Places are dense within an epoch: the end of the batch, or what its opening continues, tells where the relay is.
        let known = behind.into_iter().flatten().find(|head| head.epoch == epoch);
        let known = match known {
            Some(head) => head,
            None => {
                let seq = at.seq.max(Seq(1));
                let Some(pos) = read(reader, move |r| r.position(lane, epoch, seq)).await? else {
                    error!(%lane, %epoch, seq = seq.0, "relay asks for what this journal never had: an operator must look");
                    return Ok(Outcome::Refused(lane));
                };
                Head { pos, epoch, seq, chain: Digest::default() }
            }
        };
        let at = head(known, at.seq, &at.chain);
        warn!(%lane, seq = at.seq.0, why = ?why, "relay is behind: sending again");
        Ok(Outcome::Rewind { lane, at })
    }
}

/// The end of what an opening continues: right before it.
fn continued(row: &Row) -> Option<Head> {
    let Item::Opened(Opened { parent_epoch, parent_seq, parent_chain }) = row.item else { return None };
    Some(Head { pos: row.pos - 1, epoch: parent_epoch, seq: parent_seq, chain: parent_chain })
}

/// The head at `seq` of the same epoch, given one behind it and the relay's chain there.
fn head(behind: Head, seq: Seq, chain: &str) -> Head {
    let back = i64::try_from(behind.seq.0.saturating_sub(seq.0)).unwrap_or(0);
    Head { pos: behind.pos - back, epoch: behind.epoch, seq, chain: chain.parse().unwrap_or_default() }
}

/// The first rows that fit one batch: one epoch, bounded bytes.
fn one_batch(rows: Vec<Row>) -> Vec<Row> {
    let Some(epoch) = rows.first().map(|row| row.epoch) else { return rows };
    let mut bytes = 0;
    let fits = |row: &Row| {
        let size = match &row.item {
            Item::Record(Record { bytes, .. }) => bytes.len(),
            Item::Skip { .. } | Item::Opened(_) => 100,
        };
        let first = bytes == 0;
        bytes += size;
        row.epoch == epoch && (first || bytes <= BYTES)
    };
    rows.into_iter().take_while(fits).collect()
}

fn jitter() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}

type SharedReader = Arc<std::sync::Mutex<Reader>>;

/// Reads the journal off the runtime's threads.
async fn read<T: Send + 'static>(
    reader: &SharedReader,
    query: impl FnOnce(&mut Reader) -> Result<T, StoreError> + Send + 'static,
) -> anyhow::Result<T> {
    let reader = reader.clone();
    let done = tokio::task::spawn_blocking(move || {
        query(&mut reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    });
    done.await.context("read the outbox")?.context("read the outbox")
}
