//! Which fields may not come after a body (RFC 9110, 6.5.1): those that frame, route, authenticate or
//! describe a message, because whoever decided about the head has decided without them.

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::Frame;

/// Takes forbidden fields out of a frame of trailers, in either direction; for what does not pass the door's
/// line checks: HTTP/2 requests, and all answers.
pub fn strip(frame: &mut Frame<Bytes>) {
    if let Some(trailers) = frame.trailers_mut() {
        strip_map(trailers);
    }
}

fn strip_map(trailers: &mut HeaderMap) {
    let names = trailers.keys().filter(|name| forbidden(name.as_str().as_bytes()));
    let names: Vec<HeaderName> = names.cloned().collect();
    for name in names {
        trailers.remove(name);
    }
}

/// True for a field name, in any case, that must not be a trailer.
pub fn forbidden(name: &[u8]) -> bool {
    FORBIDDEN.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        || PREFIXES.iter().any(|prefix| {
            name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
        })
}

const FORBIDDEN: [&str; 23] = [
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "pragma",
    "range",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
    "x-real-ip",
];

const PREFIXES: [&str; 3] = ["proxy-", "x-forwarded-", "if-"];

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn trailers_that_frame_route_or_authenticate_are_taken_out() {
        let mut map = HeaderMap::new();
        for name in ["content-length", "host", "transfer-encoding", "x-forwarded-for", "proxy-authorization"]
        {
            assert!(forbidden(name.to_ascii_uppercase().as_bytes()), "{name}");
            map.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        for name in ["grpc-status", "grpc-message", "x-checksum", "server-timing", "digest"] {
            map.insert(HeaderName::from_static(name), HeaderValue::from_static("0"));
        }
        let mut frame = Frame::trailers(map);
        strip(&mut frame);
        let left = frame.into_trailers().expect("trailers");
        assert_eq!(left.len(), 5);
        assert!(left.contains_key("grpc-status"));
    }
}
