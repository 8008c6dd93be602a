//! Listeners that are added, moved and removed while clients come: a request is lost only where nobody listens
//! any more, and routes that name listeners are there for these alone.

use crate::support::client::Http2;
use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::{End, Raw, fetch, get};
use crate::support::tls::{self, Authority};
use crate::support::{PATIENCE, run, wait_until};
use crate::tunnels::{CLOSES, GOING_AWAY, echoes, handshake};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// An address that was free a moment ago; on an address of these tests' own, so that nobody else takes it.
fn free() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.74:0").expect("a free port");
    socket.local_addr().expect("bound")
}

fn listener(name: &str, address: SocketAddr, lines: &str) -> String {
    format!("[[listeners]]\nname = \"{name}\"\naddress = \"{address}\"\n{lines}\n")
}

fn is_gone(address: SocketAddr) {
    wait_until(PATIENCE, "nobody listens there", || Raw::try_connect(address).is_err());
}

/// Requests that failed otherwise than by finding nobody.
fn lost(load: Load) -> Vec<String> {
    let report = load.stop();
    assert_eq!(report.count(200), report.answers());
    report.failures.into_iter().filter(|why| !why.starts_with("connect: ")).collect()
}

#[test]
fn listeners_come_move_and_go_under_load_and_no_request_is_lost() {
    let origin = Origin::well_behaved();
    let base = || {
        Config::new().upstream("u", &[origin.address()], "keepalive_idle = \"1s\"").route("r", "/", "u", "")
    };
    let gateway = Gateway::start(&base().route("once", "/once", "u", ""));
    // After a change every thread has what it needs, but for the history and the audit, which hold up nobody and open
    // a few files more when they come to it. What is lost a turn is more than that.
    gateway.change(&base());
    wait_until(PATIENCE, "the history is open", || {
        gateway.metrics().value("tidegate_history_available", &[]) == 1.0
    });
    let before = gateway.descriptors();
    let (places, guest) = ([free(), free(), free()], free());
    let steady = Load::paced(gateway.edge(), "/", 2, Duration::from_millis(3));
    let moving: Vec<_> = places.iter().map(|at| Load::paced(*at, "/", 2, Duration::from_millis(5))).collect();
    let visiting = Load::paced(guest, "/", 2, Duration::from_millis(5));
    for turn in 0..20 {
        let here = places[turn % places.len()];
        let mut config = base().text(&listener("mover", here, ""));
        if turn % 2 == 0 {
            config = config.text(&listener("guest", guest, ""));
        }
        gateway.change(&config);
        assert_eq!(fetch(here, "/").status(), 200);
        let written = gateway.folder().join("state/addresses.json");
        wait_until(PATIENCE, "who looks for it finds it", || {
            std::fs::read_to_string(&written).is_ok_and(|text| text.contains(&here.to_string()))
        });
        is_gone(places[(turn + 2) % places.len()]);
        match turn % 2 == 0 {
            true => assert_eq!(fetch(guest, "/").status(), 200),
            false => is_gone(guest),
        }
    }
    gateway.change(&base());
    places.into_iter().chain([guest]).for_each(is_gone);
    for load in moving.into_iter().chain([visiting]) {
        assert_eq!(lost(load), Vec::<String>::new());
    }
    steady.stop().only(&[200]);
    let log = gateway.log();
    assert!(log.matches("listener opened").count() > 20 && log.matches("listener closed").count() > 20);
    wait_until(Duration::from_secs(20), "descriptors are given back", || gateway.descriptors() <= before + 8);
}

#[test]
fn two_listeners_swap_their_addresses_under_load_and_keep_their_routes() {
    let origin = Origin::well_behaved();
    let places = [free(), free()];
    let config = |turn: usize| {
        let answer = |name: &str| {
            format!(
                "[[routes]]\nname = \"{name}\"\npath = \"/who\"\nlisteners = [\"{name}\"]\n\
                 respond = {{ body = \"{name}\" }}\n"
            )
        };
        Config::simple(origin.address())
            .text(&listener("one", places[turn % 2], ""))
            .text(&listener("two", places[(turn + 1) % 2], ""))
            .text(&(answer("one") + &answer("two") + &format!("# {turn}")))
    };
    let gateway = Gateway::start(&config(0));
    let loads = places.map(|at| Load::paced(at, "/who", 3, Duration::from_millis(3)));
    for turn in 1..=20 {
        gateway.change(&config(turn));
        let who = |at| fetch(at, "/who").text();
        wait_until(PATIENCE, "they have swapped", || {
            (who(places[turn % 2]), who(places[(turn + 1) % 2])) == ("one".into(), "two".into())
        });
    }
    for load in loads {
        load.stop().only(&[200]);
    }
}

#[test]
fn who_came_by_a_listener_that_went_finishes_and_is_asked_to_leave() {
    let origin = Origin::start(Behaviour::Delay(Duration::from_millis(700)));
    let base = Config::simple(origin.address());
    let side = free();
    let gateway = Gateway::start(&base.clone().text(&listener("side", side, "")));
    let mut idle = Raw::connect(side);
    assert_eq!(idle.ask(get("/")).get("connection"), None);
    let mut running = Raw::connect(side);
    running.send(get("/"));
    let http2 = std::thread::spawn(move || {
        run(async move {
            let mut client = Http2::connect(side).await;
            (client.get("/").await.expect("an answer").status, client.ended().await)
        })
    });
    origin.holds(2);
    gateway.change(&base);
    let answer = running.answer(false);
    assert_eq!((answer.status(), answer.get("connection")), (200, Some("close")));
    assert_eq!((running.end(PATIENCE), idle.end(PATIENCE)), (End::Eof, End::Eof));
    assert_eq!(http2.join().expect("no panic"), (200, true), "an answer, GOAWAY, and an orderly end");
    is_gone(side);
    wait_until(PATIENCE, "nothing of it is left", || {
        gateway.metrics().get("tidegate_connections", &[("listener", "side")]).is_none_or(|n| n == 0.0)
    });
}

