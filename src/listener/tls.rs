//! TLS towards clients: which certificate is shown to whom, client certificates, resumption.
//!
//! A [`TlsDoor`] is made from files in one step and never changes; new files make a new one, and sessions of
//! the old cannot be resumed on it. The handshake itself happens on a core, under that core's deadline.
//! It deliberately keeps no OCSP staples and does no ACME.

use crate::listener::rehearsal::rehearse;
use crate::listener::settings::TlsSettings;
use crate::upstream::certificate::CertificateFacts;
use crate::upstream::pem::{Files as PemFiles, OnDisk, PemFile, TlsError, certified_key, provider};
use hashbrown::HashMap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, ServerName};
use std::sync::Arc;
use std::time::SystemTime;
use webpki::EndEntityCert;

/// TLS 1.2 sessions kept for resumption; TLS 1.3 and tickets keep theirs at the client.
const SESSIONS_KEPT: usize = 4096;

/// Everything that a TLS listener needs for a handshake, and for judging an authority afterwards.
#[derive(Debug)]
pub struct TlsDoor {
    /// For `tokio_rustls::TlsAcceptor`.
    pub config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    identity: blake3::Hash,
}

impl TlsDoor {
    /// Reads the files of `settings`.
    ///
    /// # Errors
    /// Names the file that is at fault.
    pub fn open(settings: &TlsSettings) -> Result<Self, TlsError> {
        Self::open_from(&OnDisk, settings)
    }

    /// The same with the content of the files from elsewhere.
    ///
    /// # Errors
    /// See [`TlsDoor::open`].
    pub fn open_from(files: &dyn PemFiles, settings: &TlsSettings) -> Result<Self, TlsError> {
        Self::made_of(&Files::read(files, settings)?)
    }

    /// Reads the files of `settings` again: a new door if their content is not that of `self`, which must have
    /// been made of the same settings.
    ///
    /// # Errors
    /// Names the file that is at fault, or that has expired.
    pub fn renewed(&self, settings: &TlsSettings) -> Result<Option<Self>, TlsError> {
        let files = Files::read(&OnDisk, settings)?;
        if files.identity == self.identity {
            return Ok(None);
        }
        let door = Self::made_of(&files)?;
        // Where nothing is shown, an expired certificate serves more clients than none.
        if !self.certificates.all.is_empty() {
            door.check(SystemTime::now())?;
        }
        Ok(Some(door))
    }

    /// A door that nobody passes, for a listener whose files cannot be used at a start: every handshake fails,
    /// until [`TlsDoor::renewed`] makes one that opens.
    ///
    /// # Errors
    /// When TLS cannot be set up at all.
    pub fn closed() -> Result<Self, TlsError> {
        let none = Certificates { all: Vec::new(), by_name: HashMap::default() };
        Self::showing(none, None, blake3::hash(b"closed"))
    }

    fn made_of(files: &Files) -> Result<Self, TlsError> {
        Self::showing(Certificates::of(&files.pairs)?, files.client_ca.as_ref(), files.identity)
    }

    fn showing(
        certificates: Certificates,
        client_ca: Option<&PemFile>,
        identity: blake3::Hash,
    ) -> Result<Self, TlsError> {
        let certificates = Arc::new(certificates);
        let builder = ServerConfig::builder_with_provider(Arc::clone(provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Setup(error.to_string()))?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => builder.with_client_cert_verifier(client_verifier(file)?),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&certificates) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Of this door alone: a session vouches for a client certificate without looking at it again, so one
        // that was made under another client_ca must be worth nothing here.
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS_KEPT);
        config.ticketer = Ticketer::new().map_err(|error| TlsError::Setup(error.to_string()))?;
        Ok(TlsDoor { config: Arc::new(config), certificates, identity })
    }

    /// Whether all certificates may be taken into use at `now`.
    ///
    /// # Errors
    /// Names one that has expired or is not valid yet.
    pub fn check(&self, now: SystemTime) -> Result<(), TlsError> {
        self.certificates().try_for_each(|certificate| certificate.check(now))
    }

    /// The certificates, in the order of the configuration.
    pub fn certificates(&self) -> impl Iterator<Item = &CertificateFacts> {
        self.certificates.all.iter().map(|certificate| &certificate.facts)
    }

    /// Whether the certificate that a client with server name `sni` was shown is also valid for `host` (a
    /// name or an address literal, without port). If not, the answer to a request for `host` is 421.
    pub fn covers(&self, sni: Option<&str>, host: &str) -> bool {
        self.certificates.shown_to(sni).is_some_and(|certificate| certificate.covers(host))
    }

    /// Hash of all files: equal identities would make equal doors.
    pub fn identity(&self) -> blake3::Hash {
        self.identity
    }
}

