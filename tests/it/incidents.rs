//! Incidents by API and command line: opened, said of, closed, kept across a kill; and a freeze, which holds risky
//! changes however they come, and nothing that helps.

use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::operator::{Listener, ask, change};
use crate::support::origins::Origin;
use crate::support::raw::Answer;
use crate::support::{wait_for, wait_until};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

/// A busy machine takes its time.
pub const LONG: Duration = Duration::from_secs(30);
pub const FREE: &str = "[rollout]\nrequired = false\n";

/// One route whose answers carry a mark: of medium risk to change.
pub fn marked(policy: &str, backend: SocketAddr, mark: &str) -> Config {
    let edit = format!("timeout = \"200ms\"\nresponse_headers = {{ set = {{ \"x-gen\" = \"{mark}\" }} }}");
    Config::under(policy).upstream("u", &[backend], "").route("r", "/", "u", &edit)
}

/// The mark of what serves; a machine that is too busy for the route's timeout is asked again.
fn generation(gateway: &Gateway) -> String {
    wait_for(LONG, "an answer", || gateway.get("/").get("x-gen").map(str::to_owned))
}

pub fn open(gateway: &Gateway, body: Value) -> Answer {
    change(gateway.admin(), "POST", "/v1/incidents", &body)
}

pub fn put(gateway: &Gateway, id: u64, body: Value) -> Answer {
    change(gateway.admin(), "PUT", &format!("/v1/incidents/{id}"), &body)
}

pub fn incidents(gateway: &Gateway) -> Vec<Value> {
    gateway.admin_get("/v1/incidents").json()["items"].as_array().expect("a list").clone()
}

pub fn apply(gateway: &Gateway, query: &str, config: &Config) -> Answer {
    let text = config.render(&gateway.folder().join("state"));
    gateway.admin_post(&format!("/v1/versions{query}"), "", text)
}

pub fn run(gateway: &Gateway, arguments: &[&str]) -> (Option<i32>, String) {
    let output = gateway.cli(arguments);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("UTF-8"))
}

fn reasons(gateway: &Gateway) -> String {
    gateway.admin_get("/readyz").json()["reasons"].to_string()
}

#[test]
fn an_incident_is_opened_said_of_and_closed_and_everybody_hears() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let mut listener = Listener::open(gateway.admin(), "?kinds=incident", &[]).expect("a stream");
    let answer = open(
        &gateway,
        json!({
            "title": "Orders are slow", "severity": "major", "upstreams": ["u"], "text": "We look at it.", "public": true,
        }),
    );
    assert_eq!(answer.status(), 201, "{}", answer.text());
    let opened = answer.json();
    assert_eq!((&opened["id"], &opened["state"]), (&1.into(), &"open".into()));
    assert!(opened["persisted"].is_boolean(), "{opened}");
    assert_eq!((&opened["opened_by"], &opened["freeze"]), (&"loopback".into(), &false.into()));
    assert_eq!(opened["updates"][0]["text"], "We look at it.");
    let event = listener.until("it is told", |event| event["what"] == "opened");
    assert_eq!((&event["kind"], &event["severity"]), (&"incident".into(), &"major".into()), "{event}");
    assert_eq!(gateway.metrics().value("tidegate_incidents_open", &[("severity", "major")]), 1.0);
    assert_eq!(gateway.status()["incidents"]["open"][0]["title"], "Orders are slow");

    assert_eq!(put(&gateway, 1, json!({ "severity": "minor" })).status(), 200);
    let event = listener.until("it is less bad", |event| event["severity"] == "minor");
    assert_eq!(event["text"], Value::Null, "nothing was said: {event}");
    assert_eq!(put(&gateway, 1, json!({ "text": "It gets better.", "freeze": true })).status(), 200);
    let event = listener.until("it is told", |event| event["what"] == "updated");
    assert_eq!(event["text"], "It gets better.");
    let event = listener.until("it freezes", |event| event["what"] == "frozen");
    assert_eq!(event["text"], Value::Null, "it was told: {event}");
    let stale = ["content-type: application/json", "if-match: \"1\""];
    let answer = ask(gateway.admin(), "PUT", "/v1/incidents/1", &stale, "{\"state\": \"closed\"}");
    assert_eq!((answer.status(), &answer.json()["reason"]), (412, &"stale".into()), "{}", answer.text());
    assert_eq!(put(&gateway, 1, json!({ "state": "closed", "text": "Over." })).status(), 200);
    let again = put(&gateway, 1, json!({ "state": "closed" }));
    assert_eq!((again.status(), &again.json()["reason"]), (409, &"conflict".into()), "{}", again.text());
    assert!(again.text().contains("closed by loopback"), "{}", again.text());
    assert_eq!(put(&gateway, 9, json!({ "text": "x" })).status(), 404);
    listener.until("its end is told", |event| event["what"] == "closed");
    assert_eq!(gateway.metrics().value("tidegate_incidents_open", &[("severity", "minor")]), 0.0);
    let audit = gateway.admin_get("/v1/audit?limit=20").text();
    for word in ["incident.open", "incident.update", "incident.close"] {
        assert!(audit.contains(word), "{word} in {audit}");
    }
}

