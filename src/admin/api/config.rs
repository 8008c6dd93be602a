//! `POST /v1/config:check`: what `tidegate check` says, from where the gateway stands: its folder, its environment,
//! its files. `POST /v1/config:plan`: what would come of it, against the active version. Nothing changes by either, and
//! what fills a value is never shown.

use super::text::{declined, invalid, left, receive, received};
use crate::admin::AdminState;
use crate::admin::caller::Caller;
use crate::admin::problem::Problem;
use crate::admin::reach::{Reach, Verdict};
use crate::admin::settings::Role;
use crate::control::plan::Outlook;
use axum::Json;
use axum::extract::{Extension, Request, State};
use http::StatusCode;
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

/// What would come of a text.
#[derive(Clone, Debug, Serialize)]
pub struct Planned {
    #[serde(flatten)]
    outlook: Outlook,
    /// As `tidegate check --json` has them.
    findings: Value,
    /// What a person should know, a sentence each.
    notices: Vec<String>,
}

/// `POST /v1/config:plan`. Who may read may ask.
pub(super) async fn plan(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<Planned>, Problem> {
    let reach = state.reach()?;
    let (text, end) = received(reach, request).await?;
    if caller.role < Role::Operator {
        may_fill(reach, &text)?;
    }
    match reach.plan(text, left(end)).await.map_err(declined)? {
        (Verdict { plan: Some(plan), findings, .. }, Some(outlook)) => {
            Ok(Json(Planned { outlook, findings, notices: plan.notices }))
        }
        (verdict, _) => Err(invalid(verdict)),
    }
}

/// Who only reads must not ask the gateway's environment and files by placeholders of their own: also what is only
/// compared and never shown can be found by trying.
fn may_fill(reach: &Reach, text: &str) -> Result<(), Problem> {
    match reach.control.strange_placeholder(text) {
        None => Ok(()),
        Some(inner) => {
            let detail = format!(
                "A viewer may plan with the placeholders of the active version only, and ${{{inner:.80}}} is not one of \
                 them. hint: ask with an operator's token"
            );
            Err(Problem::new(StatusCode::FORBIDDEN, detail))
        }
    }
}
