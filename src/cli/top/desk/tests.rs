//! What keys lead to: nothing on a single one, and always what was seen.

use super::*;
use crate::cli::top::picture::{Incident, News, Snapshot};
use crate::control::change::view::{ChangeView, RolloutView};
use crate::control::view::{BackendView, LatelyView, UpstreamView};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::time::Instant;

fn row(name: &str, in_flight: f64, sheds: f64) -> Row {
    Row {
        name: name.into(),
        in_flight,
        limit: 10.0,
        lately: LatelyView { shed_per_second: Some(sheds), ..LatelyView::default() },
        backends_total: 2.0,
        backends_ready: 2.0,
        ..Row::default()
    }
}

fn snapshot() -> Snapshot {
    let backend = |name: &str| BackendView {
        name: name.into(),
        state: "ready".into(),
        up: true,
        ..BackendView::default()
    };
    let upstream = UpstreamView {
        name: "users".into(),
        backends: vec![backend("a"), backend("b")],
        ..UpstreamView::default()
    };
    Snapshot {
        rows: vec![row("orders", 1.0, 0.0), row("users", 5.0, 0.0), row("auth", 9.0, 3.0)],
        upstream: Some(upstream),
        ..Snapshot::default()
    }
}

fn picture(snapshot: Snapshot) -> Picture {
    let mut picture = Picture::default();
    let news = News::Snapshot { snapshot: Box::new(snapshot), older: false };
    picture.hear(news, Instant::now());
    picture
}

