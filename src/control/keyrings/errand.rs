//! One way to one key set: where it is asked for, how, how often and how long.

use super::Way;
use crate::filters::auth::jwt::keys::MAX_BYTES;
use crate::filters::auth::settings::{Jwt, KeySource};
use crate::upstream::BackendTls;
use crate::upstream::call::{Line, call};
use crate::upstream::discovery::{AddressSet, Directory};
use crate::upstream::pem::{Files, OnDisk};
use crate::upstream::settings::{Address, HostPolicy, OnMissing, Protocol, TlsSettings};
use crate::upstream::tls::TlsClient;
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Where a set is fetched, and how.
#[derive(Debug)]
pub(super) struct Errand {
    targets: Vec<Target>,
    /// Which of them is asked; the next one after each failure.
    turn: AtomicUsize,
    path: Uri,
    pub(super) refresh: Duration,
    timeout: Duration,
}

/// One server.
#[derive(Debug)]
struct Target {
    addresses: Arc<AddressSet>,
    host: Option<HeaderValue>,
    protocol: Protocol,
    security: Security,
}

/// What is known of whom to trust there.
#[derive(Debug)]
enum Security {
    /// No TLS.
    Plain,
    /// As the upstream has it.
    Given(BackendTls),
    /// Ours, and whether it can be had.
    Own { server_name: String, ca: Option<PathBuf>, client: ArcSwap<Result<TlsClient, String>> },
}

impl Errand {
    /// The way to the keys of `jwt`; `way` is the upstream's, if it is one.
    pub(super) fn of(jwt: &Jwt, way: Option<Way<'_>>, directory: &Directory, files: &dyn Files) -> Self {
        let (targets, path) = match (&jwt.source, way) {
            (KeySource::Url { url, ca }, _) => (Target::at(url, ca, directory, files), path_of(url)),
            (KeySource::Upstream { path, .. }, Some(way)) => (Target::all(way), Uri::from(path.clone())),
            _ => (Vec::new(), Uri::default()),
        };
        let (refresh, timeout) = (jwt.refresh, jwt.fetch_timeout);
        Errand { targets, turn: AtomicUsize::new(0), path, refresh, timeout }
    }

    /// Fetches, and says how long the set is good if its server does.
    ///
    /// # Errors
    /// Why it could not be fetched, in a sentence.
    pub(super) async fn run(&self) -> Result<(Bytes, Option<Duration>), String> {
        let fetched = tokio::time::timeout(self.timeout, self.fetch()).await;
        let fetched = fetched.unwrap_or_else(|_| Err(format!("no answer within {:?}", self.timeout)));
        if fetched.is_err() {
            self.turn.fetch_add(1, Relaxed);
        }
        fetched
    }

    async fn fetch(&self) -> Result<(Bytes, Option<Duration>), String> {
        let turn = self.turn.load(Relaxed);
        let target = turn.checked_rem(self.targets.len()).and_then(|index| self.targets.get(index));
        let target = target.ok_or("there is no server to ask")?;
        let line = target.line(turn / self.targets.len()).await?;
        let host = target.host.clone().ok_or("the server's name cannot be said in a header")?;
        let request = Request::get(target.uri(&host, &self.path)?)
            .header(HOST, host)
            .header(ACCEPT, "application/json, application/jwk-set+json")
            .header(USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .body(Full::default())
            .map_err(|error| error.to_string())?;
        let answer = call(&line, request, MAX_BYTES).await.map_err(|error| error.to_string())?.response;
        if answer.status() != StatusCode::OK {
            return Err(format!("the answer is {}", answer.status()));
        }
        let life = life(answer.headers());
        Ok((answer.into_body(), life))
    }

    /// Reads the files of those that are trusted again; what cannot be used changes nothing, unless there was nothing.
    pub(super) fn renew_trust(&self) {
        for target in &self.targets {
            let Security::Own { ca, client, .. } = &target.security else { continue };
            let settings = trust(ca.clone());
            let before = client.load_full();
            let next = match &*before {
                Ok(current) => current.renewed(&settings, Protocol::Http1).ok().flatten().map(Ok),
                Err(_) => Some(open(&OnDisk, &settings)),
            };
            next.into_iter().for_each(|next| client.store(Arc::new(next)));
        }
    }
}

impl Target {
    /// The server of a URL.
    fn at(url: &Uri, ca: &Option<PathBuf>, directory: &Directory, files: &dyn Files) -> Vec<Target> {
        let secure = url.scheme_str() != Some("http");
        let Some(host) = url.host() else { return Vec::new() };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let address = Address { host: bare.into(), port };
        let security = if secure {
            let client = ArcSwap::from_pointee(open(files, &trust(ca.clone())));
            Security::Own { server_name: bare.to_owned(), ca: ca.clone(), client }
        } else {
            Security::Plain
        };
        let named = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        vec![Target {
            addresses: directory.addresses_of(&address, OnMissing::Keep),
            host: HeaderValue::from_str(&named).ok(),
            protocol: Protocol::Http1,
            security,
        }]
    }

