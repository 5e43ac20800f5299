//! Pictures and clips from outside over HTTP: acknowledged when file and event are on disk. `console` mounts the router.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::json;
use shared::event::{MediaDropped, MediaStored, Payload};
use tokio::sync::Semaphore;
use tracing::{error, warn};

use super::{Blob, Draft, Media, MediaError};
use crate::health::{Metrics, Of};
use crate::journal::{Journal, JournalError};

/// Files that are taken at a time: each holds a thread while it writes. Full: the sender is told to try again.
const AT_ONCE: usize = 4;

/// What the handler needs.
#[derive(Clone)]
pub struct Taking {
    /// Where files go.
    pub media: Media,
    /// Takes events.
    pub journal: Journal,
    /// Counters.
    pub metrics: Metrics,
}

#[derive(Debug, Deserialize)]
struct About {
    subject: String,
}

/// `POST /api/v1/media?subject=camera/gate`: the body is the file, the content type its own.
pub fn router(taking: Taking) -> Router {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    // The store has its own limit, and reads no more than that.
    Router::new().route("/api/v1/media", post(accept)).layer(DefaultBodyLimit::disable()).with_state((taking, turns))
}

async fn accept(
    State((taking, turns)): State<(Taking, Arc<Semaphore>)>,
    Query(About { subject }): Query<About>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let refused = |reason: &str, status: StatusCode, detail: String| {
        taking.metrics.http_refused.get_or_create(&Of::new(reason)).inc();
        let problem = json!({ "status": status.as_u16(), "title": reason, "detail": detail });
        (status, [("content-type", "application/problem+json")], problem.to_string()).into_response()
    };
    let sane = |text: &str| !text.is_empty() && text.len() <= 256 && !text.chars().any(char::is_control);
    let media_type = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    if !sane(&subject) || !sane(&media_type) || !media_type.contains('/') {
        let detail = "expected ?subject= and a content-type, each of 1 to 256 characters".into();
        return refused("not media", StatusCode::BAD_REQUEST, detail);
    }
    let Ok(_turn) = turns.try_acquire() else {
        return refused("busy", StatusCode::SERVICE_UNAVAILABLE, format!("{AT_ONCE} files are being taken"));
    };
    let blob = match take(&taking, body).await {
        Ok(blob) => blob,
        Err(error) => {
            let status = match error.downcast_ref() {
                Some(MediaError::TooLarge(_)) => StatusCode::PAYLOAD_TOO_LARGE,
                Some(MediaError::Disk(_)) => StatusCode::INSUFFICIENT_STORAGE,
                None => StatusCode::BAD_REQUEST,
            };
            return refused("media", status, format!("{error:#}"));
        }
    };
    let stored = MediaStored { hash: blob.hash.to_string(), bytes: blob.bytes, media_type };
    let hash = stored.hash.clone();
    let mut event = taking.journal.event(subject, Payload::MediaStored(stored));
    event.trace_id = Some(taking.journal.trace());
    match taking.journal.append(event).await {
        Ok(id) => (StatusCode::CREATED, Json(json!({ "id": id.to_string(), "hash": hash }))).into_response(),
        Err(error @ JournalError::Refused(_)) => refused("too large", StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
        Err(error) => refused("journal", StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

/// Writes the body to the store, off the runtime's threads; names what had to go for its room.
async fn take(taking: &Taking, body: Body) -> anyhow::Result<Blob> {
    let media = taking.media.clone();
    let mut draft: Draft = tokio::task::spawn_blocking(move || media.draft()).await??;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        let written = tokio::task::spawn_blocking(move || draft.write(&chunk).map(|()| draft));
        draft = written.await??;
    }
    let media = taking.media.clone();
    let (blob, dropped) = tokio::task::spawn_blocking(move || media.keep(draft)).await??;
    for (Blob { hash, bytes }, was_sent) in dropped {
        if was_sent {
            continue;
        }
        warn!(%hash, bytes, "media is dropped before it was sent: the quota is full");
        let dropped = MediaDropped { hash: hash.to_string(), bytes, reason: "quota".into() };
        if let Err(error) = taking.journal.append(taking.journal.event("node", Payload::MediaDropped(dropped))).await {
            error!("failed to name media that was dropped: {error}");
        }
    }
    Ok(blob)
}
