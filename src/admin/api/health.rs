//! Liveness and readiness, for whoever may reach the address.

use crate::admin::AdminState;
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use std::sync::Arc;

/// The answer of `/livez`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Live {
    alive: bool,
}

/// The answer of `/readyz`.
#[derive(Clone, Debug, Serialize)]
pub struct Ready {
    ready: bool,
    draining: bool,
    degraded: bool,
    reasons: Vec<String>,
}

/// `GET /livez`: the admin thread turns.
pub(super) async fn live() -> Json<Live> {
    Json(Live { alive: true })
}

/// `GET /readyz`: 503 only while starting, draining or with a stuck core. A degraded gateway, or one that
/// refused a configuration, serves, and says so in the reasons.
pub(super) async fn ready(State(state): State<Arc<AdminState>>) -> (StatusCode, Json<Ready>) {
    let view = state.view();
    let ready = view.ready && !view.draining;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let answer = Ready { ready, draining: view.draining, degraded: view.degraded, reasons: view.reasons };
    (status, Json(answer))
}
