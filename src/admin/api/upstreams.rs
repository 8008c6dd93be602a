//! Upstreams: limits, in flight, queue, classes, ramp and backends.

use super::Items;
use crate::admin::AdminState;
use crate::admin::problem::Problem;
use crate::control::view::UpstreamView;
use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use std::sync::Arc;

/// `GET /v1/upstreams`.
pub(super) async fn list(State(state): State<Arc<AdminState>>) -> Json<Items<UpstreamView>> {
    Json(Items { items: state.view_with_rates().upstreams })
}

/// `GET /v1/upstreams/{upstream}`.
pub(super) async fn one(
    State(state): State<Arc<AdminState>>,
    Path(name): Path<String>,
) -> Result<Json<UpstreamView>, Problem> {
    let mut upstreams = state.view_with_rates().upstreams;
    match upstreams.iter().position(|upstream| upstream.name == name) {
        Some(at) => Ok(Json(upstreams.swap_remove(at))),
        None => Err(unknown(&name, &upstreams)),
    }
}

/// As much of the names as fits a line.
fn unknown(name: &str, upstreams: &[UpstreamView]) -> Problem {
    let name: String = name.chars().take(200).collect();
    let known: Vec<_> = upstreams.iter().take(20).map(|upstream| upstream.name.as_str()).collect();
    let detail =
        format!("The active version has no upstream named {name:?}. hint: it has {}", known.join(", "));
    Problem::new(StatusCode::NOT_FOUND, detail)
}
