//! Who may ask the admin side for what.
//!
//! With tokens, every request names one; without, only loopback is served, as admin, and only by a loopback
//! name in `Host`, so that a web page cannot reach it through a name that it made resolve to 127.0.0.1. The
//! socket is admin for whoever may open it. Health is open to everyone, metrics unless they have a token, and so are
//! the files of the page, which hold no data.
//! What a browser sends on behalf of another site's page is in `pages`. It does not know what a request does
//! beyond reading or changing.

use super::caller::{Caller, Via};
use super::dashboard;
use super::pages;
use super::problem::Problem;
use super::settings::{Role, Settings};
use axum::extract::Request;
use http::header::{AUTHORIZATION, HOST};
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Where a connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP from this address.
    Tcp(SocketAddr),
    /// Through the socket, which only its owner and root can open; with the user's number, if the system
    /// said it.
    Socket(Option<u32>),
}

/// The tokens, ready to compare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    tokens: Vec<Known>,
    metrics: Option<blake3::Hash>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    name: Arc<str>,
    role: Role,
    hash: blake3::Hash,
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
        let known = settings.tokens.iter().map(|token| {
            let hash = hash(&token.hash, &token.name)?;
            Ok(Known { name: token.name.as_str().into(), role: token.role, hash })
        });
        let metrics =
            settings.metrics_token.as_deref().map(|text| hash(text, "metrics_token")).transpose()?;
        Ok(Access { tokens: known.collect::<Result<_, _>>()?, metrics })
    }

    /// Lets a request in and says who asks, or says why not.
    ///
    /// # Errors
    /// 401 without a known token, 403 for a role, name or origin that may not, 415 for a change that a web
    /// page's form could have sent.
    pub fn check<B>(&self, request: &Request<B>, peer: Peer) -> Result<Caller, Problem> {
        match request.uri().path() {
            "/livez" | "/readyz" => Ok(Caller::anyone()),
            "/metrics" => self.check_metrics(request.headers(), peer).map(|()| Caller::anyone()),
            path if dashboard::is_file(path) => {
                self.check_page(request, peer)?;
                pages::own_or_none(request.method(), request.headers())?;
                Ok(Caller::anyone())
            }
            path => {
                let caller = self.caller(request, peer)?;
                pages::own_or_none(request.method(), request.headers())?;
                if is_mutation(request.method()) {
                    if caller.role < Role::Operator && !READS.contains(&path) {
                        return Err(forbidden("A viewer's token reads; this needs an operator's."));
                    }
                    pages::no_form(path, request.headers())?;
                }
                Ok(caller)
            }
        }
    }

    /// Who asks, whatever they may do; nothing if that is not known.
    pub fn who<B>(&self, request: &Request<B>, peer: Peer) -> Option<Caller> {
        self.caller(request, peer).ok()
    }

    /// Whether a caller who came by a token may still change something by it under other settings.
    pub fn is_kept(&self, caller: &Caller, next: &Settings) -> bool {
        let own = self.tokens.iter().find(|known| known.name == caller.name);
        let (Via::Token, Some(own)) = (caller.via, own) else { return true };
        let next = Access::new(next).unwrap_or_default();
        next.tokens.iter().any(|known| known.hash == own.hash && known.role >= Role::Operator)
    }

    fn check_metrics(&self, headers: &HeaderMap, peer: Peer) -> Result<(), Problem> {
        let (Some(expected), Peer::Tcp(_)) = (self.metrics, peer) else { return Ok(()) };
        let given = bearer(headers)?;
        let known = given == expected || self.tokens.iter().any(|known| given == known.hash);
        if known { Ok(()) } else { Err(unauthorized()) }
    }

    /// The page's files have no data in them, so they need no token: whoever has one types it into the page. Where
    /// there are none, a name that somebody made resolve to 127.0.0.1 gets no page either.
    fn check_page<B>(&self, request: &Request<B>, peer: Peer) -> Result<(), Problem> {
        match peer {
            Peer::Tcp(address) if self.tokens.is_empty() => loopback(request, address),
            _ => Ok(()),
        }
    }

    fn caller<B>(&self, request: &Request<B>, peer: Peer) -> Result<Caller, Problem> {
        let address = match peer {
            Peer::Socket(user) => return Ok(Caller::new("socket", Role::Admin, Via::Socket(user))),
            Peer::Tcp(address) => address,
        };
        if self.tokens.is_empty() {
            loopback(request, address)?;
            return Ok(Caller::new("loopback", Role::Admin, Via::Loopback));
        }
        let given = bearer(request.headers())?;
        // Comparing hashes takes the same time wherever they differ.
        let known = self.tokens.iter().find(|known| given == known.hash).ok_or_else(unauthorized)?;
        Ok(Caller::new(known.name.clone(), known.role, Via::Token))
    }
}

