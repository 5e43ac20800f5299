//! A vehicle's mission, fence and parameters over HTTP: read from it, and a mission written to it and read back.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::event::{CommandEnded, Payload};
use shared::ids::EventId;
use tokio::sync::oneshot;
use tracing::warn;

use super::Shared;
use super::api::problem;
use super::command::{Asked, asked, find, unknown};
use crate::interlock::machine::Verb;
use crate::interlock::rules::mission::MissionRule;
use crate::vehicle::errands::{Found, Wish};
use crate::vehicle::hub::Task;
use crate::vehicle::message::{
    ABOVE_HOME, ABOVE_SEA, DO_CHANGE_SPEED, NAV_LAND, NAV_LOITER_TIME, NAV_RETURN_TO_LAUNCH, NAV_TAKEOFF, NAV_WAYPOINT,
};
use crate::vehicle::plan::{Item, JUMP, Kind, Verdict, e7};
use crate::vehicle::{Class, VehicleConfig};

/// Steps of a mission: what a person draws.
const STEPS: usize = 200;

/// One step of a mission.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
enum Step {
    /// To a place; stays there for a while.
    Waypoint {
        lat_deg: f64,
        lon_deg: f64,
        #[serde(default)]
        height_m: f64,
        #[serde(default)]
        wait_s: f64,
    },
    /// Up, where it stands.
    TakeOff { height_m: f64 },
    /// This fast from here on.
    Speed { speed_mps: f64 },
    /// Home.
    Return,
    /// Down, where it is.
    Land,
    /// From step `from` again, so many times more; for ever without a number. Steps count from 1.
    Repeat { from: u16, times: Option<u16> },
}

/// A mission, and who sends it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mission {
    by: String,
    steps: Vec<Step>,
}

/// `GET /api/v1/vehicles/{vehicle}/mission`: as the vehicle holds it now.
pub async fn read(State(console): State<Shared>, Path(vehicle): Path<String>) -> Response {
    items(&console, &vehicle, Kind::Mission).await
}

/// `GET /api/v1/vehicles/{vehicle}/fence`: as the vehicle holds it now.
pub async fn fence(State(console): State<Shared>, Path(vehicle): Path<String>) -> Response {
    items(&console, &vehicle, Kind::Fence).await
}

/// `GET /api/v1/vehicles/{vehicle}/parameters`: all of them, by name.
pub async fn parameters(State(console): State<Shared>, Path(vehicle): Path<String>) -> Response {
    let Some(index) = find(&console, &vehicle) else { return unknown(&vehicle) };
    match wish(&console, index, Wish::Params).await {
        Ok(Found::Params(mut parameters)) => {
            parameters.sort_by(|a, b| a.name.cmp(&b.name));
            let one = |p: &crate::vehicle::params::Parameter| json!({ "name": p.name, "value": p.value });
            Json(json!({ "parameters": parameters.iter().map(one).collect::<Vec<_>>() })).into_response()
        }
        Ok(Found::Items(_)) => problem(StatusCode::INTERNAL_SERVER_ERROR, "items came for parameters", &[]),
        Err(why) => problem(StatusCode::BAD_GATEWAY, &why, &[]),
    }
}

/// `POST /api/v1/vehicles/{vehicle}/mission`: 200 once the vehicle has taken it and tells the same; 409 with every reason
/// against it.
pub async fn write(
    State(console): State<Shared>,
    Path(vehicle): Path<String>,
    body: Result<Json<Mission>, JsonRejection>,
) -> Response {
    let Some(index) = find(&console, &vehicle) else { return unknown(&vehicle) };
    let Some(config) = console.vehicles.get(index) else { return unknown(&vehicle) };
    let mission = match body {
        Ok(Json(mission)) => mission,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.body_text(), &[]),
    };
    let items = match drawn(&mission.steps, config) {
        Ok(items) => items,
        Err(why) => return problem(StatusCode::BAD_REQUEST, &why, &[]),
    };
    let verdict = MissionRule::new(index, config, &console.policy).check(&items);
    if verdict != Verdict::Good {
        return problem(StatusCode::CONFLICT, "the interlock denies it", &[format!("envelope: the mission {verdict}")]);
    }
    let id = match asked(&console, &vehicle, index, Verb::Plan, mission.by).await {
        Asked::Permitted(id) => id,
        Asked::Answered(response) => return response,
    };
    // The first item of an ArduPilot is its home, which it sets by itself.
    let home = config.class.counts_home().then(|| Item { frame: ABOVE_SEA, ..Item::order(NAV_WAYPOINT, [0.0; 4]) });
    let written = wish(&console, index, Wish::Write(home.into_iter().chain(items).collect())).await;
    ended(&console, &vehicle, id, written.as_ref().err()).await;
    match written {
        Ok(_) => Json(json!({ "id": id.to_string(), "steps": mission.steps.len() })).into_response(),
        Err(why) => problem(StatusCode::BAD_GATEWAY, &why, &[]),
    }
}

