//! One line a request at its last byte: with everything that an operator asks for, without what nobody may
//! read, and never at the cost of a request.

use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::load::Load;
use crate::support::origins::exchange::pattern;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::get;
use crate::support::{PATIENCE, wait_until};
use serde_json::Value;
use std::process::Stdio;
use std::time::Duration;

#[test]
fn a_line_says_who_asked_what_and_what_became_of_it() {
    let origin = Origin::well_behaved();
    let config = Config::new()
        .upstream("u", &[origin.address()], "")
        .route("r", "/r", "u", "class = \"sheddable\"")
        .text("[access_log]\nheaders = [\"x-team\"]\n");
    let gateway = Gateway::start(&config);
    let mut raw = gateway.connect();
    let answer = raw.ask(
        "POST /r/bytes/100?page=7 HTTP/1.1\r\nHost: edge.test\r\nUser-Agent: tests/1\r\nx-team: tide\r\n\
         traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nContent-Length: 5\r\n\r\nhello",
    );
    let line = gateway.logged("it has its line", |line| line["route"] == "r");
    let expected: [(&str, Value); 16] = [
        ("method", "POST".into()),
        ("host", "edge.test".into()),
        ("path", "/r/bytes/100?page=7".into()),
        ("protocol", "HTTP/1.1".into()),
        ("listener", "edge".into()),
        ("client", "127.0.0.1".into()),
        ("upstream", "u".into()),
        ("backend", "u0".into()),
        ("status", 200.into()),
        ("class", "sheddable".into()),
        ("version", 1.into()),
        ("bytes_in", 5.into()),
        ("bytes_out", 100.into()),
        ("retries", 0.into()),
        ("end", "complete".into()),
        ("request_id", answer.get("x-request-id").into()),
    ];
    for (field, value) in &expected {
        assert_eq!(&line[*field], value, "{field} in {line}");
    }
    for field in ["duration_ms", "queue_ms", "upstream_ms"] {
        assert!(line[field].as_f64().is_some_and(|ms| (0.0..60_000.0).contains(&ms)), "{field} in {line}");
    }
    let text = line.to_string();
    assert!(text.contains("tests/1") && text.contains("tide") && text.contains("4bf92f3577b34da6"), "{text}");
    assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z') && time.contains('T')), "{line}");
}

#[test]
fn credentials_are_in_no_line_however_they_are_spelt() {
    let origin = Origin::well_behaved();
    let log = "[access_log]\nredact_query = [\"token\", \"session\"]\nheaders = [\"x-team\"]\n";
    let gateway = Gateway::start(&Config::simple(origin.address()).text(log));
    let mut raw = gateway.connect();
    for query in
        ["token=hunter2", "a=1&token=hunter2&b=2", "Token=hunter2", "tok%65n=hunter2", "session=hunter2"]
    {
        let head = format!("GET /{query}?{query} HTTP/1.1\r\nHost: edge.test\r\n").replacen(query, "q", 1);
        raw.ask(head + "Authorization: Bearer hunter2\r\nCookie: s=hunter2\r\nx-team: tide\r\n\r\n");
    }
    wait_until(PATIENCE, "each has its line", || gateway.access_log().len() == 5);
    let lines = Value::from(gateway.access_log()).to_string();
    assert!(!lines.contains("hunter2"), "{lines}");
    assert!(lines.contains("b=2"), "other values are there: {lines}");
    assert!(!gateway.log().contains("hunter2"));
}

#[test]
fn the_line_of_a_slow_reader_comes_when_it_has_read() {
    const SIZE: usize = 32 << 20;
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut slow = gateway.connect();
    slow.send(get(&format!("/slow/bytes/{SIZE}")));
    slow.head().expect("its head is there");
    for n in 0..20 {
        gateway.get(&format!("/other/{n}"));
    }
    gateway.logged("those that came later have their lines", |line| line["path"] == "/other/19");
    let is_slow = |line: &Value| line["path"].as_str().is_some_and(|path| path.starts_with("/slow/"));
    assert!(!gateway.access_log().iter().any(is_slow), "it is not over yet");
    assert!(slow.exactly(SIZE).expect("the whole body") == pattern(SIZE));
    let line = gateway.logged("now it is", is_slow);
    assert_eq!((&line["bytes_out"], &line["end"]), (&SIZE.into(), &"complete".into()));
}

#[test]
fn a_line_says_who_left_first() {
    let origin = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut leaving = gateway.connect();
    leaving.send(get("/client"));
    origin.holds(1);
    leaving.abort();
    let line = gateway.logged("the client that left is logged", |line| line["path"] == "/client");
    assert_eq!(line["end"], "client_gone", "{line}");
    origin.switch(Behaviour::ResetsMidBody);
    let mut raw = gateway.connect();
    raw.send(get("/backend"));
    assert!(raw.try_answer(false).is_err());
    let line = gateway.logged("the broken answer is logged", |line| line["path"] == "/backend");
    assert_eq!((&line["end"], &line["reason"]), (&"backend_gone".into(), &"reset".into()), "{line}");
    let refused = gateway.connect().ask("GET /a/../b HTTP/1.1\r\nHost: edge.test\r\n\r\n");
    assert_eq!(refused.status(), 400);
    let line = gateway.logged("refusals are logged too", |line| line["status"] == 400);
    assert_eq!(line["reason"], "bad_request", "{line}");
}

#[test]
fn an_answer_with_trailers_is_complete_whoever_takes_them() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let clients = [("1.1", ""), ("1.1", "TE: trailers\r\nConnection: TE\r\n"), ("1.0", "")];
    for (client, (version, fields)) in clients.into_iter().enumerate() {
        let path = format!("/chunked/{}", 1000 + client);
        let mut raw = gateway.connect();
        raw.send(format!("GET {path} HTTP/{version}\r\nHost: edge.test\r\n{fields}\r\n"));
        assert_eq!(raw.head().expect("a head").status, 200);
        let line = gateway.logged("it has its line", |line| line["path"] == *path);
        assert_eq!(line["end"], "complete", "HTTP/{version} {fields} {line}");
    }
}

#[test]
fn standard_output_that_nobody_reads_costs_lines_and_no_requests() {
    let origin = Origin::well_behaved();
    let (unread, writer) = std::io::pipe().expect("a pipe");
    let gateway = Gateway::launch(&Config::simple(origin.address()), Launch::stdout(Stdio::from(writer)));
    let load = Load::closed(gateway.edge(), "/", 4);
    wait_until(Duration::from_secs(60), "lines are dropped and counted", || {
        gateway.metrics().value("tidegate_access_log_dropped_total", &[]) > 0.0
    });
    let before = origin.requests();
    wait_until(PATIENCE, "requests go on", || origin.requests() > before + 200);
    load.stop().only(&[200]);
    drop(unread);
}
