//! Every change has an author, and every refusal too: rows that follow each other, so that whoever lays hands on one
//! is found out.

use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch, cli};
use crate::support::operator::{Listener, ask, change};
use crate::support::origins::Origin;
use crate::support::raw::{Answer, Raw};
use crate::support::{PATIENCE, wait_for, wait_until};
use serde_json::{Value, json};
use std::fs;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// The lever that these tests move.
pub const RAMP: &str = "/v1/upstreams/u/ramp";
const STATE: &str = "/v1/upstreams/u/backends/u0/state";

/// A gateway without tokens before one origin.
pub fn started() -> (Origin, Gateway) {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&Config::simple(origin.address()));
    (origin, gateway)
}

/// Moves a ramp so many times.
pub fn move_ramp(gateway: &Gateway, percents: RangeInclusive<u64>) {
    for percent in percents {
        let answer = change(gateway.admin(), "PUT", RAMP, &json!({ "percent": percent, "reason": "cold" }));
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
}

/// The row that an answer names; nothing if the disk was too slow for it.
pub fn row_of(answer: &Answer) -> Option<u64> {
    let said = answer.get("x-tidegate-audit").expect("it says which row it has");
    assert!(said == "unrecorded" || said.parse::<u64>().is_ok(), "{said}");
    said.parse().ok()
}

/// Asks until the disk answers in time.
pub fn asked(gateway: &Gateway, path: &str, headers: &[&str]) -> Value {
    wait_for(PATIENCE, "the history answers", || {
        let answer = ask(gateway.admin(), "GET", path, headers, "");
        (answer.status() == 200).then(|| answer.json())
    })
}

/// The rows, the oldest first. Whatever was answered before is among them.
pub fn rows(gateway: &Gateway, headers: &[&str]) -> Vec<Value> {
    let mut rows =
        asked(gateway, "/v1/audit?limit=1000", headers)["items"].as_array().expect("items").clone();
    rows.reverse();
    rows
}

/// What the rows are about.
pub fn actions(gateway: &Gateway) -> Vec<String> {
    rows(gateway, &[]).iter().map(|row| row["action"].as_str().expect("a word").to_owned()).collect()
}

/// What `/v1/audit:verify` says.
pub fn verdict(gateway: &Gateway, query: &str) -> Value {
    asked(gateway, &format!("/v1/audit:verify{query}"), &[])
}

/// A file of the state directory.
pub fn state(gateway: &Gateway, name: &str) -> PathBuf {
    gateway.folder().join("state").join(name)
}

/// Lines that were shipped.
pub fn lines(gateway: &Gateway) -> Vec<Value> {
    let text = fs::read_to_string(state(gateway, "audit.jsonl")).unwrap_or_default();
    // The last one may be on its way.
    let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
    whole.lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
}

/// The command line, its status and what it printed.
pub fn run(gateway: &Gateway, arguments: &[&str]) -> (Option<i32>, String) {
    let output = gateway.cli(arguments);
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn every_change_leaves_a_row_that_says_who_what_and_why() {
    let (origin, gateway) = started();
    let mut heard = Listener::open(gateway.admin(), "?kinds=audit", &[]).expect("a stream");
    let (ramp, cold) = (
        json!({ "percent": 25, "then": 100, "after": "10m", "reason": "cold" }),
        json!({ "state": "drain", "reason": "cold" }),
    );
    let wanted = [
        ("PUT", RAMP, ramp, "ramp.set", "u"),
        ("POST", "/v1/upstreams/u/ramp:pause", json!({}), "ramp.pause", "u"),
        ("POST", "/v1/upstreams/u/ramp:resume", json!({}), "ramp.resume", "u"),
        ("DELETE", RAMP, json!({}), "ramp.clear", "u"),
        ("PUT", STATE, cold, "drain", "u/u0"),
        ("PUT", STATE, json!({ "state": "ready" }), "ready", "u/u0"),
    ];
    for (seq, (method, path, body, _, _)) in (1..).zip(&wanted) {
        let answer = change(gateway.admin(), method, path, body);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert!(row_of(&answer).is_none_or(|row| row == seq), "{:?}", row_of(&answer));
    }
    let other =
        Config::simple(origin.address()).text("[[routes]]\nname = \"x\"\npath = \"/x\"\nupstream = \"u\"\n");
    let text = other.render(&gateway.folder().join("state"));
    let applied = gateway.admin_post("/v1/versions?now=true&reason=a+new+route", "", text);
    assert_eq!(applied.status(), 200, "{}", applied.text());

    let rows = rows(&gateway, &[]);
    for ((_, _, _, action, target), row) in wanted.iter().zip(&rows) {
        assert_eq!((row["action"].as_str(), row["target"].as_str()), (Some(*action), Some(*target)), "{row}");
        assert_eq!(
            (&row["actor"], &row["role"], &row["address"]),
            (&json!("loopback"), &json!("admin"), &json!("127.0.0.1"))
        );
        assert_eq!(
            (&row["outcome"], &row["times"], &row["late"]),
            (&json!("done"), &json!(1), &json!(false))
        );
    }
    assert_eq!(
        (&rows[0]["asked"], &rows[0]["reason"]),
        (&json!("percent=25 then=100 after=10m"), &json!("cold"))
    );
    let apply = &rows[6];
    assert_eq!(
        (&apply["action"], &apply["version"]),
        (&json!("apply"), &applied.json()["version"]["number"])
    );
    assert_eq!((&apply["reason"], &apply["acknowledgements"]), (&json!("a new route"), &json!(["now"])));

    let told = heard.until("the last row is told", |event| event["seq"] == 7);
    assert_eq!((&told["hash"], &told["recorded"]), (&apply["hash"], &json!(true)));
    let metrics = gateway.metrics();
    assert_eq!(metrics.labels("tidegate_audit_head", "hash"), [apply["hash"].as_str().expect("a hash")]);
    assert_eq!(metrics.value("tidegate_audit_rows_total", &[]), 7.0);
    wait_until(PATIENCE, "they are shipped", || lines(&gateway) == rows);
}

#[test]
fn every_refusal_leaves_a_row_and_reading_leaves_none() {
    let origin = Origin::well_behaved();
    let token = |name: &str, role: &str| {
        let hash = blake3::hash(name.as_bytes()).to_hex();
        format!("{{ name = \"{name}\", role = \"{role}\", hash = \"{hash}\" }}")
    };
    let tokens = format!("tokens = [{}, {}]", token("see", "viewer"), token("act", "operator"));
    let gateway = Gateway::start(&Config::simple(origin.address()).admin(&tokens));
    let (see, act) = ("Authorization: Bearer see", "Authorization: Bearer act");
    let json = "Content-Type: application/json";
    let stale = format!("If-Match: {}", "0".repeat(64));
    for (method, path, headers, body, status, actor, why) in [
        ("PUT", RAMP, &[json][..], "{}", 401, "anonymous", "unauthenticated"),
        ("PUT", RAMP, &[json, see], "{\"percent\": 5}", 403, "see", "forbidden"),
        ("PUT", RAMP, &[act], "", 400, "act", "bad_request"),
        ("PUT", RAMP, &[act, "Content-Type: text/plain"], "x", 415, "act", "unsupported_media_type"),
        ("PUT", RAMP, &[act, json], "{\"percent\": 500}", 422, "act", "invalid"),
        ("PUT", "/v1/upstreams/none/ramp", &[act, json], "{\"percent\": 5}", 404, "act", "not_found"),
        ("DELETE", RAMP, &[act], "", 409, "act", "conflict"),
        ("POST", "/v1/status", &[act], "", 405, "act", "method_not_allowed"),
        ("POST", "/v1/versions?now=true", &[act], "not a configuration", 422, "act", "invalid"),
        ("POST", "/v1/versions?now=true", &[act, &stale], "", 412, "act", "stale"),
        ("PUT", RAMP, &[act, json, "Origin: http://evil.example"], "{}", 403, "act", "forbidden"),
    ] {
        let answer = ask(gateway.admin(), method, path, headers, body);
        assert_eq!(answer.status(), status, "{method} {path}: {}", answer.text());
        let row = rows(&gateway, &[see]).pop().expect("a row");
        assert_eq!((row["outcome"].as_str(), row["actor"].as_str()), (Some("refused"), Some(actor)), "{row}");
        assert!(row_of(&answer).is_none_or(|seq| row["seq"] == seq), "{row}");
        assert!(row["why"].as_str().is_some_and(|said| said.starts_with(why)), "{why}: {row}");
    }
    let before = rows(&gateway, &[see]).len();
    let text = Config::simple(origin.address()).render(&gateway.folder().join("state"));
    assert_eq!(ask(gateway.admin(), "GET", "/v1/status", &[see], "").status(), 200);
    assert_eq!(ask(gateway.admin(), "POST", "/v1/config:check", &[act], &text).status(), 200);
    assert_eq!(ask(gateway.admin(), "GET", "/livez", &[], "").status(), 200);
    assert_eq!(rows(&gateway, &[see]).len(), before);
    for _ in 0..20 {
        let guess = ask(gateway.admin(), "GET", "/v1/status", &["Authorization: Bearer guess"], "");
        assert_eq!(guess.status(), 401);
    }
    assert_eq!(rows(&gateway, &[see]).len(), before + 1, "what a stranger wants to read is counted apart");
}

#[test]
fn a_page_that_reaches_for_loopback_by_another_name_is_in_the_audit() {
    let (_origin, gateway) = started();
    let refused =
        ask(gateway.admin(), "PUT", RAMP, &["Host: evil.example", "Content-Type: application/json"], "{}");
    assert_eq!(refused.status(), 403);
    let row = &rows(&gateway, &[])[0];
    assert_eq!(
        (&row["actor"], &row["action"], &row["outcome"]),
        (&json!("anonymous"), &json!("ramp.set"), &json!("refused"))
    );
}

#[test]
fn a_flood_of_refusals_is_two_rows_and_every_one_is_counted() {
    let (_origin, mut gateway) = started();
    for _ in 0..300 {
        assert_eq!(ask(gateway.admin(), "DELETE", RAMP, &["Host: evil.example"], "").status(), 403);
    }
    assert_eq!(rows(&gateway, &[]).len(), 1);
    gateway.term();
    assert_eq!(gateway.exit(PATIENCE * 2).code(), Some(0));
    let times: Vec<_> = lines(&gateway).iter().map(|row| row["times"].as_u64().expect("a number")).collect();
    assert_eq!(times, [1, 299], "what was being counted is written at the end");
}

#[test]
fn a_page_that_comes_again_without_being_let_in_is_two_rows_and_no_clock_was_put_back() {
    let (_origin, mut gateway) = started();
    for _ in 0..30 {
        assert_eq!(ask(gateway.admin(), "GET", "/v1/live", &["Host: evil.example"], "").status(), 403);
    }
    assert_eq!(change(gateway.admin(), "PUT", RAMP, &json!({ "percent": 50 })).status(), 200);
    gateway.term();
    assert_eq!(gateway.exit(PATIENCE * 2).code(), Some(0));
    let lines = lines(&gateway);
    let told: Vec<_> = lines.iter().map(|row| (row["action"].as_str(), row["times"].as_u64())).collect();
    assert_eq!(told, [(Some("read"), Some(1)), (Some("ramp.set"), Some(1)), (Some("read"), Some(29))]);
    assert!(lines.is_sorted_by_key(|row| row["at"].as_str().map(str::to_owned)), "{lines:?}");
    assert!(lines.iter().all(|row| row["clock_went_back"] == false), "{lines:?}");
}

#[test]
fn who_leaves_before_the_answer_leaves_a_row() {
    let (_origin, gateway) = started();
    let mut raw = Raw::connect(gateway.admin());
    let host = gateway.admin();
    raw.send(format!(
        "POST /v1/versions?now=true HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
    ));
    assert_eq!(raw.head().map(|head| head.status).ok(), Some(100), "its body is waited for");
    raw.abort();
    wait_until(PATIENCE, "it is noted", || {
        rows(&gateway, &[]).iter().any(|row| row["action"] == "apply" && row["outcome"] != "done")
    });
}

#[test]
fn whoever_lays_hands_on_a_row_is_found_out_and_the_row_is_named() {
    let (_origin, gateway) = started();
    move_ramp(&gateway, 1..=5);
    let head = rows(&gateway, &[])[4]["hash"].as_str().expect("a hash").to_owned();
    wait_until(PATIENCE, "they are shipped", || lines(&gateway).len() == 5);
    let change = |gateway: Gateway, sql: &'static str| {
        let path = state(&gateway, "history.db");
        // What it had open goes with it.
        let gateway = gateway.restart_after(Launch::default(), || {
            let database = rusqlite::Connection::open(path).expect("opens");
            database.execute_batch(sql).expect("done");
        });
        let (status, told) = run(&gateway, &["audit", "--verify", "--head", &head]);
        (gateway, status, told)
    };
    let (gateway, status, told) = change(gateway, "UPDATE audit SET reason = 'it was not me' WHERE seq = 3");
    assert!(status == Some(1) && told.contains("x row 3 changed"), "{told}");
    let (gateway, status, told) = change(gateway, "DELETE FROM audit WHERE seq = 2");
    assert!(status == Some(1) && told.contains("x row 2 removed"), "{told}");
    let (gateway, status, told) = change(gateway, "DELETE FROM audit WHERE seq = 5");
    assert!(
        status == Some(1) && told.contains("segment 2 begins with row 6") && told.contains("lost"),
        "{told}"
    );

    let shipped = fs::read_to_string(state(&gateway, "audit.jsonl")).expect("readable");
    let copy = gateway.folder().join("copy.jsonl");
    let verify = |text: String, head: &[&str]| {
        fs::write(&copy, text).expect("written");
        let output = cli(&["audit", "--verify", "--file"]).arg(&copy).args(head).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let five: Vec<&str> = shipped.lines().take(5).collect();
    let text = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    assert_eq!(verify(text(&five), &["--head", &head]).0, Some(0));
    let (status, told) = verify(text(&five).replacen("percent=2", "percent=9", 1), &[]);
    assert!(status == Some(1) && told.contains("row 2 changed"), "{told}");
    let (status, told) = verify(text(&[five[0], five[1], five[3], five[2], five[4]]), &[]);
    assert!(status == Some(1) && told.contains("row 3 reordered"), "{told}");
    let (status, told) = verify(text(&five[..4]), &["--head", &head]);
    assert!(status == Some(1) && told.contains("row 5 truncated"), "{told}");
}

#[test]
fn the_command_line_lists_who_did_what() {
    let (_origin, gateway) = started();
    assert_eq!(run(&gateway, &["audit"]), (Some(0), "nobody has changed anything yet\n".to_owned()));
    move_ramp(&gateway, 1..=3);
    let (status, text) = run(&gateway, &["audit", "--limit", "2"]);
    assert!(status == Some(0) && text.lines().count() == 2, "{text}");
    assert!(text.ends_with("loopback  ramp.set u  percent=3  \"cold\"\n"), "{text}");
    let (_, json) = run(&gateway, &["audit", "--json"]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((&json["count"], json["items"].as_array().map(Vec::len)), (&json!(3), Some(3)));
    let (status, text) = run(&gateway, &["audit", "--verify"]);
    assert!(status == Some(0) && text.starts_with("valid: 3 rows read, 1 to 3, segment 1\nhead "), "{text}");
    assert_eq!(run(&gateway, &["audit", "--head", "x"]).0, Some(2));
    let page = gateway.admin_get("/v1/audit?limit=1&before=3").json();
    assert_eq!((&page["items"][0]["seq"], page["items"].as_array().map(Vec::len)), (&json!(2), Some(1)));
    assert_eq!(gateway.admin_get("/v1/audit?limit=1001").status(), 400);
}
