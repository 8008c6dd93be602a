//! What must be heard is heard, though the process ends before it was told: late, once, and whatever became of the file.

use crate::notify::{SECRET, drain, sink};
use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::origins::Origin;
use crate::support::sink::{Manner, Sink};
use crate::support::{PATIENCE, wait_until};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

/// For what is tried again with a wait in between, on a busy machine.
const LONG: Duration = Duration::from_secs(30);

fn launch(hears: &Sink) -> Launch {
    Launch::default().variable("ONCALL_URL", hears.url("/hunter2")).variable("ONCALL", SECRET)
}

fn config(origin: &Origin, n: u32) -> Config {
    let told = sink(
        "oncall",
        "webhook",
        "${ONCALL_URL}",
        "secret = \"${ONCALL}\"\nevents = [\"rollback\", \"ramp\"]",
    );
    Config::simple(origin.address()).gateway(&format!("max_in_flight = {n}")).text(&told)
}

/// With a version that was taken back just now.
fn rolled_back(origin: &Origin, hears: &Sink) -> Gateway {
    let gateway = Gateway::launch(&config(origin, 5000), launch(hears));
    gateway.change(&config(origin, 5001));
    assert_eq!(gateway.cli(&["rollback", "--reason", "INC-42"]).status.code(), Some(0));
    gateway
}

fn file(gateway: &Gateway) -> PathBuf {
    gateway.folder().join("state/unsent.json")
}

fn is_rollback(event: &Value) -> bool {
    event["alert"] == "TidegateRolledBack"
}

fn orphaned(gateway: &Gateway) -> f64 {
    gateway.metrics().value("tidegate_notifications_total", &[("sink", "-"), ("outcome", "dropped")])
}

#[test]
fn a_rollback_just_before_the_process_is_killed_is_told_by_the_next_one_and_once() {
    let (hears, origin) = (Sink::with(Manner::Status(503)), Origin::well_behaved());
    let gateway = rolled_back(&origin, &hears);
    let first = hears.told(PATIENCE, "it is tried", is_rollback);
    assert_eq!(first["late"], false, "{first}");
    let kept = file(&gateway);
    let id = first["id"].as_str().and_then(|id| id.split('.').next()).expect("of a message").to_owned();
    wait_until(PATIENCE, "it is kept with its id", || {
        fs::read_to_string(&kept).is_ok_and(|text| text.contains(&id))
    });
    let text = fs::read_to_string(&kept).expect("it is there");
    assert!(text.contains("TidegateRolledBack") && text.contains("INC-42"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains(SECRET), "{text}");
    assert_eq!(fs::metadata(&kept).expect("it is there").permissions().mode() & 0o777, 0o600);

    let tried = hears.events().len();
    // Killed, not asked to leave.
    let gateway = gateway.restart_after(launch(&hears), || hears.switch(Manner::Status(200)));
    let is_late = |event: &Value| is_rollback(event) && event["late"] == true;
    let late = hears.told(LONG, "it is told by the next process", is_late);
    assert_eq!(late["message"], first["message"], "{late}");
    assert!(late["id"].as_str().is_some_and(|it| it.starts_with(&id)), "as the message that it was: {late}");
    assert!(hears.events().len() > tried);
    wait_until(LONG, "nothing is owed any more", || !file(&gateway).exists());
    assert_eq!(orphaned(&gateway), 0.0);

    let told = |hears: &Sink| hears.events().iter().filter(|event| is_late(event)).count();
    let before = told(&hears);
    let gateway = gateway.restart(launch(&hears));
    drain(&gateway, "drain");
    hears.told(LONG, "the third process tells", |event| event["alert"] == "TidegateDrained");
    assert_eq!(told(&hears), before, "and not that again");
}

#[test]
fn what_must_be_heard_and_cannot_be_kept_or_read_holds_up_nothing_and_is_counted() {
    let (hears, origin) = (Sink::with(Manner::Status(503)), Origin::well_behaved());
    let gateway = rolled_back(&origin, &hears);
    let kept = file(&gateway);
    wait_until(PATIENCE, "it is kept", || kept.exists());
    let blocked = kept.with_extension("new");
    let gateway = gateway.restart_after(launch(&hears), || {
        fs::write(&kept, "{ damaged").expect("written");
        // Nothing can be written there any more.
        fs::create_dir(&blocked).expect("made");
    });
    wait_until(PATIENCE, "it serves", || gateway.serves("/"));
    assert_eq!(orphaned(&gateway), 1.0);
    assert!(kept.with_extension("broken").exists(), "it is set aside");
    gateway.change(&config(&origin, 5002));
    assert_eq!(gateway.cli(&["rollback"]).status.code(), Some(0));
    wait_until(LONG, "that nothing is kept is said", || gateway.log().contains("is not stored"));
    hears.switch(Manner::Status(200));
    hears.told(LONG, "and it is told", |event| is_rollback(event) && event["fields"]["reason"].is_null());
}
