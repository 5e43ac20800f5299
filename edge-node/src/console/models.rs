//! `/api/v1/models`: what is in use, and what people want of it; `POST /api/v1/cameras/{camera}/correct`.

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::Value;
use shared::ids::Name;
use tokio::sync::watch;

use super::api::problem;
use crate::models::{Models, Refusal, Want};
use crate::sensor::frame::Frame;

/// Longest name of a person, bytes.
const NAME_MAX: usize = 128;

type Of = (Models, Vec<Name>, Vec<watch::Receiver<Option<Frame>>>);

/// The routes.
pub fn router(models: Models, cameras: Vec<Name>, views: Vec<watch::Receiver<Option<Frame>>>) -> Router {
    Router::new()
        .route("/api/v1/models", get(about))
        .route("/api/v1/models/use", post(change))
        .route("/api/v1/models/rollback", post(rollback))
        .route("/api/v1/models/shadow", post(shadow))
        .route("/api/v1/cameras/{camera}/correct", post(correct))
        .with_state((models, cameras, views))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Use {
    model: String,
    by: String,
    #[serde(default)]
    force: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Person {
    by: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Beside {
    /// None: no more.
    model: Option<String>,
    by: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrong {
    /// Something was not found; else something is not there.
    missed: bool,
    by: String,
}

async fn about(State((models, ..)): State<Of>) -> Response {
    let view = models.view.borrow().clone();
    match view {
        Value::Null => problem(StatusCode::SERVICE_UNAVAILABLE, "the node has no detector, or it has just begun", &[]),
        view => Json(view).into_response(),
    }
}

async fn change(State((models, ..)): State<Of>, body: Result<Json<Use>, JsonRejection>) -> Response {
    match read(body, |body| &body.by) {
        Ok(Use { model, by, force }) => said(models.ask(Want::Use { name: model, force }, by).await),
        Err(refused) => *refused,
    }
}

async fn rollback(State((models, ..)): State<Of>, body: Result<Json<Person>, JsonRejection>) -> Response {
    match read(body, |body| &body.by) {
        Ok(Person { by }) => said(models.ask(Want::Rollback, by).await),
        Err(refused) => *refused,
    }
}

async fn shadow(State((models, ..)): State<Of>, body: Result<Json<Beside>, JsonRejection>) -> Response {
    match read(body, |body| &body.by) {
        Ok(Beside { model, by }) => said(models.ask(Want::Shadow(model), by).await),
        Err(refused) => *refused,
    }
}

async fn correct(
    State((models, cameras, views)): State<Of>,
    Path(camera): Path<String>,
    body: Result<Json<Wrong>, JsonRejection>,
) -> Response {
    let Some(index) = cameras.iter().position(|name| name.as_str() == camera) else {
        return problem(StatusCode::NOT_FOUND, &format!("{camera:?} is no camera of this site"), &[]);
    };
    // What whoever asks has seen, not what is there when its turn comes.
    let Some(picture) = views.get(index).and_then(|view| Some(view.borrow().as_ref()?.picture.clone())) else {
        return problem(StatusCode::CONFLICT, "the camera has shown nothing yet", &[]);
    };
    match read(body, |body| &body.by) {
        Ok(Wrong { missed, by }) => said(models.correct(index, picture, missed, by).await),
        Err(refused) => *refused,
    }
}

/// The body, if it says who asks.
fn read<T>(body: Result<Json<T>, JsonRejection>, by: impl Fn(&T) -> &String) -> Result<T, Box<Response>> {
    let Json(body) = body.map_err(|error| Box::new(problem(StatusCode::BAD_REQUEST, &error.body_text(), &[])))?;
    let name = by(&body);
    if name.trim().is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
        let detail = format!("by: expected the name of a person, of at most {NAME_MAX} bytes");
        return Err(Box::new(problem(StatusCode::BAD_REQUEST, &detail, &[])));
    }
    Ok(body)
}

fn said(answer: Result<Value, Refusal>) -> Response {
    match answer {
        Ok(value) => Json(value).into_response(),
        Err(refusal @ Refusal::Unavailable(_)) => problem(StatusCode::SERVICE_UNAVAILABLE, &refusal.to_string(), &[]),
        Err(refusal @ Refusal::Refused(_)) => problem(StatusCode::CONFLICT, &refusal.to_string(), &[]),
    }
}
