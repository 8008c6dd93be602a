//! Signed tokens: who passes by them, as whom, and what becomes of requests while whoever publishes the keys rotates
//! them, hangs, breaks or is gone.

use crate::support::client::{Http2, grpc_message};
use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::load::Load;
use crate::support::origins::exchange::header_seen;
use crate::support::origins::{Behaviour, Origin, refused};
use crate::support::raw::Answer;
use crate::support::tls::Authority;
use crate::support::tokens::{Signer, now, publishes, says, set};
use crate::support::{PATIENCE, run, wait_until};
use serde_json::{Value, json};
use std::fs;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Lines for an auth that takes tokens of the tests' issuer.
const RULES: &str = "issuers = [\"https://issuer.test\"]\naudiences = [\"orders\"]\n\
                     forward = { \"x-user\" = \"sub\", \"x-roles\" = \"roles\" }";

/// A public and a guarded route to `u`; `keys` says where keys come from, and more.
fn guarded(backend: &Origin, keys: &str) -> Config {
    let timeout = if keys.contains("\ntimeout") { "" } else { "timeout = \"5s\"" };
    Config::new()
        .upstream("u", &[backend.address()], "")
        .text(&format!("[[auth]]\nname = \"token\"\nkind = \"jwt\"\n{RULES}\n{timeout}\n{keys}\n"))
        .route("public", "/public", "u", "")
        .route("guarded", "/guarded", "u", "auth = \"token\"")
}

fn at(issuer: &Origin) -> String {
    format!("jwks_url = \"http://{}/keys?x=1\"", issuer.address())
}

fn with(gateway: &Gateway, token: &str, lines: &str) -> Answer {
    gateway.connect().ask(format!(
        "GET /guarded HTTP/1.1\r\nHost: edge.test\r\nAuthorization: Bearer {token}\r\n{lines}\r\n"
    ))
}

fn status(gateway: &Gateway, token: &str) -> u16 {
    with(gateway, token, "").status()
}

fn ada() -> Value {
    json!({ "sub": "ada" })
}

/// The auth as operators see it.
fn seen(gateway: &Gateway) -> Value {
    gateway.status()["auths"][0].clone()
}

