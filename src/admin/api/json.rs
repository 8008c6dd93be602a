//! Bodies of changes: JSON of a known shape, or a sentence about what is wrong with it.

use crate::admin::problem::Problem;
use crate::admin::witness::Note;
use crate::control::words::check_reason;
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

/// A body, of which the audit has heard; of at most 2 MiB, as axum has it where nothing else is said.
#[derive(Debug)]
pub(super) struct Noted(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Noted {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let note = request.extensions().get::<Note>().cloned();
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|error| match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::new(error.status(), "The body is larger than 2 MiB."),
            status => Problem::new(status, error.body_text()),
        })?;
        if let Some(note) = note {
            note.body(&body);
        }
        Ok(Noted(body))
    }
}

/// Why, in somebody's words: a line that fits into a log, a row and a list; nothing if it says nothing.
pub(super) fn reason(text: Option<String>) -> Result<Option<String>, Problem> {
    let reason = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    reason.as_deref().map_or(Ok(()), check_reason).map_err(|why| {
        // As for the reason of a ramp: the request can be read, what it says cannot be taken.
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why)
    })?;
    Ok(reason)
}

/// The request is malformed.
pub(super) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    #[test]
    fn a_reason_that_reads_otherwise_than_it_is_written_is_refused() {
        for (text, named) in [("by kim\u{202e}mik yb", "U+202E"), ("a\u{1b}[31m", "control characters")] {
            let problem = reason(Some(text.to_owned())).expect_err("it is refused");
            assert_eq!(problem.status.as_u16(), 422);
            assert!(problem.detail.contains(named), "{}", problem.detail);
        }
        assert_eq!(reason(Some(" why\n".to_owned())).ok(), Some(Some("why".to_owned())));
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_told_how_large_it_may_be() {
        let request = |bytes: usize| Request::new(Body::from(vec![b' '; bytes]));
        let problem = Noted::from_request(request((2 << 20) + 1), &()).await.expect_err("it is too large");
        assert_eq!(problem.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(problem.detail, "The body is larger than 2 MiB.");
        assert!(Noted::from_request(request(2 << 20), &()).await.is_ok());
    }
}
