//! Large answers between sockets in clear pass without being copied, and nothing else about them is different: every
//! byte in its place, permits, records, slow readers, breaks and ends as for every answer.

use crate::support::client::Http2;
use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::origins::exchange::pattern;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::{End, Raw, get};
use crate::support::slow::narrow_raw;
use crate::support::tls::{Authority, connect, quoted};
use crate::support::{PATIENCE, run, wait_until};
use std::time::Duration;

/// More than any buffer on the way holds.
const LARGE: usize = 3_000_000;

/// One worker, one place at the backend, and time for slow bodies.
fn config(origin: &Origin) -> Config {
    Config::new().workers(1).upstream("u", &[origin.address()], "max_in_flight = 1").route(
        "r",
        "/",
        "u",
        "timeout = \"60s\"",
    )
}

fn large() -> String {
    get(&format!("/bytes/{LARGE}"))
}

#[test]
fn a_large_answer_passes_whole_through_a_pipe_that_is_used_again() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&config(&origin));
    let mut raw = gateway.connect();
    assert_eq!(raw.ask(get("/")).status(), 200);
    let before = gateway.pipes();
    for size in [LARGE, 10, 262_143, 262_144, 262_145, LARGE] {
        let answer = raw.ask(get(&format!("/bytes/{size}")));
        assert_eq!(answer.get("content-length"), Some(size.to_string().as_str()));
        assert!(answer.body == pattern(size), "{size} bytes arrive unharmed");
        let pipes = gateway.pipes() - before;
        assert_eq!(pipes, 2, "both ends of one pipe, after {size} bytes");
    }
    wait_until(PATIENCE, "all are logged", || gateway.access_log().len() == 7);
    let log = gateway.access_log();
    let line = log.last().expect("a line");
    assert_eq!(
        (&line["status"], &line["end"], &line["bytes_out"]),
        (&200.into(), &"complete".into(), &LARGE.into())
    );
    assert_eq!(origin.accepted(), 1, "the backend's connection is kept");
    gateway.settles(PATIENCE);
    wait_until(PATIENCE, "every byte is given back", || gateway.buffered() == 0.0);
}

#[test]
fn answers_without_a_body_or_below_the_size_take_no_pipe() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&config(&origin));
    let mut raw = gateway.connect();
    assert_eq!(raw.ask(get("/")).status(), 200);
    let before = gateway.pipes();
    let head = raw.ask(format!("HEAD /bytes/{LARGE} HTTP/1.1\r\nHost: edge.test\r\n\r\n"));
    assert_eq!((head.status(), head.get("content-length")), (200, Some("3000000")));
    assert_eq!(raw.ask(get("/status/304")).status(), 304);
    assert!(raw.ask(get("/bytes/262143")).body == pattern(262_143));
    let chunked = raw.ask(get(&format!("/chunked/{LARGE}")));
    assert!(chunked.body == pattern(LARGE));
    assert_eq!(gateway.pipes(), before);
}

#[test]
fn clients_of_http10_and_those_that_close_get_all_of_it_and_then_the_end() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&config(&origin));
    let path = format!("/bytes/{LARGE}");
    for head in [
        format!("GET {path} HTTP/1.0\r\nHost: edge.test\r\n\r\n"),
        format!("GET {path} HTTP/1.1\r\nHost: edge.test\r\nConnection: close\r\n\r\n"),
    ] {
        let mut raw = gateway.connect();
        let answer = raw.ask(head);
        assert!(answer.status() == 200 && answer.body == pattern(LARGE));
        assert_eq!(raw.end(PATIENCE), End::Eof);
    }
    let mut raw = gateway.connect();
    raw.send(large());
    raw.half_close();
    assert!(raw.answer(false).body == pattern(LARGE), "also who has nothing more to say");
    assert_eq!(raw.end(PATIENCE), End::Eof);
}

#[test]
fn what_is_asked_behind_a_large_answer_is_answered_behind_it() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&config(&origin));
    let mut raw = gateway.connect();
    raw.send([large(), get("/next"), large(), get("/last")].concat());
    for _ in 0..2 {
        assert!(raw.answer(false).body == pattern(LARGE));
        assert_eq!(raw.answer(false).status(), 200);
    }
    assert_eq!(raw.ask(get("/again")).json()["uri"], "/again");
}

