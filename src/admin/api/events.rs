//! `GET /v1/events`: what happens, as server-sent events, or what happened lately as a list.

use super::json::bad;
use crate::admin::AdminState;
use crate::admin::connections::Streaming;
use crate::admin::events::ring::Event;
use crate::admin::events::{Kinds, MAX_SUBSCRIBERS, Reign, Subscription};
use crate::admin::problem::Problem;
use crate::telemetry::events::stream::Kind;
use axum::extract::{Extension, Query, State};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// Between comments on a stream that has nothing to say, so that proxies and people know that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// When a browser comes again after the end of a stream.
const RETRY: Duration = Duration::from_secs(2);

/// What a listener may ask for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// The id that was seen last; 0 for everything that is kept. `Last-Event-ID` wins.
    after: Option<u64>,
    /// Kinds, with commas between them; all without.
    kinds: Option<String>,
    /// `false` for a list of what is kept instead of a stream.
    #[serde(default = "yes")]
    follow: bool,
}

fn yes() -> bool {
    true
}

/// `GET /v1/events`.
pub(super) async fn events(
    State(state): State<Arc<AdminState>>,
    Extension(streaming): Extension<Streaming>,
    Extension(reign): Extension<Reign>,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(wanted) = wanted.map_err(|error| bad(error.body_text()))?;
    let kinds = kinds(wanted.kinds.as_deref())?;
    let after = last_event_id(&headers)?.or(wanted.after);
    let events = &state.sources.events;
    if !wanted.follow {
        return Ok(list(&state, after.unwrap_or(0), &kinds));
    }
    let subscription = events.subscribe(after, kinds, reign).ok_or_else(|| {
        let detail =
            format!("{MAX_SUBSCRIBERS} listeners are served already. hint: `?follow=false` is a list");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).because("too_many_subscribers")
    })?;
    let stream = sse_events(subscription, streaming);
    let mut answer = Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    // nginx collects an answer before it passes it on, unless it is asked not to.
    answer.headers_mut().insert("x-accel-buffering", http::HeaderValue::from_static("no"));
    answer.headers_mut().insert(CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    Ok(answer)
}

/// First how and where to come again, which also tells that the listener is heard; then events.
fn sse_events(
    subscription: Subscription,
    streaming: Streaming,
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let hello = sse::Event::default().retry(RETRY).id(subscription.seen().to_string());
    let first = stream::once(std::future::ready(hello));
    // The connection is kept from newcomers as long as this lives.
    let held = (subscription, streaming.begin());
    let rest = stream::unfold(held, async |(mut subscription, kept)| {
        let event = subscription.next().await?;
        Some((as_sse(&event), (subscription, kept)))
    });
    first.chain(rest).map(Ok)
}

fn as_sse(event: &Event) -> sse::Event {
    sse::Event::default().id(event.id.to_string()).event(event.kind.as_str()).data(&event.json)
}

/// Everything that is kept after an id, as a list.
fn list(state: &AdminState, mut after: u64, kinds: &Kinds) -> Response {
    let mut items: Vec<String> = Vec::new();
    loop {
        let batch = state.sources.events.after(after, kinds);
        items.extend(batch.gap.map(|gap| gap.json));
        let Some(last) = batch.events.last() else { break };
        after = last.id;
        items.extend(batch.events.iter().map(|event| event.json.clone()));
    }
    let body = format!("{{\"items\":[{}]}}", items.join(","));
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id").filter(|value| !value.is_empty()) else { return Ok(None) };
    let id = value.to_str().ok().and_then(|id| id.trim().parse().ok());
    id.map(Some).ok_or_else(|| bad("Last-Event-ID is a number: the id of the event that was seen last."))
}

fn kinds(wanted: Option<&str>) -> Result<Kinds, Problem> {
    let Some(wanted) = wanted else { return Ok(Kinds::default()) };
    let one = |word: &str| {
        Kind::named(word.trim()).ok_or_else(|| {
            let known = Kind::ALL.map(Kind::as_str).join(", ");
            let word: String = word.chars().take(40).collect();
            bad(format!("There is no kind {word:?} of events. hint: {known}"))
        })
    };
    wanted.split(',').map(one).collect::<Result<_, _>>().map(Kinds::only)
}
