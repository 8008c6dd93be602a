//! TLS on both sides: certificates by server name, client certificates, resumption, and backends whose
//! certificates are verified.

use crate::support::client::Http2;
use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::origins::exchange::header_seen;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::{End, get};
use crate::support::tls::{Authority, connect, handshake, is_turned_away, quoted};
use crate::support::{PATIENCE, run, wait_until};
use rustls::HandshakeKind;
use std::io::{Read, Write};
use std::time::Duration;

#[test]
fn the_certificate_is_chosen_by_server_name() {
    let authority = Authority::new();
    let pairs = [authority.server(&["edge.test"]), authority.server(&["*.shop.test", "shop.test"])];
    let origin = Origin::well_behaved();
    let listener = format!("tls = {{ certificates = [{}, {}] }}", pairs[0].toml(), pairs[1].toml());
    let gateway = Gateway::start(&Config::simple(origin.address()).listener(&listener));
    let client = authority.client_config(&["http/1.1"], None);
    for name in ["edge.test", "shop.test", "a.shop.test"] {
        let mut raw = connect(gateway.edge(), name, &client).unwrap_or_else(|e| panic!("{name}: {e}"));
        let answer = raw.ask(format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n"));
        assert_eq!(answer.status(), 200, "{name}");
        assert_eq!(header_seen(&answer.json(), "x-forwarded-proto"), Some("https"));
    }
    assert!(
        handshake(gateway.edge(), "other.test", &client).is_err(),
        "the first is the default, and does not fit"
    );
}

#[test]
fn an_authority_outside_the_certificate_is_misdirected() {
    let authority = Authority::new();
    let pair = authority.server(&["edge.test"]);
    let origin = Origin::well_behaved();
    let listener = format!("tls = {{ certificates = [{}] }}", pair.toml());
    let gateway = Gateway::start(&Config::simple(origin.address()).listener(&listener));
    let client = authority.client_config(&["http/1.1"], None);
    let mut raw = connect(gateway.edge(), "edge.test", &client).expect("a handshake");
    let answer = raw.ask("GET / HTTP/1.1\r\nHost: other.test\r\n\r\n");
    assert_eq!((answer.status(), answer.reason()), (421, Some("misdirected")));
    assert_eq!(origin.requests(), 0);
}

#[test]
fn clients_without_the_demanded_certificate_are_turned_away() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let pair = authority.server(&["edge.test"]);
    let origin = Origin::well_behaved();
    let listener =
        format!("tls = {{ certificates = [{}], client_ca = {} }}", pair.toml(), quoted(&authority.ca()));
    let gateway = Gateway::start(&Config::simple(origin.address()).listener(&listener));
    let known = authority.client("known");
    let client = authority.client_config(&["http/1.1"], Some(&known));
    let mut raw = connect(gateway.edge(), "edge.test", &client).expect("a handshake");
    assert_eq!(raw.ask(get("/")).status(), 200);
    let anonymous = authority.client_config(&["http/1.1"], None);
    assert!(is_turned_away(handshake(gateway.edge(), "edge.test", &anonymous)));
    let foreign = stranger.client("foreign");
    let foreign = authority.client_config(&["http/1.1"], Some(&foreign));
    assert!(is_turned_away(handshake(gateway.edge(), "edge.test", &foreign)));
    assert_eq!(origin.requests(), 1);
}

#[test]
fn the_protocol_is_what_both_sides_agree_on_and_asks_for_the_same_certificate() {
    let authority = Authority::new();
    let pair = authority.server(&["edge.test"]);
    let origin = Origin::well_behaved();
    let listener =
        format!("tls = {{ certificates = [{}], client_ca = {} }}", pair.toml(), quoted(&authority.ca()));
    let gateway = Gateway::start(&Config::simple(origin.address()).listener(&listener));
    let known = authority.client("known");
    run(async {
        let config = authority.client_config(&["h2", "http/1.1"], Some(&known));
        let mut client = Http2::connect_tls(gateway.edge(), "edge.test", config).await;
        assert_eq!(client.get("/").await.expect("an answer").status, 200);
    });
    let anonymous = authority.client_config(&["h2"], None);
    assert!(is_turned_away(handshake(gateway.edge(), "edge.test", &anonymous)), "over HTTP/2 too");
    let silent = authority.client_config(&[], Some(&known));
    let mut raw = connect(gateway.edge(), "edge.test", &silent).expect("a handshake");
    assert_eq!(raw.ask(get("/")).status(), 200, "without a wish it is HTTP/1.1");
    let foreign = authority.client_config(&["spdy/3"], Some(&known));
    assert!(is_turned_away(handshake(gateway.edge(), "edge.test", &foreign)), "no protocol in common");
    assert_eq!(origin.requests(), 2);
}

