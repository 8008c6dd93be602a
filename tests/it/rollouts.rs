//! A change goes by stages, is judged beside the version before it, comes back by itself when it is worse, and goes
//! around its stages by broken glass only.

use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::load::Load;
use crate::support::operator::ask;
use crate::support::origins::{Behaviour, Origin, refused};
use crate::support::raw::Answer;
use crate::support::{wait_for, wait_until};
use rustix::fs::{CWD, FileType, Mode, mknodat};
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
    let again = gateway.cli(&["acknowledge"]);
    let told = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(again.status.code() == Some(1) && told.contains("There is nothing to acknowledge"), "{told}");
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
fn a_rollback_while_a_change_waits_for_the_disk_goes_back_once() {
    let origin = Origin::well_behaved();
    let at = |mark: &str| under("[rollout]\nrequired = false\n", origin.address(), mark);
    let gateway = Gateway::start(&at("1"));
    for mark in ["2", "3"] {
        assert_eq!(post(&gateway, "?now=true", &at(mark)).status(), 200);
    }
    // Whoever opens it to write waits for a reader that never comes.
    let pipe = gateway.folder().join("state/state.new");
    wait_until(LONG, "nothing is being written", || {
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).is_ok()
    });
    let json = "Content-Type: application/json\r\n";
    for order in ["{\"version\": 3}", "{}"] {
        std::thread::scope(|scope| {
            let applying = scope.spawn(|| post(&gateway, "?now=true", &at("4")).status());
            wait_until(LONG, "it serves, and is not on disk yet", || generation(&gateway) == "4");
            let answer = gateway.admin_post("/v1/rollback", json, order);
            assert_eq!(answer.status(), 200, "{}", answer.text());
            assert_eq!(answer.json()["version"]["number"], 3, "{}", answer.text());
            applying.join().expect("answered");
        });
        assert_eq!(generation(&gateway), "3", "what was asked for, and not the one before it");
    }
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

/// At once, and good with that.
fn at_once(backend: SocketAddr, mark: &str) -> Config {
    under("[rollout]\nrequired = false\n", backend, mark)
}

#[test]
fn what_is_taken_back_leads_to_the_version_before_it_and_not_to_a_newer_one() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&at_once(origin.address(), "1"));
    ["2", "3"].iter().for_each(|mark| {
        assert_eq!(post(&gateway, "", &at_once(origin.address(), mark)).status(), 200);
    });
    let back = |body: &str| gateway.admin_post("/v1/rollback", "content-type: application/json\r\n", body);
    assert_eq!(back("{\"version\":1}").status(), 200);
    assert_eq!(post(&gateway, "?confirm=2s", &at_once(origin.address(), "lost")).status(), 200);
    assert_eq!(generation(&gateway), "lost");
    // Who names a version that there is not, ends nothing and stops no clock.
    assert_eq!(back("{\"version\":99}").status(), 404);
    assert!(gateway.admin_get("/readyz").text().contains("tidegate confirm"));
    ends(&gateway, "reverted");
    wait_until(LONG, "it went back", || generation(&gateway) != "lost");
    assert_eq!(generation(&gateway), "1", "not 2, which nobody wanted");
}

#[test]
fn a_file_that_changes_beside_an_unconfirmed_version_is_rolled_out_after_that_went_back() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "old"));
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(5));
    let output = apply(&gateway, &marked(origin.address(), "lost"), &["--confirm", "1s"]);
    assert!(output.status.success(), "{}", said(&output));
    gateway.write(&marked(origin.address(), "third"));
    let cause = [("cause", "unconfirmed")];
    wait_until(LONG, "it went back", || gateway.metrics().value("tidegate_rollbacks_total", &cause) == 1.0);
    wait_until(LONG, "the file is everyone's", || generation(&gateway) == "third");
    ends(&gateway, "good");
    drop(load.stop());
}

