//! `GET /v1/permits`: who holds the slots, when a gate is full and somebody has to know by whom.

use crate::admin::AdminState;
use crate::admin::problem::Problem;
use crate::control::permits::{Filter, MAX_ITEMS, PermitsView, who_holds};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use http::StatusCode;
use serde::Deserialize;
use std::sync::Arc;

/// The query.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    upstream: Option<String>,
    route: Option<String>,
    class: Option<String>,
    phase: Option<String>,
    client: Option<String>,
    limit: Option<String>,
}

/// `GET /v1/permits`.
pub(super) async fn list(
    State(state): State<Arc<AdminState>>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<PermitsView>, Problem> {
    let Query(asked) = query.map_err(|rejection| bad(rejection.body_text()))?;
    let filter = asked.filter()?;
    let reach = state.reach()?;
    let _turn = reach.questions.try_acquire().map_err(|_| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Too many ask who holds the slots at a time.")
    })?;
    Ok(Json(who_holds(&reach.workers, &filter).await))
}

impl Asked {
    fn filter(self) -> Result<Filter, Problem> {
        let client = self
            .client
            .map(|text| text.parse().map_err(|_| bad(format!("client={text:?} is not an IP address."))));
        let limit = self.limit.map(|text| match text.parse() {
            Ok(limit) if limit <= MAX_ITEMS => Ok(limit),
            _ => Err(bad(format!("limit={text:?} is not a number from 0 to {MAX_ITEMS}."))),
        });
        Ok(Filter {
            upstream: self.upstream,
            route: self.route,
            class: self.class,
            phase: self.phase,
            client: client.transpose()?,
            limit: limit.transpose()?.unwrap_or(MAX_ITEMS),
        })
    }
}

fn bad(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}
