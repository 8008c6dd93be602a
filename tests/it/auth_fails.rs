//! A service that judges may hang, break or babble: public routes do not notice, guarded ones are answered in time and
//! say why, what piles up there stays within its own cap, and nothing of another upstream is held meanwhile.

use crate::auth::{COPIES, get_as, guarded, guarded_by, results};
use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::operator::Listener;
use crate::support::origins::exchange::header_seen;
use crate::support::origins::{Behaviour, Origin, SynBlackHole, refused};
use crate::support::raw::{Raw, get};
use crate::support::{PATIENCE, wait_until};
use std::time::{Duration, Instant};

const CAP: u64 = 16;
/// What an auth of a test says whose service is not to be waited for.
const SHORT: &str = "timeout = \"200ms\"";

fn full_of(n: u64) -> String {
    format!("max_in_flight = {n}\nqueue = {{ max_waiting = 0 }}")
}

/// Clients that ask for `path` and do not wait.
fn ask(gateway: &Gateway, path: &str, n: u64) -> Vec<Raw> {
    gateway.ask(path, n as usize)
}

#[test]
fn a_service_that_never_answers_costs_public_routes_nothing_and_guarded_ones_their_timeout_once() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::AcceptsAndNeverAnswers));
    let gateway = Gateway::start(&guarded(&backend, &judge, SHORT, &format!("max_in_flight = {CAP}")));
    let mut events = Listener::open(gateway.admin(), "?kinds=auth", &[]).expect("the stream opens");
    let public = Load::paced(gateway.edge(), "/public", 4, Duration::from_millis(4));
    let protected = Load::paced(gateway.edge(), "/guarded", 32, Duration::from_millis(20));
    let silent = events.until("it is told", |event| event["what"] == "silent");
    assert_eq!((&silent["auth"], &silent["upstream"]), (&"session".into(), &"judge".into()));
    // Once it is known to be silent, nobody waits for it but the one who tries.
    let asked = judge.requests();
    let quick = (0..50).filter(|_| {
        let started = Instant::now();
        let answer = gateway.get("/guarded");
        assert!([503, 504].contains(&answer.status()), "{answer:?}");
        let reason = answer.reason().expect("it says why");
        assert!(["auth_overload", "auth_timeout"].contains(&reason), "{reason}");
        assert!(answer.get("retry-after").is_some());
        started.elapsed() < Duration::from_millis(100)
    });
    assert!(quick.count() >= 40);
    assert!(judge.requests() - asked < 30, "it is hardly asked any more");
    wait_until(PATIENCE, "there was load", || backend.requests() > 500);
    public.stop().only(&[200]);
    let protected = protected.stop();
    protected.only(&[503, 504]);
    assert!(protected.count(503) > 0 && protected.count(504) > 0);
    assert!(protected.percentile(504, 99) < Duration::from_secs(2), "{:?}", protected.percentile(504, 99));
    assert!(judge.peak() <= CAP, "{} piled up", judge.peak());
    assert!(results(&gateway, "timeout") >= 1.0 && results(&gateway, "overload") >= 1.0);
    assert_eq!(
        gateway.metrics().value("tidegate_shed_total", &[("upstream", "u"), ("reason", "auth_overload")]),
        { results(&gateway, "overload") }
    );
    gateway.settles(Duration::from_secs(20));
}

#[test]
fn a_service_that_answers_again_is_asked_again() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::AcceptsAndNeverAnswers));
    let gateway = Gateway::start(&guarded(&backend, &judge, SHORT, ""));
    let mut events = Listener::open(gateway.admin(), "?kinds=auth", &[]).expect("the stream opens");
    for _ in 0..2 {
        let load = Load::paced(gateway.edge(), "/guarded", 8, Duration::from_millis(20));
        events.until("it is silent", |event| event["what"] == "silent");
        load.stop().only(&[503, 504]);
        judge.switch(Behaviour::Judges);
        wait_until(PATIENCE, "it serves again", || get_as(&gateway, "ada", "/guarded").status() == 200);
        events.until("it answers", |event| event["what"] == "answers");
        assert!((0..20).all(|_| get_as(&gateway, "ada", "/guarded").status() == 200));
        judge.switch(Behaviour::AcceptsAndNeverAnswers);
    }
}

#[test]
fn clients_that_give_themselves_too_little_time_do_not_make_a_service_silent() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::AcceptsAndNeverAnswers));
    let gateway = Gateway::start(&guarded(&backend, &judge, "timeout = \"3s\"\ncache = {}", ""));
    let mut patient = gateway.connect();
    patient.send(crate::auth::head("GET", "/guarded", "Authorization: Bearer ada\r\n"));
    judge.holds(1);
    // The same question, so that they would wait for the patient one, and another one of each of them.
    for n in 0..12 {
        let user = if n % 2 == 0 { "ada".to_owned() } else { n.to_string() };
        let lines = format!("Authorization: Bearer {user}\r\ngrpc-timeout: 20m\r\n");
        let answer = gateway.connect().ask(crate::auth::head("GET", "/guarded", &lines));
        assert_eq!((answer.status(), answer.reason()), (504, Some("auth_timeout")));
    }
    assert_eq!(gateway.status()["auths"][0]["silent"], false);
    assert_eq!(patient.answer(false).reason(), Some("auth_timeout"));
}

