//! Every wait for a client has an end, and what a client may expect of the protocol holds: half-closed
//! connections, `Expect: 100-continue`, informational and early answers.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::{End, get};
use crate::support::{PATIENCE, wait_until};
use std::time::{Duration, Instant};

const EXPECTING: &str =
    "POST /e HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

#[test]
fn a_head_that_does_not_end_is_not_waited_for() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()).listener("header_timeout = \"500ms\""));
    for start in ["", "G", "GET / HTTP/1.1\r\nHost: edge.test\r\n", "PRI * HTTP/2"] {
        let mut raw = gateway.connect();
        let started = Instant::now();
        raw.send(start);
        assert_ne!(raw.end(PATIENCE), End::Open, "after {start:?}");
        assert!(started.elapsed() >= Duration::from_millis(400), "{start:?} had its time");
        assert!(started.elapsed() < Duration::from_secs(4), "{start:?} is over soon");
    }
    // A byte now and then does not help: the deadline is for the whole head.
    let mut raw = gateway.connect();
    raw.patience(Duration::from_millis(100));
    let started = Instant::now();
    while raw.try_send("G").is_ok() && raw.exactly(1) == Err(End::Open) {
        assert!(started.elapsed() < Duration::from_secs(5), "a head that grows for ever is not waited for");
    }
    assert_eq!(gateway.get("/").status(), 200);
}

#[test]
fn a_connection_without_requests_ends() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()).listener("idle_timeout = \"500ms\""));
    let mut raw = gateway.connect();
    assert_eq!(raw.ask(get("/")).status(), 200);
    let started = Instant::now();
    assert_eq!(raw.end(PATIENCE), End::Eof);
    assert!(started.elapsed() < Duration::from_secs(4));
    wait_until(PATIENCE, "it is counted as gone", || {
        gateway.metrics().value("tidegate_connections", &[("listener", "edge")]) == 0.0
    });
}

#[test]
fn a_body_with_a_gap_ends_its_request() {
    let origin = Origin::well_behaved();
    let config =
        Config::new().upstream("u", &[origin.address()], "").route("r", "/", "u", "body_idle = \"500ms\"");
    let gateway = Gateway::start(&config);
    let mut raw = gateway.connect();
    raw.send("POST / HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 1000\r\n\r\nhalf");
    let started = Instant::now();
    if let Ok(answer) = raw.try_answer(false) {
        assert_eq!(answer.status(), 408);
    }
    assert_ne!(raw.end(PATIENCE), End::Open);
    assert!(started.elapsed() < Duration::from_secs(6));
    gateway.settles(Duration::from_secs(15));
    wait_until(PATIENCE, "the backend is let go", || origin.in_flight() == 0);
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    let origin = Origin::start(Behaviour::Delay(Duration::from_millis(100)));
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut raw = gateway.connect();
    raw.send(get("/bytes/100000"));
    raw.half_close();
    assert_eq!(raw.answer(false).body.len(), 100_000);
    assert_eq!(raw.end(PATIENCE), End::Eof);
}

#[test]
fn expectations_are_met_end_to_end() {
    let origin = Origin::start(Behaviour::ExpectsContinue);
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut raw = gateway.connect();
    raw.send(EXPECTING);
    assert_eq!(raw.head().expect("an interim answer").status, 100);
    raw.send("hello");
    let answer = raw.answer(false);
    assert_eq!((answer.status(), answer.json()["body_bytes"].as_u64()), (200, Some(5)));

    // A backend that knows nothing of expectations gets the body after a moment.
    origin.switch(Behaviour::WellBehaved);
    raw.send(EXPECTING);
    let started = Instant::now();
    assert_eq!(raw.head().expect("an interim answer").status, 100);
    assert!(started.elapsed() < Duration::from_secs(3));
    raw.send("hello");
    assert_eq!(raw.answer(false).json()["body_bytes"], 5);
}

#[test]
fn a_refusal_asks_for_no_body() {
    let origin = Origin::start(Behaviour::RefusesExpectation);
    let hung = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let config = Config::new()
        .upstream("u", &[origin.address()], "")
        .upstream("full", &[hung.address()], "max_in_flight = 1")
        .route("r", "/e", "u", "max_body = \"64KiB\"")
        .route("full", "/full", "full", "");
    let gateway = Gateway::start(&config);
    let first = |request: &str| {
        let mut raw = gateway.connect();
        raw.send(request);
        raw.head().expect("an answer").status
    };
    assert_eq!(first(EXPECTING), 417, "the backend's refusal");
    assert_eq!(first(&EXPECTING.replace("/e", "/nowhere")), 404, "no route");
    assert_eq!(first(&EXPECTING.replace(": 5", ": 70000")), 413, "too large");
    let mut held = gateway.connect();
    held.send(get("/full"));
    hung.holds(1);
    assert_eq!(first(&EXPECTING.replace("/e", "/full")), 503, "no room");
}

#[test]
fn informational_answers_pass_to_those_who_know_them() {
    let origin = Origin::start(Behaviour::SendsEarlyHints);
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut raw = gateway.connect();
    for _ in 0..2 {
        raw.send(get("/hints"));
        for link in ["</a.css>; rel=preload", "</b.js>; rel=preload"] {
            let head = raw.head().expect("early hints");
            assert_eq!((head.status, head.get("link")), (103, Some(link)));
        }
        assert_eq!(raw.answer(false).json()["uri"], "/hints");
    }
    let mut old = gateway.connect();
    old.send("GET /hints HTTP/1.0\r\nHost: edge.test\r\n\r\n");
    assert_eq!(old.head().expect("an answer").status, 200, "HTTP/1.0 knows no informational answers");
}

