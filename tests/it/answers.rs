//! What a backend answers is judged like what a client asks: where it ends is unambiguous or it is a 502, and
//! what is between gateway and backend stays there.

use crate::support::client::Http2;
use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::get;
use crate::support::run;
use serde_json::Value;
use std::time::Duration;

/// Answers that two readers could take for different ones.
const AMBIGUOUS: &[(&str, &str)] = &[
    (
        "a length and chunks",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk"),
    ("a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nokk"),
    ("no number", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"),
    ("another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("a coding without chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok"),
    (
        "chunked twice",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("a space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok"),
    ("chunks to HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    (
        "an upgrade that nobody asked for",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ),
    ("another protocol", "HTTP/3.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
];

#[test]
fn an_answer_that_could_end_in_two_places_is_502() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut raw = gateway.connect();
    for (what, bytes) in AMBIGUOUS {
        origin.switch(Behaviour::Says(bytes));
        let before = origin.requests();
        let answer = raw.ask(get("/"));
        assert_eq!((answer.status(), answer.reason()), (502, Some("bad_response")), "{what}");
        assert_eq!(origin.requests(), before + 1, "{what}: it is not asked again");
        origin.switch(Behaviour::WellBehaved);
        let next = raw.ask(get("/next"));
        assert_eq!(next.json()["uri"], "/next", "{what}: nothing of it is left for the next request");
    }
    gateway.settles(Duration::from_secs(15));
}

#[test]
fn equal_lengths_become_one() {
    let origin =
        Origin::start(Behaviour::Says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"));
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let answer = gateway.get("/");
    let lengths = answer.head.headers.iter().filter(|(name, _)| name == "content-length").count();
    assert_eq!((answer.text().as_str(), lengths), ("ok", 1));
}

#[test]
fn the_version_of_a_backend_is_its_own_affair() {
    let origin = Origin::start(Behaviour::Says("HTTP/1.0 200 OK\r\nContent-Length: 2\r\nx-old: 1\r\n\r\nok"));
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut raw = gateway.connect();
    for n in 0..3 {
        let answer = raw.ask(get("/"));
        assert_eq!(answer.head.version, "HTTP/1.1", "answer {n}");
        assert_eq!((answer.get("x-old"), answer.text().as_str()), (Some("1"), "ok"));
        assert_eq!(answer.get("connection"), None, "the client's connection is kept");
    }
}

#[test]
fn forbidden_trailers_of_an_answer_are_dropped() {
    let origin = Origin::start(Behaviour::Says(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-end, content-length, set-cookie, \
         transfer-encoding, host, x-forwarded-for\r\n\r\n2\r\nok\r\n0\r\nx-end: reached\r\n\
         Content-Length: 7\r\nSet-Cookie: a=b\r\nTransfer-Encoding: gzip\r\nHost: evil.test\r\n\
         X-Forwarded-For: 6.6.6.6\r\n\r\n",
    ));
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let answer =
        gateway.connect().ask("GET / HTTP/1.1\r\nHost: edge.test\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    assert_eq!(answer.text(), "ok");
    assert_eq!(answer.trailers, [("x-end".to_owned(), "reached".to_owned())]);
    run(async {
        let mut client = Http2::connect(gateway.edge()).await;
        let request = client.request("GET", "/").header("te", "trailers");
        let answer = client.send(request, "").await.expect("an answer");
        assert_eq!(&answer.body[..], b"ok");
        let names: Vec<_> = answer.trailers.keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["x-end"]);
    });
}

#[test]
fn an_answer_is_whole_with_its_trailers() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()).workers(1));
    let asks = |version, more| format!("GET /chunked/30000 HTTP/{version}\r\nHost: edge.test\r\n{more}\r\n");
    let te = "TE: trailers\r\nConnection: TE\r\n";
    for (what, request) in [("te", asks("1.1", te)), ("plain", asks("1.1", "")), ("old", asks("1.0", ""))] {
        let request = request.replace("/chunked", &format!("/{what}/chunked"));
        assert_eq!(gateway.connect().ask(request).body.len(), 30_000);
        let line = gateway.logged("its line", |line| line["path"] == format!("/{what}/chunked/30000"));
        assert_eq!(line["reason"], Value::Null, "{line}");
    }
    assert_eq!(origin.accepted(), 1, "the backend's connection is kept");
    assert_eq!(gateway.metrics().value("tidegate_zombies", &[("upstream", "u")]), 0.0);
}

#[test]
fn informational_answers_lose_what_is_between_gateway_and_backend() {
    let origin = Origin::start(Behaviour::Says(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x-hop\r\nx-hop: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ));
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut raw = gateway.connect();
    raw.send(get("/"));
    let early = raw.head().expect("early hints");
    assert_eq!(early.status, 103);
    assert_eq!(early.get("link"), Some("</a.css>; rel=preload"));
    for name in ["connection", "x-hop", "keep-alive", "transfer-encoding", "content-length"] {
        assert_eq!(early.get(name), None, "{name} in {early:?}");
    }
    assert_eq!(raw.answer(false).text(), "ok");
}