#[test]
fn the_backend_is_let_go_while_its_client_does_not_read_and_nothing_is_lost() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&config(&origin));
    for size in [400_000, 900_000] {
        let mut raw = narrow_raw(gateway.edge());
        raw.send(get(&format!("/bytes/{size}")));
        let head = raw.head().expect("a head");
        wait_until(PATIENCE, "its permits are free", || gateway.in_flight("u") == 0.0);
        assert_eq!(gateway.get("/").status(), 200, "the only place is free");
        wait_until(PATIENCE, "what is kept for it is counted", || gateway.buffered() > 100_000.0);
        assert_eq!(gateway.status()["in_flight"], 1, "its right to be in the process it keeps");
        assert!(gateway.access_log().iter().all(|line| line["bytes_out"] != size), "and has no line yet");
        let answer = raw.body_of(head, false).expect("the whole answer");
        assert!(answer.body == pattern(size), "{size} bytes arrive unharmed");
        gateway.logged("its line", |line| line["bytes_out"] == size && line["end"] == "complete");
        assert_eq!(raw.ask(get("/")).status(), 200, "and the connection goes on");
    }
    gateway.settles(PATIENCE);
    wait_until(PATIENCE, "every byte is given back", || gateway.buffered() == 0.0);
}

#[test]
fn small_pieces_of_a_large_answer_are_kept_and_given_in_order() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&config(&origin));
    let mut raw = narrow_raw(gateway.edge());
    raw.send(get("/pieces/700000"));
    let head = raw.head().expect("a head");
    wait_until(PATIENCE, "its permits are free", || gateway.in_flight("u") == 0.0);
    let answer = raw.body_of(head, false).expect("the whole answer");
    assert!(answer.body == pattern(700_000), "it arrives unharmed");
    assert!(raw.ask(get("/pieces/700000")).body == pattern(700_000), "also to one that reads");
}

#[test]
fn a_client_that_reads_in_fits_and_starts_gets_every_byte() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&config(&origin));
    let mut raw = narrow_raw(gateway.edge());
    raw.send(large());
    let head = raw.head().expect("a head");
    assert_eq!(head.status, 200);
    let mut came = Vec::new();
    while came.len() < LARGE {
        std::thread::park_timeout(Duration::from_millis(if came.len() % 400_000 == 0 { 250 } else { 1 }));
        came.extend(raw.exactly(40_000.min(LARGE - came.len())).expect("it goes on"));
    }
    assert!(came == pattern(LARGE));
    assert_eq!(raw.ask(get("/")).status(), 200);
    gateway.settles(PATIENCE);
}

#[test]
fn a_client_that_never_reads_is_too_slow_and_takes_its_pipe_along() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&config(&origin));
    let before = gateway.pipes();
    let mut raw = narrow_raw(gateway.edge());
    raw.send(large());
    assert_eq!(raw.head().expect("a head").status, 200);
    let line = gateway.logged_within(Duration::from_secs(40), "its line", |line| line["status"] == 200);
    assert_eq!((&line["reason"], &line["end"]), (&"client_too_slow".into(), &"cut".into()));
    gateway.settles(Duration::from_secs(20));
    wait_until(PATIENCE, "every byte is given back", || gateway.buffered() == 0.0);
    assert_eq!(gateway.pipes(), before, "what was left in its pipe is for nobody");
}

#[test]
fn an_answer_that_breaks_off_is_cut_and_the_next_one_has_nothing_of_it() {
    let origin = Origin::start(Behaviour::BreaksOffAfter(600_000));
    let gateway = Gateway::start(&config(&origin));
    let mut raw = gateway.connect();
    raw.send(get("/"));
    let head = raw.head().expect("a head");
    assert_eq!(head.get("content-length"), Some("1000000"));
    let came: Vec<u8> = std::iter::from_fn(|| raw.exactly(1).ok()).flatten().collect();
    assert!(came.len() <= 600_000 && came == pattern(came.len()), "{} bytes, in order", came.len());
    let line = gateway.logged("its line", |line| line["status"] == 200);
    assert_eq!((&line["reason"], &line["end"]), (&"reset".into(), &"backend_gone".into()));
    gateway.settles(Duration::from_secs(20));
    origin.switch(Behaviour::WellBehaved);
    for _ in 0..3 {
        assert!(gateway.get(&format!("/bytes/{LARGE}")).body == pattern(LARGE));
    }
}

