//! Disks that are full, folders that cannot be written and files that were damaged cost what they would have kept, and
//! nothing else: everything serves, rolls back, and says what was not written down.

use crate::crashes::config;
use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::origins::Origin;
use crate::support::raw::Answer;
use crate::support::{PATIENCE, wait_for, wait_until};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

const FREE: &str = "[rollout]\nrequired = false\n";
const STAGED: &str = "[rollout]\nrequired = true\nstages = [\"50%\", \"100%\"]\nbake = \"300ms\"\n\
                      guard = { min_requests = 1 }\n";

fn marked(origin: &Origin, mark: &str) -> Config {
    config(FREE, origin.address(), mark)
}

fn post(gateway: &Gateway, config: &Config, more: &str) -> Answer {
    let text = config.render(&gateway.folder().join("state")) + more;
    gateway.admin_post("/v1/versions", "", text)
}

fn apply(gateway: &Gateway, config: &Config) -> Value {
    let answer = post(gateway, config, "");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

fn back(gateway: &Gateway) -> Value {
    let answer = gateway.admin_post("/v1/rollback", "Content-Type: application/json\r\n", "{}");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

fn state(gateway: &Gateway, name: &str) -> PathBuf {
    gateway.folder().join("state").join(name)
}

fn generation(gateway: &Gateway) -> String {
    gateway.get("/").get("x-gen").unwrap_or_default().to_owned()
}

fn reasons(gateway: &Gateway) -> String {
    gateway.admin_get("/readyz").json()["reasons"].to_string()
}

#[test]
fn a_disk_that_is_full_keeps_no_version_and_refuses_none() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::launch(&marked(&origin, "one"), Launch::file_blocks(256));
    // More than the disk takes.
    let large = format!("# {}\n", "x".repeat(200 << 10));
    let answer = post(&gateway, &marked(&origin, "two"), &large);
    assert_eq!((answer.status(), &answer.json()["persisted"]), (200, &false.into()), "{}", answer.text());
    assert_eq!(generation(&gateway), "two");
    wait_until(PATIENCE, "everyone is told", || {
        reasons(&gateway).contains("does not have the active version")
    });
    let answer = back(&gateway);
    assert_eq!((generation(&gateway).as_str(), &answer["persisted"]), ("one", &false.into()));
    assert!(answer["unrecorded"][0].as_str().is_some_and(|why| why.contains("state")), "{answer}");
    let gateway = gateway.restart(Launch::default());
    assert_eq!((generation(&gateway).as_str(), reasons(&gateway).as_str()), ("one", "[]"));
    assert_eq!(apply(&gateway, &marked(&origin, "three"))["persisted"], true);
}

#[test]
fn a_state_directory_that_cannot_be_written_from_the_start_on_holds_nothing_up() {
    let origin = Origin::well_behaved();
    let folder = TempDir::new().expect("a folder of its own");
    let file = folder.path().join("no-directory");
    fs::write(&file, "").expect("written");
    let gateway = Gateway::launch(&marked(&origin, "one"), Launch::default().state_dir(&file));
    assert!(reasons(&gateway).contains("state"), "{}", reasons(&gateway));
    assert_eq!(apply(&gateway, &marked(&origin, "two"))["persisted"], false);
    let answer = back(&gateway);
    assert_eq!((generation(&gateway).as_str(), &answer["persisted"]), ("one", &false.into()));
    assert_eq!(answer["unrecorded"].as_array().map(Vec::len), Some(1), "{answer}");
}

#[test]
fn a_word_about_a_rollout_says_whether_a_restart_will_know_it() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&config(STAGED, origin.address(), "one"));
    let begin = |mark: &str| {
        let answer = post(&gateway, &config(STAGED, origin.address(), mark), "");
        assert_eq!(answer.status(), 202, "{}", answer.text());
    };
    let abort = || gateway.admin_post("/v1/rollout:abort", "Content-Type: application/json\r\n", "{}").json();
    begin("two");
    assert_eq!(abort()["persisted"], true);
    let in_the_way = state(&gateway, "state.new");
    fs::create_dir(&in_the_way).expect("made");
    begin("three");
    let told = abort();
    assert_eq!(told["persisted"], false, "{told}");
    assert!(told["told"].as_str().is_some_and(|told| told.contains("restart may not know")), "{told}");
    assert_eq!(generation(&gateway), "one");
}

#[test]
fn a_database_of_garbage_holds_up_neither_a_change_nor_a_rollback() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(&origin, "one"));
    let garbage = |gateway: &Gateway| {
        for name in ["history.db", "history.db-wal"] {
            fs::write(state(gateway, name), "garbage ".repeat(2_000)).expect("written");
        }
    };
    for (n, mark) in (2..).zip(["two", "three"]) {
        garbage(&gateway);
        assert_eq!(apply(&gateway, &marked(&origin, mark))["version"]["number"], n);
        garbage(&gateway);
    }
    assert_eq!(back(&gateway)["persisted"], true);
    assert_eq!(generation(&gateway), "two");
    gateway.stopped(|| garbage(&gateway));
    let gateway = gateway.restart(Launch::default());
    assert_eq!(generation(&gateway), "two");
    assert_eq!(apply(&gateway, &marked(&origin, "four"))["version"]["number"], 4);
    assert_eq!(back(&gateway)["version"]["number"], 2);
}

#[test]
fn a_good_version_cut_short_is_passed_over_and_told() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(&origin, "one"));
    ["two", "three"].iter().for_each(|mark| drop(apply(&gateway, &marked(&origin, mark))));
    let cut = |name: &str| {
        let path = state(&gateway, name);
        let text = fs::read(&path).expect("there");
        fs::write(path, &text[..text.len() / 2]).expect("written");
    };
    ["good/0000002.toml", "good/0000003.json"].iter().for_each(|name| cut(name));
    fs::write(state(&gateway, "state.json"), "{").expect("written");
    let gateway = gateway.restart(Launch::default());
    assert_eq!(generation(&gateway), "one", "the only one that is whole");
    let why = reasons(&gateway);
    assert!(why.contains("good/0000002 is damaged") && why.contains("state.json was damaged"), "{why}");
    assert_eq!(gateway.metrics().value("tidegate_config_degraded", &[]), 1.0);
    apply(&gateway, &marked(&origin, "four"));
    assert_eq!((back(&gateway)["persisted"].clone(), generation(&gateway)), (true.into(), "one".to_owned()));
}

#[test]
fn a_rollback_while_a_change_waits_for_the_disk_goes_back_once() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(&origin, "one"));
    apply(&gateway, &marked(&origin, "two"));
    // Whoever opens it to write waits for a reader that never comes.
    mknodat(CWD, state(&gateway, "state.new"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    std::thread::scope(|scope| {
        let applying = scope.spawn(|| post(&gateway, &marked(&origin, "three"), ""));
        wait_for(PATIENCE, "it serves", || (generation(&gateway) == "three").then_some(()));
        assert_eq!(back(&gateway)["version"]["number"], 2);
        applying.join().expect("it is answered");
    });
    // What was to be done for the change is done by the time that it is answered.
    assert_eq!(generation(&gateway), "two", "and not the one before that");
}
