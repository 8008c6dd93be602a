//! Web pages of other sites: what a browser does for them must neither change the gateway nor hold its streams.
//!
//! Browsers name the page in `Origin` and say in `Sec-Fetch-Site` whose it is. A form, and what a page may
//! send without asking first, is recognised by its media type; nothing here takes one. Programs send none of
//! these headers and notice nothing.
//!
//! Our own page passes: its requests are `same-origin`, its changes name the origin that they are sent to, and all of
//! them carry the token as a header, which another site's page cannot have a browser add. There is no cookie that a
//! browser would add by itself.

use super::problem::Problem;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode};

/// Paths that take the text of a configuration, and look at its media type themselves.
const TAKES_TEXT: [&str; 3] = ["/v1/versions", "/v1/config:check", "/v1/config:plan"];

/// Lets in what comes from our own page or from no page at all.
///
/// # Errors
/// 403 for another site's page. A link to us may be followed, which only reads.
pub(super) fn own_or_none(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let other = || Problem::new(StatusCode::FORBIDDEN, "The request comes from another site's page.");
    if headers.contains_key(ORIGIN) && !is_own_origin(headers) {
        return Err(other());
    }
    let says = |name| headers.get_all(name).iter().map(http::HeaderValue::as_bytes);
    let from_elsewhere = says("sec-fetch-site").any(|site| !matches!(site, b"same-origin" | b"none"));
    let follows_link = method == Method::GET && says("sec-fetch-dest").eq([b"document"]);
    if from_elsewhere && !follows_link { Err(other()) } else { Ok(()) }
}

/// One `Origin`, of the host that was asked. `null` is the origin of pages that hide theirs.
fn is_own_origin(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else { return false };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, rest)| rest);
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    origin.is_some() && origin == host
}

/// A change carries JSON or nothing.
///
/// # Errors
/// 415 for everything else.
pub(super) fn no_form(path: &str, headers: &HeaderMap) -> Result<(), Problem> {
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    let (kind, more) = (kinds.next(), kinds.next());
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    let is_fine = match kind {
        None => !has_body,
        Some(kind) => more.is_none() && is_json(kind.as_bytes()),
    };
    if is_fine || TAKES_TEXT.contains(&path) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "A change is asked for in JSON. hint: `Content-Type: application/json`",
    ))
}

fn is_json(kind: &[u8]) -> bool {
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default();
    kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }

    fn is_let_in(method: &Method, pairs: &[(&'static str, &str)]) -> bool {
        let mut headers = headers(pairs);
        headers.insert(HOST, "localhost:9900".parse().expect("a host"));
        own_or_none(method, &headers).is_ok()
    }

    #[test]
    fn another_sites_page_neither_changes_nor_reads() {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
            assert!(is_let_in(&method, &[]), "a program");
            assert!(is_let_in(&method, &[("origin", "http://localhost:9900")]), "our own page");
            assert!(is_let_in(&method, &[("sec-fetch-site", "same-origin")]), "our own page");
            for origin in ["http://evil.example", "http://localhost:3000", "null", "", "localhost:9900"] {
                assert!(!is_let_in(&method, &[("origin", origin)]), "{method} {origin:?}");
            }
            for site in ["cross-site", "same-site", "anything"] {
                assert!(!is_let_in(&method, &[("sec-fetch-site", site)]), "{method} {site}");
            }
            let twice = [("origin", "http://localhost:9900"), ("origin", "http://evil.example")];
            assert!(!is_let_in(&method, &twice), "{method}");
        }
    }

    #[test]
    fn a_link_to_us_may_be_followed_but_changes_nothing() {
        let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "document")];
        assert!(is_let_in(&Method::GET, &link));
        assert!(!is_let_in(&Method::POST, &link));
        let picture = [("sec-fetch-site", "cross-site"), ("sec-fetch-dest", "image")];
        assert!(!is_let_in(&Method::GET, &picture));
    }

    #[test]
    fn a_change_is_json_or_has_no_body() {
        let is_fine = |pairs: &[(&'static str, &str)]| no_form("/v1/x", &headers(pairs)).is_ok();
        assert!(is_fine(&[]) && is_fine(&[("content-length", "0")]));
        assert!(is_fine(&[("content-type", "Application/JSON; charset=utf-8"), ("content-length", "2")]));
        for form in ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", ""]
        {
            assert!(!is_fine(&[("content-type", form)]), "{form}");
        }
        assert!(!is_fine(&[("content-length", "2")]) && !is_fine(&[("transfer-encoding", "chunked")]));
        assert!(!is_fine(&[("content-type", "application/json"), ("content-type", "text/plain")]));
        assert!(no_form("/v1/versions", &headers(&[("content-length", "2")])).is_ok());
    }
}
