//! Pictures and clips of nodes, by their hash: taken in pieces (`shared::media` is the protocol), served to the read API.
//! `store` is the folder; this file is the HTTP side.

pub mod store;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, response};
use shared::ids::{Digest, Name};
use shared::media::{LENGTH, OFFSET, PIECE_MAX, Progress};
use tokio::io::AsyncReadExt;
use tracing::{error, warn};

use crate::fleet::caller::Caller;
use crate::problem::problem;
use store::{Added, Piece, Store};

/// Bytes of a file in memory while it is served.
const SERVED: usize = 256 * 1024;

/// The routes of nodes; each request carries its [`Caller`].
pub fn of_nodes(store: Store) -> Router {
    Router::new()
        .route("/v1/nodes/{node}/media/{hash}", get(progress).put(add))
        .layer(DefaultBodyLimit::max(PIECE_MAX))
        .with_state(store)
}

/// The read API's route, for one tenant.
pub fn of_readers(store: Store, tenant: Name) -> Router {
    Router::new().route("/api/v1/media/{hash}", get(serve)).with_state((store, tenant))
}

fn bad(detail: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, detail.into())
}

fn failed(error: &anyhow::Error) -> Response {
    error!("failed to {error:#}");
    problem(StatusCode::SERVICE_UNAVAILABLE, "media cannot be kept now, send again".into())
}

async fn progress(
    State(store): State<Store>,
    Extension(caller): Extension<Caller>,
    Path((_, hash)): Path<(String, String)>,
) -> Response {
    let Ok(hash) = hash.parse::<Digest>() else { return bad("expected a BLAKE3 hash in hexadecimal") };
    match tokio::task::spawn_blocking(move || store.progress(&caller.identity, hash)).await {
        Ok(Ok(progress)) => Json(progress).into_response(),
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error.into()),
    }
}

async fn add(
    State(store): State<Store>,
    Extension(caller): Extension<Caller>,
    Path((_, hash)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let number = |name| headers.get(name).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let (Ok(hash), Some(offset), Some(length)) = (hash.parse::<Digest>(), number(OFFSET), number(LENGTH)) else {
        return bad("expected a BLAKE3 hash in hexadecimal and the headers upload-offset and upload-length");
    };
    let identity = caller.identity;
    let piece = Piece { offset, length, bytes: body.to_vec() };
    let of = identity.clone();
    match tokio::task::spawn_blocking(move || store.add(&of, hash, &piece)).await {
        Ok(Ok(Added::Taken(progress))) => Json(progress).into_response(),
        Ok(Ok(Added::Elsewhere(progress))) => (StatusCode::CONFLICT, Json(progress)).into_response(),
        Ok(Ok(Added::Other)) => {
            warn!(%identity, %hash, "media is not what its name says");
            let nothing = Progress { offset: 0, complete: false };
            (StatusCode::UNPROCESSABLE_ENTITY, Json(nothing)).into_response()
        }
        Ok(Ok(Added::TooLarge(most))) => {
            problem(StatusCode::PAYLOAD_TOO_LARGE, format!("expected at most {most} bytes, found {length}"))
        }
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error.into()),
    }
}

async fn serve(State((store, tenant)): State<(Store, Name)>, Path(hash): Path<String>) -> Response {
    let Ok(hash) = hash.parse::<Digest>() else { return bad("expected a BLAKE3 hash in hexadecimal") };
    let file = match tokio::fs::File::open(store.path(&tenant, hash)).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return problem(StatusCode::NOT_FOUND, "no media of this name is here, or not all of it yet".into());
        }
        Err(error) => return failed(&anyhow::Error::new(error).context("open media")),
    };
    let chunks = futures_util::stream::try_unfold(file, async |mut file| {
        let mut chunk = vec![0; SERVED];
        let read = file.read(&mut chunk).await?;
        chunk.truncate(read);
        std::io::Result::Ok((read > 0).then_some((chunk, file)))
    });
    // What it is stands in the event that refers to it; a browser must not guess.
    let headers = [("content-type", "application/octet-stream"), ("x-content-type-options", "nosniff")];
    response::Response::into_response((headers, Body::from_stream(chunks)).into_response())
}
