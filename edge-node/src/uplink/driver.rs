//! Carries the session out: reads batches from the journal, posts them, moves the cursor after the relay's ack.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use reqwest::StatusCode;
use serde::Deserialize;
use shared::dictionary;
use shared::ids::{Digest, Epoch, Lane, Name, Seq};
use shared::units::Uptime;
use shared::wire::{Ack, Batch, DICTIONARY_HEADER, Mismatch, PROTOCOL, Why};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::RelayConfig;
use super::batch::{continued, head, one_batch};
use super::connection::Connection;
use super::identity::Files;
use super::session::{Outcome, Session, Step};
use crate::clock::{self, Stamp};
use crate::health::{Metrics, Of};
use crate::journal::block::Head;
use crate::journal::reader::Reader;
use crate::journal::segment::StoreError;
use crate::journal::writer::Acks;

/// Most rows of one batch, and most bytes: a batch that is lost costs this much again.
const ROWS: usize = 1000;
const BYTES: usize = 512 * 1024;

/// The relay is asked for its heads this often, and after each failure.
const CURSOR_PERIOD: Duration = Duration::from_secs(15);
/// A lane's head is signed this often, and at each epoch's first batch.
const SIGN_PERIOD: Duration = Duration::from_secs(300);

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
}

/// The uplink while it runs.
struct Driver {
    needs: Uplink,
    reader: SharedReader,
    /// The way to the relay.
    connection: Connection,
    /// The dictionary in use: 0 until the relay has said what it knows.
    dictionary: u32,
    /// What kept the relay from being used last; empty when nothing did.
    problem: String,
    /// Of each lane the epoch and time of the last signed head.
    signed: [Option<(Epoch, Uptime)>; Lane::ALL.len()],
}

/// A batch whose answer is awaited.
struct Sent {
    lane: Lane,
    epoch: Epoch,
    first_seq: Seq,
    end: Head,
    /// What its opening continues.
    parent: Option<Head>,
}

impl Uplink {
    /// Runs until stopped.
    ///
    /// # Errors
    /// When the journal cannot be read or the HTTP client not be made.
    pub async fn run(self) -> anyhow::Result<()> {
        let reader = Arc::new(std::sync::Mutex::new(Reader::open(&self.folder).context("open the outbox")?));
        let connection = Connection::new(self.config.clone(), self.node.clone(), Files::of(&self.folder));
        let signed = [None; Lane::ALL.len()];
        Driver { needs: self, reader, connection, dictionary: 0, problem: String::new(), signed }.run().await
    }
}

