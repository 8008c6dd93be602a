//! `POST /v1/config:check`: what `tidegate check` says, from where the gateway stands: its folder, its environment,
//! its files; with `probe=true` also its network. `POST /v1/config:plan`: what would come of it, against the active
//! version. Nothing changes by either, and what fills a value is never shown.

use super::text::{declined, invalid, left, receive, received};
use super::versions::switch;
use crate::admin::AdminState;
use crate::admin::caller::Caller;
use crate::admin::problem::Problem;
use crate::admin::reach::{Reach, Verdict};
use crate::admin::settings::Role;
use crate::config::plan::Plan;
use crate::control::plan::Outlook;
use crate::control::probe::{Finding, Scope, Wanted};
use crate::telemetry::events::TextProbed;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, Request, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::time::Instant;

/// The query.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    probe: Option<String>,
}

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
    /// What the probe of a valid one found, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<Vec<Finding>>,
}

/// `POST /v1/config:check`.
pub(super) async fn check(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<Asked>, QueryRejection>,
    request: Request,
) -> Result<Json<Checked>, Problem> {
    let bad = |rejection: QueryRejection| Problem::new(StatusCode::BAD_REQUEST, rejection.body_text());
    let Query(Asked { probe }) = query.map_err(bad)?;
    let probing = switch("probe", probe.as_deref())?;
    let reach = state.reach()?;
    let (Verdict { plan, findings, fillings, .. }, end) = receive(reach, request).await?;
    let Some(plan) = plan else {
        return Ok(Json(Checked { valid: false, hash: None, findings, notices: Vec::new(), probe: None }));
    };
    let (hash, notices) = (Some(plan.hash.clone()), plan.notices.clone());
    let mut probe = None;
    if probing {
        let hash = plan.hash.clone();
        let found = look(reach, plan, end).await;
        let gates = found.iter().filter(|finding| finding.gates()).count();
        TextProbed { by: &caller.to_string(), hash: &hash, findings: (found.len(), gates) }.emit();
        let hidden = found.into_iter().map(|finding| finding.unfilled(|text| fillings.hide_words(text)));
        probe = Some(hidden.collect());
    }
    Ok(Json(Checked { valid: true, hash, findings, notices, probe }))
}

/// All of it, because somebody asks: what is unchanged is a warning at most.
async fn look(reach: &Reach, plan: Plan, end: Instant) -> Vec<Finding> {
    let (candidate, active) = (Arc::new(plan), Some(reach.control.active_plan()));
    let wanted = Wanted { candidate, active, scope: Scope::Everything, progress: Arc::default() };
    reach.prober.ask(wanted, left(end)).await
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