#[test]
fn what_is_no_incident_is_refused_with_what_is_wrong() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    for (body, status) in [
        (json!({ "title": "" }), 422),
        (json!({ "title": "x".repeat(121) }), 422),
        (json!({ "title": "a\nb" }), 422),
        (json!({ "title": "x", "upstreams": ["nobody"] }), 422),
        (json!({ "title": "x", "text": "y".repeat(1001) }), 422),
        (json!({ "title": "x", "severity": "huge" }), 400),
        (json!({ "title": "x", "opened_by": "someone else" }), 400),
        (json!({ "title": "x", "freeze": true, "reason": "a\u{1b}[31m" }), 422),
        (json!({ "title": "x", "freeze": true, "reason": "a\u{202e}b" }), 422),
    ] {
        let answer = open(&gateway, body.clone());
        assert_eq!(answer.status(), status, "{body}: {}", answer.text());
    }
    assert!(open(&gateway, json!({ "title": "x", "upstreams": ["nobody"] })).text().contains("it has u"));
    assert_eq!(incidents(&gateway), [] as [Value; 0]);
}

#[test]
fn the_command_line_opens_shows_freezes_thaws_and_closes() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let opened =
        ["incident", "open", "Orders are slow", "--severity", "critical", "--upstream", "u", "--freeze"];
    let (code, said) = run(&gateway, &opened);
    assert!(code == Some(0) && said.contains("incident 1 opened, frozen"), "{said}");
    let (_, listed) = run(&gateway, &["incident", "list"]);
    assert!(listed.contains("[freeze] Orders are slow"), "{listed}");
    let (_, status) = run(&gateway, &["status"]);
    assert!(status.contains("incident 1 (critical) Orders are slow"), "{status}");
    assert!(status.contains("loopback froze changes of medium and high risk"), "{status}");
    assert!(status.lines().all(|line| line.chars().count() <= 80), "{status}");
    assert_eq!(run(&gateway, &["incident", "update", "1", "better", "--thaw"]).0, Some(0));
    assert_eq!(gateway.metrics().value("tidegate_change_freeze", &[]), 0.0);
    assert_eq!(run(&gateway, &["incident", "close", "1", "over"]).0, Some(0));
    let (_, shown) = run(&gateway, &["incident", "show", "1"]);
    assert!(shown.contains("closed by loopback") && shown.contains("  better"), "{shown}");
    assert_eq!(run(&gateway, &["incident", "close", "1"]).0, Some(1));
    assert_eq!(run(&gateway, &["incident", "close", "one"]).0, Some(2));
    let (_, answer) = run(&gateway, &["incident", "list", "--json"]);
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(answer["items"][0]["state"], "closed");
}

