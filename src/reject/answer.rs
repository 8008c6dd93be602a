//! A refusal as the client sees it: problem+json, or gRPC's trailers-only answer, with the same headers.

use crate::reject::{Reason, Reject};
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

/// The machine-readable reason.
pub const REASON: HeaderName = HeaderName::from_static("x-tidegate-reason");
/// RFC 9209.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// What most answers take: under overload a gateway makes more of them than of anything else.
const BODY: usize = 256;
const HEADERS: usize = 8;

/// RFC 9457.
#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    reason: &'static str,
    request_id: &'a str,
}

impl Reject {
    /// The answer; `grpc` when the request's content type says so.
    pub fn answer(&self, id: &HeaderValue, grpc: bool) -> Response<Bytes> {
        let mut response = if grpc { self.grpc() } else { self.problem(id) };
        let headers = response.headers_mut();
        headers.insert(REASON, HeaderValue::from_static(self.reason.as_str()));
        headers.insert(PROXY_STATUS, HeaderValue::from_static(self.reason.proxy_status()));
        headers.insert(REQUEST_ID, id.clone());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(u16::from(seconds)));
        }
        if let Some(allow) = &self.allow {
            headers.insert(ALLOW, allow.clone());
        }
        for (name, value) in self.headers.iter().flat_map(|more| more.iter()) {
            headers.append(name, value.clone());
        }
        response
    }

    /// RFC 9457.
    fn problem(&self, id: &HeaderValue) -> Response<Bytes> {
        let status = self.reason.status();
        let problem = Problem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: &self.detail,
            reason: self.reason.as_str(),
            request_id: id.to_str().unwrap_or("-"),
        };
        let mut body = Vec::with_capacity(BODY);
        // Texts and a number, into memory: it cannot fail.
        let _ = serde_json::to_writer(&mut body, &problem);
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.reserve(HEADERS);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }

    /// Trailers only: HTTP 200, and gRPC's own status in the head.
    fn grpc(&self) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, HeaderValue::from_static(self.reason.grpc_status()));
        if let Ok(message) = HeaderValue::from_str(&percent_encoded(&self.detail)) {
            headers.insert(GRPC_MESSAGE, message);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(GRPC_PUSHBACK, HeaderValue::from(u32::from(seconds) * 1000));
        }
        response
    }
}

impl Reason {
    /// `design.md`, "Small print".
    fn grpc_status(self) -> &'static str {
        match self.status() {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY => "14",
            StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => "4",
            StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYLOAD_TOO_LARGE => "8",
            StatusCode::UNAUTHORIZED => "16",
            StatusCode::FORBIDDEN => "7",
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => "12",
            StatusCode::INTERNAL_SERVER_ERROR => "13",
            _ => "3",
        }
    }

    /// The nearest error type of RFC 9209, section 2.3.
    fn proxy_status(self) -> &'static str {
        match self {
            Reason::Timeout | Reason::BackendTooSlow => "tidegate; error=http_response_timeout",
            Reason::AuthTimeout => "tidegate; error=connection_timeout",
            Reason::ConnectFailed => "tidegate; error=connection_refused",
            Reason::Reset => "tidegate; error=connection_terminated",
            Reason::BadResponse => "tidegate; error=http_protocol_error",
            Reason::NoBackend | Reason::AuthFailed => "tidegate; error=destination_unavailable",
            Reason::Internal | Reason::MissingSecret => "tidegate; error=proxy_internal_error",
            reason if reason.is_shed() => "tidegate; error=connection_limit_reached",
            Reason::Unauthenticated | Reason::Forbidden | Reason::RateLimited | Reason::ClientAborts => {
                "tidegate; error=http_request_denied"
            }
            _ => "tidegate; error=http_request_error",
        }
    }
}

/// gRPC's percent encoding of messages.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_why_and_when_to_come_back() {
        let mut reject = Reject::new(Reason::UpstreamLimit, "full");
        reject.retry_after = Some(2);
        let id = HeaderValue::from_static("abc");
        let answer = reject.answer(&id, false);
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()[RETRY_AFTER], "2");
        assert_eq!(answer.headers()[REASON], "upstream_limit");
        assert_eq!(answer.headers()["proxy-status"], "tidegate; error=connection_limit_reached");
        let body: serde_json::Value = serde_json::from_slice(answer.body()).expect("JSON");
        assert_eq!(body["reason"], "upstream_limit");
        assert_eq!(body["status"], 503);
        assert_eq!(body["request_id"], "abc");
        let grpc = reject.answer(&id, true);
        assert_eq!(grpc.status(), 200);
        assert_eq!(grpc.headers()["grpc-status"], "14");
        assert_eq!(grpc.headers()["grpc-retry-pushback-ms"], "2000");
        assert_eq!(grpc.headers()[REASON], "upstream_limit");
        assert!(grpc.body().is_empty());
    }

    #[test]
    fn messages_for_grpc_are_encoded() {
        assert_eq!(percent_encoded("50 % é"), "50 %25 %C3%A9");
    }
}
