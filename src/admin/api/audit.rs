//! `GET /v1/audit` and `GET /v1/audit:verify`: who did what, and whether anybody laid hands on that since.

use super::json::bad;
use crate::admin::AdminState;
use crate::admin::problem::Problem;
use crate::control::audit::{Audit, Expected, MAX_LISTED, Row, Verdict};
use crate::control::history::Unread;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Rows without `limit`.
const LISTED: usize = 100;

/// Which part.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    limit: Option<usize>,
    before: Option<u64>,
}

/// What is known of the chain from elsewhere.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    head: Option<String>,
    count: Option<u64>,
}

/// A part of the audit, and how it stands.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    /// The newest first.
    items: Vec<Row>,
    head: String,
    count: u64,
    segment: u64,
    /// Changes that are not recorded yet.
    waiting: u64,
}

/// `GET /v1/audit`.
pub(super) async fn list(
    State(state): State<Arc<AdminState>>,
    part: Result<Query<Part>, QueryRejection>,
) -> Result<Json<Listed>, Problem> {
    let Query(Part { limit, before }) = part.map_err(|rejection| bad(rejection.body_text()))?;
    let limit = limit.unwrap_or(LISTED);
    if limit > MAX_LISTED {
        return Err(bad(format!(
            "limit={limit} is more than {MAX_LISTED}. hint: `before` goes on from there"
        )));
    }
    let audit = audit(&state)?;
    let page = audit.rows(limit, before).await.map_err(unread)?;
    let view = audit.view();
    Ok(Json(Listed {
        items: page.items,
        head: page.head,
        count: page.count,
        segment: view.segment,
        waiting: view.waiting,
    }))
}

/// `GET /v1/audit:verify`.
pub(super) async fn verify(
    State(state): State<Arc<AdminState>>,
    known: Result<Query<Known>, QueryRejection>,
) -> Result<Json<Verdict>, Problem> {
    let Query(Known { head, count }) = known.map_err(|rejection| bad(rejection.body_text()))?;
    if head.as_deref().is_some_and(|head| blake3::Hash::from_hex(head).is_err()) {
        return Err(bad(
            "head is the hash of a row: 64 digits, as the metric, the events and the lines have it.",
        ));
    }
    audit(&state)?.verify(Expected { head, count }).await.map(Json).map_err(unread)
}

fn audit(state: &AdminState) -> Result<&Audit, Problem> {
    let starting = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "The gateway is starting.");
    state.sources.audit.get().ok_or_else(starting)
}

/// The disk, and nothing that whoever asks has done.
fn unread(why: Unread) -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        format!(
            "The audit cannot be read now: {why}. hint: the lines in audit.jsonl can be verified without it"
        ),
    )
    .because("history_unavailable")
}
