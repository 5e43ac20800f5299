//! Errors as HTTP tells them (RFC 9457).

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// An `application/problem+json` answer.
pub fn problem(status: StatusCode, detail: String) -> Response {
    let body = serde_json::json!({ "status": status.as_u16(), "detail": detail });
    (status, [("content-type", "application/problem+json")], body.to_string()).into_response()
}
