//! Who may pass: a service that judges is asked about each request before anything of the route's upstream is taken,
//! and only what it says reaches the backend under its name.

use crate::support::client::Http2;
use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::origins::exchange::header_seen;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::{Answer, Raw};
use crate::support::run;
use crate::tunnels::{echoes, handshake};
use std::net::SocketAddr;

/// A public and a guarded route to `u`; `auth` is said about the auth, `upstream` about the upstream that it asks.
pub fn guarded(backend: &Origin, judge: &Origin, auth: &str, upstream: &str) -> Config {
    guarded_by(backend, judge.address(), auth, upstream)
}

/// The same by whoever is at an address. Unless something is said, it has more time than on a quiet machine.
pub fn guarded_by(backend: &Origin, judge: SocketAddr, auth: &str, upstream: &str) -> Config {
    let timeout = if auth.contains("timeout") { "" } else { "timeout = \"5s\"\n" };
    Config::new()
        .upstream("u", &[backend.address()], "")
        .upstream("judge", &[judge], upstream)
        .text(&format!(
            "[[auth]]\nname = \"session\"\nupstream = \"judge\"\npath = \"/verify?strict=1\"\n{timeout}{auth}\n"
        ))
        .route("public", "/public", "u", "")
        .route("guarded", "/guarded", "u", "auth = \"session\"")
}

/// Lets the judge's word about the user pass to the backend.
pub const COPIES: &str = "copy_headers = [\"x-user\", \"x-told\"]";

/// A request with these header lines.
pub fn head(method: &str, path: &str, lines: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: edge.test:81\r\n{lines}\r\n")
}

/// GET as somebody, on a connection of its own.
pub fn get_as(gateway: &Gateway, user: &str, path: &str) -> Answer {
    gateway.connect().ask(head("GET", path, &format!("Authorization: Bearer {user}\r\n")))
}

/// How often an auth's requests ended so.
pub fn results(gateway: &Gateway, result: &str) -> f64 {
    gateway.metrics().value("tidegate_auth_requests_total", &[("auth", "session"), ("result", result)])
}

fn seen<'a>(echo: &'a serde_json::Value, name: &str) -> Vec<&'a str> {
    let headers = echo["headers"].as_array().expect("headers in the echo");
    let named = headers.iter().filter(|pair| pair[0].as_str().is_some_and(|n| n.eq_ignore_ascii_case(name)));
    named.filter_map(|pair| pair[1].as_str()).collect()
}

#[test]
fn whoever_may_pass_reaches_the_backend_under_the_name_that_the_service_gave() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::Judges));
    let gateway = Gateway::start(&guarded(&backend, &judge, COPIES, ""));
    let lines = "Authorization: Bearer ada\r\nCookie: a=1\r\nX-Other: not told\r\nContent-Length: 3\r\n";
    let answer = gateway.connect().ask(head("POST", "//guarded//x?y=1", lines).to_string() + "abc");
    assert_eq!(answer.status(), 200, "{answer:?}");
    let echo = answer.json();
    assert_eq!((header_seen(&echo, "x-user"), &echo["body_bytes"]), (Some("ada"), &3.into()));
    let told = header_seen(&echo, "x-told").expect("it was copied");
    assert_eq!(
        told, "GET POST /guarded/x?y=1 edge.test:81 127.0.0.1 -",
        "as the backend is asked, without a body"
    );
    assert_eq!(header_seen(&echo, "authorization"), Some("Bearer ada"), "credentials go on to the backend");
    assert_eq!((backend.requests(), judge.requests()), (1, 1));
    assert_eq!(results(&gateway, "allowed"), 1.0);
    let timed = gateway.metrics().value("tidegate_auth_duration_seconds_count", &[("auth", "session")]);
    assert_eq!(timed, 1.0);
}

#[test]
fn whoever_may_not_pass_is_told_so_by_the_services_status_and_costs_the_backend_nothing() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::Judges));
    let gateway = Gateway::start(&guarded(&backend, &judge, COPIES, ""));
    let stranger = gateway.get("/guarded");
    assert_eq!((stranger.status(), stranger.reason()), (401, Some("unauthenticated")));
    assert_eq!(stranger.get("www-authenticate"), Some("Bearer realm=\"orders\""));
    assert_eq!(stranger.get("x-secret"), None, "only what is listed is passed on");
    assert_eq!(stranger.json()["status"], 401, "in our own words");
    let basic = gateway.connect().ask(head("GET", "/guarded", "Authorization: Basic eA==\r\n"));
    assert_eq!((basic.status(), basic.reason()), (403, Some("forbidden")));
    assert_eq!((backend.requests(), judge.requests()), (0, 2));
    assert_eq!(results(&gateway, "denied"), 2.0);
    // Nor is a body asked for that nobody will read.
    let mut waits = gateway.connect();
    waits.send(head("POST", "/guarded", "Expect: 100-continue\r\nContent-Length: 1000\r\n"));
    assert_eq!(waits.answer(false).status(), 401);
}