#[test]
fn sessions_are_resumed() {
    let authority = Authority::new();
    let pair = authority.server(&["edge.test"]);
    let origin = Origin::well_behaved();
    let listener = format!("tls = {{ certificates = [{}] }}", pair.toml());
    let gateway = Gateway::start(&Config::simple(origin.address()).listener(&listener));
    let client = authority.client_config(&["http/1.1"], None);
    let mut kinds = Vec::new();
    for _ in 0..6 {
        let mut stream = handshake(gateway.edge(), "edge.test", &client).expect("a handshake");
        kinds.push(stream.conn.handshake_kind().expect("it is done"));
        // The tickets come with the first answer.
        stream.write_all(get("/").as_bytes()).expect("the gateway reads");
        assert!(stream.read(&mut [0; 1024]).expect("an answer") > 0);
    }
    assert_eq!(kinds[0], HandshakeKind::Full);
    assert!(kinds[1..].iter().all(|kind| *kind == HandshakeKind::Resumed), "on whichever core: {kinds:?}");
}

#[test]
fn a_handshake_that_does_not_end_is_not_waited_for() {
    let authority = Authority::new();
    let pair = authority.server(&["edge.test"]);
    let origin = Origin::well_behaved();
    let listener = format!("tls = {{ certificates = [{}] }}\nhandshake_timeout = \"500ms\"", pair.toml());
    let gateway = Gateway::start(&Config::simple(origin.address()).listener(&listener));
    let mut silent = gateway.connect();
    let mut partial = gateway.connect();
    partial.send(b"\x16\x03\x01\x02\x00\x01");
    assert_ne!(silent.end(Duration::from_secs(5)), End::Open);
    assert_ne!(partial.end(Duration::from_secs(5)), End::Open);
    let mut cleartext = gateway.connect();
    let _ = cleartext.try_send(get("/"));
    assert_ne!(cleartext.end(Duration::from_secs(5)), End::Open, "cleartext on a TLS port");
    wait_until(PATIENCE, "they are counted as gone", || {
        gateway.metrics().value("tidegate_connections", &[("listener", "edge")]) == 0.0
    });
}

#[test]
fn backends_are_verified() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = authority.server(&["orders.test"]);
    let origin = Origin::tls(Behaviour::WellBehaved, authority.server_config(&server, false));
    let upstream = |ca: &Authority, name: &str| {
        format!("tls = {{ server_name = \"{name}\", ca = {} }}", quoted(&ca.ca()))
    };
    let config = Config::new()
        .upstream("good", &[origin.address()], &upstream(&authority, "orders.test"))
        .upstream("wrong-ca", &[origin.address()], &upstream(&stranger, "orders.test"))
        .upstream("wrong-name", &[origin.address()], &upstream(&authority, "other.test"))
        .route("good", "/good", "good", "")
        .route("wrong-ca", "/wrong-ca", "wrong-ca", "")
        .route("wrong-name", "/wrong-name", "wrong-name", "");
    let gateway = Gateway::start(&config);
    let mut raw = gateway.connect();
    for _ in 0..5 {
        assert_eq!(raw.ask(get("/good")).status(), 200);
    }
    assert_eq!(origin.requests(), 5);
    for path in ["/wrong-ca", "/wrong-name"] {
        let answer = raw.ask(get(path));
        assert_eq!((answer.status(), answer.reason()), (502, Some("connect_failed")), "{path}");
    }
    assert_eq!(origin.requests(), 5, "nothing is sent to a backend that is not who it should be");
}

#[test]
fn backends_that_demand_a_client_certificate_get_it() {
    let authority = Authority::new();
    let (server, client) = (authority.server(&["orders.test"]), authority.client("tidegate"));
    let origin = Origin::tls(Behaviour::WellBehaved, authority.server_config(&server, true));
    let identity = format!(
        "tls = {{ server_name = \"orders.test\", ca = {}, certificate = {}, key = {} }}",
        quoted(&authority.ca()),
        quoted(&client.certificate),
        quoted(&client.key)
    );
    let anonymous = format!("tls = {{ server_name = \"orders.test\", ca = {} }}", quoted(&authority.ca()));
    let config = Config::new()
        .upstream("known", &[origin.address()], &identity)
        .upstream("anonymous", &[origin.address()], &anonymous)
        .route("known", "/known", "known", "")
        .route("anonymous", "/anonymous", "anonymous", "");
    let gateway = Gateway::start(&config);
    assert_eq!(gateway.get("/known").status(), 200);
    assert_eq!(gateway.get("/anonymous").status(), 502, "an identity is never borrowed from another's pool");
    assert_eq!(gateway.get("/known").status(), 200);
}

#[test]
fn cleartext_listeners_can_send_clients_to_https() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()).listener("redirect_https = true"));
    let answer = gateway.connect().ask(get("/a?b=c"));
    assert!([301, 307, 308].contains(&answer.status()), "{}", answer.status());
    assert_eq!(answer.get("location"), Some("https://edge.test/a?b=c"));
    assert_eq!(origin.requests(), 0);
}
