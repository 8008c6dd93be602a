//! The levers of operators: ramps of upstreams and backends, and drained backends.
//!
//! A lever acts before its answer leaves; whether it is also on disk is said by `persisted`, and waited for
//! no longer than `KEEP_PATIENCE`.

use super::Items;
use super::json::{Wish, bad};
use crate::admin::AdminState;
use crate::admin::caller::Caller;
use crate::admin::problem::Problem;
use crate::config::units;
use crate::control::ramp::lever::Target;
use crate::control::steering::forecast::Forecast;
use crate::control::steering::{RampOrder, Receipt, Refusal, Steering};
use crate::control::view::LeverView;
use axum::Json;
use axum::extract::{Extension, Path, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// How long an answer waits for the disk. The lever acts meanwhile.
const KEEP_PATIENCE: Duration = Duration::from_millis(500);

type Admin = State<Arc<AdminState>>;

/// What somebody wants of a ramp.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WantedRamp {
    percent: f64,
    then: Option<f64>,
    after: Option<String>,
    reference: Option<f64>,
    #[serde(default)]
    reason: String,
}

/// What somebody wants of a backend.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WantedState {
    state: BackendState,
    #[serde(default)]
    reason: String,
}

/// Takes requests, or is being emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BackendState {
    Ready,
    Drain,
}

/// A lever, and what a change of it came to.
#[derive(Debug, Serialize)]
pub(super) struct LeverAnswer {
    #[serde(flatten)]
    lever: LeverView,
    /// Somebody set it; without, it reads as if it did nothing.
    set: bool,
    /// It is on disk; nothing where nothing was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    persisted: Option<bool>,
}

/// A backend's state, and what a change of it came to.
#[derive(Debug, Serialize)]
pub(super) struct StateAnswer {
    state: BackendState,
    #[serde(flatten)]
    answer: LeverAnswer,
}

/// `GET /v1/levers`: all that are set, also those whose name is gone.
pub(super) async fn levers(State(state): Admin) -> Result<Json<Items<LeverView>>, Problem> {
    Ok(Json(Items { items: state.steering()?.levers() }))
}

/// `GET …/ramp`.
pub(super) async fn show(State(state): Admin, place: Place) -> Result<Json<LeverAnswer>, Problem> {
    let (steering, target) = (state.steering()?, target(place));
    let lever = match steering.ramp_of(&target) {
        Some(lever) => lever,
        None => unset(&target, steering.forecast_now(&target).map_err(refused)?),
    };
    let set = !lever.since.is_empty();
    Ok(Json(LeverAnswer { lever, set, persisted: None }))
}

/// `PUT …/ramp`.
pub(super) async fn set(
    State(state): Admin,
    place: Place,
    Extension(caller): Extension<Caller>,
    Wish(wanted): Wish<WantedRamp>,
) -> Result<Json<LeverAnswer>, Problem> {
    let order = order(wanted)?;
    change(&state, place, |steering, target| steering.set_ramp(target, order, &caller.to_string())).await
}

/// `DELETE …/ramp`.
pub(super) async fn clear(
    State(state): Admin,
    place: Place,
    Extension(caller): Extension<Caller>,
) -> Result<Json<LeverAnswer>, Problem> {
    change(&state, place, |steering, target| steering.clear_ramp(target, &caller.to_string())).await
}

/// `POST …/ramp:pause`.
pub(super) async fn pause(
    State(state): Admin,
    place: Place,
    Extension(caller): Extension<Caller>,
) -> Result<Json<LeverAnswer>, Problem> {
    change(&state, place, |steering, target| steering.pause_ramp(target, &caller.to_string())).await
}

/// `POST …/ramp:resume`.
pub(super) async fn resume(
    State(state): Admin,
    place: Place,
    Extension(caller): Extension<Caller>,
) -> Result<Json<LeverAnswer>, Problem> {
    change(&state, place, |steering, target| steering.resume_ramp(target, &caller.to_string())).await
}

/// `GET …/state`.
pub(super) async fn show_state(
    State(state): Admin,
    place: BackendPlace,
) -> Result<Json<StateAnswer>, Problem> {
    let steering = state.steering()?;
    state_answer(steering, &place, None).map(Json)
}

