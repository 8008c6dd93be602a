//! `GET /v1/live`: the picture of the moment once a second, as server-sent events.

use super::json::bad;
use super::ramps::refused;
use crate::admin::AdminState;
use crate::admin::connections::Streaming;
use crate::admin::events::Reign;
use crate::admin::live::{MAX_WATCHERS, Told, Watcher};
use crate::admin::problem::Problem;
use crate::control::ramp::lever::Target;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;

/// First, when a browser comes again after the end of a stream, in milliseconds; which also tells that the watcher is
/// heard.
const HELLO: &str = "retry: 2000\n\n";
/// Says that a stream lives which has nothing to say.
const ALIVE: &str = ":\n\n";

/// The query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// The whole of this one too.
    upstream: Option<String>,
}

/// `GET /v1/live`.
pub(super) async fn live(
    State(state): State<Arc<AdminState>>,
    Extension(streaming): Extension<Streaming>,
    Extension(reign): Extension<Reign>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(asked) = query.map_err(|rejection| bad(rejection.body_text()))?;
    let (steering, upstream) = (state.steering()?, asked.upstream.map(Arc::<str>::from));
    upstream.iter().try_for_each(|name| steering.knows(&Target::Upstream(name.clone()))).map_err(refused)?;
    let watcher = state.sources.live.watch(upstream).ok_or_else(|| {
        let detail = format!("{MAX_WATCHERS} watch already. hint: `/v1/status` is the same, once");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).because("too_many_subscribers")
    })?;
    let body = Body::from_stream(frames(state, watcher, reign, streaming));
    let mut answer = ([(CONTENT_TYPE, "text/event-stream")], body).into_response();
    // nginx collects an answer before it passes it on, unless it is asked not to.
    answer.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(answer)
}

fn frames(
    state: Arc<AdminState>,
    watcher: Watcher,
    reign: Reign,
    streaming: Streaming,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let hello = stream::once(std::future::ready(Bytes::from_static(HELLO.as_bytes())));
    // The connection is kept from newcomers as long as this lives.
    let held = (state, reign, watcher, streaming.begin());
    let rest = stream::unfold(held, async |(state, reign, mut watcher, kept)| {
        let told = watcher.next(|| state.is_still(reign)).await?;
        let frame = match told {
            Told::Snapshot(frame) => frame,
            Told::Nothing => Bytes::from_static(ALIVE.as_bytes()),
        };
        Some((frame, (state, reign, watcher, kept)))
    });
    hello.chain(rest).map(Ok)
}
