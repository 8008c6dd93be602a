//! What the admin side answers at which path, and the layers around it.
//!
//! Layers from the outside in: problem objects for bare errors, security headers, a deadline for each
//! request, the check of who asks, and a bound on bodies; the witness for the audit stands before the deadline. Handlers read the view,
//! or move levers; none waits for more than the disk, and for that only briefly.

mod audit;
pub mod config;
pub mod events;
pub mod health;
mod forecast;
mod history;
mod incidents;
mod json;
pub mod live;
mod notify;
mod openapi;
pub mod permits;
mod ramps;
mod rollouts;
mod rollback;
mod receipts;
pub mod series;
mod text;
pub mod upstreams;
pub mod versions;
mod whoami;

use super::access::Peer;
use super::problem::{self, Problem};
use super::witness::{Note, witness};
use super::{AdminState, dashboard, scrape};
use crate::control::view::{AuthView, GatewayView};
use axum::extract::{Extension, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceBuilder;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;

/// From a request's head to its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

const _: () = assert!(
    scrape::PATIENCE.as_millis() < REQUEST_TIMEOUT.as_millis(),
    "whoever waits is told why before the request is over"
);

/// The largest body.
const MAX_BODY: usize = 4 << 20;

/// A list in the contract's shape.
#[derive(Clone, Debug, Serialize)]
pub struct Items<T> {
    /// Its items.
    pub items: Vec<T>,
}

/// Every path of the admin side; requests must carry their `Peer` and `Streaming`.
pub fn router(state: Arc<AdminState>) -> Router {
    let fixed = |name, value| SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value));
    // What has no other of its own.
    let usual = |name, value| SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value));
    let layers = ServiceBuilder::new()
        .layer(middleware::map_response(problem::complete))
        .layer(usual(CACHE_CONTROL, "no-store"))
        .layer(fixed(X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(fixed(X_FRAME_OPTIONS, "DENY"))
        .layer(fixed(REFERRER_POLICY, "no-referrer"))
        .layer(fixed(HeaderName::from_static("cross-origin-opener-policy"), "same-origin"))
        .layer(fixed(HeaderName::from_static("cross-origin-resource-policy"), "same-origin"))
        .layer(usual(CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"))
        .layer(middleware::from_fn_with_state(Arc::clone(&state), witness))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIMEOUT))
        .layer(middleware::from_fn_with_state(Arc::clone(&state), check))
        .layer(RequestBodyLimitLayer::new(MAX_BODY));
    Router::new()
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(scrape::metrics))
        .route("/", get(dashboard::index))
        .route("/assets/{*name}", get(dashboard::asset))
        .route("/v1/openapi.json", get(openapi::document))
        .route("/v1/whoami", get(whoami::show))
        .route("/v1/status", get(status))
        .route("/v1/live", get(live::live))
        .route("/v1/series", get(series::series))
        .route("/v1/events", get(events::events))
        .route("/v1/upstreams", get(upstreams::list))
        .route("/v1/upstreams/{upstream}", get(upstreams::one))
        .route("/v1/permits", get(permits::list))
        .route("/v1/auths", get(auths))
        .route("/v1/config:check", post(config::check))
        .route("/v1/config:plan", post(config::plan))
        .route("/v1/versions", get(history::list).post(versions::apply))
        .route("/v1/versions/{number}", get(history::one))
        .route("/v1/versions/{number}/diff", get(history::diff))
        .route("/v1/rollout", get(rollouts::show))
        .route("/v1/rollout:promote", post(rollouts::promote))
        .route("/v1/rollout:abort", post(rollouts::abort))
        .route("/v1/rollout:confirm", post(rollouts::confirm))
        .route("/v1/rollout:approve", post(rollouts::approve))
        .route("/v1/rollout:acknowledge", post(rollouts::acknowledge))
        .route("/v1/rollback", post(rollback::roll_back))
        .route("/v1/versions/{number}/receipt", get(receipts::one))
        .route("/v1/receipt", get(receipts::newest))
        .route("/v1/receipt-key", get(receipts::key))
        .route("/v1/incidents", get(incidents::list).post(incidents::open))
        .route("/v1/incidents/{id}", get(incidents::one).put(incidents::change))
        .route("/v1/audit", get(audit::list))
        .route("/v1/audit:verify", get(audit::verify))
        .route("/v1/notify", get(notify::list))
        .route("/v1/notify/{name}", get(notify::one).post(notify::test))
        .route("/v1/levers", get(ramps::levers))
        .merge(levers("/v1/upstreams/{upstream}"))
        .merge(levers("/v1/upstreams/{upstream}/backends/{backend}"))
        .route(
            "/v1/upstreams/{upstream}/backends/{backend}/state",
            get(ramps::show_state).put(ramps::set_state),
        )
        .fallback(nothing)
        .with_state(state)
        .layer(layers)
}

/// The ramp of whatever a path names.
fn levers(path: &str) -> Router<Arc<AdminState>> {
    Router::new()
        .route(&format!("{path}/ramp"), get(ramps::show).put(ramps::set).delete(ramps::clear))
        .route(&format!("{path}/ramp:forecast"), get(forecast::show))
        .route(&format!("{path}/ramp:pause"), post(ramps::pause))
        .route(&format!("{path}/ramp:resume"), post(ramps::resume))
}

/// Whoever is let in is in the request as its `Caller`.
async fn check(
    State(state): State<Arc<AdminState>>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    request.extensions_mut().insert(state.sources.events.reign());
    let access = state.access.load();
    let caller = access.check(&request, peer);
    if let Some(note) = request.extensions().get::<Note>() {
        let known = caller.as_ref().ok().cloned().or_else(|| access.who(&request, peer));
        note.caller(known, caller.is_ok());
    }
    drop(access);
    match caller {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// `GET /v1/status`: the whole view, so that its numbers are of one moment.
async fn status(State(state): State<Arc<AdminState>>) -> Json<GatewayView> {
    Json(state.view_with_rates())
}

/// `GET /v1/auths`: who may pass, and how that goes.
async fn auths(State(state): State<Arc<AdminState>>) -> Json<Items<AuthView>> {
    Json(Items { items: state.view().auths })
}

async fn nothing() -> Problem {
    const DETAIL: &str = "There is nothing at this path. hint: /v1/status, /v1/upstreams, /v1/auths, /v1/levers, \
                          /v1/permits, /v1/events, /v1/live, /v1/series, /v1/notify, /v1/rollout, /v1/versions, \
                          /v1/incidents, /v1/audit, /readyz and /metrics are there to read";
    Problem::new(StatusCode::NOT_FOUND, DETAIL)
}