/// `PUT …/state`. Asking for what is there already changes nothing, and is no error.
pub(super) async fn set_state(
    State(state): Admin,
    place: BackendPlace,
    Extension(caller): Extension<Caller>,
    Wish(wanted): Wish<WantedState>,
) -> Result<Json<StateAnswer>, Problem> {
    let steering = state.steering()?;
    let (drain, by) = (wanted.state == BackendState::Drain, caller.to_string());
    let is_drained = steering.drain_of(&place.upstream, &place.backend).is_some();
    if !drain && !is_drained {
        return state_answer(steering, &place, None).map(Json);
    }
    let receipt = steering.set_drain(&place.upstream, &place.backend, drain, &wanted.reason, &by);
    let receipt = receipt.map_err(refused)?;
    let persisted = steering.persisted(receipt.change, KEEP_PATIENCE).await;
    state_answer(steering, &place, Some((receipt.forecast, persisted))).map(Json)
}

/// Changes a ramp and answers with what it is then.
async fn change(
    state: &AdminState,
    place: Place,
    act: impl FnOnce(&Steering, &Target) -> Result<Receipt, Refusal>,
) -> Result<Json<LeverAnswer>, Problem> {
    let (steering, target) = (state.steering()?, target(place));
    let receipt = act(steering, &target).map_err(refused)?;
    let lever = steering.ramp_of(&target);
    let set = lever.is_some();
    let lever = lever.unwrap_or_else(|| unset(&target, receipt.forecast));
    let persisted = Some(steering.persisted(receipt.change, KEEP_PATIENCE).await);
    Ok(Json(LeverAnswer { lever, set, persisted }))
}

/// A backend's state now; `changed` is the forecast after a change, and whether it is on disk.
fn state_answer(
    steering: &Steering,
    place: &BackendPlace,
    changed: Option<(Forecast, bool)>,
) -> Result<StateAnswer, Problem> {
    let target = Target::Backend(place.upstream.as_str().into(), place.backend.as_str().into());
    let drain = steering.drain_of(&place.upstream, &place.backend);
    let set = drain.is_some();
    let state = if set { BackendState::Drain } else { BackendState::Ready };
    let lever = match (drain, changed) {
        (Some(drain), _) => drain,
        (None, Some((forecast, _))) => LeverView { kind: "drain".into(), ..unset(&target, forecast) },
        (None, None) => {
            let forecast = steering.forecast_now(&target).map_err(refused)?;
            LeverView { kind: "drain".into(), ..unset(&target, forecast) }
        }
    };
    let persisted = changed.map(|(_, persisted)| persisted);
    Ok(StateAnswer { state, answer: LeverAnswer { lever, set, persisted } })
}

/// A lever that nobody set: it leaves everything.
fn unset(target: &Target, forecast: Forecast) -> LeverView {
    LeverView {
        kind: "ramp".into(),
        upstream: target.upstream().to_string(),
        backend: target.backend().map(|name| name.to_string()),
        percent: 100.0,
        forecast: Some(forecast),
        ..LeverView::default()
    }
}

fn order(wanted: WantedRamp) -> Result<RampOrder, Problem> {
    let WantedRamp { percent, then, after, reference, reason } = wanted;
    let after = after.map(|after| units::duration(&after).map_err(|why| bad(format!("`after`: {why}."))));
    let then = match (then, after.transpose()?) {
        (Some(then), Some(after)) => Some((then, after)),
        (None, None) => None,
        _ => return Err(out_of_range("`then` and `after` go together: to which percentage, and when.")),
    };
    Ok(RampOrder { percent, then, reference, reason })
}

fn out_of_range(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail.into())
}

pub(super) fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Unknown { what, name, known } => {
            let name: String = name.chars().take(200).collect();
            let detail = format!("The active version has no {what} named {name:?}. hint: it has {known}");
            Problem::new(StatusCode::NOT_FOUND, detail)
        }
        Refusal::Invalid(detail) => out_of_range(detail),
        Refusal::Conflict(detail) => Problem::new(StatusCode::CONFLICT, detail),
    }
}

/// The upstream, and perhaps the backend, in a path.
#[derive(Debug, Deserialize)]
pub(super) struct PlaceParts {
    upstream: String,
    backend: Option<String>,
}

/// What a path names.
pub(super) type Place = Path<PlaceParts>;

pub(super) fn target(Path(PlaceParts { upstream, backend }): Place) -> Target {
    match backend {
        None => Target::Upstream(upstream.into()),
        Some(backend) => Target::Backend(upstream.into(), backend.into()),
    }
}

/// The backend that a path names.
#[derive(Debug, Deserialize)]
pub(super) struct BackendParts {
    upstream: String,
    backend: String,
}

/// What a path names, where it can only be a backend.
pub(super) type BackendPlace = Path<BackendParts>;