#[test]
fn whoever_shows_a_good_token_passes_as_its_subject_and_nobody_else_does() {
    let (backend, key) = (Origin::well_behaved(), Signer::rsa("a"));
    let issuer = Origin::start(publishes(&[&key]));
    let gateway = Gateway::start(&guarded(&backend, &at(&issuer)));
    let token = key.token(&json!({ "sub": "ada", "roles": ["x", "y"] }));
    let answer = with(&gateway, &token, "X-User: root\r\nX_User: root\r\n");
    assert_eq!(answer.status(), 200, "{answer:?}");
    let echo = answer.json();
    assert_eq!((header_seen(&echo, "x-user"), header_seen(&echo, "x-roles")), (Some("ada"), Some("x,y")));
    assert!(!echo.to_string().contains("root"), "{echo}");
    let spoofed = "GET /public HTTP/1.1\r\nHost: edge.test\r\nX-Roles: admin\r\n\r\n";
    assert_eq!(header_seen(&gateway.connect().ask(spoofed).json(), "x-roles"), None, "on every route");
    let line = gateway.logged("its line", |line| line["route"] == "guarded");
    assert_eq!(line["identity"], "ada");
    assert!(!gateway.log().contains(&token), "a token is in no log");
    for (bad, why) in [
        (key.unsigned(), "malformed"),
        (key.confused(), "algorithm"),
        (key.token(&json!({ "exp": now() - 60 })), "expired"),
        (key.token(&json!({ "nbf": now() + 600 })), "not valid yet"),
        (key.token(&json!({ "aud": "billing" })), "not meant for"),
        (key.token(&json!({ "iss": "https://evil.test" })), "issuer"),
        (Signer::rsa("a").token(&ada()), "signature"),
        (token[..=token.rfind('.').expect("a dot")].to_owned(), "signature"),
        ("garbage".to_owned(), "malformed"),
    ] {
        let answer = with(&gateway, &bad, "");
        assert_eq!((answer.status(), answer.reason()), (401, Some("unauthenticated")), "{why}");
        let challenge = answer.get("www-authenticate").expect("what is wrong").to_owned();
        assert!(challenge.contains("invalid_token") && challenge.contains(why), "{why}: {challenge}");
    }
    let nobody = gateway.get("/guarded");
    assert_eq!((nobody.status(), nobody.get("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(backend.requests(), 2);
    assert_eq!(status(&gateway, &token), 200);
    let count = |result| {
        gateway.metrics().value("tidegate_auth_requests_total", &[("auth", "token"), ("result", result)])
    };
    assert_eq!((count("allowed"), count("cached"), count("denied")), (1.0, 1.0, 10.0));
}

#[test]
fn grpc_is_told_in_its_own_words() {
    let (backend, key) = (Origin::http2(100), Signer::ec("a"));
    let issuer = Origin::start(publishes(&[&key]));
    let config = guarded(&backend, &format!("{}\nrequire_scopes = [\"write\"]", at(&issuer)));
    let gateway = Gateway::start(&config);
    let stranger = run(async {
        let mut client = Http2::connect(gateway.edge()).await;
        client.grpc("/guarded/Call", b"hello").await.expect("an answer")
    });
    assert_eq!((stranger.status, stranger.grpc_status()), (200, Some("16")));
    let poor = run(async {
        let mut client = Http2::connect(gateway.edge()).await;
        let token = key.token(&json!({ "scope": "read writes" }));
        let request = client.grpc_request("/guarded/Call").header("authorization", format!("Bearer {token}"));
        client.send(request, grpc_message(b"hello")).await.expect("an answer")
    });
    assert_eq!((poor.status, poor.grpc_status()), (200, Some("7")));
    assert_eq!(backend.requests(), 0);
}

#[test]
fn a_rotated_key_is_known_at_once_and_a_flood_of_unknown_ones_is_not_the_issuers() {
    let (backend, old, new) = (Origin::well_behaved(), Signer::ec("old"), Signer::ec("new"));
    let issuer = Origin::start(publishes(&[&old]));
    let gateway = Gateway::start(&guarded(&backend, &at(&issuer)));
    assert_eq!(status(&gateway, &old.token(&ada())), 200);
    issuer.switch(publishes(&[&old, &new]));
    assert_eq!(status(&gateway, &new.token(&ada())), 200, "asked for at once");
    let before = issuer.requests();
    assert_eq!(before, 2);
    let started = Instant::now();
    for n in 0..200 {
        assert_eq!(status(&gateway, &old.token_of(&format!("made-up-{n}"), &ada())), 401);
    }
    let allowed = 1 + started.elapsed().as_secs() / 10;
    assert!(issuer.requests() - before <= allowed, "{} fetches", issuer.requests() - before);
    assert_eq!(status(&gateway, &old.token(&ada())), 200);
}

#[test]
fn the_last_good_keys_stay_whatever_their_source_does_and_are_there_at_the_next_start() {
    let (backend, key) = (Origin::well_behaved(), Signer::ec("a"));
    let issuer = Origin::start(publishes(&[&key]));
    let config =
        guarded(&backend, &format!("{}\nrefresh = \"20ms\"\nfetch_timeout = \"100ms\"", at(&issuer)));
    let gateway = Gateway::start(&config);
    assert_eq!(status(&gateway, &key.token(&ada())), 200);
    for bad in [
        says("500 Internal Server Error", "broken"),
        says("200 OK", "<html>"),
        says("200 OK", "{\"keys\":[]}"),
        says("200 OK", &format!("{{\"keys\":[]}}{}", " ".repeat(300_000))),
        says("302 Found", ""),
        Behaviour::AcceptsAndNeverAnswers,
        Behaviour::ClosesWithoutAnswer,
        Behaviour::SendsGarbage,
    ] {
        issuer.switch(bad);
        let failed = || {
            gateway
                .metrics()
                .value("tidegate_auth_key_fetches_total", &[("auth", "token"), ("outcome", "failed")])
        };
        let before = failed();
        wait_until(PATIENCE, &format!("{bad:?} was met"), || failed() >= before + 2.0);
        assert_eq!(status(&gateway, &key.token(&json!({ "sub": "ada", "n": now() }))), 200, "{bad:?}");
    }
    let told = seen(&gateway);
    assert_eq!(told["keys"]["keys"], 1, "{told}");
    assert!(told["keys"]["failure"].as_str().is_some_and(|why| !why.is_empty()), "{told}");
    assert!(gateway.log().contains("the last 1 stay in use"), "{}", gateway.log());
    // Across a change of the rest of the file, and of the auth itself.
    gateway.change(&guarded(&backend, &format!("{}\nleeway = \"1s\"", at(&issuer))));
    assert_eq!(status(&gateway, &key.token(&ada())), 200);
    // And a start without a network.
    let state = gateway.folder().join("state");
    wait_until(PATIENCE, "it is on disk", || {
        let files = fs::read_dir(&state).expect("a folder").filter_map(Result::ok);
        files.map(|file| file.file_name()).any(|name| name.to_string_lossy().starts_with("jwks-"))
    });
    drop(issuer);
    let gateway = gateway.restart(Launch::default());
    assert_eq!(status(&gateway, &key.token(&ada())), 200);
}

#[test]
fn without_any_keys_a_guarded_route_says_so_at_once_and_the_others_do_not_notice() {
    let (backend, key) = (Origin::well_behaved(), Signer::ec("a"));
    let config = guarded(&backend, &format!("jwks_url = \"http://{}/keys\"", refused()));
    let gateway = Gateway::start(&config);
    wait_until(PATIENCE, "the fetch has failed", || !seen(&gateway)["keys"]["failure"].is_null());
    let started = Instant::now();
    let answer = with(&gateway, &key.token(&ada()), "");
    assert_eq!((answer.status(), answer.reason()), (503, Some("auth_failed")));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(gateway.get("/guarded").status(), 401, "without a token nobody passes in any case");
    assert_eq!(gateway.get("/public").status(), 200);
    assert_eq!(gateway.admin_get("/readyz").status(), 200);
    assert!(
        gateway.status()["reasons"].to_string().contains("auth token has no keys"),
        "{}",
        gateway.status()
    );
}

#[test]
fn keys_that_hang_hold_nobody_longer_than_the_timeout_and_no_other_route() {
    let (backend, key) = (Origin::well_behaved(), Signer::ec("a"));
    let issuer = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let keys = format!("{}\nfetch_timeout = \"60s\"\ntimeout = \"50ms\"", at(&issuer));
    let gateway = Gateway::start(&guarded(&backend, &keys));
    issuer.holds(1);
    let load = Load::closed(gateway.edge(), "/public", 2);
    for _ in 0..20 {
        let answer = with(&gateway, &key.token(&ada()), "");
        assert_eq!((answer.status(), answer.reason()), (503, Some("auth_failed")));
    }
    let report = load.stop();
    report.only(&[200]);
    assert_eq!(issuer.requests(), 1, "one fetch, however many wait for it");
}

#[test]
fn keys_come_from_a_server_with_tls_from_an_upstream_or_from_a_file() {
    let (backend, key) = (Origin::well_behaved(), Signer::ec("a"));
    let authority = Authority::new();
    let secure = Origin::tls(
        publishes(&[&key]),
        authority.server_config(&authority.server(&["localhost", "127.0.0.1"]), false),
    );
    let plain = Origin::start(publishes(&[&key]));
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("keys.json");
    fs::write(&file, set(&[&key])).expect("it is written");
    let by_url = format!(
        "jwks_url = \"https://localhost:{}/keys\"\nca = \"{}\"",
        secure.address().port(),
        authority.ca().display()
    );
    for (keys, upstream) in [
        (by_url, None),
        ("upstream = \"issuer\"\npath = \"/keys\"".to_owned(), Some(&plain)),
        (format!("jwks_file = \"{}\"", file.display()), None),
    ] {
        let config = guarded(&backend, &keys);
        let config =
            upstream.map_or(config.clone(), |origin| config.upstream("issuer", &[origin.address()], ""));
        let gateway = Gateway::start(&config);
        assert_eq!(status(&gateway, &key.token(&ada())), 200, "{keys}");
    }
}

#[test]
fn a_key_set_whose_file_is_gone_at_a_start_is_the_one_that_was_kept() {
    let (backend, key) = (Origin::well_behaved(), Signer::ec("a"));
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("keys.json"), set(&[&key])).expect("it is written");
    let config = guarded(&backend, "jwks_file = \"keys.json\"");
    let gateway = Gateway::start_in(folder, &config, Launch::default());
    let file = gateway.folder().join("keys.json");
    let gateway = gateway.restart_after(Launch::default(), || fs::remove_file(file).expect("it is gone"));
    assert_eq!(status(&gateway, &key.token(&ada())), 200);
}

/// Two hundred and fifty tokens that differ, none of them good.
fn forge(gateway: &Gateway, token: &str, client: u32) {
    let (head, signature) = token.rsplit_once('.').expect("a signature");
    let mut connection = gateway.connect();
    for n in 0..250 {
        let forged = format!("{head}.{client}{n:04}{}", &signature[5..]);
        let answer = connection.ask(format!(
            "GET /guarded HTTP/1.1\r\nHost: edge.test\r\nAuthorization: Bearer {forged}\r\n\r\n"
        ));
        assert!([401, 503].contains(&answer.status()), "{answer:?}");
    }
}

#[test]
fn a_flood_of_tokens_leaves_other_routes_as_fast_as_they_are() {
    let (backend, key) = (Origin::well_behaved(), Signer::rsa("a"));
    let issuer = Origin::start(publishes(&[&key]));
    let gateway = Gateway::start(&guarded(&backend, &at(&issuer)));
    assert_eq!(status(&gateway, &key.token(&ada())), 200);
    // Each is another token to the gateway, and costs a verification.
    let token = key.token(&ada());
    let others = Load::closed(gateway.edge(), "/public", 2);
    std::thread::scope(|scope| {
        for client in 0..8 {
            let (gateway, token) = (&gateway, &token);
            scope.spawn(move || forge(gateway, token, client));
        }
    });
    let report = others.stop();
    report.only(&[200]);
    let passed = backend.requests() - 1;
    assert!(passed.abs_diff(report.count(200) as u64) <= 2, "{passed} of the flood or the others");
    let slowest = report.percentile(200, 99);
    assert!(slowest < Duration::from_millis(250), "{slowest:?} on a machine shared with the load");
}

#[test]
fn an_identity_decides_the_class_but_never_a_higher_one() {
    let (backend, key) = (Origin::well_behaved(), Signer::ec("a"));
    let issuer = Origin::start(publishes(&[&key]));
    let classes = "classes = [{ claim = \"tier\", value = \"free\", class = \"sheddable\" }, \
                   { claim = \"tier\", value = \"gold\", class = \"critical\" }]";
    let gateway = Gateway::start(&guarded(&backend, &format!("{}\n{classes}", at(&issuer))));
    for (tier, class) in [("free", "sheddable"), ("gold", "default"), ("none", "default")] {
        assert_eq!(status(&gateway, &key.token(&json!({ "sub": tier, "tier": tier }))), 200);
        assert_eq!(gateway.logged("its line", |line| line["identity"] == tier)["class"], class);
    }
    let shed = gateway
        .metrics()
        .get("tidegate_shed_total", &[("upstream", "u"), ("class", "sheddable"), ("reason", "class_limit")]);
    assert_eq!(shed, Some(0.0), "it would be counted in its class");
}
