//! What people may do about the whole site: press and reset the e-stop, look at the rules, read metrics.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::event::{self, CameraViewChanged, Payload};
use shared::ids::EventId;
use uuid::Uuid;

use super::Shared;
use super::live::outputs;
use crate::clock;
use crate::detect::worker::CameraView;
use crate::health::Of;
use crate::interlock::machine::{Input, RuleView, Source};
use crate::interlock::rules::estop::{CONFIRM, Scope};
use crate::interlock::words::Role;

/// A picture older than this is not what a camera shows.
const FRESH: Duration = Duration::from_secs(1);

/// Who does it. Until the console has accounts, the name that the request gives.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    by: String,
}

/// A press or a reset.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stop {
    by: String,
    /// `site`, `zone/NAME` or `vehicle/NAME`.
    scope: Option<String>,
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

fn scope(console: &Shared, text: &str) -> Option<Scope> {
    match text.split_once('/') {
        None if text == "site" => Some(Scope::Site),
        Some(("zone", name)) => console.zones.iter().position(|zone| zone.as_str() == name).map(Scope::Zone),
        Some(("vehicle", name)) => console.vehicles.iter().position(|v| v.name.as_str() == name).map(Scope::Vehicle),
        _ => None,
    }
}

/// `POST /api/v1/estop`: acts at once; needs neither a name nor the journal. What cannot be read stops the whole site.
pub async fn press(State(console): State<Shared>, stop: Result<Json<Stop>, JsonRejection>) -> Response {
    let stop = stop.map(|Json(stop)| stop).unwrap_or_default();
    let wanted = stop.scope.as_deref().and_then(|text| scope(&console, text));
    let name = if wanted.is_some() { stop.scope } else { None };
    match console.interlock.press(Source::Console, stop.by, wanted.unwrap_or(Scope::Site)) {
        true => {
            let scope = name.unwrap_or_else(|| "site".into());
            (StatusCode::ACCEPTED, Json(json!({ "pressed": true, "scope": scope }))).into_response()
        }
        false => problem(StatusCode::SERVICE_UNAVAILABLE, "the safety thread does not take inputs", &[]),
    }
}

/// `POST /api/v1/estop/reset`: needs a supervisor, where the site wants it a second person; takes effect once the release is
/// durable.
pub async fn reset(State(console): State<Shared>, stop: Result<Json<Stop>, JsonRejection>) -> Response {
    let stop = match stop {
        Ok(Json(stop)) if !stop.by.trim().is_empty() => stop,
        Ok(_) => return problem(StatusCode::BAD_REQUEST, "by: expected the name of a person", &[]),
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.body_text(), &[]),
    };
    let wanted = stop.scope.as_deref().map_or(Some(Scope::Site), |text| scope(&console, text));
    let Some(scope) = wanted else {
        let detail = "scope: expected site, zone/NAME or vehicle/NAME of this site";
        return problem(StatusCode::BAD_REQUEST, detail, &[]);
    };
    let id = EventId(Uuid::now_v7());
    let answer = console.interlock.ask(Input::Reset { id, by: stop.by, scope }, id).await;
    match console.two_person {
        true => answered(answer, &json!({ "reset": "waits for a second person", "within_s": CONFIRM.as_secs() })),
        false => answered(answer, &json!({ "reset": "asked" })),
    }
}

/// `POST /api/v1/estop/reset/confirm`: by somebody else than who asked, within 30 s.
pub async fn confirm(State(console): State<Shared>, person: Result<Json<Person>, JsonRejection>) -> Response {
    let by = match person {
        Ok(Json(person)) => person.by,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.body_text(), &[]),
    };
    let id = EventId(Uuid::now_v7());
    let answer = console.interlock.ask(Input::Confirm { id, by }, id).await;
    answered(answer, &json!({ "reset": "confirmed" }))
}

/// `GET /api/v1/interlocks`: every rule with its state, since when, why, and what would clear it.
pub async fn interlocks(State(console): State<Shared>) -> Response {
    let (view, now) = (console.interlock_view.borrow().clone(), clock::uptime());
    let name = |vehicle: usize| console.vehicles.get(vehicle).map(|v| v.name.to_string());
    let rule = |rule: &RuleView| {
        json!({
            "rule": rule.rule, "vehicle": name(rule.vehicle), "tripped": rule.reason.is_some(), "reason": rule.reason,
            "for_s": rule.since.map(|since| now.since(since).as_secs_f64()), "clears": rule.clears,
        })
    };
    let latched = (0..console.vehicles.len()).filter(|vehicle| view.latched.holds(*vehicle)).filter_map(name);
    Json(json!({
        "outputs": outputs(&console),
        "estop": view.latched.any(), "estop_site": view.latched.site, "estop_vehicles": latched.collect::<Vec<_>>(),
        "rules": view.rules.iter().map(rule).collect::<Vec<_>>(),
    }))
    .into_response()
}

/// 202 with what was done, 409 with every reason against it.
pub(super) fn answered(answer: Option<Vec<String>>, done: &Value) -> Response {
    match answer {
        Some(reasons) if reasons.is_empty() => (StatusCode::ACCEPTED, Json(done)).into_response(),
        Some(reasons) => problem(StatusCode::CONFLICT, "the interlock denies it", &reasons),
        None => problem(StatusCode::SERVICE_UNAVAILABLE, "the safety thread does not answer", &[]),
    }
}

/// `POST /api/v1/cameras/NAME/accept`: by a supervisor: what it shows now is its usual view from now on.
pub async fn accept(
    State(console): State<Shared>,
    Path(name): Path<String>,
    person: Result<Json<Person>, JsonRejection>,
) -> Response {
    let by = match person {
        Ok(Json(person)) => person.by,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.body_text(), &[]),
    };
    let camera = console.cameras.iter().position(|camera| camera.as_str() == name);
    let Some(accepted) = camera.and_then(|camera| console.accepted.get(camera)) else {
        return problem(StatusCode::NOT_FOUND, "expected the name of a camera", &[]);
    };
    if console.policy.role(&by) != Some(Role::Supervisor) {
        return problem(StatusCode::CONFLICT, "authority: only a supervisor accepts a camera's view", &[]);
    }
    // What nobody sees now cannot be said to be right.
    let fresh = |view: &CameraView| view.size.is_some() && clock::uptime().since(view.captured) < FRESH;
    if !camera.is_some_and(|camera| console.camera_views.borrow().get(camera).is_some_and(fresh)) {
        return problem(StatusCode::CONFLICT, "it shows nothing now", &[]);
    }
    accepted.store(true, Ordering::Relaxed);
    let changed = CameraViewChanged { camera: name.clone(), view: "accepted".into(), by };
    console.journal.offer(console.journal.event(format!("camera/{name}"), Payload::CameraView(changed)));
    (StatusCode::ACCEPTED, Json(json!({ "accepted": name }))).into_response()
}
