//! A request walks to the backend and its answer walks back, unharmed, over connections that are kept.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::origins::exchange::{checksum, header_seen, pattern};
use crate::support::origins::{Behaviour, Origin, refused};
use crate::support::raw::{End, get, post};
use std::time::Duration;

const MIB: usize = 1024 * 1024;

#[test]
fn methods_bodies_and_queries_arrive_as_they_were_sent() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut raw = gateway.connect();
    for method in ["GET", "DELETE", "OPTIONS", "PUT", "PATCH", "POST"] {
        let request =
            format!("{method} /a/b?x=1&y=%20z HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 0\r\n\r\n");
        let answer = raw.ask(request);
        assert_eq!(answer.status(), 200, "{method}");
        let echo = answer.json();
        assert_eq!((&echo["method"], &echo["uri"]), (&method.into(), &"/a/b?x=1&y=%20z".into()));
    }
    let answer = raw.ask("HEAD /a HTTP/1.1\r\nHost: edge.test\r\n\r\n");
    assert_eq!((answer.status(), answer.get("content-length")), (200, Some("42")));
    assert_eq!(raw.ask(get("/after-head")).json()["uri"], "/after-head");
    for status in [204, 304, 418, 500] {
        let answer = raw.ask(get(&format!("/status/{status}")));
        assert_eq!((answer.status(), answer.body.len(), answer.reason()), (status, 0, None));
    }
}

#[test]
fn a_mebibyte_passes_with_its_length_and_in_chunks_both_ways() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let body = pattern(MIB);
    let mut raw = gateway.connect();
    let echo = raw.ask(post("/up", &body)).json();
    assert_eq!(
        (echo["body_bytes"].as_u64(), echo["body_hash"].as_u64()),
        (Some(MIB as u64), Some(checksum(&body)))
    );

    raw.send("POST /up HTTP/1.1\r\nHost: edge.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in body.chunks(30_000) {
        raw.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
    }
    raw.send("0\r\n\r\n");
    let echo = raw.answer(false).json();
    assert_eq!(
        (echo["body_bytes"].as_u64(), echo["body_hash"].as_u64()),
        (Some(MIB as u64), Some(checksum(&body)))
    );

    let sized = raw.ask(get(&format!("/bytes/{MIB}")));
    assert_eq!(sized.get("content-length"), Some("1048576"));
    assert!(sized.body == body, "a sized answer arrives unharmed");
    let chunked = raw.ask(get(&format!("/chunked/{MIB}")));
    assert_eq!(chunked.get("transfer-encoding"), Some("chunked"));
    assert!(chunked.body == body, "a chunked answer arrives unharmed");
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut raw = gateway.connect();
    let chunked =
        "PUT /p HTTP/1.1\r\nHost: edge.test\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n";
    for size in [1, 2, 7] {
        raw.send_in_pieces(post("/pieces", b"in pieces"), size);
        assert_eq!(raw.answer(false).json()["body_bytes"], 9);
        raw.send_in_pieces(chunked, size);
        assert_eq!(raw.answer(false).json()["body_bytes"], 3);
    }
}

#[test]
fn a_get_with_a_chunked_body_keeps_its_body() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let request =
        "GET /q HTTP/1.1\r\nHost: edge.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    assert_eq!(gateway.connect().ask(request).json()["body_bytes"], 5);
}

#[test]
fn connections_are_kept_on_both_sides() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut raw = gateway.connect();
    for _ in 0..50 {
        assert_eq!(raw.ask(get("/")).status(), 200);
    }
    assert_eq!(origin.requests(), 50);
    assert_eq!(origin.accepted(), 1, "one client connection lives on one core, which keeps one connection");
}

