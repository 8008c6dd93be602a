//! Where a message ends: what is unambiguous passes, everything else is refused.

use super::*;
use crate::reject::Reason;
use proptest::prelude::*;

/// What came of a connection's bytes.
#[derive(Debug, PartialEq)]
struct Outcome {
    passed: Vec<u8>,
    events: Vec<Event>,
    refusal: Option<Refusal>,
}

/// Shows `bytes` cut into pieces of the given sizes (the rest as one piece), keeping what does not pass.
fn run(bytes: &[u8], cuts: &[usize], limits: HeadLimits) -> Outcome {
    let mut framing = Framing::new(limits);
    let (mut passed, mut events, mut held) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = bytes;
    let mut cuts = cuts.iter();
    while !rest.is_empty() {
        let n = cuts.next().map_or(rest.len(), |n| (*n).clamp(1, rest.len()));
        held.extend_from_slice(&rest[..n]);
        rest = &rest[n..];
        let seen = framing.inspect(&held, |event| events.push(event));
        passed.extend(held.drain(..seen.pass));
        if seen.refusal.is_some() {
            return Outcome { passed, events, refusal: seen.refusal };
        }
    }
    Outcome { passed, events, refusal: None }
}

fn whole(bytes: &[u8]) -> Outcome {
    run(bytes, &[], HeadLimits::default())
}

fn bytewise(bytes: &[u8]) -> Outcome {
    run(bytes, &vec![1; bytes.len()], HeadLimits::default())
}

/// A POST whose head ends with `fields` and an empty line, then `rest`.
fn post(fields: &str, rest: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{rest}").into_bytes()
}

/// Passes nothing and says `detail`, in one piece and byte by byte.
fn assert_head_refused(bytes: &[u8], reason: Reason, detail: &str) {
    for outcome in [whole(bytes), bytewise(bytes)] {
        let shown = String::from_utf8_lossy(bytes);
        let refusal = outcome.refusal.unwrap_or_else(|| panic!("accepted: {shown:?}"));
        assert_eq!((refusal.reason, refusal.detail), (reason, detail), "{shown:?}");
        assert!(outcome.passed.is_empty(), "passed some of {shown:?}");
    }
}

#[test]
fn a_client_that_asks_nothing_more_is_heard() {
    let said = |connection: &str| {
        let outcome = bytewise(&post(&format!("Connection: {connection}"), ""));
        outcome.events.iter().any(|event| matches!(event, Event::HeadComplete(message) if message.last))
    };
    assert!(said("close") && said("Close") && said("x, close ,y"));
    assert!(!said("keep-alive") && !said("closed") && !said(""));
}

#[test]
fn every_way_to_hide_a_length_is_refused() {
    let table: &[(&str, &str)] = &[
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", "both Content-Length and Transfer-Encoding"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", "both Content-Length and Transfer-Encoding"),
        ("Content-Length: 5\r\nContent-Length: 5", "more than one Content-Length"),
        ("Content-Length: 5\r\nContent-Length: 6", "more than one Content-Length"),
        ("Content-Length: 5, 5", "malformed Content-Length"),
        ("Content-Length: +5", "malformed Content-Length"),
        ("Content-Length: -5", "malformed Content-Length"),
        ("Content-Length: 0x5", "malformed Content-Length"),
        ("Content-Length: 5 5", "malformed Content-Length"),
        ("Content-Length: 5;", "malformed Content-Length"),
        ("Content-Length:", "malformed Content-Length"),
        ("Content-Length: \u{665}", "malformed Content-Length"),
        ("Content-Length: 18446744073709551616", "malformed Content-Length"),
        ("Content-Length: 00000000000000000005", "malformed Content-Length"),
        ("Content-Length : 5", "malformed header name"),
        ("Content-Length\t: 5", "malformed header name"),
        (" Content-Length: 5", "folded header line"),
        ("X: a\r\n\tContent-Length: 5", "folded header line"),
        ("Transfer-Encoding:\r\n chunked", "unsupported Transfer-Encoding"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "more than one Transfer-Encoding"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x", "more than one Transfer-Encoding"),
        ("Transfer-Encoding: x\r\nTransfer-Encoding: chunked", "unsupported Transfer-Encoding"),
        ("Transfer-Encoding: gzip, chunked", "unsupported Transfer-Encoding"),
        ("Transfer-Encoding: chunked, chunked", "unsupported Transfer-Encoding"),
        ("Transfer-Encoding: chunked, identity", "unsupported Transfer-Encoding"),
        ("Transfer-Encoding: chunked,", "unsupported Transfer-Encoding"),
        ("Transfer-Encoding: identity", "unsupported Transfer-Encoding"),
        ("Transfer-Encoding: \"chunked\"", "unsupported Transfer-Encoding"),
        ("Transfer-Encoding: chunked;x=1", "unsupported Transfer-Encoding"),
        ("Transfer-Encoding: xchunked", "unsupported Transfer-Encoding"),
        ("Transfer-Encoding:", "unsupported Transfer-Encoding"),
        ("Transfer-Encoding : chunked", "malformed header name"),
        ("Transfer-Encoding: \x0bchunked", "control character in a header value"),
        ("Transfer-Encoding: chunked\x00", "control character in a header value"),
        ("Transfer-Encoding: chunked\rX: y", "control character in a header value"),
        ("X: a\rTransfer-Encoding: chunked", "control character in a header value"),
        ("X: a\nTransfer-Encoding: chunked", "line does not end in CRLF"),
        ("X: a\r\r\nTransfer-Encoding: chunked", "control character in a header value"),
        ("X: \x7f", "control character in a header value"),
        ("Transfer Encoding: chunked", "malformed header name"),
        ("Transfer-Enc\u{f6}ding: chunked", "malformed header name"),
        (": chunked", "malformed header name"),
        ("Transfer-Encoding", "header line without a colon"),
        ("Host: b", "more than one Host"),
        ("host:", "more than one Host"),
    ];
    for (fields, detail) in table {
        assert_head_refused(&post(fields, "0\r\n\r\n"), Reason::BadRequest, detail);
    }
}

