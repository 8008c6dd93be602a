//! One way to one key set: where it is asked for, how, how often and how long.

use super::Way;
use crate::control::target::{Security, Target};
use crate::filters::auth::jwt::keys::MAX_BYTES;
use crate::filters::auth::settings::{Jwt, KeySource};
use crate::upstream::call::call;
use crate::upstream::discovery::Directory;
use crate::upstream::pem::Files;
use crate::upstream::settings::HostPolicy;
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
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

impl Errand {
    /// The way to the keys of `jwt`; `way` is the upstream's, if it is one.
    pub(super) fn of(jwt: &Jwt, way: Option<Way<'_>>, directory: &Directory, files: &dyn Files) -> Self {
        let (targets, path) = match (&jwt.source, way) {
            (KeySource::Url { url, ca }, _) => {
                let target = Target::at(url, ca.as_ref(), directory, files);
                (target.into_iter().collect(), path_of(url))
            }
            (KeySource::Upstream { path, .. }, Some(way)) => (all(way), Uri::from(path.clone())),
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

    /// Reads the files of those that are trusted again.
    pub(super) fn renew_trust(&self) {
        self.targets.iter().for_each(Target::renew_trust);
    }
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
