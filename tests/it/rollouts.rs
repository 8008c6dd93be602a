//! A change goes by stages, is judged beside the version before it, comes back by itself when it is worse, and goes
//! around its stages by broken glass only.

use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::load::Load;
use crate::support::operator::ask;
use crate::support::origins::{Behaviour, Origin, refused};
use crate::support::raw::Answer;
use crate::support::{wait_for, wait_until};
use serde_json::Value;
use std::net::SocketAddr;
use std::process::Output;
use std::time::Duration;
use tempfile::TempDir;

/// Stages take their bakes, and a busy machine its time.
const LONG: Duration = Duration::from_secs(30);
/// Two stages of half a second; routes time out soon, because a bake is at least twice that.
const POLICY: &str = "[rollout]\nrequired = true\nstages = [\"50%\", \"100%\"]\nbake = \"500ms\"\n\
                      guard = { min_requests = 10 }\n";

/// One route whose answers carry a mark, by stages.
fn marked(backend: SocketAddr, mark: &str) -> Config {
    under(POLICY, backend, mark)
}

fn under(policy: &str, backend: SocketAddr, mark: &str) -> Config {
    let edit = format!("timeout = \"200ms\"\nresponse_headers = {{ set = {{ \"x-gen\" = \"{mark}\" }} }}");
    Config::under(policy).upstream("u", &[backend], "").route("r", "/", "u", &edit)
}

fn generation(gateway: &Gateway) -> String {
    gateway.get("/").get("x-gen").unwrap_or_default().to_owned()
}

fn rollout(gateway: &Gateway) -> Value {
    gateway.admin_get("/v1/rollout").json()
}

fn post(gateway: &Gateway, query: &str, config: &Config) -> Answer {
    let text = config.render(&gateway.folder().join("state"));
    gateway.admin_post(&format!("/v1/versions{query}"), "", text)
}

fn say(gateway: &Gateway, word: &str, body: &str) -> Answer {
    ask(gateway.admin(), "POST", &format!("/v1/rollout:{word}"), &["content-type: application/json"], body)
}

/// Applies with the command line, which follows the change to its end.
fn apply(gateway: &Gateway, config: &Config, more: &[&str]) -> Output {
    let file = gateway.folder().join("next.toml");
    std::fs::write(&file, config.render(&gateway.folder().join("state"))).expect("written");
    let file = file.to_string_lossy().into_owned();
    gateway.cli(&[&["apply", &file][..], more].concat())
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].concat().escape_ascii().to_string()
}

fn ends(gateway: &Gateway, outcome: &str) -> Value {
    wait_for(LONG, &format!("the change is {outcome}"), || {
        let view = rollout(gateway);
        (view["last"]["outcome"] == outcome).then(|| view["last"].clone())
    })
}

#[test]
fn a_change_goes_by_stages_and_is_good_after_its_last_bake() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "old"));
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(5));
    let answer = post(&gateway, "?reason=greener", &marked(origin.address(), "new"));
    assert_eq!(answer.status(), 202, "{}", answer.text());
    let number = answer.json()["version"]["number"].clone();
    let half = wait_for(LONG, "half of the clients have it", || {
        let view = rollout(&gateway);
        (view["state"] == "rolling_out" && view["realised_share_percent"].is_number()).then_some(view)
    });
    assert_eq!((&half["version"]["number"], &half["share_percent"]), (&number, &50.0.into()), "{half}");
    assert_eq!(half["version"]["reason"], "greener");
    assert_eq!(half["per_request"], true, "four clients are too few for a cohort");
    let ended = ends(&gateway, "good");
    assert_eq!(ended["number"], number);
    assert_eq!(generation(&gateway), "new");
    load.stop().only(&[200]);
    assert_eq!(gateway.metrics().value("tidegate_rollout_stage_percent", &[]), 0.0);
}

#[test]
fn a_change_that_fails_comes_back_by_itself_says_why_and_stays_out() {
    let (good, bad) = (
        Origin::well_behaved(),
        Origin::start(Behaviour::Says("HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n")),
    );
    let gateway = Gateway::start(&marked(good.address(), "old"));
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(5));
    let next = marked(bad.address(), "new");
    let output = apply(&gateway, &next, &["--ack-risk", "high"]);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("reverted") && said.contains("route r"), "{said}");
    let report = load.stop();
    assert!(report.count(500) > 0 && report.count(200) > report.count(500), "{report:?}");
    let cause = [("cause", "guard")];
    assert_eq!(gateway.metrics().value("tidegate_rollbacks_total", &cause), 1.0);
    let served = bad.requests();
    gateway.write(&next);
    wait_until(LONG, "the file is told to be barred", || {
        gateway.admin_get("/readyz").text().contains("reverted")
    });
    gateway.hup();
    assert_eq!(generation(&gateway), "old");
    assert_eq!(bad.requests(), served, "nobody was sent there again");
}

