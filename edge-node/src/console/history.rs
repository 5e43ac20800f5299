//! `GET /api/v1/events`: what the journal holds, a page at a time, in the order in which the facts were seen.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query as Asked, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::ids::Name;
use shared::units::UtcMicros;
use tokio::sync::Semaphore;
use tracing::error;

use super::api::problem;
use crate::journal::query::{Cursor, Filter, Query};
use crate::journal::reader::Reader;

/// Most events in one answer.
const LIMIT_MAX: usize = 1000;
/// Bytes of records read for one answer; then `next` goes on from there, with fewer events than asked for.
const BUDGET: usize = 32 * 1024 * 1024;
/// Questions answered at a time: each reads the disk that the journal writes to. Full: the next one waits.
const AT_ONCE: usize = 2;

/// What the handler needs.
pub struct History {
    /// This node.
    pub node: Name,
    /// Its data folder.
    pub folder: PathBuf,
}

/// Filters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(rename = "type")]
    event_type: Option<String>,
    aggregate: Option<String>,
    /// RFC 3339.
    since: Option<String>,
    until: Option<String>,
    trace: Option<String>,
    limit: Option<usize>,
    /// `next` of the answer before.
    cursor: Option<String>,
}

type Shared = (Arc<History>, Arc<Semaphore>);

/// The route; posting to it is `sensor::http`'s.
pub fn router(history: History) -> Router {
    Router::new()
        .route("/api/v1/events", get(events))
        .with_state((Arc::new(history), Arc::new(Semaphore::new(AT_ONCE))))
}

async fn events(State((history, turns)): State<Shared>, wanted: Result<Asked<Wanted>, QueryRejection>) -> Response {
    let parsed = wanted.map_err(|rejection| rejection.body_text()).and_then(|Asked(wanted)| read(wanted));
    let (filter, cursor, limit) = match parsed {
        Ok(parts) => parts,
        Err(detail) => return problem(StatusCode::BAD_REQUEST, &detail, &[]),
    };
    let Ok(_turn) = turns.acquire().await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "the node ends", &[]);
    };
    let asked = tokio::task::spawn_blocking(move || ask(&history, &filter, cursor, limit));
    match asked.await.map_err(anyhow::Error::from).and_then(|found| found) {
        Ok(page) => Json(page).into_response(),
        Err(error) => {
            error!("failed to {error:#}");
            problem(StatusCode::SERVICE_UNAVAILABLE, "the journal cannot be read now", &[])
        }
    }
}

fn read(wanted: Wanted) -> Result<(Filter, Cursor, usize), String> {
    let limit = wanted.limit.unwrap_or(100);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(format!("limit: expected 1 to {LIMIT_MAX}, found {limit}"));
    }
    let time = |name: &str, text: Option<String>| {
        text.map(|text| UtcMicros::parse_rfc3339(&text)).transpose().map_err(|error| format!("{name}: {error}"))
    };
    let (since, until) = (time("since", wanted.since)?, time("until", wanted.until)?);
    let cursor =
        wanted.cursor.map(|text| text.parse()).transpose().map_err(|error: String| format!("cursor: {error}"))?;
    let (event_type, aggregate, trace) = (wanted.event_type, wanted.aggregate, wanted.trace);
    Ok((Filter { event_type, aggregate, since, until, trace }, cursor.unwrap_or_default(), limit))
}

fn ask(history: &History, filter: &Filter, cursor: Cursor, limit: usize) -> anyhow::Result<Value> {
    let mut reader = Reader::open(&history.folder)?;
    let mut query = Query::new(&mut reader, &history.node, filter, cursor, BUDGET);
    let mut events = Vec::new();
    while events.len() < limit {
        match query.next_event()? {
            Some(event) => events.push(event),
            None => break,
        }
    }
    // Polling goes on with `next` whether there is more now or not.
    let more = events.len() == limit || !query.exhausted();
    Ok(json!({ "events": events, "next": query.cursor().to_string(), "more": more }))
}
