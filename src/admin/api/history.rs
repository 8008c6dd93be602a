//! `GET /v1/versions` and what is below it: what was accepted here, and what became of it. Where the history cannot be
//! read, the good versions are told from their plain files.

use super::Items;
use super::text::declined;
use crate::admin::AdminState;
use crate::admin::problem::Problem;
use crate::admin::reach::Reach;
use crate::config::compare::Comparison;
use crate::control::history::{Unread, VersionRow, VersionSummary};
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

type Admin = State<Arc<AdminState>>;

/// How long a comparison may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// Versions that are listed without a wish.
const LISTED: u64 = 50;

/// The query of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    limit: Option<u64>,
}

/// The query of a difference.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Against {
    /// The earlier version; the one before it without.
    against: Option<u64>,
}

/// What differs between two versions.
#[derive(Debug, Serialize)]
pub(super) struct Differs {
    before: u64,
    after: u64,
    #[serde(flatten)]
    comparison: Comparison,
}

/// `GET /v1/versions`: the newest first.
pub(super) async fn list(
    State(state): Admin,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Items<VersionSummary>>, Problem> {
    let Query(wanted) = query.map_err(|rejection| bad(rejection.body_text()))?;
    let limit = wanted.limit.unwrap_or(LISTED);
    let reach = state.reach()?;
    let items = match reach.conductor.history().versions(limit).await {
        Ok(items) => items,
        Err(_) => reach
            .control
            .good_versions(usize::try_from(limit).unwrap_or(usize::MAX))
            .into_iter()
            .map(|row| row.summary)
            .collect(),
    };
    Ok(Json(Items { items }))
}

/// `GET /v1/versions/{n}`: all of it, the text before its placeholders were filled.
pub(super) async fn one(
    State(state): Admin,
    number: Result<Path<u64>, PathRejection>,
) -> Result<Json<VersionRow>, Problem> {
    let Path(number) = number.map_err(|rejection| bad(rejection.body_text()))?;
    Ok(Json(version(state.reach()?, number).await?))
}

/// `GET /v1/versions/{n}/diff`.
pub(super) async fn diff(
    State(state): Admin,
    number: Result<Path<u64>, PathRejection>,
    query: Result<Query<Against>, QueryRejection>,
) -> Result<Json<Differs>, Problem> {
    let Path(number) = number.map_err(|rejection| bad(rejection.body_text()))?;
    let Query(Against { against }) = query.map_err(|rejection| bad(rejection.body_text()))?;
    let reach = state.reach()?;
    let after = version(reach, number).await?;
    let Some(before) = against.or(after.summary.parent) else {
        return Err(bad(format!("Version {number} has none before it: say ?against=N.")));
    };
    let earlier = version(reach, before).await?;
    let comparison = reach.compare(earlier.text, after.text, PATIENCE).await.map_err(declined)?;
    Ok(Json(Differs { before, after: number, comparison }))
}

/// From the history, else from the files of the good ones.
async fn version(reach: &Reach, number: u64) -> Result<VersionRow, Problem> {
    let known = reach.conductor.history().version(number).await;
    let unread = match known {
        Ok(Some(row)) => return Ok(row),
        Ok(None) => None,
        Err(error) => Some(error),
    };
    let good = reach.control.good_versions(usize::MAX).into_iter().find(|row| row.summary.number == number);
    good.ok_or_else(|| missing(number, unread))
}

fn missing(number: u64, unread: Option<Unread>) -> Problem {
    match unread {
        None => Problem::new(
            StatusCode::NOT_FOUND,
            format!("There is no version {number}, or it is too long ago. hint: `tidegate history`"),
        ),
        Some(error) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("{error}; it is not among the good ones."))
        }
    }
}

fn bad(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}