/// The files of a [`TlsSettings`] as they were read, at one moment, and their identity.
struct Files {
    /// Chains and keys.
    pairs: Vec<(PemFile, PemFile)>,
    client_ca: Option<PemFile>,
    identity: blake3::Hash,
}

impl Files {
    fn read(files: &dyn PemFiles, settings: &TlsSettings) -> Result<Self, TlsError> {
        let mut identity = blake3::Hasher::new();
        let mut pairs = Vec::with_capacity(settings.certificates.len());
        for pair in &settings.certificates {
            let chain = PemFile::read_from(files, &pair.certificate, &mut identity)?;
            pairs.push((chain, PemFile::read_from(files, &pair.key, &mut identity)?));
        }
        let client_ca = match &settings.client_ca {
            // Marks that what follows is an authority, not one more certificate.
            Some(path) => Some(PemFile::read_from(files, path, identity.update(b"client_ca"))?),
            None => None,
        };
        Ok(Files { pairs, client_ca, identity: identity.finalize() })
    }
}

fn client_verifier(file: &PemFile) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let roots = Arc::new(file.roots()?);
    WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider()))
        .build()
        .map_err(|error| file.problem(error))
}

/// The certificates of a listener, found by server name.
#[derive(Debug)]
struct Certificates {
    /// The first is shown when no name matches; empty only behind a closed door.
    all: Vec<Certificate>,
    /// Names and wildcards (as `*.rest`), lower case; on a clash the certificate listed first has it.
    by_name: HashMap<Box<str>, usize, foldhash::quality::RandomState>,
}

impl Certificates {
    fn of(pairs: &[(PemFile, PemFile)]) -> Result<Self, TlsError> {
        let mut all = Vec::with_capacity(pairs.len());
        let mut by_name = HashMap::default();
        for (index, (chain, key)) in pairs.iter().enumerate() {
            let certificate = Certificate::new(chain, certified_key(chain, key)?)?;
            for name in &certificate.names {
                by_name.entry(name.clone()).or_insert(index);
            }
            all.push(certificate);
        }
        if all.is_empty() {
            return Err(TlsError::Setup("a TLS listener needs at least one certificate".to_owned()));
        }
        Ok(Certificates { all, by_name })
    }

    fn shown_to(&self, sni: Option<&str>) -> Option<&Certificate> {
        let index = sni.and_then(|name| self.find(name)).unwrap_or(0);
        self.all.get(index)
    }

    fn find(&self, name: &str) -> Option<usize> {
        let name = canonical(name);
        let exact = self.by_name.get(name.as_str());
        exact.or_else(|| self.by_name.get(wildcard_over(&name)?.as_str())).copied()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.shown_to(hello.server_name()).map(|certificate| Arc::clone(&certificate.key))
    }
}

#[derive(Debug)]
struct Certificate {
    key: Arc<CertifiedKey>,
    /// DNS names of the leaf, lower case.
    names: Vec<Box<str>>,
    facts: CertificateFacts,
}

impl Certificate {
    fn new(chain: &PemFile, key: CertifiedKey) -> Result<Self, TlsError> {
        let leaf = key.end_entity_cert().map_err(|error| chain.problem(error))?;
        let names = dns_names(leaf).map_err(|error| chain.problem(error))?;
        let facts = CertificateFacts::of(chain, leaf)?;
        let key = Arc::new(key);
        rehearse(&key).map_err(|error| chain.problem(format!("a handshake with it fails: {error}")))?;
        Ok(Certificate { names, facts, key })
    }

    fn covers(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.parse::<std::net::IpAddr>().is_ok() {
            return self.covers_address(host);
        }
        let host = canonical(host);
        let wildcard = wildcard_over(&host);
        self.names.iter().any(|name| **name == *host || wildcard.as_deref() == Some(name))
    }

    /// Rare enough in practice that the certificate may be parsed again.
    fn covers_address(&self, host: &str) -> bool {
        let Ok(subject) = ServerName::try_from(host) else { return false };
        let Some(leaf) = self.key.cert.first() else { return false };
        EndEntityCert::try_from(leaf)
            .is_ok_and(|leaf| leaf.verify_is_valid_for_subject_name(&subject).is_ok())
    }
}

