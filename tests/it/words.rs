//! What people say to a change under way, and to one that is over: it is about the version that they mean, and it is
//! written down whole.

use crate::audit::rows;
use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::operator::ask;
use crate::support::origins::{Origin, refused};
use crate::support::raw::Answer;
use crate::support::{PATIENCE, wait_for, wait_until};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

/// Nothing goes on by itself while a test looks.
const SLOW: &str = "[rollout]\nrequired = true\nstages = [\"10%\", \"100%\"]\nbake = \"60s\"\n";

fn marked(policy: &str, backend: SocketAddr, mark: &str) -> Config {
    let edit = format!("response_headers = {{ set = {{ \"x-gen\" = \"{mark}\" }} }}");
    Config::under(policy).upstream("u", &[backend], "").route("r", "/", "u", &edit)
}

fn post(gateway: &Gateway, query: &str, config: &Config) -> Answer {
    let text = config.clone().render(&gateway.folder().join("state"));
    gateway.admin_post(&format!("/v1/versions{query}"), "", text)
}

fn say(gateway: &Gateway, path: &str, body: &Value) -> Answer {
    ask(gateway.admin(), "POST", path, &["content-type: application/json"], &body.to_string())
}

fn row(gateway: &Gateway, action: &str) -> Value {
    let is_it = |row: &Value| row["action"] == action;
    wait_for(PATIENCE, "there is a row of it", || rows(gateway, &[]).into_iter().rev().find(is_it))
}

#[test]
fn what_is_said_to_a_change_is_in_the_audit_with_its_version_and_reason() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(SLOW, origin.address(), "one"));
    assert_eq!(post(&gateway, "?reason=two", &marked(SLOW, origin.address(), "two")).status(), 202);
    let apply = row(&gateway, "apply");
    assert_eq!(
        (&apply["version"], &apply["risk"], &apply["reason"]),
        (&json!(2), &json!("medium"), &json!("two"))
    );
    let abort = say(&gateway, "/v1/rollout:abort", &json!({ "version": 2, "reason": "not today" }));
    assert_eq!(abort.status(), 200, "{}", abort.text());
    let abort = row(&gateway, "abort");
    assert_eq!((&abort["version"], &abort["reason"]), (&json!(2), &json!("not today")), "{abort}");
    let glass = "?now=true&break_glass=true&reason=fire";
    assert_eq!(post(&gateway, glass, &marked(SLOW, origin.address(), "three")).status(), 200);
    let seen = say(&gateway, "/v1/rollout:acknowledge", &json!({ "reason": "I was there" }));
    assert_eq!(seen.status(), 200, "{}", seen.text());
    let seen = row(&gateway, "acknowledge");
    assert_eq!((&seen["version"], &seen["reason"]), (&json!(3), &json!("I was there")), "{seen}");
    assert_eq!(say(&gateway, "/v1/rollback", &json!({ "reason": "three is bad" })).status(), 200);
    let back = row(&gateway, "rollback");
    assert_eq!((&back["version"], &back["reason"]), (&json!(1), &json!("three is bad")), "{back}");
    assert!(back["why"].as_str().is_some_and(|why| why.contains("version 3")), "from where: {back}");
    assert_eq!(say(&gateway, "/v1/rollback", &json!({ "version": 99, "reason": "typed" })).status(), 404);
    let refused = row(&gateway, "rollback");
    assert_eq!((&refused["outcome"], &refused["version"]), (&json!("refused"), &json!(99)), "{refused}");
}

#[test]
fn a_change_by_the_file_is_in_the_audit_and_so_is_one_that_was_refused() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(SLOW, origin.address(), "one"));
    let of_the_file = |outcome: &str| {
        wait_for(PATIENCE, "there is a row of the file", || {
            let is_it = |row: &Value| row["actor"] == "file" && row["outcome"] == outcome;
            rows(&gateway, &[]).into_iter().find(is_it)
        })
    };
    gateway.write(&marked(SLOW, refused(), "danger"));
    gateway.hup();
    let no = of_the_file("refused");
    assert!(no["why"].as_str().is_some_and(|why| why.contains("high risk")), "{no}");
    gateway.write(&marked(SLOW, origin.address(), "two"));
    gateway.hup();
    let yes = of_the_file("done");
    assert_eq!(
        (&yes["action"], &yes["version"], &yes["risk"]),
        (&json!("apply"), &json!(2), &json!("medium"))
    );
}

