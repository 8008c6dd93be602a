//! What is probed, and what is said of what was seen: without the network.

use super::dial::Seen;
use super::judge::{MOST, judge};
use super::survey::{Scope, Survey};
use super::*;
use crate::config::plan::Plan;
use crate::config::policy::Probe;
use crate::config::{self, ProcessEnvironment};
use std::path::Path;

const EDGE: &str = "[[listeners]]\nname = \"edge\"\naddress = \"127.0.0.1:0\"\n";
const AUTH: &str = "[[auth]]\nname = \"session\"\nupstream = \"auth\"\npath = \"/verify\"\n";

fn upstream(name: &str, addresses: &[&str]) -> String {
    let backend = |(at, address)| format!("{{ name = \"b{at}\", address = \"{address}\" }}");
    let backends: Vec<_> = addresses.iter().enumerate().map(backend).collect();
    format!("[[upstreams]]\nname = \"{name}\"\nbackends = [{}]\n", backends.join(", "))
}

fn route(name: &str, upstream: &str, more: &str) -> String {
    format!("[[routes]]\nname = \"{name}\"\npath_prefix = \"/{name}\"\nupstream = \"{upstream}\"\n{more}\n")
}

fn plan(parts: &[&str]) -> Plan {
    let text = format!("{EDGE}{}", parts.concat());
    let checked = config::check(&text, Path::new("/tidegate.toml"), &ProcessEnvironment);
    let said = checked.render(false);
    checked.plan.unwrap_or_else(|| panic!("{said}"))
}

/// An auth service, a fleet of two, and another of one.
fn fleet(auth: &str, orders: &[&str], users: &str) -> Plan {
    plan(&[
        &upstream("auth", &[auth]),
        &upstream("orders", orders),
        &upstream("users", &[users]),
        AUTH,
        &route("orders", "orders", "auth = \"session\""),
        &route("users", "users", ""),
    ])
}

/// Findings when nobody is at any address that begins with one of `dead`, and all others are there.
fn said(candidate: &Plan, active: Option<&Plan>, scope: Scope, dead: &[&str]) -> Vec<Finding> {
    let policy = active.unwrap_or(candidate).rollout.probe;
    let survey = Survey::of(candidate, active, &policy, scope);
    let seen = survey.spots.iter().map(|spot| {
        match dead.iter().any(|dead| spot.place.address.host.starts_with(dead)) {
            true => Seen::Dead("connection refused".into()),
            false => Seen::Reached { dead: Vec::new(), of: 1 },
        }
    });
    judge(&survey, &seen.collect::<Vec<_>>())
}

fn told(findings: &[Finding]) -> Vec<(&str, Weight)> {
    findings.iter().map(|finding| (&*finding.target, finding.severity)).collect()
}

#[test]
fn an_auth_address_where_nobody_is_gates_the_change_that_brings_it() {
    let active = fleet("10.0.0.1:80", &["10.0.1.1:80"], "10.0.2.1:80");
    let bad = fleet("auth.invalid:80", &["10.0.1.1:80"], "10.0.2.1:80");
    let findings = said(&bad, Some(&active), Scope::Changes, &["auth.invalid"]);
    assert_eq!(told(&findings), [("auth session", Weight::Gate)], "{findings:?}");
    assert_eq!(findings[0].address, "auth.invalid:80");
    assert!(gates(&findings) && !is_clean(&findings));
    assert!(findings[0].what.contains("connection refused"), "{}", findings[0].what);
}

#[test]
fn what_is_down_and_untouched_refuses_no_repair_of_another() {
    let active = fleet("10.0.0.1:80", &["10.0.1.1:80", "10.0.1.2:80"], "10.0.2.1:80");
    let repair = fleet("10.0.0.1:80", &["10.0.1.1:80", "10.0.1.2:80"], "10.0.2.9:80");
    let down = ["10.0.0.1", "10.0.1", "10.0.2.1"];
    assert_eq!(said(&repair, Some(&active), Scope::Changes, &down), []);
    let all = said(&repair, Some(&active), Scope::Everything, &down);
    assert_eq!(told(&all), [("auth session", Weight::Warning), ("upstream orders", Weight::Warning)]);
}

