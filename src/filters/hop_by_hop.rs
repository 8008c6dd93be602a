//! Fields that are meant for the next hop only (RFC 9110, 7.6.1) end here, in both directions.
//!
//! `Trailer` stays, because the engine needs it to send trailers, and so does `TE: trailers`. A client that
//! nominates a field which others rely on (`Connection: authorization`, a known way to strip what a proxy
//! in front has added) is refused; a backend that does so is not obeyed. A head without any such field is
//! only read.

use crate::filters::fields::Fields;
use crate::reject::{Reason, Reject};
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};

/// More nominations than this are no honest use.
const MAX_NOMINATED: usize = 16;

/// Nothing else is touched here.
const CONCERNED: Fields = Fields::CONNECTION.or(Fields::ONE_HOP).or(Fields::TE);

const UPGRADE_TOKEN: HeaderValue = HeaderValue::from_static("upgrade");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// Strips a request, whose `fields` these are, on its way to a backend. With `upgrade`, the two fields that ask for
/// that protocol are set anew. 400 for a nomination that would strip an end-to-end field.
pub fn request(headers: &mut HeaderMap, fields: Fields, upgrade: Option<&HeaderValue>) -> Result<(), Reject> {
    if fields.has(CONCERNED) {
        let nominated = nominated(headers, fields, true)?;
        strip(headers, fields, nominated, upgrade);
    }
    Ok(())
}

/// Strips an answer on its way to a client; `upgrade` for a 101 to a request for that protocol.
pub fn response(headers: &mut HeaderMap, upgrade: Option<&HeaderValue>) {
    let fields = Fields::of(headers);
    if fields.has(CONCERNED) || upgrade.is_some() {
        // Only strict reading fails.
        let nominated = nominated(headers, fields, false).unwrap_or_default();
        strip(headers, fields, nominated, upgrade);
    }
}

/// Whether `Connection` nominates one of these fields, so that the next hop would not see it.
pub fn nominates(headers: &HeaderMap, names: &[HeaderName]) -> bool {
    let values = headers.get_all(CONNECTION).iter();
    let mut tokens = values.flat_map(|v| v.as_bytes().split(|b| *b == b',')).map(<[u8]>::trim_ascii);
    tokens.any(|token| names.iter().any(|name| token.eq_ignore_ascii_case(name.as_str().as_bytes())))
}

/// Removes what is there; removing costs a hash for each name.
fn strip(headers: &mut HeaderMap, fields: Fields, nominated: Vec<HeaderName>, upgrade: Option<&HeaderValue>) {
    if fields.has(Fields::CONNECTION) {
        headers.remove(CONNECTION);
    }
    if fields.has(Fields::ONE_HOP) {
        for name in &ONE_HOP {
            headers.remove(name);
        }
    }
    for name in nominated {
        headers.remove(name);
    }
    if fields.has(Fields::TE) {
        keep_trailers_only(headers);
    }
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, UPGRADE_TOKEN);
        headers.insert(UPGRADE, protocol.clone());
    }
}