impl Driver {
    async fn run(mut self) -> anyhow::Result<()> {
        let mut cursors = [Head::NONE; Lane::ALL.len()];
        for (lane, cursor) in Lane::ALL.into_iter().zip(&mut cursors) {
            // From the beginning where it cannot be read now: the relay recognises what it has.
            *cursor = match read(&self.reader, move |r| r.backlog(lane)).await {
                Ok((_, acked)) => acked,
                Err(error) => {
                    error!(%lane, "failed to {error:#}");
                    Head::NONE
                }
            };
        }
        let mut session = Session::new(cursors);
        let mut ended = self.needs.stop.clone();
        let mut asked: Option<Uptime> = None;
        loop {
            let now = clock::uptime();
            if !session.failing() && asked.is_none_or(|at| now.since(at) >= CURSOR_PERIOD) {
                asked = Some(now);
                // A page that cannot be read must end neither the uplink nor the node.
                if let Err(error) = self.compare(&mut session).await {
                    error!("failed to {error:#}");
                }
            }
            match session.next(now) {
                Step::Wait(wait) => {
                    if let Err(error) = self.show(&session).await {
                        error!("failed to {error:#}");
                    }
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        _ = ended.wait_for(|stop| *stop) => return Ok(()),
                    }
                }
                Step::Send { lane, at } => {
                    let exchanged = self.exchange(lane, at);
                    let outcome = tokio::select! {
                        outcome = exchanged => outcome,
                        _ = ended.wait_for(|stop| *stop) => return Ok(()),
                    };
                    let outcome = outcome.unwrap_or_else(|error| {
                        error!(%lane, "failed to {error:#}");
                        if let Some(file) = error.downcast_ref::<StoreError>().and_then(StoreError::damaged_file) {
                            self.needs.acks.damaged(file);
                        }
                        Outcome::Refused(lane)
                    });
                    if matches!(outcome, Outcome::Failed { .. }) {
                        self.needs.metrics.uplink_failures.inc();
                    }
                    if let Outcome::Acked { lane, at } | Outcome::Rewind { lane, at } = outcome {
                        self.needs.acks.ack(lane, at);
                    }
                    let was_failing = session.failing();
                    session.happened(outcome, clock::uptime());
                    asked = asked.filter(|_| !was_failing || session.failing());
                }
            }
        }
    }

    async fn show(&self, session: &Session) -> anyhow::Result<()> {
        let mut backlog = [0; Lane::ALL.len()];
        for (lane, waiting) in Lane::ALL.into_iter().zip(&mut backlog) {
            let (last, acked) = read(&self.reader, move |r| r.backlog(lane)).await?;
            *waiting = last - acked.pos;
            self.needs.metrics.backlog.get_or_create(&Of::new(lane.as_str())).set(*waiting);
        }
        let connected = !session.failing();
        if self.needs.view.borrow().connected != connected {
            info!(connected, "uplink");
        }
        self.needs.view.send_replace(View { connected, backlog });
        Ok(())
    }

    /// A client, or `None` with the reason in the log, once.
    async fn client(&mut self) -> Option<reqwest::Client> {
        let (client, problem) = match self.connection.client(clock::uptime()).await {
            Ok(client) => (Some(client), String::new()),
            Err(error) => (None, format!("{error:#}")),
        };
        if problem != self.problem && !problem.is_empty() {
            warn!("relay cannot be used: failed to {problem}");
        }
        self.problem = problem;
        client
    }

    /// The node's signature under a head, when one is due.
    fn sign(&mut self, lane: Lane, head: &Head) -> anyhow::Result<Vec<u8>> {
        let now = clock::uptime();
        let Some(signed) = self.signed.get_mut(lane as usize) else { return Ok(Vec::new()) };
        if signed.is_some_and(|(epoch, at)| epoch == head.epoch && now.since(at) < SIGN_PERIOD) {
            return Ok(Vec::new());
        }
        *signed = Some((head.epoch, now));
        self.connection.sign(lane, head)
    }

    async fn exchange(&mut self, lane: Lane, at: Head) -> anyhow::Result<Outcome> {
        let failed = || Outcome::Failed { retry_after: None, jitter: jitter() };
        let Some(client) = self.client().await else { return Ok(failed()) };
        let rows = read(&self.reader, move |r| r.after(lane, at.pos, ROWS, BYTES)).await?;
        let rows = one_batch(rows, BYTES);
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(Outcome::Empty(lane)) };
        let (epoch, first_seq, end) = (first.epoch, first.first_seq(), last.head());
        let parent = continued(first);
        // Each epoch's chain begins with its first item.
        let prev_chain = if epoch == at.epoch && first_seq > Seq(1) { at.chain } else { Digest::default() };
        let batch = Batch {
            protocol: PROTOCOL,
            dict_id: self.dictionary,
            node: self.needs.node.clone(),
            boot_id: self.needs.stamp.boot_id(),
            epoch,
            lane,
            first_seq,
            prev_chain,
            sent_uptime: clock::uptime(),
            downlink_acked: 0,
            items: rows.into_iter().map(|row| row.item).collect(),
            head_sig: self.sign(lane, &end)?,
        };
        let body = batch.encode().context("encode a batch")?;
        let url = format!("{}/v1/nodes/{}/batches", self.needs.config.url, self.needs.node);
        let answer = match client.post(url).header(DICTIONARY_HEADER, batch.dict_id).body(body).send().await {
            Ok(answer) => answer,
            Err(error) => {
                // Perhaps the certificates have changed: the next request begins with those on disk.
                self.connection.close();
                tracing::debug!("failed to reach the relay: {:#}", error.without_url());
                return Ok(failed());
            }
        };
        self.judge(answer, Sent { lane, epoch, first_seq, end, parent }).await
    }

    /// What the relay's answer to a batch means.
    async fn judge(&mut self, answer: reqwest::Response, sent: Sent) -> anyhow::Result<Outcome> {
        let Sent { lane, epoch, first_seq, end, parent } = sent;
        let retry_after = answer.headers().get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
        let failed = || Outcome::Failed { retry_after: None, jitter: jitter() };
        match answer.status() {
            StatusCode::OK => match answer.json::<Ack>().await {
                Ok(ack) if ack.lane == lane && ack.epoch == epoch.to_string() && ack.acked_seq >= first_seq => {
                    self.needs.metrics.batches.inc();
                    let ahead = ack.acked_seq >= end.seq;
                    let at = if ahead { end } else { head(end, ack.acked_seq, &ack.chain) };
                    Ok(Outcome::Acked { lane, at })
                }
                Ok(ack) => {
                    warn!(%lane, ?ack, "relay acknowledged something else");
                    Ok(failed())
                }
                Err(error) => {
                    warn!("failed to read the relay's ack: {:#}", error.without_url());
                    Ok(failed())
                }
            },
            StatusCode::CONFLICT => match answer.json::<Mismatch>().await {
                Ok(mismatch) => self.mismatched(lane, &mismatch, [Some(end), parent]).await,
                Err(_) => Ok(failed()),
            },
            StatusCode::UNSUPPORTED_MEDIA_TYPE if self.dictionary != 0 => {
                warn!(dictionary = self.dictionary, "relay does not know the dictionary: going on without");
                self.dictionary = 0;
                Ok(failed())
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                self.connection.close();
                let problem = answer.text().await.unwrap_or_default();
                error!(problem, "relay does not let this node in: an operator must look");
                Ok(failed())
            }
            status if status.is_client_error() => {
                error!(%status, %lane, "relay refused a batch: an operator must look, the other lanes go on");
                Ok(Outcome::Refused(lane))
            }
            status => {
                warn!(%status, %lane, "relay refused a batch");
                Ok(Outcome::Failed { retry_after: retry_after.map(Duration::from_secs), jitter: jitter() })
            }
        }
    }

    /// Asks the relay for its heads: a relay restored from a backup needs a lane again that may have nothing new.
    async fn compare(&mut self, s: &mut Session) -> anyhow::Result<()> {
        // The next batch shows what is wrong, too.
        let Some(client) = self.client().await else { return Ok(()) };
        let url = format!("{}/v1/nodes/{}/cursor", self.needs.config.url, self.needs.node);
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
            let (_, acked) = read(&self.reader, move |r| r.backlog(lane)).await?;
            let epoch = acked.epoch.to_string();
            let known = heads.iter().find(|head| head.lane == lane.as_str() && head.epoch == epoch);
            let seq = Seq(known.map_or(0, |head| head.seq));
            if acked.pos > 0 && seq < acked.seq {
                let at = head(acked, seq, known.map_or("", |head| &head.chain));
                warn!(%lane, seq = seq.0, "relay is behind: sending again");
                self.needs.acks.ack(lane, at);
                s.happened(Outcome::Rewind { lane, at }, clock::uptime());
            }
        }
        Ok(())
    }

    async fn mismatched(&self, lane: Lane, at: &Mismatch, behind: [Option<Head>; 2]) -> anyhow::Result<Outcome> {
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
                let Some(pos) = read(&self.reader, move |r| r.position(lane, epoch, seq)).await? else {
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
