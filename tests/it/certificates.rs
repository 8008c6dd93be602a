//! Renewed certificates are taken from their files, by whichever way they come there, for new handshakes and
//! without cutting anybody; what cannot be used leaves the last good ones in use and is told.

use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::get;
use crate::support::tls::{Authority, Pair, connect, handshake, is_turned_away, quoted, replace, shown};
use crate::support::{PATIENCE, wait_until};
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use rustls::HandshakeKind;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// One listener `edge` with this pair before `origin`.
fn edge(origin: SocketAddr, pair: &Pair) -> Config {
    Config::simple(origin).listener(&format!("tls = {{ certificates = [{}] }}", pair.toml()))
}

/// Another pair of the same names, beside where the first is.
fn another(authority: &Authority, names: &[&str]) -> Pair {
    let made = authority.server(names);
    let beside = |file: &Path| file.with_added_extension("next");
    let own = Pair { certificate: beside(&made.certificate), key: beside(&made.key) };
    fs::rename(made.certificate, &own.certificate).expect("moved");
    fs::rename(made.key, &own.key).expect("moved");
    own
}

/// A pair in use and its successor, of one authority.
fn two(authority: &Authority, names: &[&str]) -> (Pair, Pair) {
    let new = another(authority, names);
    (authority.server(names), new)
}

fn reasons(gateway: &Gateway) -> String {
    let ready = gateway.admin_get("/readyz");
    assert_eq!(ready.status(), 200, "a certificate is no reason to take it out");
    ready.json()["reasons"].to_string()
}

#[test]
fn a_renewed_pair_is_shown_at_once_and_nobody_is_cut() {
    let authority = Authority::new();
    let (pair, new) = two(&authority, &["edge.test"]);
    let slow = Origin::start(Behaviour::Delay(Duration::from_millis(5)));
    let gateway = Gateway::start(&edge(slow.address(), &pair));
    let client = authority.client_config(&["http/1.1"], None);
    let before = gateway.status()["version"].clone();
    let mut kept = connect(gateway.edge(), "edge.test", &client).expect("a handshake");
    assert_eq!(kept.ask(get("/")).status(), 200);
    kept.send(get("/"));
    new.certificate_to(&pair);
    new.key_to(&pair);
    wait_until(PATIENCE, "the new one is shown", || {
        shown(gateway.edge(), "edge.test", &authority.client_config(&["http/1.1"], None)) == new.leaf()
    });
    assert_eq!(kept.answer(false).status(), 200, "the request that ran goes on");
    for _ in 0..20 {
        assert_eq!(kept.ask(get("/")).status(), 200, "and so does its connection");
    }
    assert_eq!(gateway.status()["version"], before, "the text is the same");
    wait_until(PATIENCE, "it is told", || gateway.log().contains("certificate files renewed"));
    let events = gateway.admin_get("/v1/events?follow=false&kinds=certificate").json();
    assert_eq!(events["items"][0]["what"], "renewed", "{events}");
}

/// Puts a pair into a folder as Kubernetes mounts a secret: a version in a folder of its own, behind a link.
fn publish(folder: &Path, version: &str, pair: &Pair) {
    let (own, link) = (folder.join(version), folder.join("..data_tmp"));
    fs::create_dir(&own).expect("made");
    fs::copy(&pair.certificate, own.join("tls.crt")).expect("copied");
    fs::copy(&pair.key, own.join("tls.key")).expect("copied");
    symlink(version, &link).expect("linked");
    let before = fs::read_link(folder.join("..data"));
    fs::rename(link, folder.join("..data")).expect("swapped");
    if let Ok(before) = before {
        fs::remove_dir_all(folder.join(before)).expect("removed");
    }
}

#[test]
fn a_kubernetes_secret_is_renewed_by_the_swap_of_its_link() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    publish(folder.path(), "..1", &another(&authority, &["edge.test"]));
    for file in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(file), folder.path().join(file)).expect("linked");
    }
    let mounted = Pair { certificate: folder.path().join("tls.crt"), key: folder.path().join("tls.key") };
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&edge(origin.address(), &mounted));
    for version in ["..2", "..3", "..4"] {
        let new = another(&authority, &["edge.test"]);
        publish(folder.path(), version, &new);
        wait_until(PATIENCE, "the new one is shown", || {
            shown(gateway.edge(), "edge.test", &authority.client_config(&["http/1.1"], None)) == new.leaf()
        });
    }
    assert_eq!(reasons(&gateway), "[]");
}