#[test]
fn every_doubtful_request_line_is_refused() {
    let table: &[(&str, &str)] = &[
        ("GET  / HTTP/1.1", "malformed request target"),
        ("GET /  HTTP/1.1", "unsupported HTTP version"),
        ("GET / HTTP/1.1 ", "unsupported HTTP version"),
        ("GET\t/ HTTP/1.1", "malformed request line"),
        (" GET / HTTP/1.1", "malformed method"),
        ("get / HTTP/1.1", "malformed method"),
        ("GeT / HTTP/1.1", "malformed method"),
        ("G@T / HTTP/1.1", "malformed method"),
        ("\x16\x03\x01", "malformed method"),
        ("GET /", "malformed request line"),
        ("GET", "malformed request line"),
        ("GET / HTTP/0.9", "unsupported HTTP version"),
        ("GET / HTTP/1.2", "unsupported HTTP version"),
        ("GET / HTTP/2.0", "unsupported HTTP version"),
        ("PRI * HTTP/2.0", "unsupported HTTP version"),
        ("GET / http/1.1", "unsupported HTTP version"),
        ("GET / HTTP/1.1\r", "unsupported HTTP version"),
        ("GET /a#b HTTP/1.1", "malformed request target"),
        ("GET /\u{e9} HTTP/1.1", "malformed request target"),
        ("GET /\x00 HTTP/1.1", "malformed request target"),
        ("GET /\x7f HTTP/1.1", "malformed request target"),
        ("GET /<a> HTTP/1.1", "malformed request target"),
        ("GET http:// HTTP/1.1", "malformed request target"),
        ("GET / HTTP/1.1\r\nHost: a\nX: y", "line does not end in CRLF"),
    ];
    for (line, detail) in table {
        let bytes = format!("{line}\r\nHost: a\r\n\r\n");
        assert_head_refused(bytes.as_bytes(), Reason::BadRequest, detail);
    }
    assert_head_refused(b"GET / HTTP/1.1\nHost: a\r\n\r\n", Reason::BadRequest, "line does not end in CRLF");
    assert_head_refused(b"GET / HTTP/1.1\r\nHost: a\r\n\n", Reason::BadRequest, "line does not end in CRLF");
    assert_head_refused(b"GET / HTTP/1.1\r\n\r\n", Reason::BadRequest, "no Host");
    assert_head_refused(
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        Reason::BadRequest,
        "Transfer-Encoding in HTTP/1.0",
    );
    assert_head_refused(
        b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 1\r\n\r\n",
        Reason::BadRequest,
        "CONNECT with a body",
    );
}

#[test]
fn one_empty_line_before_a_request_is_ignored_and_two_are_not() {
    let one = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(whole(one), bytewise(one));
    assert_eq!(whole(one).passed, one);
    let two = b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for outcome in [whole(two), bytewise(two)] {
        assert_eq!(outcome.refusal, Some(bad("empty lines before the request line")));
    }
    let mut framing = Framing::new(HeadLimits::default());
    assert_eq!(framing.inspect(b"\r\n", |_| {}).pass, 0);
    assert!(framing.at_boundary(), "an empty line alone is not the beginning of a request");
}

