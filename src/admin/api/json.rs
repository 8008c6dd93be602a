//! Bodies of changes: JSON of a known shape, or a sentence about what is wrong with it.

use crate::admin::problem::Problem;
use crate::admin::witness::Note;
use crate::control::origin::MAX_REASON;
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
        let Noted(body) = Noted::from_request(request, state).await?;
        if body.is_empty() {
            return Err(bad("The body is empty; it should say what is wanted, in JSON."));
        }
        serde_json::from_slice(&body)
            .map(Wish)
            .map_err(|error| bad(format!("The body cannot be read: {error}.")))
    }
}

/// A body, of which the audit has heard.
#[derive(Debug)]
pub(super) struct Noted(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Noted {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let note = request.extensions().get::<Note>().cloned();
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|error| Problem::new(error.status(), error.body_text()))?;
        if let Some(note) = note {
            note.body(&body);
        }
        Ok(Noted(body))
    }
}

/// Why, in somebody's words: a line that fits into a log, a row and a list; nothing if it says nothing.
pub(super) fn reason(text: Option<String>) -> Result<Option<String>, Problem> {
    let reason = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    match &reason {
        Some(line) if line.chars().count() > MAX_REASON || line.chars().any(char::is_control) => {
            Err(bad(format!("The reason is a line of at most {MAX_REASON} characters.")))
        }
        _ => Ok(reason),
    }
}

/// The request is malformed.
pub(super) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail.into())
}
