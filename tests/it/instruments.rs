//! The instruments themselves: clients and origins talk to each other without the gateway, so that a test
//! that fails points at the gateway.

use std::time::Duration;

use crate::support::client::Http2;
use crate::support::frames::{ACK, END_HEADERS, END_STREAM, Frames, HEADERS, NONE, PING, get_block};
use crate::support::load::Load;
use crate::support::origins::exchange::{checksum, pattern};
use crate::support::origins::{Behaviour, Origin, SynBlackHole, refused};
use crate::support::raw::{End, Raw, fetch, get, post};
use crate::support::tls::{self, Authority};
use crate::support::{PATIENCE, run, wait_until};

#[test]
fn the_echo_tells_what_it_saw() {
    let origin = Origin::well_behaved();
    let body = pattern(100_000);
    let mut raw = Raw::connect(origin.address());
    let seen = raw.ask(post("/a?b=c", &body)).json();
    assert_eq!(seen["method"], "POST");
    assert_eq!(seen["uri"], "/a?b=c");
    assert_eq!(seen["body_bytes"], 100_000);
    assert_eq!(seen["body_hash"], checksum(&body));
    assert_eq!(raw.ask(get("/bytes/70000")).body, pattern(70_000));
    let chunked = raw.ask(get("/chunked/70000"));
    assert_eq!((chunked.body, chunked.trailers.len()), (pattern(70_000), 1));
    assert_eq!((origin.accepted(), origin.requests(), origin.peak()), (1, 3, 1));
    wait_until(PATIENCE, "nothing is in flight", || origin.in_flight() == 0);
}

#[test]
fn ends_are_told_apart() {
    let resets = Origin::start(Behaviour::ResetsMidBody);
    let mut raw = Raw::connect(resets.address());
    raw.send(get("/"));
    assert_eq!(raw.try_answer(false).unwrap_err(), End::Reset);
    let short = Origin::start(Behaviour::SendsLessThanDeclared);
    let mut raw = Raw::connect(short.address());
    raw.send(get("/"));
    assert_eq!(raw.try_answer(false).unwrap_err(), End::Eof);
    let hung = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let mut raw = Raw::connect(hung.address());
    raw.send(get("/"));
    hung.holds(1);
    assert_eq!(raw.end(Duration::from_millis(50)), End::Open);
    drop(raw);
    hung.holds(0);
}

#[test]
fn a_black_hole_answers_no_syn_and_a_closed_port_refuses() {
    let hole = SynBlackHole::start();
    let short = Duration::from_millis(100);
    let error = std::net::TcpStream::connect_timeout(&hole.address(), short).expect_err("nobody answers");
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    let error = std::net::TcpStream::connect_timeout(&refused(), short).expect_err("nobody listens");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn load_counts_by_status() {
    let origin = Origin::start(Behaviour::Delay(Duration::from_millis(2)));
    let load = Load::closed(origin.address(), "/status/418", 3);
    wait_until(PATIENCE, "there was load", || origin.requests() > 50);
    let report = load.stop();
    report.only(&[418]);
    assert!(report.count(418) >= 50 && report.percentile(418, 99) >= Duration::from_millis(2));
    assert!(origin.peak() <= 3);
}

#[test]
fn http2_and_grpc_reach_an_http2_origin() {
    let origin = Origin::http2(100);
    run(async {
        let mut client = Http2::connect(origin.address()).await;
        assert_eq!(client.get("/x").await.unwrap().json()["method"], "GET");
        let unary = client.grpc("/echo.Echo/Unary", b"hello").await.unwrap();
        assert_eq!((unary.grpc_status(), &unary.body[5..]), (Some("0"), &b"hello"[..]));
        let ten = client.grpc("/echo.Echo/Stream", b"hello").await.unwrap();
        assert_eq!(ten.body.len(), 100);
        let request = client.grpc_request("/echo.Echo/Bidi");
        let mut call = client.open(request).await.unwrap();
        assert_eq!(&call.exchange(b"one").await[5..], b"one");
        assert_eq!(&call.exchange(b"two").await[5..], b"two");
        assert_eq!(call.finish().await["grpc-status"], "0");
    });
}

#[test]
fn frames_by_hand_are_understood() {
    let origin = Origin::http2(100);
    let mut client = Frames::connect(origin.address());
    client.send(PING, NONE, 0, &[7; 8]).expect("the origin reads");
    let pong = client.next(PING).expect("an answer");
    assert_eq!((pong.flags, pong.payload), (ACK, vec![7; 8]));
    client.send(HEADERS, END_HEADERS | END_STREAM, 1, &get_block("/x")).expect("the origin reads");
    assert_eq!(client.next(HEADERS).expect("an answer").stream, 1);
    assert_eq!(client.end(Duration::from_millis(20)), End::Open);
    drop(origin);
    assert_ne!(client.end(PATIENCE), End::Open);
}

#[test]
fn tls_with_client_certificates_works_between_the_instruments() {
    let authority = Authority::new();
    let server = authority.server_config(&authority.server(&["origin.test"]), true);
    let origin = Origin::tls(Behaviour::WellBehaved, server);
    let client = authority.client("someone");
    let config = authority.client_config(&["http/1.1"], Some(&client));
    let mut raw = tls::connect(origin.address(), "origin.test", &config).expect("a handshake");
    assert_eq!(raw.ask(get("/")).status(), 200);
    let anonymous = authority.client_config(&["http/1.1"], None);
    assert!(tls::is_turned_away(tls::handshake(origin.address(), "origin.test", &anonymous)));
    assert_eq!(fetch(Origin::well_behaved().address(), "/").status(), 200);
}