#[test]
fn every_malformed_chunk_is_refused_where_it_goes_wrong() {
    let table: &[(&str, &str, &str)] = &[
        ("", "x\r\n", "malformed chunk size"),
        ("", "\r\n", "malformed chunk size"),
        ("", ";a\r\n", "malformed chunk size"),
        ("", " 5\r\n", "malformed chunk size"),
        ("", "+5\r\n", "malformed chunk size"),
        ("", "-1\r\n", "malformed chunk size"),
        ("5", " \r\nhello\r\n", "malformed chunk size"),
        ("5", " ;a\r\nhello\r\n", "malformed chunk size"),
        ("0", "x5\r\nhello\r\n", "malformed chunk size"),
        ("5", "\nhello\r\n", "malformed chunk size"),
        ("5", "_0\r\n", "malformed chunk size"),
        ("5\r", "hello\r\n", "chunk line does not end in CRLF"),
        ("0000000000000000", "5\r\nhello\r\n", "chunk size too long"),
        ("FFFFFFFFFFFFFFFF", "F\r\n", "chunk size too long"),
        ("5;a", "\nhello\r\n", "control in a chunk extension"),
        ("5;a\r", "b\r\nhello\r\n", "chunk line does not end in CRLF"),
        ("5;", "\x00\r\nhello\r\n", "control in a chunk extension"),
        ("5\r\nhello", "\n", "chunk data does not end in CRLF"),
        ("5\r\nhello", "world\r\n", "chunk data does not end in CRLF"),
        ("5\r\nhello\r", "x", "chunk data does not end in CRLF"),
        ("0\r\n", "X: a\n\r\n", "line does not end in CRLF"),
        ("0\r\n", "X: a\r\n\n", "line does not end in CRLF"),
        ("0\r\n", " X: a\r\n\r\n", "folded header line"),
        ("0\r\n", "X : a\r\n\r\n", "malformed header name"),
        ("0\r\n", "GET / HTTP/1.1\r\n\r\n", "header line without a colon"),
        ("0\r\n", "X: a\x00\r\n\r\n", "control character in a header value"),
        ("0\r\n", "Content-Length: 5\r\n\r\n", "forbidden field in the trailers"),
        ("0\r\n", "host: b\r\n\r\n", "forbidden field in the trailers"),
        ("0\r\n", "A: b\r\nTransfer-Encoding: chunked\r\n\r\n", "forbidden field in the trailers"),
    ];
    let head = post("Transfer-Encoding: chunked", "");
    for (good, wrong, detail) in table {
        let bytes = [&head[..], good.as_bytes(), wrong.as_bytes()].concat();
        for outcome in [whole(&bytes), bytewise(&bytes)] {
            assert_eq!(outcome.refusal, Some(bad(detail)), "{good:?} {wrong:?}");
            assert_eq!(outcome.passed, [&head[..], good.as_bytes()].concat(), "{good:?} {wrong:?}");
        }
    }
}

#[test]
fn limits_speak_with_their_own_status() {
    let limits = HeadLimits { max_head_bytes: 400, max_headers: 3, max_uri_bytes: 100 };
    let long_uri = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(100));
    let longer_uri = format!("GET /{}", "a".repeat(300));
    let long_head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(400));
    let many = "GET / HTTP/1.1\r\nHost: a\r\nA: a\r\nB: b\r\nC: c\r\n\r\n".to_owned();
    for (bytes, reason) in [
        (long_uri, Reason::UriTooLong),
        (longer_uri, Reason::UriTooLong),
        (long_head, Reason::HeadersTooLarge),
        (many, Reason::HeadersTooLarge),
    ] {
        for cuts in [vec![], vec![1; bytes.len()]] {
            let outcome = run(bytes.as_bytes(), &cuts, limits);
            assert_eq!(outcome.refusal.map(|r| r.reason), Some(reason), "{bytes}");
            assert!(outcome.passed.is_empty());
        }
    }
    let largest = format!("GET /{} HTTP/1.1\r\nHost: a\r\nA: a\r\nB: b\r\n\r\n", "a".repeat(99));
    assert_eq!(run(largest.as_bytes(), &[], limits).refusal, None);
}

