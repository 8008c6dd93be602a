//! TLS handshakes between both sides of the gateway: a listener's door and an upstream's client.

use super::*;
use crate::upstream::settings::{Protocol, TlsSettings as ClientSettings};
use crate::upstream::tls::TlsClient;
use rustls::{ClientConnection, HandshakeKind, ServerConnection};
use std::path::{Path, PathBuf};

pub fn pair(place: &Path, file: &str, names: &[&str]) -> CertificateFiles {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("made");
    let (certificate, key) = (place.join(format!("{file}.pem")), place.join(format!("{file}.key")));
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    CertificateFiles { certificate, key }
}

pub fn tls_settings(certificates: &[&CertificateFiles], client_ca: Option<&CertificateFiles>) -> Settings {
    let certificates = certificates.iter().copied().cloned().collect();
    let client_ca = client_ca.map(|pair| pair.certificate.clone());
    Settings { tls: Some(TlsSettings { certificates, client_ca }), ..settings("secure") }
}

fn client_of(ca: &CertificateFiles, client: Option<&CertificateFiles>) -> TlsClient {
    let client: Option<(PathBuf, PathBuf)> = client.map(|pair| (pair.certificate.clone(), pair.key.clone()));
    let settings = ClientSettings { server_name: None, ca: Some(ca.certificate.clone()), client };
    TlsClient::open(&settings, Protocol::Auto).expect("good files")
}

/// One handshake and one byte each way; both sides' connections, or the first error of either side.
fn handshake(
    street: &Street,
    client: &TlsClient,
    host: &str,
) -> Result<(ClientConnection, ServerConnection), String> {
    let mut stream = connect(street.listeners.bound()[0].1);
    street.shelf.holds(1);
    let (_, mut accepted) = street.shelf.clear().remove(0);
    accepted.stream.set_nonblocking(false).expect("a socket");
    let door = accepted.listener.tls().expect("a TLS listener");
    let serving = std::thread::spawn(move || {
        let mut server = ServerConnection::new(Arc::clone(&door.config)).map_err(|e| e.to_string())?;
        let mut tls = rustls::Stream::new(&mut server, &mut accepted.stream);
        tls.read_exact(&mut [0]).and_then(|()| tls.write_all(b"y")).map_err(|e| format!("server: {e}"))?;
        Ok(server)
    });
    let name = client.server_name(host).expect("a host name");
    let mut connection = ClientConnection::new(Arc::clone(&client.config), name).expect("a valid set-up");
    let mut tls = rustls::Stream::new(&mut connection, &mut stream);
    let answered = tls.write_all(b"x").and_then(|()| tls.read_exact(&mut [0]));
    drop(stream);
    let server: Result<ServerConnection, String> = serving.join().expect("no panic");
    answered.map_err(|e| format!("client: {e}"))?;
    Ok((connection, server?))
}

#[test]
fn the_server_name_chooses_the_certificate() {
    let place = tempfile::tempdir().expect("a directory");
    let one = pair(place.path(), "one", &["one.test"]);
    let two = pair(place.path(), "two", &["*.two.test"]);
    let street = street(100);
    street.open(&[tls_settings(&[&one, &two], None)]);
    let (client, server) = handshake(&street, &client_of(&one, None), "one.test").expect("certificate one");
    assert_eq!(client.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(server.server_name(), Some("one.test"));
    handshake(&street, &client_of(&two, None), "a.two.test").expect("certificate two");
    let wrong = handshake(&street, &client_of(&two, None), "one.test");
    assert!(wrong.is_err_and(|error| error.starts_with("client")), "another authority is not trusted");
}

#[test]
fn where_client_certificates_are_asked_for_nobody_enters_without_one() {
    let place = tempfile::tempdir().expect("a directory");
    let server = pair(place.path(), "server", &["one.test"]);
    let (good, bad) = (pair(place.path(), "good", &["good"]), pair(place.path(), "bad", &["bad"]));
    let street = street(100);
    street.open(&[tls_settings(&[&server], Some(&good))]);
    let (_, seen) = handshake(&street, &client_of(&server, Some(&good)), "one.test").expect("trusted");
    assert_eq!(seen.peer_certificates().map(<[_]>::len), Some(1));
    assert!(handshake(&street, &client_of(&server, None), "one.test").is_err());
    assert!(handshake(&street, &client_of(&server, Some(&bad)), "one.test").is_err());
}

#[test]
fn sessions_resume_across_a_change_that_keeps_the_files_and_not_across_new_ones() {
    let place = tempfile::tempdir().expect("a directory");
    let files = pair(place.path(), "one", &["one.test"]);
    let street = street(100);
    let wanted = tls_settings(&[&files], None);
    let client = client_of(&files, None);
    let kind =
        |street: &Street| handshake(street, &client, "one.test").map(|(client, _)| client.handshake_kind());
    let full = |kind| matches!(kind, Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest));
    street.open(std::slice::from_ref(&wanted));
    assert!(full(kind(&street).expect("trusted")));
    assert_eq!(kind(&street), Ok(Some(HandshakeKind::Resumed)));
    street.open(&[Settings { max_connections: 7, ..wanted.clone() }]);
    assert_eq!(kind(&street), Ok(Some(HandshakeKind::Resumed)));
    pair(place.path(), "one", &["one.test"]);
    let renewed = street.listeners.renew();
    assert!(matches!(renewed[0].renewed, Ok(true)), "{renewed:?}");
    assert!(kind(&street).is_err(), "the new certificate is shown, and this client does not trust it");
}

#[test]
fn a_key_that_does_not_fit_changes_nothing_and_names_both_files() {
    let place = tempfile::tempdir().expect("a directory");
    let (one, two) = (pair(place.path(), "one", &["one.test"]), pair(place.path(), "two", &["two.test"]));
    let street = street(100);
    street.open(&[tls_settings(&[&one], None)]);
    let mixed = CertificateFiles { key: two.key.clone(), ..one.clone() };
    let errors = street.listeners.apply(&[tls_settings(&[&mixed], None)]).expect_err("they do not fit");
    let text = errors[0].to_string();
    assert!(text.contains("secure") && text.contains("one.pem") && text.contains("two.key"), "{text}");
    handshake(&street, &client_of(&one, None), "one.test").expect("the door of before");
}

#[test]
fn a_listener_whose_files_are_damaged_keeps_no_other_from_its_new_ones() {
    let place = tempfile::tempdir().expect("a directory");
    let (one, two) = (pair(place.path(), "one", &["one.test"]), pair(place.path(), "two", &["two.test"]));
    let street = street(100);
    let bad = Settings { name: "bad".into(), ..tls_settings(&[&one], None) };
    let both = [bad, tls_settings(&[&two], None)];
    street.open(&both);
    let identities = || street.listeners.renew().iter().map(|it| it.door.identity()).collect::<Vec<_>>();
    let before = identities();
    std::fs::write(&one.key, "").expect("written");
    pair(place.path(), "two", &["two.test"]);
    let renewed = street.listeners.renew();
    assert!(renewed[0].renewed.as_ref().is_err_and(|error| error.to_string().contains("one.key")));
    assert!(matches!(renewed[1].renewed, Ok(true)));
    assert!(street.listeners.apply(&both).is_ok(), "and no change of something else from its effect");
    let after = identities();
    assert!(after[0] == before[0] && after[1] != before[1]);
}
