//! Who may ask the admin side for what.
//!
//! With tokens, every request names one; without, only loopback is served, as admin, and only by a loopback
//! name in `Host`, so that a web page cannot reach it through a name that it made resolve to 127.0.0.1. The
//! socket is admin for whoever may open it. Health is open to everyone, metrics unless they have a token.
//! It does not know what a request does beyond reading or changing.

use super::problem::Problem;
use super::settings::{Role, Settings};
use axum::extract::Request;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode};
use std::net::{IpAddr, SocketAddr};

/// Where a connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP from this address.
    Tcp(SocketAddr),
    /// Through the socket, which only its owner and root can open.
    Socket,
}

/// The tokens, ready to compare.
#[derive(Clone, Debug, Default)]
pub struct Access {
    tokens: Vec<(blake3::Hash, Role)>,
    metrics: Option<blake3::Hash>,
}

/// A token's hash in the configuration is no blake3 in hex.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the hash of admin token {name:?} is not a blake3 hash in hex; `tidegate hash-token` makes one")]
pub struct BadTokenHash {
    /// The token's name.
    pub name: String,
}

impl Access {
    /// Reads the hashes.
    ///
    /// # Errors
    /// If one is not a hash: leaving it out could leave no token at all, which means open to loopback.
    pub fn new(settings: &Settings) -> Result<Self, BadTokenHash> {
        let tokens = settings.tokens.iter().map(|token| Ok((hash(&token.hash, &token.name)?, token.role)));
        let metrics =
            settings.metrics_token.as_deref().map(|text| hash(text, "metrics_token")).transpose()?;
        Ok(Access { tokens: tokens.collect::<Result<_, _>>()?, metrics })
    }

    /// Lets a request in, or says why not.
    ///
    /// # Errors
    /// 401 without a known token, 403 for a role, name or origin that may not.
    pub fn check<B>(&self, request: &Request<B>, peer: Peer) -> Result<(), Problem> {
        match request.uri().path() {
            "/livez" | "/readyz" => Ok(()),
            "/metrics" => self.check_metrics(request.headers(), peer),
            _ => {
                let role = self.role(request, peer)?;
                if is_mutation(request.method()) {
                    same_origin(request.headers())?;
                    if role < Role::Operator {
                        return Err(forbidden("A viewer's token reads; this needs an operator's."));
                    }
                }
                Ok(())
            }
        }
    }

    fn check_metrics(&self, headers: &HeaderMap, peer: Peer) -> Result<(), Problem> {
        let (Some(expected), Peer::Tcp(_)) = (self.metrics, peer) else { return Ok(()) };
        let given = bearer(headers).ok_or_else(unauthorized)?;
        let known = given == expected || self.tokens.iter().any(|(hash, _)| given == *hash);
        if known { Ok(()) } else { Err(unauthorized()) }
    }

    fn role<B>(&self, request: &Request<B>, peer: Peer) -> Result<Role, Problem> {
        let Peer::Tcp(address) = peer else { return Ok(Role::Admin) };
        if self.tokens.is_empty() {
            return loopback(request, address).map(|()| Role::Admin);
        }
        let given = bearer(request.headers()).ok_or_else(unauthorized)?;
        // Comparing hashes takes the same time wherever they differ.
        let known = self.tokens.iter().find(|(hash, _)| given == *hash);
        known.map(|&(_, role)| role).ok_or_else(unauthorized)
    }
}

fn hash(text: &str, name: &str) -> Result<blake3::Hash, BadTokenHash> {
    blake3::Hash::from_hex(text).map_err(|_| BadTokenHash { name: name.to_owned() })
}

fn is_mutation(method: &Method) -> bool {
    !(method == Method::GET || method == Method::HEAD || method == Method::OPTIONS)
}

/// The hash of the token in `Authorization: Bearer`.
fn bearer(headers: &HeaderMap) -> Option<blake3::Hash> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| blake3::hash(token.trim_ascii()))
}

/// From loopback and asked for by a loopback name.
fn loopback<B>(request: &Request<B>, address: SocketAddr) -> Result<(), Problem> {
    if !address.ip().to_canonical().is_loopback() {
        return Err(forbidden("Without tokens the admin side serves loopback only. hint: `[admin] tokens`"));
    }
    let host = request.uri().authority().map(Authority::as_str);
    let host = host.or_else(|| request.headers().get(HOST)?.to_str().ok());
    if host.and_then(host_name).is_some_and(is_loopback_name) {
        Ok(())
    } else {
        Err(forbidden(
            "Without tokens the admin side answers only to localhost, 127.0.0.1 or [::1] as Host. \
             hint: `[admin] tokens`",
        ))
    }
}