#[test]
fn a_folder_that_is_a_link_is_renewed_by_its_swap() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let release = |version: &str| {
        let (own, link) = (folder.path().join(version), folder.path().join("next"));
        let new = another(&authority, &["edge.test"]);
        fs::create_dir(&own).expect("made");
        fs::copy(&new.certificate, own.join("cert.pem")).expect("copied");
        fs::copy(&new.key, own.join("key.pem")).expect("copied");
        symlink(version, &link).expect("linked");
        fs::rename(link, folder.path().join("current")).expect("swapped");
        new
    };
    release("1");
    let current = folder.path().join("current");
    let pair = Pair { certificate: current.join("cert.pem"), key: current.join("key.pem") };
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&edge(origin.address(), &pair));
    for version in ["2", "3"] {
        let new = release(version);
        wait_until(PATIENCE, "the new one is shown", || {
            shown(gateway.edge(), "edge.test", &authority.client_config(&["http/1.1"], None)) == new.leaf()
        });
    }
}

#[test]
fn an_expired_certificate_is_better_than_none_at_a_start_only() {
    let authority = Authority::new();
    let expired = authority.sign_until(&["edge.test"], ServerAuth, SystemTime::now() - DAY);
    let origin = Origin::well_behaved();
    let config = edge(origin.address(), &expired);
    let gateway = Gateway::start(&config);
    let client = authority.client_config(&["http/1.1"], None);
    let refused = handshake(gateway.edge(), "edge.test", &client).expect_err("it has expired").to_string();
    assert!(refused.contains("certificate expired"), "it is shown: {refused}");
    assert!(reasons(&gateway).contains("expired at"));
    wait_until(PATIENCE, "the log says so", || gateway.log().contains("certificate has expired"));
    let second = format!(
        "[[listeners]]\nname = \"second\"\naddress = \"127.0.0.1:0\"\ntls = {{ certificates = [{}] }}\n",
        expired.toml()
    );
    gateway.write(&config.text(&second));
    wait_until(PATIENCE, "a change that names it is refused", || {
        gateway.metrics().value("tidegate_config_last_apply_successful", &[]) == 0.0
    });
}

#[test]
fn a_key_that_does_not_fit_keeps_the_last_good_pair_until_it_follows() {
    let authority = Authority::new();
    let (pair, new) = two(&authority, &["edge.test"]);
    let (other, other_new) = two(&authority, &["other.test"]);
    let origin = Origin::well_behaved();
    let config = edge(origin.address(), &pair).text(&format!(
        "[[listeners]]\nname = \"other\"\naddress = \"127.0.0.1:0\"\ntls = {{ certificates = [{}] }}\n",
        other.toml()
    ));
    let gateway = Gateway::start(&config);
    let client = || authority.client_config(&["http/1.1"], None);
    let old = shown(gateway.edge(), "edge.test", &client());
    let refused =
        |listener| gateway.metrics().value("tidegate_certificate_refused", &[("listener", listener)]);
    assert_eq!(refused("edge"), 0.0);

    new.certificate_to(&pair);
    wait_until(PATIENCE, "it is refused", || refused("edge") == 1.0);
    other_new.certificate_to(&other);
    other_new.key_to(&other);
    wait_until(PATIENCE, "another listener takes its own", || {
        shown(gateway.listener("other"), "other.test", &client()) == other_new.leaf()
    });
    assert_eq!(shown(gateway.edge(), "edge.test", &client()), old);
    let why = reasons(&gateway);
    assert!(why.contains("listener edge") && why.contains(&pair.key.display().to_string()), "{why}");
    assert_eq!(gateway.status()["degraded"], false);
    let failures =
        gateway.metrics().value("tidegate_certificate_reload_failures_total", &[("listener", "edge")]);
    assert_eq!(failures, 1.0, "told once, however often it is looked at");
    gateway.hup();
    gateway.change(&config.clone().route("more", "/more", "u", ""));
    assert_eq!(shown(gateway.edge(), "edge.test", &client()), old, "it holds up no change of something else");

    new.key_to(&pair);
    wait_until(PATIENCE, "the key has followed", || {
        shown(gateway.edge(), "edge.test", &client()) == new.leaf()
    });
    wait_until(PATIENCE, "nothing is left to say", || reasons(&gateway) == "[]" && refused("edge") == 0.0);
}

