//! Levers by API and command line: what may be asked, what is answered, and the exit status. What a ramp does to
//! traffic is told elsewhere.

use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::operator::{Listener, ask, change};
use crate::support::origins::Origin;
use crate::support::raw::Answer;
use crate::support::{PATIENCE, wait_until};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const OF_UPSTREAM: &str = "/v1/upstreams/u/ramp";
const OF_BACKEND: &str = "/v1/upstreams/u/backends/u0/ramp";
const STATE: &str = "/v1/upstreams/u/backends/u0/state";

fn started() -> (Vec<Origin>, Gateway) {
    let origins = vec![Origin::well_behaved(), Origin::well_behaved()];
    let addresses: Vec<_> = origins.iter().map(Origin::address).collect();
    let gateway = Gateway::start(&Config::new().upstream("u", &addresses, "").route("r", "/", "u", ""));
    (origins, gateway)
}

fn put(gateway: &Gateway, path: &str, body: Value) -> Answer {
    change(gateway.admin(), "PUT", path, &body)
}

fn show(gateway: &Gateway, path: &str) -> Value {
    gateway.admin_get(path).json()
}

/// Exit status and everything it said.
fn run(gateway: &Gateway, arguments: &[&str]) -> (Option<i32>, String) {
    let output = gateway.cli(arguments);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("UTF-8"))
}

#[test]
fn a_ramp_is_set_shown_paused_resumed_and_cleared() {
    let (_origins, gateway) = started();
    for path in [OF_UPSTREAM, OF_BACKEND] {
        let before = show(&gateway, path);
        assert_eq!((&before["set"], &before["percent"]), (&false.into(), &100.0.into()), "{before}");
        let order = json!({
            "percent": 25, "then": 100, "after": "10m", "reference": 12, "reason": "a cold release"
        });
        let answer = put(&gateway, path, order);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let lever = answer.json();
        assert_eq!((&lever["set"], &lever["persisted"]), (&true.into(), &true.into()), "{lever}");
        assert_eq!((&lever["percent"], &lever["reference"]), (&25.0.into(), &12.0.into()));
        assert_eq!((&lever["by"], &lever["reason"]), (&"loopback".into(), &"a cold release".into()));
        assert_eq!((&lever["then"]["percent"], &lever["then"]["paused"]), (&100.0.into(), &false.into()));
        assert!(lever["forecast"]["shed_percent"].is_number(), "{lever}");
        let change_by = |method: &str, more: &str| {
            change(gateway.admin(), method, &format!("{path}{more}"), &Value::Null).json()
        };
        assert_eq!(change_by("POST", ":pause")["then"]["paused"], true);
        assert_eq!(show(&gateway, path)["then"]["paused"], true);
        assert_eq!(change_by("POST", ":resume")["then"]["paused"], false);
        let cleared = change_by("DELETE", "");
        assert_eq!((&cleared["set"], &cleared["percent"]), (&false.into(), &100.0.into()));
        assert_eq!(show(&gateway, path)["set"], false);
    }
}

#[test]
fn a_half_percent_and_nothing_at_all_are_percentages() {
    let (_origins, gateway) = started();
    for percent in [json!(2.5), json!(0), json!(100)] {
        let answer = put(&gateway, OF_UPSTREAM, json!({ "percent": percent }));
        assert_eq!((answer.status(), answer.json()["percent"].as_f64()), (200, percent.as_f64()));
    }
}

