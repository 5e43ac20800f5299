//! The way to the relay: plain HTTP on loopback, else HTTPS with the node's certificate, renewed in time.
//!
//! The first connection serves for the time alone: the relay tells it, bound to our nonce and signed by a pinned
//! authority, and only a connection whose certificates were judged by that time carries events.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use reqwest::{Client, Response, StatusCode};
use serde::Serialize;
use shared::identity::{
    BODY_MAX, EnrolRequest, Enrolled, ReapplyRequest, RenewRequest, TimeAnswer, Token, renewal_statement,
    time_statement,
};
use shared::ids::{Lane, Name};
use shared::units::{Uptime, UtcMicros};
use tokio::sync::watch;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::RelayConfig;
use super::floor::Floor;
use super::identity::{Asked, Files, Held, vouched};
use crate::journal::block::Head;
use crate::tls;

/// After a renewal that failed, and after "waits for an operator", the next attempt.
const RENEW_AGAIN: Duration = Duration::from_secs(60);
/// After one that succeeded but is due again at once, since the relay's clock is behind this node's.
const RENEW_DUE: Duration = Duration::from_secs(24 * 3600);

/// The way to the relay.
pub struct Connection {
    config: RelayConfig,
    node: Name,
    files: Files,
    floor: Arc<Floor>,
    state: State,
    /// Not before this is another certificate asked for.
    renew_at: Uptime,
    /// The certificate that the floor was read with.
    known: String,
    /// Where the downlink learns of the way.
    shown: watch::Sender<Option<Way>>,
}

/// A way to the relay that is open: whose it is, and the time that its certificates were judged by.
#[derive(Clone)]
pub struct Way {
    /// Client.
    pub client: Client,
    /// The node's identity and whom it trusts.
    pub held: Arc<Held>,
    /// The time to judge by.
    pub floor: Arc<Floor>,
}

enum State {
    /// Nothing is known to work; the next request begins with the identity on disk.
    Closed,
    /// Plain HTTP on loopback; never left.
    Plain(Client),
    /// With a certificate, by a time that the relay has told.
    Open(Client, Arc<Held>),
}

impl Connection {
    /// A closed one; while it is open, `shown` has the way.
    pub fn new(config: RelayConfig, node: Name, files: Files, shown: watch::Sender<Option<Way>>) -> Self {
        let floor = Arc::new(Floor::read(files.folder().to_owned()));
        Self { config, node, files, floor, state: State::Closed, renew_at: Uptime(0), known: String::new(), shown }
    }

    /// A client to send with.
    ///
    /// # Errors
    /// Why there is none now: not enrolled, not reachable, expired.
    pub async fn client(&mut self, now: Uptime) -> anyhow::Result<Client> {
        if let State::Open(client, held) = &self.state {
            let (client, held) = (client.clone(), held.clone());
            if self.floor.now() < held.renew_after || !self.may_try(now) {
                return Ok(client);
            }
            // The old one is good for a third of its life yet.
            match self.renew(&client, &held).await {
                Ok(renew_after) => {
                    self.close();
                    self.renew_at = if renew_after > self.floor.now() { now } else { now.plus(RENEW_DUE) };
                }
                Err(error) => warn!("certificate is not renewed yet: failed to {error:#}"),
            }
        }
        match &self.state {
            State::Plain(client) | State::Open(client, _) => Ok(client.clone()),
            State::Closed => self.open(now).await,
        }
    }

    /// Begins anew with the identity on disk: the relay could not be reached, or refused it.
    pub fn close(&mut self) {
        if matches!(self.state, State::Open(..)) {
            self.state = State::Closed;
            self.shown.send_replace(None);
        }
    }