#[test]
fn files_that_vanish_or_expire_keep_the_last_good_pair() {
    let authority = Authority::new();
    let yesterday = SystemTime::now() - DAY;
    let expired = authority.sign_until(&["expired.test"], ServerAuth, yesterday);
    let pair = authority.server(&["edge.test"]);
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&edge(origin.address(), &pair));
    let client = || authority.client_config(&["http/1.1"], None);
    let old = shown(gateway.edge(), "edge.test", &client());
    fs::remove_file(&pair.key).expect("removed");
    wait_until(PATIENCE, "it is missed", || reasons(&gateway).contains("edge.test.key"));
    expired.certificate_to(&pair);
    expired.key_to(&pair);
    wait_until(PATIENCE, "its end is told", || reasons(&gateway).contains("expired at"));
    assert_eq!(shown(gateway.edge(), "edge.test", &client()), old);
}

#[test]
fn a_replaced_client_ca_is_not_passed_with_an_old_session() {
    let authority = Authority::new();
    let pair = authority.server(&["edge.test"]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (old, new) = (Authority::new(), Authority::new());
        let origin = Origin::well_behaved();
        let tls = format!("tls = {{ certificates = [{}], client_ca = {} }}", pair.toml(), quoted(&old.ca()));
        let gateway = Gateway::start(&Config::simple(origin.address()).listener(&tls));
        let client = |pair: &Pair| authority.client_config_of(&[version], &["http/1.1"], Some(pair));
        let known = client(&old.client("known"));
        let enter = || {
            let mut stream = handshake(gateway.edge(), "edge.test", &known)?;
            stream.write_all(get("/").as_bytes())?;
            assert!(stream.read(&mut [0; 1024])? > 0);
            std::io::Result::Ok(stream)
        };
        enter().expect("a session is made");
        let resumed = enter().expect("and resumed");
        assert_eq!(resumed.conn.handshake_kind(), Some(HandshakeKind::Resumed));
        let mut kept = connect(gateway.edge(), "edge.test", &known).expect("a handshake");
        let next = new.client("next");
        replace(&old.ca(), &new.ca());
        wait_until(PATIENCE, "the new authority's clients come in", || {
            !is_turned_away(handshake(gateway.edge(), "edge.test", &client(&next)))
        });
        assert!(is_turned_away(handshake(gateway.edge(), "edge.test", &known)), "{version:?}");
        assert_eq!(kept.ask(get("/")).status(), 200, "who was let in before stays");
    }
}

/// An upstream that trusts `ca`, showing `client`.
fn backend(origin: &Origin, ca: &Path, client: &Pair) -> Config {
    let tls = format!(
        "protocol = \"auto\"\ntls = {{ server_name = \"orders.test\", ca = {}, certificate = {}, key = {} }}",
        quoted(ca),
        quoted(&client.certificate),
        quoted(&client.key)
    );
    Config::new().upstream("orders", &[origin.address()], &tls).route("r", "/", "orders", "")
}

