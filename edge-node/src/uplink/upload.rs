//! Pictures and clips to the relay, piece by piece: in the media lane's turn, when it has no event to send. So they keep
//! to the lane's share, the link's pace and what a metered link permits.

use std::time::Duration;

use anyhow::Context;
use reqwest::{Client, StatusCode};
use shared::event::{MediaDropped, Payload};
use shared::ids::{Digest, Lane};
use shared::media::{LENGTH, OFFSET, PIECE_MAX, Progress};
use shared::units::Uptime;
use tracing::{error, info, warn};

use super::driver::{Driver, jitter};
use super::pace::Pace;
use super::session::{Outcome, Session};
use crate::clock;
use crate::media::Blob;

/// A relay that keeps no media, or will not have this, is asked again after this time.
const MUCH_LATER: Duration = Duration::from_secs(600);

/// The file that is on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Upload {
    blob: Blob,
    /// How far the relay is; `None` until it has said so.
    offset: Option<u64>,
}

/// Where uploading stands.
#[derive(Debug, Default)]
pub(super) struct Uploading {
    now: Option<Upload>,
    not_before: Option<Uptime>,
}

/// What the relay says of a file or a piece.
enum Answer {
    At(Progress),
    /// The whole was not what its name says.
    Other,
    /// It keeps no media, or not this.
    Unwanted(String),
    Busy,
}

impl Driver {
    /// Sends the next piece of the file that has waited longest.
    pub(super) async fn upload(
        &mut self,
        client: &Client,
        session: &mut Session,
        most: usize,
    ) -> anyhow::Result<Outcome> {
        let empty = Outcome::Empty(Lane::Media);
        if self.uploading.not_before.is_some_and(|at| clock::uptime() < at) {
            return Ok(empty);
        }
        let media = self.needs.media.clone();
        let upload = match self.uploading.now {
            Some(upload) => upload,
            None => match tokio::task::spawn_blocking(move || media.oldest()).await?.context("look for media")? {
                Some(blob) => Upload { blob, offset: None },
                None => return Ok(empty),
            },
        };
        let hash = upload.blob.hash;
        let url = format!("{}/v1/nodes/{}/media/{hash}", self.needs.config.url, self.needs.node);
        let (asked, size) = match upload.offset {
            None => (client.get(&url), 0),
            Some(offset) => {
                let (media, most) = (self.needs.media.clone(), most.min(PIECE_MAX));
                let piece = tokio::task::spawn_blocking(move || media.read(hash, offset, most)).await?;
                let Some(piece) = piece.context("read media")? else {
                    // Gone for the room it took.
                    self.uploading.now = None;
                    return Ok(Outcome::Reached);
                };
                let size = piece.len();
                let request = client.put(&url).header(OFFSET, offset).header(LENGTH, upload.blob.bytes).body(piece);
                (request, size)
            }
        };
        let begun = clock::uptime();
        let answer = asked.timeout(Pace::patience(self.needs.config.timeout, size)).send().await;
        let now = clock::uptime();
        session.spent(size, now);
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.connection.close();
                // Nobody knows how much of the piece is there.
                self.uploading.now = Some(Upload { offset: None, ..upload });
                tracing::debug!("failed to reach the relay: {:#}", error.without_url());
                return Ok(Outcome::Failed { retry_after: None, jitter: jitter(), reached: false });
            }
        };
        if size > 0 {
            session.carried(now.since(begun));
            self.needs.metrics.media_bytes.inc_by(size as u64);
        }
        self.answered(upload, understood(answer).await).await
    }

    async fn answered(&mut self, upload: Upload, answer: Answer) -> anyhow::Result<Outcome> {
        let (media, hash) = (self.needs.media.clone(), upload.blob.hash);
        match answer {
            Answer::At(Progress { complete: true, .. }) => {
                info!(%hash, bytes = upload.blob.bytes, "media is at the relay");
                tokio::task::spawn_blocking(move || media.sent(hash)).await?.context("move media that was sent")?;
                self.uploading.now = None;
            }
            Answer::At(Progress { offset, .. }) => {
                self.uploading.now = Some(Upload { offset: Some(offset), ..upload });
            }
            Answer::Other => {
                self.uploading.now = None;
                let whole = tokio::task::spawn_blocking(move || media.is_whole(hash)).await?.context("read media")?;
                if !whole {
                    self.drop_damaged(upload.blob.bytes, hash).await?;
                }
            }
            Answer::Unwanted(detail) => {
                warn!(%hash, detail, "relay does not take media: it waits here");
                self.uploading = Uploading { now: None, not_before: Some(clock::uptime().plus(MUCH_LATER)) };
            }
            Answer::Busy => {
                self.uploading.now = Some(Upload { offset: None, ..upload });
                return Ok(Outcome::Failed { retry_after: None, jitter: jitter(), reached: true });
            }
        }
        Ok(Outcome::Reached)
    }

    async fn drop_damaged(&self, bytes: u64, hash: Digest) -> anyhow::Result<()> {
        error!(%hash, "media on the disk is not what was kept: it is dropped");
        let (media, journal) = (self.needs.media.clone(), &self.needs.journal);
        let dropped = MediaDropped { hash: hash.to_string(), bytes, reason: "damaged".into() };
        // Named first: a crash in between names it twice.
        journal.append(journal.event("node", Payload::MediaDropped(dropped))).await.context("name damaged media")?;
        tokio::task::spawn_blocking(move || media.drop_waiting(hash)).await?.context("remove damaged media")
    }
}

async fn understood(answer: reqwest::Response) -> Answer {
    match answer.status() {
        StatusCode::OK | StatusCode::CONFLICT => match answer.json::<Progress>().await {
            Ok(progress) => Answer::At(progress),
            Err(_) => Answer::Busy,
        },
        StatusCode::UNPROCESSABLE_ENTITY => Answer::Other,
        status if status.is_server_error() => Answer::Busy,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Answer::Busy,
        status => Answer::Unwanted(status.to_string()),
    }
}
