//! Sinks in trouble: whoever hangs, floods, refuses or is not there costs nothing but what was meant for it; that is
//! counted, said and shown, and what waits outlives other settings and is told at the end.

use crate::notify::{SECRET, drain, is, sink, telling, view};
use crate::rig::name_server::{Manner as NameManner, NameServer};
use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::load::Load;
use crate::support::operator::Listener;
use crate::support::origins::{Behaviour, Origin, refused};
use crate::support::sink::{Manner, Sink};
use crate::support::tls::Authority;
use crate::support::{PATIENCE, wait_until};
use serde_json::Value;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

/// For what takes a second failure, with a wait in between, on a busy machine.
const LONG: Duration = Duration::from_secs(30);

#[test]
fn sinks_that_hang_break_or_are_gone_are_noticed_by_nobody_else() {
    let (hangs, floods) = (Sink::with(Manner::Hangs), Sink::with(Manner::Floods));
    let (drops, well) = (Sink::with(Manner::Drops), Sink::start());
    let quick = "timeout = \"500ms\"";
    let text = sink("hangs", "webhook", &hangs.url("/"), quick)
        + &sink("floods", "slack", &floods.url("/"), quick)
        + &sink("drops", "alertmanager", &drops.url("/"), quick)
        + &sink("gone", "webhook", &format!("http://{}/", refused()), quick)
        + &sink("nameless", "webhook", "http://no-such-name.invalid/", quick)
        + &sink("well", "webhook", &well.url("/"), "");
    let (origin, gateway) = telling(&text);
    let load = Load::paced(gateway.edge(), "/", 2, Duration::from_millis(2));
    drain(&gateway, "drain");
    drain(&gateway, "ready");
    well.told(PATIENCE, "whoever is well is told", |event| event["alert"] == "TidegateDrained");
    for name in ["hangs", "floods", "drops", "gone", "nameless"] {
        wait_until(LONG, name, || !view(&gateway, name)["last_error"].is_null());
        assert_eq!(view(&gateway, name)["sent"], 0, "{name}");
    }
    for path in ["/readyz", "/metrics", "/v1/status", "/v1/notify"] {
        let started = Instant::now();
        assert_eq!(gateway.admin_get(path).status(), 200, "{path}");
        assert!(started.elapsed() < Duration::from_secs(5), "{path} took {:?}", started.elapsed());
    }
    wait_until(LONG, "there was load", || origin.requests() > 200);
    // The only backend was drained for a moment.
    load.stop().only(&[200, 503]);
    let metrics = gateway.metrics();
    assert_eq!(metrics.value("tidegate_notification_failing", &[("sink", "hangs")]), 1.0);
    wait_until(LONG, "whoever is well is", || view(&gateway, "well")["failing_since"].is_null());
    let said =
        |event: &Value| is(event, "TidegateNotificationsFailing", "firing") && event["subject"] == "hangs";
    well.told(LONG, "that another is not told is told", said);
    let told = gateway.admin_get("/v1/events?follow=false&kinds=notification").text();
    let of_hangs = told.matches("\"sink\":\"hangs\"").count();
    assert_eq!(of_hangs, 1, "said once: {told}");
    let screen = gateway.cli(&["status"]);
    let screen = String::from_utf8_lossy(&screen.stdout).into_owned();
    let words = screen.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("hangs FAILING") && words.contains("well ok"), "{screen}");
    assert!(words.contains("! hangs fails for") && words.contains("no answer within 500ms"), "{screen}");
}

#[test]
fn a_sink_that_asks_for_time_gets_it() {
    let hears = Sink::start();
    hears.script(&[Manner::Later(3)]);
    let (_origin, gateway) = telling(&sink("oncall", "slack", &hears.url("/"), "events = [\"ramp\"]"));
    drain(&gateway, "drain");
    wait_until(LONG, "it is taken", || view(&gateway, "oncall")["sent"] == 1);
    let received = hears.received();
    assert_eq!(received.len(), 2);
    assert!(received[1].at - received[0].at >= Duration::from_secs(3), "not before it said");
}

