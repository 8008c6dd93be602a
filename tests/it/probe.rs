//! Before anybody is served by a text, it is said whether somebody is where it points: in three seconds, whatever is
//! there, and without anybody noticing.

use crate::rig::name_server::{Manner, NameServer};
use crate::support::config::Config;
use crate::support::external::finish;
use crate::support::gateway::{Gateway, Launch, cli};
use crate::support::load::Load;
use crate::support::origins::{Behaviour, Origin, SynBlackHole, refused};
use crate::support::tls::{Authority, quoted};
use crate::support::{PATIENCE, wait_for};
use serde_json::Value;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What a probe may take, and what a busy machine adds to the answer: reading and checking the text.
const IN_ALL: Duration = Duration::from_millis(4_900);

const AUTH: &str = "[[auth]]\nname = \"session\"\nupstream = \"auth\"\npath = \"/verify\"\n";

fn text(gateway: &Gateway, config: &Config) -> String {
    config.clone().render(&gateway.folder().join("state"))
}

/// What the gateway's probe of a text finds.
fn probed(gateway: &Gateway, text: &str) -> Vec<Value> {
    let answer = gateway.admin_post("/v1/config:check?probe=true", "", text);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!(answer["valid"], true, "{answer:#}");
    answer["probe"].as_array().expect("findings").clone()
}

/// The same, once there was time for everything; a busy machine may take some of it.
fn wholly_probed(gateway: &Gateway, text: &str) -> Vec<Value> {
    wait_for(3 * PATIENCE, "everything is probed in time", || {
        let findings = probed(gateway, text);
        let late = |finding: &Value| finding["what"].as_str().is_some_and(|what| what.contains("in time"));
        (!findings.iter().any(late)).then_some(findings)
    })
}

fn of<'a>(findings: &'a [Value], target: &str) -> &'a Value {
    let found = findings.iter().find(|finding| finding["target"] == target);
    found.unwrap_or_else(|| panic!("nothing of {target} in {findings:#?}"))
}

/// A simple gateway with an auth service at some address.
fn with_auth(origin: SocketAddr, server: &NameServer, auth: &str) -> Config {
    let upstream =
        format!("[[upstreams]]\nname = \"auth\"\nbackends = [{{ name = \"a\", address = \"{auth}\" }}]\n");
    Config::new()
        .gateway(&format!("resolver = [\"{}\"]", server.address()))
        .upstream("u", &[origin], "")
        .route("r", "/", "u", "auth = \"session\"")
        .text(&upstream)
        .text(AUTH)
}

/// So many backends with addresses of their own where nobody is, in upstreams of a hundred with a route each.
fn dead(count: usize, address: impl Fn(usize) -> String) -> String {
    let upstream = |at: usize| {
        let backend = |i: usize| format!("{{ name = \"b{i}\", address = \"{}\" }}", address(at * 100 + i));
        let backends: Vec<_> = (0..100.min(count - at * 100)).map(backend).collect();
        format!(
            "[[upstreams]]\nname = \"d{at}\"\nbackends = [{}]\n[[routes]]\nname = \"d{at}\"\npath_prefix = \"/d{at}\"\n\
             upstream = \"d{at}\"\n",
            backends.join(", ")
        )
    };
    (0..count.div_ceil(100)).map(upstream).collect()
}

#[test]
fn an_auth_address_that_does_not_resolve_gates_the_change_and_says_so() {
    let origin = Origin::well_behaved();
    let server = NameServer::start(Manner::NoSuchName);
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let bad = text(&gateway, &with_auth(origin.address(), &server, "auth.wrong.test:8080"));
    let before = gateway.hash();
    let findings = probed(&gateway, &bad);
    let finding = of(&findings, "auth session");
    assert_eq!((&finding["severity"], &finding["address"]), (&"gate".into(), &"auth.wrong.test:8080".into()));
    assert!(finding["what"].as_str().is_some_and(|what| what.contains("does not resolve")), "{finding}");
    assert_eq!(
        (findings.len(), gateway.hash()),
        (1, before),
        "of all else somebody is there, and nothing changed"
    );
    assert_eq!(gateway.metrics().value("tidegate_probes_total", &[("outcome", "gated")]), 1.0);

    let event = gateway.admin_get("/v1/events?follow=false&kinds=config").text();
    assert!(
        event.contains("a text was probed") && event.contains("loopback"),
        "who had it probed is told: {event}"
    );

    // From a shell, without a gateway.
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("bad.toml");
    fs::write(&file, &bad).expect("written");
    let run = |arguments: &[&str]| finish(cli(arguments).arg(&file), IN_ALL + IN_ALL);
    let said = run(&["check", "--probe"]);
    let out = String::from_utf8_lossy(&said.stdout);
    assert_eq!(said.status.code(), Some(1), "{out}");
    assert!(out.contains("gate: auth session (auth.wrong.test:8080): cannot be reached"), "{out}");
    assert!(out.contains("1 finding refuses the change"), "{out}");
    let json: Value = serde_json::from_slice(&run(&["check", "--probe", "--json"]).stdout).expect("JSON");
    assert_eq!((&json["valid"], &json["probe"][0]["severity"]), (&true.into(), &"gate".into()));
    assert_eq!(run(&["check"]).status.code(), Some(0), "the check itself asks nobody");

    server.behaves("", Manner::Says(vec![Ipv4Addr::LOCALHOST]));
    let good = with_auth(origin.address(), &server, &format!("auth.test:{}", origin.address().port()));
    assert_eq!(probed(&gateway, &text(&gateway, &good)), Vec::<Value>::new());
}

