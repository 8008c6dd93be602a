//! A version that somebody applied is treated as a file's is: its certificates, its doors, the levers it changes
//! something under, and what the service manager hears.

use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::operator::{Listener, change};
use crate::support::origins::Origin;
use crate::support::raw::{Answer, fetch};
use crate::support::tls::{Authority, Pair, handshake, shown};
use crate::support::{PATIENCE, wait_until};
use rcgen::ExtendedKeyUsagePurpose::ServerAuth;
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

fn post(gateway: &Gateway, config: &Config) -> Answer {
    let text = config.render(&gateway.folder().join("state"));
    gateway.admin_post("/v1/versions?now=true", "", text)
}

fn applied(gateway: &Gateway, config: &Config) -> Value {
    let answer = post(gateway, config);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

const PLAIN: &str = "[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n";

/// `edge` shows this pair; `plain` is beside it.
fn secured(origin: &Origin, pair: &Pair) -> Config {
    let tls = format!("tls = {{ certificates = [{}] }}", pair.toml());
    Config::simple(origin.address()).listener(&tls).text(PLAIN)
}

fn plain(origin: &Origin) -> Config {
    Config::simple(origin.address()).text(PLAIN)
}

#[test]
fn certificates_of_an_applied_version_are_watched_and_bad_ones_are_refused() {
    let authority = Authority::new();
    let pair = authority.server(&["edge.test"]);
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&plain(&origin));
    let yesterday = SystemTime::now() - Duration::from_secs(86_400);
    let expired = authority.sign_until(&["old.test"], ServerAuth, yesterday);
    let answer = post(&gateway, &secured(&origin, &expired));
    assert_eq!(answer.status(), 422, "{}", answer.text());
    assert!(answer.text().contains("old.test.pem"), "{}", answer.text());
    assert_eq!(gateway.get("/").status(), 200, "nothing changed");

    applied(&gateway, &secured(&origin, &pair));
    let client = || authority.client_config(&["http/1.1"], None);
    assert_eq!(shown(gateway.edge(), "edge.test", &client()), pair.leaf());
    // In the place of the first one.
    let new = authority.server(&["edge.test"]);
    wait_until(PATIENCE, "the new one is shown", || {
        shown(gateway.edge(), "edge.test", &client()) == new.leaf()
    });
}

#[test]
fn an_applied_version_starts_again_without_its_certificates() {
    let authority = Authority::new();
    let pair = authority.server(&["edge.test"]);
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&plain(&origin));
    let hash = applied(&gateway, &secured(&origin, &pair))["version"]["hash"].clone();
    let good = fs::read(&pair.key).expect("read");
    fs::write(&pair.key, "").expect("written");
    let gateway = gateway.restart(Launch::default());
    let version = gateway.status()["version"].clone();
    assert_eq!((&version["hash"], &version["overrules_file"]), (&hash, &true.into()));
    assert_eq!(fetch(gateway.listener("plain"), "/").status(), 200);
    let trusting = authority.client_config(&["http/1.1"], None);
    assert!(handshake(gateway.edge(), "edge.test", &trusting).is_err());
    fs::write(&pair.key, good).expect("written");
    wait_until(PATIENCE, "the door opens", || handshake(gateway.edge(), "edge.test", &trusting).is_ok());
}

#[test]
fn an_overruled_file_may_have_lost_its_certificates() {
    let authority = Authority::new();
    let pair = authority.server(&["edge.test"]);
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&secured(&origin, &pair));
    let hash = applied(&gateway, &plain(&origin))["version"]["hash"].clone();
    fs::remove_file(&pair.key).expect("removed");
    let gateway = gateway.restart(Launch::default());
    let status = gateway.status();
    assert_eq!((&status["version"]["hash"], &status["degraded"]), (&hash, &false.into()));
    assert_eq!(gateway.get("/").status(), 200);
}

#[test]
fn what_an_applied_version_changes_under_a_lever_is_answered_and_an_event() {
    let origins = [Origin::well_behaved(), Origin::well_behaved()];
    let of = |addresses: &[SocketAddr]| Config::new().upstream("u", addresses, "").route("r", "/", "u", "");
    let mut addresses = origins.each_ref().map(Origin::address);
    let gateway = Gateway::start(&of(&addresses));
    let ramp = "/v1/upstreams/u/backends/u0/ramp";
    assert_eq!(change(gateway.admin(), "PUT", ramp, &json!({ "percent": 25 })).status(), 200);
    let mut listener = Listener::open(gateway.admin(), "?kinds=ramp", &[]).expect("a stream");
    addresses.reverse();
    let notices = applied(&gateway, &of(&addresses))["notices"].to_string();
    assert!(notices.contains("u/u0 is at 25 %") && notices.contains("address"), "{notices}");
    let conflict = listener.next().expect("told");
    assert_eq!(conflict["what"], "conflict");
    assert!(conflict["message"].as_str().is_some_and(|text| text.contains("u/u0")), "{conflict}");
}

#[test]
fn whoever_has_the_answer_finds_the_new_addresses() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    applied(&gateway, &plain(&origin));
    let written = fs::read(gateway.folder().join("state/addresses.json")).expect("it is there");
    let addresses: Value = serde_json::from_slice(&written).expect("JSON");
    let door = addresses["listeners"]["plain"].as_str().and_then(|address| address.parse().ok());
    let door: SocketAddr = door.unwrap_or_else(|| panic!("an address in {addresses}"));
    assert_eq!(fetch(door, "/").status(), 200);
}
