//! People hear in seconds: what happens is told to each sink that wants it, signed, gathered and tried again; a sink
//! that hangs, breaks or is not there holds up nobody, and its own failure is seen.

use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::operator::change;
use crate::support::origins::{Behaviour, Origin};
use crate::support::sink::{Manner, Received, Sink};
use crate::support::{PATIENCE, wait_until};
use serde_json::{Value, json};
use std::time::Duration;

/// What a webhook's messages are signed with.
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A sink that is told at once.
fn sink(name: &str, kind: &str, url: &str, more: &str) -> String {
    format!("[[notify]]\nname = \"{name}\"\nkind = \"{kind}\"\nurl = \"{url}\"\ngroup_wait = \"100ms\"\n{more}\n")
}

/// A gateway in front of an origin that serves.
fn telling(text: &str) -> (Origin, Gateway) {
    let origin = Origin::well_behaved();
    let gateway = Gateway::launch(
        &Config::simple(origin.address()).text(text),
        Launch::default().variable("ONCALL", SECRET),
    );
    (origin, gateway)
}

fn drain(gateway: &Gateway, state: &str) {
    let path = "/v1/upstreams/u/backends/u0/state";
    let answer = change(gateway.admin(), "PUT", path, &json!({ "state": state, "reason": "a try" }));
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

fn is(event: &Value, alert: &str, state: &str) -> bool {
    event["alert"] == alert && event["state"] == state
}

fn view(gateway: &Gateway, name: &str) -> Value {
    gateway.admin_get(&format!("/v1/notify/{name}")).json()
}

/// As the README says that it is verified.
fn verified(received: &Received) -> bool {
    let signature = received.header("x-tidegate-signature");
    let (time, signed) = signature.split_once(",v1=").expect("two parts");
    let time = time.strip_prefix("t=").expect("a time");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let signed: Vec<u8> =
        (0..signed.len()).step_by(2).map(|i| u8::from_str_radix(&signed[i..i + 2], 16).expect("hex")).collect();
    let age = jiff::Timestamp::now().as_second() - time.parse::<i64>().expect("seconds");
    (0..300).contains(&age)
        && aws_lc_rs::hmac::verify(&key, format!("{time}.{}", received.body).as_bytes(), &signed).is_ok()
}

#[test]
fn people_hear_in_seconds_and_what_they_hear_is_signed() {
    let hears = Sink::start();
    let (_origin, gateway) = telling(&sink("oncall", "webhook", &hears.url("/hook"), "secret = \"${ONCALL}\""));
    drain(&gateway, "drain");
    let told = hears.told(PATIENCE, "the drain is told", |event| is(event, "TidegateDrained", "firing"));
    assert_eq!((&told["kind"], &told["subject"]), (&"ramp".into(), &"u".into()), "{told}");
    assert_eq!((&told["members"], &told["severity"]), (&json!(["u0"]), &"info".into()), "{told}");
    assert_eq!(told["fields"]["reason"], "a try", "{told}");
    drain(&gateway, "ready");
    let over = hears.told(PATIENCE, "its end is told", |event| is(event, "TidegateDrained", "resolved"));
    assert_eq!(over["since"], told["since"], "{over}");
    for received in hears.received() {
        assert_eq!((received.method.as_str(), received.path.as_str()), ("POST", "/hook"));
        assert!(verified(&received), "{received:?}");
        let message = received.json();
        assert_eq!(message["schema"], "tidegate.notification/1");
        assert_eq!(message["version"], 1);
        assert_eq!(message["id"], received.header("x-tidegate-delivery"));
        assert!(message["gateway"]["name"].as_str().is_some_and(|name| !name.is_empty()));
    }
    let metrics = gateway.metrics();
    let sent = metrics.value("tidegate_notifications_total", &[("sink", "oncall"), ("outcome", "sent")]);
    assert!(sent >= 2.0, "{sent}");
    assert!(metrics.value("tidegate_notification_last_success_timestamp_seconds", &[("sink", "oncall")]) > 1e9);
}

#[test]
fn what_is_shed_is_told_within_seconds_and_once() {
    let hears = Sink::start();
    let hung = Origin::start(Behaviour::AcceptsAndNeverAnswers);
    let bounds = "max_in_flight = 1\nqueue = { max_waiting = 0, max_wait = \"10ms\" }";
    let config = Config::new().upstream("u", &[hung.address()], bounds).route("r", "/", "u", "");
    let gateway = Gateway::start(&config.text(&sink("oncall", "webhook", &hears.url("/"), "")));
    let _held = gateway.ask("/", 1);
    hung.holds(1);
    assert_eq!(gateway.get("/").status(), 503);
    let told = hears.told(PATIENCE, "it is told", |event| is(event, "TidegateShedding", "firing"));
    assert_eq!((&told["subject"], &told["severity"]), (&"u".into(), &"page".into()), "{told}");
    assert_eq!(told["next"], "tidegate permits --upstream u");
    let name = [("sink", "oncall"), ("outcome", "deduplicated")];
    wait_until(Duration::from_secs(30), "more of the same is known already", || {
        gateway.get("/");
        gateway.metrics().value("tidegate_notifications_total", &name) >= 2.0
    });
    let reasons: Vec<Value> =
        hears.events().into_iter().filter(|event| event["alert"] == "TidegateShedding").collect();
    assert!(reasons.len() <= 3, "once for each reason at most, and not for each request: {reasons:?}");
}

#[test]
fn what_breaks_is_tried_again_and_told_once() {
    let hears = Sink::start();
    hears.script(&[Manner::Status(500), Manner::Drops]);
    let (_origin, gateway) = telling(&sink("oncall", "webhook", &hears.url("/"), "events = [\"ramp\"]"));
    drain(&gateway, "drain");
    wait_until(Duration::from_secs(30), "it is taken", || view(&gateway, "oncall")["sent"] == 1);
    let received = hears.received();
    let ids: Vec<&str> = received.iter().map(|received| received.header("x-tidegate-delivery")).collect();
    assert_eq!(ids.len(), 3, "two failures and one success: {received:?}");
    assert!(ids.iter().all(|id| *id == ids[0]), "the same message each time: {ids:?}");
    assert_eq!(view(&gateway, "oncall")["queue_depth"], 0);
}
