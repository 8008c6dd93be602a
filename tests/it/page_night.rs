//! The page as it is needed at three in the morning: on a phone, while something is wrong, by somebody who has just
//! woken up. Pictures are left in `target/tmp/page`.

use crate::page::{LONG, fleet, fleet_under, origins};
use crate::support::browser::Browser;
use crate::support::config::Config;
use crate::support::gateway::Gateway;
use crate::support::load::Load;
use crate::support::operator::change;
use crate::support::origins::{Behaviour, Origin};
use crate::support::{wait_for, wait_until};
use serde_json::{Value, json};
use std::time::Duration;

const POLICY: &str = "[rollout]\nstages = [\"50%\", \"100%\"]\nbake = \"10m\"\n";

/// Applies it around the stages.
fn break_the_glass(gateway: &Gateway, config: &Config) {
    let text = config.render(&gateway.folder().join("state"));
    let glass = "/v1/versions?now=true&break_glass=true&reason=the%20house%20burns";
    let answer = gateway.admin_post(glass, "", text);
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

#[test]
fn the_first_screen_of_a_phone_says_who_is_hurt_why_since_when_and_has_the_way_back() {
    let origins = origins();
    let with_calm = |mark: &str| {
        let calm = ["accounts", "basket", "images", "login", "mail", "prices"];
        calm.iter().fold(fleet_under(POLICY, &origins, mark), |config, name| {
            config.upstream(name, &[origins[0].address()], "").route(name, &format!("/{name}"), name, "")
        })
    };
    let gateway = Gateway::start(&with_calm("one"));
    let Some(mut page) = Browser::at(gateway.admin()) else { return };
    page.does("open", json!({ "screen": "night", "scheme": "dark" }));
    page.does("sees", json!({ "text": "all 8 fine" }));
    let calm = page.does("first_screen", json!({}));
    assert!(calm["bar"]["height"].as_f64().is_some_and(|height| height <= 60.0), "one line: {calm}");

    // Everything that ever stood above it.
    let _search = Load::paced(gateway.edge(), "/search", 8, Duration::from_millis(100));
    break_the_glass(&gateway, &with_calm("two"));
    let words = json!({ "title": "Search is slow", "severity": "major", "upstreams": ["search"], "text": "We look." });
    assert_eq!(change(gateway.admin(), "POST", "/v1/incidents", &words).status(), 201);
    page.does("open", json!({ "screen": "night", "scheme": "dark" }));
    page.does("sees", json!({ "text": "shedding", "within": "tr.line:first-child" }));
    page.does("sees", json!({ "text": "for ", "within": "tr.line:first-child .lasting" }));
    page.does("sees", json!({ "text": "1 open incident", "within": "header" }));
    page.does("sees", json!({ "text": "broke the glass", "within": ".notes" }));
    let told = [
        "1 shedding",
        "search",
        "refuses ",
        "/s of ",
        " in flight",
        "for ",
        "Search is slow",
        "upstreams are well",
    ];
    let hurt = wait_for(LONG, "all of it is on the first screen", || {
        let hurt = page.does("first_screen", json!({}));
        told.iter().all(|told| hurt["says"].as_str().is_some_and(|says| says.contains(told))).then_some(hurt)
    });
    page.picture("night-dark-hurt", false);
    let says = hurt["says"].as_str().expect("a text");
    // Times and words for people.
    assert!(!says.contains("tidegate ") && !says.contains("T0") && !says.contains("Z:"), "{says}");
    assert_eq!(hurt["rollback"], calm["rollback"], "the way back stays where it is");
    assert_eq!(hurt["bar"], calm["bar"]);
    page.does("press", json!({ "name": "7 upstreams are well ▸" }));
    page.does("look_into", json!({ "upstream": "images" }));
    for scheme in ["dark", "light"] {
        page.does("open", json!({ "screen": "night", "scheme": scheme }));
        page.does("look_into", json!({ "upstream": "search" }));
        page.does("unfold", json!({}));
        let help = page.reads("sees", json!({ "text": "It means", "within": "#detail .help" }));
        assert!(help.contains("tidegate permits --upstream search"), "the runbook, about this one: {help}");
        assert_eq!(page.does("broken_rules", json!({})), json!([]), "{scheme}");
        page.picture(&format!("night-{scheme}-help"), true);
        let fits = page.does("fits", json!({}));
        assert_eq!((&fits["beyond"], &fits["small"]), (&json!(0), &json!([])));
    }
    page.has_no_complaints();
}

#[test]
fn an_upstream_that_hangs_says_so_and_stands_before_all_others() {
    let origins = origins();
    let gateway = Gateway::start(&fleet(&origins, "one"));
    let Some(mut page) = Browser::at(gateway.admin()) else { return };
    origins[0..3].iter().for_each(|origin| origin.switch(Behaviour::AcceptsAndNeverAnswers));
    let _orders = Load::closed(gateway.edge(), "/orders", 4);
    let _search = Load::paced(gateway.edge(), "/search", 8, Duration::from_millis(100));
    page.does("open", json!({ "screen": "night", "scheme": "dark" }));
    let first = "tr.line:first-child";
    page.does("sees", json!({ "text": "hangs", "within": "header" }));
    page.does("sees", json!({ "text": "nothing came back for", "within": first }));
    let line = page.reads("sees", json!({ "text": "orders", "within": first }));
    for told in ["hangs", "4 of 60 held", "for "] {
        assert!(line.contains(told), "{told}: {line}");
    }
    page.does("look_into", json!({ "upstream": "orders" }));
    page.does("unfold", json!({}));
    page.does("sees", json!({ "text": "tidegate permits --upstream orders", "within": "#detail .help" }));
    page.picture("night-dark-hangs", false);
    page.has_no_complaints();
}

/// More requests than will come: whoever promotes does not wait for them.
const BY_STAGES: &str = "[rollout]\nrequired = true\nstages = [\"50%\", \"100%\"]\nbake = \"1s\"\n\
                         guard = { min_requests = 100000 }\n";

/// Answers carry the mark. The timeout is short, because a bake is twice that at least.
fn marked(policy: &str, origin: &Origin, mark: &str) -> Config {
    let edit = format!("timeout = \"200ms\"\nresponse_headers = {{ set = {{ \"x-mark\" = \"{mark}\" }} }}");
    Config::under(policy).upstream("orders", &[origin.address()], "").route("orders", "/", "orders", &edit)
}

/// The button with this word, why, and the second button.
fn say(page: &mut Browser, word: &str, confirm: &str, reason: &str, within: &str) -> String {
    let how = json!({ "word": word, "confirm": confirm, "reason": reason, "within": within });
    page.reads("say_word", how)
}

#[test]
fn a_change_is_approved_and_promoted_where_it_is_seen() {
    let origin = Origin::well_behaved();
    let policy = &format!("{BY_STAGES}approve = \"medium\"\n");
    let gateway = Gateway::start(&marked(policy, &origin, "one"));
    let Some(mut page) = Browser::at(gateway.admin()) else { return };
    let rollout = || gateway.admin_get("/v1/rollout").json();
    let audit = || gateway.admin_get("/v1/audit?limit=50").text();
    page.does("open", json!({}));
    gateway.write(&marked(policy, &origin, "two"));
    let panel = "section:has(#rollout)";
    page.does("sees", json!({ "text": "approval", "within": panel }));
    let told = say(&mut page, "Approve", "Approve it", "I have read it", panel);
    assert!(told.contains("begins its stages"), "{told}");
    assert_ne!(rollout()["state"], "approval", "it is so when the question is gone");

    page.does("sees", json!({ "text": "Serves 50 %", "within": panel }));
    wait_until(LONG, "its bake is over", || {
        rollout()["guard"]["why"].as_str().is_some_and(|why| why.contains("requests; waits"))
    });
    say(&mut page, "Promote", "Promote it", "nobody comes at night", panel);
    wait_until(LONG, "everyone is served by it", || gateway.status()["version"]["number"] == 2);
    assert!(audit().contains("I have read it") && audit().contains("nobody comes at night"), "{}", audit());
    page.has_no_complaints();
}

#[test]
fn broken_glass_is_acknowledged_and_a_change_confirmed_where_it_is_said() {
    let (origin, at_once) = (Origin::well_behaved(), "[rollout]\nrequired = false\n");
    let gateway = Gateway::start(&marked(BY_STAGES, &origin, "one"));
    let Some(mut page) = Browser::at(gateway.admin()) else { return };
    let rollout = || gateway.admin_get("/v1/rollout").json();
    page.does("open", json!({}));
    break_the_glass(&gateway, &marked(at_once, &origin, "three"));
    page.does("sees", json!({ "text": "broke the glass", "within": ".notes" }));
    let help = page.reads(
        "sees",
        json!({ "text": "Somebody went around the stages.", "within": ".note:has-text('glass')" }),
    );
    assert!(help.contains("What it means, what to do"), "{help}");
    say(&mut page, "Acknowledge", "I have seen it", "it helps", ".notes");
    page.does("sees_no_more", json!({ "text": "broke the glass with version" }));
    assert_eq!(gateway.metrics().value("tidegate_break_glass", &[]), 0.0);

    let text = marked(at_once, &origin, "four").render(&gateway.folder().join("state"));
    wait_until(LONG, "nothing is under way", || rollout()["state"] == "none");
    let answer = gateway.admin_post("/v1/versions?confirm=120s", "", text);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    page.does("sees", json!({ "text": "unless somebody confirms it", "within": ".notes" }));
    say(&mut page, "Confirm", "Confirm it", "it serves", ".notes");
    assert_eq!(rollout()["unconfirmed"], Value::Null);
    assert_eq!(gateway.get("/").get("x-mark"), Some("four"));
    page.has_no_complaints();
}

#[test]
fn a_page_without_a_token_asks_for_one_once_and_then_leaves_the_gateway_alone() {
    let origins = origins();
    let hash = |token: &str| blake3::hash(token.as_bytes()).to_hex();
    let known = |token: &str| {
        format!("tokens = [{{ name = \"act\", role = \"operator\", hash = \"{}\" }}]", hash(token))
    };
    let gateway = Gateway::start(&fleet(&origins, "one").admin(&known("the token")));
    let Some(mut page) = Browser::at(gateway.admin()) else { return };
    page.does("open", json!({ "clock": true }));
    page.does("sees", json!({ "text": "Token", "within": "form" }));
    assert_eq!(page.does("refusals", json!({ "minutes": 10 })), 1);

    // A token that is taken away ends what is open, and nothing is tried again with it.
    page.does("sign_in", json!({ "token": "the token" }));
    page.does("numbers", json!({ "upstream": "orders" }));
    gateway.write(&fleet(&origins, "one").admin(&known("another token")));
    page.does("sees", json!({ "text": "Token", "within": "form" }));
    let some = page.does("refusals", json!({})).as_u64().expect("a number");
    assert!(some <= 5, "each stream once: {some}");
    assert_eq!(page.does("refusals", json!({ "minutes": 10 })), some);
    page.has_no_complaints_but("401");
}

#[test]
fn no_line_moves_away_under_a_finger() {
    let origins = origins();
    let gateway = Gateway::start(&fleet(&origins, "one"));
    let Some(mut page) = Browser::at(gateway.admin()) else { return };
    let _search = Load::paced(gateway.edge(), "/search", 8, Duration::from_millis(100));
    page.does("open", json!({}));
    page.does("sees", json!({ "text": "shedding", "within": "tr.line:first-child" }));
    page.does("hold", json!({ "upstream": "search" }));
    for backend in ["orders0", "orders1", "orders2"] {
        let path = format!("/v1/upstreams/orders/backends/{backend}/state");
        assert_eq!(change(gateway.admin(), "PUT", &path, &json!({ "state": "drain" })).status(), 200);
    }
    page.does("sees", json!({ "text": "1 down", "within": "header" }));
    assert_eq!(page.does("order", json!({})), json!(["search", "orders"]), "it stands still");
    page.does("release", json!({}));
    wait_until(LONG, "the worst is on top", || page.does("order", json!({})) == json!(["orders", "search"]));
    page.has_no_complaints();
}