#[test]
fn http_1_0_clients_and_closing_clients_are_closed_after_the_answer() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()).workers(1));
    for request in [
        "GET / HTTP/1.0\r\nHost: edge.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: edge.test\r\nConnection: close\r\n\r\n",
    ] {
        let mut raw = gateway.connect();
        assert_eq!(raw.ask(request).status(), 200);
        assert_eq!(raw.end(Duration::from_secs(5)), End::Eof);
    }
    assert_eq!(origin.accepted(), 1, "what the client closes is kept towards the backend");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut raw = gateway.connect();
    let all: Vec<u8> = (0..20).flat_map(|n| post(&format!("/{n}"), &pattern(n * 100))).collect();
    raw.send(&all);
    for n in 0..20 {
        let echo = raw.answer(false).json();
        assert_eq!(
            (echo["uri"].as_str(), echo["body_bytes"].as_u64()),
            (Some(&*format!("/{n}")), Some(n as u64 * 100))
        );
    }
}

#[test]
fn a_backend_that_closes_idle_connections_costs_no_request() {
    let origin = Origin::start(Behaviour::ClosesIdleConnections);
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut raw = gateway.connect();
    for n in 0..40 {
        assert_eq!(raw.ask(get("/")).status(), 200, "request {n}");
        // Every other time the backend has closed before the next request, else it closes in its middle.
        if n % 2 == 0 {
            crate::support::wait_until(crate::support::PATIENCE, "the backend closed", || origin.open() == 0);
        }
    }
    origin.switch(Behaviour::ClosesAfterEachAnswer);
    for n in 0..20 {
        assert_eq!(raw.ask(get("/")).text(), "ok", "request {n}");
    }
}

#[test]
fn what_no_route_serves_is_404_405_or_a_fixed_answer() {
    let origin = Origin::well_behaved();
    let config = Config::new()
        .upstream("u", &[origin.address()], "")
        .route("orders", "/orders", "u", "methods = [\"GET\", \"POST\"]")
        .route("by-host", "/only", "u", "hosts = [\"api.edge.test\", \"*.wild.test\"]")
        .text("[[routes]]\nname = \"hi\"\npath = \"/hi\"\nrespond = { status = 203, body = \"hello\" }\n")
        .text("[[routes]]\nname = \"user\"\npath_pattern = \"/users/{id}\"\nupstream = \"u\"\n")
        .text("[[routes]]\nname = \"old\"\npath_prefix = \"/old\"\nredirect = { status = 308, path = \"/orders\" }\n");
    let gateway = Gateway::start(&config);
    let mut raw = gateway.connect();
    let missing = raw.ask(get("/nothing"));
    assert_eq!((missing.status(), missing.reason()), (404, Some("not_found")));
    let head = raw.ask("HEAD /nothing HTTP/1.1\r\nHost: edge.test\r\n\r\n");
    assert_eq!(
        (head.status(), head.reason()),
        (404, Some("not_found")),
        "without a body, whatever its length says"
    );
    assert_eq!(raw.ask(get("/ordersX")).status(), 404, "a prefix matches whole segments");
    assert_eq!(raw.ask(get("/orders/1")).status(), 200);
    assert_eq!(raw.ask(get("/users/7")).status(), 200);
    assert_eq!(raw.ask(get("/users/7/more")).status(), 404);
    let method = raw.ask("DELETE /orders HTTP/1.1\r\nHost: edge.test\r\n\r\n");
    assert_eq!((method.status(), method.reason()), (405, Some("method_not_allowed")));
    let allow = method.get("allow").expect("a 405 says what is allowed");
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    let fixed = raw.ask(get("/hi"));
    assert_eq!((fixed.status(), fixed.text().as_str()), (203, "hello"));
    let moved = raw.ask(get("/old?x=1"));
    assert_eq!(moved.status(), 308);
    assert!(
        moved.get("location").is_some_and(|to| to.contains("/orders") && to.ends_with("?x=1")),
        "{moved:?}"
    );
    let host = |name: &str| format!("GET /only HTTP/1.1\r\nHost: {name}\r\n\r\n");
    for (name, status) in [
        ("api.edge.test", 200),
        ("API.edge.test:8080", 200),
        ("api.edge.test.", 200),
        ("a.b.wild.test", 200),
        ("wild.test", 404),
        ("other.test", 404),
    ] {
        assert_eq!(raw.ask(host(name)).status(), status, "{name}");
    }
}