#[test]
fn a_backends_authority_and_client_certificate_are_replaced_under_load() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = authority.server(&["orders.test"]);
    let origin =
        Origin::tls(Behaviour::Delay(Duration::from_millis(5)), authority.server_config(&server, true));
    let (first, last) = (SystemTime::now() + 30 * DAY, SystemTime::now() + 60 * DAY);
    let client = authority.sign_until(&["first"], ClientAuth, first);
    let next = authority.sign_until(&["next"], ClientAuth, last);
    let ca = client.certificate.with_file_name("trusted.pem");
    fs::copy(authority.ca(), &ca).expect("copied");
    let gateway = Gateway::start(&backend(&origin, &ca, &client));
    let before = gateway.status()["version"].clone();
    let end = || {
        let labels = [("upstream", "orders"), ("certificate", client.certificate.to_str().expect("a path"))];
        UNIX_EPOCH + Duration::from_secs_f64(gateway.metrics().value(END, &labels))
    };
    const END: &str = "tidegate_certificate_expiry_timestamp_seconds";
    assert!(end() < first + DAY);
    let load = Load::paced(gateway.edge(), "/", 8, Duration::from_millis(2));
    wait_until(PATIENCE, "there is load", || origin.requests() > 50);
    next.certificate_to(&client);
    next.key_to(&client);
    wait_until(PATIENCE, "the new certificate is in use", || end() > first + DAY);
    let (seen, accepted) = (origin.requests(), origin.accepted());
    wait_until(PATIENCE, "there is load", || origin.requests() > seen + 50);
    assert!(origin.accepted() <= accepted + 16, "its connections are kept: {}", origin.accepted());

    // First both authorities are trusted, as in every orderly change.
    let both =
        fs::read_to_string(authority.ca()).expect("read") + &fs::read_to_string(stranger.ca()).expect("read");
    let bundle = ca.with_file_name("both.pem");
    fs::write(&bundle, both).expect("written");
    let (seen, accepted) = (origin.requests(), origin.accepted());
    replace(&ca, &bundle);
    wait_until(PATIENCE, "new connections are made", || origin.accepted() > accepted);
    wait_until(PATIENCE, "there is load", || origin.requests() > seen + 50);
    load.stop().only(&[200]);
    wait_until(PATIENCE, "the old connections are gone", || origin.open() <= 8);
    assert_eq!(gateway.status()["version"], before, "the text is the same");

    replace(&ca, &stranger.ca());
    wait_until(PATIENCE, "no connection outlives its trust", || gateway.get("/").status() == 502);
    let tls = &gateway.upstreams()[0]["tls"];
    assert!(tls["refused"].is_null() && tls["reload_failures"].is_u64(), "{tls}");
}

#[test]
fn an_http2_backends_client_certificate_is_replaced_under_load() {
    let authority = Authority::new();
    let server = authority.server(&["orders.test"]);
    let origin = Origin::tls_http2(100, authority.server_config(&server, true));
    let (used, clients) = (authority.client("used"), [authority.client("one"), authority.client("two")]);
    let gateway = Gateway::start(&backend(&origin, &authority.ca(), &used));
    let load = Load::paced(gateway.edge(), "/", 8, Duration::from_millis(1));
    wait_until(PATIENCE, "there is load", || origin.requests() > 50);
    for n in 0..10 {
        clients[n % 2].certificate_to(&used);
        clients[n % 2].key_to(&used);
        let renewed = || gateway.log().matches("certificate files renewed").count();
        wait_until(PATIENCE, "it is in use", || renewed() > n);
        let seen = origin.requests();
        wait_until(PATIENCE, "there is load", || origin.requests() > seen + 50);
    }
    load.stop().only(&[200]);
    assert!(origin.accepted() > 10, "each is a new identity");
    // One for each client at most: until a backend has said how many streams it takes, each opens its own.
    wait_until(PATIENCE, "the old connections are gone", || origin.open() <= 8);
}

#[test]
fn a_hundred_renewals_leave_nothing_behind() {
    let authority = Authority::new();
    let server = authority.server(&["orders.test"]);
    let origin = Origin::tls(Behaviour::WellBehaved, authority.server_config(&server, true));
    let (pair, clients) =
        (authority.server(&["edge.test"]), [authority.client("one"), authority.client("two")]);
    let used = authority.client("used");
    let listener = format!("tls = {{ certificates = [{}] }}", pair.toml());
    let gateway = Gateway::start(&backend(&origin, &authority.ca(), &used).listener(&listener));
    let client = authority.client_config(&["http/1.1"], None);
    let mut raw = connect(gateway.edge(), "edge.test", &client).expect("a handshake");
    assert_eq!(raw.ask(get("/")).status(), 200);
    let descriptors = || gateway.metrics().value("process_open_fds", &[]);
    let renewed = || gateway.log().matches("certificate files renewed").count();
    let before = descriptors();
    for n in 0..100 {
        clients[n % 2].certificate_to(&used);
        clients[n % 2].key_to(&used);
        gateway.hup();
        wait_until(PATIENCE, "it is in use", || renewed() > n);
        assert_eq!(raw.ask(get("/")).status(), 200);
    }
    assert!(origin.accepted() >= 100, "each is a new identity");
    // Half of what one a renewal would be: threads that were still starting at `before` have opened theirs since.
    wait_until(PATIENCE, "pools of the past are closed", || {
        origin.open() <= 2 && descriptors() <= before + 50.0
    });
}

