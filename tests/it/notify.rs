//! People hear in seconds: what happens is told to each sink that wants it, signed, gathered and tried again; a sink
//! that hangs, breaks or is not there holds up nobody, and its own failure is seen.

use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::operator::{ask, change};
use crate::support::origins::{Behaviour, Origin};
use crate::support::sink::{Manner, Received, Sink};
use crate::support::tls::Authority;
use crate::support::{PATIENCE, wait_until};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// An overload is over after ten seconds without a shed.
const LONG: Duration = Duration::from_secs(60);

/// What a webhook's messages are signed with.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A sink that is told at once, and has all the time of a busy machine unless `more` says otherwise.
pub fn sink(name: &str, kind: &str, url: &str, more: &str) -> String {
    let patience = if more.contains("timeout") { "" } else { "timeout = \"20s\"\n" };
    format!(
        "[[notify]]\nname = \"{name}\"\nkind = \"{kind}\"\nurl = \"{url}\"\ngroup_wait = \"100ms\"\n{patience}{more}\n"
    )
}

/// A gateway in front of an origin that serves.
pub fn telling(text: &str) -> (Origin, Gateway) {
    let origin = Origin::well_behaved();
    let gateway = Gateway::launch(
        &Config::simple(origin.address()).text(text),
        Launch::default().variable("ONCALL", SECRET),
    );
    (origin, gateway)
}

pub fn drain(gateway: &Gateway, state: &str) {
    let path = "/v1/upstreams/u/backends/u0/state";
    let answer = change(gateway.admin(), "PUT", path, &json!({ "state": state, "reason": "a try" }));
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

pub fn is(event: &Value, alert: &str, state: &str) -> bool {
    event["alert"] == alert && event["state"] == state
}

pub fn view(gateway: &Gateway, name: &str) -> Value {
    gateway.admin_get(&format!("/v1/notify/{name}")).json()
}

/// As the README says that it is verified.
fn verified(received: &Received) -> bool {
    let signature = received.header("x-tidegate-signature");
    let (time, signed) = signature.split_once(",v1=").expect("two parts");
    let time = time.strip_prefix("t=").expect("a time");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let signed: Vec<u8> = (0..signed.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&signed[i..i + 2], 16).expect("hex"))
        .collect();
    let age = jiff::Timestamp::now().as_second() - time.parse::<i64>().expect("seconds");
    (0..300).contains(&age)
        && aws_lc_rs::hmac::verify(&key, format!("{time}.{}", received.body).as_bytes(), &signed).is_ok()
}

#[test]
fn people_hear_in_seconds_and_what_they_hear_is_signed() {
    let hears = Sink::start();
    let (_origin, gateway) =
        telling(&sink("oncall", "webhook", &hears.url("/hook"), "secret = \"${ONCALL}\""));
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
    let sent = [("sink", "oncall"), ("outcome", "sent")];
    wait_until(PATIENCE, "it is counted", || {
        gateway.metrics().value("tidegate_notifications_total", &sent) >= 2.0
    });
    let last = "tidegate_notification_last_success_timestamp_seconds";
    assert!(gateway.metrics().value(last, &[("sink", "oncall")]) > 1e9);
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
    let began = Instant::now();
    wait_until(LONG, "two more seconds of it", || {
        gateway.get("/");
        began.elapsed() > Duration::from_secs(2)
    });
    let over = hears.told(LONG, "it is over", |event| is(event, "TidegateShedding", "resolved"));
    assert!(over["message"].as_str().is_some_and(|told| told.starts_with("u sheds no more as ")), "{over}");
    let told = hears.events().into_iter().filter(|event| event["alert"] == "TidegateShedding");
    let told: Vec<Value> = told.collect();
    assert!(told.len() <= 4, "once for each reason and each end at most: {told:?}");
}

#[test]
fn a_storm_is_a_few_messages_in_which_every_event_is_counted() {
    let hears = Sink::start();
    let text = sink("oncall", "webhook", &hears.url("/"), "events = [\"audit\"]").replace("100ms", "1s");
    let (_origin, gateway) = telling(&text);
    for n in 0..60 {
        let body = json!({ "percent": 20 + n });
        assert_eq!(change(gateway.admin(), "PUT", "/v1/upstreams/u/ramp", &body).status(), 200);
    }
    let told = |hears: &Sink| -> u64 {
        let audited = hears.events().into_iter().filter(|event| event["alert"] == "TidegateAudited");
        audited.filter_map(|event| event["count"].as_u64()).sum()
    };
    wait_until(Duration::from_secs(60), "all of them are told", || told(&hears) >= 60);
    assert!(hears.received().len() <= 20, "{} messages", hears.received().len());
    let most = hears.events().into_iter().max_by_key(|event| event["count"].as_u64()).expect("one");
    assert!(most["samples"].as_array().is_some_and(|samples| (2..=4).contains(&samples.len())), "{most}");
    assert_eq!((&most["subject"], &most["members"]), (&"loopback".into(), &json!(["ramp.set"])), "{most}");
}

