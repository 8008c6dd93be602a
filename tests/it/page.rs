//! The operators' page in a real browser: it shows what happens, its levers do what they say to real traffic, and it
//! is of use to somebody with a phone, a keyboard or a screen reader. Pictures are left in `target/tmp/page`.

use crate::support::browser::Browser;
use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::origins::{Behaviour, Origin};
use crate::support::{PATIENCE, wait_until};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

/// Long enough for shares to be counted, short enough for many answers.
const WORK: Duration = Duration::from_millis(60);
/// For what takes traffic to show.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Orders behind three backends, and search behind one.
pub(crate) fn fleet(origins: &[Origin], mark: &str) -> Config {
    fleet_under("[rollout]\nrequired = false\n", origins, mark)
}

pub(crate) fn fleet_under(policy: &str, origins: &[Origin], mark: &str) -> Config {
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    let mark = format!("response_headers = {{ set = {{ \"x-mark\" = \"{mark}\" }} }}");
    Config::under(policy)
        .upstream("orders", &addresses[..3], "max_in_flight = 60")
        .upstream(
            "search",
            &addresses[3..],
            "max_in_flight = 2\nqueue = { max_waiting = 1, max_wait = \"20ms\" }",
        )
        .route("orders", "/orders", "orders", &mark)
        .route("search", "/search", "search", "")
}

pub(crate) fn origins() -> Vec<Origin> {
    (0..4).map(|_| Origin::start(Behaviour::Delay(WORK))).collect()
}

/// Which part of the next `count` requests for orders the first backend gets.
fn part_of_first(origins: &[Origin], count: u64) -> f64 {
    let seen = || [0, 1, 2].map(|nth: usize| origins[nth].requests());
    let before = seen();
    let since = || seen().iter().sum::<u64>() - before.iter().sum::<u64>();
    wait_until(LONG, "orders are served", || since() >= count);
    let (first, all) = (seen()[0] - before[0], since());
    first as f64 / all as f64
}

#[test]
fn the_page_shows_what_happens_and_its_levers_move_traffic() {
    let origins = origins();
    let gateway = Gateway::start(&fleet(&origins, "one"));
    let Some(mut page) = Browser::at(gateway.admin()) else { return };
    let _orders = Load::closed(gateway.edge(), "/orders", 12);
    let _search = Load::paced(gateway.edge(), "/search", 8, Duration::from_millis(100));
    let policy = page.reads("open", json!({}));
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self'"), "{policy}");

    // To whom: the upstream that sheds comes first, with the reason; the other has numbers that move.
    page.does("sees", json!({ "text": "shedding", "within": "tr.line:first-child" }));
    let search = page.does("numbers", json!({ "upstream": "search" }));
    assert_eq!(search["State"], "shedding", "{search}");
    let why = search["Why"].as_str().expect("a text");
    // A busy machine has a reason of its own.
    assert!(
        ["queue_full", "queue_timeout", "upstream_limit", "cpu"].iter().any(|reason| why.contains(reason)),
        "{why}"
    );
    page.does("sees", json!({ "text": "for ", "within": "tr.line:first-child .lasting" }));
    let numbers = |page: &mut Browser| page.does("numbers", json!({ "upstream": "orders" }));
    let first = numbers(&mut page);
    assert_eq!(first["Backends"], "3/3 ready", "{first}");
    wait_until(LONG, "the numbers move", || numbers(&mut page) != first);
    page.does("sees", json!({ "text": "search is shedding", "within": "ol.events" }));

    // What may be done: a slider says what will come of it, and then it does.
    let reference = || gateway.upstream("orders")["backends"][0]["reference"]["source"].clone();
    wait_until(LONG, "it is known what a backend holds when it is well", || reference() != "cap");
    page.does("look_into", json!({ "upstream": "orders" }));
    let forecast = page.reads("slide", json!({ "name": "orders0", "percent": 25 }));
    assert!(forecast.contains("will be shed") && forecast.contains("/s asked for"), "{forecast}");
    page.picture("desk-light-ramp", true);
    let said = page.reads("apply", json!({ "name": "orders0", "reason": "a cold release" }));
    assert!(said.contains("Set to 25 % by loopback"), "{said}");
    wait_until(LONG, "a quarter of its share is left", || part_of_first(&origins, 200) < 0.2);
    page.does("press", json!({ "name": "Clear the ramp of orders/orders0" }));
    wait_until(LONG, "its share is back", || part_of_first(&origins, 200) > 0.25);

    // A ramp that goes on by itself stands still when somebody says so.
    page.does("slide", json!({ "name": "orders0", "percent": 50 }));
    page.does(
        "apply",
        json!({ "name": "orders0", "reason": "by halves", "then": "then 100 % after 10 min" }),
    );
    let paused =
        || gateway.admin_get("/v1/upstreams/orders/backends/orders0/ramp").json()["then"]["paused"].clone();
    page.does("press", json!({ "name": "Pause the ramp of orders/orders0" }));
    page.does("sees", json!({ "text": "Paused before 100 %", "within": "ul.backends" }));
    assert_eq!(paused(), true);
    page.does("press", json!({ "name": "Resume the ramp of orders/orders0" }));
    page.does("sees", json!({ "text": "100 % in 9 min", "within": "ul.backends" }));
    assert_eq!(paused(), false);
    page.does("press", json!({ "name": "Clear the ramp of orders/orders0" }));

    let warning = page.reads("drain", json!({ "name": "orders0", "reason": "a new disk" }));
    assert!(warning.contains("2 of 3 backends stay ready"), "{warning}");
    wait_until(LONG, "it gets nothing", || part_of_first(&origins, 100) == 0.0);
    page.does("sees", json!({ "text": "Drained by loopback", "within": "ul.backends" }));
    page.has_no_complaints();
}