    /// The node's signature under a lane's head; empty over plain loopback.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn sign(&self, lane: Lane, head: &Head) -> anyhow::Result<Vec<u8>> {
        let State::Open(_, held) = &self.state else { return Ok(Vec::new()) };
        Ok(held.sign_head(lane, head)?.0)
    }

    fn may_try(&mut self, now: Uptime) -> bool {
        let may = now >= self.renew_at;
        if may {
            self.renew_at = now.plus(RENEW_AGAIN);
        }
        may
    }

    async fn open(&mut self, now: Uptime) -> anyhow::Result<Client> {
        if self.config.url.starts_with("http://") {
            let client = client(tls::nobody()?, self.config.timeout)?;
            self.state = State::Plain(client.clone());
            return Ok(client);
        }
        let held = self.files.load().context("load the identity")?;
        let held = held.context("find the node's certificate: run `edge-node enroll`")?;
        if self.known != held.certificate {
            // Enrolled anew, perhaps: what was kept then counts, and nothing else.
            self.floor = Arc::new(Floor::read(self.files.folder().to_owned()));
            self.known.clone_from(&held.certificate);
        }
        let made = tls::not_before(&held.trust)?.into_iter().max().unwrap_or(0);
        self.floor.told(UtcMicros(made.saturating_mul(1_000_000)));
        let told = self.ask_time(&held).await.context("ask for the time")?;
        self.floor.told(told);
        if told < held.not_after {
            let (floor, lost) = (self.floor.clone(), "failed to keep the time");
            let kept = tokio::task::spawn_blocking(move || floor.keep(told)).await.context("keep the time")?;
            kept.unwrap_or_else(|error| error!("{lost}: {error}"));
        }
        if self.floor.now() >= held.not_after {
            anyhow::ensure!(self.may_try(now), "the certificate has expired");
            self.reapply(&held).await.context("renew the expired certificate")?;
            anyhow::bail!("certificate is renewed after its expiry: beginning anew");
        }
        let client = self.known_as(&held)?;
        let held = Arc::new(held);
        self.state = State::Open(client.clone(), held.clone());
        self.shown.send_replace(Some(Way { client: client.clone(), held, floor: self.floor.clone() }));
        Ok(client)
    }

    /// With the certificate first, since strangers may crowd each other out; without, since it may have expired.
    async fn ask_time(&self, held: &Held) -> anyhow::Result<UtcMicros> {
        match ask_time(&self.known_as(held)?, &self.config.url, &held.trust).await {
            // An expired certificate ends the handshake at once; a link that is silent is silent without it, too.
            Err(error) if !timed_out(&error) => ask_time(&self.stranger(held)?, &self.config.url, &held.trust).await,
            other => other,
        }
    }

    /// A client that shows the node's certificate.
    fn known_as(&self, held: &Held) -> anyhow::Result<Client> {
        let (certificate, key) = (held.certificate.as_str(), held.key_pem());
        client(tls::pinned(&held.trust, self.floor.clone(), Some((certificate, &key)))?, self.config.timeout)
    }

    /// A client that shows no certificate.
    fn stranger(&self, held: &Held) -> anyhow::Result<Client> {
        client(tls::pinned(&held.trust, self.floor.clone(), None)?, self.config.timeout)
    }

    /// Gives when the new certificate is to be renewed.
    async fn renew(&self, client: &Client, held: &Held) -> anyhow::Result<UtcMicros> {
        let asked = self.ask().await?;
        if let Some(newer) = asked.held.as_ref().filter(|found| found.certificate != held.certificate) {
            // Enrolled anew meanwhile.
            return Ok(newer.renew_after);
        }
        let url = format!("{}/v1/nodes/{}/certificate", self.config.url, self.node);
        let answer = post(client, &url, &RenewRequest { csr: asked.csr.clone() }).await?;
        let kept = self.keep(asked, enrolled(answer).await?).await?;
        info!("certificate is renewed");
        Ok(kept.renew_after)
    }

    /// Without the expired certificate, which nobody would accept: its key signs that it is to be followed by the new one.
    async fn reapply(&self, held: &Held) -> anyhow::Result<()> {
        let asked = self.ask().await?;
        let proof = held.sign(&renewal_statement(&asked.csr))?;
        let request = ReapplyRequest { csr: asked.csr.clone(), certificate: held.certificate.clone(), proof };
        let answer = post(&self.stranger(held)?, &format!("{}/v1/reapply", self.config.url), &request).await?;
        if answer.status() == StatusCode::ACCEPTED {
            anyhow::bail!("it waits for an operator's approval at the relay, key {}", asked.fingerprint());
        }
        self.keep(asked, enrolled(answer).await?).await?;
        Ok(())
    }

    /// Off the runtime's threads: keys are made, files are synced.
    async fn ask(&self) -> anyhow::Result<Asked> {
        let (files, node) = (self.files.clone(), self.node.clone());
        tokio::task::spawn_blocking(move || files.ask(&node)).await.context("ask for a certificate")?
    }

    async fn keep(&self, asked: Asked, answer: Enrolled) -> anyhow::Result<Held> {
        let (files, node) = (self.files.clone(), self.node.clone());
        tokio::task::spawn_blocking(move || files.keep(&node, &asked, &answer)).await.context("keep a certificate")?
    }
}

