//! An auth as the plan describes it.

use crate::filters::auth::claims::Grants;
use crate::filters::auth::jwt::Rules;
use http::uri::PathAndQuery;
use http::{HeaderName, Uri};
use std::fmt;
use std::path::PathBuf;
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
    /// By a signed token.
    Jwt(Jwt),
    /// By a key of a list.
    ApiKey(ApiKey),
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

/// Signed tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    /// Where tokens are shown.
    pub header: HeaderName,
    /// Where the keys come from that they are checked with.
    pub source: KeySource,
    /// Between fetches of these at most.
    pub refresh: Duration,
    /// For one fetch, from the wish to connect to the last byte.
    pub fetch_timeout: Duration,
    /// What tokens must fulfil.
    pub rules: Arc<Rules>,
    /// What is taken from them.
    pub grants: Grants,
}

/// Where the keys come from that tokens are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A key set, fetched from a server of its own.
    Url {
        /// Absolute, http or https.
        url: Uri,
        /// Trust these authorities instead of the system's.
        ca: Option<PathBuf>,
    },
    /// A key set, fetched from an upstream's backends.
    Upstream {
        /// Which.
        upstream: Arc<str>,
        /// At which path.
        path: PathAndQuery,
    },
    /// A key set in a file.
    File(PathBuf),
    /// A secret that whoever signs shares with us.
    Secret(Secret),
}

/// A secret, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Arc<[u8]>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // A query may hold a credential.
            KeySource::Url { url, .. } => {
                let (scheme, host) = (url.scheme_str().unwrap_or("https"), url.host().unwrap_or("?"));
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                write!(f, "{scheme}://{host}{port}{}", url.path())
            }
            KeySource::Upstream { upstream, path } => write!(f, "{} of upstream {upstream}", path.path()),
            KeySource::File(path) => write!(f, "{}", path.display()),
            KeySource::Secret(_) => f.write_str("a secret"),
        }
    }
}

/// A list of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Where keys are shown.
    pub header: HeaderName,
    /// Their hashes, and whose they are.
    pub keys: Vec<(blake3::Hash, Arc<str>)>,
    /// What is taken from whose it is, as the claims `sub` and `name`.
    pub grants: Grants,
}

impl Settings {
    /// The upstream that is asked for each decision, if one is.
    pub fn upstream(&self) -> Option<&Arc<str>> {
        match &self.kind {
            Kind::External(external) => Some(&external.upstream),
            Kind::Jwt(_) | Kind::ApiKey(_) => None,
        }
    }

    /// What it takes from claims, if it reads claims.
    pub fn grants(&self) -> Option<&Grants> {
        match &self.kind {
            Kind::External(_) => None,
            Kind::Jwt(jwt) => Some(&jwt.grants),
            Kind::ApiKey(keys) => Some(&keys.grants),
        }
    }

    /// The client's headers that it judges by.
    pub fn read_headers(&self) -> &[HeaderName] {
        match &self.kind {
            Kind::External(external) => &external.headers,
            Kind::Jwt(jwt) => std::slice::from_ref(&jwt.header),
            Kind::ApiKey(keys) => std::slice::from_ref(&keys.header),
        }
    }

    /// The headers that it may add to a request: nobody else may send them.
    pub fn added_headers(&self) -> Vec<&HeaderName> {
        match &self.kind {
            Kind::External(external) => external.copy_headers.iter().collect(),
            Kind::Jwt(_) | Kind::ApiKey(_) => {
                self.grants().iter().flat_map(|grants| &grants.forward).map(|(name, _)| name).collect()
            }
        }
    }
}
