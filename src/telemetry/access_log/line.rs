//! One access line: what is in it, and how it becomes JSON.
//!
//! Written by hand into the core's buffer: no allocation, no map of fields. Whatever bytes a client sends,
//! the line is one line and parses. Values of redacted query keys, and headers that carry credentials, are
//! never written.

use super::json::{bytes, escape, key, millis, number, text};
use http::{HeaderName, HeaderValue, header};
use std::io::Write as _;
use std::net::IpAddr;

/// How an exchange ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// The client has the last byte.
    #[default]
    Complete,
    /// The client left before.
    ClientGone,
    /// The backend broke its answer off.
    BackendGone,
    /// The gateway cut it: too slow, too long, or on its way out; `reason` says which.
    Cut,
}

impl End {
    /// The word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            End::Complete => "complete",
            End::ClientGone => "client_gone",
            End::BackendGone => "backend_gone",
            End::Cut => "cut",
        }
    }
}

/// What is known of a request at its last byte. Empty texts and `None` are left out of the line.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessRecord<'a> {
    /// When its head arrived, in milliseconds since 1970.
    pub unix_ms: i64,
    /// The id that went out as `x-request-id`.
    pub request_id: &'a str,
    /// The client, behind trusted proxies if there are any.
    pub client: Option<IpAddr>,
    /// The listener's name.
    pub listener: &'a str,
    /// The method.
    pub method: &'a str,
    /// The authority it asked for.
    pub host: &'a str,
    /// Path as received, without the query.
    pub path: &'a str,
    /// Query without `?`.
    pub query: Option<&'a str>,
    /// Query keys whose values are not written.
    pub redact_query: &'a [String],
    /// `HTTP/1.1`, `HTTP/2`.
    pub protocol: &'a str,
    /// The route, `-` if none.
    pub route: &'a str,
    /// The upstream.
    pub upstream: &'a str,
    /// The backend that answered or was tried last.
    pub backend: &'a str,
    /// The status sent.
    pub status: u16,
    /// Why the gateway refused or cut it.
    pub reason: &'a str,
    /// Its class.
    pub class: &'a str,
    /// Who it is, as its auth says; never a credential.
    pub identity: Option<&'a str>,
    /// The number of the version that it ran on.
    pub version: u64,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
    /// From its head to the last byte, in nanoseconds.
    pub duration_ns: u64,
    /// In the queue, in nanoseconds.
    pub queue_ns: u64,
    /// From the first byte to the backend to its head, in nanoseconds.
    pub upstream_ns: Option<u64>,
    /// Further tries.
    pub retries: u32,
    /// How it ended.
    pub end: End,
    /// The client's program.
    pub user_agent: Option<&'a HeaderValue>,
    /// The trace that it belongs to.
    pub traceparent: Option<&'a HeaderValue>,
    /// The configured request headers that it had.
    pub headers: &'a [(HeaderName, HeaderValue)],
}

/// Headers that carry credentials: not written even if they are configured.
const NEVER: [HeaderName; 4] =
    [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION, header::SET_COOKIE];

impl AccessRecord<'_> {
    /// Appends the line with its newline.
    pub(super) fn write(&self, clock: &mut LineClock, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        clock.write(self.unix_ms, out);
        out.push(b'"');
        self.write_request(out);
        self.write_answer(out);
        self.write_headers(out);
        out.extend_from_slice(b"}\n");
    }

    fn write_request(&self, out: &mut Vec<u8>) {
        text(out, "request_id", self.request_id);
        if let Some(client) = self.client {
            key(out, "client");
            // Writing to memory cannot fail.
            let _ = write!(out, "\"{client}\"");
        }
        text(out, "listener", self.listener);
        text(out, "method", self.method);
        text(out, "host", self.host);
        key(out, "path");
        out.push(b'"');
        escape(out, self.path.as_bytes());
        if let Some(query) = self.query {
            out.push(b'?');
            redacted(out, query, self.redact_query);
        }
        out.push(b'"');
        text(out, "protocol", self.protocol);
        text(out, "route", self.route);
        text(out, "upstream", self.upstream);
        text(out, "backend", self.backend);
        if let Some(identity) = self.identity {
            text(out, "identity", identity);
        }
    }

    fn write_answer(&self, out: &mut Vec<u8>) {
        number(out, "status", u64::from(self.status));
        text(out, "reason", self.reason);
        text(out, "class", self.class);
        number(out, "version", self.version);
        number(out, "bytes_in", self.bytes_in);
        number(out, "bytes_out", self.bytes_out);
        millis(out, "duration_ms", self.duration_ns);
        millis(out, "queue_ms", self.queue_ns);
        if let Some(ns) = self.upstream_ns {
            millis(out, "upstream_ms", ns);
        }
        number(out, "retries", u64::from(self.retries));
        text(out, "end", self.end.as_str());
    }

    fn write_headers(&self, out: &mut Vec<u8>) {
        if let Some(value) = self.user_agent {
            bytes(out, "user_agent", value.as_bytes());
        }
        if let Some(value) = self.traceparent {
            bytes(out, "traceparent", value.as_bytes());
        }
        let mut headers = self.headers.iter().filter(|(name, _)| !NEVER.contains(name)).peekable();
        if headers.peek().is_none() {
            return;
        }
        out.extend_from_slice(b",\"headers\":{");
        for (place, (name, value)) in headers.enumerate() {
            if place > 0 {
                out.push(b',');
            }
            out.push(b'"');
            escape(out, name.as_str().as_bytes());
            out.extend_from_slice(b"\":\"");
            escape(out, value.as_bytes());
            out.push(b'"');
        }
        out.push(b'}');
    }
}

