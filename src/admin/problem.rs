//! Errors of the admin side: the problem object (RFC 9457) and nothing else.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// The media type of a problem object.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// One refusal or failure of the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// What happened and what to do, for a person.
    pub detail: Cow<'static, str>,
    /// The word for programs, where the status alone does not say it.
    pub reason: Option<&'static str>,
    /// What else programs want to know.
    pub more: Map<String, Value>,
}

impl Problem {
    /// A problem with a sentence for the person who reads it.
    pub fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Problem { status, detail: detail.into(), reason: None, more: Map::new() }
    }

    /// The same with one more member.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// The same with a word of its own for programs.
    pub fn because(self, reason: &'static str) -> Self {
        Problem { reason: Some(reason), ..self }
    }
}

/// What an answer says is wrong, beside its body; for the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The word for programs.
    pub reason: &'static str,
    /// The sentence for people.
    pub detail: Cow<'static, str>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let told =
            Told { reason: self.reason.unwrap_or_else(|| word(self.status)), detail: self.detail.clone() };
        let mut response = Response::new(Body::from(body(self.status, &self.detail, self.reason, self.more)));
        *response.status_mut() = self.status;
        response.extensions_mut().insert(told);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tidegate\""));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Turns the bare errors of the router and of the layers (404, 405, 413, 503) into problem objects, and
/// leaves everything that has a body of its own alone.
pub async fn complete(mut response: Response) -> Response {
    let status = response.status();
    let bare = !response.headers().contains_key(CONTENT_TYPE)
        || response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/"));
    if !(status.is_client_error() || status.is_server_error()) || !bare {
        return response;
    }
    let detail = match status {
        StatusCode::NOT_FOUND => "There is nothing at this path.",
        StatusCode::METHOD_NOT_ALLOWED => {
            "This path does not take this method; `Allow` lists those it takes."
        }
        StatusCode::PAYLOAD_TOO_LARGE => "The body is larger than the admin side accepts.",
        StatusCode::SERVICE_UNAVAILABLE => "The admin side could not answer in time.",
        _ => status.canonical_reason().unwrap_or("The request failed."),
    };
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    *response.body_mut() = Body::from(body(status, detail, None, Map::new()));
    response
}

fn body(status: StatusCode, detail: &str, why: Option<&str>, more: Map<String, Value>) -> String {
    let title = status.canonical_reason().unwrap_or("Error");
    let mut object = serde_json::json!({
        "type": "about:blank",
        "title": title,
        "status": status.as_u16(),
        "detail": detail,
        "reason": why.unwrap_or_else(|| word(status)),
    });
    // What has a fixed meaning stays as it is.
    for (name, value) in more {
        let known = &mut object[&name];
        if known.is_null() {
            *known = value;
        }
    }
    object.to_string()
}

/// The word for programs; those that the edge has too are the edge's.
pub(super) fn word(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "unauthenticated",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
        StatusCode::CONFLICT => "conflict",
        StatusCode::PRECONDITION_FAILED => "stale",
        StatusCode::PAYLOAD_TOO_LARGE => "body_too_large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
        StatusCode::UNPROCESSABLE_ENTITY => "invalid",
        StatusCode::SERVICE_UNAVAILABLE => "admin_busy",
        status if status.is_client_error() => "bad_request",
        _ => "internal",
    }
}
