//! `GET …/ramp:forecast`: what a ramp would shed, asked before it is set. It changes nothing, so a viewer may ask.

use super::json::bad;
use super::ramps::{Place, refused, target};
use crate::admin::AdminState;
use crate::admin::problem::Problem;
use crate::control::steering::RampOrder;
use crate::control::steering::forecast::Forecast;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;
use std::sync::Arc;

/// The query: as much of a ramp as a forecast depends on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    percent: Option<String>,
    reference: Option<String>,
}

/// `GET …/ramp:forecast`: what `PUT …/ramp` would answer as its forecast.
pub(super) async fn show(
    State(state): State<Arc<AdminState>>,
    place: Place,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Forecast>, Problem> {
    let Query(asked) = query.map_err(|rejection| bad(rejection.body_text()))?;
    let percent = asked.percent.ok_or_else(|| bad("Say at which percentage. hint: ?percent=25"))?;
    let order = RampOrder {
        percent: number("percent", &percent)?,
        then: None,
        reference: asked.reference.map(|text| number("reference", &text)).transpose()?,
        reason: String::new(),
    };
    state.steering()?.forecast(&target(place), order).map(Json).map_err(refused)
}

fn number(name: &str, text: &str) -> Result<f64, Problem> {
    text.trim().parse().map_err(|_| {
        let text: String = text.chars().take(40).collect();
        bad(format!("{name}={text:?} is not a number. hint: {name}=25"))
    })
}
