//! What stands on the screen, looked at as text: what must never be missing, and what must never be there.

use super::*;
use crate::cli::top::desk::{Answer, Said};
use crate::cli::top::ink::{self, tests::PLAIN};
use crate::cli::top::picture::{Incident, News, Row, Snapshot};
use crate::control::change::view::{ChangeView, GlassView, RolloutView, UnconfirmedView};
use crate::control::condition::About;
use crate::control::permits::{ClientShare, PermitGroup, PermitsView};
use crate::control::view::{
    BackendView, GatewayView, LatelyView, LeverView, ReferenceView, ShedView, UpstreamView, VersionView,
    WorkerView,
};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::json;
use std::time::Duration;

fn row(name: &str, sheds: f64) -> Row {
    Row {
        name: name.into(),
        in_flight: 64.0,
        limit: 256.0,
        queue: 3.0,
        max_waiting: 512.0,
        lately: LatelyView {
            requests_per_second: Some(1204.4),
            shed_per_second: Some(sheds),
            latency_p50_seconds: Some(0.0042),
            latency_p99_seconds: Some(0.12),
            sheds: vec![ShedView { class: "batch".into(), reason: "class_limit".into(), per_second: sheds }],
            ..LatelyView::default()
        },
        ramp_percent: 25.0,
        backends_total: 3.0,
        backends_ready: 2.0,
        worst: Some("ejected".into()),
        ..Row::default()
    }
}

fn snapshot() -> Snapshot {
    let backend = |name: &str, state: &str| BackendView {
        name: name.into(),
        address: format!("10.0.0.{}:8080", name.len()),
        state: state.into(),
        in_flight: 12,
        cap: 64,
        ewma_ms: Some(12.3),
        ramp_percent: 25.0,
        reference: ReferenceView { in_flight: 40.0, ..ReferenceView::default() },
        ..BackendView::default()
    };
    let upstream = UpstreamView {
        name: "orders".into(),
        in_flight: 64,
        limit: 256,
        max_in_flight: 256,
        max_waiting: 512,
        ramp_percent: 25.0,
        ramp: Some(LeverView {
            kind: "ramp".into(),
            upstream: "orders".into(),
            percent: 25.0,
            by: "ops".into(),
            reason: "cold caches".into(),
            since: "2026-11-22T19:35:00Z".into(),
            ..LeverView::default()
        }),
        backends: vec![backend("a", "ready"), backend("bb", "ejected for 12 s: 5 failures in a row")],
        ..UpstreamView::default()
    };
    let worker = |worker, lag_seconds| WorkerView { worker, lag_seconds, ..WorkerView::default() };
    Snapshot {
        status: GatewayView {
            version: VersionView { number: 3, hash: "9f86d081884c7d65".into(), ..VersionView::default() },
            ready: true,
            in_flight: 76,
            max_in_flight: 8192,
            uptime_seconds: 7_384.0,
            workers: vec![worker(0, 0.0002), worker(1, 0.0311)],
            ..GatewayView::default()
        },
        rows: vec![row("users", 0.0), row("orders", 12.5)],
        upstream: Some(upstream),
        ..Snapshot::default()
    }
}

/// A picture of the moment, and the desk after these keys.
fn seen(snapshot: Snapshot, keys: &str) -> (Picture, Desk, Instant) {
    let (mut picture, mut desk, now) = (Picture::default(), Desk::default(), Instant::now());
    picture.hear(News::Snapshot { snapshot: Box::new(snapshot), older: false }, now);
    for char in keys.chars() {
        let code = if char == '\n' { KeyCode::Enter } else { KeyCode::Char(char) };
        desk.press(KeyEvent::new(code, KeyModifiers::NONE), &picture);
    }
    (picture, desk, now)
}

fn drawn((picture, desk, now): &(Picture, Desk, Instant), columns: u16, rows: u16) -> Buffer {
    let mut buffer = Buffer::empty(Rect::new(0, 0, columns, rows));
    let admin = "http://127.0.0.1:9900";
    View { picture, desk, ink: PLAIN, admin, now: *now }.draw(&mut buffer);
    buffer
}

