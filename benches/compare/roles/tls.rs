//! TLS of the load: what the client offers decides, so that every peer does the same work. TLS 1.3 only, one
//! cipher suite, one key exchange. It looks at no certificate: that would be work of the load, not of the peer.

use anyhow::{Result, ensure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, HandshakeKind, NamedGroup, SignatureScheme};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What the load says in its handshakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// Comes again with the ticket of before; otherwise every handshake is a full one.
    pub resume: bool,
    /// Exchanges keys by X25519MLKEM768; otherwise by X25519.
    pub post_quantum: bool,
    /// Speaks HTTP/2.
    pub http2: bool,
}

/// Connects over TLS as it was ordered, and looks whether it got that.
#[derive(Clone)]
pub struct Connector {
    tls: Tls,
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Connector {
    /// One connector, which keeps one server's tickets.
    pub fn new(tls: Tls) -> Result<Connector> {
        let group =
            if tls.post_quantum { aws_lc_rs::kx_group::X25519MLKEM768 } else { aws_lc_rs::kx_group::X25519 };
        let provider = CryptoProvider {
            kx_groups: vec![group],
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
            ..aws_lc_rs::default_provider()
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone))
            .with_no_client_auth();
        config.resumption =
            if tls.resume { Resumption::in_memory_sessions(8) } else { Resumption::disabled() };
        config.alpn_protocols = vec![if tls.http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let name = ServerName::try_from("edge.test")?;
        Ok(Connector { tls, connector: TlsConnector::from(Arc::new(config)), name })
    }

    /// Shakes hands. `first` has no ticket yet.
    pub async fn connect(&self, socket: TcpStream, first: bool) -> Result<TlsStream<TcpStream>> {
        let stream = self.connector.connect(self.name.clone(), socket).await?;
        let (_, session) = stream.get_ref();
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        ensure!(first || resumed == self.tls.resume, "resumed: {resumed}");
        let wanted = if self.tls.post_quantum { NamedGroup::X25519MLKEM768 } else { NamedGroup::X25519 };
        let group = session.negotiated_key_exchange_group().map(|group| group.name());
        ensure!(group.is_none_or(|group| group == wanted), "keys exchanged by {group:?}");
        Ok(stream)
    }
}

/// Takes any certificate.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
