//! What people may ask of one vehicle: commands, its lease, its patrol. The interlock decides; the answer has every reason.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use shared::event::{CommandRequested, Payload};
use shared::ids::EventId;
use tracing::warn;
use uuid::Uuid;

use super::Shared;
use super::api::{answered, problem};
use super::verb::Command;
use crate::interlock::machine::{Input, Verb};
use crate::interlock::rules::lease::RENEWAL;

/// What somebody sent, or why it cannot be read.
type Body<T> = Result<Json<T>, JsonRejection>;

/// Who takes a lease.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taker {
    by: String,
}

/// Which lease, and whose.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    lease: Uuid,
    by: String,
}

/// A patrol.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patrol {
    by: String,
    /// How long from now, e.g. `20m`; zero ends it.
    #[serde(rename = "for", with = "shared::config::duration")]
    lasts: Duration,
}

/// `POST /api/v1/vehicles/{vehicle}/commands`: 202 with an id, or 409 with every reason.
pub async fn command(State(console): State<Shared>, Path(vehicle): Path<String>, body: Body<Command>) -> Response {
    let Some(config) = find(&console, &vehicle).and_then(|index| console.vehicles.get(index)) else {
        return unknown(&vehicle);
    };
    let command = match body {
        Ok(Json(command)) => command,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.body_text(), &[]),
    };
    match command.verb(config) {
        Ok(verb) => ask(&console, &vehicle, verb, command.by).await,
        Err(error) => problem(StatusCode::BAD_REQUEST, &error, &[]),
    }
}

/// `POST /api/v1/vehicles/{vehicle}/lease`: 202 with the lease, which lives for two seconds after each renewal. Its number is
/// a secret of whoever takes it: requests are in the journal, leases are not.
pub async fn lease(State(console): State<Shared>, Path(vehicle): Path<String>, body: Body<Taker>) -> Response {
    read(&console, &vehicle, body, |taker| (Verb::Lease(EventId(Uuid::new_v4())), taker.by)).await
}

/// `POST /api/v1/vehicles/{vehicle}/lease/renew`.
pub async fn renew(State(console): State<Shared>, Path(vehicle): Path<String>, body: Body<Held>) -> Response {
    read(&console, &vehicle, body, |held| (Verb::Renew(EventId(held.lease)), held.by)).await
}

/// `DELETE /api/v1/vehicles/{vehicle}/lease`.
pub async fn leave(State(console): State<Shared>, Path(vehicle): Path<String>, body: Body<Held>) -> Response {
    read(&console, &vehicle, body, |held| (Verb::Leave(EventId(held.lease)), held.by)).await
}

/// `POST /api/v1/vehicles/{vehicle}/patrol`: lets it do its mission alone for a time; `"for": "0s"` ends that.
pub async fn patrol(State(console): State<Shared>, Path(vehicle): Path<String>, body: Body<Patrol>) -> Response {
    read(&console, &vehicle, body, |patrol| {
        (if patrol.lasts.is_zero() { Verb::EndPatrol } else { Verb::Patrol(patrol.lasts) }, patrol.by)
    })
    .await
}

/// Whose readiness is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asker {
    by: Option<String>,
}

/// `GET /api/v1/vehicles/{vehicle}/readiness?by=NAME`: whether that person could send it on now, and every reason against it.
pub async fn readiness(
    State(console): State<Shared>,
    Path(vehicle): Path<String>,
    Query(asker): Query<Asker>,
) -> Response {
    let Some(index) = find(&console, &vehicle) else { return unknown(&vehicle) };
    let id = EventId(Uuid::now_v7());
    let by = asker.by.unwrap_or_else(|| "console".into());
    match console.interlock.ask(Input::Request { id, vehicle: index, verb: Verb::Ready, by }, id).await {
        Some(reasons) => Json(json!({ "ready": reasons.is_empty(), "reasons": reasons })).into_response(),
        None => problem(StatusCode::SERVICE_UNAVAILABLE, "the safety thread does not answer", &[]),
    }
}

