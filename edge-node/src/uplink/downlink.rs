//! Messages from the centre: the relay is asked for the next ones and answers when they come. Each is verified, refused
//! if it has expired or is of no known kind, acted upon, and kept in the journal's inbox; only then is the next asked for.
//!
//! An e-stop acts before anything is written. What was acted upon and could not be kept comes again, and is then only
//! kept; after a restart it acts once more, which pressing twice permits.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use reqwest::StatusCode;
use shared::downlink::{Content, HOLD, Message, PAGE_MAX, Page};
use shared::event::{DownlinkReceived, Payload};
use shared::ids::Name;
use shared::units::UtcMicros;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::connection::{Way, body_of};
use super::identity::Held;
use crate::clock;
use crate::health::{Metrics, Of};
use crate::journal::Journal;
use crate::journal::errand::Acks;
use crate::journal::inbox::Letter;
use crate::journal::reader::Reader;

/// Before the relay is asked again after a failure, or after it answered nothing at once.
const AGAIN: Duration = Duration::from_secs(2);
/// Before it is asked again for what cannot be verified, or by a relay that has no downlink.
const MUCH_LATER: Duration = Duration::from_secs(60);
/// Most time on its way, beyond what the relay waits.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the downlink needs.
pub struct Downlink {
    /// The relay's address.
    pub url: String,
    /// This node.
    pub node: Name,
    /// Data folder of the journal.
    pub folder: PathBuf,
    /// The way to the relay, while there is one.
    pub way: watch::Receiver<Option<Way>>,
    /// Keeps letters.
    pub inbox: Acks,
    /// Keeps what happened.
    pub journal: Journal,
    /// Presses the e-stop in this person's name.
    pub press: Box<dyn Fn(String) + Send + Sync>,
    /// The last message that is kept.
    pub kept: watch::Sender<u64>,
    /// Counters.
    pub metrics: Metrics,
    /// Set when the node ends.
    pub stop: watch::Receiver<bool>,
}

/// What a message is worth.
#[derive(Debug, PartialEq, Eq)]
pub enum Judged {
    /// To be acted upon.
    Good(Content),
    /// Its time has passed.
    Expired,
    /// Of a kind that this build does not know, or broken.
    Unknown,
    /// No authority that this node trusts has signed it for this node: it may be anybody's.
    Unsigned,
}

/// Judges a message by the identity it came to and the time.
pub fn judge(message: &Message, held: &Held, now: UtcMicros) -> Judged {
    if !held.vouched(&message.statement(&held.identity), &message.signatures) {
        return Judged::Unsigned;
    }
    if message.expires_us <= now.0 {
        return Judged::Expired;
    }
    serde_json::from_str(&message.content).map_or(Judged::Unknown, Judged::Good)
}

impl Downlink {
    /// Runs until stopped.
    ///
    /// # Errors
    /// Never: what fails is tried again.
    pub async fn run(self) -> anyhow::Result<()> {
        let mut ended = self.stop.clone();
        let folder = self.folder.clone();
        let last = tokio::task::spawn_blocking(move || Reader::open(&folder)?.inbox_last()).await?;
        // Without it the relay gives what has not expired once more.
        let mut after = last.inspect_err(|error| error!("failed to read the inbox: {error}")).unwrap_or(0);
        let (mut acted, mut told) = (after, 0);
        let mut problem = String::new();
        loop {
            self.kept.send_replace(after);
            let mut way = self.way.clone();
            let found = tokio::select! {
                found = way.wait_for(Option::is_some) => found.map(|way| way.clone()),
                _ = ended.wait_for(|stop| *stop) => return Ok(()),
            };
            // The uplink has ended, and the node with it.
            let Ok(Some(found)) = found else { return Ok(()) };
            let turn = self.turn(&found, &mut after, (&mut acted, &mut told));
            let rest = tokio::select! {
                rest = turn => rest,
                // The connection is another one now.
                _ = way.changed() => continue,
                _ = ended.wait_for(|stop| *stop) => return Ok(()),
            };
            let (rest, said) = rest.unwrap_or_else(|error| (AGAIN, format!("{error:#}")));
            if said != problem && !said.is_empty() {
                warn!("downlink: failed to {said}");
            }
            problem = said;
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                _ = ended.wait_for(|stop| *stop) => return Ok(()),
            }
        }
    }

    /// Asks once and takes what comes. Gives how long to rest, and what was wrong, if anything.
    async fn turn(
        &self,
        way: &Way,
        after: &mut u64,
        (acted, told): (&mut u64, &mut u64),
    ) -> anyhow::Result<(Duration, String)> {
        let begun = clock::uptime();
        let url = format!("{}/v1/nodes/{}/downlink?after={after}", self.url, self.node);
        let answer = way.client.get(url).timeout(HOLD + PATIENCE).send().await;
        let answer = answer.map_err(reqwest::Error::without_url).context("reach the relay")?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok((MUCH_LATER, "use the downlink: this relay has none".into()));
        }
        anyhow::ensure!(answer.status().is_success(), "use the downlink: the relay answers {}", answer.status());
        let page: Page = serde_json::from_slice(&body_of(answer, PAGE_MAX).await?).context("read the messages")?;
        let quick = page.messages.is_empty() && clock::uptime().since(begun) < AGAIN;
        let mut problem = None;
        for message in &page.messages {
            if message.seq <= *after {
                continue;
            }
            let judged = judge(message, &way.held, way.floor.now());
            if judged == Judged::Unsigned {
                // It comes with each page until one behind it was taken.
                if message.seq > std::mem::replace(told, message.seq.max(*told)) {
                    self.metrics.downlink.get_or_create(&Of::new("unsigned")).inc();
                }
                // Its place is not believed either; those behind it are no worse for it.
                problem = Some(format!("verify message {}: it is not signed for this node", message.seq));
                continue;
            }
            if !self.take(message, judged, acted).await {
                return Ok((AGAIN, "keep a message: it will come again".into()));
            }
            *after = message.seq;
            self.kept.send_replace(*after);
        }
        let rest = if quick || problem.is_some() { AGAIN } else { Duration::ZERO };
        Ok((rest, problem.unwrap_or_default()))
    }

    /// Acts upon a message and keeps it; false where it could not be kept.
    async fn take(&self, message: &Message, judged: Judged, acted: &mut u64) -> bool {
        let (seq, kind) = (message.seq, message.kind());
        let outcome = match judged {
            Judged::Good(_) => "taken",
            Judged::Expired => "expired",
            Judged::Unknown | Judged::Unsigned => "unknown",
        };
        if seq > *acted {
            *acted = seq;
            if let Judged::Good(Content::PressEstop { by }) = judged {
                (self.press)(by);
            }
            info!(seq, kind, outcome, "message from the centre");
            self.metrics.downlink.get_or_create(&Of::new(outcome)).inc();
            let received = DownlinkReceived { seq, kind, outcome: outcome.into() };
            if let Err(error) =
                self.journal.append(self.journal.event("node", Payload::DownlinkReceived(received))).await
            {
                error!(seq, "failed to keep an event of the downlink: {error}");
            }
        }
        let (kept_us, expires_us, content) = (clock::utc().0, message.expires_us, message.content.clone());
        self.inbox.keep(Letter { seq, kept_us, expires_us, content, outcome: outcome.into() }).await
    }
}