/// A browser names the page that a mutation comes from; it must be our own.
fn same_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, rest)| rest);
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    if origin.is_some() && origin == host {
        Ok(())
    } else {
        Err(forbidden("The request comes from another site's page (Origin)."))
    }
}

/// The name in an authority, without its port and brackets.
fn host_name(authority: &str) -> Option<&str> {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map(|(address, _)| address),
        None => authority.split(':').next(),
    }
}

fn is_loopback_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

fn unauthorized() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "A token is needed: `Authorization: Bearer …`. hint: TIDEGATE_TOKEN on the command line",
    )
}

fn forbidden(detail: &'static str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::settings::Token;

    const LOCAL: Peer = Peer::Tcp(SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1));

    fn access(tokens: &[(&str, Role)], metrics: Option<&str>) -> Access {
        let hex = |text: &str| blake3::hash(text.as_bytes()).to_hex().to_string();
        let token = |&(text, role): &(&str, Role)| Token { name: text.into(), role, hash: hex(text) };
        Access::new(&Settings {
            address: ([127, 0, 0, 1], 0).into(),
            state_dir: "/nowhere".into(),
            socket: false,
            tokens: tokens.iter().map(token).collect(),
            metrics_token: metrics.map(hex),
        })
        .expect("hashes")
    }

    fn status(access: &Access, method: &str, path: &str, headers: &[(&str, &str)], peer: Peer) -> u16 {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        access.check(&request, peer).map_or_else(|problem| problem.status.as_u16(), |()| 200)
    }

    #[test]
    fn without_tokens_only_loopback_names_are_served() {
        let open = access(&[], None);
        for host in ["localhost:9900", "127.0.0.1", "[::1]:9900", "LOCALHOST.", "127.8.8.8:1"] {
            assert_eq!(status(&open, "GET", "/v1/status", &[("host", host)], LOCAL), 200, "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "10.0.0.1", "[::2]", ""] {
            assert_eq!(status(&open, "GET", "/v1/status", &[("host", host)], LOCAL), 403, "{host}");
        }
        assert_eq!(status(&open, "GET", "/v1/status", &[], LOCAL), 403);
        let far = Peer::Tcp(([192, 0, 2, 1], 1).into());
        assert_eq!(status(&open, "GET", "/v1/status", &[("host", "localhost")], far), 403);
    }

    #[test]
    fn with_tokens_every_request_names_one_that_may() {
        let access = access(&[("see", Role::Viewer), ("act", Role::Operator)], None);
        let with = |method, token: &str| {
            status(&access, method, "/v1/x", &[("authorization", &format!("Bearer {token}"))], LOCAL)
        };
        assert_eq!(with("GET", "see"), 200);
        assert_eq!(with("POST", "see"), 403);
        assert_eq!(with("POST", "act"), 200);
        assert_eq!(with("GET", "guess"), 401);
        assert_eq!(status(&access, "GET", "/v1/x", &[("host", "localhost")], LOCAL), 401);
        assert_eq!(status(&access, "GET", "/v1/x", &[("authorization", "Basic see")], LOCAL), 401);
        assert_eq!(status(&access, "POST", "/v1/x", &[], Peer::Socket), 200);
    }

    #[test]
    fn health_is_open_and_metrics_unless_they_have_a_token() {
        let open = access(&[("see", Role::Viewer)], None);
        for path in ["/livez", "/readyz", "/metrics"] {
            assert_eq!(status(&open, "GET", path, &[("host", "evil.example")], LOCAL), 200, "{path}");
        }
        let closed = access(&[("see", Role::Viewer)], Some("scrape"));
        let with = |token: &str| status(&closed, "GET", "/metrics", &[("authorization", token)], LOCAL);
        assert_eq!(
            [with("Bearer scrape"), with("bearer see"), with("Bearer x"), with("")],
            [200, 200, 401, 401]
        );
    }

    #[test]
    fn a_mutation_from_another_sites_page_is_refused() {
        let open = access(&[], None);
        let with = |origin| {
            let headers = [("host", "localhost:9900"), ("origin", origin)];
            status(&open, "POST", "/v1/x", &headers, LOCAL)
        };
        assert_eq!(with("http://localhost:9900"), 200);
        assert_eq!(with("http://evil.example"), 403);
        assert_eq!(with("http://localhost:3000"), 403);
        assert_eq!(with("null"), 403);
    }

    #[test]
    fn a_hash_that_is_none_is_an_error_and_not_an_open_door() {
        let settings = Settings {
            address: ([127, 0, 0, 1], 0).into(),
            state_dir: "/nowhere".into(),
            socket: false,
            tokens: vec![Token { name: "ops".into(), role: Role::Admin, hash: "hunter2".into() }],
            metrics_token: None,
        };
        assert_eq!(Access::new(&settings).expect_err("no hash").name, "ops");
    }
}
