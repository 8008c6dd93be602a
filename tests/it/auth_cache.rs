//! Decisions that are kept: whoever is known is not asked about again, many who want the same ask once, and what the
//! service says about keeping is obeyed.

use crate::auth::{COPIES, get_as, guarded, head, results};
use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::origins::exchange::header_seen;
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::Raw;
use crate::support::{PATIENCE, wait_until};
use std::time::Duration;

/// Keeps decisions, with more said about it.
fn keeps(cache: &str) -> String {
    format!("{COPIES}\ncache = {{ {cache} }}")
}

#[test]
fn whoever_is_known_is_not_asked_about_again() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::Judges));
    let gateway = Gateway::start(&guarded(&backend, &judge, &keeps(""), ""));
    for _ in 0..10 {
        let answer = get_as(&gateway, "ada", "/guarded");
        assert_eq!((answer.status(), header_seen(&answer.json(), "x-user")), (200, Some("ada")));
    }
    assert_eq!((judge.requests(), results(&gateway, "allowed"), results(&gateway, "cached")), (1, 1.0, 9.0));
    // Another person, another path and another method are other questions.
    assert_eq!(header_seen(&get_as(&gateway, "bob", "/guarded").json(), "x-user"), Some("bob"));
    assert_eq!(get_as(&gateway, "ada", "/guarded/other").status(), 200);
    assert_eq!(
        gateway.connect().ask(head("DELETE", "/guarded", "Authorization: Bearer ada\r\n")).status(),
        200
    );
    assert_eq!(judge.requests(), 4);
    for _ in 0..3 {
        assert_eq!(gateway.get("/guarded").status(), 401);
    }
    assert_eq!((judge.requests(), results(&gateway, "denied")), (5, 3.0));
    let auth = &gateway.admin_get("/v1/status").json()["auths"][0];
    assert_eq!(
        (&auth["name"], &auth["kept"]["passed"], &auth["kept"]["refused"]),
        (&"session".into(), &4.into(), &1.into())
    );
    let gauge =
        |kind| gateway.metrics().value("tidegate_auth_decisions", &[("auth", "session"), ("kind", kind)]);
    assert_eq!((gauge("passed"), gauge("refused")), (4.0, 1.0));
}

#[test]
fn many_who_want_the_same_at_once_ask_once() {
    let (backend, judge) =
        (Origin::well_behaved(), Origin::start(Behaviour::JudgesAfter(Duration::from_millis(700))));
    let gateway = Gateway::start(&guarded(&backend, &judge, &keeps(""), ""));
    let mut clients: Vec<Raw> = (0..30).map(|_| gateway.connect()).collect();
    clients.iter_mut().for_each(|raw| raw.send(head("GET", "/guarded", "Authorization: Bearer ada\r\n")));
    for raw in &mut clients {
        assert_eq!(raw.answer(false).status(), 200);
    }
    assert_eq!((judge.requests(), backend.requests()), (1, 30));
}

#[test]
fn when_the_one_who_asks_leaves_the_others_are_answered_all_the_same() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::AcceptsAndNeverAnswers));
    let gateway =
        Gateway::start(&guarded(&backend, &judge, &format!("{}\ntimeout = \"30s\"", keeps("")), ""));
    let ask = || {
        let mut raw = gateway.connect();
        raw.send(head("GET", "/guarded", "Authorization: Bearer ada\r\n"));
        raw
    };
    let first = ask();
    judge.holds(1);
    let mut others: Vec<Raw> = (0..10).map(|_| ask()).collect();
    wait_until(PATIENCE, "all of them wait", || gateway.status()["in_flight"] == 11);
    assert_eq!(judge.requests(), 1);
    judge.switch(Behaviour::Judges);
    first.abort();
    for raw in &mut others {
        assert_eq!(raw.answer(false).status(), 200);
    }
    assert_eq!(judge.requests(), 2);
}