#[test]
fn the_end_of_a_certificate_is_told_in_time() {
    let authority = Authority::new();
    let end = SystemTime::now() + 5 * DAY;
    let (soon, late) = (
        authority.sign_until(&["soon.test"], ServerAuth, end),
        authority.server(&["late.test", "*.late.test"]),
    );
    let origin = Origin::well_behaved();
    let tls = format!("tls = {{ certificates = [{}, {}, {}] }}", soon.toml(), late.toml(), soon.toml());
    let gateway = Gateway::start(&Config::simple(origin.address()).listener(&tls));
    let path = soon.certificate.to_str().expect("a path");
    let labels = [("listener", "edge"), ("certificate", path)];
    let told = gateway.metrics().value("tidegate_certificate_expiry_timestamp_seconds", &labels);
    let wanted = end.duration_since(UNIX_EPOCH).expect("later").as_secs_f64();
    assert!((told - wanted).abs() < 2.0, "{told} is not {wanted}");
    let certificates = &gateway.status()["listeners"][0]["tls"]["certificates"];
    assert_eq!(certificates[0]["certificate"], path);
    assert_eq!(certificates[1]["names"], serde_json::json!(["late.test", "*.late.test"]));
    assert_eq!(certificates[1]["not_after"], "4096-01-01T00:00:00Z");
    gateway.hup();
    wait_until(PATIENCE, "the log warns", || gateway.log().contains("expires soon"));
    gateway.change(&Config::simple(origin.address()).listener(&tls).route("more", "/more", "u", ""));
    assert_eq!(gateway.log().matches("expires soon").count(), 1, "once a day");
    assert!(!gateway.log().contains("late.pem"));
}

#[test]
fn a_key_that_others_may_read_is_told_of_once_and_never_shown() {
    let authority = Authority::new();
    let (open, shut) = (authority.server(&["open.test"]), authority.server(&["shut.test"]));
    fs::set_permissions(&open.key, fs::Permissions::from_mode(0o640)).expect("set");
    fs::set_permissions(&shut.key, fs::Permissions::from_mode(0o600)).expect("set");
    let origin = Origin::well_behaved();
    let tls = format!("tls = {{ certificates = [{}, {}] }}", open.toml(), shut.toml());
    let gateway = Gateway::start(&Config::simple(origin.address()).listener(&tls));
    let told = |key: &Path| {
        let log = gateway.log();
        let about = |line: &&str| {
            line.contains("may read this private key") && line.contains(key.to_str().expect("a path"))
        };
        log.lines().filter(about).count()
    };
    wait_until(PATIENCE, "it is told", || told(&open.key) == 1);
    // A key that lost its line ends.
    let key = fs::read_to_string(&open.key).expect("read");
    fs::write(&open.key, key.replace('\n', " ")).expect("written");
    wait_until(PATIENCE, "it is refused", || reasons(&gateway).contains("open.test.key"));
    gateway.hup();
    gateway.change(&Config::simple(origin.address()).listener(&tls).route("more", "/more", "u", ""));
    assert_eq!((told(&open.key), told(&shut.key)), (1, 0));
    let secret = key.lines().nth(1).expect("a line of the key");
    let numbers = format!("{:?}", secret.as_bytes());
    for text in [gateway.log(), gateway.admin_get("/readyz").text(), gateway.admin_get("/v1/status").text()] {
        assert!(!text.contains(secret) && !text.contains(numbers.trim_matches(['[', ']'])));
    }
}
