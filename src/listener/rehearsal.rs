//! A handshake with ourselves, before a certificate is shown to anybody (`design.md`, "Change").
//!
//! Certificate and key may belong together and still be of no use: a key of a kind that no client accepts a signature
//! of is found out here, in memory, and not by the first client. Whether clients *trust* the certificate is theirs to
//! say; when it expires is looked at elsewhere.

use crate::upstream::pem::provider;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, DigitallySignedStruct, Error, ServerConfig,
    ServerConnection, SideData, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;

/// Flights each way; TLS 1.3 takes two.
const FLIGHTS: usize = 8;

/// Takes `key` through one handshake.
///
/// # Errors
/// What a client would fail with.
pub fn rehearse(key: &Arc<CertifiedKey>) -> Result<(), Error> {
    let server = ServerConfig::builder_with_provider(provider().clone())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::clone(key))));
    let client = ClientConfig::builder_with_provider(provider().clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(OnlyTheSignature))
        .with_no_client_auth();
    let name =
        ServerName::try_from("rehearsal.invalid").map_err(|error| Error::General(error.to_string()))?;
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    for _ in 0..FLIGHTS {
        hand_over(&mut client, &mut server)?;
        hand_over(&mut server, &mut client)?;
        if !client.is_handshaking() && !server.is_handshaking() {
            return Ok(());
        }
    }
    Err(Error::General("the handshake does not end".to_owned()))
}

/// Everything that one side has to say, to the other.
fn hand_over<A: SideData, B: SideData>(
    from: &mut ConnectionCommon<A>,
    to: &mut ConnectionCommon<B>,
) -> Result<(), Error> {
    let broken = |error: std::io::Error| Error::General(error.to_string());
    let mut flight = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut flight).map_err(broken)?;
    }
    let mut rest = flight.as_slice();
    while !rest.is_empty() {
        to.read_tls(&mut rest).map_err(broken)?;
        to.process_new_packets()?;
    }
    Ok(())
}

/// Holds any certificate for good whose key signed the handshake.
#[derive(Debug)]
struct OnlyTheSignature;

impl ServerCertVerifier for OnlyTheSignature {
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
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn certified(shown: &KeyPair, signing: &KeyPair) -> Arc<CertifiedKey> {
        let made = CertificateParams::new(vec!["a.test".to_owned()])
            .expect("a name")
            .self_signed(shown)
            .expect("made");
        let key = signing.serialize_der().try_into().expect("a key");
        let key = provider().key_provider.load_private_key(key).expect("known");
        Arc::new(CertifiedKey::new(vec![made.der().clone()], key))
    }

    #[test]
    fn a_certificate_with_its_key_passes_and_one_with_another_key_does_not() {
        for kind in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
            let (own, other) =
                (KeyPair::generate_for(kind).expect("made"), KeyPair::generate_for(kind).expect("made"));
            assert_eq!(rehearse(&certified(&own, &own)), Ok(()));
            assert!(rehearse(&certified(&own, &other)).is_err(), "its signature is not the certificate's");
        }
    }
}
