//! Certificates for one test: an authority, server and client certificates signed by it, as files for the
//! gateway and as settings for clients and origins.

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned, SupportedProtocolVersion,
};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tempfile::TempDir;

use super::PATIENCE;
use super::raw::Raw;

/// An authority and the folder that holds its certificates.
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// A certificate with its key, as files.
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// A new authority, with `ca.pem` in its folder.
    pub fn new() -> Authority {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = TempDir::new().expect("a temporary folder");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Tidegate test authority");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("ca.pem is written");
        let der = certificate.der().clone();
        Authority { folder, issuer: Issuer::new(params, key), certificate: der }
    }

    /// Where the authority's own certificate is.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for a server with these names.
    pub fn server(&self, names: &[&str]) -> Pair {
        self.sign(names, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate for a client with this name.
    pub fn client(&self, name: &str) -> Pair {
        self.sign(&[name], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(&self, names: &[&str], usage: ExtendedKeyUsagePurpose) -> Pair {
        self.sign_until(names, usage, rcgen::date_time_ymd(4096, 1, 1).into())
    }

    /// A certificate for a server or client with these names, until then.
    pub fn sign_until(&self, names: &[&str], usage: ExtendedKeyUsagePurpose, end: SystemTime) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let file = names[0].replace('*', "any");
        let mut params = CertificateParams::new(names).expect("valid names");
        params.distinguished_name.push(DnType::CommonName, file.as_str());
        params.extended_key_usages.push(usage);
        params.not_after = end.into();
        self.keep(&file, params, &KeyPair::generate().expect("a key"))
    }

    /// A certificate for a server whose signatures cost it milliseconds, and whoever checks them next to nothing.
    pub fn rsa_server(&self, name: &str) -> Pair {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a valid name");
        let size = rcgen::RsaKeySize::_4096;
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size).expect("a key");
        self.keep(name, params, &key)
    }

    /// Signs, and keeps certificate and key as files.
    fn keep(&self, file: &str, params: CertificateParams, key: &KeyPair) -> Pair {
        let certificate = params.signed_by(key, &self.issuer).expect("a certificate");
        let pair = Pair { certificate: self.path(file, "pem"), key: self.path(file, "key") };
        fs::write(&pair.certificate, certificate.pem()).expect("the certificate is written");
        fs::write(&pair.key, key.serialize_pem()).expect("the key is written");
        pair
    }

    fn path(&self, name: &str, extension: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.{extension}"))
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a root");
        roots
    }

    /// A client that trusts this authority and offers these protocols.
    pub fn client_config(&self, protocols: &[&str], identity: Option<&Pair>) -> Arc<ClientConfig> {
        self.client_config_of(rustls::ALL_VERSIONS, protocols, identity)
    }

    /// The same in these versions of TLS.
    pub fn client_config_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
        identity: Option<&Pair>,
    ) -> Arc<ClientConfig> {
        let builder =
            ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(self.roots());
        let mut config = match identity {
            Some(pair) => {
                builder.with_client_auth_cert(pair.chain(), pair.private_key()).expect("a client identity")
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// A client that shakes hands in full every time.
    pub fn forgetful_client(&self) -> Arc<ClientConfig> {
        let mut config = Arc::unwrap_or_clone(self.client_config(&["http/1.1"], None));
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    }

    /// An origin with this certificate; with `client_ca` it demands a certificate of this authority.
    pub fn server_config(&self, pair: &Pair, demands_client: bool) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder();
        let builder = if demands_client {
            let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(self.roots()));
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        Arc::new(builder.with_single_cert(pair.chain(), pair.private_key()).expect("a server identity"))
    }
}

impl Pair {
    /// Puts the certificate where another one is, as deploy tools do: beside it, then renamed.
    pub fn certificate_to(&self, other: &Pair) {
        replace(&other.certificate, &self.certificate);
    }

    /// The same for the key.
    pub fn key_to(&self, other: &Pair) {
        replace(&other.key, &self.key);
    }

    /// The certificate itself.
    pub fn leaf(&self) -> CertificateDer<'static> {
        self.chain().remove(0)
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        let chain = CertificateDer::pem_file_iter(&self.certificate).expect("a certificate file");
        chain.map(|certificate| certificate.expect("a certificate")).collect()
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_file(&self.key).expect("a key file")
    }

    /// As TOML for a listener's `certificates`.
    pub fn toml(&self) -> String {
        format!("{{ certificate = {}, key = {} }}", quoted(&self.certificate), quoted(&self.key))
    }
}

/// Puts the content of `new` where `file` is: written beside it, then renamed.
pub fn replace(file: &Path, new: &Path) {
    let beside = file.with_extension("new");
    fs::copy(new, &beside).expect("the new content is written");
    fs::rename(beside, file).expect("the file is replaced");
}

/// The certificate that a client is shown.
pub fn shown(address: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> CertificateDer<'static> {
    let stream = handshake(address, name, config).expect("a handshake");
    stream.conn.peer_certificates().expect("a certificate")[0].clone().into_owned()
}

/// A path as a TOML string.
pub fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

/// Shakes hands with a server that must be `name`.
pub fn handshake(
    address: SocketAddr,
    name: &str,
    config: &Arc<ClientConfig>,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    handshake_over(TcpStream::connect(address)?, name, config)
}

/// The same on a connection that is there.
pub fn handshake_over(
    socket: TcpStream,
    name: &str,
    config: &Arc<ClientConfig>,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).expect("a server name");
    socket.set_read_timeout(Some(PATIENCE))?;
    let connection = ClientConnection::new(config.clone(), name).expect("a client");
    let mut stream = StreamOwned::new(connection, socket);
    stream.conn.complete_io(&mut stream.sock)?;
    Ok(stream)
}

/// A raw HTTP/1.1 client over TLS.
pub fn connect(address: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> std::io::Result<Raw> {
    let stream = handshake(address, name, config)?;
    Raw::over(stream.sock.try_clone()?, Box::new(stream))
}

/// Whether the server ends the connection instead of serving it. With TLS 1.3 a refused client certificate
/// shows only after the client's side of the handshake is done.
pub fn is_turned_away(stream: std::io::Result<StreamOwned<ClientConnection, TcpStream>>) -> bool {
    let Ok(mut stream) = stream else { return true };
    let asked = stream.write_all(b"GET / HTTP/1.1\r\nHost: edge.test\r\nConnection: close\r\n\r\n");
    asked.is_err() || !matches!(stream.read(&mut [0; 16]), Ok(n) if n > 0)
}
