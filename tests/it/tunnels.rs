//! Upgrades: bytes both ways, with a bound of their own, ended when either side is done or silent.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::origins::{Behaviour, Origin, refused};
use crate::support::raw::{End, Raw, get};
use crate::support::{PATIENCE, wait_until};
use std::time::{Duration, Instant};

/// A Close towards a client with the status 1001, going away.
pub const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];
/// A Close from a client: masked, with the same status.
pub const CLOSES: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

/// A WebSocket handshake, done.
pub fn websocket(gateway: &Gateway, path: &str) -> Raw {
    let mut raw = gateway.connect();
    let answer = raw.ask(handshake(path, "websocket"));
    assert_eq!(answer.status(), 101);
    assert_eq!(answer.get("sec-websocket-accept"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    assert!(answer.get("upgrade").is_some_and(|u| u.eq_ignore_ascii_case("websocket")));
    raw
}

/// The head of an upgrade to `protocol`.
pub fn handshake(path: &str, protocol: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: edge.test\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// Bytes go there and come back.
pub fn echoes(raw: &mut Raw, message: &[u8]) {
    raw.send(message);
    assert_eq!(raw.exactly(message.len()).expect("the tunnel is open"), message);
}

#[test]
fn a_websocket_carries_bytes_both_ways_until_a_side_leaves() {
    let origin = Origin::start(Behaviour::UpgradesAndEchoes);
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut raw = websocket(&gateway, "/chat");
    for n in 0..50 {
        echoes(&mut raw, &vec![n; 1 + 100 * usize::from(n)]);
    }
    assert_eq!(origin.in_flight(), 1);
    drop(raw);
    wait_until(PATIENCE, "the backend's side is closed too", || origin.in_flight() == 0);
    gateway.settles(Duration::from_secs(15));
}

#[test]
fn bytes_sent_with_the_handshake_are_not_lost() {
    let origin = Origin::start(Behaviour::UpgradesAndEchoes);
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut raw = gateway.connect();
    raw.send([handshake("/chat", "websocket").as_bytes(), b"early bytes"].concat());
    assert_eq!(raw.answer(false).status(), 101);
    assert_eq!(raw.exactly(11).expect("the tunnel is open"), b"early bytes");
}

#[test]
fn an_upgrade_that_the_backend_declines_is_an_answer_like_any_other() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut raw = gateway.connect();
    assert_eq!(raw.ask(handshake("/chat", "websocket")).status(), 200);
    assert_eq!(raw.ask(get("/next")).json()["uri"], "/next");
}

#[test]
fn only_websockets_are_upgraded() {
    let origin = Origin::start(Behaviour::UpgradesAndEchoes);
    let gateway = Gateway::start(&Config::simple(origin.address()));
    for protocol in ["h2c", "tls/1.0"] {
        let answer = gateway.connect().ask(handshake("/chat", protocol));
        assert_ne!(answer.status(), 101, "{protocol}");
    }
}

#[test]
fn tunnels_do_not_fill_the_gate_of_requests() {
    let origin = Origin::start(Behaviour::UpgradesAndEchoes);
    let config = Config::new().upstream("u", &[origin.address()], "max_in_flight = 4").route(
        "r",
        "/",
        "u",
        "max_in_flight = 4",
    );
    let gateway = Gateway::start(&config);
    let mut tunnels: Vec<Raw> = (0..12).map(|_| websocket(&gateway, "/chat")).collect();
    origin.switch(Behaviour::WellBehaved);
    for _ in 0..20 {
        assert_eq!(gateway.get("/").status(), 200);
    }
    tunnels.iter_mut().for_each(|raw| echoes(raw, b"still there"));
}

#[test]
fn a_tunnel_ends_for_the_client_when_the_backend_is_gone() {
    let origin = Origin::start(Behaviour::UpgradesAndEchoes);
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut raw = websocket(&gateway, "/chat");
    drop(origin);
    assert_ne!(raw.end(PATIENCE), End::Open);
}

#[test]
fn a_busy_tunnel_outlives_the_idle_timeout_of_connections_and_is_told_between_two_frames() {
    let origin = Origin::start(Behaviour::UpgradesAndEchoes);
    let config = Config::simple(origin.address())
        .listener("idle_timeout = \"500ms\"")
        .gateway("drain_delay = \"0s\"\ndrain_timeout = \"6s\"");
    let mut gateway = Gateway::start(&config);
    let mut raw = websocket(&gateway, "/chat");
    let began = Instant::now();
    wait_until(PATIENCE, "three idle times have passed", || {
        echoes(&mut raw, b"\x82\x02hi");
        began.elapsed() > Duration::from_millis(1_500)
    });
    gateway.term();
    wait_until(PATIENCE, "it is told", || {
        raw.send(b"\x82\x02hi");
        let frame = raw.exactly(4).expect("the tunnel is open");
        assert!(frame == b"\x82\x02hi" || frame == GOING_AWAY, "{frame:?}");
        frame == GOING_AWAY
    });
    raw.send(CLOSES);
    assert_eq!(raw.end(PATIENCE), End::Eof);
    assert!(gateway.exit(PATIENCE).success(), "the process ends with its last tunnel");
}

#[test]
fn a_tunnel_that_went_to_another_backend_has_its_place_there() {
    let origin = Origin::start(Behaviour::UpgradesAndEchoes);
    let backends = [refused(), origin.address()];
    let config = Config::new().upstream("u", &backends, "max_streams = 2").route("r", "/", "u", "");
    let gateway = Gateway::start(&config);
    let mut open: Vec<Raw> = (0..2).map(|_| websocket(&gateway, "/chat")).collect();
    let beyond = gateway.connect().ask(handshake("/chat", "websocket"));
    assert_eq!((beyond.status(), beyond.reason()), (503, Some("backend_limit")));
    let streams = |backend| {
        gateway.metrics().value("tidegate_backend_streams", &[("upstream", "u"), ("backend", backend)])
    };
    assert_eq!((streams("u0"), streams("u1")), (0.0, 2.0));
    open.iter_mut().for_each(|raw| echoes(raw, b"\x82\x02hi"));
    drop(open);
    wait_until(PATIENCE, "the places are free", || streams("u1") == 0.0);
}

#[test]
fn a_side_that_has_said_everything_still_hears_the_other() {
    let origin = Origin::start(Behaviour::UpgradesAndEchoes);
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut raw = websocket(&gateway, "/chat");
    let last = vec![b'x'; 200_000];
    raw.send(&last);
    raw.half_close();
    assert!(raw.exactly(last.len()).expect("all of it comes back") == last);
    assert_eq!(raw.end(PATIENCE), End::Eof);
    wait_until(PATIENCE, "the backend's side is closed too", || origin.in_flight() == 0);
    gateway.settles(Duration::from_secs(15));
}

#[test]
fn http10_has_no_upgrades() {
    for route in ["", "streaming = true"] {
        let origin = Origin::start(Behaviour::UpgradesAndEchoes);
        let gateway =
            Gateway::start(&Config::new().upstream("u", &[origin.address()], "").route("r", "/", "u", route));
        let answer = gateway.connect().ask(handshake("/chat", "websocket").replace("HTTP/1.1", "HTTP/1.0"));
        assert_eq!(answer.status(), 200, "an answer like any other");
    }
}
