//! `POST /v1/config:check`: what `tidegate check` says, from where the gateway stands: its folder, its environment,
//! its files. Nothing changes by it, and what fills a value is never shown.

use super::text::receive;
use crate::admin::AdminState;
use crate::admin::problem::Problem;
use crate::admin::reach::Verdict;
use axum::Json;
use axum::extract::{Request, State};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    valid: bool,
    /// Blake3 of the text, hex; of a valid one.
    hash: Option<String>,
    /// As `tidegate check --json` has them.
    findings: Value,
    /// What a person should know of a valid one, a sentence each.
    notices: Vec<String>,
}

/// `POST /v1/config:check`.
pub(super) async fn check(
    State(state): State<Arc<AdminState>>,
    request: Request,
) -> Result<Json<Checked>, Problem> {
    let (Verdict { plan, findings, .. }, _) = receive(state.reach()?, request).await?;
    let (valid, hash, notices) = match plan {
        Some(plan) => (true, Some(plan.hash), plan.notices),
        None => (false, None, Vec::new()),
    };
    Ok(Json(Checked { valid, hash, findings, notices }))
}
