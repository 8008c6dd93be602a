//! What `status` prints of a made-up gateway, to the column.

use super::*;
use crate::cli::table::WIDTH;
use crate::control::permits::PermitGroup;
use crate::control::steering::forecast::Forecast;
use crate::control::view::{
    AdaptiveView, KeptView, ListenerView, MoveView, ThenView, VersionView, WorkerView,
};
use crate::control::view::{LatelyView, ShedView};

fn render(view: &GatewayView) -> String {
    super::render(view, &PermitsView::default(), WIDTH)
}

fn view() -> GatewayView {
    let backend = |name: &str, state: &str, in_flight| BackendView {
        name: name.into(),
        address: format!("orders-{name}.internal:8080"),
        state: state.into(),
        in_flight,
        cap: 64,
        streams: in_flight - 12,
        max_streams: 1000,
        ewma_ms: Some(12.34),
        ramp_percent: 100.0,
        ..Default::default()
    };
    GatewayView {
        version: VersionView {
            number: 3,
            hash: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b".into(),
            ..Default::default()
        },
        degraded: true,
        reasons: vec!["line 4: unknown key `path_prefx`".into()],
        ready: true,
        uptime_seconds: 7_384.0,
        in_flight: 76,
        max_in_flight: 8192,
        streams: 40,
        max_streams: 8192,
        workers: vec![WorkerView { connections: 34, ..Default::default() }; 2],
        listeners: vec![ListenerView {
            name: "edge".into(),
            address: "0.0.0.0:8080".into(),
            connections: 68,
            max_connections: 10_000,
            ..Default::default()
        }],
        upstreams: vec![UpstreamView {
            name: "orders".into(),
            in_flight: 76,
            limit: 256,
            max_waiting: 512,
            queue_depth: 3,
            zombies: 2,
            ramp_percent: 100.0,
            lately: LatelyView {
                latency_p50_seconds: Some(0.0042),
                latency_p99_seconds: Some(10.0),
                latency_p99_at_least: true,
                ..LatelyView::default()
            },
            backends: vec![backend("a", "ready", 64), backend("b", "connect_failed \x1b[31m", 12)],
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[test]
fn the_screen_looks_like_this() {
    let expected = "\
version 3 (9f86d081884c7d65)  ready, degraded  up 2h 3m
in flight 76 of 8192  streams 40 of 8192  connections 68  workers 2
listener edge on 0.0.0.0:8080  connections 68 of 10000
! line 4: unknown key `path_prefx`

upstream / backend      in flight  limit     queue  ramp     p50/p99  state
orders                         76    256     3/512  100%  4.2ms/≥10s  2 zombies
  a orders-…ternal:8080        64     64            100%   ewma 12ms  ready
    streams                    52   1000
  b orders-…ternal:8080        12     64            100%   ewma 12ms  connect_f…
! orders/b connect_failed ?[31m
";
    assert_eq!(render(&view()), expected);
}

#[test]
fn one_zombie_is_one() {
    let mut view = view();
    view.upstreams[0].zombies = 1;
    let text = render(&view);
    assert!(text.contains(" 1 zombie\n"), "{text}");
}

#[test]
fn an_auth_says_whom_it_asks_and_whether_they_answer() {
    let mut view = view();
    let kept = Some(KeptView { passed: 1204, ..Default::default() });
    let session = AuthView {
        name: "session".into(),
        upstream: Some("judge".into()),
        silent: true,
        in_flight: 64,
        max_in_flight: 64,
        kept,
        ..Default::default()
    };
    view.auths = vec![session, AuthView { name: "keys".into(), ..Default::default() }];
    let expected = "\nauth session asks judge  in flight 64 of 64  kept 1204  silent\n\
                    auth keys  in flight 0 of 0\n";
    assert!(render(&view).ends_with(expected), "{}", render(&view));
}

#[test]
fn levers_say_who_why_what_next_and_what_it_costs() {
    let lever = LeverView {
        kind: "ramp".into(),
        upstream: "orders".into(),
        percent: 2.5,
        then: Some(ThenView { percent: 100.0, in_seconds: 598.0, paused: false }),
        by: "ops".into(),
        reason: "cold caches".into(),
        since: "2026-11-22T19:00:00Z".into(),
        forecast: Some(Forecast { shed_percent: 75.5, ..Forecast::default() }),
        ..LeverView::default()
    };
    let mut view = view();
    view.upstreams[0].ramp = Some(lever);
    view.upstreams[0].backends[0].ramp_percent = 2.5;
    view.upstreams[0].backends[0].reference = ReferenceView {
        in_flight: 40.04,
        source: "learned".into(),
        age_seconds: Some(63.0),
        ..Default::default()
    };
    let expected = "\nramp orders 2.5%, then 100% in 9m 58s  sheds 75.5% now\n    \
                    by ops since 2026-11-22T19:00:00Z: cold caches\n    \
                    orders/a holds 2.5% of 40 in flight (learned, 1m 3s old)\n";
    assert!(render(&view).ends_with(expected), "{}", render(&view));
}

#[test]
fn a_limit_that_holds_somebody_back_says_so_and_why() {
    let mut view = view();
    let moved = MoveView {
        from: 120,
        to: 84,
        because: "61 answers took 412 ms on average, and 250 ms is the objective".into(),
        ..MoveView::default()
    };
    let adaptive = AdaptiveView {
        mode: "shadow".into(),
        limit: 84,
        objective_seconds: 0.25,
        configured_objective_seconds: 0.25,
        last_move: Some(moved),
        ..AdaptiveView::default()
    };
    view.upstreams[0].max_in_flight = 256;
    view.upstreams[0].adaptive = Some(adaptive.clone());
    assert!(!render(&view).contains("objective"), "76 are below it: {}", render(&view));
    view.upstreams[0].adaptive = Some(AdaptiveView { mode: "enforce".into(), ..adaptive });
    let expected = "\norders limits itself to 84  objective 250ms\n    \
                    from 120 to 84: 61 answers took 412 ms on average, and 250 ms is the\n    objective\n";
    assert!(render(&view).ends_with(expected), "{}", render(&view));
}

#[test]
fn a_refused_file_is_told_in_full_lines_and_no_more_than_a_screen_holds() {
    let mut view = view();
    let mistakes: Vec<_> = (1..=30).map(|line| format!("line {line}: {}", "wrong ".repeat(12))).collect();
    view.reasons = vec![format!("the last change was refused: {}", mistakes.join("\n"))];
    let text = render(&view);
    assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    assert!(text.contains("line 5:") && !text.contains("line 6:") && text.contains("and 25 more"), "{text}");
}

#[test]
fn the_table_fits_80_columns_whatever_the_names() {
    let mut view = view();
    view.upstreams[0].name = "u".repeat(200);
    view.upstreams[0].in_flight = u32::MAX;
    view.upstreams[0].backends[0].state = "s".repeat(200);
    view.listeners[0].name = "l".repeat(200);
    for line in render(&view).lines() {
        assert!(line.chars().count() <= WIDTH, "{line}");
    }
}

#[test]
fn nothing_from_the_gateway_reaches_the_terminal_as_a_command() {
    assert!(!render(&view()).contains('\x1b'));
}

#[test]
fn nothing_is_cut_where_no_terminal_has_an_end() {
    let mut view = view();
    view.upstreams[0].name = "u".repeat(200);
    view.upstreams[0].backends[0].state = "s".repeat(200);
    let text = super::render(&view, &PermitsView::default(), usize::MAX);
    for whole in ["u".repeat(200), "s".repeat(200), "a orders-a.internal:8080".to_owned()] {
        assert!(text.contains(&whole), "{text}");
    }
    assert!(!text.contains('…'), "{text}");
    view.upstreams[0].name = "u".repeat(100_000);
    super::render(&view, &PermitsView::default(), usize::MAX);
}

/// Orders, that sheds and hangs for as long as said.
fn troubled(sheds: Option<f64>, hangs: Option<f64>) -> GatewayView {
    let mut view = view();
    let shed = ShedView { class: "default".into(), reason: "upstream_limit".into(), per_second: 312.4 };
    view.upstreams[0].lately = LatelyView {
        shed_per_second: sheds.map(|_| 312.4),
        shedding_seconds: sheds,
        silent_seconds: hangs,
        sheds: sheds.map(|_| shed).into_iter().collect(),
        ..LatelyView::default()
    };
    (view.upstreams[0].in_flight, view.upstreams[0].limit) = (256, 256);
    view
}

/// The first paragraph in one line.
fn first(view: &GatewayView) -> String {
    let group = |phase: &str, oldest_seconds| PermitGroup {
        upstream: "orders".into(),
        phase: phase.into(),
        count: 256,
        oldest_seconds,
        ..PermitGroup::default()
    };
    let summary = vec![group("waiting_for_backend", 9.84), group("reading", 99.0)];
    let permits = PermitsView { summary, ..PermitsView::default() };
    let text = super::render(view, &permits, WIDTH);
    assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    let paragraph = text.lines().take_while(|line| !line.starts_with("version "));
    paragraph.map(str::trim).collect::<Vec<_>>().join(" ")
}

#[test]
fn an_upstream_that_sheds_or_hangs_stands_on_top_with_since_when_and_one_command() {
    let told = first(&troubled(Some(123.0), None));
    let expected = "! orders sheds 312/s (upstream_limit): 256 of 256 held, oldest 9.8 s; since about ";
    assert!(told.starts_with(expected), "{told}");
    assert!(told.ends_with("UTC, 2m 3s: `tidegate permits --upstream orders` says who holds them"), "{told}");
    let told = first(&troubled(None, Some(12.2)));
    assert!(told.starts_with("! orders hangs: nothing came back for 12 s: 256 of 256 held"), "{told}");
    let told = first(&troubled(Some(5.0), Some(12.2)));
    assert!(told.contains("hangs: nothing came back for 12 s, sheds 312/s (upstream_limit)"), "{told}");
    assert!(told.contains("UTC, 12s: "), "since the earlier of both: {told}");
}

#[test]
fn what_changed_just_before_is_what_goes_back() {
    let ago = |seconds: i64| (Timestamp::now() - jiff::SignedDuration::from_secs(seconds)).to_string();
    let mut view = troubled(Some(60.0), None);
    (view.version.since, view.version.cause) = (ago(100), "api".into());
    let told = first(&view);
    assert!(told.contains("version 3 became active 4") && told.ends_with("`tidegate rollback`"), "{told}");
    for (since, cause) in [(ago(20), "api"), (ago(3_600), "api"), (ago(100), "boot"), (String::new(), "api")]
    {
        (view.version.since, view.version.cause) = (since, cause.into());
        assert!(first(&view).contains("permits --upstream"), "{}", first(&view));
    }
    view.rollout.version = Some(crate::control::change::view::ChangeView { number: 4, ..Default::default() });
    view.rollout.guard = serde_json::json!({ "age_seconds": 90.0 });
    assert!(first(&view).ends_with("version 4 is being rolled out: `tidegate abort` takes it back"));
}

#[test]
fn what_began_after_the_trouble_is_not_blamed_for_it() {
    let mut view = troubled(Some(554.0), None);
    view.rollout.version = Some(crate::control::change::view::ChangeView { number: 6, ..Default::default() });
    // Nobody was served by it yet; it is seconds old; it is a whole minute younger than the trouble.
    for guard in [
        serde_json::json!(null),
        serde_json::json!({ "age_seconds": 3.2 }),
        serde_json::json!({ "age_seconds": 494.0 }),
    ] {
        view.rollout.guard = guard;
        assert!(first(&view).contains("permits --upstream"), "{}", first(&view));
    }
    for seconds in [552.0, 560.0] {
        view.rollout.guard = serde_json::json!({ "age_seconds": seconds });
        assert!(first(&view).contains("`tidegate abort`"), "{}", first(&view));
    }
}

#[test]
fn the_command_is_for_what_holds_the_upstream_back() {
    let mut view = troubled(Some(60.0), None);
    view.upstreams[0].backends[0].in_flight = 64;
    view.upstreams[0].backends[1].state = "ready".into();
    assert!(first(&view).ends_with("`tidegate drain orders/a`"), "{}", first(&view));
    view.upstreams[0].lately.sheds[0].reason = "ramp".into();
    assert!(first(&view).contains("`tidegate ramp show`"), "{}", first(&view));
    let lever = LeverView { percent: 25.0, by: "kim".into(), ..LeverView::default() };
    view.upstreams[0].ramp = Some(lever);
    assert!(first(&view).ends_with("kim lets orders carry 25%: `tidegate ramp clear orders`"));
    view.upstreams[0].ramp = None;
    let drain = LeverView { kind: "drain".into(), backend: Some("a".into()), ..LeverView::default() };
    view.upstreams[0].backends[0].drain = Some(drain);
    view.upstreams[0].limit = 0;
    assert!(first(&view).contains("(ramp): nothing may be in flight"), "{}", first(&view));
    assert!(first(&view).ends_with("drained orders/a: `tidegate ready orders/a`"), "{}", first(&view));
    view.lately.shedding_seconds = Some(3.0);
    let shed = ShedView { reason: "process_limit".into(), per_second: 7.0, ..ShedView::default() };
    view.lately.sheds = vec![shed];
    assert!(first(&view).starts_with("! the gateway itself sheds 7/s (process_limit): 76 of 8192 in flight"));
}

#[test]
fn many_upstreams_in_trouble_leave_room_for_the_rest() {
    let mut view = troubled(Some(60.0), None);
    view.upstreams = vec![view.upstreams[0].clone(); 100];
    let text = super::render(&view, &PermitsView::default(), WIDTH);
    assert!(text.contains("! and 95 more upstreams shed or hang"), "{text}");
}