#[test]
fn what_is_about_an_upstream_that_is_gone_is_over() {
    let (hears, origin) = (Sink::start(), Origin::well_behaved());
    let text = sink("oncall", "webhook", &hears.url("/"), "");
    let gateway = Gateway::start(&Config::simple(origin.address()).text(&text));
    drain(&gateway, "drain");
    hears.told(PATIENCE, "the drain is told", |event| is(event, "TidegateDrained", "firing"));
    let another = Config::new().upstream("v", &[origin.address()], "").route("r", "/", "v", "");
    gateway.change(&another.text(&text));
    let over = hears.told(PATIENCE, "its end is told", |event| is(event, "TidegateDrained", "resolved"));
    assert!(over["message"].as_str().is_some_and(|said| said.contains("not in the configuration")), "{over}");
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

#[test]
fn slack_is_told_in_a_sentence_with_the_next_command() {
    let hears = Sink::start();
    let (_origin, gateway) = telling(&sink("chat", "slack", &hears.url("/services/T0/B0/hunter2"), ""));
    drain(&gateway, "drain");
    let told =
        hears.hears(PATIENCE, "the drain is told", |received| received.body.contains("u/u0 is drained"));
    let text = told.json()["text"].as_str().expect("a text").to_owned();
    assert!(text.contains("*[info]*") && text.contains("next: `tidegate ramp show`"), "{text}");
    assert_eq!(told.path, "/services/T0/B0/hunter2");
}

#[test]
fn alertmanager_is_told_of_an_alert_that_begins_and_ends() {
    let hears = Sink::start();
    let credential = "authorization = \"Bearer ${ONCALL}\"";
    let (_origin, gateway) = telling(&sink("alerts", "alertmanager", &hears.url("/am/"), credential));
    drain(&gateway, "drain");
    let alert = |ended: bool| {
        move |received: &Received| {
            let now = jiff::Timestamp::now().to_string();
            let alerts = received.json();
            let drained =
                alerts.as_array().expect("alerts").iter().find(|it| {
                    it["labels"]["alertname"] == "TidegateDrained" && it["labels"]["upstream"] == "u"
                });
            drained.is_some_and(|it| (it["endsAt"].as_str().expect("an end") < now.as_str()) == ended)
        }
    };
    let told = hears.hears(PATIENCE, "it fires", alert(false));
    assert_eq!((told.method.as_str(), told.path.as_str()), ("POST", "/am/api/v2/alerts"));
    assert_eq!(told.header("authorization"), format!("Bearer {SECRET}"));
    drain(&gateway, "ready");
    hears.hears(PATIENCE, "it is over", alert(true));
}

#[test]
fn a_sink_is_tried_before_the_night_and_the_audit_knows() {
    let hears = Sink::start();
    let refuses = Sink::with(Manner::Status(404));
    let text = sink("oncall", "webhook", &hears.url("/"), "secret = \"${ONCALL}\"")
        + &sink("gone", "slack", &refuses.url("/services/hunter2"), "");
    let (_origin, gateway) = telling(&text);
    let well = gateway.cli(&["notify", "test", "oncall"]);
    assert_eq!(well.status.code(), Some(0), "{well:?}");
    let told = hears.told(PATIENCE, "it is told", |event| event["alert"] == "TidegateTest");
    assert!(told["message"].as_str().is_some_and(|said| said.contains("loopback tries")), "{told}");
    assert!(hears.received().iter().all(verified));
    let both = gateway.cli(&["notify", "test", "--json"]);
    assert_eq!(both.status.code(), Some(1));
    let both: Value = serde_json::from_slice(&both.stdout).expect("JSON");
    assert_eq!(both["items"][0]["outcome"], "sent", "{both}");
    let why = both["items"][1]["detail"].as_str().expect("why");
    assert!(why.contains("404") && !why.contains("hunter2"), "{why}");
    assert_eq!(gateway.cli(&["notify", "test", "nobody"]).status.code(), Some(1));
    let rows = ask(gateway.admin(), "GET", "/v1/audit", &[], "").json();
    let tried = |target: &str, outcome: &str| {
        let rows = rows["items"].as_array().expect("rows");
        rows.iter()
            .any(|row| row["action"] == "notify.test" && row["target"] == target && row["outcome"] == outcome)
    };
    assert!(tried("oncall", "done") && tried("gone", "refused"), "{rows}");
    let listed = gateway.cli(&["notify", "list"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("oncall  webhook at 127.0.0.1"), "{listed:?}");
}

#[test]
fn a_sink_behind_tls_is_told_if_it_is_who_it_says() {
    let authority = Authority::new();
    let server = authority.server(&["localhost"]);
    let receiver = Origin::tls(Behaviour::WellBehaved, authority.server_config(&server, false));
    let url = format!("https://localhost:{}/", receiver.address().port());
    let text = sink("trusted", "webhook", &url, &format!("ca = \"{}\"", authority.ca().display()))
        + &sink("unknown", "webhook", &url, "");
    let (_origin, gateway) = telling(&text);
    drain(&gateway, "drain");
    wait_until(Duration::from_secs(30), "it is told", || {
        view(&gateway, "trusted")["sent"].as_u64() >= Some(1)
    });
    wait_until(Duration::from_secs(30), "nobody else is", || {
        view(&gateway, "unknown")["last_error"].as_str().is_some_and(|why| why.contains("ertificate"))
    });
    assert_eq!(view(&gateway, "unknown")["sent"], 0);
}