#[test]
fn chunk_extensions_and_trailers_are_bounded() {
    let head = post("Transfer-Encoding: chunked", "");
    let one = format!("1;{}\r\nx\r\n", "e".repeat(999));
    let extended = [&head[..], one.repeat(5).as_bytes(), b"0\r\n\r\n"].concat();
    assert_eq!(whole(&extended).refusal, Some(bad("chunk extensions too long")));
    let allowed = [&head[..], one.repeat(4).as_bytes(), b"0\r\n\r\n"].concat();
    assert_eq!(whole(&allowed).refusal, None);
    let again = allowed.repeat(3);
    assert_eq!(whole(&again).refusal, None, "the bound is per message");

    let many = [&head[..], b"0\r\n", "T: t\r\n".repeat(MAX_TRAILERS + 1).as_bytes(), b"\r\n"].concat();
    assert_eq!(whole(&many).refusal, Some(too_large("too many trailers")));
    let large = [&head[..], b"0\r\nT: ", "t".repeat(MAX_TRAILER_BYTES).as_bytes()].concat();
    assert_eq!(whole(&large).refusal, Some(too_large("trailers too large")));
    assert_eq!(bytewise(&large).refusal, Some(too_large("trailers too large")));
}

#[test]
fn a_message_says_how_it_ends_and_what_it_expects() {
    let of = |bytes: &[u8]| {
        let heads = whole(bytes).events;
        heads.into_iter().find_map(|e| if let Event::HeadComplete(m) = e { Some(m) } else { None }).unwrap()
    };
    assert_eq!(of(&post("Content-Length: 5", "")).length, Length::Sized(5));
    assert_eq!(of(&post("Content-Length: 0", "")).length, Length::Empty);
    assert_eq!(of(&post("transfer-encoding:CHUNKED \t", "")).length, Length::Chunked);
    assert!(of(&post("Expect: 100-Continue\r\nContent-Length: 5", "")).expect_continue);
    assert!(of(&post("Upgrade: WebSocket", "")).upgrade);
    assert!(!of(&post("Upgrade: h2c, WebSocket", "")).upgrade, "one protocol, or none");
    assert!(!of(&post("Upgrade: h2c", "")).upgrade);
    assert!(of(b"GET / HTTP/1.0\r\n\r\n").http10);
}

#[test]
fn what_follows_a_websocket_request_waits_until_it_is_decided() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut framing = Framing::new(HeadLimits::default());
    let bytes = [&request[..], b"\x81\x05hello"].concat();
    let seen = framing.inspect(&bytes, |_| {});
    assert_eq!(seen, Inspected { pass: request.len(), refusal: None });
    assert!(framing.undecided());
    framing.stay_http();
    assert!(framing.inspect(b"\x81\x05hello", |_| {}).refusal.is_some());
}

#[test]
fn a_body_may_look_like_anything() {
    let inner = "GET /admin HTTP/1.1\nHost : b\r\n\r\n";
    let sized = post(&format!("Content-Length: {}", inner.len()), inner);
    let chunked =
        post("Transfer-Encoding: chunked", &format!("{:x};q=\"a\"\r\n{inner}\r\n0\r\n\r\n", inner.len()));
    let both = [sized, chunked].concat();
    let outcome = whole(&both);
    assert_eq!((outcome.refusal, outcome.passed), (None, both));
    let heads = outcome.events.iter().filter(|e| matches!(e, Event::HeadComplete(_))).count();
    assert_eq!(heads, 2);
}

/// Requests of which most are right, and a change at one place that may make one wrong.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let good = prop::sample::select(vec![
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"\r\nGET /?q=%20 HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: a\r\n\r\n0\r\nT: v\r\nU: w\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
    ]);
    let odd = prop::sample::select(b"\r\n\t :;,0F5x\x00\x7f\xc3#/a".to_vec());
    let change = (any::<prop::sample::Index>(), 0..4u8, odd);
    (prop::collection::vec(good, 1..5), prop::collection::vec(change, 0..3)).prop_map(|(parts, changes)| {
        let mut bytes = parts.concat();
        for (at, how, byte) in changes {
            let at = at.index(bytes.len());
            match how {
                0 => bytes.insert(at, byte),
                1 => bytes[at] = byte,
                2 => drop(bytes.remove(at)),
                _ => {}
            }
            if bytes.is_empty() {
                break;
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn cutting_the_same_bytes_elsewhere_changes_nothing(
        bytes in stream(),
        cuts in prop::collection::vec(1..40usize, 0..40),
        tight in any::<bool>(),
    ) {
        let limits = if tight {
            HeadLimits { max_head_bytes: 60, max_headers: 2, max_uri_bytes: 4 }
        } else {
            HeadLimits::default()
        };
        let whole = run(&bytes, &[], limits);
        prop_assert_eq!(&run(&bytes, &cuts, limits), &whole);
        prop_assert_eq!(&run(&bytes, &vec![1; bytes.len()], limits), &whole);
        prop_assert!(bytes.starts_with(&whole.passed));
    }
}
