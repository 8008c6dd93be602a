//! TLS towards backends: whom to trust, what to show, which protocols to offer.
//!
//! The identity is a hash over everything that decides who is being talked to, and as whom. Pools and
//! sessions are keyed by it, so that a connection made under another authority, name or client certificate
//! is never used again.

pub mod roots;

use crate::upstream::certificate::CertificateFacts;
use crate::upstream::pem::{Files as PemFiles, OnDisk, PemFile, TlsError, certified_key, provider};
use crate::upstream::settings::{Protocol, TlsSettings};
use rustls::client::{ResolvesClientCert, Resumption, WantsClientCert};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use rustls_pki_types::ServerName;
use std::sync::Arc;
use std::time::SystemTime;

/// Sessions kept for resumption, per upstream.
const SESSIONS_KEPT: usize = 256;

/// Everything that a handshake with a backend needs. Made once, never changed.
#[derive(Clone, Debug)]
pub struct TlsClient {
    /// For `tokio_rustls::TlsConnector`.
    pub config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    identity: blake3::Hash,
    certificate: Option<CertificateFacts>,
}

/// The files of a [`TlsSettings`] as they were read, at one moment, and their identity.
struct Files {
    ca: Option<PemFile>,
    client: Option<(PemFile, PemFile)>,
    identity: blake3::Hash,
}

impl Files {
    fn read(files: &dyn PemFiles, settings: &TlsSettings, protocol: Protocol) -> Result<Self, TlsError> {
        let mut identity = blake3::Hasher::new();
        let ca = match &settings.ca {
            Some(path) => Some(PemFile::read_from(files, path, identity.update(b"ca"))?),
            None => {
                identity.update(b"system");
                None
            }
        };
        let client = match &settings.client {
            Some((certificate, key)) => {
                let chain = PemFile::read_from(files, certificate, identity.update(b"client"))?;
                Some((chain, PemFile::read_from(files, key, &mut identity)?))
            }
            None => None,
        };
        identity.update(format!("{:?} {protocol:?}", settings.server_name).as_bytes());
        Ok(Files { ca, client, identity: identity.finalize() })
    }
}

impl TlsClient {
    /// Reads the files of `settings`.
    ///
    /// # Errors
    /// Names the file that is at fault.
    pub fn open(settings: &TlsSettings, protocol: Protocol) -> Result<Self, TlsError> {
        Self::open_from(&OnDisk, settings, protocol)
    }

    /// The same with the content of the files from elsewhere.
    ///
    /// # Errors
    /// See [`TlsClient::open`].
    pub fn open_from(
        files: &dyn PemFiles,
        settings: &TlsSettings,
        protocol: Protocol,
    ) -> Result<Self, TlsError> {
        Self::made_of(Files::read(files, settings, protocol)?, settings, protocol)
    }

    /// Reads the files of `settings` again: a new client if their content is not that of `self`, which must
    /// have been made of the same settings.
    ///
    /// # Errors
    /// Names the file that is at fault, or that has expired.
    pub fn renewed(&self, settings: &TlsSettings, protocol: Protocol) -> Result<Option<Self>, TlsError> {
        let files = Files::read(&OnDisk, settings, protocol)?;
        if files.identity == self.identity {
            return Ok(None);
        }
        let client = Self::made_of(files, settings, protocol)?;
        // Where nobody is trusted, an expired certificate may serve more than none.
        if self.identity != closed() {
            client.check(SystemTime::now())?;
        }
        Ok(Some(client))
    }

    /// A client that trusts nobody, for an upstream whose files cannot be used at a start: no connection is
    /// made, until [`TlsClient::renewed`] makes one that trusts somebody.
    ///
    /// # Errors
    /// When TLS cannot be set up at all.
    pub fn closed(settings: &TlsSettings, protocol: Protocol) -> Result<Self, TlsError> {
        let mut config = trusting(Arc::new(RootCertStore::empty()))?.with_no_client_auth();
        config.alpn_protocols = alpn(protocol);
        Ok(TlsClient {
            config: Arc::new(config),
            server_name: settings.server_name.clone(),
            identity: closed(),
            certificate: None,
        })
    }

    fn made_of(files: Files, settings: &TlsSettings, protocol: Protocol) -> Result<Self, TlsError> {
        let builder = trusting(match &files.ca {
            Some(file) => Arc::new(file.roots()?),
            None => roots::system_roots()?,
        })?;
        let (mut config, certificate) = match &files.client {
            None => (builder.with_no_client_auth(), None),
            Some((chain, key)) => {
                let certified = certified_key(chain, key)?;
                let leaf = certified.end_entity_cert().map_err(|error| chain.problem(error))?;
                let facts = CertificateFacts::of(chain, leaf)?;
                let shown = Arc::new(SingleCertAndKey::from(certified)) as Arc<dyn ResolvesClientCert>;
                (builder.with_client_cert_resolver(shown), Some(facts))
            }
        };
        config.alpn_protocols = alpn(protocol);
        config.resumption = Resumption::in_memory_sessions(SESSIONS_KEPT);
        Ok(TlsClient {
            config: Arc::new(config),
            server_name: settings.server_name.clone(),
            identity: files.identity,
            certificate,
        })
    }