#[test]
fn rollback_is_two_clicks_and_needs_no_mouse() {
    let origins = origins();
    let gateway = Gateway::start(&fleet(&origins, "one"));
    let Some(mut page) = Browser::at(gateway.admin()) else { return };
    let marks = |mark: &str| gateway.get("/orders").get("x-mark") == Some(mark);
    let good = gateway.hash();
    gateway.change(&fleet(&origins, "two"));
    assert!(marks("two"));
    page.does("open", json!({ "scheme": "dark" }));
    let said = page.reads("roll_back", json!({ "names": "Roll back to version 1" }));
    assert!(said.contains("Version 2 is replaced by version 1 for everyone"), "{said}");
    assert_eq!(gateway.hash(), good, "it is back when the question is gone");
    assert!(marks("one"));
    page.does("sees", json!({ "text": "Version 1 is back" }));

    gateway.change(&fleet(&origins, "three"));
    page.does("sees", json!({ "text": "version 3", "within": "header" }));
    let how = json!({ "names": "Roll back to version 1", "reason": "three was worse" });
    let focus = page.does("roll_back_by_keyboard", how);
    assert_eq!(focus, "Rollback", "the focus is where it was");
    assert_eq!(gateway.hash(), good);
    let audit = gateway.admin_get("/v1/audit?limit=10").text();
    assert!(audit.contains("three was worse"), "{audit}");
    page.has_no_complaints();
}

#[test]
fn a_rollout_is_watched_with_its_guards_numbers_and_aborted() {
    let origins = origins();
    let policy = "[rollout]\nstages = [\"50%\", \"100%\"]\nbake = \"10m\"\n";
    let gateway = Gateway::start(&fleet_under(policy, &origins, "one"));
    let Some(mut page) = Browser::at(gateway.admin()) else { return };
    let _orders = Load::closed(gateway.edge(), "/orders", 4);
    page.does("open", json!({}));
    page.does("sees", json!({ "text": "none under way" }));
    gateway.write(&fleet_under(policy, &origins, "two"));
    let within = "section:has(#rollout)";
    page.does("sees", json!({ "text": "Guard: stage 1 of 2", "within": within }));
    page.does("sees", json!({ "text": "Serves 50 %", "within": within }));
    wait_until(LONG, "the guard's numbers are there", || {
        let said = page.reads("sees", json!({ "text": "stable", "within": within }));
        // Of all together, and of the one route that is asked.
        let new = |of: &str| {
            said.lines().any(|line| line.starts_with(of) && !line.starts_with(&format!("{of}0\t")))
        };
        new("all\tnew\t") && new("orders\tnew\t")
    });
    page.picture("desk-light-rollout", true);

    // What the gateway refuses is said where it was asked for, with why.
    page.does("press", json!({ "name": "Promote" }));
    page.does("press", json!({ "name": "Promote it", "within": "dialog" }));
    let refused = page.reads("sees", json!({ "text": "▲", "within": "dialog .refused" }));
    assert!(refused.len() > 20, "{refused}");
    page.does("press", json!({ "name": "Cancel", "within": "dialog" }));
    assert_eq!(gateway.status()["version"]["number"], 1);

    page.does("press", json!({ "name": "Abort" }));
    page.does("press", json!({ "name": "Abort it", "within": "dialog" }));
    page.does("sees", json!({ "text": "version 2 aborted", "within": within }));
    let rollout = gateway.admin_get("/v1/rollout").json();
    assert_eq!((&rollout["state"], &rollout["last"]["outcome"]), (&json!("none"), &json!("aborted")));
    assert_eq!(gateway.status()["version"]["number"], 1);
    // Browsers put down every refusal; this one is a conflict.
    page.has_no_complaints_but("409");
}