#[test]
fn whoever_refuses_is_silent_or_shows_a_wrong_certificate_is_told_as_what_it_is() {
    let authority = Authority::new();
    let own = |names: &[&str]| authority.server_config(&authority.server(names), false);
    let good = Origin::tls(Behaviour::WellBehaved, own(&["127.0.0.1"]));
    let stranger = Origin::tls(Behaviour::WellBehaved, own(&["other.test"]));
    // The system accepts for it, and nobody ever says a word.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let hole = SynBlackHole::start();
    let plain = Origin::well_behaved();
    let tls = format!("tls = {{ ca = {} }}", quoted(&authority.ca()));
    let patient = format!("{tls}\nconnect_timeout = \"1500ms\"");
    let config = Config::new()
        .upstream("good", &[good.address()], &patient)
        .upstream("stranger", &[stranger.address()], &patient)
        .upstream("silent", &[silent.local_addr().expect("bound")], &tls)
        .upstream("clear", &[plain.address()], &tls)
        .upstream("hole", &[hole.address()], "")
        .upstream("refused", &[refused()], "")
        .upstream("partly", &[plain.address(), hole.address()], "");
    let names = ["good", "stranger", "silent", "clear", "hole", "refused", "partly"];
    let config = names.iter().fold(config, |config, name| config.route(name, &format!("/{name}"), name, ""));
    let gateway = Gateway::start(&Config::simple(plain.address()));
    let before = (plain.requests(), good.requests());
    let findings = wholly_probed(&gateway, &text(&gateway, &config));
    let expected = [
        ("upstream stranger", "gate", "the TLS handshake failed"),
        ("upstream silent", "gate", "no TLS handshake within"),
        ("upstream clear", "gate", "no TLS handshake within 500 ms"),
        ("upstream hole", "gate", "no connection within"),
        ("upstream refused", "gate", "connection refused"),
        ("upstream partly backend partly1", "warning", "no connection within"),
    ];
    for (target, severity, what) in expected {
        let finding = of(&findings, target);
        assert_eq!(finding["severity"], severity, "{finding}");
        assert!(finding["what"].as_str().is_some_and(|said| said.contains(what)), "{finding}");
    }
    assert_eq!(findings.len(), expected.len(), "{findings:#?}");
    assert_eq!((plain.requests(), good.requests()), before, "no request is made");
}

#[test]
fn what_is_down_and_untouched_is_a_warning_at_most() {
    let origin = Origin::well_behaved();
    let down = refused();
    let old = Config::simple(origin.address()).upstream("old", &[down], "").route("old", "/old", "old", "");
    let gateway = Gateway::start(&old);
    let new = old.upstream("new", &[refused()], "").route("new", "/new", "new", "");
    let findings = probed(&gateway, &text(&gateway, &new));
    assert_eq!(of(&findings, "upstream old")["severity"], "warning", "{findings:#?}");
    assert_eq!(of(&findings, "upstream new")["severity"], "gate", "{findings:#?}");
}

#[test]
fn a_name_server_that_never_answers_costs_three_seconds_and_no_more() {
    let origin = Origin::well_behaved();
    let server = NameServer::start(Manner::Silent);
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let load = Load::paced(gateway.edge(), "/", 2, Duration::from_millis(10));
    let names = dead(300, |i| format!("n{i}.test:80"));
    let config = with_auth(origin.address(), &server, "auth.test:80").text(&names);
    let text = text(&gateway, &config);
    let started = Instant::now();
    let findings = probed(&gateway, &text);
    assert!(started.elapsed() < IN_ALL, "{:?}", started.elapsed());
    // Auth comes first, so it was asked for; of the many, some were not.
    let auth = of(&findings, "auth session");
    assert_eq!(auth["severity"], "gate", "{auth}");
    assert!(auth["what"].as_str().is_some_and(|what| what.contains("does not resolve")), "{auth}");
    let late =
        |finding: &&Value| finding["what"].as_str().is_some_and(|what| what.contains("not probed in time"));
    let late: Vec<_> = findings.iter().filter(late).collect();
    assert!(!late.is_empty() && late.iter().all(|finding| finding["severity"] == "warning"), "{findings:#?}");
    load.stop().only(&[200]);
}

