//! Pictures and clips over HTTP: from outside, acknowledged when file and event are on disk; and to whoever looks at them.
//! `console` mounts the router.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::json;
use shared::event::{MediaStored, Payload};
use shared::ids::Digest;
use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;
use tracing::error;

use super::{Blob, Draft, Media, MediaError, Rank, dropped};
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
    let routes = Router::new().route("/api/v1/media", post(accept)).route("/api/v1/media/{hash}", get(show));
    routes.layer(DefaultBodyLimit::disable()).with_state((taking, turns))
}

/// Bytes that are read at a time for a viewer.
const CHUNK: usize = 64 * 1024;

/// `GET /api/v1/media/HASH`: the file, at the relay already or not.
async fn show(State((taking, _)): State<(Taking, Arc<Semaphore>)>, Path(hash): Path<String>) -> Response {
    let gone = || (StatusCode::NOT_FOUND, "no such file: never kept, or dropped for its room").into_response();
    let Ok(hash) = hash.parse::<Digest>() else { return gone() };
    let opened = tokio::task::spawn_blocking(move || taking.media.open_kept(hash)).await;
    let Ok(Ok(Some(file))) = opened else { return gone() };
    let mut file = tokio::fs::File::from_std(file);
    let mut head = vec![0; CHUNK];
    let Ok(read) = file.read(&mut head).await else { return gone() };
    head.truncate(read);
    let kind = match head.as_slice() {
        [0xFF, 0xD8, ..] => "image/jpeg",
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "video/mp4",
        _ => "application/octet-stream",
    };
    let rest = futures_util::stream::unfold((file, head), |(mut file, chunk)| async move {
        let mut next = vec![0; CHUNK];
        match file.read(&mut next).await {
            _ if chunk.is_empty() => None,
            Ok(read) => {
                next.truncate(read);
                Some((Ok(chunk), (file, next)))
            }
            Err(error) => Some((Err(error), (file, Vec::new()))),
        }
    });
    // What others have posted is shown as what it is, and runs nothing.
    let headers =
        [("content-type", kind), ("x-content-type-options", "nosniff"), ("content-security-policy", "sandbox")];
    (headers, Body::from_stream(rest)).into_response()
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
    let (blob, gone) = tokio::task::spawn_blocking(move || media.keep(draft, Rank::Plain)).await??;
    for payload in dropped(gone) {
        if let Err(error) = taking.journal.append(taking.journal.event("node", payload)).await {
            error!("failed to name media that was dropped: {error}");
        }
    }
    Ok(blob)
}