#[test]
fn a_backend_that_closes_behind_its_answer_or_says_more_than_it_should_is_not_asked_again() {
    // Promises 1,000,000 bytes.
    let origin = Origin::start(Behaviour::BreaksOffAfter(1_000_000));
    let gateway = Gateway::start(&config(&origin));
    let mut raw = gateway.connect();
    for sent in [1_000_000, 1_000_100, 1_300_000] {
        origin.switch(Behaviour::BreaksOffAfter(sent));
        for _ in 0..3 {
            assert!(raw.ask(get("/")).body == pattern(1_000_000), "what was promised, of {sent} bytes");
        }
    }
    assert_eq!(origin.accepted(), 9, "none of its connections is used again");
    origin.switch(Behaviour::WellBehaved);
    assert!(raw.ask(large()).body == pattern(LARGE), "and what was too much is nowhere");
    assert!(gateway.access_log().iter().all(|line| line["end"] == "complete"));
}

#[test]
fn a_large_answer_has_its_time_like_any() {
    let origin = Origin::well_behaved();
    let config = Config::new().workers(1).upstream("u", &[origin.address()], "").route(
        "r",
        "/",
        "u",
        "streaming = true\nmax_duration = \"1s\"",
    );
    let gateway = Gateway::start(&config);
    let mut raw = narrow_raw(gateway.edge());
    raw.send(large());
    assert_eq!(raw.head().expect("a head").status, 200);
    let line = gateway.logged("its line", |line| line["status"] == 200);
    assert_eq!((&line["reason"], &line["end"]), (&"timeout".into(), &"cut".into()));
    gateway.settles(Duration::from_secs(20));
    wait_until(PATIENCE, "every byte is given back", || gateway.buffered() == 0.0);
}

#[test]
fn under_tls_and_http2_on_either_side_it_is_as_ever() {
    let (authority, server) = (Authority::new(), Authority::new());
    let pair = authority.server(&["edge.test"]);
    let secure = server.server(&["orders.test"]);
    let (plain, http2) = (Origin::well_behaved(), Origin::http2(100));
    let tls = Origin::tls(Behaviour::WellBehaved, server.server_config(&secure, false));
    let trust = format!("tls = {{ server_name = \"orders.test\", ca = {} }}", quoted(&server.ca()));
    let upstreams = Config::new()
        .workers(1)
        .upstream("plain", &[plain.address()], "")
        .upstream("tls", &[tls.address()], &trust)
        .upstream("http2", &[http2.address()], "protocol = \"http2\"")
        .route("plain", "/bytes", "plain", "")
        .route("tls", "/tls", "tls", "")
        .route("http2", "/http2", "http2", "");
    let gateway = Gateway::start(&upstreams);
    let before = gateway.pipes();
    assert!(gateway.get(&format!("/tls/bytes/{LARGE}")).body == pattern(LARGE));
    assert_eq!(gateway.get("/http2").status(), 200);
    run(async {
        let mut client = Http2::connect(gateway.edge()).await;
        let answer = client.get(&format!("/bytes/{LARGE}")).await.expect("an answer");
        assert!(answer.body == pattern(LARGE));
    });
    assert_eq!(gateway.pipes(), before);
    let listener = format!("tls = {{ certificates = [{}] }}", pair.toml());
    let gateway = Gateway::start(&Config::simple(plain.address()).listener(&listener));
    let before = gateway.pipes();
    let mut raw = connect(gateway.edge(), "edge.test", &authority.client_config(&["http/1.1"], None))
        .expect("a connection");
    assert!(raw.ask(large()).body == pattern(LARGE));
    assert_eq!(gateway.pipes(), before);
}

