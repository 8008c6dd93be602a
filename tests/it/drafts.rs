//! Drafts of the gateway: when it sheds, when backends are out, when a change is taken back; with their numbers, once,
//! and not where a person has opened an incident for it.

use crate::incidents::{FREE, LONG, apply, incidents, marked, open, put, run};
use crate::notify::{is, sink};
use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::origins::{Behaviour, Origin, refused};
use crate::support::sink::Sink;
use crate::support::{wait_for, wait_until};
use serde_json::{Value, json};
use std::time::Duration;

/// Thresholds as low as they go, for a test that does not wait for minutes.
const SOON: &str =
    "[incidents]\nshed = \"5%\"\nshed_for = \"4s\"\nbackends_for = \"3s\"\nredraft_after = \"0s\"\n";

/// The draft for this, once there is one.
fn drafted(gateway: &Gateway, cause: &str) -> Value {
    wait_for(LONG, &format!("an incident is drafted for {cause}"), || {
        incidents(gateway).into_iter().find(|it| it["cause"] == cause)
    })
}

/// The number of the newest draft.
fn drafted_last(gateway: &Gateway) -> u64 {
    let draft = incidents(gateway).into_iter().find(|it| it["state"] == "draft");
    draft.and_then(|it| it["id"].as_u64()).expect("a draft")
}

/// Drafts for this since the start.
fn drafts(gateway: &Gateway, cause: &str) -> f64 {
    gateway.metrics().value("tidegate_incidents_drafted_total", &[("cause", cause)])
}

/// What the gateway itself said of an incident, the oldest first.
fn notes(gateway: &Gateway, id: u64) -> Vec<Value> {
    let incident = gateway.admin_get(&format!("/v1/incidents/{id}")).json();
    let updates = incident["updates"].as_array().expect("a list");
    updates.iter().filter(|update| update["by"] == "gateway").cloned().collect()
}

/// The gateway looks so many times more.
fn looks_on(gateway: &Gateway, seconds: f64) {
    let now = || gateway.status()["uptime_seconds"].as_f64().expect("a number");
    let until = now() + seconds;
    wait_until(LONG, "it goes on for a while", || now() > until);
}

/// An upstream that refuses nearly everything.
fn too_small(hung: &Origin) -> Config {
    let limits = "max_in_flight = 1\nqueue = { max_waiting = 1, max_wait = \"10ms\" }\n";
    Config::under(FREE)
        .text(SOON)
        .text("[status_page]\naddress = \"127.0.0.1:0\"\n")
        .upstream("u", &[hung.address()], limits)
        .route("r", "/", "u", "timeout = \"500ms\"")
}

#[test]
fn shedding_is_drafted_with_its_numbers_once_and_nobody_outside_sees_it() {
    let hung = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let gateway = Gateway::start(&too_small(&hung));
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(5));
    let draft = drafted(&gateway, "shed");
    assert_eq!((&draft["state"], &draft["opened_by"]), (&"draft".into(), &"gateway".into()));
    assert_eq!((&draft["public"], &draft["freeze"]), (&false.into(), &false.into()));
    assert_eq!(draft["upstreams"], json!(["u"]));
    assert!(draft["drafted_because"].as_str().is_some_and(|why| why.contains('%')), "{draft}");
    assert_eq!(drafts(&gateway, "shed"), 1.0);
    let id = draft["id"].as_u64().expect("a number");
    assert_eq!(put(&gateway, id, json!({ "freeze": true })).status(), 409, "a draft freezes nothing");
    assert_eq!(put(&gateway, id, json!({ "state": "closed" })).status(), 200);
    looks_on(&gateway, 5.0);
    assert_eq!(drafts(&gateway, "shed"), 1.0, "not drafted again while it lasts");
    load.stop();
}