/// `GET /api/v1/vehicles/{vehicle}/audit`: the parameters of its own failsafes, as it told them and as they must be.
pub async fn audit(State(console): State<Shared>, Path(vehicle): Path<String>) -> Response {
    let found = find(&console, &vehicle);
    let state = found.and_then(|index| console.vehicle_views.borrow().get(index).copied());
    let (Some(state), Some(config)) = (state, found.and_then(|index| console.vehicles.get(index))) else {
        return unknown(&vehicle);
    };
    let findings = state.audit.findings(config.class, console.supervisor_sysid).map(|finding| {
        json!({
            "name": finding.name, "value": finding.value, "expected": finding.expected, "good": finding.good,
        })
    });
    Json(json!({ "parameters": findings.collect::<Vec<_>>() })).into_response()
}

/// Asks the interlock for what a body says.
async fn read<T>(console: &Shared, vehicle: &str, body: Body<T>, asks: impl FnOnce(T) -> (Verb, String)) -> Response {
    match body.map(|Json(body)| asks(body)) {
        Ok((verb, by)) => ask(console, vehicle, verb, by).await,
        Err(error) => problem(StatusCode::BAD_REQUEST, &error.body_text(), &[]),
    }
}

/// What the interlock says to a request.
pub(super) enum Asked {
    /// It may be done.
    Permitted(EventId),
    /// It may not; or nothing more is to be done. The answer says so.
    Answered(Response),
}

/// Asks whether something may be done that the interlock does not do itself.
pub(super) async fn asked(console: &Shared, vehicle: &str, index: usize, verb: Verb, by: String) -> Asked {
    match decided(console, vehicle, index, verb, by).await {
        Ok((id, Some(reasons))) if reasons.is_empty() => Asked::Permitted(id),
        Ok((_, answer)) => Asked::Answered(answered(answer, &json!({}))),
        Err(response) => Asked::Answered(response),
    }
}

/// Asks the interlock.
async fn ask(console: &Shared, vehicle: &str, verb: Verb, by: String) -> Response {
    let Some(index) = find(console, vehicle) else { return unknown(vehicle) };
    let (id, answer) = match decided(console, vehicle, index, verb, by).await {
        Ok(decided) => decided,
        Err(response) => return response,
    };
    let mut done = json!({ "id": id.to_string() });
    if let (Verb::Lease(lease), Some(done)) = (verb, done.as_object_mut()) {
        done.insert("lease".into(), json!(lease.to_string()));
        done.insert("renew_within_ms".into(), json!(RENEWAL.as_millis()));
    }
    answered(answer, &done)
}

/// Number and answer of a request; who asks is named, and what is asked is kept.
async fn decided(
    console: &Shared,
    vehicle: &str,
    index: usize,
    verb: Verb,
    by: String,
) -> Result<(EventId, Option<Vec<String>>), Response> {
    if by.trim().is_empty() {
        return Err(problem(StatusCode::BAD_REQUEST, "by: expected the name of a person", &[]));
    }
    let id = EventId(Uuid::now_v7());
    let answer = console.interlock.ask(Input::Request { id, vehicle: index, verb, by: by.clone() }, id).await;
    // A renewal says twice a second what the lease's own events say once.
    if !matches!(verb, Verb::Renew(_)) {
        let requested = CommandRequested { request: id, vehicle: vehicle.to_owned(), verb: verb.as_str().into(), by };
        let event = console.journal.event(format!("vehicle/{vehicle}"), Payload::CommandRequested(requested));
        if let Err(error) = console.journal.append(event).await {
            warn!("failed to keep a command request: {error}");
        }
    }
    Ok((id, answer))
}

pub(super) fn find(console: &Shared, vehicle: &str) -> Option<usize> {
    console.vehicles.iter().position(|config| config.name.as_str() == vehicle)
}

pub(super) fn unknown(vehicle: &str) -> Response {
    problem(StatusCode::NOT_FOUND, &format!("no vehicle {vehicle:?}"), &[])
}
