//! Nothing is unbounded: connections in total and of one source, handshakes, tunnels, and everything that is
//! idle. What is beyond a bound is turned away at once.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::{End, Raw, get};
use crate::support::tls::{self, Authority};
use crate::support::{PATIENCE, wait_until};
use crate::tunnels::{echoes, handshake, websocket};
use std::time::Duration;

fn is_turned_away(mut raw: Raw) {
    // It may be closed before the request is out.
    let _ = raw.try_send(get("/"));
    assert_ne!(raw.end(PATIENCE), End::Open);
}

/// `n` connections that are served.
fn served(gateway: &Gateway, n: usize) -> Vec<Raw> {
    let mut kept: Vec<Raw> = (0..n).map(|_| gateway.connect()).collect();
    kept.iter_mut().for_each(|raw| assert_eq!(raw.ask(get("/")).status(), 200));
    kept
}

#[test]
fn one_source_cannot_take_all_connections() {
    let origin = Origin::well_behaved();
    let config = Config::simple(origin.address()).listener("max_connections_per_source = 5");
    let gateway = Gateway::start(&config);
    let mut kept = served(&gateway, 5);
    is_turned_away(gateway.connect());
    let mut other = Raw::connect_from([127, 0, 0, 2], gateway.edge());
    assert_eq!(other.ask(get("/")).status(), 200, "another source is not meant");
    kept.iter_mut().for_each(|raw| assert_eq!(raw.ask(get("/")).status(), 200));
    drop(kept);
    wait_until(PATIENCE, "the source has room again", || gateway.serves("/"));
}

#[test]
fn those_who_came_during_a_pause_of_the_process_are_answered() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()).listener("max_handshakes = 4"));
    let mut came = Vec::new();
    gateway.stopped(|| came = gateway.ask("/", 300));
    let mut unanswered = 0;
    for raw in &mut came {
        // Some may be refused: more came at once than one backend may have in its hands.
        unanswered += usize::from(raw.try_answer(false).is_err());
    }
    assert_eq!(unanswered, 0, "of 300; in cleartext there is no handshake that could be one too many");
    let refused = gateway.metrics().get("tidegate_connections_refused_total", &[("reason", "handshakes")]);
    assert_eq!(refused.unwrap_or(0.0), 0.0);
}

#[test]
fn connections_beyond_the_listeners_bound_are_closed_whatever_their_source() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()).listener("max_connections = 5"));
    let kept = served(&gateway, 5);
    for _ in 0..3 {
        is_turned_away(Raw::connect_from([127, 0, 0, 2], gateway.edge()));
    }
    assert_eq!(gateway.metrics().value("tidegate_connections", &[("listener", "edge")]), 5.0);
    drop(kept);
    wait_until(PATIENCE, "there is room again", || gateway.serves("/"));
}

#[test]
fn handshakes_in_progress_are_bounded_and_a_finished_one_makes_room() {
    let (authority, origin) = (Authority::new(), Origin::well_behaved());
    let pair = authority.server(&["edge.test"]);
    let listener = format!("tls = {{ certificates = [{}] }}\nmax_handshakes = 3", pair.toml());
    let gateway = Gateway::start(&Config::simple(origin.address()).listener(&listener));
    let client = authority.client_config(&["http/1.1"], None);
    let serve = || {
        tls::connect(gateway.edge(), "edge.test", &client).map(|mut raw| (raw.ask(get("/")).status(), raw))
    };
    let silent: Vec<Raw> = (0..3).map(|_| gateway.connect()).collect();
    wait_until(PATIENCE, "the silent ones are in", || {
        gateway.metrics().value("tidegate_connections", &[("listener", "edge")]) == 3.0
    });
    assert!(serve().is_err(), "a fourth handshake does not begin");
    drop(silent);
    wait_until(PATIENCE, "there is room again", || serve().is_ok());
    let kept: Vec<_> = (0..10).map(|_| serve().expect("a finished handshake takes no place")).collect();
    assert!(kept.iter().all(|(status, _)| *status == 200));
}

#[test]
fn tunnels_have_a_bound_of_their_own() {
    let origin = Origin::start(Behaviour::UpgradesAndEchoes);
    let gateway = Gateway::start(&Config::simple(origin.address()).gateway("max_in_flight_streams = 1"));
    let mut first = websocket(&gateway, "/chat");
    let second = gateway.connect().ask(handshake("/chat", "websocket"));
    assert_eq!(second.status(), 503);
    let seconds = second.get("retry-after").and_then(|s| s.parse::<u32>().ok());
    assert!(seconds.is_some_and(|seconds| (1..=30).contains(&seconds)), "{second:?}");
    assert!(second.reason().is_some_and(|reason| reason.ends_with("_limit")), "{second:?}");
    echoes(&mut first, b"still there");
    drop(first);
    wait_until(PATIENCE, "the tunnel's place is free", || {
        gateway.connect().ask(handshake("/chat", "websocket")).status() == 101
    });
    gateway.settles(PATIENCE);
}

#[test]
fn a_tunnel_in_which_nothing_moves_ends() {
    let origin = Origin::start(Behaviour::UpgradesAndEchoes);
    let config =
        Config::new().upstream("u", &[origin.address()], "").route("r", "/", "u", "body_idle = \"700ms\"");
    let gateway = Gateway::start(&config);
    let mut raw = websocket(&gateway, "/chat");
    echoes(&mut raw, b"hello");
    assert_ne!(raw.end(Duration::from_secs(8)), End::Open);
    wait_until(PATIENCE, "the backend's side is closed too", || origin.in_flight() == 0);
    let line = gateway.logged("the tunnel has its line", |line| line["status"] == 101);
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&5.into(), &5.into()), "{line}");
}

#[test]
fn connections_to_backends_are_kept_for_a_while_and_not_for_ever() {
    for protocol in ["http1", "http2"] {
        let origin = if protocol == "http2" { Origin::http2(100) } else { Origin::well_behaved() };
        let upstream = format!("protocol = \"{protocol}\"\nkeepalive_idle = \"1s\"");
        let config = Config::new().workers(1).upstream("u", &[origin.address()], &upstream);
        let gateway = Gateway::start(&config.route("r", "/", "u", ""));
        for _ in 0..5 {
            assert_eq!(gateway.get("/").status(), 200);
        }
        assert_eq!((origin.accepted(), origin.open()), (1, 1), "{protocol}: it is kept");
        wait_until(Duration::from_secs(15), "it is closed when nobody needs it", || origin.open() == 0);
        assert_eq!(gateway.get("/").status(), 200, "{protocol}");
        assert_eq!(origin.accepted(), 2, "{protocol}");
    }
}

fn refused(gateway: &Gateway, reason: &str) -> f64 {
    let labels = [("listener", "edge"), ("reason", reason)];
    gateway.metrics().value("tidegate_connections_refused_total", &labels)
}

#[test]
fn connections_that_are_turned_away_are_counted_by_reason() {
    let origin = Origin::well_behaved();
    let config =
        Config::simple(origin.address()).listener("max_connections = 5\nmax_connections_per_source = 4");
    let gateway = Gateway::start(&config);
    let _kept = served(&gateway, 4);
    is_turned_away(gateway.connect());
    assert_eq!(refused(&gateway, "source"), 1.0);
    let _last = Raw::connect_from([127, 0, 0, 2], gateway.edge());
    wait_until(PATIENCE, "it is full", || {
        gateway.metrics().value("tidegate_connections", &[("listener", "edge")]) == 5.0
    });
    is_turned_away(Raw::connect_from([127, 0, 0, 3], gateway.edge()));
    assert_eq!(refused(&gateway, "connections"), 1.0);
}