#[test]
fn five_thousand_dead_backends_are_dialled_in_time_while_others_are_served() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let port = refused().port();
    let dead = dead(5_000, |i| format!("127.1.{}.{}:{port}", i / 200, i % 200 + 1));
    let text = text(&gateway, &Config::simple(origin.address()).text(&dead));
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(10));
    let started = Instant::now();
    let findings = probed(&gateway, &text);
    assert!(started.elapsed() < IN_ALL, "{:?}", started.elapsed());
    let gates = findings.iter().filter(|finding| finding["severity"] == "gate").count();
    let told: usize = findings.len();
    assert!(gates >= 1 && told <= 101, "{gates} of {told}");
    load.stop().only(&[200]);
    // Nothing is left open.
    gateway.settles(IN_ALL);
    assert_eq!(gateway.get("/").status(), 200);
}

#[test]
fn many_probes_at_once_wait_or_are_told_so_and_hold_up_nobody() {
    let origin = Origin::well_behaved();
    let server = NameServer::start(Manner::Silent);
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let text = text(&gateway, &with_auth(origin.address(), &server, "auth.test:80"));
    let request = format!(
        "POST /v1/config:check?probe=true HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{text}",
        gateway.admin(),
        text.len()
    );
    let load = Load::paced(gateway.edge(), "/", 2, Duration::from_millis(10));
    let asking: Vec<_> = (0..14)
        .map(|_| {
            let mut raw = crate::support::raw::Raw::connect(gateway.admin());
            raw.send(&request);
            raw
        })
        .collect();
    for _ in 0..20 {
        let started = Instant::now();
        assert_eq!(gateway.admin_get("/livez").status(), 200);
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
    let answers: Vec<_> = asking.into_iter().map(|mut raw| raw.answer(false)).collect();
    load.stop().only(&[200]);
    let done: Vec<_> = answers.iter().filter(|answer| answer.status() == 200).map(|it| it.text()).collect();
    // Two texts are checked at a time; who comes beyond that is told to come again.
    assert!(answers.iter().all(|answer| [200, 503].contains(&answer.status())));
    assert!(done.iter().any(|text| text.contains("auth session")), "{done:#?}");
    assert!(
        done.iter().all(|text| text.contains("auth session") || text.contains("other probes")),
        "{done:#?}"
    );
    let own = format!("auth.test:{}", origin.address().port());
    server.behaves("", Manner::Says(vec![Ipv4Addr::LOCALHOST]));
    let good = with_auth(origin.address(), &server, &own);
    assert_eq!(probed(&gateway, &self::text(&gateway, &good)), Vec::<Value>::new(), "the turns came back");
}

#[test]
fn what_fills_an_address_is_not_told() {
    let origin = Origin::well_behaved();
    let server = NameServer::start(Manner::NoSuchName);
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("where"), "hidden-place.test").expect("written");
    let gateway = Gateway::start_in(folder, &Config::simple(origin.address()), Launch::default());
    let config = with_auth(origin.address(), &server, "${file:where}:8080");
    let findings = probed(&gateway, &text(&gateway, &config));
    let finding = of(&findings, "auth session");
    assert_eq!(finding["address"], "${file:where}:8080", "{finding}");
    assert!(!format!("{findings:?}").contains("hidden-place") && !gateway.log().contains("hidden-place"));
}

#[test]
fn whoever_is_there_at_the_second_look_refuses_no_change() {
    let origin = Origin::well_behaved();
    let authority = Authority::new();
    let own = authority.server_config(&authority.server(&["127.0.0.1"]), false);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    // Hangs up on the first who comes, and shakes hands with the second.
    let server = std::thread::spawn(move || {
        drop(listener.accept().expect("the first look"));
        let (mut socket, _) = listener.accept().expect("the second look");
        let mut tls = rustls::ServerConnection::new(own).expect("a server");
        tls.complete_io(&mut socket).expect("a handshake");
    });
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let tls = format!("tls = {{ ca = {} }}\nconnect_timeout = \"1500ms\"", quoted(&authority.ca()));
    let config = Config::simple(origin.address()).upstream("auth", &[address], &tls).text(AUTH);
    assert_eq!(probed(&gateway, &text(&gateway, &config)), Vec::<Value>::new());
    server.join().expect("both came");
}