#[test]
fn an_incident_is_opened_updated_and_closed_where_it_is_seen() {
    let origins = origins();
    let gateway = Gateway::start(&fleet(&origins, "one"));
    let Some(mut page) = Browser::at(gateway.admin()) else { return };
    page.does("open", json!({}));
    let list = || gateway.admin_get("/v1/incidents");
    let incident = || list().json()["items"][0].clone();
    page.does("press", json!({ "name": "Open an incident" }));
    assert_eq!(page.does("broken_rules", json!({})), json!([]));
    let words = json!({ "title": "Orders are late", "upstream": "orders", "text": "We look into it.", "freeze": true });
    let say = |page: &mut Browser, mut words: Value, button: &str| {
        words["button"] = button.into();
        page.does("say_incident", words);
    };
    say(&mut page, words, "Open it");
    page.does("sees", json!({ "text": "1 open incident", "within": "header" }));
    page.does("sees", json!({ "text": "frozen", "within": "header" }));
    page.picture("desk-light-incident", false);
    let opened = incident();
    let known = ["state", "title", "severity", "freeze", "opened_by"].map(|name| opened[name].clone());
    assert_eq!(json!(known), json!(["open", "Orders are late", "major", true, "loopback"]), "{opened}");
    assert_eq!(opened["upstreams"], json!(["orders"]));
    page.does("press", json!({ "name": "Update incident 1" }));
    say(&mut page, json!({ "text": "A disk was full." }), "Save");
    page.does("sees", json!({ "text": "A disk was full.", "within": "article" }));
    assert_eq!(incident()["freeze"], false, "what is not ticked any more holds nothing back");
    page.does("press", json!({ "name": "Close incident 1" }));
    page.does("sees", json!({ "text": "none open" }));
    assert_eq!(incident()["state"], "closed");
    page.has_no_complaints();
}

#[test]
fn a_token_is_asked_for_and_a_viewer_cannot_act() {
    let origins = origins();
    let token = |name: &str, role: &str| {
        let hash = blake3::hash(format!("the token {name}").as_bytes()).to_hex();
        format!("{{ name = \"{name}\", role = \"{role}\", hash = \"{hash}\" }}")
    };
    let tokens = format!("tokens = [{}, {}]", token("see", "viewer"), token("act", "operator"));
    let gateway = Gateway::start(&fleet(&origins, "one").admin(&tokens));
    let Some(mut page) = Browser::at(gateway.admin()) else { return };
    page.does("open", json!({}));
    let said = page.reads("sign_in", json!({ "token": "a guess" }));
    assert!(said.contains("does not know this token"), "{said}");
    page.does("sign_in", json!({ "token": "the token see" }));
    page.does("sees", json!({ "text": "see · viewer", "within": "header" }));
    page.does("look_into", json!({ "upstream": "orders" }));
    let locked = page.does("locked", json!({}));
    let locked = locked.as_array().expect("a list");
    for name in ["Rollback", "Drain", "slider"] {
        let why = locked.iter().find(|pair| pair[0] == name).map(|pair| &pair[1]);
        let why = why.and_then(Value::as_str).unwrap_or_else(|| panic!("{name} is locked: {locked:?}"));
        assert!(why.contains("needs an operator's token"), "{name}: {why}");
    }
    page.does("press", json!({ "name": "Sign out" }));
    page.does("sign_in", json!({ "token": "the token act" }));
    page.does("sees", json!({ "text": "act · operator", "within": "header" }));
    assert_eq!(page.does("locked", json!({})), json!([]));
    // A wrong token is answered with 401, which browsers put down; nothing else is wrong.
    page.has_no_complaints_but("401");
}