#[test]
fn every_verb_of_an_incident_says_what_it_needs_and_answers_in_json() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    let answers = |arguments: &[&str]| -> Value {
        let (code, said) = run(&gateway, &[&["incident"], arguments, &["--json"]].concat());
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        serde_json::from_str(&said).expect("JSON")
    };
    assert_eq!(answers(&["open", "slow", "--private"])["done"], json!(["opened"]));
    for nothing in [&["update", "1"][..], &["update", "1", "--reason", "why"]] {
        let (code, said) = run(&gateway, &[&["incident"], nothing].concat());
        assert!(code == Some(2) && said.contains("TEXT") && said.contains("--severity"), "{said}");
    }
    let shown = answers(&["update", "1", "--public", "--upstream", "u"]);
    assert_eq!((&shown["public"], &shown["upstreams"]), (&true.into(), &json!(["u"])));
    assert_eq!(answers(&["publish", "1"])["done"], json!([]), "it is open and public");
    assert_eq!(answers(&["update", "1", "--private"])["public"], false);
    assert_eq!(answers(&["show", "1"])["title"], "slow");
    assert_eq!(answers(&["list"])["items"][0]["id"], 1);
    assert_eq!(answers(&["close", "1"])["state"], "closed");
    for gone in [&["close", "1"][..], &["publish", "1"], &["update", "9", "x"], &["show", "9"]] {
        let (code, said) = run(&gateway, &[&["incident"], gone, &["--json"]].concat());
        let said: Value = serde_json::from_str(&said).expect("JSON");
        assert!(code == Some(1) && said["error"].is_string() && said["hint"].is_string(), "{gone:?}: {said}");
    }
}

/// An answer waits for a slow disk no longer than half a second; who restarts waits longer.
fn kept(gateway: &Gateway, words: &str) {
    let file = gateway.folder().join("state/incidents.json");
    wait_until(LONG, "it is on disk", || {
        std::fs::read_to_string(&file).is_ok_and(|text| text.contains(words))
    });
}

#[test]
fn incidents_and_a_freeze_outlive_a_kill_and_numbers_are_never_given_twice() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(FREE, origin.address(), "one"));
    for title in ["first", "second"] {
        assert_eq!(open(&gateway, json!({ "title": title, "freeze": true })).status(), 201);
    }
    assert_eq!(put(&gateway, 2, json!({ "state": "closed" })).status(), 200);
    kept(&gateway, "closed");
    let gateway = gateway.restart(Launch::default());
    let states: Vec<Value> = incidents(&gateway).iter().map(|it| it["state"].clone()).collect();
    assert_eq!(states, ["open", "closed"]);
    let held = apply(&gateway, "", &marked(FREE, origin.address(), "two"));
    assert_eq!((held.status(), &held.json()["reason"]), (422, &"frozen".into()), "{}", held.text());
    assert_eq!(open(&gateway, json!({ "title": "third" })).json()["id"], 3);
}

#[test]
fn a_disk_that_takes_nothing_delays_no_incident_and_says_so() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    // A rename over it cannot succeed, nor a write beside it.
    std::fs::create_dir_all(gateway.folder().join("state/incidents.new/x")).expect("made");
    let answer = open(&gateway, json!({ "title": "slow", "freeze": true }));
    assert_eq!((answer.status(), &answer.json()["persisted"]), (201, &false.into()), "{}", answer.text());
    wait_until(LONG, "operators are told", || reasons(&gateway).contains("incidents are not stored"));
    std::fs::remove_dir_all(gateway.folder().join("state/incidents.new")).expect("removed");
    wait_until(LONG, "it is stored in the end", || !reasons(&gateway).contains("not stored"));
    assert_eq!(incidents(&gateway.restart(Launch::default())).len(), 1);
}

#[test]
fn a_disk_that_hangs_holds_up_no_incident_and_no_answer() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    // Opening it to write waits for a reader, and there is none.
    let hangs = gateway.folder().join("state/incidents.new");
    mknodat(CWD, &hangs, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    for n in 1..=3 {
        let answer = open(&gateway, json!({ "title": "slow", "freeze": true }));
        assert_eq!((answer.status(), &answer.json()["persisted"]), (201, &false.into()), "{}", answer.text());
        assert_eq!(put(&gateway, n, json!({ "text": "still" })).json()["persisted"], false);
    }
    assert_eq!(incidents(&gateway).len(), 3);
    assert_eq!(change(gateway.admin(), "POST", "/v1/rollback", &json!({ "version": 1 })).status(), 200);
}

#[test]
fn a_file_of_garbage_is_set_aside_and_said_and_holds_up_nothing() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    assert_eq!(open(&gateway, json!({ "title": "slow" })).status(), 201);
    kept(&gateway, "slow");
    let file = gateway.folder().join("state/incidents.json");
    let gateway =
        gateway.restart_after(Launch::default(), || std::fs::write(&file, "{ garbage").expect("written"));
    assert!(reasons(&gateway).contains("set aside"), "{}", reasons(&gateway));
    assert_eq!((gateway.get("/").status(), incidents(&gateway).len()), (200, 0));
    assert!(gateway.folder().join("state/incidents.broken").exists());
}

