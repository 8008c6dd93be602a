//! `POST /v1/config:check`: what `tidegate check` says, from where the gateway stands: its folder, its environment,
//! its files; with `probe=true` also its network. Nothing changes by it, and what fills a value is never shown.

use super::text::{left, receive};
use super::versions::switch;
use crate::admin::AdminState;
use crate::admin::caller::Caller;
use crate::admin::problem::Problem;
use crate::admin::reach::{Reach, Verdict};
use crate::config::plan::Plan;
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