/// Makes this box the node that a token is for.
///
/// # Errors
/// A relay that cannot be reached, is not the one of the token, or refuses it; files that cannot be written.
pub async fn enrol(config: &RelayConfig, node: &Name, files: &Files, token: &Token) -> anyhow::Result<Held> {
    let asked = files.ask(node)?;
    let client = client(tls::by_fingerprint(token.authority)?, config.timeout)?;
    let request = EnrolRequest { secret: token.secret.to_string(), node: node.clone(), csr: asked.csr.clone() };
    let answer = post(&client, &format!("{}/v1/enrol", config.url), &request).await?;
    let answer = enrolled(answer).await?;
    // A certificate of a time long gone must not be believed once the box stands without power; and what was kept before
    // may be why the node is enrolled anew. First this: a node that runs reads it when it sees the new certificate.
    let made = tls::not_before(&answer.trust)?.into_iter().max().context("read the relay's answer: no authority")?;
    let floor = Floor::read(files.folder().to_owned());
    floor.begin(UtcMicros(made.saturating_mul(1_000_000))).context("keep the time")?;
    files.keep(node, &asked, &answer)
}

fn client(config: rustls::ClientConfig, timeout: Duration) -> anyhow::Result<Client> {
    let builder = Client::builder().tls_backend_preconfigured(config).timeout(timeout);
    // A relay is one place: it neither sends us elsewhere nor is reached through what the environment names.
    builder.redirect(reqwest::redirect::Policy::none()).no_proxy().build().context("make an HTTP client")
}

async fn post(client: &Client, url: &str, body: &impl Serialize) -> anyhow::Result<Response> {
    let answer = client.post(url).json(body).send().await;
    let answer = answer.map_err(reqwest::Error::without_url).context("reach the relay")?;
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status();
    let detail = body_of(answer, BODY_MAX).await.unwrap_or_default();
    let detail = serde_json::from_slice::<serde_json::Value>(&detail).ok();
    let detail = detail.as_ref().and_then(|body| body.get("detail")?.as_str()).unwrap_or("no reason given");
    anyhow::bail!("the relay refused ({status}): {detail}")
}

async fn enrolled(answer: Response) -> anyhow::Result<Enrolled> {
    serde_json::from_slice(&body_of(answer, BODY_MAX).await?).context("read the relay's answer")
}

fn timed_out(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref().is_some_and(reqwest::Error::is_timeout))
}

/// A body of at most so many bytes.
pub(super) async fn body_of(mut answer: Response, most: usize) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url).context("read the answer")? {
        anyhow::ensure!(body.len() + chunk.len() <= most, "read the answer: more than {most} bytes");
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The relay's time, signed by an authority that we trust, for this question alone.
async fn ask_time(client: &Client, url: &str, trust: &str) -> anyhow::Result<UtcMicros> {
    let nonce = Uuid::new_v4().simple().to_string();
    let answer = client.get(format!("{url}/v1/time?nonce={nonce}")).send().await;
    let answer = answer.and_then(Response::error_for_status).map_err(reqwest::Error::without_url)?;
    let told: TimeAnswer =
        serde_json::from_slice(&body_of(answer, BODY_MAX).await?).context("read the relay's answer")?;
    let statement = time_statement(&nonce, told.utc_us);
    anyhow::ensure!(vouched(trust, &statement, &told.signatures), "no authority of the relay has signed it");
    Ok(UtcMicros(told.utc_us))
}
