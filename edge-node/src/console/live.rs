//! What the page shows: one JSON of the whole site, pushed as server-sent events, and the cameras' newest pictures.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use serde_json::{Value, json};
use shared::ids::Lane;
use shared::units::Uptime;

use super::shown::Shown;
use super::{Console, Shared};
use crate::clock;
use crate::interlock::commands::Told;
use crate::sensor::camera::view::Fault;
use crate::sensor::frame::Frame;
use crate::vehicle::aircraft::{Aircraft, GONE};

/// The page is told this often: smooth for the eye, cheap for the box.
const PERIOD: Duration = Duration::from_millis(250);

/// `GET /api/v1/state`.
pub async fn state(State(console): State<Shared>) -> Json<Value> {
    Json(snapshot(&console))
}

/// `GET /api/v1/stream`: the same, four times a second.
pub async fn stream(State(console): State<Shared>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let ticks = tokio::time::interval(PERIOD);
    let stream = futures_util::stream::unfold((ticks, console), |(mut ticks, console)| async move {
        ticks.tick().await;
        let event = Event::default().data(snapshot(&console).to_string());
        Some((Ok(event), (ticks, console)))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

/// `GET /api/v1/cameras/{camera}/frame.jpg`: as its live role says.
pub async fn frame(State(console): State<Shared>, Path(camera): Path<String>) -> Response {
    let index = console.cameras.iter().position(|name| name.as_str() == camera);
    let newest = index.and_then(|index| Some((index, console.newest.get(index)?.borrow().clone()?)));
    let Some((index, Frame { number, picture, .. })) = newest else {
        return (StatusCode::NOT_FOUND, "no picture yet\n").into_response();
    };
    let encoded =
        tokio::task::spawn_blocking(move || console.shown.get(index)?.jpeg(number, &picture, clock::uptime()));
    match encoded.await {
        Ok(Some(jpeg)) => ([("content-type", "image/jpeg"), ("cache-control", "no-store")], jpeg).into_response(),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "picture cannot be encoded\n").into_response(),
    }
}

/// The last command, and how it ended.
fn told(told: &Told) -> Value {
    let (outcome, detail) = (told.ended.map(|(outcome, _)| outcome.0), told.ended.map(|(_, detail)| detail.0));
    json!({ "id": told.id.to_string(), "verb": told.verb.0, "outcome": outcome, "detail": detail })
}

/// `GET /api/v1/aircraft`: aircraft that are not ours, heard of within a minute.
pub async fn aircraft(State(console): State<Shared>) -> Response {
    Json(skies(&console)).into_response()
}

fn skies(console: &Console) -> Vec<Value> {
    let now = clock::uptime();
    let fresh = |aircraft: &&Aircraft| now.since(aircraft.at) < GONE;
    let one = |aircraft: &Aircraft| {
        let mut seen = serde_json::to_value(&aircraft.seen).unwrap_or_default();
        let age_ms = u64::try_from(now.since(aircraft.at).as_millis()).unwrap_or(u64::MAX);
        if let Some(fields) = seen.as_object_mut() {
            fields.insert("age_ms".into(), json!(age_ms));
        }
        seen
    };
    console.aircraft.borrow().iter().filter(fresh).map(one).collect()
}

pub(super) fn outputs(console: &Console) -> Vec<Value> {
    let view = console.interlock_view.borrow();
    let outputs = console.outputs.iter().zip(&view.outputs);
    outputs
        .map(|(name, (energised, faulty))| json!({ "name": name, "energised": energised, "faulty": faulty }))
        .collect()
}

fn snapshot(console: &Console) -> Value {
    let now = clock::uptime();
    let age_ms = |at: Uptime| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
    let cameras: Vec<Value> = console
        .cameras
        .iter()
        .zip(console.camera_views.borrow().iter())
        .zip(console.shown.iter().map(Shown::fps))
        .map(|((name, view), live_fps)| {
            let size = view.size.map(|(width, height)| [width, height]);
            let boxes = view
                .boxes
                .iter()
                .map(|b| json!({ "track": b.track, "label": b.label, "score": b.score, "box_xyxy_px": b.box_xyxy_px }));
            json!({
                "name": name, "size": size, "frame": view.frame, "stale": view.stale, "error": view.error,
                "live_fps": live_fps,
                "view": view.fault.map_or("good", Fault::as_str), "latency_ms": view.latency_ms,
                "age_ms": size.map(|_| age_ms(view.captured)), "boxes": boxes.collect::<Vec<_>>(),
            })
        })
        .collect();
    let interlock = console.interlock_view.borrow().clone();
    let name = |vehicle: usize| console.vehicles.get(vehicle).map(|v| v.name.to_string());
    let vehicles: Vec<Value> = console
        .vehicles
        .iter()
        .zip(console.vehicle_views.borrow().iter())
        .enumerate()
        .map(|(index, (config, state))| {
            json!({
                "name": config.name, "class": format!("{:?}", config.class).to_lowercase(), "sysid": config.sysid, "mode": state.mode, "armed": state.armed,
                "speed_mps": state.speed_mps, "battery_pct": state.battery_pct, "position_deg": state.position_deg,
                "relative_alt_m": state.relative_alt_m, "heartbeat_age_ms": state.heartbeat_at.map(age_ms),
                "position_age_ms": state.position_at.map(age_ms),
                "demand": interlock.demands.get(index),
                "plans": { "fence": state.plans.fence.to_string(), "mission": state.plans.mission.to_string() },
                "round_trip_us": state.sync.map(|sync| sync.round_trip_us),
                "command": interlock.told.get(index).and_then(Option::as_ref).map(told),
                "lease": interlock.responsible.get(index).map(|answers| &answers.holder),
                "patrol": interlock.responsible.get(index).map(|answers| &answers.patrol),
            })
        })
        .collect();
    let rules: Vec<Value> = interlock
        .rules
        .iter()
        .map(|rule| json!({ "rule": rule.rule, "vehicle": name(rule.vehicle), "reason": rule.reason }))
        .collect();
    let uplink = console.uplink_view.borrow().clone();
    let backlog: serde_json::Map<String, Value> =
        Lane::ALL.iter().zip(uplink.backlog).map(|(lane, waiting)| (lane.to_string(), json!(waiting))).collect();
    json!({
        "node": console.node, "cameras": cameras, "vehicles": vehicles, "alerts": *console.alerts.borrow(),
        "interlock": { "estop": interlock.latched.any(), "two_person": console.two_person, "rules": rules },
        "outputs": outputs(console), "aircraft": skies(console),
        "uplink": { "connected": uplink.connected, "metered": uplink.metered, "backlog": backlog },
    })
}