#[test]
fn requests_of_all_methods_are_judged_and_public_routes_never() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::Judges));
    let gateway = Gateway::start(&guarded(&backend, &judge, COPIES, ""));
    for (n, method) in ["OPTIONS", "HEAD", "DELETE"].into_iter().enumerate() {
        let mut raw = gateway.connect();
        raw.send(head(method, "/guarded", ""));
        assert_eq!(raw.answer(method == "HEAD").status(), 401, "{method}");
        assert_eq!(judge.requests(), n as u64 + 1);
    }
    assert_eq!(gateway.get("/public").status(), 200);
    assert_eq!(judge.requests(), 3);
}

#[test]
fn what_only_an_auth_may_say_is_taken_out_of_every_clients_requests() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::Judges));
    let gateway = Gateway::start(&guarded(&backend, &judge, COPIES, ""));
    let forged = "Authorization: Bearer ada\r\nX-User: root\r\nx-user: admin\r\nX_User: root\r\n\
                  X-Told: all\r\nX-Tidegate-Auth: verified\r\nx_tidegate-auth: verified\r\n";
    for path in ["/public", "/guarded"] {
        let echo = gateway.connect().ask(head("GET", path, forged)).json();
        let user = if path == "/public" { &[][..] } else { &["ada"] };
        assert_eq!(seen(&echo, "x-user"), user, "{path}");
        for name in ["x_user", "x-tidegate-auth", "x_tidegate-auth"] {
            assert_eq!(seen(&echo, name), [""; 0], "{path} {name}");
        }
        assert!(!seen(&echo, "x-told").contains(&"all"), "{path}");
    }
}

#[test]
fn nobody_says_one_thing_to_the_judge_and_another_to_the_backend() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::Judges));
    let reads = "headers = [\"authorization\", \"x-team\"]";
    let gateway = Gateway::start(&guarded(&backend, &judge, reads, ""));
    // As CGI, WSGI and PHP read them, the two are one.
    let forged = "Authorization: Bearer ada\r\nX-Team: mine\r\nX_Team: yours\r\nx_other: 1\r\n";
    let echo = gateway.connect().ask(head("GET", "/guarded", forged)).json();
    assert_eq!((seen(&echo, "x-team"), seen(&echo, "x_team")), (vec!["mine"], vec![]));
    assert_eq!(seen(&echo, "x_other"), ["1"], "what nobody judges by passes");
    let twice = "Authorization: Bearer ada\r\nAuthorization: Bearer bob\r\n";
    assert_eq!(gateway.connect().ask(head("GET", "/guarded", twice)).status(), 400);
    let hidden = "Authorization: Bearer ada\r\nX-Team: mine\r\nConnection: keep-alive, X-Team\r\n";
    let answer = gateway.connect().ask(head("GET", "/guarded", hidden));
    assert_eq!((answer.status(), answer.reason()), (400, Some("bad_request")));
    assert_eq!(gateway.connect().ask(head("GET", "/public", hidden)).status(), 200, "nobody is asked there");
}

#[test]
fn a_parameter_in_the_path_leads_round_no_auth() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::Judges));
    let gateway = Gateway::start(&guarded(&backend, &judge, COPIES, "").route("all", "/", "u", ""));
    // Servlet containers read them all as something below `/guarded`.
    for path in ["/guarded;a=1/x", "/guarded;/x", "/;a/guarded/x", "/guarded;", "/;/;/guarded"] {
        let answer = gateway.get(path);
        assert_eq!((answer.status(), answer.reason()), (400, Some("bad_request")), "{path}");
    }
    assert_eq!(backend.requests(), 0);
    for path in ["/public;a=1/x", "/public/x;b", "/x;a/guarded", "/free;a"] {
        assert_eq!(gateway.get(path).status(), 200, "{path}");
    }
    assert_eq!(gateway.get("/guarded/x;a=1").status(), 401);
    assert_eq!(get_as(&gateway, "ada", "/guarded/x;a=1").status(), 200);
}