#[test]
fn a_refusal_is_not_repeated_and_its_end_is_told() {
    let (refuses, well) = (Sink::with(Manner::Status(403)), Sink::start());
    let text = sink("oncall", "slack", &refuses.url("/services/hunter2"), "events = [\"ramp\"]")
        + &sink("other", "webhook", &well.url("/"), "events = [\"notification\"]");
    let (_origin, gateway) = telling(&text);
    drain(&gateway, "drain");
    let fails = |event: &Value| is(event, "TidegateNotificationsFailing", "firing");
    let told = well.told(PATIENCE, "the other is told", fails);
    assert!(told["message"].as_str().is_some_and(|said| said.contains("403")), "{told}");
    let failed = [("sink", "oncall"), ("outcome", "failed")];
    assert_eq!(gateway.metrics().value("tidegate_notifications_total", &failed), 1.0);
    assert_eq!(refuses.received().len(), 1, "not tried again");
    refuses.switch(Manner::Status(200));
    drain(&gateway, "ready");
    well.told(PATIENCE, "its end is told", |event| is(event, "TidegateNotificationsFailing", "resolved"));
    assert!(view(&gateway, "oncall")["failing_since"].is_null());
}

#[test]
fn what_waits_outlives_a_change_and_follows_its_sink_to_another_address() {
    let (hangs, well) = (Sink::with(Manner::Status(503)), Sink::start());
    let origin = Origin::well_behaved();
    let config = |url: &str| {
        Config::simple(origin.address()).text(&sink("oncall", "webhook", url, "events = [\"ramp\"]"))
    };
    let gateway = Gateway::start(&config(&hangs.url("/")));
    drain(&gateway, "drain");
    wait_until(PATIENCE, "it was tried", || !hangs.received().is_empty());
    let first = hangs.received()[0].header("x-tidegate-delivery").to_owned();
    gateway.change(&config(&hangs.url("/")).gateway("max_in_flight = 5000"));
    wait_until(LONG, "it is tried on", || hangs.received().len() >= 2);
    gateway.change(&config(&well.url("/")));
    let told = well.hears(PATIENCE, "it is told elsewhere", |_| true);
    assert_eq!(told.header("x-tidegate-delivery"), first, "the same message");
    assert!(hangs.received().iter().all(|received| received.header("x-tidegate-delivery") == first));
}

#[test]
fn what_waited_for_a_sink_that_is_taken_out_or_renamed_is_counted_and_told() {
    let (hangs, well) = (Sink::with(Manner::Status(503)), Sink::start());
    let origin = Origin::well_behaved();
    let config = |name: &str| {
        let ramps = sink(name, "webhook", &hangs.url("/"), "events = [\"ramp\"]");
        Config::simple(origin.address()).text(&(ramps + &sink("well", "webhook", &well.url("/"), "")))
    };
    let gateway = Gateway::start(&config("before"));
    let gone =
        || gateway.metrics().value("tidegate_notifications_total", &[("sink", "-"), ("outcome", "dropped")]);
    assert_eq!(gone(), 0.0, "it is there before it counts");
    drain(&gateway, "drain");
    wait_until(PATIENCE, "one waits", || view(&gateway, "before")["queue_depth"] == 1);
    gateway.change(&config("after"));
    let told = well.told(PATIENCE, "that it is lost is told", |event| {
        is(event, "TidegateNotificationsFailing", "happened") && event["subject"] == "before"
    });
    assert_eq!((&told["fields"]["what"], &told["fields"]["lost"]), (&"dropped".into(), &1.into()), "{told}");
    assert_eq!(gone(), 1.0);
    let text = gateway.admin_get("/metrics").text();
    assert!(!text.contains("sink=\"before\""), "its own series went with it");
}

#[test]
fn what_is_taken_out_of_the_configuration_is_no_alert_any_more() {
    let (well, refuses) = (Sink::start(), Sink::with(Manner::Status(400)));
    let origin = Origin::well_behaved();
    let base = || Config::simple(origin.address()).text(&sink("well", "webhook", &well.url("/"), ""));
    let ramps = "events = [\"ramp\"]";
    let gateway = Gateway::start(&base().text(&sink("refuses", "webhook", &refuses.url("/"), ramps)));
    drain(&gateway, "drain");
    let told = |state: &'static str| move |event: &Value| is(event, "TidegateNotificationsFailing", state);
    well.told(LONG, "that another refuses is told", told("firing"));
    gateway.change(&base());
    well.told(LONG, "and is over with it", told("resolved"));
}