#[test]
fn what_a_person_has_opened_is_not_drafted_but_noted_there_with_its_numbers() {
    let hung = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let gateway = Gateway::start(&too_small(&hung));
    let slow = json!({ "title": "slow", "upstreams": ["u"], "text": "We look at it." });
    assert_eq!(open(&gateway, slow).status(), 201);
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(5));
    let note = wait_for(LONG, "it is noted", || notes(&gateway, 1).first().cloned());
    let text = note["text"].as_str().expect("words");
    assert!(text.starts_with("The gateway would have drafted") && text.contains('%'), "{text}");
    assert_eq!(note["public"], false);
    looks_on(&gateway, 5.0);
    assert_eq!((notes(&gateway, 1).len(), drafts(&gateway, "shed")), (1, 0.0), "once, and no draft");
    load.stop();
    let over = wait_for(LONG, "its end is noted", || notes(&gateway, 1).get(1).cloned());
    assert!(over["text"].as_str().is_some_and(|text| text.starts_with("u: It is over")), "{over}");
    assert_eq!(incidents(&gateway).len(), 1);
}

#[test]
fn half_of_the_backends_ejected_is_drafted_once_with_how_many_they_are() {
    let origin = Origin::well_behaved();
    let config = Config::under(FREE)
        .text(SOON)
        .upstream(
            "u",
            &[origin.address(), refused()],
            "ejection = { consecutive_failures = 1, base = \"60s\" }",
        )
        .route("r", "/", "u", "");
    let gateway = Gateway::start(&config);
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(5));
    let draft = drafted(&gateway, "backends");
    assert_eq!((&draft["state"], &draft["severity"]), (&"draft".into(), &"major".into()), "{draft}");
    let why = draft["drafted_because"].as_str().expect("words");
    assert!(why.starts_with("1 of 2 backends are out for "), "{why}");
    looks_on(&gateway, 5.0);
    load.stop();
    assert_eq!((incidents(&gateway).len(), drafts(&gateway, "backends")), (1, 1.0), "told once");
    let out = [("upstream", "u"), ("backend", "u1")];
    assert!(gateway.metrics().value("tidegate_backend_ejections_total", &out) >= 1.0);
}

#[test]
fn a_change_that_its_guard_takes_back_is_drafted_unless_it_is_for_an_incident_which_knows_then() {
    let good = Origin::well_behaved();
    let bad = Origin::start(Behaviour::Says("HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n"));
    let policy = "[rollout]\nrequired = true\nstages = [\"50%\", \"100%\"]\nbake = \"500ms\"\n\
                  guard = { min_requests = 10 }\n";
    let config = |origin: &Origin| {
        let route = "timeout = \"200ms\"";
        Config::under(policy).upstream("u", &[origin.address()], "").route("r", "/", "u", route)
    };
    let gateway = Gateway::start(&config(&good));
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(5));
    let revert = |query: &str| {
        let text = config(&bad).render(&gateway.folder().join("state"));
        let answer = gateway.admin_post(&format!("/v1/versions?ack_risk=high{query}"), "", text);
        assert_eq!(answer.status(), 202, "{}", answer.text());
        let number = answer.json()["version"]["number"].clone();
        wait_until(LONG, "it is taken back", || {
            let last = gateway.admin_get("/v1/rollout").json()["last"].clone();
            last["number"] == number && last["outcome"] == "reverted"
        });
        number
    };
    let number = revert("");
    let draft = drafted(&gateway, "revert");
    let why = draft["drafted_because"].as_str().expect("words");
    assert!(why.starts_with(&format!("Version {number} was taken back by its guard: ")), "{why}");
    assert_eq!((&draft["id"], &draft["opened_by"]), (&1.into(), &"gateway".into()));
    assert_eq!(open(&gateway, json!({ "title": "slow" })).status(), 201);
    let number = revert("&incident=2");
    let note = wait_for(LONG, "it is noted where it belongs", || notes(&gateway, 2).first().cloned());
    let because = format!("Version {number} was taken back by its guard: ");
    assert!(note["text"].as_str().is_some_and(|text| text.starts_with(&because)), "{note}");
    load.stop();
    assert_eq!((incidents(&gateway).len(), drafts(&gateway, "revert")), (2, 1.0), "and not drafted");
    assert_eq!(notes(&gateway, 1), [] as [Value; 0]);
}