#[test]
fn headers_are_edited_and_prefixes_stripped_as_the_route_says() {
    let origin = Origin::well_behaved();
    let edits = "strip_prefix = true\n\
        request_headers = { set = { \"x-team\" = \"orders\" }, remove = [\"x-debug\"] }\n\
        response_headers = { set = { \"x-gen\" = \"7\" }, remove = [\"server\"] }";
    let config = Config::new()
        .upstream("u", &[origin.address()], "")
        .upstream("named", &[origin.address()], "host = \"inner.test\"")
        .upstream("backend", &[origin.address()], "host = \"backend\"")
        .route("edited", "/edited", "u", edits)
        .route("named", "/named", "named", "")
        .route("backend", "/backend", "backend", "");
    let gateway = Gateway::start(&config);
    let mut raw = gateway.connect();
    let answer = raw.ask("GET /edited/a?b HTTP/1.1\r\nHost: edge.test\r\nX-Debug: 1\r\nX-Team: mine\r\n\r\n");
    assert_eq!((answer.get("x-gen"), answer.get("server")), (Some("7"), None));
    let echo = answer.json();
    assert_eq!(echo["uri"], "/a?b");
    assert_eq!((header_seen(&echo, "x-team"), header_seen(&echo, "x-debug")), (Some("orders"), None));
    assert_eq!(header_seen(&echo, "host"), Some("edge.test"));
    assert_eq!(raw.ask(get("/edited")).json()["uri"], "/");
    assert_eq!(header_seen(&raw.ask(get("/named")).json(), "host"), Some("inner.test"));
    let backend = origin.address().to_string();
    assert_eq!(header_seen(&raw.ask(get("/backend")).json(), "host"), Some(backend.as_str()));
}

#[test]
fn hop_by_hop_headers_never_pass() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut raw = gateway.connect();
    let answer = raw.ask(
        "GET /x HTTP/1.1\r\nHost: edge.test\r\nConnection: keep-alive, x-nominated\r\nX-Nominated: 1\r\n\
         Keep-Alive: timeout=9\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nx-kept: 1\r\n\r\n",
    );
    let echo = answer.json();
    for name in ["x-nominated", "keep-alive", "proxy-connection", "upgrade", "http2-settings"] {
        assert_eq!(header_seen(&echo, name), None, "{name} stays here");
    }
    assert_ne!(header_seen(&echo, "te"), Some("gzip"));
    assert_eq!(header_seen(&echo, "x-kept"), Some("1"));
    let answer = raw.ask(get("/hop"));
    assert_eq!((answer.get("x-hop"), answer.get("keep-alive")), (None, None));
    assert_eq!(answer.get("x-end-to-end"), Some("1"));
}

