//! Who may do what: viewers read, operators move levers, and a web page of another site does neither, whatever
//! it sends. Every change has an author.

use crate::support::config::Config;
use crate::support::gateway::{Gateway, cli};
use crate::support::operator::{Listener, ask, change};
use crate::support::origins::Origin;
use crate::support::raw::Answer;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Output;

const RAMP: &str = "/v1/upstreams/u/ramp";
const JSON: &str = "Content-Type: application/json";

/// Two tokens: `see` may read, `act` may change.
fn with_tokens() -> (Origin, Gateway) {
    let origin = Origin::well_behaved();
    let token = |name: &str, role: &str| {
        let hash = blake3::hash(format!("the token {name}").as_bytes()).to_hex();
        format!("{{ name = \"{name}\", role = \"{role}\", hash = \"{hash}\" }}")
    };
    let tokens = format!("tokens = [{}, {}]", token("see", "viewer"), token("act", "operator"));
    let gateway = Gateway::start(&Config::simple(origin.address()).admin(&tokens));
    (origin, gateway)
}

fn without_tokens() -> (Origin, Gateway) {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    (origin, gateway)
}

fn bearer(name: &str) -> String {
    format!("Authorization: Bearer the token {name}")
}

fn percent(gateway: &Gateway, headers: &[&str]) -> Value {
    let answer = ask(gateway.admin(), "GET", RAMP, headers, "");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()["percent"].clone()
}

fn put(gateway: &Gateway, headers: &[&str]) -> Answer {
    ask(gateway.admin(), "PUT", RAMP, &[&[JSON], headers].concat(), "{\"percent\": 25}")
}

#[test]
fn a_viewer_reads_and_changes_nothing() {
    let (_origin, gateway) = with_tokens();
    let see = bearer("see");
    assert_eq!(percent(&gateway, &[&see]), 100.0);
    assert!(Listener::open(gateway.admin(), "", &[&see]).is_ok());
    let state = "/v1/upstreams/u/backends/u0/state";
    for (method, path) in [
        ("PUT", RAMP),
        ("DELETE", RAMP),
        ("POST", "/v1/upstreams/u/ramp:pause"),
        ("POST", "/v1/upstreams/u/ramp:resume"),
        ("PUT", "/v1/upstreams/u/backends/u0/ramp"),
        ("PUT", state),
        ("PATCH", RAMP),
        ("POST", "/v1/status"),
    ] {
        let answer =
            ask(gateway.admin(), method, path, &[&see, JSON], "{\"percent\": 0, \"state\": \"drain\"}");
        assert_eq!(
            (answer.status(), &answer.json()["reason"]),
            (403, &"forbidden".into()),
            "{method} {path}"
        );
    }
    assert_eq!(percent(&gateway, &[&see]), 100.0);
}

#[test]
fn a_wrong_a_missing_and_a_second_token_are_no_token() {
    let (_origin, gateway) = with_tokens();
    let act = bearer("act");
    for headers in [
        &[][..],
        &["Authorization: Bearer guess"],
        &["Authorization: Bearer "],
        &["Authorization: Basic dGhlIHRva2VuIGFjdA=="],
        &[&act, &act],
        &["Authorization: Bearer guess", &act],
        &["X-Authorization: Bearer the token act"],
    ] {
        let answer = put(&gateway, headers);
        assert_eq!(
            (answer.status(), &answer.json()["reason"]),
            (401, &"unauthenticated".into()),
            "{headers:?}"
        );
        assert!(answer.get("www-authenticate").is_some());
        assert_eq!(ask(gateway.admin(), "GET", "/v1/events", headers, "").status(), 401, "{headers:?}");
    }
    assert_eq!(percent(&gateway, &[&act]), 100.0);
    assert_eq!(put(&gateway, &[&act]).status(), 200);
}

#[test]
fn a_change_has_the_author_who_asked_for_it() {
    let (_origin, gateway) = with_tokens();
    let answer = put(&gateway, &[&bearer("act")]);
    assert_eq!((&answer.json()["by"], &answer.json()["percent"]), (&"act".into(), &25.0.into()));
    let events = ask(gateway.admin(), "GET", "/v1/events?follow=false&kinds=ramp", &[&bearer("see")], "");
    assert_eq!(events.json()["items"][0]["by"], "act");

    let socket = gateway.folder().join("state/admin.sock");
    UnixStream::connect(&socket).expect("it is there");
    let Output { status, stdout, .. } =
        cli(&["ramp", "set", "u", "50%", "--json", "--admin"]).arg(&socket).output().expect("it runs");
    assert_eq!(status.code(), Some(0));
    let answer: Value = serde_json::from_slice(&stdout).expect("JSON");
    let user = format!("socket (user {})", rustix::process::getuid().as_raw());
    assert_eq!(answer["by"], user.as_str(), "through the socket, the user is the author");

    let (_origin, gateway) = without_tokens();
    assert_eq!(put(&gateway, &[]).json()["by"], "loopback");
}