#[test]
fn a_drain_that_is_over_cuts_it() {
    let origin = Origin::well_behaved();
    let gateway = config(&origin).gateway("drain_delay = \"0s\"\ndrain_timeout = \"1s\"");
    let mut gateway = Gateway::start(&gateway);
    let mut raw = narrow_raw(gateway.edge());
    raw.send(large());
    assert_eq!(raw.head().expect("a head").status, 200);
    gateway.term();
    assert!(gateway.exit(Duration::from_secs(20)).success());
    let line = gateway.logged("its line", |line| line["status"] == 200);
    assert_eq!((&line["reason"], &line["end"]), (&"draining".into(), &"cut".into()));
    let came: Vec<u8> = std::iter::from_fn(|| raw.exactly(1).ok()).flatten().collect();
    assert!(came.len() < LARGE && came == pattern(came.len()), "{} bytes, in order", came.len());
}

#[test]
fn a_backend_that_stalls_or_drains_away_in_the_middle_is_ended_like_any() {
    let origin =
        Origin::start(Behaviour::SaysAndStays("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nabc"));
    let config = Config::new().workers(1).upstream("u", &[origin.address()], "").route(
        "r",
        "/",
        "u",
        "body_idle = \"1s\"",
    );
    let gateway = Gateway::start(&config);
    let mut raw = gateway.connect();
    raw.send(get("/"));
    assert_eq!(raw.head().expect("a head").status, 200);
    assert_eq!(raw.exactly(3).expect("the beginning"), b"abc");
    assert_ne!(raw.end(PATIENCE), End::Open);
    let line = gateway.logged("its line", |line| line["status"] == 200);
    assert_eq!((&line["reason"], &line["end"]), (&"backend_too_slow".into(), &"cut".into()));
    gateway.settles(Duration::from_secs(20));
}

#[test]
fn a_client_that_leaves_in_the_middle_leaves_nothing_behind() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&config(&origin));
    let before = gateway.pipes();
    for abort in [true, false] {
        let mut raw = narrow_raw(gateway.edge());
        raw.send(large());
        assert_eq!(raw.head().expect("a head").status, 200);
        raw.exactly(100_000).expect("a part of it");
        if abort {
            raw.abort()
        } else {
            drop(raw)
        }
        gateway.settles(Duration::from_secs(20));
    }
    wait_until(PATIENCE, "both are logged", || gateway.access_log().len() == 2);
    assert!(gateway.access_log().iter().all(|line| line["end"] == "client_gone"));
    assert_eq!(gateway.pipes(), before, "what was left in their pipes is for nobody");
    assert!(gateway.get(&format!("/bytes/{LARGE}")).body == pattern(LARGE));
    wait_until(PATIENCE, "every byte is given back", || gateway.buffered() == 0.0);
}

#[test]
fn a_drain_lets_a_large_answer_come_to_its_end() {
    let origin = Origin::well_behaved();
    let mut gateway = Gateway::start(&config(&origin));
    let mut raw = narrow_raw(gateway.edge());
    raw.send(large());
    let head = raw.head().expect("a head");
    gateway.term();
    let answer = raw.body_of(head, false).expect("the whole answer");
    assert!(answer.body == pattern(LARGE));
    assert_eq!(raw.end(PATIENCE), End::Eof);
    assert!(gateway.exit(Duration::from_secs(20)).success());
}

#[test]
fn many_at_once_do_not_mix() {
    let origin = Origin::well_behaved();
    let config = Config::new().workers(1).upstream("u", &[origin.address()], "").route("r", "/", "u", "");
    let gateway = Gateway::start(&config);
    let edge = gateway.edge();
    let clients: Vec<_> = (0..12_usize)
        .map(|n| {
            std::thread::spawn(move || {
                let mut raw = if n % 3 == 0 { narrow_raw(edge) } else { Raw::connect(edge) };
                for turn in 0..4 {
                    let size = 262_144 + 100_003 * ((n + turn) % 7);
                    assert!(raw.ask(get(&format!("/bytes/{size}"))).body == pattern(size), "{size} bytes");
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().expect("its answers are whole"));
    gateway.settles(PATIENCE);
}