#[test]
fn what_the_service_says_about_keeping_is_obeyed() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::Judges));
    let config = guarded(&backend, &judge, &keeps(""), "").route("all", "/", "u", "auth = \"session\"");
    let gateway = Gateway::start(&config);
    for n in 1..=3 {
        assert_eq!(get_as(&gateway, "ada", "/private").status(), 200);
        assert_eq!(judge.requests(), n);
    }
    assert_eq!(get_as(&gateway, "ada", "/brief").status(), 200);
    assert_eq!(judge.requests(), 4);
    wait_until(PATIENCE, "a second is over", || {
        assert_eq!(get_as(&gateway, "ada", "/brief").status(), 200);
        judge.requests() > 4
    });
}

#[test]
fn whoever_is_known_keeps_working_while_the_service_hangs() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::Judges));
    let gateway =
        Gateway::start(&guarded(&backend, &judge, &format!("{}\ntimeout = \"300ms\"", keeps("")), ""));
    wait_until(PATIENCE, "ada is known", || get_as(&gateway, "ada", "/guarded").status() == 200);
    judge.switch(Behaviour::AcceptsAndNeverAnswers);
    for _ in 0..20 {
        assert!([503, 504].contains(&get_as(&gateway, "bob", "/guarded").status()));
        assert_eq!(get_as(&gateway, "ada", "/guarded").status(), 200);
    }
}

#[test]
fn the_last_decision_stands_in_for_as_long_as_it_may() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::Judges));
    let stale = format!("{}\non_error = \"stale\"", keeps("ttl = \"1ms\", stale = \"5m\""));
    let gateway = Gateway::start(&guarded(&backend, &judge, &stale, ""));
    assert_eq!(get_as(&gateway, "ada", "/guarded").status(), 200);
    judge.switch(Behaviour::ClosesWithoutAnswer);
    let answer = get_as(&gateway, "ada", "/guarded");
    assert_eq!((answer.status(), header_seen(&answer.json(), "x-user")), (200, Some("ada")));
    assert_eq!(results(&gateway, "stale"), 1.0);
    let stranger = get_as(&gateway, "bob", "/guarded");
    assert_eq!((stranger.status(), stranger.reason()), (503, Some("auth_failed")));
    // Who is refused since then does not pass by an older decision.
    judge.switch(Behaviour::Says("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"));
    assert_eq!(get_as(&gateway, "ada", "/guarded").status(), 403);
    judge.switch(Behaviour::ClosesWithoutAnswer);
    wait_until(PATIENCE, "the refusal is over", || get_as(&gateway, "ada", "/guarded").status() != 403);
    assert_eq!(get_as(&gateway, "ada", "/guarded").status(), 503);
}

#[test]
fn decisions_live_on_across_a_change_unless_the_auth_or_its_upstream_differs() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::Judges));
    let config = |cache: &str, upstream: &str| guarded(&backend, &judge, &keeps(cache), upstream);
    let gateway = Gateway::start(&config("", ""));
    let asked_after = |config: &Config| {
        gateway.change(config);
        assert_eq!(get_as(&gateway, "ada", "/guarded").status(), 200);
        judge.requests()
    };
    assert_eq!(get_as(&gateway, "ada", "/guarded").status(), 200);
    assert_eq!(judge.requests(), 1);
    assert_eq!(asked_after(&config("", "").route("new", "/new", "u", "")), 1, "nothing of it differs");
    assert_eq!(asked_after(&config("ttl = \"29s\"", "")), 2, "the auth differs");
    assert_eq!(
        asked_after(&config("ttl = \"29s\"", "connect_timeout = \"501ms\"")),
        3,
        "its upstream differs"
    );
    assert_eq!(gateway.metrics().value("tidegate_auth_requests_total", &[("result", "cached")]), 1.0);
}

