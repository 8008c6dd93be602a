//! An auth as the plan describes it.

use http::HeaderName;
use http::uri::PathAndQuery;
use std::sync::Arc;
use std::time::Duration;

/// One auth, whatever its kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Its name.
    pub name: Arc<str>,
    /// For a decision, every wait included.
    pub timeout: Duration,
    /// What happens without a decision.
    pub on_error: OnError,
    /// Decisions that are kept, if any are.
    pub cache: Option<CacheSettings>,
    /// How requests are judged.
    pub kind: Kind,
}

/// What happens to a request that nobody judged in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// It is refused, with 503 or 504 and the reason.
    Deny,
    /// It passes unverified, unless it was our own gate that refused to ask.
    Allow,
    /// The last decision stands in, if it is not too old; else it is refused.
    Stale,
}

/// Decisions that are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// How long one that lets pass is fresh.
    pub ttl: Duration,
    /// How long one that refuses is fresh.
    pub refused_ttl: Duration,
    /// How long after that one that lets pass may stand in for one that cannot be had.
    pub stale: Duration,
    /// Of those that let pass, over all cores.
    pub max_entries: u32,
    /// What tells requests apart; everything that the service is told if it is empty.
    pub key: Vec<KeyPart>,
}

/// One of the things that tell requests apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPart {
    /// The route's name.
    Route,
    /// The method.
    Method,
    /// Whom the request is for.
    Host,
    /// The path, without query.
    Path,
    /// Path and query.
    Uri,
    /// Who the client is, proxies looked through.
    ClientIp,
    /// One header of the client's that the service is told.
    Header(HeaderName),
}

/// How requests are judged.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// By a service that is asked.
    External(External),
}

/// A service that judges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// The upstream that is asked.
    pub upstream: Arc<str>,
    /// What is asked for there.
    pub path: PathAndQuery,
    /// The client's headers that it is told.
    pub headers: Vec<HeaderName>,
    /// The headers of its answer that the backend is told.
    pub copy_headers: Vec<HeaderName>,
    /// The headers of its answer that a refused client is told.
    pub refusal_headers: Vec<HeaderName>,
    /// The header of its answer that names who the client is.
    pub subject_header: Option<HeaderName>,
    /// Questions in flight at most, within the upstream's cap.
    pub max_in_flight: u32,
}

impl Settings {
    /// The upstream that is asked, if one is.
    pub fn upstream(&self) -> Option<&Arc<str>> {
        match &self.kind {
            Kind::External(external) => Some(&external.upstream),
        }
    }

    /// The headers that it may add to a request: nobody else may send them.
    pub fn added_headers(&self) -> &[HeaderName] {
        match &self.kind {
            Kind::External(external) => &external.copy_headers,
        }
    }

    /// The client's headers that it reads: no auth may write them.
    pub fn read_headers(&self) -> &[HeaderName] {
        match &self.kind {
            Kind::External(external) => &external.headers,
        }
    }
}
