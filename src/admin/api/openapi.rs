//! `GET /v1/openapi.json`: this API as an OpenAPI document. It is `deploy/openapi.json` as it lies there, part of the
//! program; tests hold it against the router and against real answers.

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

const DOCUMENT: &str = include_str!("../../../deploy/openapi.json");

/// `GET /v1/openapi.json`.
pub(super) async fn document() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}