#[test]
fn nothing_of_the_target_is_held_while_an_answer_is_waited_for() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::AcceptsAndNeverAnswers));
    let config = guarded(&backend, &judge, "timeout = \"30s\"", "").text("");
    let gateway = Gateway::start(&config);
    let held = ask(&gateway, "/guarded", 40);
    judge.holds(40);
    let of = |name: &str| {
        let upstreams = gateway.upstreams();
        let upstream = upstreams.iter().find(|upstream| upstream["name"] == name).expect("it is there");
        upstream["in_flight"].as_u64()
    };
    assert_eq!((of("u"), of("judge")), (Some(0), Some(40)));
    let permits = gateway.admin_get("/v1/permits").text();
    assert!(permits.contains("waiting_for_auth"), "{permits}");
    assert_eq!(gateway.get("/public").status(), 200);
    assert_eq!(gateway.status()["in_flight"], 40, "the process's permit is held");
    drop(held);
    gateway.settles(Duration::from_secs(20));
}

#[test]
fn a_body_is_not_asked_for_before_its_request_may_pass() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::AcceptsAndNeverAnswers));
    let gateway = Gateway::start(&guarded(&backend, &judge, SHORT, ""));
    let mut raw = gateway.connect();
    raw.send("POST /guarded HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n");
    let answer = raw.answer(false);
    assert_eq!((answer.status(), answer.reason()), (504, Some("auth_timeout")));
}

#[test]
fn what_is_no_answer_is_no_decision_and_says_so() {
    let (backend, judge) = (Origin::well_behaved(), Origin::well_behaved());
    let gateway = Gateway::start(&guarded(&backend, &judge, COPIES, "retry = { max_retries = 0 }"));
    for behaviour in [
        Behaviour::Says("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"),
        Behaviour::Says("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"),
        Behaviour::Says("HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n"),
        Behaviour::Says("HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n"),
        Behaviour::Says("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx"),
        Behaviour::ClosesWithoutAnswer,
        Behaviour::SendsGarbage,
        Behaviour::ResetsMidBody,
        Behaviour::SendsLessThanDeclared,
        Behaviour::BreaksOffAfter(900_000),
        Behaviour::UpgradesAndEchoes,
    ] {
        judge.switch(behaviour);
        let answer = get_as(&gateway, "ada", "/guarded");
        if behaviour == Behaviour::UpgradesAndEchoes {
            assert_eq!(answer.status(), 200, "nobody asked it to switch: {answer:?}");
            continue;
        }
        assert_eq!((answer.status(), answer.reason()), (503, Some("auth_failed")), "{behaviour:?}");
        assert!(answer.get("retry-after").is_some(), "{behaviour:?}");
    }
    assert_eq!(backend.requests(), 1);
    assert_eq!(results(&gateway, "error"), 10.0);
    gateway.settles(Duration::from_secs(20));
}

#[test]
fn an_answer_that_tells_too_much_is_no_decision() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::Judges));
    let gateway = Gateway::start(&guarded(&backend, &judge, COPIES, ""));
    let long = "x".repeat(9_000);
    let answer = get_as(&gateway, &long, "/guarded");
    assert_eq!((answer.status(), answer.reason()), (503, Some("auth_failed")));
    assert_eq!(get_as(&gateway, "ada", "/guarded").status(), 200);
}

#[test]
fn nobody_there_and_nobody_home_are_told_apart_from_no_answer() {
    let backend = Origin::well_behaved();
    let gateway = Gateway::start(&guarded_by(&backend, refused(), "", "retry = { max_retries = 0 }"));
    let answer = get_as(&gateway, "ada", "/guarded");
    assert_eq!((answer.status(), answer.reason()), (503, Some("auth_failed")));
    let hole = SynBlackHole::start();
    let gateway = Gateway::start(&guarded_by(&backend, hole.address(), SHORT, ""));
    let started = Instant::now();
    let answer = get_as(&gateway, "ada", "/guarded");
    assert_eq!((answer.status(), answer.reason()), (504, Some("auth_timeout")));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(gateway.get("/public").status(), 200);
}