#[test]
fn the_page_says_since_when_it_is_cut_off_and_comes_back_by_itself() {
    let origins = origins();
    let gateway = Gateway::start(&fleet(&origins, "one"));
    let Some(mut page) = Browser::at(gateway.admin()) else { return };
    page.does("open", json!({}));
    page.does("numbers", json!({ "upstream": "orders" }));
    gateway.stopped(|| {
        page.does("sees", json!({ "text": "Connection lost at" }));
        page.picture("desk-light-lost", false);
    });
    page.does("sees_no_more", json!({ "text": "Connection lost at" }));
    page.has_no_complaints();
}

#[test]
fn the_page_serves_phones_and_screen_readers_in_the_dark_and_by_day() {
    let origins = origins();
    let gateway = Gateway::start(&fleet(&origins, "one"));
    let Some(mut page) = Browser::at(gateway.admin()) else { return };
    let _orders = Load::closed(gateway.edge(), "/orders", 4);
    let _search = Load::paced(gateway.edge(), "/search", 8, Duration::from_millis(100));
    for (screen, scheme) in [("desk", "light"), ("desk", "dark"), ("phone", "dark")] {
        let name = format!("{screen}-{scheme}");
        page.does("open", json!({ "screen": screen, "scheme": scheme }));
        page.does("sees", json!({ "text": "shedding", "within": "tr.line:first-child" }));
        page.picture(&format!("{name}-first"), false);
        page.does("look_into", json!({ "upstream": "orders" }));
        page.does("slide", json!({ "name": "orders0", "percent": 5 }));
        assert_eq!(page.does("broken_rules", json!({})), json!([]), "{name}");
        page.picture(&name, true);
        let fits = page.does("fits", json!({}));
        assert_eq!(fits["beyond"], 0, "{name} scrolls sideways");
        if screen == "phone" {
            assert_eq!(fits["small"], json!([]), "a finger hits everything");
        }
        page.does("press", json!({ "name": "Rollback" }));
        page.does("sees", json!({ "text": "goes into the audit", "within": "dialog" }));
        assert_eq!(page.does("broken_rules", json!({})), json!([]), "{name}, asked");
        assert_eq!(page.does("fits", json!({}))["beyond"], 0, "{name}, asked, scrolls sideways");
        page.picture(&format!("{name}-rollback"), false);
    }
    page.has_no_complaints();
}

#[test]
fn a_hundred_upstreams_of_fifty_backends_do_not_stop_the_page() {
    let origin = Origin::well_behaved();
    let mut text = String::new();
    for nth in 0..100 {
        write!(text, "[[upstreams]]\nname = \"u{nth:03}\"\nhealth = {{ path = \"/\", interval = \"10m\" }}\nbackends = [")
            .expect("text grows");
        for backend in 0..50 {
            write!(text, "{{ name = \"b{backend}\", address = \"{}\" }},", origin.address())
                .expect("text grows");
        }
        write!(
            text,
            "]\n[[routes]]\nname = \"u{nth:03}\"\npath_prefix = \"/u{nth:03}\"\nupstream = \"u{nth:03}\"\n"
        )
        .expect("text grows");
    }
    let gateway = Gateway::start(&Config::new().text(&text));
    let Some(mut page) = Browser::at(gateway.admin()) else { return };
    page.does("open", json!({}));
    let pace = page.does("pace", json!({ "lines": 100, "seconds": 4 }));
    println!("a hundred upstreams: {pace}");
    page.does("look_into", json!({ "upstream": "u042" }));
    page.picture("desk-light-fleet", false);
    let open = page.does("pace", json!({ "lines": 100, "seconds": 4 }));
    println!("and again: {open}");
    // On a quiet machine a tenth of these.
    for (what, most) in [("shown", 20.0), ("blocked", 3.0), ("nodes", 20_000.0)] {
        assert!(pace[what].as_f64().is_some_and(|value| value < most), "{what}: {pace}");
    }
    wait_until(PATIENCE, "the gateway still answers", || gateway.status()["ready"] == true);
    page.has_no_complaints();
}