#[test]
fn the_last_of_what_happened_is_told_on_the_way_out_and_a_hung_sink_holds_nobody_up() {
    let (well, hangs) = (Sink::start(), Sink::with(Manner::Hangs));
    let slow = |name: &str, url: &str| sink(name, "webhook", url, "").replace("100ms", "60s");
    let origin = Origin::well_behaved();
    let config = Config::simple(origin.address())
        .gateway("drain_delay = \"0s\"\ndrain_timeout = \"5s\"")
        .text(&(slow("oncall", &well.url("/")) + &slow("hangs", &hangs.url("/"))));
    let mut gateway = Gateway::start(&config);
    drain(&gateway, "drain");
    gateway.term();
    assert!(gateway.exit(Duration::from_secs(20)).success());
    let drained = |event: &Value| is(event, "TidegateDrained", "firing");
    assert!(
        well.events().iter().any(drained),
        "though a minute was to be waited for more: {:?}",
        well.events()
    );
    assert!(well.events().iter().any(|event| event["alert"] == "TidegateLeaving"));
}

/// Nobody answers for its name; how every other sink is told all the same.
#[test]
fn sinks_that_drip_break_off_lead_elsewhere_or_have_no_name_cost_nothing_but_their_own() {
    let elsewhere = Sink::start();
    let manners = [
        ("drips", Manner::Drips, "no answer within"),
        ("breaks", Manner::Breaks, "the connection broke"),
        ("heads", Manner::FloodsHead, "the connection broke"),
        ("leads", Manner::Leads(elsewhere.address()), "redirects are not followed"),
    ];
    let sinks: Vec<Sink> = manners.iter().map(|(_, manner, _)| Sink::with(*manner)).collect();
    let (well, silent) = (Sink::start(), NameServer::start(NameManner::Silent));
    let quick = "timeout = \"1s\"\nevents = [\"ramp\"]";
    let mut text = sink("well", "webhook", &well.url("/"), "")
        + &sink("nameless", "webhook", "http://hooks.test/hunter2", quick);
    for ((name, ..), sink_of) in manners.iter().zip(&sinks) {
        text += &sink(name, "webhook", &sink_of.url("/hunter2"), quick);
    }
    let origin = Origin::well_behaved();
    let config = Config::simple(origin.address()).gateway(&format!("resolver = [\"{}\"]", silent.address()));
    let gateway = Gateway::start(&config.text(&text));
    drain(&gateway, "drain");
    well.told(PATIENCE, "whoever is well is told", |event| event["alert"] == "TidegateDrained");
    let said = |name: &str, why: &str| {
        wait_until(LONG, name, || {
            view(&gateway, name)["last_error"].as_str().is_some_and(|it| it.contains(why))
        });
        let seen = view(&gateway, name);
        assert_eq!(seen["sent"], 0, "{seen}");
        assert!(!seen.to_string().contains("hunter2"), "{seen}");
    };
    manners.iter().for_each(|(name, _, why)| said(name, why));
    said("nameless", "");
    assert!(elsewhere.received().is_empty(), "a redirect is not followed: {:?}", elsewhere.received());
    assert_eq!(sinks[3].received().len(), 1, "and not tried again");
    assert!(!sinks[1].received().is_empty() && !gateway.log().contains("hunter2"), "{}", gateway.log());
}

