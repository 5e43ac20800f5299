//! Node batches -> outbox rows; the answer goes after the commit.
//!
//! `head` decides, purely, whether a batch continues what is stored; `store` writes in one transaction; this file is
//! the HTTP side.

pub mod head;
pub mod history;
pub mod store;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Extension, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use shared::dictionary;
use shared::wire::{BODY_MAX, Batch, DICTIONARY_HEADER, PROTOCOL, WireError};
use tokio::sync::Semaphore;
use tracing::{error, warn};

use crate::database::Pool;
use crate::fleet::caller::{Caller, REVOKED};
use crate::metrics::Metrics;
use crate::problem::problem;
use store::{Outcome, cursor, store};

/// Batches that are inflated at a time: each takes up to 9 MiB, and a fleet that comes back sends all at once. Full: the
/// node is told to come back in a second.
pub const AT_ONCE: usize = 16;
/// How long a batch waits for its turn.
const TURN: Duration = Duration::from_secs(2);

/// What the handlers need.
#[derive(Clone)]
pub struct Ingest {
    /// Connections.
    pub pool: Arc<Pool>,
    /// Counters.
    pub metrics: Metrics,
    /// Turns at inflating and storing.
    pub turns: Arc<Semaphore>,
}

/// The routes of nodes; each request carries its [`Caller`].
pub fn router(ingest: Ingest) -> Router {
    Router::new()
        .route("/v1/nodes/{node}/batches", post(batches))
        .route("/v1/nodes/{node}/cursor", get(heads))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(ingest)
}

async fn batches(
    State(ingest): State<Ingest>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let node = caller.identity.node.as_str();
    let Ok(Ok(_turn)) = tokio::time::timeout(TURN, ingest.turns.acquire()).await else {
        ingest.metrics.crowded.inc();
        return later("many nodes send at once, send again".into());
    };
    let dictionary = headers.get(DICTIONARY_HEADER).map_or(Some(0), |value| value.to_str().ok()?.parse().ok());
    let decoded = match dictionary {
        Some(number) => Batch::decode(&body, number),
        None => Err(WireError::Invalid("the dictionary's number is not a number")),
    };
    if let Err(WireError::UnknownDictionary(_)) = decoded {
        // The node has a newer build: it falls back to what the cursor lists.
        return problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the dictionary is not known here".into());
    }
    let decoded = decoded.map_err(|e| e.to_string());
    let batch = decoded.and_then(|batch| match caller.identity.node == batch.node {
        true => Ok(batch),
        false => Err(format!("batch is of node {}, the address is of node {node}", batch.node)),
    });
    let batch = match batch {
        Ok(batch) => batch,
        Err(detail) => {
            ingest.metrics.refused.inc();
            warn!(node, detail, "batch is refused");
            return problem(StatusCode::BAD_REQUEST, detail);
        }
    };
    match store(&ingest, &caller, &batch, &body).await {
        Ok(Outcome::Stored(ack)) => Json(ack).into_response(),
        Ok(Outcome::Mismatch(mismatch)) => {
            ingest.metrics.mismatches.inc();
            warn!(node, lane = %batch.lane, why = ?mismatch.why, seq = mismatch.seq.0, "batch does not continue");
            (StatusCode::CONFLICT, Json(mismatch)).into_response()
        }
        Ok(Outcome::Unwelcome) => problem(StatusCode::FORBIDDEN, REVOKED.into()),
        Err(error) => {
            error!("failed to store batch of {node}: {error:#}");
            later("the store is not available, send again".into())
        }
    }
}

/// Not now: in a second.
fn later(detail: String) -> Response {
    let mut answer = problem(StatusCode::SERVICE_UNAVAILABLE, detail);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

async fn heads(State(ingest): State<Ingest>, Extension(caller): Extension<Caller>) -> Response {
    match cursor(&ingest, &caller.identity).await {
        Ok(heads) => {
            let known = serde_json::json!({
                "heads": heads, "dictionaries": dictionary::known(), "protocols": [PROTOCOL],
            });
            Json(known).into_response()
        }
        Err(error) => {
            error!("failed to read cursor of {}: {error:#}", caller.identity);
            problem(StatusCode::SERVICE_UNAVAILABLE, "the store is not available, ask again".into())
        }
    }
}