#[test]
fn the_socket_is_for_its_owner_and_nothing_that_a_page_sends_passes_it() {
    let (_origin, gateway) = with_tokens();
    let path = gateway.folder().join("state/admin.sock");
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let put = |headers: &str| {
        let body = "{\"percent\": 25}";
        let mut socket = UnixStream::connect(&path).expect("somebody listens");
        let length = body.len();
        let head = format!("PUT {RAMP} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n");
        socket.write_all(format!("{head}{headers}Connection: close\r\n\r\n{body}").as_bytes()).expect("sent");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        answer.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok()).expect("a status")
    };
    let json = format!("{JSON}\r\n");
    for page in ["Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"] {
        assert_eq!(put(&format!("{json}{page}\r\n")), 403, "{page}");
    }
    assert_eq!(put("Content-Type: text/plain\r\n"), 415);
    assert_eq!(percent(&gateway, &[&bearer("see")]), 100.0);
    assert_eq!(put(&json), 200);

    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()).admin("socket = false"));
    assert!(!gateway.folder().join("state/admin.sock").exists());
}

#[test]
fn another_sites_page_changes_nothing_and_listens_to_nothing() {
    let (_origin, gateway) = without_tokens();
    let own = format!("Origin: http://{}", gateway.admin());
    for headers in [
        &["Origin: http://evil.example"][..],
        &["Origin: null"],
        &["Origin: "],
        &["Origin: http://127.0.0.1:1"],
        &[&own, "Origin: http://evil.example"],
        &["Sec-Fetch-Site: cross-site"],
        &["Sec-Fetch-Site: same-site"],
        &[&own, "Sec-Fetch-Site: cross-site"],
        &["Host: evil.example"],
        &["Host: localhost", "Host: evil.example"],
    ] {
        assert_eq!(put(&gateway, headers).status(), 403, "{headers:?}");
        assert_eq!(ask(gateway.admin(), "GET", "/v1/events", headers, "").status(), 403, "{headers:?}");
        let pause = ask(gateway.admin(), "POST", "/v1/upstreams/u/ramp:pause", headers, "");
        assert_eq!(pause.status(), 403, "{headers:?}");
    }
    assert_eq!(percent(&gateway, &[]), 100.0);
    assert_eq!(put(&gateway, &[&own, "Sec-Fetch-Site: same-origin"]).status(), 200);
}

#[test]
fn a_form_changes_nothing() {
    let (_origin, gateway) = without_tokens();
    for kind in ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"] {
        let header = format!("Content-Type: {kind}");
        for (method, path) in [("PUT", RAMP), ("POST", "/v1/upstreams/u/ramp:pause"), ("DELETE", RAMP)] {
            let answer = ask(gateway.admin(), method, path, &[&header], "{\"percent\": 0}");
            let reason = &answer.json()["reason"];
            assert_eq!((answer.status(), reason), (415, &"unsupported_media_type".into()), "{kind} {method}");
        }
    }
    let untyped = ask(gateway.admin(), "PUT", RAMP, &[], "{\"percent\": 0}");
    assert_eq!(untyped.status(), 415);
    assert_eq!(percent(&gateway, &[]), 100.0);
}

#[test]
fn what_only_reads_never_changes_whatever_it_claims_to_be() {
    let (_origin, gateway) = without_tokens();
    put(&gateway, &[]);
    for method in ["GET", "HEAD", "OPTIONS"] {
        for header in ["X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "X-Method-Override: DELETE"]
        {
            for path in [RAMP, "/v1/upstreams/u/ramp?_method=DELETE", "/v1/upstreams/u/ramp:pause"] {
                let mut raw = crate::support::raw::Raw::connect(gateway.admin());
                raw.send(format!(
                    "{method} {path} HTTP/1.1\r\nHost: {}\r\n{header}\r\n{JSON}\r\nContent-Length: 14\r\n\
                     Connection: close\r\n\r\n{{\"percent\": 0}}",
                    gateway.admin()
                ));
                let status = raw.answer(method == "HEAD").status();
                assert!(status == 200 || status == 405, "{method} {path}: {status}");
            }
        }
    }
    assert_eq!(percent(&gateway, &[]), 25.0);
    let post = ask(gateway.admin(), "POST", RAMP, &["X-HTTP-Method-Override: DELETE"], "");
    assert_eq!(post.status(), 405);
    assert_eq!(percent(&gateway, &[]), 25.0);
}

#[test]
fn a_token_that_is_gone_from_the_file_ends_with_it() {
    let (origin, gateway) = with_tokens();
    let act = bearer("act");
    assert_eq!(put(&gateway, &[&act]).status(), 200);
    let hash = blake3::hash(b"the token new").to_hex();
    let tokens = format!("tokens = [{{ name = \"new\", role = \"operator\", hash = \"{hash}\" }}]");
    gateway.write(&Config::simple(origin.address()).admin(&tokens));
    crate::support::wait_until(crate::support::PATIENCE, "the old token is refused", || {
        put(&gateway, &[&act]).status() == 401
    });
    assert_eq!(put(&gateway, &[&bearer("new")]).status(), 200);
    let socket = change(gateway.admin(), "PUT", RAMP, &json!({ "percent": 1 }));
    assert_eq!(socket.status(), 401, "and without one nothing is changed");
}