#[test]
fn nothing_reaches_everyone_without_stages_but_by_broken_glass() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "old"));
    let new = marked(origin.address(), "new");
    let refused = post(&gateway, "?now=true", &new);
    assert_eq!((refused.status(), &refused.json()["reason"]), (422, &"needs_stages".into()));
    let unsaid = post(&gateway, "?now=true&break_glass=true", &new);
    assert_eq!((unsaid.status(), &unsaid.json()["reason"]), (422, &"needs_reason".into()));
    let laxer = post(&gateway, "?stages=60%25,100%25", &new);
    assert_eq!((laxer.status(), &laxer.json()["reason"]), (422, &"laxer_stages".into()));
    assert_eq!(generation(&gateway), "old");
    let forced = post(&gateway, "?now=true&break_glass=true&reason=the%20house%20burns", &new);
    assert_eq!(forced.status(), 200, "{}", forced.text());
    assert_eq!(generation(&gateway), "new");
    let ready = gateway.admin_get("/readyz").text();
    assert!(ready.contains("glass") && ready.contains("the house burns"), "{ready}");
    assert_eq!(gateway.metrics().value("tidegate_break_glass", &[]), 1.0);
    assert!(gateway.cli(&["acknowledge", "--reason", "seen"]).status.success());
    assert_eq!(gateway.metrics().value("tidegate_break_glass", &[]), 0.0);
}

#[test]
fn a_file_goes_by_the_same_stages_also_by_a_signal() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "old"));
    gateway.write(&marked(origin.address(), "new"));
    gateway.hup();
    let view = wait_for(LONG, "the file is under way", || {
        let view = rollout(&gateway);
        (view["state"] != "none").then_some(view)
    });
    assert!(matches!(view["version"]["cause"].as_str(), Some("watch" | "signal")), "{view}");
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(5));
    ends(&gateway, "good");
    load.stop().only(&[200]);
    assert_eq!(generation(&gateway), "new");
}

#[test]
fn high_risk_wants_to_be_acknowledged_and_by_policy_a_second_person() {
    let (one, other) = (Origin::well_behaved(), Origin::well_behaved());
    let policy = format!("{POLICY}approve = \"high\"\n");
    let old = under(&policy, one.address(), "old");
    let gateway = Gateway::start(&old);
    let new = under(&policy, other.address(), "new");
    let unseen = post(&gateway, "", &new);
    assert_eq!((unseen.status(), &unseen.json()["reason"]), (422, &"needs_ack_risk".into()));
    let held = post(&gateway, "?ack_risk=high", &new);
    assert_eq!(held.status(), 202, "{}", held.text());
    assert_eq!(rollout(&gateway)["state"], "approval");
    let number = held.json()["version"]["number"].clone();
    let own = say(&gateway, "approve", &format!("{{\"version\":{number}}}"));
    assert_eq!(own.status(), 403, "its author is no second person: {}", own.text());
    let another = post(&gateway, "", &under(&policy, one.address(), "third"));
    assert_eq!(another.status(), 409);
    assert!(another.text().contains(&format!("version {number}")), "{}", another.text());
    assert_eq!(other.requests(), 0);
    assert_eq!(say(&gateway, "abort", "{\"reason\":\"not today\"}").status(), 200);
    assert_eq!(ends(&gateway, "aborted")["number"], number);
}

#[test]
fn a_version_that_nobody_confirms_goes_back_and_one_that_is_confirmed_stays() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "old"));
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(5));
    let output = apply(&gateway, &marked(origin.address(), "lost"), &["--confirm", "1s"]);
    assert!(output.status.success(), "{}", said(&output));
    ends(&gateway, "reverted");
    wait_until(LONG, "everyone is served by the one before", || generation(&gateway) == "old");
    let output = apply(&gateway, &marked(origin.address(), "kept"), &["--confirm", "60s"]);
    assert!(output.status.success() && said(&output).contains("confirm"), "{}", said(&output));
    assert!(gateway.cli(&["confirm"]).status.success());
    ends(&gateway, "good");
    load.stop().only(&[200]);
    assert_eq!(generation(&gateway), "kept");
}

#[test]
fn a_restart_is_no_way_around_the_stages() {
    let (good, dead) = (Origin::well_behaved(), refused());
    let folder = TempDir::new().expect("a folder");
    let gateway = Gateway::start_in(folder, &marked(good.address(), "old"), Launch::default());
    gateway.write(&marked(dead, "new"));
    let gateway = gateway.restart(Launch::default());
    assert_eq!(generation(&gateway), "old", "the last good one started");
    wait_until(LONG, "the file is refused for its risk", || {
        gateway.admin_get("/readyz").text().contains("ack-risk")
    });
    gateway.write(&marked(good.address(), "third"));
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(5));
    ends(&gateway, "good");
    load.stop().only(&[200]);
    assert_eq!(generation(&gateway), "third");
}
