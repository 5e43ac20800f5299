//! Events from outside over HTTP: CloudEvents in JSON, acknowledged after the commit. `console` mounts the router.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::event::{Custom, Payload, SensorReading};
use shared::ids::{EventId, TraceId};
use shared::record::RECORD_MAX;
use shared::units::UtcMicros;
use tracing::debug;
use uuid::Uuid;

use crate::clock;
use crate::health::{Metrics, Of};
use crate::journal::{Journal, JournalError};

/// A reading whose own time is so long ago waited somewhere: ten seconds.
const BACKLOG: UtcMicros = UtcMicros(10_000_000);

/// Told a sensor's name and value.
pub type Heard = Arc<dyn Fn(&str, f64) + Send + Sync>;

/// What the handlers need.
#[derive(Clone)]
pub struct Ingest {
    /// Takes events.
    pub journal: Journal,
    /// Counters.
    pub metrics: Metrics,
    /// Told of each reading by its sensor's name, before it is kept.
    pub reading: Heard,
}

/// What an event from outside must have.
#[derive(Debug, Deserialize)]
struct Incoming {
    #[serde(rename = "type")]
    event_type: String,
    subject: String,
    id: Option<String>,
    time: Option<String>,
    traceparent: Option<String>,
    data: Value,
}

/// `POST /api/v1/events`.
pub fn router(ingest: Ingest) -> Router {
    Router::new().route("/api/v1/events", post(accept)).layer(DefaultBodyLimit::max(RECORD_MAX)).with_state(ingest)
}

async fn accept(State(ingest): State<Ingest>, body: Bytes) -> Response {
    let refused = |reason: &str, status: StatusCode, detail: String| {
        ingest.metrics.http_refused.get_or_create(&Of::new(reason)).inc();
        debug!(reason, detail, "event is refused");
        let problem = json!({ "status": status.as_u16(), "title": reason, "detail": detail });
        (status, [("content-type", "application/problem+json")], problem.to_string()).into_response()
    };
    let (event_id, at, trace, subject, payload) = match read(&body) {
        Ok(parts) => parts,
        Err(detail) => return refused("not an event", StatusCode::BAD_REQUEST, detail),
    };
    // What waited at a gateway says nothing about now.
    let old = at.is_some_and(|at| clock::utc().0.saturating_sub(at.0) > BACKLOG.0);
    if let (Payload::SensorReading(reading), false) = (&payload, old) {
        (ingest.reading)(&reading.sensor, reading.value);
    }
    let mut event = ingest.journal.event(subject, payload);
    event.trace_id = Some(trace.unwrap_or_else(|| ingest.journal.trace()));
    event.event_id = event_id.unwrap_or(event.event_id);
    event.occurred.at = at.unwrap_or(event.occurred.at);
    match ingest.journal.append(event).await {
        Ok(id) => (StatusCode::ACCEPTED, Json(json!({ "id": id.to_string() }))).into_response(),
        Err(error @ JournalError::Refused(_)) => refused("too large", StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
        Err(error) => refused("journal", StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

type Parts = (Option<EventId>, Option<UtcMicros>, Option<TraceId>, String, Payload);

/// Reads an event, or says what was expected and where.
fn read(body: &[u8]) -> Result<Parts, String> {
    let deserializer = &mut serde_json::Deserializer::from_slice(body);
    let incoming: Incoming = serde_path_to_error::deserialize(deserializer).map_err(|e| {
        let (path, inner) = (e.path().to_string(), e.inner());
        format!("{path}: {inner}: expected a CloudEvent with type, subject and data")
    })?;
    if body.windows(6).any(|window| window == b"\\u0000") || body.contains(&0) {
        return Err("data: expected text without NUL characters".into());
    }
    let id =
        incoming.id.as_deref().map(Uuid::try_parse).transpose().map_err(|e| format!("id: expected a UUID: {e}"))?;
    let at = incoming.time.as_deref().map(UtcMicros::parse_rfc3339).transpose().map_err(|e| format!("time: {e}"))?;
    let trace = incoming.traceparent.as_deref().map(trace_of).transpose()?;
    let sane = |text: &str| !text.is_empty() && text.len() <= 256 && !text.chars().any(char::is_control);
    if !sane(&incoming.subject) {
        return Err("subject: expected 1 to 256 characters without control characters".into());
    }
    let payload = match incoming.event_type.as_str() {
        "sensor.reading" => {
            let reading: SensorReading = serde_path_to_error::deserialize(incoming.data)
                .map_err(|e| format!("data.{}: {}", e.path(), e.inner()))?;
            Payload::SensorReading(reading)
        }
        other if other.starts_with("custom.") && sane(other) => {
            Payload::Custom(Custom { event_type: other.to_owned(), json: incoming.data.to_string() })
        }
        other => return Err(format!("type: expected sensor.reading or custom.*, found {other:?}")),
    };
    Ok((id.map(EventId), at, trace, incoming.subject, payload))
}

/// The trace of a W3C traceparent, version 00 (<https://www.w3.org/TR/trace-context/>).
fn trace_of(text: &str) -> Result<TraceId, String> {
    let wrong = || format!("traceparent: expected 00-TRACE-SPAN-FLAGS in lower-case hexadecimal, found {text:?}");
    let hex = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let [version, trace, span, flags] = text.split('-').collect::<Vec<_>>()[..] else { return Err(wrong()) };
    let good = version == "00" && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    match u128::from_str_radix(trace, 16) {
        Ok(number) if good && number != 0 => Ok(TraceId(number.to_be_bytes())),
        _ => Err(wrong()),
    }
}
