//! The read API: events, vehicles, health, metrics.

use std::sync::Arc;

use anyhow::Context;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::event;
use shared::units::UtcMicros;
use tracing::error;
use uuid::Uuid;

use crate::database::Pool;
use crate::metrics::Metrics;
use crate::problem::problem;

/// Most events in one answer.
const LIMIT_MAX: i64 = 1000;

/// What the handlers need.
#[derive(Clone)]
pub struct Queries {
    /// Connections.
    pub pool: Arc<Pool>,
    /// Counters.
    pub metrics: Metrics,
}

/// The routes.
pub fn router(queries: Queries) -> Router {
    Router::new()
        .route("/api/v1/events", get(events))
        .route("/api/v1/vehicles", get(vehicles))
        .route("/api/v1/schemas", get(schemas))
        .route("/api/v1/schemas/{event_type}", get(schema))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics))
        .with_state(queries)
}

async fn schemas() -> Json<Value> {
    Json(event::schemas().map(|(name, version)| json!({ "type": name, "version": version })).collect())
}

async fn schema(Path(event_type): Path<String>) -> Response {
    match event::schema(&event_type) {
        Some(schema) => Json(schema).into_response(),
        None => problem(StatusCode::NOT_FOUND, format!("{event_type:?} is no event type; see /api/v1/schemas")),
    }
}

async fn metrics(State(queries): State<Queries>) -> Response {
    ([("content-type", "application/openmetrics-text; version=1.0.0")], queries.metrics.text()).into_response()
}

/// Filters of `GET /api/v1/events`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(rename = "type")]
    event_type: Option<String>,
    node: Option<String>,
    aggregate: Option<String>,
    /// RFC 3339; by time of occurrence.
    since: Option<String>,
    limit: Option<i64>,
    /// `next` of the answer before.
    cursor: Option<String>,
}

fn answer(found: anyhow::Result<Result<Value, String>>) -> Response {
    match found {
        Ok(Ok(body)) => Json(body).into_response(),
        Ok(Err(detail)) => problem(StatusCode::BAD_REQUEST, detail),
        Err(error) => {
            error!("failed to {error:#}");
            problem(StatusCode::SERVICE_UNAVAILABLE, "the store is not available, ask again".into())
        }
    }
}

async fn events(State(queries): State<Queries>, Query(wanted): Query<Wanted>) -> Response {
    answer(find_events(&queries, wanted).await)
}

/// `cursor` is (ingested_at in microseconds, event_id). Pages end before the oldest row still in the outbox, so that an
/// event moved later is not passed by.
async fn find_events(queries: &Queries, wanted: Wanted) -> anyhow::Result<Result<Value, String>> {
    let limit = wanted.limit.unwrap_or(100);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Ok(Err(format!("limit: expected 1 to {LIMIT_MAX}, found {limit}")));
    }
    let since = match wanted.since.as_deref().map(UtcMicros::parse_rfc3339).transpose() {
        Ok(since) => since.map_or(i64::MIN / 4, |at| at.0),
        Err(detail) => return Ok(Err(format!("since: {detail}"))),
    };
    let cursor = wanted.cursor.as_deref().map(|text| {
        let (at, id) = text.split_once('_')?;
        Some((at.parse::<i64>().ok()?, Uuid::try_parse(id).ok()?))
    });
    let (after, after_id) = match cursor {
        None => (0, Uuid::nil()),
        Some(Some(cursor)) => cursor,
        Some(None) => return Ok(Err("cursor: expected the `next` of an earlier answer".into())),
    };
    let sql = "SELECT event_id, event_type, aggregate_id, (extract(epoch FROM \"timestamp\") * 1000000)::bigint,
            payload, metadata, node, lane, epoch, seq, (extract(epoch FROM ingested_at) * 1000000)::bigint, site
        FROM event_store
        WHERE (ingested_at, event_id) > ('epoch'::timestamptz + $1 * interval '1 microsecond', $2)
          AND ingested_at < coalesce((SELECT min(ingested_at) FROM outbox), 'infinity')
          AND ($3::text IS NULL OR event_type = $3) AND ($4::text IS NULL OR node = $4)
          AND ($5::text IS NULL OR aggregate_id = $5)
          AND extract(epoch FROM \"timestamp\") * 1000000 >= $6::bigint
        ORDER BY ingested_at, event_id LIMIT $7";
    let mut pooled = queries.pool.get().await?;
    let after = after as f64;
    let rows = pooled
        .client()?
        .query(sql, &[&after, &after_id, &wanted.event_type, &wanted.node, &wanted.aggregate, &since, &limit])
        .await
        .context("query events")?;
    let full = i64::try_from(rows.len()).unwrap_or(0) == limit;
    let next = rows.last().filter(|_| full).map(|row| format!("{}_{}", row.get::<_, i64>(10), row.get::<_, Uuid>(0)));
    let event = |row: &tokio_postgres::Row| {
        json!({
            "specversion": "1.0", "id": row.get::<_, Uuid>(0), "type": row.get::<_, String>(1),
            "subject": row.get::<_, String>(2), "time": UtcMicros(row.get(3)).to_string(),
            "data": row.get::<_, Value>(4), "metadata": row.get::<_, Value>(5), "node": row.get::<_, String>(6),
            "site": row.get::<_, String>(11), "lane": row.get::<_, String>(7),
            "epoch": row.get::<_, Uuid>(8).simple().to_string(), "seq": row.get::<_, i64>(9),
        })
    };
    Ok(Ok(json!({ "events": rows.iter().map(event).collect::<Vec<_>>(), "next": next })))
}

async fn vehicles(State(queries): State<Queries>) -> Response {
    answer(find_vehicles(&queries).await.map(Ok))
}

async fn find_vehicles(queries: &Queries) -> anyhow::Result<Value> {
    let sql = "SELECT node, vehicle, mode, armed, lat_deg, lon_deg, speed_mps, battery_pct,
        (extract(epoch FROM \"timestamp\") * 1000000)::bigint FROM vehicle_latest ORDER BY node, vehicle";
    let mut pooled = queries.pool.get().await?;
    let rows = pooled.client()?.query(sql, &[]).await.context("query vehicles")?;
    let vehicle = |row: &tokio_postgres::Row| {
        json!({
            "node": row.get::<_, String>(0), "vehicle": row.get::<_, String>(1), "mode": row.get::<_, i64>(2),
            "armed": row.get::<_, bool>(3), "lat_deg": row.get::<_, Option<f64>>(4),
            "lon_deg": row.get::<_, Option<f64>>(5), "speed_mps": row.get::<_, Option<f64>>(6),
            "battery_pct": row.get::<_, Option<i32>>(7), "time": UtcMicros(row.get(8)).to_string(),
        })
    };
    Ok(json!({ "vehicles": rows.iter().map(vehicle).collect::<Vec<_>>() }))
}
