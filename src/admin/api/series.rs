//! `GET /v1/series`: the last hour, as charts want it.
//!
//! The answer is written line by line as its reader takes it, so that a large fleet's hour (3 MB) neither lies in
//! memory nor keeps the admin thread from others. All lines end with the step that was the newest when it began.

use super::json::bad;
use crate::admin::AdminState;
use crate::admin::problem::Problem;
use crate::admin::series::ring::{MAX_UPSTREAMS, OF_PROCESS, OF_UPSTREAM, POINTS, Ring, STEP};
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;

/// The query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// Only this one's lines.
    upstream: Option<String>,
}

/// A part of the answer.
enum Part {
    Process,
    Upstream(Arc<str>),
}

/// `GET /v1/series`.
pub(super) async fn series(
    State(state): State<Arc<AdminState>>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(asked) = query.map_err(|rejection| bad(rejection.body_text()))?;
    let (newest, names, left_out) = state.series.look(|ring| (ring.newest(), ring.names(), ring.left_out()));
    let parts: Vec<Part> = match asked.upstream {
        None => [Part::Process].into_iter().chain(names.into_iter().map(Part::Upstream)).collect(),
        Some(name) => match names.into_iter().find(|known| **known == *name) {
            Some(known) => vec![Part::Upstream(known)],
            None => return Err(unknown(&name)),
        },
    };
    let age = state.series.kept().map(|kept| kept.elapsed()).unwrap_or_default();
    let now = Timestamp::now() - SignedDuration::try_from(age).unwrap_or_default();
    let head = format!(
        "{{\"now\":\"{now:.3}\",\"step_seconds\":{},\"points\":{POINTS},\"upstreams_left_out\":{left_out},\"series\":[",
        STEP.as_secs()
    );
    let end = newest.unwrap_or_default();
    let items = stream::iter(parts).enumerate().then(move |(nth, part)| {
        let state = state.clone();
        async move {
            // Others come in between.
            tokio::task::yield_now().await;
            let text = state.series.look(|ring| lines(ring, &part, end));
            Bytes::from(if nth > 0 && !text.is_empty() { format!(",{text}") } else { text })
        }
    });
    let ends = |text: &'static str| stream::once(std::future::ready(Bytes::from_static(text.as_bytes())));
    let head = stream::once(std::future::ready(Bytes::from(head)));
    let body = head.chain(items).chain(ends("]}")).map(Ok::<_, Infallible>);
    Ok(([(CONTENT_TYPE, "application/json")], Body::from_stream(body)).into_response())
}

/// The lines of a part, with commas between them; nothing of an upstream that was forgotten since.
fn lines(ring: &Ring, part: &Part, end: u64) -> String {
    let mut text = String::new();
    match part {
        Part::Process => {
            for (line, name) in OF_PROCESS.iter().enumerate() {
                write_line(&mut text, name, None, ring.process(line, end));
            }
        }
        Part::Upstream(upstream) => {
            for (line, name) in OF_UPSTREAM.iter().enumerate() {
                if let Some(points) = ring.upstream(upstream, line, end) {
                    write_line(&mut text, name, Some(upstream), points);
                }
            }
        }
    }
    text
}

fn write_line(text: &mut String, name: &str, upstream: Option<&str>, points: impl Iterator<Item = f32>) {
    if !text.is_empty() {
        text.push(',');
    }
    let upstream = upstream.map(|name| format!("\"upstream\":{},", json!(name))).unwrap_or_default();
    // Writing into a text cannot fail.
    let _ = write!(text, "{{\"name\":\"{name}\",{upstream}\"values\":[");
    for (nth, point) in points.enumerate() {
        let comma = if nth > 0 { "," } else { "" };
        let _ = if point.is_finite() { write!(text, "{comma}{point}") } else { write!(text, "{comma}null") };
    }
    text.push_str("]}");
}

fn unknown(name: &str) -> Problem {
    let name: String = name.chars().take(200).collect();
    let detail = format!(
        "Nothing is kept of an upstream named {name:?}. hint: /v1/upstreams has the names; of the first {MAX_UPSTREAMS} \
         the last hour is kept"
    );
    Problem::new(StatusCode::NOT_FOUND, detail)
}
