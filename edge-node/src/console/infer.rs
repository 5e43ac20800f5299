//! `POST /api/v1/infer`: what is in a picture. The event of it waits for nobody, and nobody for it.

use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use shared::event::{InferenceDone, Payload};

use super::api::problem;
use crate::detect::diary::millis;
use crate::detect::model::Named;
use crate::detect::ondemand::{OnDemand, Refusal};
use crate::journal::Journal;

/// Largest picture, in bytes.
const BODY_MAX: usize = 16 * 1024 * 1024;

#[derive(Debug, Deserialize)]
struct Wanted {
    /// Least score, 0 to 1.
    #[serde(default = "default_score")]
    score: f32,
    /// Who asks, for the event.
    #[serde(default)]
    by: String,
    /// Whether an event of it is kept.
    #[serde(default = "default_record")]
    record: bool,
}

fn default_record() -> bool {
    true
}

fn default_score() -> f32 {
    0.3
}

/// The route: the body is a JPEG or a PNG; `?score=0.3&by=NAME&record=true`.
pub fn router(pictures: OnDemand, journal: Journal) -> Router {
    let route = Router::new().route("/api/v1/infer", post(infer));
    route.layer(DefaultBodyLimit::max(BODY_MAX)).with_state((pictures, journal))
}

/// The answer.
#[derive(Debug, Serialize)]
struct Said {
    id: String,
    model: String,
    width: u32,
    height: u32,
    detections: Vec<Named>,
    took_ms: Took,
}

/// Milliseconds of each part.
#[derive(Debug, Serialize)]
struct Took {
    preprocess: f64,
    inference: f64,
    postprocess: f64,
}

async fn infer(
    State((pictures, journal)): State<(OnDemand, Journal)>,
    Query(Wanted { score, by, record }): Query<Wanted>,
    body: Bytes,
) -> Response {
    if !(0.01..=1.0).contains(&score) || by.len() > 128 || by.chars().any(char::is_control) {
        return problem(StatusCode::BAD_REQUEST, "expected score from 0.01 to 1 and by of at most 128 characters", &[]);
    }
    let bytes = body.len() as u64;
    let answer = match pictures.ask(body.into(), score).await {
        Ok(answer) => answer,
        Err(refusal) => {
            let status = match &refusal {
                Refusal::Busy => StatusCode::SERVICE_UNAVAILABLE,
                Refusal::Picture(_) => StatusCode::UNPROCESSABLE_ENTITY,
                Refusal::Model(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            return problem(status, &refusal.to_string(), &[]);
        }
    };
    let taken = answer.timing;
    let whole = taken.preprocess + taken.inference + taken.postprocess;
    let mut labels: Vec<String> = answer.found.iter().map(|found| found.label.clone()).collect();
    labels.sort();
    labels.dedup();
    let done = InferenceDone {
        by,
        model: answer.model.clone(),
        bytes,
        found: u32::try_from(answer.found.len()).unwrap_or(u32::MAX),
        labels,
        took_ms: millis(whole),
    };
    let event = journal.event("infer", Payload::InferenceDone(done));
    let id = event.event_id.to_string();
    if record {
        // Lost, and counted, where the journal has no room: an answer is worth more than its record.
        journal.offer(event);
    }
    let (width, height) = answer.size;
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let took_ms =
        Took { preprocess: ms(taken.preprocess), inference: ms(taken.inference), postprocess: ms(taken.postprocess) };
    Json(Said { id, model: answer.model, width, height, detections: answer.found, took_ms }).into_response()
}
