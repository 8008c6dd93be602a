//! A connection that is quiet costs little more than its socket, and nobody can tell by how it is treated: requests,
//! deadlines, caps and drains are the same.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::origins::Origin;
use crate::support::raw::{End, Raw, get, post};
use crate::support::tls::{self, Authority};
use crate::support::{PATIENCE, wait_until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn open(gateway: &Gateway) -> f64 {
    gateway.metrics().value("tidegate_connections", &[("listener", "edge")])
}

fn parked(gateway: &Gateway) -> f64 {
    gateway.metrics().value("tidegate_connections_parked", &[("listener", "edge")])
}

fn wait_parked(gateway: &Gateway, count: usize) {
    wait_until(PATIENCE, "they are parked", || parked(gateway) == count as f64);
}

/// A connection that has asked once, and is parked as the only one.
fn asked_and_parked(gateway: &Gateway) -> Raw {
    let mut raw = gateway.connect();
    assert_eq!(raw.ask(get("/")).status(), 200);
    wait_parked(gateway, 1);
    raw
}

#[test]
fn a_parked_connection_is_served_as_any_other() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut raw = asked_and_parked(&gateway);
    assert_eq!(raw.ask(get("/again")).json()["uri"], "/again");
    assert_eq!(parked(&gateway), 0.0, "whoever has just asked is not");
    wait_parked(&gateway, 1);
    raw.send([get("/1"), get("/2"), get("/3")].concat());
    for uri in ["/1", "/2", "/3"] {
        assert_eq!(raw.answer(false).json()["uri"], uri, "all that came at once are answered in order");
    }
    wait_parked(&gateway, 1);
    raw.send_in_pieces(get("/pieces"), 1);
    assert_eq!(raw.answer(false).json()["uri"], "/pieces");
    wait_parked(&gateway, 1);
    assert_eq!(raw.ask(post("/body", &vec![b'x'; 200_000])).status(), 200);
    wait_parked(&gateway, 1);
    // An empty line before a request is no request: it stays with the connection when that is parked once more.
    raw.send("\r\n");
    wait_parked(&gateway, 1);
    assert_eq!(raw.ask(get("/behind")).json()["uri"], "/behind");
    assert_eq!(origin.requests(), 8);
}

#[test]
fn connections_under_tls_are_parked_and_lose_nothing() {
    let (authority, origin) = (Authority::new(), Origin::well_behaved());
    let pair = authority.server(&["edge.test"]);
    let listener = format!("tls = {{ certificates = [{}] }}", pair.toml());
    let gateway = Gateway::start(&Config::simple(origin.address()).listener(&listener));
    let client = authority.client_config(&["http/1.1"], None);
    let mut raw = tls::connect(gateway.edge(), "edge.test", &client).expect("a handshake");
    for uri in ["/first", "/second", "/third"] {
        assert_eq!(raw.ask(get(uri)).json()["uri"], uri);
        wait_parked(&gateway, 1);
    }
    raw.send([get("/1"), get("/2")].concat());
    assert_eq!((raw.answer(false).status(), raw.answer(false).status()), (200, 200));
}

#[test]
fn a_parked_connection_ends_at_its_idle_timeout() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()).listener("idle_timeout = \"4s\""));
    let mut raw = gateway.connect();
    assert_eq!(raw.ask(get("/")).status(), 200);
    let since = Instant::now();
    wait_parked(&gateway, 1);
    assert_eq!(raw.end(PATIENCE), End::Eof);
    assert!(since.elapsed() > Duration::from_millis(3_800), "it had its time: {:?}", since.elapsed());
    wait_until(PATIENCE, "it is counted as gone", || (open(&gateway), parked(&gateway)) == (0.0, 0.0));
}

#[test]
fn who_has_not_spoken_yet_is_parked_at_once_and_has_a_heads_time() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()).listener("header_timeout = \"3s\""));
    let mut silent = gateway.connect();
    let mut begins = gateway.connect();
    let since = Instant::now();
    wait_parked(&gateway, 2);
    begins.send("GET / HTTP/1.1\r\n");
    wait_parked(&gateway, 1);
    assert_eq!(silent.end(PATIENCE), End::Eof);
    assert!(since.elapsed() > Duration::from_millis(2_800), "it had its time: {:?}", since.elapsed());
    let answer = begins.answer(false);
    assert_eq!((answer.status(), answer.reason()), (408, Some("request_timeout")));
}

#[test]
fn parked_connections_count_for_the_caps() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()).listener("max_connections = 3"));
    let mut kept: Vec<Raw> = (0..3).map(|_| gateway.connect()).collect();
    kept.iter_mut().for_each(|raw| assert_eq!(raw.ask(get("/")).status(), 200));
    wait_parked(&gateway, 3);
    let mut fourth = gateway.connect();
    let _ = fourth.try_send(get("/"));
    assert_ne!(fourth.end(PATIENCE), End::Open);
    assert_eq!(open(&gateway), 3.0);
    kept.pop();
    wait_until(PATIENCE, "there is room again", || gateway.serves("/"));
}