fn text(snapshot: Snapshot, keys: &str, columns: u16, rows: u16) -> String {
    ink::text(&drawn(&seen(snapshot, keys), columns, rows))
}

#[track_caller]
fn assert_shows(screen: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(screen.contains(wanted), "{wanted:?} is missing:\n{screen}");
    }
}

/// Everything that goes wrong at once.
fn troubled() -> Snapshot {
    let mut snapshot = snapshot();
    snapshot.status.degraded = true;
    snapshot.status.say(About::FileOverruled.says("the file is not what runs: line 4"));
    snapshot.status.rollout = RolloutView {
        state: "rolling_out".into(),
        version: Some(ChangeView {
            number: 4,
            by: Some("kim".into()),
            risk: "high".into(),
            ..ChangeView::default()
        }),
        stages_percent: vec![5.0, 100.0],
        share_percent: 5.0,
        waiting: Some("it bakes for 8 s more".into()),
        guard: json!({
            "stage": 1, "stages": 2, "candidate": {"requests": 200, "failed": 3}, "stable": {"requests": 3900, "failed": 2},
            "stage_requests": 200, "overdue": 1, "watched_seconds": 2.0, "bake_seconds": 10.0, "forecast_seconds": 28.0,
        }),
        break_glass: Some(GlassView {
            by: "root".into(),
            number: 3,
            reason: "outage".into(),
            ..GlassView::default()
        }),
        unconfirmed: Some(UnconfirmedView { number: 3, seconds_left: 240.0 }),
        ..RolloutView::default()
    };
    let incident = |id, state: &str, freeze| Incident {
        id,
        state: state.into(),
        severity: "major".into(),
        title: "orders are slow".into(),
        upstreams: vec!["orders".into()],
        freeze,
        ..Incident::default()
    };
    snapshot.incidents = Some(vec![incident(3, "open", true), incident(4, "draft", false)]);
    snapshot
}

#[test]
fn the_overview_of_80_columns_has_the_numbers_and_the_worst_first() {
    let screen = text(snapshot(), "", 80, 24);
    assert_shows(&screen, &["in flight 76/8192", "version 3 9f86d081", "lag 31ms", " live", "1 upstreams"]);
    let header = screen.lines().find(|line| line.contains("upstream ")).expect("titles");
    assert_shows(header, &["in flight", "queue", "req/s", "shed/s", "p99", "ramp", "ready"]);
    let orders = screen.lines().position(|line| line.starts_with("!orders")).expect("orders, marked");
    let users = screen.lines().position(|line| line.starts_with(" users")).expect("users, not marked");
    assert!(orders < users, "{screen}");
    let line = screen.lines().nth(orders).expect("its line");
    assert_shows(line, &["64/256", "3/512", "1204", "12", "120ms", "25%", "2/3"]);
    assert_shows(&screen, &["class_limit 12/s (batch)", "worst backend: ejected"]);
}

#[test]
fn what_is_silent_is_worst_zombies_are_counted_and_an_edge_is_no_latency() {
    let mut hung = snapshot();
    let users = &mut hung.rows[0];
    (users.lately.silent_seconds, users.zombies) = (Some(12.0), 3.0);
    (users.lately.latency_p99_seconds, users.lately.latency_p99_at_least) = (Some(10.0), true);
    hung.status.lately.shed_per_second = Some(40.0);
    let screen = text(hung, "", 80, 24);
    assert_shows(&screen, &["shed/s 40 "]);
    let place = |name: &str| screen.lines().position(|line| line.starts_with(name)).expect(name);
    assert!(place("!users") < place("!orders"), "{screen}");
    assert_shows(&screen, &["in flight 76/8192  and zombies 3", "≥10s"]);
    assert_shows(&screen, &["users  nothing came back for 12 s  3 of those in flight are zombies"]);
}

#[test]
fn a_wide_terminal_shows_more_and_a_small_one_what_matters() {
    assert_shows(&text(snapshot(), "", 190, 40), &["p50", "4.2ms", "req/s before"]);
    let small = text(snapshot(), "", 40, 12);
    assert_shows(&small, &["in flight 76/8192", "orders", "64/256", "12", "2/3"]);
    assert!(small.lines().count() == 12 && !small.contains("p99"), "{small}");
}