#[test]
fn whoever_is_known_outlasts_a_wrong_address_of_the_service() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::Judges));
    let wrong = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let stale = format!("{}\non_error = \"stale\"\ntimeout = \"500ms\"", keeps(""));
    let config = |judge: &Origin, auth: &str| guarded(&backend, judge, auth, "");
    let gateway = Gateway::start(&config(&judge, &stale));
    // A busy machine may need more than one try.
    let is_known =
        || wait_until(PATIENCE, "ada is known", || get_as(&gateway, "ada", "/guarded").status() == 200);
    is_known();
    gateway.change(&config(&wrong, &stale));
    for _ in 0..4 {
        let answer = get_as(&gateway, "ada", "/guarded");
        assert_eq!((answer.status(), header_seen(&answer.json(), "x-user")), (200, Some("ada")));
        assert!([503, 504].contains(&get_as(&gateway, "bob", "/guarded").status()));
    }
    assert_eq!((results(&gateway, "stale"), results(&gateway, "cached")), (4.0, 0.0), "never fresh");
    // What the new service says is believed, and nothing older stands in for it afterwards.
    wrong.switch(Behaviour::Says(
        "HTTP/1.1 403 Forbidden\r\ncache-control: no-store\r\ncontent-length: 0\r\n\r\n",
    ));
    wait_until(PATIENCE, "it is asked again", || get_as(&gateway, "ada", "/guarded").status() == 403);
    wrong.switch(Behaviour::AcceptsAndNeverAnswers);
    for _ in 0..3 {
        assert!([503, 504].contains(&get_as(&gateway, "ada", "/guarded").status()));
    }
    // And an auth that judges by other rules knows nobody.
    gateway.change(&config(&judge, &stale));
    is_known();
    gateway.change(&config(&wrong, &format!("{stale}\nsubject_header = \"x-user\"")));
    assert!([503, 504].contains(&get_as(&gateway, "ada", "/guarded").status()));
}

#[test]
fn whoever_waits_while_a_wrong_address_is_taken_back_is_known_all_the_same() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::Judges));
    let wrong = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let stale = format!("{}\non_error = \"stale\"\ntimeout = \"3s\"", keeps(""));
    let gateway = Gateway::start(&guarded(&backend, &judge, &stale, ""));
    assert_eq!(get_as(&gateway, "ada", "/guarded").status(), 200);
    gateway.change(&guarded(&backend, &wrong, &stale, ""));
    let mut waits = gateway.connect();
    waits.send(head("GET", "/guarded", "Authorization: Bearer ada\r\n"));
    wrong.holds(1);
    gateway.change(&guarded(&backend, &judge, &stale, ""));
    assert_eq!(waits.answer(false).status(), 200);
    assert_eq!((results(&gateway, "stale"), wrong.requests()), (1.0, 1));
}

#[test]
fn there_are_never_more_decisions_than_may_be_kept() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::Judges));
    let gateway = Gateway::start(&guarded(&backend, &judge, &keeps("max_entries = 10"), ""));
    let mut raw = gateway.connect();
    for user in 0..40 {
        let answer = raw.ask(head("GET", "/guarded", &format!("Authorization: Bearer user{user}\r\n")));
        assert_eq!(answer.status(), 200);
    }
    let gauge =
        |kind| gateway.metrics().value("tidegate_auth_decisions", &[("auth", "session"), ("kind", kind)]);
    assert_eq!(gauge("passed"), 10.0);
}

#[test]
fn those_who_wait_for_the_same_answer_leave_the_rest_of_the_process_to_others() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::AcceptsAndNeverAnswers));
    let config = guarded(&backend, &judge, &format!("{}\ntimeout = \"30s\"", keeps("")), "");
    let gateway = Gateway::start(&config.gateway("max_in_flight = 40"));
    let mut clients: Vec<Raw> = (0..60).map(|_| gateway.connect()).collect();
    clients.iter_mut().for_each(|raw| raw.send(head("GET", "/guarded", "Authorization: Bearer ada\r\n")));
    wait_until(PATIENCE, "each of them waits or is refused", || {
        gateway.status()["in_flight"].as_u64() == Some(60 - gateway.access_log().len() as u64)
    });
    for _ in 0..20 {
        assert_eq!(gateway.get("/public").status(), 200);
    }
    assert_eq!(gateway.status()["in_flight"], 11, "one who asks, and a quarter of the process");
    assert_eq!((judge.requests(), results(&gateway, "overload")), (1, 49.0));
    drop(clients);
    gateway.settles(Duration::from_secs(20));
}
