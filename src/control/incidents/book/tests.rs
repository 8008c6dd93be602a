//! What may become of an incident, and what may not.

use super::noticed::{LAST, MAX_NOTES};
use super::*;
use crate::control::incidents::incident::{Cause, GATEWAY, Severity};
use proptest::prelude::*;
use std::time::Duration;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("a time")
}

fn opening(title: &str) -> Opening {
    Opening { title: title.into(), public: true, text: Some("we look at it".into()), ..Opening::default() }
}

fn notice(upstream: &str) -> Notice {
    let because = "It refused 23% of its requests".to_owned();
    Notice {
        upstream: Some(upstream.into()),
        cause: Cause::Shed,
        because,
        severity: Severity::Minor,
        named: Vec::new(),
    }
}

fn said(text: &str) -> Amendment {
    Amendment { text: Some(text.into()), ..Amendment::default() }
}

fn becomes(state: State) -> Amendment {
    Amendment { state: Some(state), ..Amendment::default() }
}

const QUIET: Duration = Duration::from_secs(1800);

#[test]
fn an_incident_is_opened_said_of_frozen_and_closed_and_closing_thaws() {
    let mut book = Book::default();
    let done = book.open(Opening { freeze: true, ..opening("slow") }, "ops", at(0)).expect("opened");
    assert_eq!((done.incident.id, done.deeds), (1, vec![Deed::Opened, Deed::Frozen]));
    let frozen = book.freezes().next().and_then(|it| it.frozen.clone()).expect("frozen");
    assert_eq!((frozen.by.as_str(), frozen.reason.as_str()), ("ops", "slow"));
    let done = book.amend(1, Amendment { severity: Some(Severity::Critical), ..said("worse") }, "dev", at(1));
    assert_eq!(done.expect("said").deeds, [Deed::Updated]);
    let done = book
        .amend(1, Amendment { freeze: Some(false), ..Amendment::default() }, "dev", at(2))
        .expect("thawed");
    assert_eq!((done.deeds, book.freezes().count()), (vec![Deed::Thawed], 0));
    book.amend(1, Amendment { freeze: Some(true), ..Amendment::default() }, "dev", at(2)).expect("frozen");
    let done = book.amend(1, Amendment { text: Some("over".into()), ..becomes(State::Closed) }, "ops", at(3));
    let done = done.expect("closed");
    assert_eq!((done.deeds, book.freezes().count()), (vec![Deed::Closed, Deed::Thawed], 0));
    assert_eq!(done.incident.updates.iter().filter(|update| update.public).count(), 3);
    let again = book.amend(1, said("again"), "ops", at(4)).expect_err("closed");
    assert!(matches!(&again, Refusal::Conflict(why) if why.contains("ops")), "{again}");
}

#[test]
fn two_who_change_it_at_once_are_told_apart() {
    let mut book = Book::default();
    book.open(opening("slow"), "ops", at(0)).expect("opened");
    let first = Amendment { revision: Some(1), ..said("one") };
    assert!(book.amend(1, first.clone(), "ops", at(1)).is_ok());
    assert_eq!(book.amend(1, first, "dev", at(1)).expect_err("stale"), Refusal::Stale { id: 1, revision: 2 });
    assert_eq!(book.amend(9, said("x"), "dev", at(1)).expect_err("none"), Refusal::Unknown(9));
    assert!(matches!(book.amend(1, Amendment::default(), "dev", at(1)), Err(Refusal::Invalid(_))));
}

#[test]
fn a_draft_is_not_shown_and_holds_nothing_until_a_person_opens_it() {
    let mut book = Book::default();
    let Noticed::Drafted(done) = book.notice(&notice("orders"), QUIET, at(0)) else { panic!("no draft") };
    let draft = done.incident;
    assert!(!draft.is_shown() && !draft.freeze && !draft.public && draft.drafted_because.is_some());
    for early in [
        Amendment { freeze: Some(true), ..Amendment::default() },
        Amendment { public: Some(true), ..Amendment::default() },
        Amendment { freeze: Some(true), ..becomes(State::Closed) },
    ] {
        assert!(matches!(book.amend(1, early, "ops", at(1)), Err(Refusal::Conflict(_))));
    }
    book.amend(1, said("I read it"), "ops", at(2)).expect("said");
    let publish =
        Amendment { freeze: Some(true), text: Some("We look at it".into()), ..becomes(State::Open) };
    let done = book.amend(1, publish, "ops", at(3)).expect("published");
    assert_eq!(done.deeds, [Deed::Published, Deed::Frozen]);
    let opened = done.incident;
    assert_eq!((opened.published_by.as_deref(), opened.opened_by.as_str()), (Some("ops"), "ops"));
    assert!(opened.is_shown());
    let shown: Vec<_> = opened.updates.iter().filter(|it| it.public).map(|it| it.text.as_str()).collect();
    assert_eq!(shown, ["We look at it"], "what was said before is not");
}

