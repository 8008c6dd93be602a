//! A request that nobody waited for leaves a row all the same.

use super::*;
use crate::admin::settings::Settings;
use crate::admin::{AdminState, ViewSource};
use crate::control::history::History;
use crate::control::view::GatewayView;
use crate::telemetry::metrics::Metrics;
use axum::Router;
use axum::body::Body;
use axum::middleware;
use axum::routing::{get, post};
use http::Request;
use tower::ServiceExt;

/// An admin side of one path, and its history.
fn door(path: &str, history: &History) -> Router {
    let view: ViewSource = Arc::new(GatewayView::default);
    let state = AdminState::new(Arc::new(Metrics::new(1)), view, &Settings::of(vec![])).expect("builds");
    state.audit_in(Audit::of(history));
    let never = || std::future::pending::<()>();
    let layer = middleware::from_fn_with_state(state, witness);
    Router::new().route(path, post(never).put(never).merge(get(async || "read"))).layer(layer)
}

fn request(method: &str, path: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
    request.extensions_mut().insert(Peer::Socket(Some(7)));
    request
}

#[tokio::test]
async fn who_leaves_before_the_answer_is_in_the_audit() {
    let directory = tempfile::tempdir().expect("a directory");
    let history = History::open(directory.path());
    let door = door("/v1/rollback", &history);
    let hung = door.clone().oneshot(request("POST", "/v1/rollback"));
    assert!(tokio::time::timeout(Duration::from_millis(20), hung).await.is_err());
    let read = door.oneshot(request("GET", "/v1/rollback")).await.expect("answers");
    assert!(read.status().is_success() && !read.headers().contains_key(AUDIT));
    history.end(Duration::from_secs(20));
    let history = History::open(directory.path());
    let page = Audit::of(&history).rows(10, None).await.expect("read");
    let entry = &page.items[0].entry;
    assert_eq!(
        (page.count, entry.action.as_str(), entry.address.as_str()),
        (1, "rollback", "socket (user 7)")
    );
    assert!(entry.why.as_deref().is_some_and(|why| why.contains("left before the answer")), "{entry:?}");
}