#[test]
fn a_drain_is_set_and_taken_back_and_twice_is_once() {
    let (_origins, gateway) = started();
    assert_eq!(show(&gateway, STATE)["state"], "ready");
    for _ in 0..2 {
        let drained = put(&gateway, STATE, json!({ "state": "drain", "reason": "a new disk" }));
        assert_eq!((drained.status(), &drained.json()["state"]), (200, &"drain".into()));
        assert_eq!((&drained.json()["by"], &drained.json()["persisted"]), (&"loopback".into(), &true.into()));
    }
    assert_eq!(show(&gateway, STATE)["reason"], "a new disk");
    assert_eq!(show(&gateway, "/v1/levers")["items"][0]["kind"], "drain");
    for _ in 0..2 {
        let ready = put(&gateway, STATE, json!({ "state": "ready" }));
        assert_eq!((ready.status(), &ready.json()["state"]), (200, &"ready".into()));
    }
    assert_eq!(show(&gateway, "/v1/levers"), json!({ "items": [] }));
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    let (_origins, gateway) = started();
    let long = "x".repeat(501);
    for (status, path, body) in [
        (400, OF_UPSTREAM, "{\"percent\": 25".to_owned()),
        (400, OF_UPSTREAM, "[]".into()),
        (400, OF_UPSTREAM, "{}".into()),
        (400, OF_UPSTREAM, "{\"percent\": \"25%\"}".into()),
        (400, OF_UPSTREAM, "{\"percent\": 25, \"precent\": 50}".into()),
        (400, OF_UPSTREAM, "{\"percent\": 25, \"percent\": 50}".into()),
        (400, OF_UPSTREAM, "{\"percent\": NaN}".into()),
        (400, OF_UPSTREAM, "{\"percent\": 25, \"then\": 100, \"after\": \"10 parsecs\"}".into()),
        (422, OF_UPSTREAM, "{\"percent\": 101}".into()),
        (422, OF_UPSTREAM, "{\"percent\": -1}".into()),
        (422, OF_UPSTREAM, "{\"percent\": 25, \"then\": 100}".into()),
        (422, OF_UPSTREAM, "{\"percent\": 25, \"after\": \"10m\"}".into()),
        (422, OF_UPSTREAM, "{\"percent\": 25, \"then\": 101, \"after\": \"10m\"}".into()),
        (422, OF_UPSTREAM, "{\"percent\": 25, \"then\": 100, \"after\": \"999d\"}".into()),
        (422, OF_UPSTREAM, "{\"percent\": 25, \"reference\": 0}".into()),
        (422, OF_UPSTREAM, format!("{{\"percent\": 25, \"reason\": \"{long}\"}}")),
        (422, OF_UPSTREAM, "{\"percent\": 25, \"reason\": \"two\\nlines\"}".into()),
        (400, STATE, "{\"state\": \"gone\"}".into()),
        (404, "/v1/upstreams/nope/ramp", "{\"percent\": 25}".into()),
        (404, "/v1/upstreams/u/backends/nope/ramp", "{\"percent\": 25}".into()),
        (404, "/v1/upstreams/u/backends/nope/state", "{\"state\": \"drain\"}".into()),
        (404, "/v1/upstreams/u/backends/nope/state", "{\"state\": \"ready\"}".into()),
    ] {
        let answer = ask(gateway.admin(), "PUT", path, &["Content-Type: application/json"], &body);
        assert_eq!(answer.status(), status, "{path} {body}: {}", answer.text());
        assert_eq!(answer.get("content-type"), Some("application/problem+json"));
    }
    let backend = put(&gateway, "/v1/upstreams/u/backends/nope/ramp", json!({ "percent": 25 })).text();
    assert!(backend.contains("u0, u1"), "it names what there is: {backend}");
    for (method, path) in [
        ("POST", "/v1/upstreams/u/ramp:pause"),
        ("POST", "/v1/upstreams/u/ramp:resume"),
        ("DELETE", OF_UPSTREAM),
    ] {
        let answer = ask(gateway.admin(), method, path, &[], "");
        assert_eq!((answer.status(), &answer.json()["reason"]), (409, &"conflict".into()), "{method} {path}");
        let nobody = ask(gateway.admin(), method, &path.replace("/u/", "/nope/"), &[], "");
        assert_eq!(nobody.status(), 404, "{method} {path}");
    }
    assert_eq!(show(&gateway, "/v1/levers"), json!({ "items": [] }), "nothing was changed");
}

#[test]
fn a_body_that_never_comes_holds_nothing_up() {
    let (_origins, gateway) = started();
    let mut hung = crate::support::raw::Raw::connect(gateway.admin());
    hung.send(format!(
        "PUT {OF_UPSTREAM} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{{",
        gateway.admin()
    ));
    assert_eq!(put(&gateway, OF_UPSTREAM, json!({ "percent": 50 })).status(), 200);
    assert_eq!(hung.answer(false).status(), 503, "it is told when its time is over");
    assert_eq!(show(&gateway, OF_UPSTREAM)["percent"], 50.0);
}

