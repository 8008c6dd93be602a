//! Answers that need no backend: fixed ones and redirects.

use crate::routing::settings::Action;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, LOCATION};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, Uri};

/// The answer of an action that names no upstream.
pub fn answer(action: &Action, parts: &Parts, https: bool) -> Option<Response<Bytes>> {
    match action {
        Action::Upstream(_) => None,
        Action::Respond { status, body, content_type } => {
            let mut response = Response::new(body.clone());
            *response.status_mut() = *status;
            response.headers_mut().insert(CONTENT_TYPE, content_type.clone());
            Some(response)
        }
        Action::Redirect { status, scheme, host, path } => {
            let scheme = scheme.as_deref().unwrap_or(if https { "https" } else { "http" });
            let target = Target {
                scheme,
                authority: host.as_deref().unwrap_or_else(|| authority_text(parts)),
                path: path.as_deref(),
            };
            Some(redirect(*status, &target.of(&parts.uri)))
        }
    }
}

/// Host and port as the client wrote them: the target's if it has one, else `Host`.
pub(super) fn authority_text(parts: &Parts) -> &str {
    let host = || parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    parts.uri.authority().map(|authority| authority.as_str()).or_else(host).unwrap_or("")
}

/// The same place under https, for listeners that only redirect. The port of the cleartext listener is not
/// the port of the other, so it goes.
pub fn to_https(uri: &Uri, host: &str) -> Response<Bytes> {
    redirect(StatusCode::PERMANENT_REDIRECT, &Target { scheme: "https", authority: host, path: None }.of(uri))
}

struct Target<'a> {
    scheme: &'a str,
    authority: &'a str,
    path: Option<&'a str>,
}

impl Target<'_> {
    fn of(&self, uri: &Uri) -> String {
        let path = self.path.unwrap_or(uri.path());
        let query = uri.query().map_or(String::new(), |query| format!("?{query}"));
        format!("{}://{}{path}{query}", self.scheme, self.authority)
    }
}

fn redirect(status: StatusCode, location: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_keeps_what_it_does_not_replace() {
        let request = http::Request::get("/a/b?c=d").header(HOST, "x.example:8080");
        let parts = request.body(()).expect("a request").into_parts().0;
        let action = Action::Redirect {
            status: StatusCode::MOVED_PERMANENTLY,
            scheme: Some("https".into()),
            host: None,
            path: None,
        };
        let answer = answer(&action, &parts, false).expect("a redirect");
        assert_eq!(answer.status(), 301);
        assert_eq!(answer.headers()[LOCATION], "https://x.example:8080/a/b?c=d");
        assert_eq!(to_https(&parts.uri, "x.example").headers()[LOCATION], "https://x.example/a/b?c=d");
    }
}
