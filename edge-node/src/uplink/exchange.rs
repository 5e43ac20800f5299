//! One batch to the relay, and what its answer means.

use std::time::Duration;

use anyhow::Context;
use reqwest::StatusCode;
use shared::ids::{Digest, Epoch, Lane, Seq};
use shared::wire::{Ack, Batch, DICTIONARY_HEADER, Mismatch, PROTOCOL, Why};
use tracing::{error, warn};

use super::batch::{continued, head, one_batch};
use super::driver::{Driver, jitter, read};
use super::pace::Pace;
use super::session::{Outcome, Session};
use crate::clock;
use crate::journal::block::Head;

/// Most rows of one batch; its bytes are the session's to say.
const ROWS: usize = 1000;
/// A lane's head is signed this often, and at each epoch's first batch.
const SIGN_PERIOD: Duration = Duration::from_secs(300);

/// A batch whose answer is awaited.
struct Sent {
    lane: Lane,
    epoch: Epoch,
    first_seq: Seq,
    end: Head,
    /// What its opening continues.
    parent: Option<Head>,
    /// Whether it carries a signature of its end.
    signed: bool,
}

impl Driver {
    /// The node's signature under a head, when one is due.
    fn sign(&self, lane: Lane, head: &Head) -> anyhow::Result<Vec<u8>> {
        let now = clock::uptime();
        let signed = self.signed.get(lane as usize).copied().flatten();
        if signed.is_some_and(|(epoch, at)| epoch == head.epoch && now.since(at) < SIGN_PERIOD) {
            return Ok(Vec::new());
        }
        self.connection.sign(lane, head)
    }

    /// Sends the next batch of a lane.
    pub(super) async fn exchange(
        &mut self,
        session: &mut Session,
        lane: Lane,
        at: Head,
        bytes: usize,
    ) -> anyhow::Result<Outcome> {
        let failed = || Outcome::Failed { retry_after: None, jitter: jitter(), reached: false };
        let client = match self.client().await {
            Ok(client) => client,
            Err(failed) => return Ok(failed),
        };
        let rows = read(&self.reader, move |r| r.after(lane, at.pos, ROWS, bytes)).await?;
        let rows = one_batch(rows, bytes);
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return match lane {
                Lane::Media => self.upload(&client, session, bytes).await,
                _ => Ok(Outcome::Empty(lane)),
            };
        };
        let (epoch, first_seq, end) = (first.epoch, first.first_seq(), last.head());
        let parent = continued(first);
        // Each epoch's chain begins with its first item.
        let prev_chain = if epoch == at.epoch && first_seq > Seq(1) { at.chain } else { Digest::default() };
        let batch = Batch {
            protocol: PROTOCOL,
            dict_id: self.dictionary,
            node: self.needs.node.clone(),
            boot_id: self.needs.journal.stamp().boot_id(),
            epoch,
            lane,
            first_seq,
            prev_chain,
            sent_uptime: clock::uptime(),
            downlink_acked: *self.needs.downlink.borrow(),
            items: rows.into_iter().map(|row| row.item).collect(),
            head_sig: self.sign(lane, &end)?,
        };
        let body = batch.encode().context("encode a batch")?;
        let url = format!("{}/v1/nodes/{}/batches", self.needs.config.url, self.needs.node);
        let (begun, size) = (clock::uptime(), body.len());
        let request = client.post(url).header(DICTIONARY_HEADER, batch.dict_id).body(body);
        let answer = request.timeout(Pace::patience(self.needs.config.timeout, size)).send().await;
        let now = clock::uptime();
        session.spent(size, now);
        let answer = match answer {
            Ok(answer) => {
                session.carried(now.since(begun));
                answer
            }
            Err(error) => {
                // Perhaps the certificates have changed: the next request begins with those on disk.
                self.connection.close();
                tracing::debug!("failed to reach the relay: {:#}", error.without_url());
                return Ok(failed());
            }
        };
        let signed = !batch.head_sig.is_empty();
        self.judge(answer, Sent { lane, epoch, first_seq, end, parent, signed }).await
    }

    /// What the relay's answer to a batch means.
    async fn judge(&mut self, answer: reqwest::Response, sent: Sent) -> anyhow::Result<Outcome> {
        let Sent { lane, epoch, first_seq, end, parent, signed } = sent;
        let retry_after = answer.headers().get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
        let failed = || Outcome::Failed { retry_after: None, jitter: jitter(), reached: true };
        match answer.status() {
            StatusCode::OK => match answer.json::<Ack>().await {
                Ok(ack) if ack.lane == lane && ack.epoch == epoch.to_string() && ack.acked_seq >= first_seq => {
                    self.needs.metrics.batches.inc();
                    if let Some(of_lane) = self.signed.get_mut(lane as usize).filter(|_| signed) {
                        *of_lane = Some((epoch, clock::uptime()));
                    }
                    if ack.acked_seq == end.seq && ack.chain != end.chain.to_string() {
                        error!(%lane, seq = end.seq.0, "relay has other bytes than were sent: an operator must look");
                        return Ok(Outcome::Refused(lane));
                    }
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
                Ok(Outcome::Failed {
                    retry_after: retry_after.map(Duration::from_secs),
                    jitter: jitter(),
                    reached: true,
                })
            }
        }
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