#[test]
fn a_freeze_holds_a_risky_change_and_nothing_that_helps() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(FREE, origin.address(), "one"));
    let two = marked(FREE, origin.address(), "two");
    assert_eq!(apply(&gateway, "", &two).status(), 200);
    let frozen = json!({ "title": "Orders are slow", "freeze": true, "reason": "nobody moves" });
    assert_eq!(open(&gateway, frozen).status(), 201);
    let three = marked(FREE, origin.address(), "three");
    let held = apply(&gateway, "", &three);
    assert_eq!((held.status(), &held.json()["reason"]), (422, &"frozen".into()));
    for words in ["loopback", "Orders are slow", "nobody moves", "--incident 1"] {
        assert!(held.text().contains(words), "{words} in {}", held.text());
    }
    let text = three.render(&gateway.folder().join("state"));
    let plan = gateway.admin_post("/v1/config:plan", "", text).json();
    assert_eq!(plan["needs"]["freezes"][0]["incident"], 1, "{plan}");
    assert_eq!(apply(&gateway, "?incident=9", &three).json()["reason"], "no_incident");

    let harmless = marked(FREE, origin.address(), "two").text("[access_log]\ntarget = \"off\"\n");
    assert_eq!(apply(&gateway, "", &harmless).status(), 200, "low risk goes on");
    let lever = json!({ "percent": 50, "reason": "less" });
    assert_eq!(change(gateway.admin(), "PUT", "/v1/upstreams/u/ramp", &lever).status(), 200);
    let drain = json!({ "state": "drain" });
    assert_eq!(change(gateway.admin(), "PUT", "/v1/upstreams/u/backends/u0/state", &drain).status(), 200);
    let ready = json!({ "state": "ready" });
    assert_eq!(change(gateway.admin(), "PUT", "/v1/upstreams/u/backends/u0/state", &ready).status(), 200);
    assert_eq!(change(gateway.admin(), "POST", "/v1/rollback", &json!({ "version": 1 })).status(), 200);
    assert_eq!(generation(&gateway), "one");
    let named = apply(&gateway, "?incident=1", &three);
    assert_eq!((named.status(), generation(&gateway).as_str()), (200, "three"), "{}", named.text());
    let four = marked(FREE, origin.address(), "four");
    assert_eq!(apply(&gateway, "?now=true&break_glass=true", &four).json()["reason"], "needs_reason");
    let glass = apply(&gateway, "?now=true&break_glass=true&reason=it%20burns", &four);
    assert_eq!((glass.status(), generation(&gateway).as_str()), (200, "four"), "{}", glass.text());
    let draft = incidents(&gateway).into_iter().find(|it| it["cause"] == "break_glass").expect("a draft");
    assert!(draft["drafted_because"].as_str().is_some_and(|why| why.contains("it burns")), "{draft}");
    assert_eq!(
        (&draft["state"], &draft["freeze"], &draft["public"]),
        (&"draft".into(), &false.into(), &false.into())
    );
    assert_eq!(put(&gateway, 1, json!({ "freeze": false })).status(), 200);
    assert_eq!(apply(&gateway, "", &three).status(), 200, "thawed");
}

#[test]
fn a_change_under_two_freezes_is_for_both_of_their_incidents_or_waits() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(FREE, origin.address(), "one"));
    for title in ["orders are slow", "users are slow"] {
        assert_eq!(open(&gateway, json!({ "title": title, "freeze": true })).status(), 201);
    }
    let two = marked(FREE, origin.address(), "two");
    for (query, not_asked) in
        [("", "orders are slow"), ("?incident=1", "users are slow"), ("?incident=2", "orders")]
    {
        let held = apply(&gateway, query, &two);
        assert_eq!(
            (held.status(), &held.json()["reason"]),
            (422, &"frozen".into()),
            "{query}: {}",
            held.text()
        );
        assert!(held.text().contains(not_asked), "{query}: {}", held.text());
        assert!(held.text().contains("--incident 1 --incident 2"), "{query}: {}", held.text());
    }
    for (query, status) in [("?incident=1,9", 422), ("?incident=one", 400), ("?incident=", 400)] {
        assert_eq!(apply(&gateway, query, &two).status(), status, "{query}");
    }
    let text = two.render(&gateway.folder().join("state"));
    let file = gateway.folder().join("next.toml");
    std::fs::write(&file, text).expect("written");
    let (_, planned) = run(&gateway, &["plan", &file.to_string_lossy()]);
    assert!(planned.replace('\n', " ").contains("--incident 1 --incident 2"), "{planned}");
    let (code, said) =
        run(&gateway, &["apply", &file.to_string_lossy(), "--incident", "1", "--incident", "2"]);
    assert_eq!((code, generation(&gateway).as_str()), (Some(0), "two"), "{said}");
}