fn hash(text: &str, name: &str) -> Result<blake3::Hash, BadTokenHash> {
    blake3::Hash::from_hex(text).map_err(|_| BadTokenHash { name: name.to_owned() })
}

/// Paths that only read, though a text is sent there.
const READS: [&str; 1] = ["/v1/config:plan"];

fn is_mutation(method: &Method) -> bool {
    !(method == Method::GET || method == Method::HEAD || method == Method::OPTIONS)
}

/// The hash of the token in `Authorization: Bearer`. Two of them are none: a proxy between might have looked
/// at the other.
fn bearer(headers: &HeaderMap) -> Result<blake3::Hash, Problem> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else { return Err(unauthorized()) };
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len()).ok_or_else(unauthorized)?;
    let token = token.trim_ascii();
    let is_bearer = scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty();
    if is_bearer { Ok(blake3::hash(token)) } else { Err(unauthorized()) }
}

/// From loopback and asked for by a loopback name.
fn loopback<B>(request: &Request<B>, address: SocketAddr) -> Result<(), Problem> {
    if !address.ip().to_canonical().is_loopback() {
        return Err(forbidden("Without tokens the admin side serves loopback only. hint: `[admin] tokens`"));
    }
    // A target that names a host and `Host` may both be there; each has to be a loopback name.
    let target = request.uri().authority().map(Authority::as_str);
    let mut names = request.headers().get_all(HOST).iter().map(|host| host.to_str().ok()).peekable();
    let is_named = target.is_some() || names.peek().is_some();
    let is_local = |name: Option<&str>| name.and_then(host_name).is_some_and(is_loopback_name);
    if is_named && target.is_none_or(|target| is_local(Some(target))) && names.all(is_local) {
        Ok(())
    } else {
        Err(forbidden(
            "Without tokens the admin side answers only to localhost, 127.0.0.1 or [::1] as Host. \
             hint: `[admin] tokens`",
        ))
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
        access.check(&request, peer).map_or_else(|problem| problem.status.as_u16(), |_| 200)
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
        assert_eq!(status(&access, "POST", "/v1/x", &[], Peer::Socket(Some(0))), 200);
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
    fn who_asks_is_known_by_the_way_they_came() {
        let who = |access: &Access, headers: &[(&str, &str)], peer| {
            let mut request = Request::builder().uri("/v1/status");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            access.check(&request.body(()).expect("a request"), peer).expect("let in").to_string()
        };
        let (open, closed) = (access(&[], None), access(&[("act", Role::Operator)], None));
        assert_eq!(who(&open, &[("host", "localhost")], LOCAL), "loopback");
        assert_eq!(who(&closed, &[("authorization", "Bearer act")], LOCAL), "act");
        assert_eq!(who(&closed, &[], Peer::Socket(Some(1000))), "socket (user 1000)");
        assert_eq!(who(&closed, &[], Peer::Socket(None)), "socket");
    }

    #[test]
    fn two_tokens_or_none_are_no_token() {
        let access = access(&[("act", Role::Operator)], None);
        let with = |values: &[&str]| {
            let headers: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
            status(&access, "GET", "/v1/x", &headers, LOCAL)
        };
        assert_eq!(with(&["Bearer act"]), 200);
        for bad in
            [&["Bearer act", "Bearer act"][..], &["Bearer guess", "Bearer act"], &["Bearer "], &["act"]]
        {
            assert_eq!(with(bad), 401, "{bad:?}");
        }
    }

    #[test]
    fn every_name_that_a_request_gives_has_to_be_a_loopback_name() {
        let open = access(&[], None);
        let with = |uri: &str, hosts: &[&str]| {
            let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            status(&open, "GET", uri, &headers, LOCAL)
        };
        assert_eq!(with("http://localhost:9900/v1/x", &["localhost:9900"]), 200);
        assert_eq!(with("http://localhost:9900/v1/x", &["evil.example"]), 403);
        assert_eq!(with("http://evil.example/v1/x", &["localhost:9900"]), 403);
        assert_eq!(with("/v1/x", &["localhost", "evil.example"]), 403);
    }

    #[test]
    fn a_hash_that_is_none_is_an_error_and_not_an_open_door() {
        let settings =
            Settings::of(vec![Token { name: "ops".into(), role: Role::Admin, hash: "hunter2".into() }]);
        assert_eq!(Access::new(&settings).expect_err("no hash").name, "ops");
    }
}
