//! Bodies of changes: JSON of a known shape, or a sentence about what is wrong with it.

use crate::admin::problem::Problem;
use crate::admin::witness::Note;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http::StatusCode;
use serde::de::DeserializeOwned;

/// What somebody wants, from the body of a request. That it says it is JSON was checked at the door.
#[derive(Debug)]
pub(super) struct Wish<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Wish<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let note = request.extensions().get::<Note>().cloned();
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|error| Problem::new(error.status(), error.body_text()))?;
        if let Some(note) = note {
            note.body(&body);
        }
        if body.is_empty() {
            return Err(bad("The body is empty; it should say what is wanted, in JSON."));
        }
        serde_json::from_slice(&body)
            .map(Wish)
            .map_err(|error| bad(format!("The body cannot be read: {error}.")))
    }
}

/// The request is malformed.
pub(super) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail.into())
}