#[test]
fn nor_may_a_client_say_it_after_the_body() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::Judges));
    let gateway = Gateway::start(&guarded(&backend, &judge, COPIES, ""));
    let lines = "Transfer-Encoding: chunked\r\nTrailer: x-user, x-end\r\nTE: trailers\r\n";
    let body = "3\r\nabc\r\n0\r\nx-user: root\r\nx-end: 1\r\n\r\n";
    let echo = gateway.connect().ask(head("POST", "/public", lines) + body).json();
    assert_eq!(echo["trailers"], serde_json::json!([["x-end", "1"]]), "{echo}");
}

#[test]
fn fixed_answers_and_redirects_are_guarded_too() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::Judges));
    let config = guarded(&backend, &judge, COPIES, "").text(
        "[[routes]]\nname = \"fixed\"\npath = \"/fixed\"\nauth = \"session\"\nrespond = { body = \"secret\" }\n\
         [[routes]]\nname = \"moved\"\npath = \"/moved\"\nauth = \"session\"\nredirect = { path = \"/secret\" }",
    );
    let gateway = Gateway::start(&config);
    for (path, status) in [("/fixed", 200), ("/moved", 308)] {
        let stranger = gateway.get(path);
        assert_eq!(stranger.status(), 401);
        assert!(stranger.get("location").is_none() && !stranger.text().contains("secret"));
        assert_eq!(get_as(&gateway, "ada", path).status(), status);
    }
}

#[test]
fn upgrades_are_judged_before_they_switch() {
    let (backend, judge) = (Origin::start(Behaviour::UpgradesAndEchoes), Origin::start(Behaviour::Judges));
    let gateway = Gateway::start(&guarded(&backend, &judge, COPIES, ""));
    let mut stranger = gateway.connect();
    assert_eq!(stranger.ask(handshake("/guarded", "websocket")).status(), 401);
    assert_eq!(backend.requests(), 0);
    let mut ada = gateway.connect();
    let as_ada =
        handshake("/guarded", "websocket").replace("\r\n\r\n", "\r\nAuthorization: Bearer ada\r\n\r\n");
    assert_eq!(ada.ask(as_ada).status(), 101);
    echoes(&mut ada, b"hello");
}

#[test]
fn a_call_hears_in_its_own_words_why_it_may_not_pass() {
    let (backend, judge) = (Origin::http2(100), Origin::start(Behaviour::Judges));
    let gateway = Gateway::start(&guarded(&backend, &judge, COPIES, ""));
    run(async {
        let mut client = Http2::connect(gateway.edge()).await;
        for (authorization, expected) in [(None, "16"), (Some("Basic eA=="), "7")] {
            let mut call = client.grpc_request("/guarded/Service/Call");
            if let Some(value) = authorization {
                call = call.header("authorization", value);
            }
            let whole = client.send(call, "").await.expect("an answer");
            assert_eq!((whole.status, whole.grpc_status()), (200, Some(expected)));
        }
        judge.switch(Behaviour::ClosesWithoutAnswer);
        let call = client.grpc_request("/guarded/Service/Call");
        let whole = client.send(call, "").await.expect("an answer");
        assert_eq!((whole.grpc_status(), whole.get("x-tidegate-reason")), (Some("14"), Some("auth_failed")));
    });
}

#[test]
fn a_service_that_speaks_http2_is_asked_too() {
    let (backend, judge) = (Origin::well_behaved(), Origin::http2(100));
    let gateway = Gateway::start(&guarded(&backend, &judge, "", "protocol = \"http2\""));
    for n in 1..=3 {
        assert_eq!(gateway.get("/guarded").status(), 200);
        assert_eq!(judge.requests(), n);
    }
    assert_eq!(backend.requests(), 3);
}

#[test]
fn questions_use_each_others_connections() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::Judges));
    let gateway = Gateway::start(&guarded(&backend, &judge, COPIES, ""));
    let mut raw: Raw = gateway.connect();
    for n in 1..=5 {
        let answer = raw.ask(head("GET", "/guarded", "Authorization: Bearer ada\r\n"));
        assert_eq!(answer.status(), 200);
        assert_eq!(judge.requests(), n);
    }
    assert_eq!(judge.accepted(), 1);
}
