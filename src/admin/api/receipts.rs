//! Receipts of versions that were good here, and the key that they are checked with elsewhere. Nothing of them is
//! secret: the private half of the key never leaves the disk.

use crate::admin::AdminState;
use crate::admin::problem::Problem;
use crate::admin::reach::Reach;
use crate::control::receipt::{Receipt, Shelf, Signer};
use crate::runtime::offload::Declined;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use http::StatusCode;
use serde::Serialize;
use std::io;
use std::sync::Arc;

/// Who signs here.
#[derive(Clone, Debug, Serialize)]
pub struct KeyView {
    /// The environment that its receipts are of.
    environment: String,
    /// The name of the key in receipts.
    key_id: String,
    /// As `promote_from.public_key` takes it.
    public_key: String,
}

/// `GET /v1/receipt-key`. The first who asks has the key made.
pub(super) async fn key(State(state): State<Arc<AdminState>>) -> Result<Json<KeyView>, Problem> {
    let reach = state.reach()?;
    let environment = reach.control.policy().environment.ok_or_else(none_here)?;
    let signer = on_disk(reach.on_disk(Signer::open).await)?;
    Ok(Json(KeyView { environment, key_id: signer.key_id(), public_key: signer.public_key() }))
}

/// `GET /v1/versions/{number}/receipt`.
pub(super) async fn one(
    State(state): State<Arc<AdminState>>,
    number: Result<Path<u64>, PathRejection>,
) -> Result<Json<Receipt>, Problem> {
    let bad = |_| Problem::new(StatusCode::BAD_REQUEST, "A version is named by its number.");
    let Path(number) = number.map_err(bad)?;
    found(state.reach()?, Some(number)).await
}

/// `GET /v1/receipt`: that of the newest version that has one.
pub(super) async fn newest(State(state): State<Arc<AdminState>>) -> Result<Json<Receipt>, Problem> {
    found(state.reach()?, None).await
}

async fn found(reach: &Reach, number: Option<u64>) -> Result<Json<Receipt>, Problem> {
    let read = reach.on_disk(move |store| Shelf::of(store.clone()).get(number)).await;
    if let Some(receipt) = on_disk(read)? {
        return Ok(Json(receipt));
    }
    reach.control.policy().environment.ok_or_else(none_here)?;
    let which = number.map_or_else(|| "any version".to_owned(), |number| format!("version {number}"));
    let why = "it is issued when a version was active for everyone and baked here";
    Err(Problem::new(StatusCode::NOT_FOUND, format!("There is no receipt of {which}: {why}.")))
}

fn none_here() -> Problem {
    const DETAIL: &str =
        "This gateway issues no receipts: it belongs to no environment. hint: `[rollout] environment`";
    Problem::new(StatusCode::NOT_FOUND, DETAIL).because("no_environment")
}

fn on_disk<T>(done: Result<io::Result<T>, Declined>) -> Result<T, Problem> {
    match done {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("The state directory cannot be used for it: {error}"),
        )),
        Err(_) => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "The disk does not answer in time.")),
    }
}
