//! Carries the session out: reads batches from the journal, posts them, moves the cursor after the relay's ack.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use reqwest::StatusCode;
use serde::Deserialize;
use shared::ids::{Epoch, Lane, Name, Seq};
use shared::record::Record;
use shared::units::Uptime;
use shared::wire::{Ack, Batch, Item, Mismatch, PROTOCOL, Why};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::RelayConfig;
use super::session::{Outcome, Session, Step};
use crate::clock::{self, Stamp};
use crate::health::{Metrics, Of};
use crate::journal::store::{Reader, Row};
use crate::journal::writer::Acks;

/// Most rows of one batch, and most bytes: a batch that is lost costs this much again.
const ROWS: usize = 1000;
const BYTES: usize = 512 * 1024;

/// The relay is asked for its heads this often, and after each failure.
const CURSOR_PERIOD: Duration = Duration::from_secs(60);

/// One lane's head at the relay.
#[derive(Debug, Deserialize)]
struct Head {
    lane: String,
    epoch: String,
    seq: u64,
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
        let mut cursors = [0; Lane::ALL.len()];
        for (lane, cursor) in Lane::ALL.into_iter().zip(&mut cursors) {
            *cursor = read(&reader, move |r| r.backlog(lane)).await?.1;
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
                Step::Send { lane, pos } => {
                    let exchanged = self.exchange(&client, &url, &reader, lane, pos);
                    let outcome = tokio::select! {
                        outcome = exchanged => outcome,
                        _ = ended.wait_for(|stop| *stop) => return Ok(()),
                    };
                    let outcome = outcome.unwrap_or_else(|error| {
                        error!("failed to {error:#}");
                        Outcome::Failed { retry_after: None, jitter: jitter() }
                    });
                    if matches!(outcome, Outcome::Failed { .. }) {
                        self.metrics.uplink_failures.inc();
                    }
                    if let Outcome::Acked { lane, pos } | Outcome::Rewind { lane, pos } = outcome {
                        self.acks.ack(lane, pos);
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
            *waiting = last - acked;
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
        &self,
        client: &reqwest::Client,
        url: &str,
        reader: &SharedReader,
        lane: Lane,
        pos: i64,
    ) -> anyhow::Result<Outcome> {
        let rows = read(reader, move |r| r.after(lane, pos, ROWS)).await?;
        let rows = one_batch(rows);
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(Outcome::Empty(lane)) };
        let (first_pos, epoch, first_seq, last_pos) = (first.pos, first.epoch, first.seq, last.pos);
        let prev_chain = read(reader, move |r| r.chain_before(lane, first_pos, epoch)).await?;
        let batch = Batch {
            protocol: PROTOCOL,
            dict_id: 0,
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
        let answer = match client.post(url).body(body).send().await {
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
                // Positions are dense within an epoch.
                Ok(ack) if ack.lane == lane && ack.epoch == epoch.to_string() && ack.acked_seq >= first_seq => {
                    self.metrics.batches.inc();
                    let further = i64::try_from(ack.acked_seq.0 - first_seq.0).unwrap_or(0);
                    Ok(Outcome::Acked { lane, pos: (first_pos + further).min(last_pos) })
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
                Ok(mismatch) => self.mismatched(reader, lane, &mismatch).await,
                Err(_) => Ok(failed(None)),
            },
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
    async fn compare(&self, client: &reqwest::Client, reader: &SharedReader, s: &mut Session) -> anyhow::Result<()> {
        let url = format!("{}/v1/nodes/{}/cursor", self.config.url, self.node);
        let answer = client.get(url).send().await.and_then(reqwest::Response::error_for_status);
        let heads: Vec<Head> = match answer {
            Ok(answer) => {
                answer.json().await.map_err(reqwest::Error::without_url).context("read the relay's cursor")?
            }
            // The next batch shows it too.
            Err(_) => return Ok(()),
        };
        for lane in Lane::ALL {
            let (_, acked) = read(reader, move |r| r.backlog(lane)).await?;
            let Some(row) = read(reader, move |r| r.after(lane, acked - 1, 1)).await?.into_iter().next() else {
                continue;
            };
            let epoch = row.epoch.to_string();
            let known = heads.iter().find(|head| head.lane == lane.as_str() && head.epoch == epoch);
            let seq = known.map_or(0, |head| head.seq);
            if acked > 0 && seq < row.seq.0 {
                let pos = acked - i64::try_from(row.seq.0 - seq).unwrap_or(0);
                warn!(%lane, pos, "relay is behind: sending again");
                self.acks.ack(lane, pos);
                s.happened(Outcome::Rewind { lane, pos }, clock::uptime());
            }
        }
        Ok(())
    }

    async fn mismatched(&self, reader: &SharedReader, lane: Lane, at: &Mismatch) -> anyhow::Result<Outcome> {
        if at.why == Why::Fork {
            error!(%lane, epoch = at.epoch, seq = at.seq.0, "relay has another history of this node: an operator must adopt one");
            return Ok(Outcome::Refused(lane));
        }
        let Ok(epoch) = at.epoch.parse::<Epoch>() else { return Ok(Outcome::Refused(lane)) };
        let seq = at.seq;
        // The relay's head is before what it wants; at 0 it has nothing of the epoch.
        let pos = read(reader, move |r| match seq {
            Seq(0) => r.position(lane, epoch, Seq(1)).map(|first| first.saturating_sub(1).max(0)),
            seq => r.position(lane, epoch, seq),
        })
        .await?;
        warn!(%lane, pos, seq = seq.0, why = ?at.why, "relay is behind: sending again");
        Ok(Outcome::Rewind { lane, pos })
    }
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
    query: impl FnOnce(&Reader) -> rusqlite::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let reader = reader.clone();
    let done =
        tokio::task::spawn_blocking(move || query(&reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner)));
    done.await.context("read the outbox")?.context("read the outbox")
}