#[test]
fn whatever_is_wrong_is_above_every_pane() {
    for keys in ["", "\n", "2", "3", "4", "5", "?"] {
        let screen = text(troubled(), keys, 100, 40);
        assert_shows(
            &screen,
            &[
                "! DEGRADED: the file is not what runs",
                "! BROKEN GLASS: root put version 3 around the stages: outage",
                "! FROZEN: incident #3",
                "! incident #3 major on orders: orders are slow",
                "? draft of an incident #4",
                "! version 3 goes back in 4m 0s unless confirmed",
                "> rollout of version 4 by kim: serves 5% of the clients: it bakes for 8 s more",
            ],
        );
    }
    let small = text(troubled(), "", 40, 12);
    assert_shows(&small, &["! BROKEN GLASS", "more)", "orders"]);
}

#[test]
fn a_gateway_that_is_lost_is_said_to_be_lost_and_what_is_old_is_faint() {
    let (mut picture, desk, now) = seen(snapshot(), "");
    picture.hear(News::Lost("connection refused".into()), now + Duration::from_secs(5));
    let later = (picture, desk, now + Duration::from_secs(63));
    let buffer = drawn(&later, 80, 24);
    let screen = ink::text(&buffer);
    assert_shows(
        &screen,
        &["LOST", "! LOST for 1m 3s; what stands here is old: connection refused", "orders"],
    );
    let line = screen.lines().position(|line| line.contains("orders")).expect("a line") as u16;
    assert!(buffer[(1, line)].modifier.contains(Modifier::DIM));
}

#[test]
fn an_upstream_shows_its_backends_its_levers_and_who_moved_them() {
    let screen = text(snapshot(), "\n", 100, 30);
    assert_shows(
        &screen,
        &["in flight 64 of 256 (cap 256)", "ramp orders 25%, by ops since 2026-11-22T19:35:00Z: cold caches"],
    );
    assert_shows(
        &screen,
        &["(all of it)", "10.0.0.1:8080", "12/64", "!bb", "ejected", "40", "sheds class_limit"],
    );
    let chosen = {
        let mut seen = seen(snapshot(), "\njj");
        seen.1.said = None;
        ink::text(&drawn(&seen, 100, 30))
    };
    assert_shows(&chosen, &["bb: ejected for 12 s: 5 failures in a row"]);
    assert_shows(&text(snapshot(), "\n", 40, 12), &["(all of it)", "bb", "12/64"]);
}

#[test]
fn a_rollout_shows_its_stages_and_the_numbers_of_its_guard() {
    let screen = text(troubled(), "3", 100, 40);
    assert_shows(&screen, &["risk high", "stages [5%] 100%", "1 overdue", "watched 2s of at least 10s"]);
    let side = |name: &str| screen.lines().find(|line| line.starts_with(name)).expect("a side").to_owned();
    assert_shows(&side("candidate"), &["200 requests", "3 failed", "1.5%"]);
    assert_shows(&side("stable"), &["3900 requests", "2 failed", "0.1%"]);
    assert_shows(&text(snapshot(), "3", 80, 24), &["no rollout is under way"]);
}

#[test]
fn holders_events_and_cores_have_their_panes() {
    let mut held = snapshot();
    held.permits = PermitsView {
        total: 66,
        summary: vec![PermitGroup {
            upstream: "orders".into(),
            route: "checkout".into(),
            class: "default".into(),
            phase: "waiting_for_backend".into(),
            count: 64,
            oldest_seconds: 9.5,
        }],
        clients: vec![ClientShare { client: "192.0.2.1".into(), count: 60, oldest_seconds: 9.5 }],
        unanswered: vec![1],
        ..PermitsView::default()
    };
    let screen = text(held, "4", 80, 24);
    assert_shows(
        &screen,
        &[
            "66 hold a slot",
            "cores 1 did not answer",
            "most by 192.0.2.1 60",
            "checkout",
            "waiting for",
            "64",
            "9.5s",
        ],
    );
    assert_shows(&text(snapshot(), "5", 80, 24), &["core", "31ms", "worst lag"]);
    let mut seen = seen(snapshot(), "2");
    let event = |id: u64, kind: &str, message: &str| json!({"id": id, "at": "2026-11-22T19:35:01.5Z", "kind": kind, "message": message});
    let events =
        vec![event(1, "shed", "orders is shedding: ramp"), event(2, "config", "version 4 is active")];
    seen.0.hear(News::Events(events), seen.2);
    let screen = ink::text(&drawn(&seen, 80, 24));
    let place = |what: &str| screen.find(what).unwrap_or_else(|| panic!("{what}:\n{screen}"));
    assert!(
        place("19:35:01 config       version 4 is active")
            < place("19:35:01 shed         orders is shedding")
    );
}

