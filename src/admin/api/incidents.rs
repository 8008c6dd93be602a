//! `GET` and `POST /v1/incidents`, `GET` and `PUT /v1/incidents/{id}`: what happened, in whose words, and the freeze.
//!
//! What is said acts before its answer leaves; whether it is also on disk is said by `persisted`, and waited for no
//! longer than `KEEP_PATIENCE`. `If-Match` takes the `revision` that somebody looked at.

use super::Items;
use super::json::{Wish, bad, reason};
use crate::admin::AdminState;
use crate::admin::caller::Caller;
use crate::admin::problem::Problem;
use crate::admin::witness::Effect;
use crate::control::incidents::book::Deed;
use crate::control::incidents::incident::{Incident, Severity, State as Standing};
use crate::control::incidents::wish::{Amendment, Opening, Refusal};
use crate::control::incidents::{Incidents, Receipt};
use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, IF_MATCH};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// How long an answer waits for the disk. What was said holds meanwhile.
const KEEP_PATIENCE: Duration = Duration::from_millis(500);

type Admin = State<Arc<AdminState>>;

/// A new incident.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Opened {
    title: String,
    #[serde(default)]
    severity: Severity,
    #[serde(default)]
    upstreams: Vec<String>,
    text: Option<String>,
    #[serde(default = "yes")]
    public: bool,
    #[serde(default)]
    freeze: bool,
    reason: Option<String>,
}

const fn yes() -> bool {
    true
}

/// A change of one: what is not said stays.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Changed {
    state: Option<Standing>,
    title: Option<String>,
    severity: Option<Severity>,
    upstreams: Option<Vec<String>>,
    freeze: Option<bool>,
    public: Option<bool>,
    text: Option<String>,
    reason: Option<String>,
}

/// An incident, and what came of a wish.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    incident: &'a Incident,
    /// What was done, in order.
    done: Vec<&'static str>,
    /// It is on disk, and a restart will know it.
    persisted: bool,
}

/// `GET /v1/incidents`: what is open, drafts, what is closed; the worst first, then the newest.
pub(super) async fn list(State(state): Admin) -> Result<Response, Problem> {
    let items = incidents(&state)?.all();
    let items = items.iter().map(|incident| &**incident).collect::<Vec<_>>();
    Ok(Json(Items { items }).into_response())
}

/// `GET /v1/incidents/{id}`.
pub(super) async fn one(State(state): Admin, Path(id): Path<u64>) -> Result<Response, Problem> {
    let incident = incidents(&state)?.get(id).ok_or_else(|| refused(Refusal::Unknown(id)))?;
    Ok(([(ETAG, tag(&incident))], Json(&*incident)).into_response())
}

/// `POST /v1/incidents`.
pub(super) async fn open(
    State(state): Admin,
    Extension(caller): Extension<Caller>,
    Wish(wanted): Wish<Opened>,
) -> Result<Response, Problem> {
    let Opened { title, severity, upstreams, text, public, freeze, reason: why } = wanted;
    let wish = Opening { title, severity, upstreams, text, public, freeze, reason: reason(why)? };
    let incidents = incidents(&state)?;
    let receipt = incidents.open(wish, &caller.to_string()).map_err(refused)?;
    answer(incidents, StatusCode::CREATED, receipt).await
}

/// `PUT /v1/incidents/{id}`.
pub(super) async fn change(
    State(state): Admin,
    Path(id): Path<u64>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Wish(wanted): Wish<Changed>,
) -> Result<Response, Problem> {
    let Changed { state: standing, title, severity, upstreams, freeze, public, text, reason: why } = wanted;
    let (reason, revision) = (reason(why)?, revision(&headers)?);
    let wish =
        Amendment { state: standing, title, severity, upstreams, freeze, public, text, reason, revision };
    let incidents = incidents(&state)?;
    let receipt = incidents.amend(id, wish, &caller.to_string()).map_err(refused)?;
    answer(incidents, StatusCode::OK, receipt).await
}

async fn answer(incidents: &Incidents, status: StatusCode, receipt: Receipt) -> Result<Response, Problem> {
    let persisted = incidents.persisted(receipt.change, KEEP_PATIENCE).await;
    let incident = &*receipt.incident;
    let done: Vec<_> = receipt.deeds.iter().copied().map(Deed::as_str).collect();
    let saying = format!("incident {}: {}", incident.id, done.join(", "));
    let effect = Effect { saying: Some(saying), ..Effect::default() };
    let body = Json(Answer { incident, done, persisted });
    Ok((status, [(ETAG, tag(incident))], Extension(effect), body).into_response())
}

fn incidents(state: &AdminState) -> Result<&Incidents, Problem> {
    Ok(state.reach()?.control.incidents())
}

fn tag(incident: &Incident) -> String {
    format!("\"{}\"", incident.revision)
}

/// The one revision in `If-Match`; nothing for `*`, which every one matches.
fn revision(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let mut given = headers.get_all(IF_MATCH).iter();
    let Some(value) = given.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| given.next().is_none()).map(str::trim);
    match text.map(|text| text.trim_matches('"')) {
        Some("*") => Ok(None),
        tag => match tag.and_then(|tag| tag.parse().ok()) {
            Some(revision) => Ok(Some(revision)),
            None => Err(bad("If-Match is the revision of the incident that you looked at, or *.")),
        },
    }
}

fn refused(refusal: Refusal) -> Problem {
    let status = match &refusal {
        Refusal::Unknown(_) => StatusCode::NOT_FOUND,
        Refusal::Stale { .. } => StatusCode::PRECONDITION_FAILED,
        Refusal::Conflict(_) => StatusCode::CONFLICT,
        Refusal::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Problem::new(status, refusal.to_string())
}