#[test]
fn a_frozen_file_waits_across_watch_signal_and_restart_and_comes_in_after_the_thaw() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(FREE, origin.address(), "one"));
    assert_eq!(open(&gateway, json!({ "title": "slow", "freeze": true })).status(), 201);
    gateway.write(&marked(FREE, origin.address(), "two"));
    wait_until(LONG, "the file is told to be held", || reasons(&gateway).contains("apply FILE --incident 1"));
    assert_eq!(gateway.status()["rollout"]["pending_file"]["held_by"], 1);
    let told = reasons(&gateway);
    assert!(!told.contains("refused"), "what waits is not said to be refused: {told}");
    let (_, screen) = run(&gateway, &["status"]);
    assert_eq!(screen.matches("the file has changed").count(), 1, "one truth: {screen}");
    gateway.hup();
    let gateway = gateway.restart(Launch::default());
    wait_until(LONG, "it is held after a restart too", || {
        gateway.status()["rollout"]["pending_file"]["held_by"] == 1
    });
    assert_eq!(generation(&gateway), "one");
    assert_eq!(put(&gateway, 1, json!({ "state": "closed" })).status(), 200);
    wait_until(LONG, "it comes in", || generation(&gateway) == "two");
    assert_eq!(gateway.status()["rollout"]["pending_file"], Value::Null);
}

#[test]
fn a_change_that_waits_for_approval_begins_after_the_thaw_only() {
    let origin = Origin::well_behaved();
    let policy = "[rollout]\nrequired = true\nstages = [\"100%\"]\nbake = \"1s\"\napprove = \"medium\"\n\
                  guard = { min_requests = 20 }\n";
    let gateway = Gateway::start(&marked(policy, origin.address(), "one"));
    gateway.write(&marked(policy, origin.address(), "two"));
    let waits = wait_for(LONG, "the file waits for a second person", || {
        let view = gateway.admin_get("/v1/rollout").json();
        (view["state"] == "approval").then(|| view["version"]["number"].clone())
    });
    assert_eq!(open(&gateway, json!({ "title": "slow", "freeze": true })).status(), 201);
    let approve = || change(gateway.admin(), "POST", "/v1/rollout:approve", &json!({ "version": waits }));
    let held = approve();
    assert_eq!(held.status(), 409, "{}", held.text());
    assert!(held.text().contains("incident update 1 --thaw"), "{}", held.text());
    assert_eq!(put(&gateway, 1, json!({ "freeze": false })).status(), 200);
    assert_eq!(approve().status(), 200);
    wait_until(LONG, "it is active", || generation(&gateway) == "two");
}

#[test]
fn what_is_under_way_when_somebody_freezes_can_be_aborted_and_nothing_else_begins() {
    let origin = Origin::well_behaved();
    let policy = "[rollout]\nrequired = true\nstages = [\"50%\", \"100%\"]\nbake = \"20s\"\n";
    let gateway = Gateway::start(&marked(policy, origin.address(), "one"));
    assert_eq!(apply(&gateway, "", &marked(policy, origin.address(), "two")).status(), 202);
    assert_eq!(open(&gateway, json!({ "title": "slow", "freeze": true })).status(), 201);
    let abort = change(gateway.admin(), "POST", "/v1/rollout:abort", &json!({ "reason": "it may be that" }));
    assert_eq!(abort.status(), 200, "{}", abort.text());
    let next = apply(&gateway, "", &marked(policy, origin.address(), "three"));
    assert_eq!((next.status(), &next.json()["reason"]), (422, &"frozen".into()), "{}", next.text());
    let named = apply(&gateway, "?incident=1", &marked(policy, origin.address(), "three"));
    assert_eq!(named.status(), 202, "{}", named.text());
}
