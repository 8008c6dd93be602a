//! What happens is told: to whoever listens, at once; to whoever comes back, what was missed, or that it is
//! gone. Listeners, however many and however slow, take nothing from the other operators.

use crate::support::config::Config;
use crate::support::gateway::{Gateway, cli};
use crate::support::operator::{Listener, ask};
use crate::support::origins::{Behaviour, Origin};
use crate::support::raw::Raw;
use crate::support::{PATIENCE, wait_for, wait_until};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// An overload is over after ten seconds without a shed.
const LONG: Duration = Duration::from_secs(60);

fn simple() -> (Origin, Gateway) {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    (origin, gateway)
}

/// Makes another version active, which is an event.
fn another_version(gateway: &Gateway, origin: &Origin, n: u32) {
    gateway.change(&Config::simple(origin.address()).gateway(&format!("max_in_flight = {}", 5000 + n)));
}

fn items(gateway: &Gateway, query: &str) -> Vec<Value> {
    let answer = ask(gateway.admin(), "GET", &format!("/v1/events?follow=false{query}"), &[], "");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()["items"].as_array().expect("a list of items").clone()
}

fn ids(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["id"].as_u64().expect("an id")).collect()
}

#[test]
fn the_start_of_the_process_is_told_to_whoever_comes_later() {
    let (_origin, gateway) = simple();
    let ready = wait_for(PATIENCE, "ready is told", || {
        items(&gateway, "").into_iter().find(|e| e["step"] == "ready")
    });
    let steps: Vec<_> = items(&gateway, "&kinds=process").iter().map(|e| e["step"].to_string()).collect();
    assert_eq!(steps, ["\"start\"", "\"ready\""]);
    assert_eq!((&ready["kind"], &ready["message"]), (&"process".into(), &"ready".into()));
    assert_eq!(ready["admin"], gateway.admin().to_string());
    let at = ready["at"].as_str().expect("a time");
    assert!(at.len() == "2026-11-01T12:00:00.045Z".len() && at.ends_with('Z'), "{at}");
}

#[test]
fn events_after_the_last_event_id_are_replayed_and_then_go_on() {
    let (origin, gateway) = simple();
    another_version(&gateway, &origin, 1);
    another_version(&gateway, &origin, 2);
    let known = wait_for(PATIENCE, "both are told", || {
        let mut known = items(&gateway, "&kinds=config");
        // The very first version is told too.
        known.retain(|event| event["cause"] != "boot");
        (known.len() == 2).then_some(known)
    });
    let (first, second) = (known[0]["id"].clone(), known[1]["id"].clone());
    let by_header = Listener::open(gateway.admin(), "?kinds=config", &[&format!("Last-Event-ID: {first}")]);
    let by_query = Listener::open(gateway.admin(), &format!("?after={first}&kinds=config"), &[]);
    for mut listener in [by_header.expect("a stream"), by_query.expect("a stream")] {
        let event = listener.next().expect("replayed");
        assert_eq!((&event["id"], &event["outcome"]), (&second, &"applied".into()));
        another_version(&gateway, &origin, second.as_u64().expect("an id") as u32 % 1000 + 3);
        let event = listener.next().expect("it goes on");
        assert!(event["id"].as_u64() > second.as_u64() && event["hash"] == gateway.hash().as_str());
        gateway.change(&Config::simple(origin.address()));
    }
}

#[test]
fn a_gap_is_told_before_what_is_left() {
    let (_origin, gateway) = simple();
    let first = wait_for(PATIENCE, "something happened", || items(&gateway, "").first().cloned());
    for query in ["?after=1", "?after=18000000000000000000"] {
        let mut listener = Listener::open(gateway.admin(), query, &[]).expect("a stream");
        let gap = listener.next().expect("told");
        assert_eq!(gap["kind"], "gap", "{gap}");
        assert!(gap["until"].as_u64() < first["id"].as_u64(), "{gap}");
        assert_eq!(listener.next().expect("the rest"), first);
    }
    assert_eq!(items(&gateway, "&after=1")[0]["kind"], "gap");
    let after_header = ask(gateway.admin(), "GET", "/v1/events", &["Last-Event-ID: yesterday"], "");
    assert_eq!(after_header.status(), 400);
}