#[test]
fn another_cap_or_timeout_dials_nobody() {
    let active = fleet("10.0.0.1:80", &["10.0.1.1:80"], "10.0.2.1:80");
    let mut candidate = active.clone();
    candidate.upstreams[1].gate.max_in_flight = 1;
    candidate.upstreams[1].transport.connect_timeout *= 2;
    let survey = Survey::of(&candidate, Some(&active), &Probe::default(), Scope::Changes);
    assert!(survey.spots.is_empty() && survey.targets.is_empty());
}

#[test]
fn other_name_servers_are_a_change_of_every_name_and_of_no_address() {
    let active = fleet("auth.test:80", &["10.0.1.1:80"], "users.test:80");
    let mut candidate = active.clone();
    candidate.gateway.resolver = vec!["10.0.0.53:53".parse().expect("an address")];
    let findings = said(&candidate, Some(&active), Scope::Changes, &["auth", "users", "10"]);
    assert_eq!(told(&findings), [("auth session", Weight::Gate), ("upstream users", Weight::Gate)]);
}

#[test]
fn a_place_is_dialled_once_and_what_changed_comes_first() {
    let active = fleet("10.0.0.1:80", &["10.0.1.1:80"], "10.0.1.1:80");
    let candidate = fleet("10.0.0.1:80", &["10.0.1.1:80"], "10.0.2.2:80");
    let survey = Survey::of(&candidate, Some(&active), &Probe::default(), Scope::Everything);
    let order: Vec<_> = survey.spots.iter().map(|spot| spot.place.address.to_string()).collect();
    assert_eq!(order, ["10.0.2.2:80", "10.0.0.1:80", "10.0.1.1:80"]);
}

#[test]
fn one_backend_of_a_fleet_is_a_warning_and_the_whole_of_one_is_a_gate() {
    let active = fleet("10.0.0.1:80", &["10.0.1.1:80"], "10.0.2.1:80");
    let candidate = fleet("10.0.0.1:80", &["10.0.1.1:80", "10.0.1.2:80"], "10.0.2.1:80");
    let one = said(&candidate, Some(&active), Scope::Changes, &["10.0.1.2"]);
    assert_eq!(told(&one), [("upstream orders backend b1", Weight::Warning)]);
    // The old one was down before; that is no fault of the change.
    let old = said(&candidate, Some(&active), Scope::Changes, &["10.0.1.1"]);
    assert_eq!(told(&old), [("upstream orders backend b0", Weight::Information)]);
    let both = said(&candidate, Some(&active), Scope::Changes, &["10.0.1"]);
    assert_eq!(told(&both), [("upstream orders", Weight::Gate)]);
    assert!(both[0].what.contains("none of its 2 backends"), "{}", both[0].what);
}

#[test]
fn a_fleet_may_be_named_before_it_is_there_and_a_route_to_it_may_not() {
    let parts = [&*upstream("a", &["10.0.0.1:80"]), &*route("a", "a", "")];
    let active = plan(&parts);
    let more = upstream("b", &["10.0.0.2:80"]);
    let named = plan(&[parts[0], parts[1], &more]);
    let findings = said(&named, Some(&active), Scope::Changes, &["10.0.0.2"]);
    assert_eq!(told(&findings), [("upstream b", Weight::Warning)]);
    let routed = plan(&[parts[0], parts[1], &more, &route("b", "b", "")]);
    let findings = said(&routed, Some(&named), Scope::Changes, &["10.0.0.2"]);
    assert_eq!(told(&findings), [("upstream b", Weight::Gate)]);
}

#[test]
fn the_policy_of_what_runs_decides_and_off_dials_nobody() {
    let with = |probe: &str, auth| {
        let rollout = format!("[rollout]\nprobe = {{ {probe} }}\n");
        plan(&[&upstream("auth", &[auth]), AUTH, &route("r", "auth", "auth = \"session\""), &rollout])
    };
    let all = "auth = \"gate\", upstreams = \"gate\"";
    let off = with("auth = \"off\", upstreams = \"off\", backends = \"off\"", "10.0.0.1:80");
    assert_eq!(said(&with(all, "10.0.0.2:80"), Some(&off), Scope::Changes, &["10"]), []);
    let soft = with("auth = \"warning\", upstreams = \"information\"", "10.0.0.1:80");
    let findings = said(&with(all, "10.0.0.2:80"), Some(&soft), Scope::Changes, &["10"]);
    assert_eq!(told(&findings), [("auth session", Weight::Warning), ("upstream auth", Weight::Information)]);
    assert!(
        gates(&said(&with(all, "10.0.0.2:80"), None, Scope::Everything, &["10"])),
        "without one, its own"
    );
}

