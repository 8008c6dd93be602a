//! How backends of an upstream are spoken to.

use http::HeaderValue;
use rustls_pki_types::ServerName;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Settings of the way to an upstream's backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// From the wish to connect to an established connection, TLS and the wait for a connect slot included.
    pub connect_timeout: Duration,
    /// What the backend sees as `Host`.
    pub host: HostPolicy,
    /// How long an unused connection is kept.
    pub keepalive_idle: Duration,
    /// The protocol spoken to backends.
    pub protocol: Protocol,
    /// TLS towards backends.
    pub tls: Option<TlsSettings>,
    /// Connections being established to one backend at once (`overload.md` 2(i): 8).
    pub max_connects: u32,
}

/// What the backend sees as `Host` or `:authority`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPolicy {
    /// What the client sent.
    Preserve,
    /// The backend's own address.
    Backend,
    /// A fixed name.
    Name(HeaderValue),
}

/// The protocol spoken to backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1 with keep-alive.
    Http1,
    /// HTTP/2, by prior knowledge without TLS.
    Http2,
    /// By ALPN with TLS, else HTTP/1.1.
    Auto,
}

/// TLS towards backends; paths are absolute already.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsSettings {
    /// The name verified and sent as SNI; the backend's host if not given.
    pub server_name: Option<ServerName<'static>>,
    /// Trust these instead of the system's roots.
    pub ca: Option<PathBuf>,
    /// A client certificate and its key.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Where a backend is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// An address literal or a host name, without brackets; of a service its whole name.
    pub host: Arc<str>,
    /// The port; 0 is the name of a service (`_http._tcp.orders.internal`), whose SRV records have the ports.
    pub port: u16,
}

impl Address {
    /// Host and port are in SRV records.
    pub fn is_service(&self) -> bool {
        self.port == 0
    }

    /// It needs no name server.
    pub fn literal(&self) -> Option<SocketAddr> {
        let ip = self.host.parse::<IpAddr>().ok().filter(|_| !self.is_service())?;
        Some(SocketAddr::new(ip, self.port))
    }

    /// What `Host` and TLS see of it when it is spoken to at `port`. Of a service that is its domain: what SRV
    /// records say is not signed, so no certificate may be verified against it (RFC 6125, 6.2.1).
    pub fn spoken_at(&self, port: u16) -> Address {
        if !self.is_service() {
            return self.clone();
        }
        let domain = self.host.splitn(3, '.').nth(2).unwrap_or(&self.host);
        Address { host: domain.trim_end_matches('.').into(), port }
    }
}

/// As it is written in a file: an IPv6 literal in brackets.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { host, port } = self;
        match () {
            () if self.is_service() => f.write_str(host),
            () if host.contains(':') => write!(f, "[{host}]:{port}"),
            () => write!(f, "{host}:{port}"),
        }
    }
}

/// What becomes of the last good addresses when a name server says that there are none (NXDOMAIN, or an answer
/// without addresses). While it says nothing, or that it failed, they stay in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnMissing {
    /// They stay.
    Keep,
    /// They go at once.
    Drop,
    /// They go when that was said for so long, with no other answer between.
    KeepFor(Duration),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_it_is_written() {
        let shown = |host: &str, port| Address { host: host.into(), port }.to_string();
        assert_eq!(shown("::1", 8080), "[::1]:8080");
        assert_eq!(shown("orders.internal", 80), "orders.internal:80");
        assert_eq!(shown("_http._tcp.orders.internal", 0), "_http._tcp.orders.internal");
    }
}
