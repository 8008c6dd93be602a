//! What a service that judges is asked: the head of one request, told in a few headers and an allow-list of the
//! client's own, without a body. And what tells one such question from another.
//!
//! A key is a keyed hash of all that the service is told: whoever reads memory finds no credential in it, and
//! nobody can make two requests that share one.

use crate::filters::auth::settings::{CacheSettings, External, KeyPart};
use crate::filters::cookies;
use http::header::{ACCEPT, HOST, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use std::net::IpAddr;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// The request that is to be judged.
#[derive(Debug)]
pub struct Question<'a> {
    /// The route that takes it.
    pub route: &'a str,
    /// Its method.
    pub method: &'a Method,
    /// Its path as the backend will be asked for it, before a prefix is taken off.
    pub path: &'a str,
    /// What follows the path after `?`.
    pub query: Option<&'a str>,
    /// Whom it is for, as the client wrote it.
    pub host: &'a str,
    /// `http` or `https`.
    pub proto: &'a str,
    /// Who the client is, proxies looked through.
    pub client: IpAddr,
    /// What came with it.
    pub headers: &'a HeaderMap,
}

impl Question<'_> {
    fn uri(&self) -> String {
        match self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.to_owned(),
        }
    }
}

/// The headers of the question; nothing where a part of it cannot be said in a header, which the door keeps from
/// happening.
pub fn headers(external: &External, question: &Question<'_>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(external.headers.len() + 8);
    for name in &external.headers {
        for value in question.headers.get_all(name) {
            let mut value = value.clone();
            value.set_sensitive(true);
            headers.append(name, value);
        }
    }
    cookies::join(&mut headers);
    if !question.host.is_empty() {
        let host = HeaderValue::from_bytes(question.host.as_bytes()).ok()?;
        headers.insert(HOST, host.clone());
        headers.insert(FORWARDED_HOST, host);
    }
    headers.insert(METHOD, HeaderValue::from_str(question.method.as_str()).ok()?);
    headers.insert(URI, HeaderValue::try_from(question.uri().into_bytes()).ok()?);
    headers.insert(PROTO, HeaderValue::from_str(question.proto).ok()?);
    headers.insert(FOR, HeaderValue::from_str(&question.client.to_string()).ok()?);
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    Some(headers)
}

/// What tells this question from others.
pub fn key(
    secret: &[u8; 32],
    external: &External,
    cache: &CacheSettings,
    question: &Question<'_>,
) -> super::decisions::Key {
    let mut hash = Hash(blake3::Hasher::new_keyed(secret));
    if cache.key.is_empty() {
        let all = [KeyPart::Route, KeyPart::Method, KeyPart::Host, KeyPart::Uri, KeyPart::ClientIp];
        all.iter().for_each(|part| hash.part(part, question));
        hash.text(question.proto.as_bytes());
        external.headers.iter().for_each(|name| hash.header(name, question.headers));
    } else {
        cache.key.iter().for_each(|part| hash.part(part, question));
    }
    let mut key = [0; 16];
    hash.0.finalize_xof().fill(&mut key);
    key
}

/// A hash of things that cannot run into each other: each is told with its length.
struct Hash(blake3::Hasher);