#[test]
fn every_move_is_an_event_with_its_author() {
    let (_origins, gateway) = started();
    let mut listener = Listener::open(gateway.admin(), "?kinds=ramp", &[]).expect("a stream");
    put(&gateway, OF_BACKEND, json!({ "percent": 25, "then": 50, "after": "1s", "reason": "slowly" }));
    let set = listener.next().expect("told");
    assert_eq!((&set["what"], &set["upstream"], &set["backend"]), (&"set".into(), &"u".into(), &"u0".into()));
    assert_eq!(
        (&set["by"], &set["reason"], &set["percent"]),
        (&"loopback".into(), &"slowly".into(), &25.0.into())
    );
    let step = listener.next().expect("told");
    assert_eq!((&step["what"], &step["percent"]), (&"step".into(), &50.0.into()), "{step}");
    put(&gateway, STATE, json!({ "state": "drain" }));
    put(&gateway, STATE, json!({ "state": "ready" }));
    ask(gateway.admin(), "DELETE", OF_BACKEND, &[], "");
    for what in ["drained", "ready", "cleared"] {
        assert_eq!(listener.next().expect("told")["what"], what);
    }
}

#[test]
fn a_version_that_changes_something_under_a_lever_is_an_event() {
    let (origins, gateway) = started();
    put(&gateway, OF_BACKEND, json!({ "percent": 25 }));
    let mut listener = Listener::open(gateway.admin(), "?kinds=ramp", &[]).expect("a stream");
    let turned: Vec<_> = origins.iter().rev().map(Origin::address).collect();
    gateway.change(&Config::new().upstream("u", &turned, "").route("r", "/", "u", ""));
    let conflict = listener.next().expect("told");
    assert_eq!(conflict["what"], "conflict");
    assert!(conflict["message"].as_str().is_some_and(|text| text.contains("u/u0")), "{conflict}");
}

#[test]
fn a_lever_that_cannot_be_kept_says_so_and_acts() {
    let (_origins, gateway) = started();
    let state = gateway.folder().join("state");
    // A folder where the file should be: it cannot be replaced.
    let _ = std::fs::remove_file(state.join("steering.json"));
    std::fs::create_dir_all(state.join("steering.json/in-the-way")).expect("made");
    let lever = put(&gateway, OF_UPSTREAM, json!({ "percent": 25 })).json();
    assert_eq!((&lever["percent"], &lever["persisted"]), (&25.0.into(), &false.into()), "{lever}");
    assert_eq!(gateway.upstreams()[0]["ramp_percent"], 25.0);
    let (code, said) = run(&gateway, &["ramp", "set", "u", "30"]);
    assert!(code == Some(0) && said.contains("not on disk"), "{said}");
}

#[test]
fn a_lever_outlives_a_restart() {
    let (_origins, gateway) = started();
    put(&gateway, OF_BACKEND, json!({ "percent": 25, "reason": "cold" }));
    let gateway = gateway.restart(Launch::default());
    let lever = show(&gateway, OF_BACKEND);
    assert_eq!((&lever["percent"], &lever["reason"]), (&25.0.into(), &"cold".into()), "{lever}");
}

#[test]
fn the_command_line_moves_and_shows_levers() {
    let (_origins, gateway) = started();
    let (code, said) = run(&gateway, &["ramp", "list"]);
    assert_eq!((code, said.trim()), (Some(0), "no ramps, and nothing is drained"));
    let set = [
        "ramp",
        "set",
        "u/u0",
        "25%",
        "--then",
        "100",
        "--after",
        "10m",
        "--reason",
        "cold",
        "--reference",
        "8",
    ];
    let (code, said) = run(&gateway, &set);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("u/u0 carries 25% of 8 in flight, then 100% in"), "{said}");
    assert!(said.contains("u ") && said.contains("in flight"), "what it will shed now: {said}");
    assert_eq!(run(&gateway, &["ramp", "set", "u", "50"]).0, Some(0));
    assert!(run(&gateway, &["ramp", "pause", "u/u0"]).1.contains("paused"));
    assert_eq!(run(&gateway, &["ramp", "resume", "u/u0"]).0, Some(0));
    let (code, said) = run(&gateway, &["drain", "u/u1", "--reason", "a new disk"]);
    assert!(code == Some(0) && said.contains("u/u1 is drained"), "{said}");
    let (code, table) = run(&gateway, &["ramp", "show"]);
    assert_eq!(code, Some(0), "{table}");
    for word in ["u/u0", "25%", "100% in", "loopback", "cold", "u/u1", "drain", "a new disk"] {
        assert!(table.contains(word), "{word} in\n{table}");
    }
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    assert!(run(&gateway, &["ready", "u/u1"]).1.contains("u/u1 is back"));
    assert!(run(&gateway, &["ready", "u/u1"]).1.contains("was not drained"));
    assert_eq!(run(&gateway, &["ramp", "clear", "u/u0"]).0, Some(0));
    assert_eq!(run(&gateway, &["ramp", "clear", "u"]).0, Some(0));
    let (code, said) = run(&gateway, &["ramp", "list", "--json"]);
    assert_eq!((code, serde_json::from_str::<Value>(&said).ok()), (Some(0), Some(json!({ "items": [] }))));
}

