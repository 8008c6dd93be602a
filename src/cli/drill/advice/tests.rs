//! Every rule by a configuration and a measurement that it speaks to, and beside it by those where it is silent.

use super::super::facts::RouteFacts;
use super::super::found::{Doubt, Measured};
use super::*;
use crate::admission::settings::Mode;
use crate::filters::auth::settings::OnError;
use crate::request::Class;
use crate::upstream::settings::OnMissing;

fn upstream() -> UpstreamFacts {
    UpstreamFacts {
        backends: 2,
        named: true,
        routes: 1,
        cap: 128,
        adaptive: Mode::Shadow,
        objective: Duration::from_millis(250),
        max_retries: 1,
        budget: 0.1,
        health: true,
        consecutive_failures: 5,
        steps: vec![25.0, 50.0, 75.0, 100.0],
        on_missing: OnMissing::KeepFor(Duration::from_secs(900)),
    }
}

fn route(upstream: &str) -> RouteFacts {
    RouteFacts {
        upstream: upstream.to_owned(),
        auth: None,
        class: Class::Default,
        timeout: Duration::from_secs(2),
    }
}

/// `orders`, guarded by nobody, and `catalogue` beside it.
fn facts() -> Facts {
    let mut facts = Facts { process: 1_000, required: true, ..Facts::default() };
    for name in ["orders", "catalogue"] {
        facts.routes.insert(name.to_owned(), route(name));
        facts.upstreams.insert(name.to_owned(), upstream());
    }
    facts
}

fn well() -> Sight {
    Sight::made_up(100, 100, 0.1, ("", 0), ("", 0))
}

fn one(route: &str, role: Role, hit: Sight, verdict: Verdict) -> RouteFound {
    RouteFound {
        route: route.to_owned(),
        upstream: route.to_owned(),
        auth: None,
        class: "default",
        role,
        calm: well(),
        hit,
        verdict,
        why: String::new(),
    }
}

/// `orders` was struck and saw this.
fn found(scene: Scene, hit: Sight, verdict: Verdict) -> Found {
    let struck = (scene != Scene::BadName).then(|| "orders".to_owned());
    Found {
        scene,
        struck,
        title: String::new(),
        seconds: 4.0,
        verdict,
        doubt: None,
        late_p99_ms: 1.0,
        times_judged: true,
        routes: vec![
            one("orders", Role::Struck, hit, verdict),
            one("catalogue", Role::Beside, well(), Verdict::Holds),
        ],
        measured: Measured::default(),
        advice: Vec::new(),
    }
}

fn lines(facts: &Facts, found: &Found) -> Vec<String> {
    of(facts, found).into_iter().map(|advice| format!("{}: {}", advice.of, advice.write)).collect()
}

fn set(facts: &mut Facts, change: impl FnOnce(&mut UpstreamFacts)) {
    change(facts.upstreams.get_mut("orders").expect("there"));
}

#[test]
fn where_all_holds_nothing_is_said_whatever_the_settings_are() {
    let mut facts = facts();
    facts.required = false;
    set(&mut facts, |it| {
        *it = UpstreamFacts { on_missing: OnMissing::Drop, max_retries: 0, health: false, ..upstream() };
    });
    facts.routes.get_mut("orders").expect("there").timeout = Duration::from_secs(30);
    for scene in Scene::ALL {
        assert_eq!(lines(&facts, &found(scene, well(), Verdict::Holds)), Vec::<String>::new());
    }
}

#[test]
fn a_long_timeout_is_named_where_users_waited_for_nothing() {
    let waited = || Sight::made_up(100, 0, 0.0, ("no_backend", 40), ("no answer", 60));
    let mut facts = facts();
    facts.routes.get_mut("orders").expect("there").timeout = Duration::from_secs(30);
    let advice = of(&facts, &found(Scene::HungUpstream, waited(), Verdict::Degraded));
    assert_eq!(
        (&*advice[0].of, &*advice[0].now, &*advice[0].write),
        ("route orders", "30s", "timeout = \"2s\"")
    );
    assert!(advice[0].because.contains("60 of 100") && advice[0].because.contains("128 slots"), "{advice:?}");
    facts.routes.get_mut("orders").expect("there").timeout = Duration::from_secs(2);
    assert!(lines(&facts, &found(Scene::HungUpstream, waited(), Verdict::Degraded)).is_empty());
}

