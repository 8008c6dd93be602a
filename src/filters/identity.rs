//! For whom a request is: its authority, said in one way only.
//!
//! A request can name its target in `Host`, in an absolute target and in `:authority`. Whoever routes by one
//! while the backend believes another has been tricked, so they must agree, or it is 400. Methods that a
//! gateway must not pass on end here too. The door has checked most of this for HTTP/1; HTTP/2 comes here
//! unchecked.

use crate::filters::fields::Fields;
use crate::reject::{Reason, Reject};
use http::header::{HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Method, Uri};

/// Longest name that DNS knows.
const MAX_HOST: usize = 255;

/// Host and port as the client wrote them; the host is not folded to lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// A name, an IPv4 address, or an IPv6 address in brackets; never empty.
    pub host: &'a str,
    /// The port, if one was written.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Reads `host` or `host:port`; no user information, no empty port, no characters outside host names.
    pub fn parse(text: &'a str) -> Option<Self> {
        let end = match text.strip_prefix('[') {
            Some(rest) => rest.find(']')? + 2,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, rest) = text.split_at(end);
        let port = match rest.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
            None if rest.is_empty() => None,
            _ => return None,
        };
        let valid = match host.strip_prefix('[') {
            Some(address) => address.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().is_ok(),
            None => is_name(host),
        };
        valid.then_some(Authority { host, port })
    }

    /// Same host and, with the scheme's port where none is written, same port.
    fn agrees(&self, other: &Authority<'_>, default_port: Option<u16>) -> bool {
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.or(default_port) == other.port.or(default_port)
    }
}

/// Whether method, target and framing fields are fit to be passed on; 400 if they are not, 405 for CONNECT.
pub fn check(parts: &Parts, fields: Fields) -> Result<(), Reject> {
    check_method(&parts.method)?;
    check_target(&parts.method, &parts.uri)?;
    if fields.has(Fields::TRANSFER_ENCODING) {
        check_transfer_encoding(parts)?;
    }
    Ok(())
}

/// What the client wrote as `Host`, where nothing but one such field names whom it asks for: the same text is the
/// same [`authority`].
pub fn only_host(parts: &Parts) -> Option<&HeaderValue> {
    let mut values = parts.headers.get_all(HOST).iter();
    let first = values.next().filter(|_| parts.uri.authority().is_none());
    first.filter(|_| values.next().is_none())
}

/// The authority of a request that was checked; 400 if it has none, or is not of one mind.
pub fn authority(parts: &Parts) -> Result<Authority<'_>, Reject> {
    let host = host(parts)?;
    let named =
        parts.uri.authority().map(|a| Authority::parse(a.as_str()).ok_or(refuse("malformed authority")));
    match (host, named.transpose()?) {
        (None, None) => Err(refuse("no Host")),
        (Some(only), None) | (None, Some(only)) => Ok(only),
        (Some(host), Some(named)) if named.agrees(&host, default_port(&parts.uri)) => Ok(named),
        (Some(_), Some(_)) => Err(refuse("Host and target disagree")),
    }
}

/// The `Host` field, which may be absent (HTTP/2) but not doubled or malformed.
fn host(parts: &Parts) -> Result<Option<Authority<'_>>, Reject> {
    let mut values = parts.headers.get_all(HOST).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(refuse("more than one Host"));
    }
    let parsed = value.to_str().ok().and_then(Authority::parse);
    parsed.map(Some).ok_or(refuse("malformed Host"))
}