/// RFC 3339 in UTC with milliseconds; formats only when the second changes.
#[derive(Debug, Default)]
pub(super) struct LineClock {
    second: i64,
    /// `2026-11-01T12:00:00`, empty before the first line.
    formatted: String,
}

impl LineClock {
    fn write(&mut self, unix_ms: i64, out: &mut Vec<u8>) {
        let second = unix_ms.div_euclid(1000);
        if second != self.second || self.formatted.is_empty() {
            // A clock outside jiff's years is shown as 1970.
            let time = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
            self.formatted = time.to_string();
            self.formatted.truncate(19);
            self.second = second;
        }
        let ms = unix_ms.rem_euclid(1000);
        out.extend_from_slice(self.formatted.as_bytes());
        let _ = write!(out, ".{ms:03}Z");
    }
}

/// The query with the values of these keys replaced by `…`; keys compare decoded and without case, or
/// `%74oken=` would show what `token=` hides.
fn redacted(out: &mut Vec<u8>, query: &str, redact: &[String]) {
    for (place, pair) in query.split('&').enumerate() {
        if place > 0 {
            out.push(b'&');
        }
        match pair.split_once('=') {
            Some((name, _)) if redact.iter().any(|key| same_key(name, key)) => {
                escape(out, name.as_bytes());
                out.extend_from_slice("=…".as_bytes());
            }
            _ => escape(out, pair.as_bytes()),
        }
    }
}

fn same_key(raw: &str, key: &str) -> bool {
    decoded(raw.as_bytes())
        .map(|byte| byte.to_ascii_lowercase())
        .eq(key.bytes().map(|byte| byte.to_ascii_lowercase()))
}

fn decoded(mut raw: &[u8]) -> impl Iterator<Item = u8> {
    let hex = |byte: u8| (byte as char).to_digit(16);
    std::iter::from_fn(move || match raw {
        [] => None,
        [b'%', high, low, rest @ ..] if hex(*high).is_some() && hex(*low).is_some() => {
            raw = rest;
            Some((hex(*high)? * 16 + hex(*low)?) as u8)
        }
        [byte, rest @ ..] => {
            raw = rest;
            Some(*byte)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(record: &AccessRecord<'_>) -> String {
        let mut out = Vec::new();
        record.write(&mut LineClock::default(), &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    fn parsed(record: &AccessRecord<'_>) -> serde_json::Value {
        serde_json::from_str(&line(record)).expect("JSON")
    }

    #[test]
    fn a_line_says_when_and_how_long() {
        let record = AccessRecord {
            unix_ms: 1_700_000_000_045,
            duration_ns: 12_345_678,
            client: Some([192, 0, 2, 1].into()),
            ..AccessRecord::default()
        };
        let json = parsed(&record);
        assert_eq!(json["time"], "2023-11-14T22:13:20.045Z");
        assert_eq!(json["duration_ms"], 12.345);
        assert_eq!(json["client"], "192.0.2.1");
        assert_eq!(json["end"], "complete");
        assert_eq!(json.get("upstream_ms"), None);
    }

    #[test]
    fn redacted_values_are_not_written_in_any_spelling_of_their_key() {
        let redact = ["token".to_owned()];
        for query in ["a=1&token=hunter2", "%74oken=hunter2", "TOKEN=hunter2&b", "token=x&token=hunter2"] {
            let record = AccessRecord { query: Some(query), redact_query: &redact, ..Default::default() };
            assert!(!line(&record).contains("hunter2"), "{query}");
        }
        let record = AccessRecord {
            path: "/p",
            query: Some("a=1&token=x"),
            redact_query: &redact,
            ..Default::default()
        };
        assert_eq!(parsed(&record)["path"], "/p?a=1&token=…");
    }

    #[test]
    fn credentials_are_not_written_even_if_configured() {
        let headers = [
            (header::AUTHORIZATION, HeaderValue::from_static("Bearer hunter2")),
            (header::ACCEPT, HeaderValue::from_static("*/*")),
        ];
        let json = parsed(&AccessRecord { headers: &headers, ..Default::default() });
        assert_eq!(json["headers"], serde_json::json!({"accept": "*/*"}));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn every_line_parses_whatever_the_bytes(
            path in any::<String>(),
            query in any::<String>(),
            agent in proptest::collection::vec(any::<u8>(), 0..64),
            unix_ms in any::<i64>(),
        ) {
            let agent = HeaderValue::from_bytes(&agent).ok();
            let record = AccessRecord {
                unix_ms,
                path: &path,
                query: Some(&query),
                redact_query: &["k".to_owned()],
                user_agent: agent.as_ref(),
                ..Default::default()
            };
            let line = line(&record);
            prop_assert_eq!(line.matches('\n').count(), 1);
            let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            let prefix = format!("{path}?");
            prop_assert!(json["path"].as_str().expect("text").starts_with(&prefix));
        }
    }
}