#[test]
fn a_word_about_another_version_changes_nothing() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(SLOW, origin.address(), "one"));
    assert_eq!(post(&gateway, "", &marked(SLOW, origin.address(), "two")).status(), 202);
    wait_until(PATIENCE, "it is under way", || {
        gateway.admin_get("/v1/rollout").json()["state"] == "rolling_out"
    });
    for word in ["promote", "abort"] {
        let answer = say(&gateway, &format!("/v1/rollout:{word}"), &json!({ "version": 7 }));
        let why = (answer.status(), answer.json()["reason"].clone());
        assert_eq!(why, (409, json!("another_version")), "{word}: {}", answer.text());
    }
    assert_eq!(gateway.admin_get("/v1/rollout").json()["version"]["number"], 2);
}

#[test]
fn a_reason_is_a_line_whatever_it_is_said_for() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(SLOW, origin.address(), "one"));
    assert_eq!(post(&gateway, "", &marked(SLOW, origin.address(), "two")).status(), 202);
    for word in ["promote", "abort", "confirm", "acknowledge", "approve"] {
        for reason in ["x".repeat(501), "a\nb".into(), "\u{1b}[31m".into(), "a\u{202e}b".into()] {
            let body = json!({ "version": 2, "reason": reason });
            let answer = say(&gateway, &format!("/v1/rollout:{word}"), &body);
            assert_eq!(answer.status(), 422, "{word} {reason:?}: {}", answer.text());
        }
    }
    assert_ne!(gateway.admin_get("/v1/rollout").json()["state"], "none");
}

/// Many routes, so that a comparison takes its time.
fn large(policy: &str, backend: SocketAddr) -> Config {
    let route = |n| format!("[[routes]]\nname = \"r{n}\"\npath = \"/r{n}\"\nupstream = \"u\"\n");
    marked(policy, backend, "large").text(&(0..3_000).map(route).collect::<String>())
}

#[test]
fn a_change_that_was_weighed_against_what_was_rolled_back_does_not_begin() {
    const FREE: &str = "[rollout]\nrequired = false\n";
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(FREE, origin.address(), "free"));
    let slow = marked(SLOW, origin.address(), "slow");
    let text = large(SLOW, origin.address()).render(&gateway.folder().join("state"));
    for wait in [50, 100, 150, 200, 250, 300] {
        assert_eq!(post(&gateway, "", &slow).status(), 200, "the free version lets it in");
        thread::scope(|both| {
            both.spawn(|| gateway.admin_post("/v1/versions?ack_risk=high", "", &text));
            // Somewhere in the middle of the other's work; whenever it is, the rules below hold.
            thread::park_timeout(Duration::from_millis(wait));
            assert_eq!(say(&gateway, "/v1/rollback", &json!({ "version": 1 })).status(), 200);
        });
        let view = gateway.admin_get("/v1/rollout").json();
        let active = gateway.status()["version"]["number"].clone();
        assert!(view["state"] == "none" || active != 1, "by the stages of a version that is gone: {view}");
        say(&gateway, "/v1/rollout:abort", &json!({}));
        assert_eq!(say(&gateway, "/v1/rollback", &json!({ "version": 1 })).status(), 200);
    }
}

#[test]
fn a_restart_that_takes_a_version_back_does_not_bring_back_the_file_that_was_overruled() {
    let origin = Origin::well_behaved();
    let of = |mark: &str| Config::simple(origin.address()).text(&format!("# {mark}\n"));
    let gateway = Gateway::start(&of("file"));
    assert_eq!(post(&gateway, "", &of("good")).status(), 200);
    let good = gateway.hash();
    assert_eq!(post(&gateway, "?confirm=10m", &of("unconfirmed")).status(), 200);
    assert_ne!(gateway.hash(), good);
    let gateway = gateway.restart(Launch::default());
    assert_eq!(gateway.hash(), good, "{}", gateway.admin_get("/readyz").text());
    gateway.hup();
    wait_until(PATIENCE, "the file was looked at", || {
        gateway.metrics().value("tidegate_config_applies_total", &[]) > 0.0
    });
    assert_eq!(gateway.hash(), good, "nobody changed the file");
}
