//! Carries the session out: reads batches from the journal, posts them, moves the cursor after the relay's ack.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use shared::dictionary;
use shared::ids::{Epoch, Lane, Name, Seq};
use shared::units::Uptime;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::RelayConfig;
use super::batch::head;
use super::connection::{Connection, Way};
use super::identity::Files;
use super::link::{self, Policy};
use super::session::{Outcome, Session, Step};
use super::upload::Uploading;
use crate::clock;
use crate::health::{Metrics, Of};
use crate::journal::Journal;
use crate::journal::block::Head;
use crate::journal::errand::Acks;
use crate::journal::reader::Reader;
use crate::journal::segment::StoreError;
use crate::media::Media;

/// The relay is asked for its heads this often, and after each failure.
const CURSOR_PERIOD: Duration = Duration::from_secs(15);
/// The same where each byte is paid.
const METERED_PERIOD: Duration = Duration::from_secs(300);

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
    /// Whether the link is paid by the byte, so that only some lanes are sent.
    pub metered: bool,
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
    /// Pictures and clips that wait for the relay.
    pub media: Media,
    /// Takes what is to be said of them.
    pub journal: Journal,
    /// Where the downlink learns of the way to the relay.
    pub way: watch::Sender<Option<Way>>,
    /// The last message that the downlink has kept.
    pub downlink: watch::Receiver<u64>,
    /// Where the console looks.
    pub view: watch::Sender<View>,
    /// Counters.
    pub metrics: Metrics,
    /// Set when the node ends.
    pub stop: watch::Receiver<bool>,
}

/// The uplink while it runs.
pub(super) struct Driver {
    pub(super) needs: Uplink,
    pub(super) reader: SharedReader,
    /// The way to the relay.
    pub(super) connection: Connection,
    /// The dictionary in use: 0 until the relay has said what it knows.
    pub(super) dictionary: u32,
    /// What the link may be used for.
    pub(super) policy: Policy,
    /// What kept the relay from being used last; empty when nothing did.
    pub(super) problem: String,
    /// The file that is on its way.
    pub(super) uploading: Uploading,
    /// Of each lane the epoch and time of the last signed head.
    pub(super) signed: [Option<(Epoch, Uptime)>; Lane::ALL.len()],
}

impl Uplink {
    /// Runs until stopped.
    ///
    /// # Errors
    /// When the journal cannot be read or the HTTP client not be made.
    pub async fn run(self) -> anyhow::Result<()> {
        let reader = Arc::new(std::sync::Mutex::new(Reader::open(&self.folder).context("open the outbox")?));
        let connection =
            Connection::new(self.config.clone(), self.node.clone(), Files::of(&self.folder), self.way.clone());
        let signed = [None; Lane::ALL.len()];
        let policy = link::policy(&self.config).await;
        let problem = String::new();
        let uploading = Uploading::default();
        Driver { needs: self, reader, connection, dictionary: 0, policy, problem, uploading, signed }.run().await
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
        // After a failure with nothing to send, only a question tells whether the relay is back.
        let mut emptied = false;
        loop {
            let now = clock::uptime();
            let period = if self.policy.metered { METERED_PERIOD } else { CURSOR_PERIOD };
            if (!session.failing() || emptied) && asked.is_none_or(|at| now.since(at) >= period) {
                (asked, emptied) = (Some(now), false);
                self.look_at_link(&mut session).await;
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
                Step::Probe => {
                    let probed = link::probe(&self.needs.config.url);
                    tokio::select! {
                        found = probed => session.happened(Outcome::Probed(found), clock::uptime()),
                        _ = ended.wait_for(|stop| *stop) => return Ok(()),
                    }
                }
                Step::Send { lane, at, bytes } => {
                    let exchanged = self.exchange(&mut session, lane, at, bytes);
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
                    emptied = was_failing && matches!(outcome, Outcome::Empty(_));
                    session.happened(outcome, clock::uptime());
                    asked = asked.filter(|_| !was_failing || session.failing());
                }
            }
        }
    }