#[test]
fn tls_is_switched_on_where_cleartext_was_and_those_in_clear_leave() {
    let origin = Origin::well_behaved();
    let authority = Authority::new();
    let pair = authority.server(&["edge.test"]);
    let side = free();
    let config = |lines: &str| Config::simple(origin.address()).text(&listener("side", side, lines));
    let gateway = Gateway::start(&config(""));
    let mut clear = Raw::connect(side);
    assert_eq!(clear.ask(get("/")).status(), 200);
    let tls = format!("tls = {{ certificates = [{}] }}", pair.toml());
    gateway.change(&config(&tls));
    let client = authority.client_config(&["http/1.1"], None);
    let mut secret = tls::connect(side, "edge.test", &client).expect("the same address speaks TLS");
    assert_eq!(secret.ask(get("/")).status(), 200);
    let answer = clear.ask(get("/"));
    assert_eq!((answer.status(), answer.get("connection")), (200, Some("close")), "it is served to its end");

    let asks = tls.replace("] }", &format!("], client_ca = {} }}", tls::quoted(&authority.ca())));
    gateway.change(&config(&asks));
    wait_until(PATIENCE, "nobody enters without a certificate", || {
        tls::is_turned_away(tls::handshake(side, "edge.test", &client))
    });
    let answer = secret.ask(get("/"));
    assert_eq!(answer.get("connection"), Some("close"), "nor stays without one");
}

#[test]
fn a_route_for_one_listener_is_not_there_for_others() {
    let origin = Origin::well_behaved();
    let route = "[[routes]]\nname = \"secret\"\npath_prefix = \"/internal\"\nmethods = [\"GET\"]\n\
                 listeners = [\"internal\"]\nrespond = { body = \"secret\" }\n";
    let config = Config::new()
        .upstream("u", &[origin.address()], "")
        .route("orders", "/orders", "u", "")
        .text(&(listener("internal", "127.0.0.1:0".parse().expect("an address"), "") + route));
    let gateway = Gateway::start(&config);
    let (public, internal) = (gateway.edge(), gateway.listener("internal"));
    assert_eq!(fetch(internal, "/internal/x").text(), "secret");
    assert_eq!(fetch(internal, "/orders").status(), 200, "a route that names no listener is for all");
    for path in ["/internal/x", "/internal", "//internal/x", "/%69nternal/x", "/orders/../internal/x"] {
        let answer = fetch(public, path);
        assert!([400, 404].contains(&answer.status()), "{path}: {}", answer.status());
    }
    let put = Raw::connect(public).ask("PUT /internal HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert_eq!((put.status(), put.get("allow")), (404, None), "not even its methods are told");
    let lies = "GET /internal HTTP/1.1\r\nHost: x\r\nX-Forwarded-Port: 1\r\nForwarded: by=internal\r\n\r\n";
    assert_eq!(Raw::connect(public).ask(lies).status(), 404);
    run(async {
        let mut http2 = Http2::connect(public).await;
        assert_eq!(http2.get("/internal/x").await.expect("an answer").status, 404);
        let mut http2 = Http2::connect(internal).await;
        assert_eq!(http2.get("/internal/x").await.expect("an answer").status, 200);
    });
}

#[test]
fn a_tunnel_does_not_outlive_the_door_that_it_came_in_by() {
    let origin = Origin::start(Behaviour::UpgradesAndEchoes);
    let gateway = Gateway::start(&Config::simple(origin.address()).text(&listener("guest", free(), "")));
    let open = |address: SocketAddr| {
        let mut raw = Raw::connect(address);
        assert_eq!(raw.ask(handshake("/chat", "websocket")).status(), 101);
        raw
    };
    let (mut stays, mut guest) = (open(gateway.edge()), open(gateway.listener("guest")));
    gateway.change(&Config::simple(origin.address()));
    assert_eq!(guest.exactly(4).expect("a goodbye"), GOING_AWAY);
    guest.send(CLOSES);
    assert_eq!(guest.end(PATIENCE), End::Eof);
    echoes(&mut stays, b"\x82\x05still");
}

#[test]
fn a_tunnel_that_was_told_and_never_ends_its_frame_ends_when_its_time_is_over() {
    let origin = Origin::start(Behaviour::UpgradesAndEchoes);
    let config =
        Config::new().upstream("u", &[origin.address()], "").route("r", "/", "u", "max_duration = \"6s\"");
    let gateway = Gateway::start(&config.clone().text(&listener("guest", free(), "")));
    let mut guest = Raw::connect(gateway.listener("guest"));
    assert_eq!(guest.ask(handshake("/chat", "websocket")).status(), 101);
    // A frame of a kilobyte, of which three bytes came.
    echoes(&mut guest, b"\x82\x7e\x04\x00abc");
    gateway.change(&config);
    assert_ne!(guest.end(Duration::from_secs(20)), End::Open);
}