fn key(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

/// Presses characters, with `\n` for Enter and `\u{1b}` for Esc; the last wish.
fn press(desk: &mut Desk, picture: &Picture, keys: &str) -> Option<Wish> {
    let code = |char| match char {
        '\n' => KeyCode::Enter,
        '\t' => KeyCode::Tab,
        '\u{1b}' => KeyCode::Esc,
        char => KeyCode::Char(char),
    };
    keys.chars().fold(None, |_, char| desk.press(key(code(char)), picture))
}

fn names(desk: &Desk, picture: &Picture) -> Vec<String> {
    desk.rows(picture).iter().map(|row| row.name.clone()).collect()
}

#[test]
fn the_worst_comes_first_and_what_is_chosen_stays_chosen_when_places_change() {
    let (mut desk, mut seen) = (Desk::default(), picture(snapshot()));
    assert_eq!(names(&desk, &seen), ["auth", "users", "orders"]);
    press(&mut desk, &seen, "jj");
    assert_eq!(desk.upstream(&seen).as_deref(), Some("orders"));
    let mut worse = snapshot();
    worse.rows[0] = Row { backends_ready: 0.0, ..row("orders", 1.0, 0.0) };
    seen.hear(News::Snapshot { snapshot: Box::new(worse), older: false }, Instant::now());
    assert_eq!(names(&desk, &seen), ["orders", "auth", "users"]);
    assert_eq!((desk.upstream(&seen).as_deref(), desk.place(&desk.rows(&seen))), (Some("orders"), 0));
    press(&mut desk, &seen, "k");
    assert_eq!(desk.upstream(&seen).as_deref(), Some("orders"), "there is nothing above it");
}

#[test]
fn no_single_key_does_anything() {
    let seen = picture(snapshot());
    for letter in (' '..='~').filter(|letter| *letter != 'q') {
        for before in ["", "j\n", "j\nj", "2", "3", "4", "5"] {
            let mut desk = Desk::default();
            press(&mut desk, &seen, before);
            let wish = desk.press(key(KeyCode::Char(letter)), &seen);
            assert!(!matches!(wish, Some(Wish::Act(..))), "{before:?} {letter}: {wish:?}");
        }
    }
}

#[test]
fn a_ramp_is_forecast_before_it_is_set_and_carries_its_reason() {
    let (mut desk, seen) = (Desk::default(), picture(snapshot()));
    let target = Target::of("users", None);
    assert_eq!(press(&mut desk, &seen, "jr2"), Some(Wish::Forecast(target.clone(), 2.0)));
    // One question at a time; the last percentage is asked for when that is answered.
    assert_eq!(press(&mut desk, &seen, "5"), None);
    let forecast = Forecast { shed_percent: 75.0, room: Some(3), ..Forecast::default() };
    assert_eq!(desk.hear(Answer::Forecast(2.0, Ok(forecast))), Some(Wish::Forecast(target.clone(), 25.0)));
    assert_eq!(desk.hear(Answer::Forecast(25.0, Ok(forecast))), None);
    let Some(Dialog::Ramp(form)) = &desk.dialog else { panic!("{desk:?}") };
    let Outlook::Known(25.0, told) = &form.outlook else { panic!("{form:?}") };
    assert!(told.contains("users would shed about 75%"), "{told}");
    assert_eq!(press(&mut desk, &seen, "\n"), None, "a reason is asked for");
    let wish = press(&mut desk, &seen, "cold qy\n");
    assert_eq!(wish, Some(Wish::Act(Act::Ramp { target, percent: 25.0 }, "cold qy".into())));
    assert!(desk.dialog.is_none() && desk.busy.is_some());
    press(&mut desk, &seen, "r");
    assert!(desk.dialog.is_none() && desk.said.is_some(), "one thing after the other");
    desk.hear(Answer::Done(Ok("users carries 25%\n".into())));
    assert_eq!(desk.said, Some(Said { text: "users carries 25%".into(), good: true }));
}

#[test]
fn what_is_no_percentage_is_not_sent_and_escape_leaves_everything_as_it_is() {
    let (mut desk, seen) = (Desk::default(), picture(snapshot()));
    for wrong in ["r\n", "r250\n", "rx\n"] {
        assert_eq!(press(&mut desk, &seen, wrong), None);
        let Some(Dialog::Ramp(form)) = &desk.dialog else { panic!("{desk:?}") };
        assert!(form.wrong.is_some() && form.field == Field::First);
        assert_eq!(press(&mut desk, &seen, "\u{1b}"), None);
        assert!(desk.dialog.is_none());
    }
}

#[test]
fn the_way_back_takes_two_keys_and_names_what_comes_back() {
    let (mut desk, seen) = (Desk::default(), picture(snapshot()));
    assert_eq!(press(&mut desk, &seen, "R"), Some(Wish::WayBack));
    let way = Way { version: Some(3), told: vec!["version 3 comes back".into()] };
    desk.hear(Answer::WayBack(Ok(way)));
    let back = |version| Some(Wish::Act(Act::Rollback { version }, String::new()));
    assert_eq!(press(&mut desk, &seen, "y"), back(Some(3)));
    desk.hear(Answer::Done(Err("the gateway refused (409): no\nhint: so".into())));
    assert_eq!(desk.said, Some(Said { text: "the gateway refused (409): no\nhint: so".into(), good: false }));
    // Who is in a hurry does not wait for the answer: the gateway chooses.
    assert_eq!(press(&mut desk, &seen, "R\n"), back(None));
    desk.hear(Answer::Done(Ok(String::new())));
    press(&mut desk, &seen, "R");
    assert_eq!(press(&mut desk, &seen, "x\u{1b}"), None);
    assert!(desk.dialog.is_none(), "and who does not mean it leaves");
    press(&mut desk, &seen, "R");
    assert_eq!(
        press(&mut desk, &seen, "\tbad\n"),
        Some(Wish::Act(Act::Rollback { version: None }, "bad".into()))
    );
}

#[test]
fn pasted_text_is_typed_and_never_taken_for_keys() {
    let (mut desk, seen) = (Desk::default(), picture(snapshot()));
    assert_eq!(desk.paste("R\ny\n"), None);
    assert!(desk.dialog.is_none());
    press(&mut desk, &seen, "R");
    assert_eq!(desk.paste("y\n"), None, "not where keys are answers either");
    press(&mut desk, &seen, "\u{1b}r");
    assert!(desk.paste("25").is_some(), "a percentage has its forecast");
    press(&mut desk, &seen, "\n");
    desk.paste("cold\nq");
    let wish = press(&mut desk, &seen, "\n");
    assert!(matches!(&wish, Some(Wish::Act(_, reason)) if reason == "cold q"), "{wish:?}");
}

#[test]
fn a_backend_is_drained_where_it_is_seen() {
    let (mut desk, seen) = (Desk::default(), picture(snapshot()));
    press(&mut desk, &seen, "d");
    assert!(desk.said.take().is_some_and(|said| said.text.contains("one backend")), "an upstream cannot be");
    press(&mut desk, &seen, "j\njjd");
    let Some(Dialog::Sure(sure)) = &desk.dialog else { panic!("{desk:?}") };
    let target = Target::of("users", Some("b"));
    assert_eq!(sure.act, Act::Drain { target: target.clone(), drain: true });
    assert!(sure.facts.iter().any(|fact| fact.contains("1 other backend")), "{sure:?}");
    assert_eq!(
        press(&mut desk, &seen, "\n"),
        Some(Wish::Act(Act::Drain { target, drain: true }, String::new()))
    );
}

#[test]
fn a_rollout_is_promoted_and_aborted_by_its_number() {
    let (mut desk, seen) = (Desk::default(), picture(snapshot()));
    press(&mut desk, &seen, "a");
    assert!(desk.said.as_ref().is_some_and(|said| !said.good), "there is none");
    let mut rolling = snapshot();
    let version = ChangeView { number: 7, ..ChangeView::default() };
    rolling.status.rollout = RolloutView { version: Some(version), ..RolloutView::default() };
    let seen = picture(rolling);
    assert_eq!(press(&mut desk, &seen, "a\n"), Some(Wish::Act(Act::Abort { version: 7 }, String::new())));
    desk.hear(Answer::Done(Ok(String::new())));
    assert_eq!(press(&mut desk, &seen, "mwhy\n"), Some(Wish::Act(Act::Promote { version: 7 }, "why".into())));
}

#[test]
fn an_incident_is_opened_with_a_title_and_closed_by_its_number() {
    let (mut desk, mut seen) = (Desk::default(), picture(snapshot()));
    assert_eq!(press(&mut desk, &seen, "i\nlate\n\n"), None, "without a title");
    press(&mut desk, &seen, "slow\n\nspf");
    let wish = press(&mut desk, &seen, "\n");
    let Some(Wish::Act(Act::OpenIncident { title, severity, upstreams, public, freeze }, text)) = wish else {
        panic!("{wish:?}")
    };
    assert_eq!((title.as_str(), severity, text.as_str()), ("slow", "critical", "late"));
    assert_eq!((upstreams, public, freeze), (vec!["auth".to_owned()], true, true));
    desk.hear(Answer::Done(Ok(String::new())));
    let mut troubled = snapshot();
    let incident = |id, state: &str| Incident { id, state: state.into(), ..Incident::default() };
    troubled.incidents = Some(vec![incident(3, "open"), incident(4, "draft")]);
    seen.hear(News::Snapshot { snapshot: Box::new(troubled), older: false }, Instant::now());
    assert_eq!(
        press(&mut desk, &seen, "i\nover\n"),
        Some(Wish::Act(Act::CloseIncident { id: 3 }, "over".into()))
    );
    desk.hear(Answer::Done(Ok(String::new())));
    let draft = press(&mut desk, &seen, "ij\n\n");
    assert_eq!(draft, Some(Wish::Act(Act::PublishIncident { id: 4 }, String::new())));
}

#[test]
fn a_filter_narrows_and_is_taken_away() {
    let (mut desk, seen) = (Desk::default(), picture(snapshot()));
    press(&mut desk, &seen, "/ERS");
    assert_eq!(names(&desk, &seen), ["users", "orders"]);
    press(&mut desk, &seen, "\nq");
    assert_eq!(names(&desk, &seen).len(), 2, "q is a key again");
    press(&mut desk, &seen, "\u{1b}");
    assert_eq!(names(&desk, &seen).len(), 3);
}

#[test]
fn control_c_leaves_from_everywhere() {
    let seen = picture(snapshot());
    for before in ["", "r", "R", "/", "?", "i", "j\n"] {
        let mut desk = Desk::default();
        press(&mut desk, &seen, before);
        let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(desk.press(key, &seen), Some(Wish::Leave), "{before:?}");
    }
}

#[test]
fn a_viewer_is_told_why_not_before_anything_is_asked() {
    let (mut desk, mut seen) = (Desk::default(), picture(snapshot()));
    let who = serde_json::json!({"name": "eye", "role": "viewer", "may": {"read": true, "act": false}});
    seen.hear(News::Who(who), Instant::now());
    for letter in "rpPcdmaRi".chars() {
        assert_eq!(press(&mut desk, &seen, &letter.to_string()), None);
        let said = desk.said.take().expect("a sentence");
        assert!(desk.dialog.is_none() && said.text.contains("you are eye, a viewer"), "{letter}: {said:?}");
    }
    press(&mut desk, &seen, "j");
    assert!(desk.said.is_none(), "looking is free");
}
