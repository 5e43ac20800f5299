//! What people may do: press and reset the e-stop, ask for commands, read metrics.

use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::event::{self, CommandRequested, Payload};
use shared::ids::EventId;
use tracing::warn;
use uuid::Uuid;

use super::Shared;
use crate::health::Of;
use crate::interlock::machine::{Input, Verb};

/// Who does it. Until the console has accounts, the name that the request gives.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    by: String,
}

/// A command for a vehicle.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    verb: Wanted,
    by: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wanted {
    Hold,
    Resume,
    Clear,
}

/// `GET /api/v1/schemas`: the event types that have one.
pub async fn schemas() -> Json<Value> {
    Json(event::schemas().map(|(name, version)| json!({ "type": name, "version": version })).collect())
}

/// `GET /api/v1/schemas/{event_type}`: JSON Schema of its data.
pub async fn schema(Path(event_type): Path<String>) -> Response {
    let unknown = || format!("{event_type:?} is no event type; see /api/v1/schemas");
    let found = event::schema(&event_type).map(|schema| Json(schema).into_response());
    found.unwrap_or_else(|| problem(StatusCode::NOT_FOUND, &unknown(), &[]))
}

pub(super) fn problem(status: StatusCode, detail: &str, reasons: &[String]) -> Response {
    let body = json!({ "status": status.as_u16(), "detail": detail, "reasons": reasons });
    (status, [("content-type", "application/problem+json")], body.to_string()).into_response()
}

/// `GET /metrics`.
pub async fn metrics(State(console): State<Shared>) -> Response {
    let m = &console.metrics;
    let counts = console.journal.counts();
    m.journal_events.set(counts.committed.load(Ordering::Relaxed));
    let lost = |name: &str, count: u64| {
        m.journal_lost.get_or_create(&Of::new(name)).set(i64::try_from(count).unwrap_or(i64::MAX));
    };
    lost("queue_full", counts.offered_lost.load(Ordering::Relaxed));
    lost("commit_failed", counts.failed.load(Ordering::Relaxed));
    ([("content-type", "application/openmetrics-text; version=1.0.0")], m.text()).into_response()
}

/// `POST /api/v1/estop`: acts at once; needs neither a name nor the journal.
pub async fn press(State(console): State<Shared>, person: Result<Json<Person>, JsonRejection>) -> Response {
    let by = person.map(|Json(person)| person.by).unwrap_or_default();
    match console.interlock.press("console", by) {
        true => (StatusCode::ACCEPTED, Json(json!({ "pressed": true }))).into_response(),
        false => problem(StatusCode::SERVICE_UNAVAILABLE, "the safety thread does not take inputs", &[]),
    }
}

/// `POST /api/v1/estop/reset`: needs a named person; takes effect once the release is durable.
pub async fn reset(State(console): State<Shared>, person: Result<Json<Person>, JsonRejection>) -> Response {
    let by = match person {
        Ok(Json(person)) if !person.by.trim().is_empty() => person.by,
        Ok(_) => return problem(StatusCode::BAD_REQUEST, "by: expected the name of a person", &[]),
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.body_text(), &[]),
    };
    console.interlock.tell(Input::Reset { by });
    (StatusCode::ACCEPTED, Json(json!({ "reset": "asked" }))).into_response()
}

/// `GET /api/v1/interlocks`.
pub async fn interlocks(State(console): State<Shared>) -> Response {
    let view = console.interlock_view.borrow().clone();
    let name = |vehicle: usize| console.vehicles.get(vehicle).map(|v| v.name.to_string());
    let rule = |rule: &crate::interlock::machine::RuleView| json!({ "rule": rule.rule, "vehicle": name(rule.vehicle), "tripped": rule.reason.is_some(), "reason": rule.reason });
    Json(json!({ "estop": view.pressed, "rules": view.rules.iter().map(rule).collect::<Vec<_>>() })).into_response()
}

/// `POST /api/v1/vehicles/{vehicle}/commands`: 202 with an id, or 409 with every reason.
pub async fn command(
    State(console): State<Shared>,
    Path(vehicle): Path<String>,
    command: Result<Json<Command>, JsonRejection>,
) -> Response {
    let command = match command {
        Ok(Json(command)) => command,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.body_text(), &[]),
    };
    if matches!(command.verb, Wanted::Clear) && command.by.trim().is_empty() {
        return problem(StatusCode::BAD_REQUEST, "by: expected the name of a person", &[]);
    }
    let Some(index) = console.vehicles.iter().position(|config| config.name.as_str() == vehicle) else {
        return problem(StatusCode::NOT_FOUND, &format!("no vehicle {vehicle:?}"), &[]);
    };
    let id = EventId(Uuid::now_v7());
    let verb = match command.verb {
        Wanted::Hold => Verb::Hold,
        Wanted::Resume => Verb::Resume,
        Wanted::Clear => Verb::Clear,
    };
    let answer = console.interlock.ask(Input::Request { id, vehicle: index, verb }, id).await;
    let requested = CommandRequested {
        request: id,
        vehicle: vehicle.clone(),
        verb: format!("{verb:?}").to_lowercase(),
        by: command.by,
    };
    let event = console.journal.event(format!("vehicle/{vehicle}"), Payload::CommandRequested(requested));
    if let Err(error) = console.journal.append(event).await {
        warn!("failed to keep a command request: {error}");
    }
    match answer {
        Some(reasons) if reasons.is_empty() => {
            (StatusCode::ACCEPTED, Json(json!({ "id": id.to_string() }))).into_response()
        }
        Some(reasons) => problem(StatusCode::CONFLICT, "the interlock denies it", &reasons),
        None => problem(StatusCode::SERVICE_UNAVAILABLE, "the safety thread does not answer", &[]),
    }
}