#[test]
fn a_draft_that_is_dropped_was_never_an_incident() {
    let mut book = Book::default();
    book.notice(&notice("orders"), QUIET, at(0));
    let done = book.amend(1, becomes(State::Closed), "ops", at(1)).expect("dropped");
    assert_eq!(done.deeds, [Deed::Dismissed]);
    assert!(done.incident.is_dismissed() && done.incident.opened_by == GATEWAY);
    book.notice(&notice("users"), QUIET, at(2));
    book.amend(2, becomes(State::Open), "ops", at(3)).expect("opened");
    let done = book.amend(2, becomes(State::Closed), "ops", at(4)).expect("closed");
    assert_eq!((done.deeds, done.incident.is_dismissed()), (vec![Deed::Closed], false));
}

#[test]
fn one_draft_for_an_upstream_and_a_cause_and_a_closed_one_stays_closed_for_a_while() {
    let mut book = Book::default();
    assert!(matches!(book.notice(&notice("orders"), QUIET, at(0)), Noticed::Drafted(_)));
    assert!(matches!(book.notice(&notice("orders"), QUIET, at(60)), Noticed::Added(_)));
    assert!(matches!(book.notice(&notice("users"), QUIET, at(60)), Noticed::Drafted(_)));
    assert!(book.over(&notice("orders"), at(70)).is_some());
    book.amend(1, becomes(State::Closed), "ops", at(100)).expect("closed");
    assert!(matches!(book.notice(&notice("orders"), QUIET, at(1899)), Noticed::TooSoon));
    assert!(book.over(&notice("orders"), at(1899)).is_none());
    assert!(matches!(book.notice(&notice("orders"), QUIET, at(1900)), Noticed::Drafted(_)));
    book.amend(3, becomes(State::Open), "ops", at(2000)).expect("opened");
    for moment in [9000, -9000] {
        let noticed = book.notice(&notice("orders"), QUIET, at(moment));
        assert!(matches!(&noticed, Noticed::Noted(noted) if noted.len() == 1), "{noticed:?}");
    }
}