    /// It trusts nobody: see [`TlsClient::closed`].
    pub fn is_closed(&self) -> bool {
        self.identity == closed()
    }

    /// Whether the client certificate, if there is one, may be taken into use at `now`.
    ///
    /// # Errors
    /// When it has expired or is not valid yet.
    pub fn check(&self, now: SystemTime) -> Result<(), TlsError> {
        self.certificate.iter().try_for_each(|certificate| certificate.check(now))
    }

    /// The client certificate, if backends are shown one.
    pub fn certificate(&self) -> Option<&CertificateFacts> {
        self.certificate.as_ref()
    }

    /// The name to verify and to send: the configured one, else the backend's `host` (a name or a literal).
    /// `None` when `host` can be neither.
    pub fn server_name(&self, host: &str) -> Option<ServerName<'static>> {
        match &self.server_name {
            Some(name) => Some(name.clone()),
            None => ServerName::try_from(host).ok().map(|name| name.to_owned()),
        }
    }

    /// Equal for equal trust, client certificate, name and protocols; part of a pool's key.
    pub fn identity(&self) -> blake3::Hash {
        self.identity
    }
}

/// The identity of a client that trusts nobody.
fn closed() -> blake3::Hash {
    blake3::hash(b"closed")
}

fn trusting(roots: Arc<RootCertStore>) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider()));
    let builder = builder.with_safe_default_protocol_versions();
    Ok(builder.map_err(|error| TlsError::Setup(error.to_string()))?.with_root_certificates(roots))
}

fn alpn(protocol: Protocol) -> Vec<Vec<u8>> {
    let (h1, h2) = (b"http/1.1".to_vec(), b"h2".to_vec());
    match protocol {
        Protocol::Http1 => vec![h1],
        Protocol::Http2 => vec![h2],
        Protocol::Auto => vec![h2, h1],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    fn pair(place: &Path, file: &str) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed([format!("{file}.test")]).expect("made");
        let (certificate, key) = (place.join(format!("{file}.pem")), place.join(format!("{file}.key")));
        std::fs::write(&certificate, made.cert.pem()).expect("written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        (certificate, key)
    }

    fn settings(ca: &Path) -> TlsSettings {
        TlsSettings { server_name: None, ca: Some(ca.to_path_buf()), client: None }
    }

    fn identity(settings: &TlsSettings) -> blake3::Hash {
        TlsClient::open(settings, Protocol::Auto).expect("good files").identity()
    }

    #[test]
    fn a_pool_is_never_shared_across_trust_name_or_client_certificate() {
        let place = tempfile::tempdir().expect("a directory");
        let (one, two) = (pair(place.path(), "one"), pair(place.path(), "two"));
        let plain = settings(&one.0);
        let name = ServerName::try_from("orders.internal").expect("a name");
        let different = [
            identity(&plain),
            identity(&settings(&two.0)),
            identity(&TlsSettings { server_name: Some(name), ..plain.clone() }),
            identity(&TlsSettings { client: Some(one.clone()), ..plain.clone() }),
            identity(&TlsSettings { client: Some(two), ..plain.clone() }),
            TlsClient::open(&plain, Protocol::Http1).expect("good files").identity(),
        ];
        let distinct: std::collections::HashSet<_> = different.iter().collect();
        assert_eq!(distinct.len(), different.len());
        assert_eq!(identity(&plain), different[0], "the same content is the same identity");
        pair(place.path(), "one");
        assert_ne!(identity(&plain), different[0], "new content is a new identity");
    }

    #[test]
    fn the_protocol_decides_what_is_offered() {
        assert_eq!(alpn(Protocol::Http1), [b"http/1.1".to_vec()]);
        assert_eq!(alpn(Protocol::Http2), [b"h2".to_vec()]);
        assert_eq!(alpn(Protocol::Auto), [b"h2".to_vec(), b"http/1.1".to_vec()]);
    }

    #[test]
    fn the_backend_is_verified_by_its_host_unless_a_name_is_given() {
        let place = tempfile::tempdir().expect("a directory");
        let (ca, _) = pair(place.path(), "ca");
        let by_host = TlsClient::open(&settings(&ca), Protocol::Http1).expect("good files");
        assert_eq!(by_host.server_name("10.0.0.1"), ServerName::try_from("10.0.0.1").ok());
        assert_eq!(by_host.server_name("not a name"), None);
        let name = ServerName::try_from("orders.internal").ok();
        let fixed = TlsSettings { server_name: name.clone(), ..settings(&ca) };
        let by_name = TlsClient::open(&fixed, Protocol::Http1).expect("good files");
        assert_eq!(by_name.server_name("10.0.0.1"), name);
    }
}
