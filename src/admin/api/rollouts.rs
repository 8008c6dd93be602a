//! The change under way: `GET /v1/rollout`, and the words that people say to it.
//!
//! Each word is a step of the course that was decided before its answer leaves; what it takes is done on the thread of
//! rollouts, so that nothing here waits for a file. The answer waits a moment until a restart would know it too.

use super::json::{Noted, bad, reason};
use crate::admin::AdminState;
use crate::admin::caller::Caller;
use crate::admin::problem::Problem;
use crate::admin::witness::Effect;
use crate::control::change::Conductor;
use crate::control::change::course::Not;
use crate::control::change::view::RolloutView;
use crate::control::change::words::Said;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, FromRequest, Query, Request, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// How long an answer waits for the disk.
const DISK: Duration = Duration::from_secs(1);

type Admin = State<Arc<AdminState>>;

/// The query of `GET /v1/rollout`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// The version whose end is asked for, in place of the last one that ended.
    version: Option<u64>,
}

/// What somebody says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Word {
    /// The version that is meant, and no other. Who approves has to name it.
    version: Option<u64>,
    /// Why.
    reason: Option<String>,
}

/// Without a body nothing more is said than the path does.
impl<S: Send + Sync> FromRequest<S> for Word {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Noted(body) = Noted::from_request(request, state).await?;
        if body.is_empty() {
            return Ok(Word::default());
        }
        let word: Word = serde_json::from_slice(&body)
            .map_err(|error| bad(format!("The body cannot be read: {error}.")))?;
        Ok(Word { version: word.version, reason: reason(word.reason)? })
    }
}

type Answer = Result<(Extension<Effect>, Json<Told>), Problem>;

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    /// In a sentence.
    told: String,
    /// It is on disk, and a restart will know it.
    persisted: bool,
    rollout: RolloutView,
}

/// `GET /v1/rollout`.
pub(super) async fn show(
    State(state): Admin,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<RolloutView>, Problem> {
    let Query(asked) =
        query.map_err(|rejection| Problem::new(StatusCode::BAD_REQUEST, rejection.body_text()))?;
    Ok(Json(state.reach()?.conductor.view(asked.version)))
}

/// `POST /v1/rollout:promote`.
pub(super) async fn promote(state: Admin, caller: Extension<Caller>, word: Word) -> Answer {
    say(&state, |conductor| conductor.promote(word.version, &caller.to_string(), word.reason.as_deref()))
        .await
}

/// `POST /v1/rollout:abort`.
pub(super) async fn abort(state: Admin, caller: Extension<Caller>, word: Word) -> Answer {
    say(&state, |conductor| conductor.abort(word.version, &caller.to_string(), word.reason.as_deref())).await
}

/// `POST /v1/rollout:confirm`.
pub(super) async fn confirm(state: Admin, caller: Extension<Caller>, word: Word) -> Answer {
    say(&state, |conductor| conductor.confirm(word.version, &caller.to_string(), word.reason.as_deref()))
        .await
}

/// `POST /v1/rollout:approve`.
pub(super) async fn approve(state: Admin, caller: Extension<Caller>, word: Word) -> Answer {
    let Some(version) = word.version else {
        let detail = "Say which version is approved: {\"version\": 7}.";
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    };
    say(&state, |conductor| conductor.approve(version, &caller.to_string(), word.reason.as_deref())).await
}

/// `POST /v1/rollout:acknowledge`: somebody has seen that the glass was broken.
pub(super) async fn acknowledge(state: Admin, caller: Extension<Caller>, word: Word) -> Answer {
    say(&state, |conductor| conductor.acknowledge(word.version, &caller.to_string(), word.reason.as_deref()))
        .await
}

async fn say(state: &AdminState, word: impl FnOnce(&Conductor) -> Result<Said, Not>) -> Answer {
    let conductor = &state.reach()?.conductor;
    let Said { version, mut told } = word(conductor).map_err(|not| refused(&not))?;
    let persisted = conductor.control().has_kept(DISK).await;
    if !persisted {
        told += "; the state directory does not have that yet, so a restart may not know it";
    }
    let effect = Effect { version: Some(version), saying: Some(told.clone()), ..Effect::default() };
    Ok((Extension(effect), Json(Told { told, persisted, rollout: conductor.view(None) })))
}

fn refused(not: &Not) -> Problem {
    let status = match not {
        Not::Author => StatusCode::FORBIDDEN,
        _ => StatusCode::CONFLICT,
    };
    Problem::new(status, not.to_string()).because(not.word())
}
