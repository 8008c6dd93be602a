//! What the page answers to a request: a few fixed bodies, made once a second for everyone. GET and HEAD, nothing else;
//! nothing of a request is looked at but its method, its path and whether it wants JSON.

use super::html;
use crate::control::incidents::public::Overview;
use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;

/// Nothing from elsewhere, no script, and in nobody's frame.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const STYLE: &str = include_str!("style.css");
/// Caches in front take most of the load, and may show what they have while nobody answers.
const FRESH: &str = "public, max-age=5, stale-while-revalidate=30, stale-if-error=600";

/// The bodies of a second.
#[derive(Clone, Debug, Default)]
pub(super) struct Bodies {
    html: Bytes,
    json: Bytes,
}

impl Bodies {
    /// Of what everyone may know.
    pub(super) fn of(overview: &Overview) -> Self {
        // Plain values: there is nothing in them that JSON cannot hold.
        let json = serde_json::to_vec(overview).unwrap_or_default();
        Bodies { html: html::render(overview).into(), json: json.into() }
    }
}

/// The answer to a request. `too_many`: its source asked too often.
pub(super) fn answer<B>(request: &Request<B>, bodies: &Bodies, too_many: bool) -> Response<Full<Bytes>> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if !is_read {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "This page is for reading.\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    if too_many {
        let mut response =
            text(StatusCode::TOO_MANY_REQUESTS, "Too many requests; come again in a second.\n");
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        return response;
    }
    match request.uri().path() {
        "/" if wants_json(request.headers()) => of(StatusCode::OK, JSON, bodies.json.clone(), FRESH),
        "/" => of(StatusCode::OK, HTML, bodies.html.clone(), FRESH),
        "/status.json" => of(StatusCode::OK, JSON, bodies.json.clone(), FRESH),
        "/style.css" => {
            let css = Bytes::from_static(STYLE.as_bytes());
            of(StatusCode::OK, "text/css; charset=utf-8", css, "public, max-age=300")
        }
        _ => text(StatusCode::NOT_FOUND, "There is nothing here; the page is at /.\n"),
    }
}

/// JSON is named, and HTML is not.
fn wants_json(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (mut json, mut html) = (false, false);
    for value in accepted.by_ref().take(4) {
        json |= value.contains(JSON);
        html |= value.contains("text/html");
    }
    json && !html
}

fn text(status: StatusCode, words: &'static str) -> Response<Full<Bytes>> {
    of(status, "text/plain; charset=utf-8", Bytes::from_static(words.as_bytes()), "no-store")
}

fn of(status: StatusCode, kind: &'static str, body: Bytes, cached: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let fixed: [(HeaderName, &'static str); 7] = [
        (CONTENT_TYPE, kind),
        (CACHE_CONTROL, cached),
        (VARY, "accept"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, path: &str, accept: &str) -> Response<Full<Bytes>> {
        let request =
            Request::builder().method(method).uri(path).header(ACCEPT, accept).body(()).expect("a request");
        let bodies = Bodies { html: "<p>".into(), json: "{}".into() };
        answer(&request, &bodies, false)
    }

    #[test]
    fn html_for_people_and_json_for_whoever_asks_for_it() {
        let kind = |path: &str, accept: &str| asked("GET", path, accept).headers()[CONTENT_TYPE].clone();
        assert_eq!(kind("/", "text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8"), HTML);
        assert_eq!(
            (kind("/", "*/*"), kind("/?x=%3Cy%3E", "")),
            (HTML.parse().expect("x"), HTML.parse().expect("x"))
        );
        assert_eq!(kind("/", "application/json"), JSON);
        assert_eq!(kind("/status.json", "text/html"), JSON);
    }

    #[test]
    fn nothing_but_reading_and_nothing_but_the_page() {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"] {
            assert_eq!(asked(method, "/", "").status(), 405, "{method}");
        }
        for path in ["/v1/status", "/metrics", "/v1/incidents", "/../", "/index.html"] {
            assert_eq!(asked("GET", path, "").status(), 404, "{path}");
        }
        for path in ["/", "/style.css", "/none"] {
            let policy = asked("HEAD", path, "").headers()[CONTENT_SECURITY_POLICY].clone();
            assert!(
                policy
                    .to_str()
                    .is_ok_and(|it| it.starts_with("default-src 'none'") && !it.contains("unsafe"))
            );
        }
    }
}