async fn ended(console: &Shared, vehicle: &str, id: EventId, why: Option<&String>) {
    let (outcome, detail) = why.map_or(("done", String::new()), |why| ("refused", why.clone()));
    let (vehicle, verb) = (vehicle.to_owned(), Verb::Plan.as_str().to_owned());
    let aggregate = format!("vehicle/{vehicle}");
    let ended = CommandEnded { request: id, vehicle, verb, outcome: outcome.into(), detail };
    let event = console.journal.event(aggregate, Payload::CommandEnded(ended));
    if let Err(error) = console.journal.append(event).await {
        warn!("failed to keep how a command ended: {error}");
    }
}

async fn items(console: &Shared, vehicle: &str, kind: Kind) -> Response {
    let Some(index) = find(console, vehicle) else { return unknown(vehicle) };
    match wish(console, index, Wish::Read(kind)).await {
        Ok(Found::Items(items)) => {
            let items: Vec<Value> = items.iter().map(shown).collect();
            Json(json!({ "items": items })).into_response()
        }
        Ok(Found::Params(_)) => problem(StatusCode::INTERNAL_SERVER_ERROR, "parameters came for items", &[]),
        Err(why) => problem(StatusCode::BAD_GATEWAY, &why, &[]),
    }
}

/// An item as MAVLink has it.
fn shown(item: &Item) -> Value {
    let degrees = |e7: i32| f64::from(e7) / 1e7;
    json!({
        "command": item.command, "frame": item.frame, "params": item.params, "lat_deg": degrees(item.lat_e7),
        "lon_deg": degrees(item.lon_e7), "height_m": item.height_m,
    })
}

/// Asks the vehicles' thread; the vehicle may take its time.
async fn wish(console: &Shared, vehicle: usize, wish: Wish) -> Result<Found, String> {
    let (answer, found) = oneshot::channel();
    console.tasks.try_send(Task { vehicle, wish, answer }).map_err(|_| "too much is asked of vehicles at once")?;
    found.await.map_err(|_| "the node is stopping")?
}

/// A person's steps as items.
fn drawn(steps: &[Step], config: &VehicleConfig) -> Result<Vec<Item>, String> {
    if !(1..=STEPS).contains(&steps.len()) {
        return Err(format!("steps: expected 1 to {STEPS}, found {}", steps.len()));
    }
    steps
        .iter()
        .enumerate()
        .map(|(n, step)| drawn_one(*step, config, steps.len()).map_err(|why| format!("steps[{n}]: {why}")))
        .collect()
}

#[expect(clippy::cast_possible_truncation, reason = "metres and seconds in range")]
fn drawn_one(step: Step, config: &VehicleConfig, count: usize) -> Result<Item, String> {
    let within = |name: &str, value: f64, range: std::ops::RangeInclusive<f64>| match range.contains(&value) {
        true => Ok(value as f32),
        false => Err(format!("{name}: expected {} to {}, found {value}", range.start(), range.end())),
    };
    let flies = config.class.flies();
    let item = match step {
        Step::Waypoint { lat_deg, lon_deg, height_m, wait_s } => {
            within("lat_deg", lat_deg, -85.0..=85.0)?;
            within("lon_deg", lon_deg, -180.0..=180.0)?;
            let (height_m, wait) =
                (within("height_m", height_m, -500.0..=10_000.0)?, within("wait_s", wait_s, 0.0..=3600.0)?);
            if wait.fract() != 0.0 {
                return Err(format!("wait_s: expected whole seconds, found {wait_s}"));
            }
            // What circles waits by another command.
            let command = if config.class == Class::Plane && wait > 0.0 { NAV_LOITER_TIME } else { NAV_WAYPOINT };
            let (lat_e7, lon_e7) = (e7(lat_deg), e7(lon_deg));
            Item { command, frame: ABOVE_HOME, params: [wait, 0.0, 0.0, 0.0], lat_e7, lon_e7, height_m }
        }
        Step::TakeOff { .. } | Step::Land if !flies => return Err("it does not fly".into()),
        Step::TakeOff { height_m } => {
            let height_m = within("height_m", height_m, 0.0..=10_000.0)?;
            Item { frame: ABOVE_HOME, height_m, ..Item::order(NAV_TAKEOFF, [0.0; 4]) }
        }
        Step::Speed { speed_mps } => {
            let kind = f32::from(u8::from(!config.class.has_wing()));
            Item::order(DO_CHANGE_SPEED, [kind, within("speed_mps", speed_mps, 0.0..=100.0)?, -1.0, 0.0])
        }
        Step::Return => Item::order(NAV_RETURN_TO_LAUNCH, [0.0; 4]),
        Step::Land => Item { frame: ABOVE_HOME, ..Item::order(NAV_LAND, [0.0; 4]) },
        Step::Repeat { from, .. } if from == 0 || usize::from(from) >= count => {
            return Err(format!("from: expected the number of a step before the last, found {from}"));
        }
        Step::Repeat { from, times } => {
            let first = if config.class.counts_home() { from } else { from - 1 };
            Item::order(JUMP, [f32::from(first), times.map_or(-1.0, f32::from), 0.0, 0.0])
        }
    };
    Ok(item)
}