#[test]
fn a_refusal_is_shown_in_full_however_narrow_the_terminal_is() {
    let mut seen = seen(snapshot(), "");
    let refusal = "the gateway refused (409): the guard of version 4 sees that more fails than may, so nobody promotes it\nhint: abort";
    seen.1.hear(Answer::Done(Err(refusal.into())));
    assert_eq!(seen.1.said.as_ref().map(|Said { good, .. }| *good), Some(false));
    for (columns, rows) in [(80, 24), (40, 12)] {
        let screen = ink::text(&drawn(&seen, columns, rows));
        let words: Vec<&str> = screen.split_whitespace().collect();
        let told = words.join(" ");
        assert_shows(&told, &["! the gateway refused (409): the guard", "nobody promotes it hint: abort"]);
    }
}

#[test]
fn dialogs_say_what_they_do_also_on_a_small_terminal() {
    for (columns, rows) in [(80, 24), (40, 12)] {
        let told = |keys| {
            let screen = text(snapshot(), keys, columns, rows);
            screen
                .replace(['│', '┌', '└', '─', '┐', '┘'], " ")
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_shows(
            &told("r25"),
            &["orders may carry how much", "percent 25_", "Esc leaves everything as it is"],
        );
        assert_shows(&told("R"), &["Roll back", "y or Enter does it", "Esc leaves"]);
        assert_shows(&told("i"), &["title", "freeze: no", "upstream: orders"]);
    }
    assert_shows(
        &text(snapshot(), "?", 80, 24),
        &["R            roll back: R, then y or Enter", "the verbs for scripts"],
    );
    for (snapshot, begins) in [(snapshot(), "│ R "), (troubled(), "R ")] {
        let screen = text(snapshot, "?", 80, 24);
        let row = screen.lines().find(|line| line.contains("roll back: R")).expect("its line");
        assert!(row.starts_with(begins), "no scraps of the pane beside it: {screen}");
    }
}

#[test]
fn no_size_and_no_name_breaks_it() {
    let mut strange = troubled();
    strange.rows[1].name = "注文サービス".repeat(30);
    strange.rows[0].name = "n".repeat(500);
    strange.status.say(About::Degraded.says("x".repeat(20_000)));
    strange.status.say(About::Other.says("é\u{301}".repeat(300)));
    strange.rows.extend((0..80).map(|n| row(&format!("u{n}"), 0.0)));
    for keys in ["", "\n", "\njjj", "2", "3", "4", "5", "?", "r", "R", "i", "kjjjjjjjjj"] {
        for columns in [0, 1, 3, 20, 39, 61, 80, 133, 200] {
            for rows in [0, 1, 2, 3, 5, 8, 12, 24, 60] {
                drawn(&seen(strange.clone(), keys), columns, rows);
            }
        }
    }
    let (picture, desk, now) = (Picture::default(), Desk::default(), Instant::now());
    drawn(&(picture, desk, now), 80, 24);
}

#[test]
fn without_colours_nothing_is_coloured() {
    let buffer = drawn(&seen(troubled(), ""), 100, 40);
    assert!(buffer.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    let (picture, desk, now) = seen(troubled(), "");
    let mut buffer = Buffer::empty(Rect::new(0, 0, 100, 40));
    let ink = Ink { colours: true, unicode: false };
    View { picture: &picture, desk: &desk, ink, admin: "x", now }.draw(&mut buffer);
    assert!(buffer.content.iter().any(|cell| cell.fg == Color::Red));
    assert!(ink::text(&buffer).is_ascii(), "plain ASCII where the locale knows no more");
}
