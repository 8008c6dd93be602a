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
    Json(Items { items: state.view().upstreams })
}

/// `GET /v1/upstreams/{upstream}`.
pub(super) async fn one(
    State(state): State<Arc<AdminState>>,
    Path(name): Path<String>,
) -> Result<Json<UpstreamView>, Problem> {
    let found = state.view().upstreams.into_iter().find(|upstream| upstream.name == name);
    found.map(Json).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, format!("The active version has no upstream named {name:?}."))
    })
}
