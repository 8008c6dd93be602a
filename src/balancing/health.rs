//! One active check of one backend: an HTTP request, a connection, or `grpc.health.v1` (`overload.md` 2(vi)).
//!
//! On a connection of its own, with the upstream's protocol and trust, and with a deadline: it is never behind
//! traffic, and a backend that accepts and never answers holds up nobody else's check. What is made of it is
//! `upstream::checkup`'s. It never follows redirects and reads no more than a few kilobytes.

mod grpc;

use crate::balancing::settings::{Health, Kind};
use crate::upstream::Endpoint;
use crate::upstream::call::{CallError, Line, ask_over, connect, secure};
use crate::upstream::checkup::{Outcome, Proof};
use crate::upstream::settings::{HostPolicy, Protocol};
use bytes::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Bytes of an answer at most.
const MAX_ANSWER: usize = 64 * 1024;
/// So much later than its deadline, it was not the backend that was late.
const OURS: Duration = Duration::from_millis(500);
const AGENT: &str = concat!("tidegate-health/", env!("CARGO_PKG_VERSION"));

/// Whom to check, and how.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Where it is and how it is spoken to.
    pub endpoint: Arc<Endpoint>,
    /// What is asked, and how often.
    pub health: Health,
    /// What it sees as `Host`; there is no client's to be preserved.
    pub host: HostPolicy,
}

impl Subject {
    /// How many checks in a row prove something.
    pub fn proof(&self) -> Proof {
        Proof { healthy: self.health.healthy, unhealthy: self.health.unhealthy }
    }

    /// Checks it once. Nothing, if this gateway cannot: no descriptor is left, or its own thread was late.
    pub async fn examine(&self, address: SocketAddr) -> Option<Outcome> {
        let Endpoint { vitals, descriptors, .. } = &*self.endpoint;
        let _descriptor = descriptors.try_dial()?;
        let answered = vitals.ok();
        let (began, limit) = (Instant::now(), self.health.timeout);
        let connected = Cell::new(false);
        let asked = timeout(limit, Box::pin(self.ask(address, &connected))).await;
        Some(match asked {
            Ok(Ok(())) => Outcome::Well,
            Ok(Err(why)) => Outcome::Failed(why.into()),
            Err(_) if began.elapsed() > limit * 2 + OURS => return None,
            Err(_) => {
                // Out for being slow it has no traffic that could tell.
                let was_slow = || vitals.checkup.down().is_some_and(|down| down.slow);
                let why = format!("timeout after {limit:?}").into();
                let serves = connected.get() && (vitals.ok() > answered || was_slow());
                match connected.get() {
                    _ if serves => Outcome::Slow(why),
                    true => Outcome::Silent(why),
                    false => Outcome::Failed(why),
                }
            }
        })
    }

    async fn ask(&self, address: SocketAddr, connected: &Cell<bool>) -> Result<(), String> {
        let text = |error: CallError| error.to_string();
        let socket = connect(address).await.map_err(text)?;
        connected.set(true);
        match &self.health.kind {
            Kind::Tcp => match &self.endpoint.tls {
                Some(tls) => secure(socket, tls).await.map(drop).map_err(text),
                None => Ok(()),
            },
            Kind::Http(path) => {
                let request = self.get(path)?;
                let line = self.line(address, self.endpoint.protocol);
                let answer = ask_over(socket, &line, request, MAX_ANSWER).await.map_err(text)?;
                judge(answer.response.status())
            }
            Kind::Grpc(service) => {
                let request = grpc::request(self.uri(grpc::PATH)?, service, self.health.timeout)?;
                let line = self.line(address, Protocol::Http2);
                grpc::judge(&ask_over(socket, &line, request, MAX_ANSWER).await.map_err(text)?)
            }
        }
    }

    fn line(&self, address: SocketAddr, protocol: Protocol) -> Line {
        Line { address, tls: self.endpoint.tls.clone(), protocol }
    }

    fn get(&self, path: &str) -> Result<Request<Full<Bytes>>, String> {
        let request = Request::get(self.uri(path)?)
            .header(HOST, self.host()?)
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, "*/*");
        request.body(Full::default()).map_err(|error| error.to_string())
    }

    fn uri(&self, path: &str) -> Result<Uri, String> {
        let scheme = if self.endpoint.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let path: PathAndQuery = path.parse().map_err(|_| format!("{path:?} is not a path"))?;
        let uri = Uri::builder().scheme(scheme).authority(self.host()?.as_bytes()).path_and_query(path);
        uri.build().map_err(|error| error.to_string())
    }

    fn host(&self) -> Result<HeaderValue, String> {
        if let HostPolicy::Name(name) = &self.host {
            return Ok(name.clone());
        }
        let (host, port) = (&self.endpoint.address.host, self.endpoint.address.port);
        let text = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        HeaderValue::try_from(text).map_err(|error| error.to_string())
    }
}

fn judge(status: StatusCode) -> Result<(), String> {
    if status.is_success() || status.is_redirection() { Ok(()) } else { Err(status.as_u16().to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_well_from_200_to_399() {
        for (status, well) in
            [(200, true), (204, true), (399, true), (401, false), (404, false), (503, false)]
        {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(judge(status).is_ok(), well, "{status}");
        }
    }
}