#[test]
fn a_parked_client_that_leaves_is_let_go() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut half = asked_and_parked(&gateway);
    half.half_close();
    assert_eq!(half.end(PATIENCE), End::Eof);
    wait_until(PATIENCE, "it is gone", || (open(&gateway), parked(&gateway)) == (0.0, 0.0));
    asked_and_parked(&gateway).abort();
    wait_until(PATIENCE, "it is gone", || (open(&gateway), parked(&gateway)) == (0.0, 0.0));
    let mut last = asked_and_parked(&gateway);
    last.send(get("/last"));
    last.half_close();
    assert_eq!(last.answer(false).json()["uri"], "/last", "what it asked before it left is answered");
}

#[test]
fn a_drain_closes_parked_connections_and_answers_those_that_have_asked() {
    let origin = Origin::well_behaved();
    let config = Config::simple(origin.address()).gateway("drain_delay = \"0s\"\ndrain_timeout = \"20s\"");
    let mut gateway = Gateway::start(&config);
    let mut clients: Vec<Raw> = (0..6).map(|_| gateway.connect()).collect();
    clients[..5].iter_mut().for_each(|raw| assert_eq!(raw.ask(get("/")).status(), 200));
    wait_parked(&gateway, 6);
    // What they ask is there before the drain is.
    gateway.stopped(|| {
        clients[..2].iter_mut().for_each(|raw| raw.send(get("/asked")));
        gateway.term();
    });
    let since = Instant::now();
    for raw in &mut clients[..2] {
        // Read before the core has heard of the drain, it may not say so; it is answered either way.
        assert_eq!(raw.answer(false).status(), 200);
    }
    assert!(clients.iter_mut().all(|raw| raw.end(PATIENCE) == End::Eof), "all end in order");
    assert_eq!(gateway.exit(Duration::from_secs(10)).code(), Some(0));
    assert!(since.elapsed() < Duration::from_secs(6), "nobody waited for them: {:?}", since.elapsed());
}

#[test]
fn a_body_that_nobody_read_is_never_taken_for_a_request() {
    let origin = Origin::well_behaved();
    let gateway =
        Gateway::start(&Config::new().upstream("u", &[origin.address()], "").route("r", "/known", "u", ""));
    let mut raw = gateway.connect();
    let smuggled = get("/known/smuggled");
    let length = 10_000 + smuggled.len();
    raw.send(format!("POST /none HTTP/1.1\r\nHost: edge.test\r\nContent-Length: {length}\r\n\r\n"));
    assert_eq!(raw.answer(false).status(), 404);
    let mut quiet = gateway.connect();
    assert_eq!(quiet.ask(get("/known")).status(), 200);
    wait_until(PATIENCE, "time enough to be parked has passed", || parked(&gateway) > 0.0);
    // It may be closed by now.
    let _ = raw.try_send([&vec![b'x'; 10_000], smuggled.as_bytes()].concat());
    assert_ne!(
        raw.end(Duration::from_secs(3)),
        End::Open,
        "a client that does not say its whole body is let go"
    );
    assert_eq!(origin.requests(), 1);
}

#[test]
fn five_thousand_parked_connections_cost_little_and_are_all_answered_when_they_speak_at_once() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("as many as may be");
    let gateway = Gateway::start(
        &Config::new()
            .workers(1)
            .text("[[routes]]\nname = \"r\"\npath_prefix = \"/\"\nrespond = { body = \"hi\" }\n"),
    );
    let mut first: Vec<TcpStream> = (0..20).map(|_| crowd_member(&gateway)).collect();
    wait_parked(&gateway, first.len());
    let before = gateway.own_kib();
    let mut crowd: Vec<TcpStream> = (0..5_000).map(|_| crowd_member(&gateway)).collect();
    for _ in 0..2 {
        wait_parked(&gateway, first.len() + crowd.len());
        // The allocator gives back what it keeps a second later.
        wait_until(PATIENCE, "an idle connection costs less than 4 KiB", || {
            gateway.own_kib().saturating_sub(before) < 4 * crowd.len() as u64
        });
        crowd.iter_mut().for_each(asks);
        crowd.iter_mut().for_each(is_answered);
    }
    first.iter_mut().for_each(asks);
    first.iter_mut().for_each(is_answered);
}

/// One descriptor each, because there are many.
fn crowd_member(gateway: &Gateway) -> TcpStream {
    let mut socket = TcpStream::connect(gateway.edge()).expect("the gateway accepts");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout is set");
    asks(&mut socket);
    is_answered(&mut socket);
    socket
}

fn asks(socket: &mut TcpStream) {
    socket.write_all(get("/").as_bytes()).expect("the gateway takes it");
}

fn is_answered(socket: &mut TcpStream) {
    let mut answer = [0; 1024];
    let read = socket.read(&mut answer).expect("an answer");
    assert!(answer[..read].starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer[..read]));
}
