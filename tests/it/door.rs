//! Strict at the door: what is ambiguous about where a message ends, or for whom it is, is a 400 and the
//! connection closes. Bad input is sent as raw bytes; none of it may reach a backend.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::{End, Raw, get, post};
use crate::support::wait_until;
use std::time::Duration;

/// How soon a refused connection is closed; the gateway may linger so that its answer is not lost.
const CLOSES: Duration = Duration::from_secs(3);

/// Heads that must be refused whatever follows.
const AMBIGUOUS: &[(&str, &[u8])] = &[
    ("bare LF everywhere", b"GET / HTTP/1.1\nHost: edge.test\n\n"),
    ("bare LF after the request line", b"GET / HTTP/1.1\nHost: edge.test\r\n\r\n"),
    ("bare LF between headers", b"GET / HTTP/1.1\r\nHost: edge.test\nx: y\r\n\r\n"),
    ("bare LF at the end", b"GET / HTTP/1.1\r\nHost: edge.test\r\n\n"),
    ("bare CR in a value", b"GET / HTTP/1.1\r\nHost: edge.test\r\nx: a\rb\r\n\r\n"),
    ("NUL in a value", b"GET / HTTP/1.1\r\nHost: edge.test\r\nx: a\0b\r\n\r\n"),
    ("a folded header", b"GET / HTTP/1.1\r\nHost: edge.test\r\nx: a\r\n b\r\n\r\n"),
    ("a space before the colon", b"GET / HTTP/1.1\r\nHost: edge.test\r\nx : a\r\n\r\n"),
    ("a header without a name", b"GET / HTTP/1.1\r\nHost: edge.test\r\n: a\r\n\r\n"),
    ("a header without a colon", b"GET / HTTP/1.1\r\nHost: edge.test\r\nnonsense\r\n\r\n"),
    ("length and chunks", b"POST / HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunks and length", b"POST / HTTP/1.1\r\nHost: edge.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    ("the same length twice", b"POST / HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab"),
    ("two lengths", b"POST / HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
    ("a list of lengths", b"POST / HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 2, 2\r\n\r\nab"),
    ("a signed length", b"POST / HTTP/1.1\r\nHost: edge.test\r\nContent-Length: +2\r\n\r\nab"),
    ("a negative length", b"POST / HTTP/1.1\r\nHost: edge.test\r\nContent-Length: -2\r\n\r\nab"),
    ("a hexadecimal length", b"POST / HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 0x2\r\n\r\nab"),
    ("an empty length", b"POST / HTTP/1.1\r\nHost: edge.test\r\nContent-Length: \r\n\r\n"),
    ("a length beyond counting", b"POST / HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 99999999999999999999\r\n\r\n"),
    ("another coding", b"POST / HTTP/1.1\r\nHost: edge.test\r\nTransfer-Encoding: gzip\r\n\r\n"),
    ("another coding before chunked", b"POST / HTTP/1.1\r\nHost: edge.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("identity", b"POST / HTTP/1.1\r\nHost: edge.test\r\nTransfer-Encoding: identity\r\n\r\n"),
    ("chunked twice in a line", b"POST / HTTP/1.1\r\nHost: edge.test\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked twice", b"POST / HTTP/1.1\r\nHost: edge.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("nearly chunked", b"POST / HTTP/1.1\r\nHost: edge.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("chunked behind a vertical tab", b"POST / HTTP/1.1\r\nHost: edge.test\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("chunks in HTTP/1.0", b"POST / HTTP/1.0\r\nHost: edge.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("no Host", b"GET / HTTP/1.1\r\nx: y\r\n\r\n"),
    ("an empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    ("two Hosts", b"GET / HTTP/1.1\r\nHost: edge.test\r\nHost: edge.test\r\n\r\n"),
    ("a Host with a path", b"GET / HTTP/1.1\r\nHost: edge.test/x\r\n\r\n"),
    ("a Host with a space", b"GET / HTTP/1.1\r\nHost: edge test\r\n\r\n"),
    ("a Host with user information", b"GET / HTTP/1.1\r\nHost: me@edge.test\r\n\r\n"),
    ("a Host list", b"GET / HTTP/1.1\r\nHost: edge.test, evil.test\r\n\r\n"),
    ("a Host with a wild port", b"GET / HTTP/1.1\r\nHost: edge.test:80x\r\n\r\n"),
    ("an absolute form for another", b"GET http://evil.test/ HTTP/1.1\r\nHost: edge.test\r\n\r\n"),
    ("an absolute form with user information", b"GET http://me@edge.test/ HTTP/1.1\r\nHost: edge.test\r\n\r\n"),
    ("an authority form", b"GET edge.test:80 HTTP/1.1\r\nHost: edge.test\r\n\r\n"),
    ("a lower-case method", b"get / HTTP/1.1\r\nHost: edge.test\r\n\r\n"),
    ("a method with a control", b"GE\x01T / HTTP/1.1\r\nHost: edge.test\r\n\r\n"),
    ("a space in the target", b"GET /a b HTTP/1.1\r\nHost: edge.test\r\n\r\n"),
    ("two spaces", b"GET  / HTTP/1.1\r\nHost: edge.test\r\n\r\n"),
    ("a tab for a space", b"GET\t/ HTTP/1.1\r\nHost: edge.test\r\n\r\n"),
    ("a fragment", b"GET /a#b HTTP/1.1\r\nHost: edge.test\r\n\r\n"),
    ("raw UTF-8 in the target", b"GET /\xc3\xbc HTTP/1.1\r\nHost: edge.test\r\n\r\n"),
    ("a control in the target", b"GET /\x7f HTTP/1.1\r\nHost: edge.test\r\n\r\n"),
    ("an unknown version", b"GET / HTTP/1.2\r\nHost: edge.test\r\n\r\n"),
    ("HTTP/2 without its preface", b"GET / HTTP/2.0\r\nHost: edge.test\r\n\r\n"),
    ("HTTP/0.9", b"GET /\r\n\r\n"),
    ("a lower-case version", b"GET / http/1.1\r\nHost: edge.test\r\n\r\n"),
    ("something behind the version", b"GET / HTTP/1.1 \r\nHost: edge.test\r\n\r\n"),
    ("a preface that is none", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"),
    ("TLS on a cleartext port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
];

#[test]
fn what_is_ambiguous_is_400_closes_and_reaches_nobody() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut wrong = Vec::new();
    for (what, bytes) in AMBIGUOUS {
        for size in [bytes.len(), 1] {
            let mut raw = gateway.connect();
            // A piece may meet a connection that is closed already; the answer is there all the same.
            let sent = bytes.chunks(size).try_for_each(|piece| raw.try_send(piece));
            let smuggled = sent.and_then(|()| raw.try_send(get("/smuggled")));
            let answer = raw.try_answer(false);
            let seen = answer.as_ref().map(|answer| (answer.status(), answer.reason().map(str::to_owned)));
            let end = raw.end(CLOSES);
            if seen != Ok((400, Some("bad_request".into()))) || end != End::Eof {
                wrong.push(format!("{what} in pieces of {size}: {seen:?}, then {end:?} ({smuggled:?})"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), 2 * AMBIGUOUS.len(), wrong.join("\n"));
    assert_eq!(origin.requests(), 0);
    let metrics = gateway.metrics();
    let requests =
        metrics.get("tidegate_requests_total", &[("route", "-"), ("code_class", "4xx")]).unwrap_or(0.0);
    let counted = requests.max(metrics.get("tidegate_refusals_total", &[]).unwrap_or(0.0));
    assert!(counted >= AMBIGUOUS.len() as f64, "refusals at the door are counted: {counted}");
    gateway.settles(CLOSES);
}

#[test]
fn an_answer_that_is_due_is_given_before_the_refusal() {
    let origin = Origin::start(Behaviour::Delay(Duration::from_millis(50)));
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut raw = gateway.connect();
    raw.send([get("/good").as_bytes(), b"GET / HTTP/1.1\nHost: edge.test\n\n"].concat());
    assert_eq!(raw.answer(false).json()["uri"], "/good");
    let refusal = raw.answer(false);
    assert_eq!((refusal.status(), refusal.reason()), (400, Some("bad_request")));
    assert_eq!(refusal.get("connection"), Some("close"));
    assert_eq!(raw.end(CLOSES), End::Eof);
}

#[test]
fn broken_chunks_end_the_request_and_smuggle_nothing() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let broken: &[&[u8]] = &[
        b"xyz\r\nhello\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
        b"5\r\nhello\r\n0\r\nHost: evil.test\r\n\r\n",
        b"5\r\nhello\r\n0\r\nfolded: a\r\n b\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\n",
    ];
    for body in broken {
        let mut raw = gateway.connect();
        raw.send(
            [&b"POST /chunks HTTP/1.1\r\nHost: edge.test\r\nTransfer-Encoding: chunked\r\n\r\n"[..], body]
                .concat(),
        );
        let _ = raw.try_send(get("/smuggled"));
        let text = String::from_utf8_lossy(body);
        if let Ok(answer) = raw.try_answer(false) {
            assert_eq!((answer.status(), answer.reason()), (400, Some("bad_request")), "{text:?}");
        }
        assert_ne!(raw.end(CLOSES), End::Open, "{text:?}");
    }
    gateway.settles(Duration::from_secs(15));
    let smuggled = gateway.access_log().iter().filter(|line| line["path"] == "/smuggled").count();
    assert_eq!(smuggled, 0);
}

#[test]
fn paths_that_servers_read_differently_are_refused() {
    let origin = Origin::well_behaved();
    let keeps = "[[routes]]\nname = \"keeps\"\npath_prefix = \"/keeps\"\nupstream = \"u\"\nencoded_slash = \"keep\"\n";
    let gateway = Gateway::start(&Config::simple(origin.address()).text(keeps));
    for path in [
        "/a/../b",
        "/a/..",
        "/./a",
        "/a/%2e%2e/b",
        "/a/.%2E/b",
        "/%2e/a",
        "/a/..;/b",
        "/a\\b",
        "/a%5cb",
        "/a%5Cb",
        "/a%00b",
        "/a%2fb",
        "/a%2Fb",
        "/a%zz",
        "/a%2",
        "/a%",
    ] {
        let answer = gateway.get(path);
        assert_eq!((answer.status(), answer.reason()), (400, Some("bad_request")), "{path}");
    }
    assert_eq!(origin.requests(), 0);
    for (sent, forwarded) in [
        ("/a//b///c", "/a/b/c"),
        ("/%7euser/%41", "/~user/A"),
        ("/a%3ab", "/a%3Ab"),
        ("/a?x=../b//c%2f", "/a?x=../b//c%2f"),
        ("/keeps/a%2fb", "/keeps/a%2Fb"),
        ("/a..b/...", "/a..b/..."),
    ] {
        assert_eq!(gateway.get(sent).json()["uri"], forwarded, "{sent}");
    }
}

#[test]
fn connect_is_refused() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let answer = gateway.connect().ask("CONNECT edge.test:443 HTTP/1.1\r\nHost: edge.test:443\r\n\r\n");
    assert_eq!((answer.status(), answer.reason()), (405, Some("connect_refused")));
    assert_eq!(origin.requests(), 0);
}

#[test]
fn an_absolute_form_for_us_is_served() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let answer = gateway.connect().ask("GET http://edge.test/a?b HTTP/1.1\r\nHost: edge.test\r\n\r\n");
    assert_eq!((answer.status(), answer.json()["uri"].as_str()), (200, Some("/a?b")));
}

#[test]
fn sizes_are_bounded_and_say_so() {
    let origin = Origin::well_behaved();
    let config =
        Config::new().upstream("u", &[origin.address()], "").route("r", "/", "u", "max_body = \"64KiB\"");
    let gateway = Gateway::start(&config);
    let long = gateway.get(&format!("/{}", "a".repeat(9_000)));
    assert_eq!((long.status(), long.reason()), (414, Some("uri_too_long")));
    let wide = format!("GET / HTTP/1.1\r\nHost: edge.test\r\nx: {}\r\n\r\n", "a".repeat(40_000));
    let answer = gateway.connect().ask(wide);
    assert_eq!((answer.status(), answer.reason()), (431, Some("headers_too_large")));
    let many: String = (0..150).map(|n| format!("x-{n}: 1\r\n")).collect();
    let answer = gateway.connect().ask(format!("GET / HTTP/1.1\r\nHost: edge.test\r\n{many}\r\n"));
    assert_eq!((answer.status(), answer.reason()), (431, Some("headers_too_large")));
    assert_eq!(origin.requests(), 0);

    let declared =
        gateway.connect().ask("POST / HTTP/1.1\r\nHost: edge.test\r\nContent-Length: 65537\r\n\r\n");
    assert_eq!((declared.status(), declared.reason()), (413, Some("body_too_large")));
    assert_eq!(origin.requests(), 0, "a body that is declared too large is refused before it is forwarded");
    let mut raw = gateway.connect();
    raw.send("POST / HTTP/1.1\r\nHost: edge.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..5 {
        // The refusal may come while we are still sending.
        let _ = raw.try_send([&b"4000\r\n"[..], &[b'x'; 0x4000], b"\r\n"].concat());
    }
    let streamed = raw.answer(false);
    assert_eq!((streamed.status(), streamed.reason()), (413, Some("body_too_large")));
    assert_eq!(
        gateway.connect().ask(post("/", &[b'x'; 65_536])).status(),
        200,
        "the limit itself is allowed"
    );
    gateway.settles(Duration::from_secs(15));
}

#[test]
fn a_large_refused_body_does_not_cost_the_client_its_answer() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(
        &Config::simple(origin.address())
            .text("[[routes]]\nname = \"small\"\npath = \"/small\"\nupstream = \"u\"\nmax_body = \"1KiB\"\n"),
    );
    for size in [2_000, 60_000, 300_000] {
        let mut raw = gateway.connect();
        let _ = raw.try_send(post("/small", &vec![b'x'; size]));
        let answer = raw.answer(false);
        assert_eq!((answer.status(), answer.reason()), (413, Some("body_too_large")), "{size} bytes");
    }
}

/// The last request of a connection, for a mebibyte.
const LAST: &str = "GET /bytes/1048576 HTTP/1.1\r\nHost: edge.test\r\nConnection: close\r\n\r\n";
/// The same, with a body.
const LAST_UPLOAD: &str =
    "POST /bytes/1048576 HTTP/1.1\r\nHost: edge.test\r\nConnection: close\r\nContent-Length: 60000\r\n\r\n";

#[test]
fn a_client_that_asked_its_last_is_not_waited_for() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut stays: Vec<Raw> = (0..3).map(|_| gateway.connect()).collect();
    for raw in &mut stays {
        assert_eq!(raw.ask(LAST).body.len(), 1 << 20);
        assert_eq!(raw.end(CLOSES), End::Eof);
    }
    let open = || gateway.metrics().value("tidegate_connections", &[("listener", "edge")]);
    // Less than the second for which it listens to those who may still be sending; none of them closes its side.
    wait_until(Duration::from_millis(700), "their connections are free", || open() == 0.0);
}

#[test]
fn what_follows_a_last_request_does_not_take_its_answer_away() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    for (what, asked) in [("the next request", LAST), ("more than its body", LAST_UPLOAD)] {
        for _ in 0..5 {
            let mut raw = gateway.connect();
            raw.send(asked);
            raw.send(vec![b'x'; 100_000]);
            let answer = raw.try_answer(false).unwrap_or_else(|end| panic!("{what}: {end:?}"));
            assert_eq!((answer.status(), answer.body.len()), (200, 1 << 20), "{what}");
        }
    }
}