#[test]
fn untrusted_peers_cannot_say_who_they_are() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let lies = "GET / HTTP/1.1\r\nHost: edge.test\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
        X-Forwarded-Host: evil.test\r\nForwarded: for=6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n\
        X-Real-IP: 6.6.6.6\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n";
    let echo = gateway.connect().ask(lies).json();
    assert_eq!(header_seen(&echo, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(header_seen(&echo, "x-forwarded-proto"), Some("http"));
    assert_eq!(header_seen(&echo, "x-forwarded-host"), Some("edge.test"));
    assert_eq!(header_seen(&echo, "x_forwarded_for"), None, "an alias of a trusted header is dropped");
    assert!(!echo["headers"].to_string().contains("6.6.6.6"), "{}", echo["headers"]);
    assert!(
        header_seen(&echo, "traceparent").is_some_and(|t| t.contains("0af7651916cd43dd8448eb211c80319c"))
    );
}

#[test]
fn trusted_proxies_are_believed_and_added_to() {
    let origin = Origin::well_behaved();
    let config = Config::simple(origin.address()).gateway("trusted_proxies = [\"127.0.0.0/8\"]");
    let gateway = Gateway::start(&config);
    let echo = gateway
        .connect()
        .ask(
            "GET / HTTP/1.1\r\nHost: edge.test\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\
             X-Request-Id: from-the-proxy\r\n\r\n",
        )
        .json();
    assert_eq!(header_seen(&echo, "x-forwarded-for"), Some("192.0.2.7, 127.0.0.1"));
    assert_eq!(header_seen(&echo, "x-forwarded-proto"), Some("https"));
    assert_eq!(header_seen(&echo, "x-request-id"), Some("from-the-proxy"));
}

#[test]
fn every_request_has_an_id_at_the_backend_in_the_answer_and_in_the_log() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut raw = gateway.connect();
    let answer = raw.ask(get("/one"));
    let id = answer.get("x-request-id").expect("an id in the answer").to_owned();
    assert_eq!(header_seen(&answer.json(), "x-request-id"), Some(id.as_str()));
    let second = raw.ask(get("/two"));
    assert_ne!(second.get("x-request-id"), Some(id.as_str()));
    let line = gateway.logged("the request is in the access log", |line| line["request_id"] == id.as_str());
    assert_eq!((&line["status"], &line["route"], &line["path"]), (&200.into(), &"r".into(), &"/one".into()));
}

#[test]
fn a_refusal_is_a_problem_that_says_why() {
    let gateway = Gateway::start(&Config::simple(refused()));
    let answer = gateway.get("/x");
    assert_eq!((answer.status(), answer.reason()), (502, Some("connect_failed")));
    assert_eq!(answer.get("content-type"), Some("application/problem+json"));
    let proxy_status = answer.get("proxy-status").expect("Proxy-Status");
    assert!(proxy_status.starts_with("tidegate; error="), "{proxy_status}");
    let problem = answer.json();
    assert_eq!((&problem["status"], &problem["reason"]), (&502.into(), &"connect_failed".into()));
    assert_eq!(problem["request_id"].as_str(), answer.get("x-request-id"));
    for member in ["type", "title", "detail"] {
        assert!(problem[member].is_string(), "{member} in {problem}");
    }
    assert!(!problem.to_string().contains("127.0.0.1"), "clients do not learn inner addresses: {problem}");
}

#[test]
fn what_a_backend_breaks_is_502_and_what_it_cuts_short_is_cut_short() {
    let origin = Origin::start(Behaviour::SendsGarbage);
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let answer = gateway.get("/x");
    assert_eq!((answer.status(), answer.reason()), (502, Some("bad_response")));
    origin.switch(Behaviour::ClosesWithoutAnswer);
    let answer = gateway.connect().ask(post("/x", b"not to be sent twice"));
    assert_eq!((answer.status(), answer.reason()), (502, Some("reset")));
    for cut in [Behaviour::ResetsMidBody, Behaviour::SendsLessThanDeclared] {
        origin.switch(cut);
        let mut raw = gateway.connect();
        raw.send(get("/x"));
        assert!(raw.try_answer(false).is_err(), "{cut:?}: the client can tell that the answer is not whole");
    }
    origin.switch(Behaviour::SendsMoreThanDeclared);
    let mut raw = gateway.connect();
    for _ in 0..3 {
        let answer = raw.ask(get("/x"));
        assert_eq!(answer.text(), "short", "what is left over never becomes another request's answer");
    }
    origin.switch(Behaviour::WellBehaved);
    assert_eq!(gateway.get("/x").status(), 200);
    gateway.settles(Duration::from_secs(15));
}

#[test]
fn a_request_that_was_not_sent_goes_to_another_backend() {
    let origin = Origin::well_behaved();
    let config = Config::new().upstream("u", &[refused(), origin.address()], "").route("r", "/", "u", "");
    let gateway = Gateway::start(&config);
    let mut raw = gateway.connect();
    for n in 0..30 {
        assert_eq!(raw.ask(post("/x", b"body")).status(), 200, "request {n}");
    }
}
