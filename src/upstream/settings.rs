//! How backends of an upstream are spoken to.

use http::HeaderValue;
use rustls_pki_types::ServerName;
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
    /// An address literal or a host name, without brackets.
    pub host: Arc<str>,
    /// The port.
    pub port: u16,
}