#[test]
fn an_answer_before_the_body_is_read_passes_and_loses_no_connection_state() {
    let origin = Origin::start(Behaviour::AnswersTooEarly);
    // Elsewhere the beginning of a body is waited for before the backend hears of the request.
    let config =
        Config::new().upstream("u", &[origin.address()], "").route("r", "/", "u", "streaming = true");
    let gateway = Gateway::start(&config);
    let mut raw = gateway.connect();
    raw.send("POST /early HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 50000\r\n\r\nfirst bytes");
    let answer = raw.answer(false);
    assert_eq!((answer.status(), answer.text().as_str()), (200, "early"));
    // The rest of the body is body, never a request of its own.
    let mut rest = vec![b'x'; 50_000 - 11 - get("/smuggled").len()];
    rest.extend(get("/smuggled").into_bytes());
    let sent = raw.try_send(&rest).and_then(|()| raw.try_send(get("/next")));
    if let (Ok(()), Ok(next)) = (sent, raw.try_answer(false)) {
        assert_eq!(next.text(), "early");
    }
    gateway.settles(Duration::from_secs(15));
    wait_until(PATIENCE, "the first is logged", || !gateway.access_log().is_empty());
    assert!(gateway.access_log().iter().all(|line| line["path"] != "/smuggled"));
    for _ in 0..5 {
        assert_eq!(gateway.get("/again").text(), "early", "what the early answer left behind is not pooled");
    }
}

#[test]
fn connections_are_bounded_and_those_beyond_are_closed_at_once() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()).listener("max_connections = 20"));
    let mut kept: Vec<_> = (0..20).map(|_| gateway.connect()).collect();
    kept.iter_mut().for_each(|raw| assert_eq!(raw.ask(get("/")).status(), 200));
    let mut beyond = gateway.connect();
    let _ = beyond.try_send(get("/"));
    assert_ne!(beyond.end(PATIENCE), End::Open);
    kept.iter_mut().for_each(|raw| assert_eq!(raw.ask(get("/")).status(), 200));
    drop(kept);
    wait_until(PATIENCE, "there is room again", || gateway.serves("/"));
}

#[test]
fn the_beginning_of_a_pipelined_head_neither_ends_the_request_before_it_nor_waits_for_ever() {
    let origin = Origin::start(Behaviour::Delay(Duration::from_millis(1_500)));
    let listener = "header_timeout = \"500ms\"\nidle_timeout = \"60s\"";
    let gateway = Gateway::start(&Config::simple(origin.address()).listener(listener));
    let mut raw = gateway.connect();
    raw.send(get("/slow"));
    origin.holds(1);
    raw.send("GET /next HTTP/1.1\r\nHo");
    assert_eq!(raw.answer(false).status(), 200);
    assert_eq!(raw.answer(false).status(), 408);
    assert_eq!(raw.end(PATIENCE), End::Eof);
}

#[test]
fn a_request_whose_client_gave_up_while_it_waited_is_not_sent() {
    let origin = Origin::well_behaved();
    let upstream = "max_in_flight = 1\nqueue = { max_waiting = 10, max_wait = \"20s\" }";
    let config = Config::new().workers(1).upstream("u", &[origin.address()], upstream).route(
        "r",
        "/",
        "u",
        "timeout = \"60s\"",
    );
    let gateway = Gateway::start(&config);
    // Then it is known how fast answers are, and a side that has ended is not waited for for long.
    for _ in 0..30 {
        assert_eq!(gateway.get("/").status(), 200);
    }
    origin.switch(Behaviour::Delay(Duration::from_secs(4)));
    let before = origin.requests();
    let mut held = gateway.connect();
    held.send(get("/held"));
    origin.holds(1);
    let mut left = gateway.connect();
    left.send(get("/left"));
    left.half_close();
    wait_until(PATIENCE, "it waits", || {
        gateway.metrics().value("tidegate_upstream_queue_depth", &[("upstream", "u")]) == 1.0
    });
    assert_eq!(held.answer(false).status(), 200);
    let line = gateway.logged("its line", |line| line["path"] == "/left");
    assert_eq!(line["reason"], "client_gone");
    assert_eq!(origin.requests(), before + 1, "nobody waits for it any more");
    assert_eq!(gateway.metrics().value("tidegate_zombies", &[("upstream", "u")]), 0.0);
}

#[test]
fn an_answer_without_a_length_that_breaks_off_does_not_end_like_a_whole_one() {
    let begins = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let origin = Origin::start(Behaviour::SaysAndStays(begins));
    let config =
        Config::new().upstream("u", &[origin.address()], "").route("r", "/", "u", "body_idle = \"1s\"");
    let gateway = Gateway::start(&config);
    // Towards HTTP/1.0 the connection's end is the answer's.
    let mut old = gateway.connect();
    old.send("GET / HTTP/1.0\r\nHost: edge.test\r\n\r\n");
    assert_eq!(old.head().expect("a head").status, 200);
    assert_eq!(old.exactly(5).expect("the beginning"), b"hello");
    assert_eq!(old.end(PATIENCE), End::Reset);
    origin.switch(Behaviour::WellBehaved);
    let mut old = gateway.connect();
    old.send("GET /chunked/30000 HTTP/1.0\r\nHost: edge.test\r\n\r\n");
    assert_eq!(old.head().expect("a head").status, 200);
    assert_eq!(old.exactly(30_000).expect("all of it").len(), 30_000);
    assert_eq!(old.end(PATIENCE), End::Eof);
}