#[test]
fn nothing_of_a_url_but_its_host_and_nothing_of_a_secret_is_shown() {
    let hears = Sink::with(Manner::Status(500));
    let origin = Origin::well_behaved();
    let text = "[[notify]]\nname = \"chat\"\nkind = \"slack\"\nurl = \"${CHAT}\"\nauthorization = \"Bearer ${ONCALL}\"\n\
                group_wait = \"100ms\"\n";
    let text = text.to_owned() + &sink("oncall", "webhook", &hears.url("/hook"), "secret = \"${ONCALL}\"");
    let launch = Launch::default()
        .variable("CHAT", hears.url("/services/T0/hunter2?token=hunter2"))
        .variable("ONCALL", SECRET);
    let gateway = Gateway::launch(&Config::simple(origin.address()).text(&text), launch);
    let mut events = Listener::open(gateway.admin(), "?after=0&kinds=notification", &[]).expect("a stream");
    drain(&gateway, "drain");
    events.until("that it is not told is told", |event| event["sink"] == "chat");
    let paths = [
        "/v1/status",
        "/v1/notify",
        "/v1/notify/chat",
        "/readyz",
        "/metrics",
        "/v1/events?follow=false",
        "/v1/audit",
        "/v1/versions",
        "/v1/versions/1",
        "/v1/openapi.json",
        "/",
    ];
    let mut said: String = paths.iter().map(|path| gateway.admin_get(path).text()).collect();
    said += &gateway.log();
    said += &String::from_utf8_lossy(&gateway.cli(&["notify", "test"]).stdout);
    said += &String::from_utf8_lossy(&gateway.cli(&["notify", "list"]).stdout);
    assert!(said.contains(&hears.address().to_string()), "the host is shown");
    assert!(!said.contains("hunter2") && !said.contains(SECRET) && !said.contains("/services"), "{said}");
    assert!(hears.received().iter().any(|received| received.path.contains("hunter2")), "it was asked");
}

#[test]
fn a_disk_with_the_systems_authorities_that_hangs_holds_up_neither_start_nor_rollback() {
    let authority = Authority::new();
    let server = authority.server(&["localhost"]);
    let receiver = Origin::tls(Behaviour::WellBehaved, authority.server_config(&server, false));
    // Whoever opens it waits until somebody writes.
    let hung = authority.ca().with_file_name("hung.pem");
    assert!(Command::new("mkfifo").arg(&hung).status().expect("it runs").success());
    let origin = Origin::well_behaved();
    let url = format!("https://localhost:{}/", receiver.address().port());
    let config = |n: u32| {
        let told = sink("oncall", "webhook", &url, "events = [\"ramp\"]");
        Config::simple(origin.address()).gateway(&format!("max_in_flight = {n}")).text(&told)
    };
    let launch = Launch::default().variable("SSL_CERT_FILE", hung.display().to_string());
    let gateway = Gateway::launch(&config(5000), launch);
    let good = gateway.hash();
    gateway.change(&config(5001));
    let rolled = gateway.cli(&["rollback", "--json"]);
    assert_eq!((rolled.status.code(), gateway.hash()), (Some(0), good), "{rolled:?}");
    drain(&gateway, "drain");
    wait_until(LONG, "it is said why nobody is told", || {
        view(&gateway, "oncall")["last_error"].as_str().is_some_and(|why| why.contains("trusted roots"))
    });
    let pem = fs::read(authority.ca()).expect("its own certificate");
    fs::write(&hung, pem).expect("the disk answers");
    wait_until(LONG, "and it is told", || view(&gateway, "oncall")["sent"].as_u64() >= Some(1));
}

#[test]
fn a_rollback_is_not_held_up_by_a_sink_whose_url_is_gone() {
    let (hears, origin) = (Sink::start(), Origin::well_behaved());
    let config = |n: u32| Config::simple(origin.address()).gateway(&format!("max_in_flight = {n}"));
    let told = "[[notify]]\nname = \"oncall\"\nurl = \"${ONCALL_URL}\"\nsecret = \"${ONCALL}\"\n";
    let launch = Launch::default().variable("ONCALL_URL", hears.url("/")).variable("ONCALL", SECRET);
    let gateway = Gateway::launch(&config(5000).text(told), launch);
    let good = gateway.hash();
    gateway.change(&config(5001));
    let secrets = gateway.folder().join("state/secrets");
    let gateway = gateway.restart_after(Launch::default(), || {
        fs::remove_dir_all(&secrets).expect("what was kept of secrets is gone");
    });
    // By its number: without what was kept of secrets, the start may take the same file for a change.
    let rolled = gateway.cli(&["rollback", "1", "--json"]);
    let rolled: Value = serde_json::from_slice(&rolled.stdout).expect("JSON");
    assert_eq!(gateway.hash(), good, "{rolled}");
    assert!(rolled["notices"].to_string().contains("told nothing"), "{rolled}");
    wait_until(PATIENCE, "it serves", || gateway.serves("/"));
    assert!(gateway.admin_get("/v1/notify").json()["items"].as_array().is_some_and(Vec::is_empty));
}