    /// A link may change at any time: a cable is pulled and the modem takes over.
    async fn look_at_link(&mut self, session: &mut Session) {
        let policy = link::policy(&self.needs.config).await;
        if policy != self.policy {
            info!(metered = policy.metered, lanes = ?policy.lanes, limit = policy.bytes_per_second, "link");
            // What is open goes on over the link that it was opened on.
            self.connection.close();
        }
        session.use_link(&policy.lanes, policy.bytes_per_second);
        self.policy = policy;
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
        self.needs.view.send_replace(View { connected, backlog, metered: self.policy.metered });
        Ok(())
    }

    /// A client, or the failure, with the reason in the log, once.
    pub(super) async fn client(&mut self) -> Result<reqwest::Client, Outcome> {
        let (client, problem) = match self.connection.client(clock::uptime()).await {
            Ok(client) => (Ok(client), String::new()),
            Err(error) => {
                // Whoever was reached and said no is not asked again at once.
                let silent = |cause: &reqwest::Error| cause.is_connect() || cause.is_timeout();
                let reached = !error.chain().any(|cause| cause.downcast_ref().is_some_and(silent));
                (Err(Outcome::Failed { retry_after: None, jitter: jitter(), reached }), format!("{error:#}"))
            }
        };
        if problem != self.problem && !problem.is_empty() {
            warn!("relay cannot be used: failed to {problem}");
        }
        self.problem = problem;
        client
    }

    /// Asks the relay for its heads: a relay restored from a backup needs a lane again that may have nothing new.
    async fn compare(&mut self, s: &mut Session) -> anyhow::Result<()> {
        // The next batch shows what is wrong, too.
        let Ok(client) = self.client().await else { return Ok(()) };
        let url = format!("{}/v1/nodes/{}/cursor", self.needs.config.url, self.needs.node);
        let answer = client.get(url).send().await.and_then(reqwest::Response::error_for_status);
        let cursor: Cursor = match answer {
            Ok(answer) => {
                answer.json().await.map_err(reqwest::Error::without_url).context("read the relay's cursor")?
            }
            // The next batch shows it too.
            Err(_) => return Ok(()),
        };
        s.happened(Outcome::Reached, clock::uptime());
        let heads = cursor.heads;
        self.dictionary = if cursor.dictionaries.contains(&dictionary::NEWEST) { dictionary::NEWEST } else { 0 };
        for lane in Lane::ALL {
            let (acked, ends) = read(&self.reader, move |r| Ok((r.backlog(lane)?.1, r.ends(lane)?))).await?;
            let first = behind(lane, &heads, ends.into_iter().filter(|end| end.pos < acked.pos).chain([acked]));
            if let Some(at) = first {
                warn!(%lane, epoch = %at.epoch, seq = at.seq.0, "relay is behind: sending again");
                self.needs.acks.ack(lane, at);
                s.happened(Outcome::Rewind { lane, at }, clock::uptime());
            }
        }
        Ok(())
    }
}

/// The first place that the relay lacks of these ends of epochs, the oldest first: also of an epoch that the node has left,
/// since a relay restored from a backup lacks the end of that one, too.
fn behind(lane: Lane, heads: &[LaneHead], ends: impl Iterator<Item = Head>) -> Option<Head> {
    let mut ends = ends.filter(|end| end.pos > 0);
    ends.find_map(|end| {
        let epoch = end.epoch.to_string();
        let known = heads.iter().find(|head| head.lane == lane.as_str() && head.epoch == epoch);
        let seq = Seq(known.map_or(0, |head| head.seq));
        (seq < end.seq).then(|| head(end, seq, known.map_or("", |head| &head.chain)))
    })
}

pub(super) fn jitter() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}

pub(super) type SharedReader = Arc<std::sync::Mutex<Reader>>;

/// Reads the journal off the runtime's threads.
pub(super) async fn read<T: Send + 'static>(
    reader: &SharedReader,
    query: impl FnOnce(&mut Reader) -> Result<T, StoreError> + Send + 'static,
) -> anyhow::Result<T> {
    let reader = reader.clone();
    let done = tokio::task::spawn_blocking(move || {
        query(&mut reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    });
    done.await.context("read the outbox")?.context("read the outbox")
}