#[test]
fn ids_are_greater_after_a_restart() {
    let (_origin, gateway) = simple();
    let before = wait_for(PATIENCE, "something happened", || items(&gateway, "").last().cloned());
    let gateway = gateway.restart(crate::support::gateway::Launch::default());
    let after = wait_for(PATIENCE, "something happened", || items(&gateway, "").first().cloned());
    assert!(after["id"].as_u64() > before["id"].as_u64());
    let gap = &items(&gateway, &format!("&after={}", before["id"]))[0];
    assert_eq!(gap["kind"], "gap", "what the earlier process said later is not known");
}

/// A gateway whose only backend hangs, with room for one request.
fn crowded() -> (Origin, Config) {
    let hung = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let bounds = "max_in_flight = 1\nqueue = { max_waiting = 0, max_wait = \"10ms\" }";
    let config =
        Config::new().upstream("u", &[hung.address()], bounds).route("r", "/", "u", "timeout = \"60s\"");
    (hung, config)
}

#[test]
fn only_the_kinds_that_are_wanted_are_told() {
    let (hung, config) = crowded();
    let gateway = Gateway::start(&config);
    let mut sheds = Listener::open(gateway.admin(), "?after=0&kinds=shed", &[]).expect("a stream");
    let mut all = Listener::open(gateway.admin(), "?after=0", &[]).expect("a stream");
    let _held = gateway.ask("/", 1);
    hung.holds(1);
    assert_eq!(gateway.get("/").status(), 503);
    let event = sheds.next().expect("told");
    assert_eq!((&event["kind"], &event["upstream"]), (&"shed".into(), &"u".into()), "{event}");
    assert!(event["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    all.until("the start is told too", |event| event["kind"] == "process");
    all.until("and the sheds", |event| event["kind"] == "shed");
    let unknown = ask(gateway.admin(), "GET", "/v1/events?kinds=shedding", &[], "");
    assert!(unknown.status() == 400 && unknown.text().contains("shed, ramp"), "{}", unknown.text());
}

#[test]
fn an_overload_is_told_at_once_and_when_it_is_over_and_not_in_every_second_of_it() {
    let (hung, config) = crowded();
    let gateway = Gateway::start(&config);
    let _held = gateway.ask("/", 1);
    hung.holds(1);
    let started = Instant::now();
    wait_until(LONG, "three seconds of an overload", || {
        assert_eq!(gateway.get("/").status(), 503);
        started.elapsed() >= Duration::from_secs(3)
    });
    let told = |what: &str| {
        let mut sheds = items(&gateway, "&kinds=shed");
        sheds.retain(|event| event["what"] == what);
        sheds
    };
    let metrics = gateway.metrics();
    let all = |event: &Value| {
        let reason = event["reason"].as_str().expect("a word");
        let labels = [("upstream", "u"), ("class", "default"), ("reason", reason)];
        metrics.value("tidegate_shed_total", &labels) as u64
    };
    let began = wait_for(PATIENCE, "it is told", || told("began").into_iter().max_by_key(all));
    assert!(told("began").len() <= 2 && told("lasts").is_empty(), "one of a reason: {:?}", told("began"));
    let lasted = started.elapsed().as_secs();
    wait_until(LONG, "it is over for each reason", || told("began").len() == told("ended").len());
    let is_of = |event: &Value| event["reason"] == began["reason"];
    let ended = told("ended").into_iter().find(is_of).expect("with the reason that it began with");
    assert_eq!((&ended["total"], &ended["since"]), (&all(&began).into(), &began["since"]), "{ended}");
    assert!(ended["seconds"].as_u64().is_some_and(|seconds| (2..=lasted + 1).contains(&seconds)), "{ended}");
    // What is shed again is another overload, and one of an upstream that nobody has any more is over too.
    let before = told("began").len();
    assert_eq!(gateway.get("/").status(), 503);
    wait_until(PATIENCE, "it begins again", || told("began").len() > before);
    assert_eq!(told("began").last().expect("told")["total"], 1, "it counts from its own beginning");
    let origin = Origin::well_behaved();
    let config = Config::new().upstream("other", &[origin.address()], "").route("r", "/", "other", "");
    gateway.change(&config);
    wait_until(LONG, "it is over", || told("ended").len() > before);
}

#[test]
fn too_many_listeners_are_refused_and_lock_nobody_out() {
    let (origin, gateway) = simple();
    let mut seated: Vec<Listener> = (0..32)
        .map(|n| Listener::open(gateway.admin(), "", &[]).unwrap_or_else(|a| panic!("{n}: {}", a.text())))
        .collect();
    let refused = Listener::open(gateway.admin(), "", &[]).err().expect("one too many");
    assert_eq!((refused.status(), &refused.json()["reason"]), (503, &"too_many_subscribers".into()));
    // And whoever wants to keep everybody else out holds connections too.
    let mut crowd: Vec<Raw> = (0..200).map(|_| Raw::connect(gateway.admin())).collect();
    for raw in crowd.iter_mut().step_by(2) {
        let _ = raw.try_send("GET /v1/status HTTP/1.1\r\n");
    }
    for _ in 0..10 {
        let started = Instant::now();
        assert_eq!(gateway.admin_get("/readyz").status(), 200);
        assert_eq!(gateway.admin_get("/metrics").status(), 200);
        assert_eq!(ask(gateway.admin(), "POST", "/v1/upstreams", &[], "").status(), 405);
        assert!(started.elapsed() < Duration::from_secs(2));
    }
    let metrics = gateway.metrics();
    assert_eq!(metrics.get("tidegate_event_subscribers", &[]), Some(32.0));
    assert_eq!(metrics.get("tidegate_event_subscribers_refused_total", &[]), Some(1.0));
    assert_eq!(metrics.get("tidegate_events_dropped_total", &[]), Some(0.0));
    another_version(&gateway, &origin, 1);
    for listener in &mut seated {
        listener.until("every listener was spared", |event| event["outcome"] == "applied");
    }
    drop(seated);
    wait_until(PATIENCE, "the seats come back", || Listener::open(gateway.admin(), "", &[]).is_ok());
}

#[test]
fn a_drain_is_told_and_ends_the_streams() {
    let origin = Origin::well_behaved();
    let config = Config::simple(origin.address()).gateway("drain_delay = \"300ms\"\ndrain_timeout = \"5s\"");
    let mut gateway = Gateway::start(&config);
    let mut listener = Listener::open(gateway.admin(), "?kinds=process", &[]).expect("a stream");
    gateway.term();
    listener.until("the drain is told", |event| event["step"] == "draining");
    listener.until("and its next step", |event| event["step"] == "accepting_stopped");
    assert_eq!(gateway.exit(PATIENCE).code(), Some(0), "a stream does not hold up the end");
    while listener.next().is_ok() {}
}

#[test]
fn the_command_line_lists_and_follows_events() {
    let (origin, gateway) = simple();
    wait_until(PATIENCE, "ready is told", || items(&gateway, "").iter().any(|e| e["step"] == "ready"));
    let listed = items(&gateway, "");
    let lines = gateway.cli(&["events"]);
    let text = String::from_utf8_lossy(&lines.stdout).into_owned();
    assert_eq!((lines.status.code(), text.lines().count()), (Some(0), listed.len()), "{text}");
    let is_known = |line: &str| ["process", "listener", "cause=boot"].iter().any(|kind| line.contains(kind));
    assert!(text.lines().all(is_known), "{text}");
    let json = gateway.cli(&["events", "--json", "--kind", "process"]);
    let json = String::from_utf8(json.stdout).expect("UTF-8");
    let known: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(ids(&known), ids(&items(&gateway, "&kinds=process")));
    let newest = listed.last().expect("ready")["id"].to_string();
    let since = gateway.cli(&["events", "--after", &newest]);
    assert!(since.stdout.is_empty() && since.status.code() == Some(0));
    assert_eq!(gateway.cli(&["events", "--kind", "nonsense"]).status.code(), Some(1));
    assert_eq!(gateway.cli(&["events", "--kind", "a b"]).status.code(), Some(2));

    let mut follow = cli(&["events", "--follow", "--json", "--kind", "config", "--after", "0"]);
    follow.env("TIDEGATE_ADMIN", format!("http://{}", gateway.admin())).stdout(Stdio::piped());
    let mut follow = follow.spawn().expect("it runs");
    let mut lines = BufReader::new(follow.stdout.take().expect("piped")).lines();
    another_version(&gateway, &origin, 1);
    let line = lines.next().expect("a line").expect("readable");
    let event: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(event["outcome"], "applied");
    follow.kill().expect("killed");
    follow.wait().expect("ended");
}