#[test]
fn a_draft_that_is_dropped_wakes_nobody_and_one_that_is_opened_is_whose_it_is() {
    let (origin, hears) = (Origin::well_behaved(), Sink::start());
    let config = |timeout: &str| {
        Config::under("[rollout]\nrequired = true\nbake = \"500ms\"\n")
            .upstream("u", &[origin.address()], "")
            .route("r", "/", "u", &format!("timeout = \"{timeout}\""))
            .text(&sink("oncall", "webhook", &hears.url("/"), "events = [\"incident\"]"))
    };
    let gateway = Gateway::start(&config("100ms"));
    let break_glass = |timeout: &str| {
        let text = config(timeout).render(&gateway.folder().join("state"));
        let query = "?now=true&break_glass=true&ack_risk=high&reason=it%20burns";
        wait_until(LONG, "the change before it has ended, and it is active", || {
            gateway.admin_post(&format!("/v1/versions{query}"), "", text.clone()).status() == 200
        });
        drafted_last(&gateway)
    };
    let id = break_glass("200ms");
    let drafted = |event: &Value| is(event, "TidegateIncidentDrafted", "firing");
    let told = hears.told(LONG, "the draft is told", drafted);
    assert_eq!(told["severity"], "ticket", "{told}");
    let told = told["message"].as_str().expect("words");
    assert!(told.contains("drafted by gateway") && told.contains("it burns"), "{told}");
    let dropped = put(&gateway, id, json!({ "state": "closed" }));
    assert_eq!((dropped.status(), &dropped.json()["done"]), (200, &json!(["dismissed"])));
    let over = |event: &Value| is(event, "TidegateIncidentDrafted", "resolved");
    let told = hears.told(LONG, "its end is told to whom it was told", over);
    assert!(told["message"].as_str().is_some_and(|it| it.contains("dismissed by loopback")), "{told}");
    let (_, listed) = run(&gateway, &["incident", "list"]);
    assert!(listed.contains("[dismissed]"), "{listed}");

    let id = break_glass("300ms");
    let opened = put(&gateway, id, json!({ "state": "open" })).json();
    assert_eq!((&opened["opened_by"], &opened["published_by"]), (&"loopback".into(), &"loopback".into()));
    let begins = hears.told(LONG, "an incident is told", |event| is(event, "TidegateIncidentOpen", "firing"));
    let told = begins["message"].as_str().expect("words");
    assert!(told.contains("opened from its draft by loopback"), "{told}");
    let (_, status) = run(&gateway, &["status"]);
    assert!(status.contains("by loopback since"), "{status}");
    let pages: Vec<Value> =
        hears.events().into_iter().filter(|event| event["alert"] == "TidegateIncidentOpen").collect();
    let id = id.to_string();
    assert!(pages.iter().all(|event| event["subject"] == id.as_str()), "{pages:?}");
}

#[test]
fn what_is_open_stands_before_drafts_and_the_worst_of_it_first_wherever_it_is_listed() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(FREE, origin.address(), "one"));
    let opens = |severity: &str, freeze: bool| {
        let wish = json!({ "title": severity, "severity": severity, "freeze": freeze });
        open(&gateway, wish).json()["id"].as_u64().expect("a number")
    };
    let (minor, critical, closed) = (opens("minor", true), opens("critical", false), opens("major", false));
    let glass = "?now=true&break_glass=true&reason=it%20burns";
    assert_eq!(apply(&gateway, glass, &marked(FREE, origin.address(), "two")).status(), 200);
    let (draft, newest) = (drafted_last(&gateway), opens("minor", false));
    assert_eq!(put(&gateway, closed, json!({ "state": "closed" })).status(), 200);
    let ids = |items: &Value| -> Vec<u64> {
        items.as_array().expect("a list").iter().filter_map(|it| it["id"].as_u64()).collect()
    };
    let order = [critical, newest, minor, draft, closed];
    assert_eq!(ids(&gateway.admin_get("/v1/incidents").json()["items"]), order);
    let status = &gateway.status()["incidents"];
    assert_eq!([ids(&status["open"]), ids(&status["drafts"])].concat(), order[..4]);
    let (_, listed) = run(&gateway, &["incident", "list"]);
    let first = |line: &str| line.get(..5).and_then(|id| id.trim().parse::<u64>().ok());
    assert_eq!(listed.lines().filter_map(first).collect::<Vec<_>>(), order, "{listed}");
}