#[test]
fn keys_are_looked_for_at_their_url_and_only_when_that_is_new() {
    let with = |url: &str| {
        let auth = format!(
            "[[auth]]\nname = \"login\"\nkind = \"jwt\"\njwks_url = \"{url}\"\nissuers = [\"i\"]\naudiences = [\"a\"]\n"
        );
        plan(&[&upstream("u", &["10.0.0.1:80"]), &auth, &route("r", "u", "auth = \"login\"")])
    };
    let (one, two) = (with("https://[::1]:8443/keys?secret=x"), with("https://keys.example.com/keys"));
    let findings = said(&two, Some(&one), Scope::Changes, &["keys"]);
    assert_eq!(told(&findings), [("keys of auth login", Weight::Gate)]);
    assert_eq!(findings[0].address, "keys.example.com:443");
    let back = said(&one, Some(&two), Scope::Changes, &["::1"]);
    assert_eq!((told(&back), &*back[0].address), (vec![("keys of auth login", Weight::Gate)], "[::1]:8443"));
    assert_eq!(said(&one, Some(&one), Scope::Changes, &["::1"]), []);
}

#[test]
fn what_there_was_no_time_for_gates_nothing_and_is_not_clean() {
    let candidate = fleet("auth.test:80", &["10.0.1.1:80", "10.0.1.2:80"], "10.0.2.1:80");
    let survey = Survey::of(&candidate, None, &Probe::default(), Scope::Everything);
    let findings = judge(&survey, &[]);
    assert!(!gates(&findings) && !is_clean(&findings), "{findings:?}");
    assert!(findings.iter().all(|finding| finding.what.contains("not probed in time")), "{findings:?}");
    // Of an auth that has one dead backend and one that was not reached, nothing is proven.
    let mut seen = vec![Seen::NotYet; survey.spots.len()];
    seen[1] = Seen::Dead("connection refused".into());
    assert!(!gates(&judge(&survey, &seen)));
}

#[test]
fn what_is_said_of_a_fleet_that_is_gone_is_bounded_and_the_gates_come_first() {
    let addresses: Vec<_> = (0..400).map(|at| format!("10.1.{}.{}:80", at / 200, at % 200)).collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    let candidate = plan(&[
        &upstream("large", &addresses),
        &route("large", "large", ""),
        &upstream("z", &["10.9.0.1:80"]),
        &route("z", "z", ""),
    ]);
    let findings = said(&candidate, None, Scope::Everything, &["10.1.0", "10.9"]);
    assert_eq!(findings.len(), MOST + 1);
    assert_eq!(told(&findings)[0], ("upstream z", Weight::Gate));
    assert!(findings[MOST].what.contains("more findings"), "{:?}", findings[MOST]);
    let gone = said(&candidate, None, Scope::Everything, &["10.1"]);
    assert_eq!(gone.len(), 1);
    assert!(gone[0].what.len() < 300 && gone[0].what.contains("397 more"), "{}", gone[0].what);
}

#[test]
fn what_filled_an_address_is_told_by_its_placeholder() {
    let active = fleet("10.0.0.1:80", &["10.0.1.1:80"], "10.0.2.1:80");
    let bad = fleet("secret.test:80", &["10.0.1.1:80"], "10.0.2.1:80");
    let findings = said(&bad, Some(&active), Scope::Changes, &["secret"]);
    let hidden = findings[0].clone().unfilled(|text| text.replace("secret.test", "${AUTH}"));
    assert_eq!(hidden.address, "${AUTH}:80");
    let json = serde_json::to_value(&hidden).expect("JSON");
    assert_eq!((&json["target"], &json["severity"]), (&"auth session".into(), &"gate".into()));
    assert_eq!(serde_json::from_value::<Finding>(json).expect("and back"), hidden);
}
