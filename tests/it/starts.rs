//! What a start does with the versions that it finds: it is no way around the stages, leaves what did not stay up or was
//! not confirmed, takes over what an older program left, and needs neither a whole ledger nor the directory to itself.

use crate::boot::{put, serves_degraded};
use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::origins::Origin;
use crate::support::{PATIENCE, wait_until};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs;
use tempfile::TempDir;

fn marked(origin: &Origin, mark: &str, required: bool) -> Config {
    let edit = format!("response_headers = {{ set = {{ \"x-gen\" = \"{mark}\" }} }}");
    let config = Config::new().upstream("u", &[origin.address()], "").route("r", "/", "u", &edit);
    if required { config.staged() } else { config }
}

fn generation(gateway: &Gateway) -> String {
    gateway.get("/").get("x-gen").unwrap_or_default().to_owned()
}

fn reasons(gateway: &Gateway) -> String {
    gateway.admin_get("/readyz").json()["reasons"].to_string()
}

/// Changes what the state directory knows of a gateway that does not run, then starts it.
fn edited(gateway: Gateway, launch: Launch, edit: impl FnOnce(&mut serde_json::Value)) -> Gateway {
    let file = gateway.folder().join("state/state.json");
    gateway.restart_after(launch, || {
        let mut ledger = serde_json::from_slice(&fs::read(&file).expect("a ledger")).expect("JSON");
        edit(&mut ledger);
        fs::write(&file, ledger.to_string()).expect("written");
    })
}

fn apply(gateway: &Gateway, config: &Config) {
    let text = config.render(&gateway.folder().join("state"));
    let answer = gateway.admin_post("/v1/versions?now=true", "", text);
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

#[test]
fn a_restart_is_no_way_around_the_stages() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(&origin, "one", true));
    assert_eq!(gateway.status()["version"]["number"], 1, "the very first one is active at once");
    let file = gateway.file();
    let two = marked(&origin, "two", true).render(&gateway.folder().join("state"));
    let gateway = gateway.restart_after(Launch::default(), || fs::write(file, two).expect("written"));
    let log = || gateway.log();
    wait_until(PATIENCE, "it says what it does", || log().contains("rolled out like any change"));
    let (started, applied) = (log(), "\"cause\":\"boot\"");
    assert!(!started.contains(applied), "the changed file was not what it started with: {started}");
    assert_eq!(gateway.status()["degraded"], false);
}

#[test]
fn a_version_that_does_not_stay_up_gives_way_to_the_one_before() {
    let origin = Origin::well_behaved();
    let mut gateway = Gateway::start(&marked(&origin, "one", false));
    gateway.change(&marked(&origin, "two", false));
    let kept = || fs::read(gateway.folder().join("state/state.json")).unwrap_or_default();
    wait_until(PATIENCE, "it is kept", || {
        let ledger: serde_json::Value = serde_json::from_slice(&kept()).unwrap_or_default();
        ledger["active"]["number"] == 2 && ledger["last_good"]["number"] == 2
    });
    // Each is killed before a minute of readiness.
    for start in 1..=3 {
        gateway = gateway.restart(Launch::default());
        assert_eq!(generation(&gateway), "two", "start {start}");
    }
    let gateway = gateway.restart(Launch::default());
    assert_eq!(generation(&gateway), "one");
    serves_degraded(&gateway, "a crash loop");
    let why = reasons(&gateway);
    assert!(why.contains("version 2 did not stay up"), "{why}");
    assert_eq!(gateway.metrics().value("tidegate_rollbacks_total", &[("cause", "crash_loop")]), 1.0);
    // The file still says what did not stay up: it stays out, by a signal and a restart too.
    gateway.hup();
    let gateway = gateway.restart(Launch::default());
    assert_eq!(generation(&gateway), "one");
}

#[test]
fn clocks_that_jump_make_no_crash_loop() {
    let origin = Origin::well_behaved();
    let mut gateway = Gateway::start(&marked(&origin, "one", false));
    apply(&gateway, &marked(&origin, "two", false));
    for at in [i64::MAX, 0, i64::MIN] {
        let start = serde_json::json!({ "at_ms": at, "number": 2, "well": false });
        gateway = edited(gateway, Launch::default(), |ledger| {
            ledger["starts"] = serde_json::json!([start, start, start]);
        });
        assert_eq!(generation(&gateway), "two", "{at}");
        assert_eq!(gateway.status()["degraded"], false, "{at}");
    }
}

#[test]
fn a_version_that_nobody_confirmed_does_not_outlive_the_process() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(&origin, "one", false));
    let one = gateway.hash();
    apply(&gateway, &marked(&origin, "two", false));
    let two = gateway.hash();
    let until =
        serde_json::json!({ "number": 2, "until_ms": i64::MAX, "return_to": { "number": 1, "hash": one } });
    let gateway = edited(gateway, Launch::default(), |ledger| ledger["confirm"] = until);
    assert_eq!((generation(&gateway).as_str(), gateway.hash()), ("one", one));
    assert!(reasons(&gateway).contains("not confirmed"), "{}", reasons(&gateway));
    let ledger = fs::read_to_string(gateway.folder().join("state/state.json")).expect("read");
    assert!(
        ledger.contains(&two) && ledger.contains("unconfirmed") && ledger.contains("\"confirm\":null"),
        "{ledger}"
    );
}