#[test]
fn an_upstream_that_may_fill_the_process_is_named_where_others_found_it_full() {
    let mut facts = facts();
    set(&mut facts, |it| it.cap = 900);
    let mut found = found(Scene::HungUpstream, well(), Verdict::Holds);
    let full = Sight::made_up(100, 50, 0.1, ("process_limit", 50), ("", 0));
    found.routes[1] = one("catalogue", Role::Beside, full, Verdict::Fails);
    assert_eq!(lines(&facts, &found), ["upstream orders: max_in_flight = 250"]);
    set(&mut facts, |it| it.cap = 128);
    assert!(lines(&facts, &found).is_empty());
}

#[test]
fn health_is_named_where_nobody_noticed_that_backends_hang() {
    let mut facts = facts();
    let hit = Sight::made_up(100, 0, 0.0, ("", 0), ("timeout", 100));
    let mut found = found(Scene::HungUpstream, hit, Verdict::Degraded);
    found.measured.unnoticed = Some(0.9);
    assert!(lines(&facts, &found)[0].contains("ejection = {"));
    set(&mut facts, |it| it.health = false);
    assert!(lines(&facts, &found)[0].contains("health = { kind = \"http\", path = "));
    found.measured.unnoticed = Some(0.05);
    assert!(lines(&facts, &found).is_empty());
}

/// `orders` is guarded by `session`, which refuses without a decision.
fn guarded() -> (Facts, Found) {
    let mut facts = facts();
    let auth = AuthFacts {
        upstream: "sessions".to_owned(),
        on_error: OnError::Deny,
        timeout: Duration::from_millis(200),
        stale: None,
    };
    facts.auths.insert("session".to_owned(), auth);
    let hit = Sight::made_up(100, 0, 0.0, ("auth_overload", 20), ("auth_timeout", 80));
    let mut found = found(Scene::HungAuth, hit, Verdict::Fails);
    found.struck = Some("session".to_owned());
    found.routes[0].auth = Some("session".to_owned());
    (facts, found)
}

#[test]
fn old_decisions_are_named_where_known_clients_were_refused() {
    let (mut facts, found) = guarded();
    let write = |facts: &Facts, found: &Found| lines(facts, found).join("\n");
    assert!(write(&facts, &found).contains("auth session: on_error = \"stale\", cache = {"));
    let auth = |facts: &mut Facts, stale| {
        let auth = facts.auths.get_mut("session").expect("there");
        (auth.on_error, auth.stale) = (OnError::Stale, Some(Duration::from_secs(stale)));
    };
    auth(&mut facts, 5);
    assert!(write(&facts, &found).contains("cache = { stale = \"5m\" }"));
    auth(&mut facts, 300);
    assert!(!write(&facts, &found).contains("stale"));
    let (facts, mut found) = guarded();
    found.routes[0].hit.known = (75, 75);
    assert!(!write(&facts, &found).contains("stale"), "known clients noticed nothing");
}

#[test]
fn a_service_that_may_take_its_time_and_one_that_routes_share_are_named() {
    let (mut facts, mut found) = guarded();
    found.routes[0].hit.soon = 0;
    assert!(!lines(&facts, &found).iter().any(|line| line.contains("timeout")));
    facts.auths.get_mut("session").expect("there").timeout = Duration::from_secs(5);
    assert!(lines(&facts, &found).contains(&"auth session: timeout = \"200ms\"".to_owned()));
    facts.auths.get_mut("session").expect("there").upstream = "orders".to_owned();
    assert!(lines(&facts, &found).iter().any(|line| line.contains("with backends of its own")));
}

#[test]
fn a_limit_that_only_counts_is_named_where_the_admitted_waited() {
    let slow = || Sight::made_up(800, 300, 1.5, ("upstream_limit", 500), ("", 0));
    let mut facts = facts();
    let mut found = found(Scene::FlashCrowd, slow(), Verdict::Degraded);
    found.measured.shadow_sheds = Some(321);
    let advice = of(&facts, &found);
    assert_eq!(advice[0].write, "adaptive_limit = \"enforce\"");
    assert!(advice[0].because.contains("321") && advice[0].because.contains("1500 ms"), "{advice:?}");
    assert_eq!(advice.len(), 1, "one route has nobody to go before: {advice:?}");
    set(&mut facts, |it| it.adaptive = Mode::Enforce);
    assert!(lines(&facts, &found).is_empty());
}

#[test]
fn classes_are_named_where_it_was_chance_who_was_refused() {
    let mut facts = facts();
    set(&mut facts, |it| (it.adaptive, it.routes) = (Mode::Enforce, 2));
    facts.routes.insert("checkout".to_owned(), route("orders"));
    let crowded = Sight::made_up(800, 100, 0.1, ("upstream_limit", 700), ("", 0));
    let found = found(Scene::FlashCrowd, crowded, Verdict::Degraded);
    assert!(lines(&facts, &found)[0].contains("class = \"critical\""), "{:?}", lines(&facts, &found));
    facts.routes.get_mut("checkout").expect("there").class = Class::Critical;
    assert!(lines(&facts, &found).is_empty());
}