#[test]
fn the_time_for_an_answer_counts_the_wait_for_the_gate() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::AcceptsAndNeverAnswers));
    // The upstream's own queue would wait for half a minute.
    let upstream = "max_in_flight = 4\nqueue = { max_waiting = 100, max_wait = \"30s\" }";
    let gateway = Gateway::start(&guarded(&backend, &judge, SHORT, upstream));
    let started = Instant::now();
    let asked = ask(&gateway, "/guarded", 12);
    for mut raw in asked {
        let answer = raw.answer(false);
        assert!([503, 504].contains(&answer.status()), "{answer:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[test]
fn a_rule_that_allows_lets_pass_unverified_and_never_for_want_of_room() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::ClosesWithoutAnswer));
    let allow = format!("on_error = \"allow\"\n{COPIES}\ntimeout = \"30s\"");
    let gateway = Gateway::start(&guarded(&backend, &judge, &allow, &full_of(1)));
    let answer = get_as(&gateway, "ada", "/guarded");
    assert_eq!(answer.status(), 200);
    let echo = answer.json();
    assert_eq!(header_seen(&echo, "x-tidegate-auth"), Some("unverified"));
    assert_eq!(header_seen(&echo, "x-user"), None);
    assert_eq!(results(&gateway, "allowed_on_error"), 1.0);
    judge.switch(Behaviour::AcceptsAndNeverAnswers);
    let held = ask(&gateway, "/guarded", 1);
    judge.holds(1);
    for _ in 0..5 {
        let started = Instant::now();
        let answer = gateway.get("/guarded");
        assert_eq!((answer.status(), answer.reason()), (503, Some("auth_overload")));
        assert!(started.elapsed() < Duration::from_secs(2), "at once");
    }
    assert_eq!(backend.requests(), 1, "nobody else came through");
    drop(held);
}

#[test]
fn clients_that_leave_while_they_are_judged_leave_nothing_behind() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::AcceptsAndNeverAnswers));
    let gateway = Gateway::start(&guarded(&backend, &judge, "timeout = \"30s\"\ncache = {}", &full_of(CAP)));
    for user in 0..8 {
        let mut raw = Raw::connect_from([127, 0, 1, user], gateway.edge());
        raw.send(crate::auth::head("GET", "/guarded", &format!("Authorization: Bearer {user}\r\n")));
        wait_until(PATIENCE, "it is asked", || judge.requests() == 1 + u64::from(user));
        raw.abort();
    }
    wait_until(Duration::from_secs(20), "every question has ended", || judge.in_flight() == 0);
    gateway.settles(Duration::from_secs(20));
    judge.switch(Behaviour::Judges);
    wait_until(PATIENCE, "it serves again", || get_as(&gateway, "ada", "/guarded").status() == 200);
}

#[test]
fn an_auth_that_shares_the_upstream_of_its_route_has_room_of_its_own_there() {
    let both = Origin::start(Behaviour::Judges);
    let config = Config::new()
        .upstream("u", &[both.address()], "max_in_flight = 8")
        .text("[[auth]]\nname = \"session\"\nupstream = \"u\"\npath = \"/verify\"\ntimeout = \"5s\"")
        .route("guarded", "/guarded", "u", "auth = \"session\"\ntimeout = \"30s\"");
    let gateway = Gateway::start(&config);
    assert_eq!(get_as(&gateway, "ada", "/guarded").status(), 200);
    assert_eq!(both.requests(), 2);
    assert_eq!(Raw::connect(gateway.edge()).ask(get("/guarded")).status(), 401);
}

#[test]
fn whoever_gives_itself_too_little_time_does_not_pass_for_that() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::AcceptsAndNeverAnswers));
    for auth in ["on_error = \"allow\"", "on_error = \"allow\"\ncache = {}"] {
        let fixed = "[[routes]]\nname = \"fixed\"\npath = \"/fixed\"\nauth = \"session\"\nrespond = { body = \"secret\" }";
        let gateway = Gateway::start(&guarded(&backend, &judge, auth, "").text(fixed));
        for path in ["/fixed", "/guarded"] {
            let hurried = gateway.connect().ask(crate::auth::head("GET", path, "grpc-timeout: 30m\r\n"));
            assert_eq!((hurried.status(), hurried.reason()), (504, Some("auth_timeout")), "{path}");
        }
        assert_eq!((results(&gateway, "allowed_on_error"), results(&gateway, "timeout")), (0.0, 2.0));
    }
    assert_eq!(backend.requests(), 0);
}

#[test]
fn those_who_give_up_at_once_do_not_keep_a_service_silent_that_answers_again() {
    let (backend, judge) = (Origin::well_behaved(), Origin::start(Behaviour::AcceptsAndNeverAnswers));
    let gateway = Gateway::start(&guarded(&backend, &judge, "timeout = \"2s\"", ""));
    let mut events = Listener::open(gateway.admin(), "?kinds=auth", &[]).expect("the stream opens");
    let load = Load::closed(gateway.edge(), "/guarded", 8);
    events.until("it is silent", |event| event["what"] == "silent");
    load.stop().only(&[503, 504]);
    judge.switch(Behaviour::JudgesAfter(Duration::from_millis(150)));
    // Each of their questions might be the one that finds out, and none of them waits for the answer.
    let hurried = crate::auth::head("GET", "/guarded", "Authorization: Bearer ada\r\ngrpc-timeout: 5m\r\n");
    let (mut flood, started) = (gateway.connect(), Instant::now());
    let mut served = false;
    while !served && started.elapsed() < PATIENCE {
        (0..20).for_each(|_| drop(flood.ask(&hurried)));
        served = get_as(&gateway, "ada", "/guarded").status() == 200;
    }
    assert!(served, "nobody was let through to find out");
}