impl Hash {
    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        self.number(text.len() as u64);
        self.0.update(text);
    }

    fn part(&mut self, part: &KeyPart, question: &Question<'_>) {
        match part {
            KeyPart::Route => self.text(question.route.as_bytes()),
            KeyPart::Method => self.text(question.method.as_str().as_bytes()),
            KeyPart::Host => self.text(question.host.as_bytes()),
            KeyPart::Path => self.text(question.path.as_bytes()),
            KeyPart::Uri => {
                self.text(question.path.as_bytes());
                self.number(u64::from(question.query.is_some()));
                self.text(question.query.unwrap_or_default().as_bytes());
            }
            KeyPart::ClientIp => match question.client {
                IpAddr::V4(address) => self.text(&address.octets()),
                IpAddr::V6(address) => self.text(&address.octets()),
            },
            KeyPart::Header(name) => self.header(name, question.headers),
        }
    }

    fn header(&mut self, name: &HeaderName, headers: &HeaderMap) {
        let values = headers.get_all(name);
        self.number(values.iter().count() as u64);
        values.iter().for_each(|value| self.text(value.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::uri::PathAndQuery;
    use proptest::prelude::*;
    use std::time::Duration;

    const READ: [&str; 2] = ["authorization", "cookie"];

    fn external() -> External {
        External {
            upstream: "auth".into(),
            path: PathAndQuery::from_static("/verify"),
            headers: READ.map(HeaderName::from_static).to_vec(),
            copy_headers: Vec::new(),
            refusal_headers: Vec::new(),
            subject_header: None,
            max_in_flight: 8,
        }
    }

    fn cache(key: Vec<KeyPart>) -> CacheSettings {
        let ttl = Duration::from_secs(30);
        CacheSettings { ttl, refused_ttl: ttl, stale: ttl, max_entries: 10, key }
    }

    /// A question in plain values.
    #[derive(Clone, Debug, PartialEq)]
    struct Plain {
        route: String,
        method: Method,
        path: String,
        query: Option<String>,
        host: String,
        client: u8,
        headers: Vec<(String, String)>,
    }

    impl Plain {
        fn ask<T>(&self, with: impl FnOnce(&Question<'_>) -> T) -> T {
            let mut headers = HeaderMap::new();
            for (name, value) in &self.headers {
                let name: HeaderName = name.parse().expect("a name");
                headers.append(name, value.parse().expect("a value"));
            }
            with(&Question {
                route: &self.route,
                method: &self.method,
                path: &self.path,
                query: self.query.as_deref(),
                host: &self.host,
                proto: "https",
                client: [192, 0, 2, self.client].into(),
                headers: &headers,
            })
        }

        fn key(&self, parts: &[KeyPart]) -> super::super::decisions::Key {
            self.ask(|question| key(&[7; 32], &external(), &cache(parts.to_vec()), question))
        }

        fn told(&self) -> HeaderMap {
            self.ask(|question| headers(&external(), question)).expect("it can be said")
        }
    }

    fn plain() -> Plain {
        Plain {
            route: "orders".into(),
            method: Method::HEAD,
            path: "/orders/1".into(),
            query: Some("full".into()),
            host: "api.example:8080".into(),
            client: 9,
            headers: vec![
                ("authorization".into(), "Bearer x".into()),
                ("cookie".into(), "a=1".into()),
                ("cookie".into(), "b=2".into()),
                ("x-forwarded-for".into(), "spoofed".into()),
                ("x-secret".into(), "not told".into()),
            ],
        }
    }

    #[test]
    fn the_service_is_told_of_the_request_and_of_the_allowed_headers_only() {
        let told = plain().told();
        for (name, value) in [
            ("host", "api.example:8080"),
            ("x-forwarded-host", "api.example:8080"),
            ("x-forwarded-method", "HEAD"),
            ("x-forwarded-uri", "/orders/1?full"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-for", "192.0.2.9"),
            ("authorization", "Bearer x"),
            ("cookie", "a=1; b=2"),
            ("accept", "*/*"),
        ] {
            let all: Vec<_> = told.get_all(name).iter().collect();
            assert_eq!(all, [value], "{name}");
        }
        assert_eq!(told.len(), 9);
        assert!(told["authorization"].is_sensitive());
    }

    #[test]
    fn what_the_service_is_not_told_does_not_tell_requests_apart() {
        let (one, mut other) = (plain(), plain());
        other.headers[4].1 = "something else".into();
        assert_eq!(one.key(&[]), other.key(&[]));
        other.headers[0].1 = "Bearer y".into();
        assert_ne!(one.key(&[]), other.key(&[]));
        assert_eq!(one.key(&[KeyPart::Path]), other.key(&[KeyPart::Path]), "narrower where the file says so");
    }

    #[test]
    fn another_secret_makes_another_key() {
        let with =
            |secret| plain().ask(|question| key(&[secret; 32], &external(), &cache(Vec::new()), question));
        assert_ne!(with(1), with(2));
    }

    fn any_plain() -> impl Strategy<Value = Plain> {
        let text = || "[ab/]{0,3}";
        let header = (prop_oneof![Just("authorization"), Just("cookie")], "[ab]{0,2}");
        let headers = proptest::collection::vec(header, 0..4);
        let method = prop_oneof![Just(Method::GET), Just(Method::POST)];
        (text(), method, text(), proptest::option::of(text()), text(), 0..2_u8, headers).prop_map(
            |(route, method, path, query, host, client, headers)| Plain {
                route,
                method,
                path,
                query,
                host,
                client,
                headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn two_questions_have_one_key_only_if_the_service_is_told_the_same(one in any_plain(), other in any_plain()) {
            let by_name = |plain: &Plain, name: &str| -> Vec<String> {
                let mine = plain.headers.iter().filter(|(known, _)| known == name);
                mine.map(|(_, value)| value.clone()).collect()
            };
            let bare = |plain: &Plain| Plain { headers: Vec::new(), ..plain.clone() };
            let same = bare(&one) == bare(&other) && READ.iter().all(|name| by_name(&one, name) == by_name(&other, name));
            prop_assert_eq!(one.key(&[]) == other.key(&[]), same);
        }
    }
}