#[test]
fn what_an_unconfirmed_version_leaves_still_stands_over_the_file_as_it_did() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(&origin, "file", false));
    apply(&gateway, &marked(&origin, "kept", false));
    let text = marked(&origin, "tried", false).render(&gateway.folder().join("state"));
    let answer = gateway.admin_post("/v1/versions?confirm=60s", "", text);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let file = gateway.folder().join("state/state.json");
    wait_until(PATIENCE, "it is kept", || {
        fs::read_to_string(&file).is_ok_and(|ledger| ledger.contains("\"confirm\":{"))
    });
    let gateway = gateway.restart(Launch::default());
    assert_eq!(generation(&gateway), "kept", "nobody changed the file");
    let gateway = gateway.restart(Launch::default());
    assert_eq!(generation(&gateway), "kept", "nor does a second start bring it in");
    gateway.change(&marked(&origin, "changed", false));
    assert_eq!(generation(&gateway), "changed", "a change of it does");
}

#[test]
fn a_clock_that_jumped_gives_an_unconfirmed_version_no_more_time() {
    let origin = Origin::well_behaved();
    for until in [i64::MIN, 0, i64::MAX] {
        let gateway = Gateway::start(&marked(&origin, "one", false));
        let one = gateway.hash();
        apply(&gateway, &marked(&origin, "two", false));
        let confirm = serde_json::json!({
            "number": 2, "until_ms": until, "return_to": { "number": 1, "hash": one }
        });
        let gateway = edited(gateway, Launch::default(), |ledger| ledger["confirm"] = confirm);
        assert_eq!(generation(&gateway), "one", "{until}");
    }
}

#[test]
fn a_damaged_ledger_costs_no_version_and_no_number() {
    let origin = Origin::well_behaved();
    let mut gateway = Gateway::start(&marked(&origin, "one", false));
    apply(&gateway, &marked(&origin, "two", false));
    for damage in [&b"{\"next\": 1"[..], b"", b"\0\0\0"] {
        let state = gateway.folder().join("state/state.json");
        gateway = gateway.restart_after(Launch::default(), || fs::write(state, damage).expect("written"));
        assert_eq!(
            (generation(&gateway).as_str(), &gateway.status()["version"]["number"]),
            ("two", &2.into())
        );
        assert!(reasons(&gateway).contains("state.json was damaged"), "{}", reasons(&gateway));
    }
    let origin = gateway.folder().join("state/state.broken");
    assert!(origin.exists(), "what was damaged is set aside");
}

#[test]
fn a_state_directory_of_an_older_program_is_taken_over() {
    let origin = Origin::well_behaved();
    let folder = TempDir::new().expect("a temporary folder");
    let state = folder.path().join("state");
    fs::create_dir(&state).expect("made");
    let config = marked(&origin, "old", false);
    fs::write(state.join("last-good.toml"), config.render(&state)).expect("written");
    let kept = "{\"hash\":\"x\",\"overruled\":null,\"origin\":{\"cause\":\"api\",\"by\":null,\"reason\":null,\"since\":\"x\"}}";
    fs::write(state.join("origin.json"), kept).expect("written");
    let gateway = Gateway::start_in(folder, &config, Launch::default());
    assert_eq!((generation(&gateway).as_str(), &gateway.status()["version"]["number"]), ("old", &1.into()));
    assert!(state.join("good/0000001.toml").exists() && state.join("good/0000001.json").exists());
    put(&gateway.file(), Some(b"garbage"));
    serves_degraded(&gateway.restart(Launch::default()), "garbage after the takeover");
}

#[test]
fn two_processes_on_one_state_directory_serve_and_one_of_them_writes() {
    let origin = Origin::well_behaved();
    let home = TempDir::new().expect("a temporary folder");
    let state = home.path().join("state");
    let first = Gateway::launch(&marked(&origin, "one", false), Launch::default().state_dir(&state));
    let second = Gateway::launch(&marked(&origin, "two", false), Launch::default().state_dir(&state));
    assert_eq!((generation(&first).as_str(), generation(&second).as_str()), ("one", "two"));
    assert!(reasons(&second).contains("another process"), "{}", reasons(&second));
    assert_eq!((&first.status()["degraded"], &second.status()["degraded"]), (&false.into(), &true.into()));
    let good = || fs::read_to_string(state.join("last-good.toml")).expect("read");
    assert!(good().contains("\"one\""), "it wrote nothing");
    drop(first);
    // Tried again by itself after a while, and at once when something is to be written.
    second.hup();
    wait_until(PATIENCE, "it writes once it is alone", || good().contains("\"two\""));
    wait_until(PATIENCE, "and is whole", || second.status()["degraded"] == false);
}

#[test]
fn a_file_that_never_answers_keeps_no_start_waiting() {
    let origin = Origin::well_behaved();
    let gateway = Gateway::start(&marked(&origin, "one", false));
    let file = gateway.file();
    let gateway = gateway.restart_after(Launch::default(), || {
        fs::remove_file(&file).expect("removed");
        mknodat(CWD, &file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    });
    serves_degraded(&gateway, "a pipe");
}
