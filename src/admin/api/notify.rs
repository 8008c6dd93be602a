//! `GET /v1/notify`: who is told what happens, and how that goes; `POST /v1/notify/{name}:test`: whether one is told at
//! all, before the night in which it has to be.

use super::Items;
use crate::admin::AdminState;
use crate::admin::caller::Caller;
use crate::admin::problem::Problem;
use crate::admin::witness::Effect;
use crate::control::notify::SinkView;
use axum::Json;
use axum::extract::{Extension, Path, State};
use http::StatusCode;
use serde::Serialize;
use std::sync::Arc;

/// The answer to a try that went well.
#[derive(Clone, Debug, Serialize)]
pub struct Tested {
    sink: String,
    host: String,
    outcome: &'static str,
    seconds: f64,
}

/// `GET /v1/notify`.
pub(super) async fn list(State(state): State<Arc<AdminState>>) -> Result<Json<Items<SinkView>>, Problem> {
    Ok(Json(Items { items: state.reach()?.control.notifier().view().sinks }))
}

/// `GET /v1/notify/{name}`.
pub(super) async fn one(
    State(state): State<Arc<AdminState>>,
    Path(name): Path<String>,
) -> Result<Json<SinkView>, Problem> {
    let mut sinks = state.reach()?.control.notifier().view().sinks.into_iter();
    sinks.find(|sink| sink.name == name).map(Json).ok_or_else(|| unknown(&name))
}

/// `POST /v1/notify/{name}:test`.
pub(super) async fn test(
    State(state): State<Arc<AdminState>>,
    Extension(caller): Extension<Caller>,
    Path(named): Path<String>,
) -> Result<(Extension<Effect>, Json<Tested>), Problem> {
    let Some(name) = named.strip_suffix(":test") else {
        let hint = "A sink can only be tried. hint: POST /v1/notify/NAME:test";
        return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, hint));
    };
    let reach = state.reach()?;
    let Ok(_turn) = reach.tries.try_acquire() else {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Too many sinks are tried at a time."));
    };
    let tried =
        reach.control.notifier().try_out(name, &caller.to_string()).await.ok_or_else(|| unknown(name))?;
    match tried.failure {
        None => {
            let saying = format!("{name} ({}) was told", tried.host);
            let effect = Effect { saying: Some(saying), ..Effect::default() };
            let (sink, seconds) = (name.to_owned(), tried.took.as_secs_f64());
            Ok((Extension(effect), Json(Tested { sink, host: tried.host, outcome: "sent", seconds })))
        }
        Some(why) => {
            let detail = format!("{name} ({}) was not told: {why}.", tried.host);
            Err(Problem::new(StatusCode::BAD_GATEWAY, detail).because("notify_failed"))
        }
    }
}

fn unknown(name: &str) -> Problem {
    let name: String = name.chars().take(64).collect();
    let detail = format!("There is no sink {name:?} in [[notify]]. hint: GET /v1/notify lists them");
    Problem::new(StatusCode::NOT_FOUND, detail)
}
