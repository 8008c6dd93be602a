//! What a listener needs to know, checked and ready.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// One address that accepts clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its name in metrics and logs.
    pub name: Arc<str>,
    /// Where it listens; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Certificates, if clients speak TLS here.
    pub tls: Option<TlsSettings>,
    /// Open connections at most; clamped to the descriptor limit at start.
    pub max_connections: u32,
    /// Open connections of one source address at most.
    pub max_connections_per_source: u32,
    /// TLS handshakes in progress at most; in cleartext there are none.
    pub max_handshakes: u32,
    /// From accept to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a head to its last, and from accept to the first byte.
    pub header_timeout: Duration,
    /// Between requests of a connection.
    pub idle_timeout: Duration,
    /// Every request is answered with a redirect to https, for cleartext listeners.
    pub redirect_https: bool,
    /// Limits on one message.
    pub limits: MessageLimits,
}

/// Files of a TLS listener; paths are absolute already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// Chosen by server name; the first is the default.
    pub certificates: Vec<CertificateFiles>,
    /// Clients must show a certificate that one of these signed.
    pub client_ca: Option<PathBuf>,
}

/// A certificate chain and its key, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Bounds on what one message and one HTTP/2 connection may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageLimits {
    /// Bytes of request line and headers.
    pub max_head_bytes: usize,
    /// Header lines.
    pub max_headers: usize,
    /// Bytes of the request target.
    pub max_uri_bytes: usize,
    /// Concurrent HTTP/2 streams of a connection.
    pub max_h2_streams: u32,
}

impl Default for MessageLimits {
    fn default() -> Self {
        MessageLimits {
            max_head_bytes: 32 * 1024,
            max_headers: 100,
            max_uri_bytes: 8 * 1024,
            max_h2_streams: 100,
        }
    }
}