#[test]
fn a_listener_that_came_by_stages_is_found_where_addresses_are_told() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "old"));
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(5));
    let more = "[[listeners]]\nname = \"more\"\naddress = \"127.0.0.1:0\"\n";
    let next = marked(origin.address(), "new").text(more);
    let answer = post(&gateway, "?ack_risk=high", &next);
    assert_eq!(answer.status(), 202, "{}", answer.text());
    wait_until(LONG, "the new door is told of", || {
        let told = std::fs::read_to_string(gateway.folder().join("state/addresses.json"));
        told.is_ok_and(|told| told.contains("\"more\""))
    });
    ends(&gateway, "good");
    drop(load.stop());
}

#[test]
fn what_a_start_decides_is_in_history_and_audit() {
    let origin = Origin::well_behaved();
    let folder = TempDir::new().expect("a folder");
    let gateway = Gateway::start_in(folder, &at_once(origin.address(), "1"), Launch::default());
    let outcomes = |gateway: &Gateway| -> Vec<(u64, String)> {
        let list = gateway.admin_get("/v1/versions").json();
        let of = |it: &Value| Some((it["number"].as_u64()?, it["outcome"].as_str()?.to_owned()));
        list["items"].as_array().expect("a list").iter().filter_map(of).collect()
    };
    let are = |gateway: &Gateway, wanted: &[(u64, &str)]| {
        let wanted: Vec<_> = wanted.iter().map(|(number, word)| (*number, (*word).to_owned())).collect();
        wait_until(LONG, &format!("{wanted:?} are told"), || outcomes(gateway) == wanted);
    };
    are(&gateway, &[(1, "good")]);
    assert_eq!(post(&gateway, "?confirm=60s", &at_once(origin.address(), "lost")).status(), 200);
    are(&gateway, &[(2, "active"), (1, "good")]);
    let gateway = gateway.restart(Launch::default());
    assert_eq!(generation(&gateway), "1");
    are(&gateway, &[(2, "reverted"), (1, "good")]);
    wait_until(LONG, "it is in the audit", || {
        gateway.admin_get("/v1/audit").text().contains("rollout.reverted")
    });
    gateway.write(&at_once(origin.address(), "3"));
    are(&gateway, &[(3, "good"), (2, "reverted"), (1, "good")]);
    assert_eq!(gateway.admin_post("/v1/rollback", "content-type: application/json\r\n", "").status(), 200);
    are(&gateway, &[(3, "rolled_back"), (2, "reverted"), (1, "good")]);
}

#[test]
fn a_value_that_was_not_wanted_keeps_no_other_value_of_the_same_text_out() {
    let origin = Origin::well_behaved();
    let folder = TempDir::new().expect("a folder");
    let mark = folder.path().join("mark");
    std::fs::write(&mark, "one").expect("written");
    let config = marked(origin.address(), &format!("${{file:{}}}", mark.display()));
    let gateway = Gateway::start_in(folder, &config, Launch::default());
    let load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(5));
    for (value, outcome) in [("two", "aborted"), ("three", "good")] {
        std::fs::write(&mark, value).expect("written");
        gateway.hup();
        wait_until(LONG, "it goes by stages", || rollout(&gateway)["state"] != "none");
        if outcome == "aborted" {
            assert_eq!(say(&gateway, "abort", "{}").status(), 200);
        }
        ends(&gateway, outcome);
    }
    drop(load.stop());
    assert_eq!(generation(&gateway), "three");
}

#[test]
fn the_first_version_is_in_the_history_also_after_that_was_lost() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(origin.address(), "old"));
    let listed = |gateway: &Gateway| gateway.admin_get("/v1/versions").json()["items"].clone();
    wait_until(LONG, "it is listed", || listed(&gateway)[0]["outcome"] == "good");
    let state = gateway.folder().join("state");
    let lost = || {
        for name in ["history.db", "history.db-wal", "history.db-shm"] {
            let _ = std::fs::remove_file(state.join(name));
        }
    };
    let gateway = gateway.restart_after(Launch::default(), lost);
    wait_until(LONG, "it is listed again", || listed(&gateway)[0]["number"] == 1);
}