fn dns_names(leaf: &CertificateDer<'_>) -> Result<Vec<Box<str>>, webpki::Error> {
    let leaf = EndEntityCert::try_from(leaf)?;
    Ok(leaf.valid_dns_names().map(|name| canonical(name).into()).collect())
}

fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// `*.rest` for `label.rest`: a wildcard stands for exactly one label (RFC 6125, 6.4.3).
fn wildcard_over(name: &str) -> Option<String> {
    let (label, rest) = name.split_once('.')?;
    (!label.is_empty()).then(|| format!("*.{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::settings::CertificateFiles;
    use rcgen::generate_simple_self_signed;
    use std::path::Path;

    fn write_pair(place: &Path, file: &str, names: &[&str]) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let made = generate_simple_self_signed(names).expect("made");
        let (certificate, key) = (place.join(format!("{file}.pem")), place.join(format!("{file}.key")));
        std::fs::write(&certificate, made.cert.pem()).expect("written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        CertificateFiles { certificate, key }
    }

    fn door(place: &Path, names: &[&[&str]]) -> TlsDoor {
        let pair = |(index, names): (usize, &&[&str])| write_pair(place, &index.to_string(), names);
        let certificates = names.iter().enumerate().map(pair).collect();
        TlsDoor::open(&TlsSettings { certificates, client_ca: None }).expect("good files")
    }

    #[test]
    fn an_exact_name_wins_over_a_wildcard_and_the_first_is_the_default() {
        let place = tempfile::tempdir().expect("a directory");
        let door = door(place.path(), &[&["default.test"], &["*.shop.test"], &["pay.shop.test"]]);
        let found = |name| door.certificates.find(name);
        assert_eq!(found("pay.shop.test"), Some(2));
        assert_eq!(found("PAY.shop.test."), Some(2));
        assert_eq!(found("cart.shop.test"), Some(1));
        assert_eq!(found("a.cart.shop.test"), None);
        assert_eq!(found("shop.test"), None);
        assert!(door.covers(None, "default.test") && door.covers(Some("unknown.test"), "default.test"));
    }

    #[test]
    fn an_authority_outside_the_certificate_that_was_shown_is_not_covered() {
        let place = tempfile::tempdir().expect("a directory");
        let door = door(place.path(), &[&["a.test", "b.test", "127.0.0.1"], &["c.test", "*.d.test"]]);
        assert!(door.covers(Some("a.test"), "B.test"));
        assert!(door.covers(Some("a.test"), "127.0.0.1"));
        assert!(!door.covers(Some("a.test"), "[::1]"));
        assert!(!door.covers(Some("a.test"), "c.test"));
        assert!(door.covers(Some("c.test"), "x.d.test"));
        assert!(!door.covers(Some("c.test"), "d.test"));
    }

    #[test]
    fn nothing_is_taken_before_the_handshake_is_done() {
        let place = tempfile::tempdir().expect("a directory");
        let door = door(place.path(), &[&["a.test"]]);
        assert_eq!(door.config.max_early_data_size, 0, "early data may be played again (RFC 8446, 8)");
        assert!(!door.config.key_log.will_log("CLIENT_RANDOM"));
    }

    #[test]
    fn a_closed_door_shows_and_covers_nothing_until_its_files_are_good() {
        let place = tempfile::tempdir().expect("a directory");
        let closed = TlsDoor::closed().expect("made");
        assert!(!closed.covers(None, "a.test") && closed.certificates().next().is_none());
        let pair = write_pair(place.path(), "a", &["a.test"]);
        let settings = TlsSettings { certificates: vec![pair], client_ca: None };
        let opened = closed.renewed(&settings).expect("good files").expect("something new");
        assert!(opened.covers(None, "a.test"));
        assert!(opened.renewed(&settings).expect("good files").is_none());
    }

    #[test]
    fn the_identity_follows_the_content_of_the_files() {
        let place = tempfile::tempdir().expect("a directory");
        let pair = write_pair(place.path(), "one", &["one.test"]);
        let settings = TlsSettings { certificates: vec![pair.clone()], client_ca: None };
        let first = TlsDoor::open(&settings).expect("good").identity();
        assert_eq!(first, TlsDoor::open(&settings).expect("good").identity());
        let with_ca = TlsSettings { client_ca: Some(pair.certificate.clone()), ..settings.clone() };
        assert_ne!(first, TlsDoor::open(&with_ca).expect("good").identity());
        write_pair(place.path(), "one", &["one.test"]);
        assert_ne!(first, TlsDoor::open(&settings).expect("good").identity());
    }
}