/// Reduces `TE` to `trailers`, or to nothing.
fn keep_trailers_only(headers: &mut HeaderMap) {
    let trailers = headers.get_all(TE).iter().any(|value| {
        value.as_bytes().split(|b| *b == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    });
    if trailers {
        headers.insert(TE, TRAILERS);
    } else {
        headers.remove(TE);
    }
}

/// The fields that `Connection` nominates, are there, and are not handled by name anyway. Allocates only if
/// there is one. Strict: refuses what is malformed, too much, or critical; else skips it.
fn nominated(headers: &HeaderMap, fields: Fields, strict: bool) -> Result<Vec<HeaderName>, Reject> {
    let mut names = Vec::new();
    if !fields.has(Fields::CONNECTION) {
        return Ok(names);
    }
    let values = headers.get_all(CONNECTION).iter();
    // What most heads say.
    let values = values.filter(|value| *value != "keep-alive" && *value != "close");
    let tokens = values.flat_map(|v| v.as_bytes().split(|b| *b == b',')).map(<[u8]>::trim_ascii);
    for (i, token) in tokens.filter(|token| !token.is_empty()).enumerate() {
        if OPTIONS.iter().any(|option| token.eq_ignore_ascii_case(option.as_bytes())) {
            continue;
        }
        let honest = i < MAX_NOMINATED && !is_critical(token);
        match HeaderName::from_bytes(token) {
            Ok(name) if honest => names.extend(headers.contains_key(&name).then_some(name)),
            _ if strict => {
                return Err(Reject::new(Reason::BadRequest, "Connection nominates what it must not"));
            }
            _ => {}
        }
    }
    Ok(names)
}

fn is_critical(name: &[u8]) -> bool {
    CRITICAL.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        || name.get(..12).is_some_and(|start| start.eq_ignore_ascii_case(b"x-forwarded-"))
}

/// Stripped whoever sends them, beside `Connection`. `Proxy` is no header field at all, but becomes `HTTP_PROXY` in a CGI
/// environment (CVE-2016-5385).
pub(super) static ONE_HOP: [HeaderName; 9] = [
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    http::header::PROXY_AUTHENTICATE,
    http::header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-authentication-info"),
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("proxy"),
];

/// What `Connection` usually says: options that are no fields, and fields that are handled by name.
const OPTIONS: [&str; 8] = [
    "keep-alive",
    "close",
    "upgrade",
    "te",
    "http2-settings",
    "proxy-connection",
    "trailer",
    "transfer-encoding",
];

/// End-to-end fields that somebody's decision rests on.
const CRITICAL: [&str; 22] = [
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "location",
    "origin",
    "range",
    "set-cookie",
    "traceparent",
    "tracestate",
    "vary",
    "via",
    "www-authenticate",
    "x-real-ip",
    "x-request-id",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(headers: &mut HeaderMap, upgrade: Option<&HeaderValue>) -> Result<(), Reject> {
        let fields = Fields::of(headers);
        request(headers, fields, upgrade)
    }

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn what_is_for_one_hop_ends_here() {
        let mut headers = map(&[
            ("connection", "keep-alive, X-One"),
            ("connection", "x-two, x-absent"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eA=="),
            ("proxy", "http://evil"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAM"),
            ("te", "deflate, trailers;q=0.5, Trailers"),
            ("trailer", "x-sum"),
        ]);
        ask(&mut headers, None).unwrap();
        assert_eq!(headers, map(&[("x-three", "3"), ("te", "trailers"), ("trailer", "x-sum")]));
    }

    #[test]
    fn te_without_trailers_goes() {
        let mut headers = map(&[("te", "gzip"), ("connection", "TE")]);
        ask(&mut headers, None).unwrap();
        assert!(headers.is_empty());
    }

    #[test]
    fn a_client_cannot_strip_what_others_rely_on() {
        for nominated in
            ["Host", "content-length", "X-Forwarded-For", "authorization", "cookie", "a b", "\u{e9}"]
        {
            let mut headers = map(&[("x-forwarded-for", "1.2.3.4")]);
            headers.append(CONNECTION, HeaderValue::from_bytes(nominated.as_bytes()).unwrap());
            let refused = ask(&mut headers, None).unwrap_err();
            assert_eq!(refused.reason, Reason::BadRequest, "{nominated}");
        }
        let many = (0..20).map(|i| format!("x-{i}")).collect::<Vec<_>>().join(",");
        let mut headers = HeaderMap::new();
        headers.append(CONNECTION, many.parse().unwrap());
        assert!(ask(&mut headers, None).is_err());
    }

    #[test]
    fn a_backend_that_nominates_them_is_not_obeyed() {
        let mut headers = map(&[("connection", "set-cookie, x-one"), ("set-cookie", "a=b"), ("x-one", "1")]);
        response(&mut headers, None);
        assert_eq!(headers, map(&[("set-cookie", "a=b")]));
    }

    #[test]
    fn a_websocket_asks_for_itself_and_nothing_else() {
        let mut headers = map(&[("connection", "keep-alive, Upgrade"), ("upgrade", "h2c, websocket")]);
        ask(&mut headers, Some(&HeaderValue::from_static("websocket"))).unwrap();
        assert_eq!(headers, map(&[("connection", "upgrade"), ("upgrade", "websocket")]));
    }
}