#[test]
fn what_feeds_a_storm_is_named() {
    let mut facts = facts();
    let hit = Sight::made_up(100, 10, 0.1, ("", 0), ("timeout", 90));
    let mut found = found(Scene::RetryStorm, hit, Verdict::Fails);
    found.measured.served_afterwards = Some(0.1);
    assert_eq!(lines(&facts, &found), ["upstream orders: adaptive_limit = \"enforce\""]);
    set(&mut facts, |it| (it.adaptive, it.budget) = (Mode::Enforce, 1.0));
    assert!(lines(&facts, &found)[0].contains("retry = { max_retries = 1, budget = \"10%\" }"));
    set(&mut facts, |it| it.budget = 0.1);
    assert!(lines(&facts, &found).is_empty());
}

#[test]
fn another_backend_and_a_second_try_are_named_where_one_restart_was_noticed() {
    let mut facts = facts();
    let hit = Sight::made_up(100, 80, 0.1, ("", 0), ("reset", 20));
    let found = found(Scene::RestartOne, hit, Verdict::Fails);
    assert!(lines(&facts, &found).is_empty());
    set(&mut facts, |it| it.max_retries = 0);
    assert_eq!(lines(&facts, &found), ["upstream orders: retry = { max_retries = 1 }"]);
    set(&mut facts, |it| it.backends = 1);
    assert!(lines(&facts, &found)[0].contains("backends = ["));
}

#[test]
fn a_ramp_is_named_where_cold_backends_died_of_what_they_got() {
    let mut facts = facts();
    set(&mut facts, |it| it.steps = vec![100.0]);
    let mut found = found(Scene::RestartAll, well(), Verdict::Degraded);
    assert!(lines(&facts, &found).is_empty());
    found.measured.crashes = Some(3);
    assert!(lines(&facts, &found)[0].contains("steps = [\"25%\""));
    set(&mut facts, |it| it.steps = vec![25.0, 100.0]);
    assert!(lines(&facts, &found)[0].contains("steps = [\"5%\""));
}

#[test]
fn what_drops_known_addresses_and_what_lets_wrong_ones_in_is_named() {
    let mut facts = facts();
    let lost = || Sight::made_up(100, 50, 0.1, ("no_backend", 50), ("", 0));
    let denied = found(Scene::BadName, lost(), Verdict::Fails);
    assert!(lines(&facts, &denied).is_empty());
    set(&mut facts, |it| it.on_missing = OnMissing::Drop);
    assert!(lines(&facts, &denied)[0].contains("upstream orders: on_nxdomain = \"keep_for\""));
    let mut changed = found(Scene::BadName, lost(), Verdict::Fails);
    changed.struck = Some("orders".to_owned());
    changed.measured.change = Some("active".to_owned());
    assert!(lines(&facts, &changed).is_empty());
    facts.required = false;
    assert_eq!(lines(&facts, &changed), ["rollout: required = true"]);
}

#[test]
fn in_a_scene_that_this_machine_spoils_nothing_fails_for_certain() {
    let two = |doubt, one_verdict, other| {
        let mut found = found(Scene::FlashCrowd, well(), Verdict::Holds);
        found.doubt = doubt;
        found.routes = vec![
            one("orders", Role::Struck, well(), one_verdict),
            one("catalogue", Role::Beside, well(), other),
        ];
        found.conclude();
        (found.verdict, found.doubt, found.routes[1].verdict)
    };
    let (machine, few) = (Some(Doubt::Machine), Some(Doubt::FewRequests));
    let unclear = (Verdict::Unclear, machine, Verdict::Unclear);
    assert_eq!(two(machine, Verdict::Unclear, Verdict::Fails), unclear);
    assert_eq!(two(machine, Verdict::Holds, Verdict::Holds), (Verdict::Holds, None, Verdict::Holds));
    assert_eq!(
        two(machine, Verdict::Holds, Verdict::Fails),
        (Verdict::Fails, None, Verdict::Fails),
        "shares are judged always"
    );
    let elsewhere = (Verdict::Fails, few, Verdict::Fails);
    assert_eq!(two(few, Verdict::Unclear, Verdict::Fails), elsewhere, "it fails whatever the other does");
    assert_eq!(two(few, Verdict::Unclear, Verdict::Degraded), (Verdict::Unclear, few, Verdict::Degraded));
}
