//! `POST /v1/rollback`: takes back what runs, or brings a version back; answered when it is done, in less than a second.
//! It waits for no other change, and for the disk only briefly.

use super::json::{Noted, bad, reason};
use crate::admin::AdminState;
use crate::admin::caller::Caller;
use crate::admin::problem::Problem;
use crate::admin::witness::Effect;
use crate::control::history::VersionOutcome;
use crate::control::rollback::{Order, RolledBack, Unrollable};
use crate::telemetry::metrics::RollbackCause;
use axum::Json;
use axum::extract::{Extension, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// The body; an empty one is as good as `{}`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asked {
    version: Option<u64>,
    reason: Option<String>,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    from: u64,
    version: Version,
    by: String,
    reason: Option<String>,
    persisted: bool,
    unrecorded: Vec<String>,
    notices: Vec<String>,
}

/// What everyone is served by.
#[derive(Clone, Debug, Serialize)]
struct Version {
    number: u64,
    hash: String,
}

/// `POST /v1/rollback`.
pub(super) async fn roll_back(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    Noted(body): Noted,
) -> Result<(Extension<Effect>, Json<Answer>), Problem> {
    let Asked { version, reason } = asked(&body)?;
    let by = caller.to_string();
    let (reasoned, cause) = (reason.clone(), RollbackCause::Operator);
    let order = Order { target: version, by: by.clone(), reason: reasoned, cause, from: None };
    let reach = state.reach()?;
    let done = reach.rollbacks.roll_back(order).await.map_err(refused)?;
    let RolledBack { from, to, hash, persisted, unrecorded, notices } = done;
    if from != to {
        // A rollout that it ended has said so already.
        let why = format!("{by} went back to version {to}");
        let history = reach.conductor.history();
        history.outcome(from, VersionOutcome::RolledBack, Some(&why));
        history.outcome(to, VersionOutcome::Good, Some(&format!("{by} went back to it")));
    }
    let version = Version { number: to, hash };
    let saying =
        if from == to { "it was active already".into() } else { format!("version {from} was taken back") };
    let effect = Effect { version: Some(to), saying: Some(saying), ..Effect::default() };
    Ok((Extension(effect), Json(Answer { from, version, by, reason, persisted, unrecorded, notices })))
}

fn asked(body: &[u8]) -> Result<Asked, Problem> {
    if body.is_empty() {
        return Ok(Asked::default());
    }
    let asked: Asked =
        serde_json::from_slice(body).map_err(|error| bad(format!("The body cannot be read: {error}.")))?;
    Ok(Asked { version: asked.version, reason: reason(asked.reason)? })
}

fn refused(why: Unrollable) -> Problem {
    let mut detail = why.to_string();
    if let Some(first) = detail.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let problem = |status, word: &'static str| Problem::new(status, format!("{detail}.")).because(word);
    match &why {
        Unrollable::NoneGood { known, .. } => {
            problem(StatusCode::CONFLICT, "no_good_version").with("good", json!(known))
        }
        Unrollable::NotGood { known, .. } => {
            problem(StatusCode::NOT_FOUND, "not_a_good_version").with("good", json!(known))
        }
        Unrollable::Unusable { .. } | Unrollable::NoneUsable(_) => {
            problem(StatusCode::UNPROCESSABLE_ENTITY, "unusable")
        }
        Unrollable::Busy => problem(StatusCode::SERVICE_UNAVAILABLE, "busy"),
        Unrollable::Gone => problem(StatusCode::SERVICE_UNAVAILABLE, "leaving"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_may_be_left_out_and_says_nothing_unknown() {
        for (body, version, reason) in [
            ("", None, None),
            ("{}", None, None),
            (r#"{"version": 7}"#, Some(7), None),
            (r#"{"reason": " bad "}"#, None, Some("bad")),
            (r#"{"version": null, "reason": ""}"#, None, None),
        ] {
            let asked = asked(body.as_bytes()).expect("taken");
            assert_eq!((asked.version, asked.reason.as_deref()), (version, reason), "{body}");
        }
        for (body, status) in [
            ("7", 400),
            (r#"{"version": -1}"#, 400),
            (r#"{"verison": 1}"#, 400),
            (r#"{"reason": "a\nb"}"#, 422),
            ("\u{ff}", 400),
        ] {
            assert_eq!(
                asked(body.as_bytes()).map(|_| ()).map_err(|problem| problem.status.as_u16()),
                Err(status),
                "{body}"
            );
        }
    }
}