/// Numbers of the incidents on which it was noted.
fn noted(noticed: Noticed) -> Vec<u64> {
    match noticed {
        Noticed::Noted(all) => all.iter().map(|done| done.incident.id).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn where_a_person_is_at_it_the_gateway_notes_what_it_would_have_drafted() {
    let mut book = Book::default();
    book.open(opening("everything"), "ops", at(0)).expect("opened");
    let about = |name: &str| Opening { upstreams: vec!["users".into(), name.into()], ..opening("slow") };
    book.open(about("orders"), "ops", at(0)).expect("opened");
    assert_eq!(noted(book.notice(&notice("orders"), QUIET, at(1))), [2], "its own before that of all");
    assert_eq!(noted(book.notice(&notice("billing"), QUIET, at(1))), [1]);
    let seen = book.get(2).and_then(|it| it.updates.last().cloned()).expect("a note");
    assert_eq!((seen.by.as_str(), seen.public), (GATEWAY, false));
    let told = "The gateway would have drafted a minor incident of orders, \"Some requests are refused\": It refused 23%";
    assert!(seen.text.starts_with(told), "{}", seen.text);
    let over = book.over(&Notice { because: "It is over".into(), ..notice("orders") }, at(2)).expect("told");
    assert_eq!((over.incident.id, over.deeds), (2, vec![Deed::Updated]));
    assert_eq!(over.incident.updates.last().map(|it| it.text.as_str()), Some("orders: It is over"));
    for id in [1, 2] {
        book.amend(id, becomes(State::Closed), "ops", at(3)).expect("closed");
    }
    assert!(matches!(book.notice(&notice("orders"), QUIET, at(4)), Noticed::Drafted(_)), "nobody is");
}

#[test]
fn a_freeze_of_everything_swallows_no_outage() {
    let mut book = Book::default();
    book.open(Opening { freeze: true, ..opening("no changes this week") }, "ops", at(0)).expect("opened");
    assert!(matches!(book.notice(&notice("orders"), QUIET, at(1)), Noticed::Drafted(_)));
}

#[test]
fn what_came_of_a_change_for_an_incident_is_noted_there_and_what_did_not_is_drafted() {
    let mut book = Book::default();
    book.open(opening("one"), "ops", at(0)).expect("opened");
    book.open(opening("two"), "ops", at(0)).expect("opened");
    let because = "Version 7 was taken back by its guard".to_owned();
    let revert = |named: &[u64]| Notice {
        upstream: None,
        cause: Cause::Revert,
        because: because.clone(),
        named: named.to_vec(),
        ..notice("")
    };
    assert_eq!(noted(book.notice(&revert(&[1, 2]), Duration::ZERO, at(1))), [2, 1]);
    assert_eq!(book.get(1).and_then(|it| Some(it.updates.last()?.text.clone())), Some(because.clone()));
    assert!(matches!(book.notice(&revert(&[]), Duration::ZERO, at(1)), Noticed::Drafted(_)));
    book.amend(1, becomes(State::Closed), "ops", at(2)).expect("closed");
    let after = book.notice(&revert(&[1]), Duration::ZERO, at(3));
    assert!(matches!(after, Noticed::Added(_)), "nobody is at it any more: {after:?}");
}

#[test]
fn the_gateway_says_little_and_that_it_says_no_more() {
    let mut book = Book::default();
    book.open(opening("slow"), "ops", at(0)).expect("opened");
    let long = notice(&"x".repeat(9000));
    for _ in 0..MAX_NOTES {
        assert_eq!(noted(book.notice(&long, QUIET, at(1))), [1]);
    }
    let after = book.notice(&long, QUIET, at(1));
    assert!(matches!(after, Noticed::Drafted(_)), "what has no room there is not swallowed: {after:?}");
    let last = book.get(1).and_then(|it| it.updates.last().cloned()).expect("a note");
    assert!(last.text.ends_with(LAST) && last.text.chars().count() <= 1000, "{}", last.text);
    for n in 0..MAX_UPDATES - MAX_NOTES - 1 {
        assert!(book.amend(1, said("people have the rest"), "ops", at(2)).is_ok(), "{n}");
    }
}

#[test]
fn it_never_grows_beyond_its_bounds_and_open_ones_stay() {
    let mut book = Book::default();
    for n in 0..MAX_OPEN {
        let elsewhere = Opening { upstreams: vec!["users".into()], ..opening(&format!("{n}")) };
        book.open(elsewhere, "ops", at(0)).expect("room");
    }
    assert!(matches!(book.open(opening("one more"), "ops", at(0)), Err(Refusal::Conflict(_))));
    for n in 0..1000 {
        let noticed = book.notice(&notice(&format!("u{n}")), QUIET, at(n));
        let Noticed::Drafted(done) = noticed else { continue };
        if n % 2 == 0 {
            book.amend(done.incident.id, becomes(State::Closed), "ops", at(n)).expect("closed");
        }
    }
    assert_eq!((book.items().count(), book.open_ones()), (MAX_INCIDENTS, MAX_OPEN));
    let text = "ä".repeat(1000);
    for _ in 0..MAX_UPDATES - 1 {
        book.amend(1, said(&text), "ops", at(0)).expect("room");
    }
    assert!(matches!(book.amend(1, said(&text), "ops", at(0)), Err(Refusal::Conflict(_))));
    let last = Amendment { text: Some("over".into()), ..becomes(State::Closed) };
    assert!(book.amend(1, last, "ops", at(0)).is_ok(), "the last word is always heard");
}

#[test]
fn words_of_any_length_stay_within_a_few_megabytes() {
    let mut book = Book::default();
    for n in 0..150_u64 {
        let id = book.open(opening("x"), "ops", at(0)).expect("opened").incident.id;
        for _ in 0..40 {
            book.amend(id, said(&"ä".repeat(1000)), "ops", at(0)).expect("room");
        }
        if n >= 5 {
            book.amend(id, becomes(State::Closed), "ops", at(0)).expect("closed");
        }
    }
    let weight: usize = book.items().map(|incident| incident.weight()).sum();
    assert!(weight <= MAX_WEIGHT + (100 << 10), "{weight}");
    assert_eq!(book.open_ones(), 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn whatever_is_asked_for_nothing_but_a_person_freezes_and_a_draft_never_does(
        steps in proptest::collection::vec((0_u8..6, 1_u64..6, any::<bool>(), any::<bool>()), 1..40)
    ) {
        let mut book = Book::default();
        let (mut now, mut frozen_by_person) = (0, false);
        for (what, id, freeze, public) in steps {
            now += 600;
            let state = match what {
                0 => { book.notice(&notice(&format!("u{id}")), QUIET, at(now)); continue }
                1 => { frozen_by_person |= freeze; let _ = book.open(Opening { freeze, ..opening("x") }, "ops", at(now)); continue }
                2 => Some(State::Open),
                3 => Some(State::Closed),
                _ => None,
            };
            frozen_by_person |= freeze;
            let wish = Amendment { state, freeze: Some(freeze), public: Some(public), ..said("x") };
            let _ = book.amend(id, wish, "ops", at(now));
            for item in book.items() {
                prop_assert_eq!(item.freeze, item.frozen.is_some());
                prop_assert!(!item.freeze || (item.is_open() && frozen_by_person));
                prop_assert!(item.state != State::Draft || (!item.is_shown() && !item.public));
                prop_assert!(item.state != State::Draft || item.updates.iter().all(|update| !update.public));
                let notes: Vec<_> = item.updates.iter().filter(|update| update.by == GATEWAY).collect();
                prop_assert!(notes.len() <= MAX_NOTES && notes.iter().all(|note| !note.public));
            }
        }
    }
}