fn check_method(method: &Method) -> Result<(), Reject> {
    if method == Method::CONNECT {
        let mut reject = Reject::new(Reason::ConnectRefused, "this gateway is not a forward proxy");
        reject.allow = Some(HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        return Err(reject);
    }
    if method.as_str().bytes().any(|b| b.is_ascii_lowercase()) {
        return Err(refuse("malformed method"));
    }
    Ok(())
}

/// Origin form, absolute form of http or https, or `OPTIONS *`.
fn check_target(method: &Method, uri: &Uri) -> Result<(), Reject> {
    match uri.scheme_str() {
        None if uri.authority().is_some() => return Err(refuse("malformed request target")),
        None | Some("http" | "https") => {}
        Some(_) => return Err(refuse("unsupported scheme in the request target")),
    }
    if uri.path().starts_with('/') || (uri.path() == "*" && method == Method::OPTIONS) {
        return Ok(());
    }
    Err(refuse("malformed request target"))
}

fn check_transfer_encoding(parts: &Parts) -> Result<(), Reject> {
    let mut values = parts.headers.get_all(TRANSFER_ENCODING).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(()),
        (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(refuse("unsupported Transfer-Encoding").closing()),
    }
}

fn default_port(uri: &Uri) -> Option<u16> {
    match uri.scheme_str()? {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

fn is_name(host: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    (1..=MAX_HOST).contains(&host.len()) && host.bytes().all(allowed) && !host.starts_with('.')
}

fn refuse(detail: &'static str) -> Reject {
    Reject::new(Reason::BadRequest, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(parts: &Parts) -> Result<Authority<'_>, Reject> {
        check(parts, Fields::of(&parts.headers)).and_then(|()| super::authority(parts))
    }

    fn parts(method: &str, target: &str, hosts: &[&str]) -> Parts {
        let mut request = http::Request::builder().method(method).uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn refusal(method: &str, target: &str, hosts: &[&str]) -> String {
        let parts = parts(method, target, hosts);
        match authority(&parts) {
            Ok(found) => panic!("accepted {method} {target} {hosts:?} as {found:?}"),
            Err(reject) => reject.detail.into_owned(),
        }
    }

    #[test]
    fn agreement_in_every_form_is_accepted() {
        for (target, hosts) in [
            ("/", &["a.example"][..]),
            ("http://a.example/", &["A.EXAMPLE"]),
            ("http://a.example:80/", &["a.example"]),
            ("https://a.example/", &["a.example:443"]),
            ("https://a.example/", &[]),
        ] {
            let parts = parts("GET", target, hosts);
            assert!(authority(&parts).unwrap().host.eq_ignore_ascii_case("a.example"), "{target} {hosts:?}");
        }
        let parts = parts("OPTIONS", "*", &["[::1]:8080"]);
        assert_eq!(authority(&parts).unwrap(), Authority { host: "[::1]", port: Some(8080) });
    }

    #[test]
    fn disagreement_is_refused() {
        for (target, host) in [
            ("http://a.example/", "b.example"),
            ("http://a.example:81/", "a.example"),
            ("http://a.example/", "a.example:443"),
            ("https://a.example/", "a.example:80"),
            ("http://a.example/", "a.example."),
        ] {
            assert_eq!(refusal("GET", target, &[host]), "Host and target disagree");
        }
    }

    #[test]
    fn garbage_is_refused() {
        for host in [
            "", " ", "a b", "a,b", "user@a", "a/b", "a:", "a:x", "a:99999", "a:+1", "[::1", "[x]", "::1",
            "a?b", "a#b", "a%00", "a\\b", ".a", "<a>",
        ] {
            assert_eq!(refusal("GET", "/", &[host]), "malformed Host", "{host:?}");
        }
        assert_eq!(refusal("GET", "/", &[]), "no Host");
        assert_eq!(refusal("GET", "/", &["a", "a"]), "more than one Host");
        assert_eq!(refusal("GET", "http://user@a/", &["a"]), "malformed authority");
        assert_eq!(refusal("GET", "a.example:80", &["a.example"]), "malformed request target");
        assert_eq!(refusal("GET", "*", &["a"]), "malformed request target");
        assert_eq!(refusal("GET", "ftp://a/", &["a"]), "unsupported scheme in the request target");
        assert_eq!(refusal("get", "/", &["a"]), "malformed method");
        assert_eq!(refusal("CONNECT", "a:443", &["a:443"]), "this gateway is not a forward proxy");
    }

    #[test]
    fn only_one_plain_chunked_is_passed_on() {
        for (values, fine) in [
            (&["chunked"][..], true),
            (&["Chunked"], true),
            (&["gzip, chunked"], false),
            (&["chunked", "chunked"], false),
            (&["identity"], false),
        ] {
            let mut parts = parts("POST", "/", &["a"]);
            for value in values {
                parts.headers.append(TRANSFER_ENCODING, value.parse().unwrap());
            }
            assert_eq!(authority(&parts).is_ok(), fine, "{values:?}");
        }
    }
}
