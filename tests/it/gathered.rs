//! Bodies whose beginning is gathered before the backend hears of them: what a backend and the requests behind
//! them see is the same as without, whatever becomes of them.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::origins::exchange::{checksum, pattern};
use crate::support::origins::{Behaviour, Origin, refused};
use crate::support::raw::{End, Raw, get, post};
use crate::support::slow::narrow_raw;
use crate::support::{PATIENCE, wait_until};
use std::time::Duration;

/// Bodies around the bound of what is gathered.
const SIZES: [usize; 6] = [1, 65_535, 65_536, 65_537, 131_072, 300_000];

/// A body that ends in what looks like a request.
fn body(size: usize) -> Vec<u8> {
    let tail = get("/smuggled").into_bytes();
    let mut body = pattern(size);
    if size > tail.len() {
        body.truncate(size - tail.len());
        body.extend(tail);
    }
    body
}

/// The same as a chunked request with a trailer.
fn chunked(path: &str, body: &[u8], size: usize) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: edge.test\r\nTransfer-Encoding: chunked\r\nTrailer: x-end\r\n\r\n"
    );
    let mut request = head.into_bytes();
    for piece in body.chunks(size) {
        request.extend(format!("{:x}\r\n", piece.len()).bytes());
        request.extend(piece);
        request.extend(b"\r\n");
    }
    request.extend(b"0\r\nx-end: reached\r\n\r\n");
    request
}

fn nothing_was_smuggled(gateway: &Gateway) {
    assert!(gateway.access_log().iter().all(|line| line["path"] != "/smuggled"));
}

#[test]
fn what_is_gathered_arrives_unharmed_and_what_stands_behind_it_is_a_request_of_its_own() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut raw = gateway.connect();
    for size in SIZES {
        let body = body(size);
        for request in [post("/up", &body), chunked("/up", &body, 999), chunked("/up", &body, 70_000)] {
            raw.send([&request[..], get("/behind").as_bytes()].concat());
            let up = raw.answer(false).json();
            assert_eq!((up["uri"].as_str(), up["body_bytes"].as_u64()), (Some("/up"), Some(size as u64)));
            assert_eq!(up["body_hash"], checksum(&body));
            assert_eq!(raw.answer(false).json()["uri"], "/behind");
        }
    }
    nothing_was_smuggled(&gateway);
    gateway.settles(PATIENCE);
}

#[test]
fn a_gathered_body_reaches_another_backend_when_the_first_cannot_be_reached() {
    let origin = Origin::well_behaved();
    let config = Config::new().upstream("u", &[refused(), origin.address()], "").route("r", "/", "u", "");
    let gateway = Gateway::start(&config);
    for n in 0..10 {
        let body = body(SIZES[n % SIZES.len()]);
        for request in [post("/up", &body), chunked("/up", &body, 5_000)] {
            let up = gateway.connect().ask(&request);
            assert_eq!(up.status(), 200);
            assert_eq!(up.json()["body_hash"], checksum(&body));
        }
    }
    let retries = [("upstream", "u"), ("outcome", "succeeded")];
    assert!(
        gateway.metrics().value("tidegate_retries_total", &retries) > 0.0,
        "some went to the dead one first"
    );
}

#[test]
fn a_refusal_after_gathering_leaves_the_connection_in_step_or_ends_it() {
    let origin = Origin::well_behaved();
    let hung = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let config = Config::new()
        .upstream("u", &[origin.address()], "")
        .upstream("full", &[hung.address()], "max_in_flight = 1\nqueue = { max_waiting = 0 }")
        .route("full", "/full", "full", "timeout = \"60s\"")
        .route("small", "/small", "u", "max_body = \"1KiB\"")
        .route("r", "/", "u", "");
    let gateway = Gateway::start(&config);
    let mut held = gateway.connect();
    held.send(get("/full"));
    hung.holds(1);
    for size in SIZES {
        let body = body(size);
        let expecting = String::from_utf8_lossy(&post("/", b""))
            .replace("Content-Length: 0", &format!("Content-Length: {size}\r\nExpect: 100-continue"));
        assert!(expecting.contains("Expect"), "{expecting}");
        for (path, status) in [("/full", 503), ("/small", 413)] {
            if status == 413 && size <= 1_000 {
                continue;
            }
            let expecting = [expecting.replace("/ ", &format!("{path} ")).as_bytes(), &body].concat();
            for request in [post(path, &body), chunked(path, &body, 999), expecting] {
                let mut raw = gateway.connect();
                let sent = raw.try_send([&request[..], get("/behind").as_bytes()].concat());
                let refusal = raw.answer(false);
                assert_eq!(refusal.status(), status, "{path} with {size}");
                if let Ok(behind) = raw.try_answer(false) {
                    assert_eq!(behind.json()["uri"], "/behind");
                    assert!(sent.is_ok() && refusal.get("connection") != Some("close"));
                }
            }
        }
    }
    nothing_was_smuggled(&gateway);
}

#[test]
fn one_byte_beyond_the_bound_is_refused_and_the_last_byte_within_is_not() {
    let origin = Origin::well_behaved();
    let config =
        Config::new().upstream("u", &[origin.address()], "").route("r", "/", "u", "max_body = \"60KiB\"");
    let gateway = Gateway::start(&config);
    for (size, status) in [(61_440, 200), (61_441, 413)] {
        let body = pattern(size);
        for request in [post("/", &body), chunked("/", &body, 1_000), chunked("/", &body, 61_440)] {
            assert_eq!(gateway.connect().ask(&request).status(), status, "{size}");
        }
    }
    assert_eq!(origin.requests(), 3, "what is too large costs the backend nothing");
}

#[test]
fn a_drain_waits_for_what_is_being_gathered() {
    let origin = Origin::well_behaved();
    let mut gateway = Gateway::start(&Config::simple(origin.address()).gateway("drain_delay = \"0s\""));
    let mut raw = gateway.connect();
    raw.send("POST /up HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 6\r\n\r\nhal");
    wait_until(PATIENCE, "it is inside", || gateway.status()["in_flight"] == 1);
    gateway.term();
    wait_until(PATIENCE, "accepting has stopped", || Raw::try_connect(gateway.edge()).is_err());
    raw.send("ves");
    let answer = raw.answer(false);
    assert_eq!((answer.status(), answer.get("connection")), (200, Some("close")));
    assert_eq!(answer.json()["body_bytes"], 6);
    assert_eq!(raw.end(PATIENCE), End::Eof);
    assert_eq!(gateway.exit(Duration::from_secs(15)).code(), Some(0));
}

#[test]
fn whoever_leaves_while_something_is_buffered_for_them_costs_nothing_any_more() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let buffered = || gateway.buffered();
    let mut reads = narrow_raw(gateway.edge());
    reads.send(get("/bytes/1000000"));
    assert_eq!(reads.head().expect("a head").status, 200);
    wait_until(PATIENCE, "it was read ahead", || buffered() > 400_000.0);
    reads.abort();
    wait_until(PATIENCE, "it was given back", || buffered() == 0.0);
    let mut sends = gateway.connect();
    sends.send("POST /up HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 60000\r\n\r\n");
    sends.send(pattern(50_000));
    wait_until(PATIENCE, "it was gathered", || buffered() > 49_000.0);
    sends.abort();
    wait_until(PATIENCE, "it was given back", || buffered() == 0.0);
    gateway.settles(Duration::from_secs(15));
}