#[test]
fn the_command_line_tells_refusals_from_wrong_usage() {
    let (_origins, gateway) = started();
    for arguments in [
        &["ramp", "set", "u"][..],
        &["ramp", "set", "u", "101%"],
        &["ramp", "set", "u", "-1"],
        &["ramp", "set", "u", "a quarter"],
        &["ramp", "set", "u", "25", "--then", "50"],
        &["ramp", "set", "u", "25", "--after", "10m"],
        &["ramp", "set", "u", "25", "--then", "50", "--after", "soon"],
        &["ramp", "set", "u/", "25"],
        &["ramp", "set", "u/../x", "25"],
        &["drain", "u"],
        &["ready", "u"],
        &["ramp"],
    ] {
        let (code, said) = run(&gateway, arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
    }
    for arguments in [
        &["ramp", "set", "nope", "25"][..],
        &["ramp", "pause", "u"],
        &["ramp", "clear", "u"],
        &["drain", "u/nope"],
        &["ramp", "set", "u", "25", "--reference", "0"],
    ] {
        let (code, said) = run(&gateway, arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
    }
    let (_, said) = run(&gateway, &["ramp", "set", "nope", "25"]);
    assert!(said.contains("hint: it has u"), "{said}");
    let nobody = format!("http://{}", crate::support::origins::refused());
    for verb in
        [&["ramp", "set", "u", "25"][..], &["ramp", "list"], &["drain", "u/u0"], &["events", "--follow"]]
    {
        let (code, said) = run(&gateway, &[verb, &["--admin", &nobody]].concat());
        assert_eq!(code, Some(3), "{verb:?}: {said}");
    }
}

#[test]
fn many_operators_at_once_are_all_answered() {
    let (_origins, gateway) = started();
    let admin = gateway.admin();
    std::thread::scope(|scope| {
        for n in 0..16 {
            scope.spawn(move || {
                for percent in 1..10 {
                    let path = if n % 2 == 0 { OF_UPSTREAM } else { OF_BACKEND };
                    let answer = change(admin, "PUT", path, &json!({ "percent": percent * 10 + n % 7 }));
                    assert_eq!(answer.status(), 200, "{}", answer.text());
                }
            });
        }
    });
    let levers = show(&gateway, "/v1/levers");
    assert_eq!(levers["items"].as_array().map(Vec::len), Some(2), "{levers}");
    wait_until(PATIENCE, "the upstream shows it", || gateway.upstreams()[0]["ramp"]["percent"].is_number());
}

#[test]
fn a_thousand_backends_make_no_lever_slow() {
    let addresses: Vec<_> = (0..1000).map(|n| ([127, 0, 0, 1], 20_000 + n).into()).collect();
    let gateway = Gateway::start(&Config::new().upstream("u", &addresses, "").route("r", "/", "u", ""));
    let started = Instant::now();
    for n in 0..5 {
        let path = format!("/v1/upstreams/u/backends/u{n}/ramp");
        assert_eq!(put(&gateway, &path, json!({ "percent": 25 })).status(), 200);
    }
    assert_eq!(gateway.admin_get("/v1/status").status(), 200);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_disk_that_hangs_holds_up_neither_a_lever_nor_a_change_nor_the_end() {
    let origin = Origin::well_behaved();
    let service = || Config::new().gateway("drain_delay = \"0s\"").upstream("u", &[origin.address()], "");
    let mut gateway = Gateway::start(&service().route("r", "/", "u", ""));
    // Whoever opens a pipe for writing waits for a reader, who never comes.
    let hung = gateway.folder().join("state/steering.new");
    mknodat(CWD, hung, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    let answer = put(&gateway, OF_UPSTREAM, json!({ "percent": 25 }));
    assert_eq!((answer.status(), &answer.json()["persisted"]), (200, &false.into()), "{}", answer.text());
    gateway.change(&service().route("other", "/", "u", ""));
    assert_eq!(show(&gateway, OF_UPSTREAM)["percent"], 25.0);
    gateway.term();
    assert!(gateway.exit(PATIENCE).success());
}