    /// The backends of an upstream, as they are spoken to; of a name whatever it resolves to then.
    fn all(Way(cluster): Way<'_>) -> Vec<Target> {
        let targets = cluster.groups.iter().filter_map(|group| {
            let endpoint = &cluster.backends.get(group.members.start)?.endpoint;
            let own = || HeaderValue::from_str(&group.settings.address.to_string()).ok();
            Some(Target {
                addresses: group.names.as_ref().unwrap_or(&endpoint.addresses).clone(),
                host: match &cluster.host {
                    HostPolicy::Name(name) => Some(name.clone()),
                    HostPolicy::Preserve | HostPolicy::Backend => own(),
                },
                protocol: endpoint.protocol,
                security: endpoint.tls.clone().map_or(Security::Plain, Security::Given),
            })
        });
        targets.collect()
    }

    /// HTTP/2 wants to know the whole of it; HTTP/1 takes that too, and is told it where it is not known before the
    /// handshake which of them is spoken.
    fn uri(&self, host: &HeaderValue, path: &Uri) -> Result<Uri, String> {
        if self.protocol == Protocol::Http1 {
            return Ok(path.clone());
        }
        let scheme = if matches!(self.security, Security::Plain) { "http" } else { "https" };
        let path = path.path_and_query().map_or("/", |path| path.as_str());
        let uri = Uri::builder().scheme(scheme).authority(host.as_bytes()).path_and_query(path);
        uri.build().map_err(|error| error.to_string())
    }

    /// One of its addresses, and what is needed to talk there.
    async fn line(&self, turn: usize) -> Result<Line, String> {
        if !self.addresses.is_known() {
            self.addresses.tried().await;
        }
        let list = self.addresses.load().list.clone();
        let address = turn.checked_rem(list.len()).and_then(|index| list.get(index).copied());
        let address = address.ok_or_else(|| match self.addresses.failure() {
            Some(why) => format!("its name does not resolve: {why}"),
            None => "its name does not resolve".to_owned(),
        })?;
        let tls = match &self.security {
            Security::Plain => None,
            Security::Given(tls) => Some(tls.clone()),
            Security::Own { server_name, client, .. } => {
                let client = client.load_full();
                let client = client.as_ref().as_ref().map_err(Clone::clone)?;
                let server_name = client.server_name(server_name);
                let server_name = server_name.ok_or("its name is none that TLS can verify")?;
                Some(BackendTls { config: client.config.clone(), server_name })
            }
        };
        Ok(Line { address, tls, protocol: self.protocol })
    }
}

fn trust(ca: Option<PathBuf>) -> TlsSettings {
    TlsSettings { server_name: None, ca, client: None }
}

fn open(files: &dyn Files, settings: &TlsSettings) -> Result<TlsClient, String> {
    TlsClient::open_from(files, settings, Protocol::Http1).map_err(|error| error.to_string())
}

/// Path and query of a URL.
fn path_of(url: &Uri) -> Uri {
    url.path_and_query().cloned().map(Uri::from).unwrap_or_default()
}

/// How long the answer is good, as its server says.
fn life(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    let directives = lines.flat_map(|line| line.split(',')).map(str::trim);
    let age = directives.filter_map(|directive| directive.strip_prefix("max-age="));
    age.filter_map(|seconds| seconds.parse().ok()).next().map(Duration::from_secs)
}
