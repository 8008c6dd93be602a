//! What is kept, told and forgotten of decisions, step by step.

use super::*;
use crate::filters::auth::verdict::{Identity, Undecided};
use crate::reject::Reason;
use std::future::Future;
use std::task::{Context, Poll, Waker};

fn settings() -> CacheSettings {
    CacheSettings {
        ttl: Duration::from_secs(30),
        refused_ttl: Duration::from_secs(5),
        stale: Duration::from_secs(300),
        max_entries: 1000,
        key: Vec::new(),
    }
}

fn decisions() -> Arc<Decisions> {
    Decisions::keyed(&settings(), [7; 32])
}

fn passed() -> Outcome {
    let identity = Identity { auth: "session".into(), subject: None };
    Ok(Decision::Passed(Arc::new(Passed { identity, headers: Vec::new(), class: None })))
}

fn refused() -> Outcome {
    Ok(Decision::Refused(Arc::new(Refused { reason: Reason::Unauthenticated, headers: [].into() })))
}

fn lead(decisions: &Arc<Decisions>, now: Instant) -> Lead {
    match decisions.find([1; 16], now) {
        Found::Nobody(lead) => lead,
        other => panic!("nobody asked yet: {other:?}"),
    }
}

fn follow(decisions: &Arc<Decisions>, now: Instant) -> Flight {
    match decisions.find([1; 16], now) {
        Found::Asked(flight) => flight,
        other => panic!("somebody asks: {other:?}"),
    }
}

fn poll<T>(future: impl Future<Output = T>) -> Poll<T> {
    std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_thousand_who_want_the_same_ask_once() {
    let (now, all) = (Instant::now(), decisions());
    let asking = lead(&all, now);
    let waiting: Vec<_> = (0..1000).map(|_| follow(&all, now)).collect();
    assert!(poll(told(waiting[0].clone())).is_pending());
    asking.settle(&passed(), Keep::AsSet, now);
    for flight in waiting {
        let told = poll(told(flight));
        assert!(matches!(told, Poll::Ready(Some(Told::Outcome(Ok(Decision::Passed(_)))))));
    }
    assert!(matches!(all.find([1; 16], now), Found::Kept(Decision::Passed(_))));
    assert!(matches!(all.find([2; 16], now), Found::Nobody(_)), "another question is another matter");
}

#[test]
fn when_the_one_who_asks_leaves_another_one_asks() {
    let (now, all) = (Instant::now(), decisions());
    let asking = lead(&all, now);
    let waiting = follow(&all, now);
    drop(asking);
    assert!(matches!(poll(told(waiting)), Poll::Ready(None)));
    let next = lead(&all, now);
    drop(follow(&all, now));
    next.settle(&refused(), Keep::AsSet, now);
    assert!(matches!(all.fresh(&[1; 16], now), Some(Decision::Refused(_))));
}

#[test]
fn what_could_not_be_decided_is_told_and_not_kept() {
    let (now, all) = (Instant::now(), decisions());
    let asking = lead(&all, now);
    let waiting = follow(&all, now);
    asking.settle(&Err(Undecided::Timeout), Keep::Not, now);
    let told = poll(told(waiting));
    assert!(matches!(told, Poll::Ready(Some(Told::Outcome(Err(Undecided::Timeout))))));
    assert!(matches!(all.find([1; 16], now), Found::Nobody(_)));
    assert_eq!(all.kept(), Kept::default());
}

#[test]
fn an_answer_that_must_not_be_kept_is_for_nobody_else() {
    let (now, all) = (Instant::now(), decisions());
    lead(&all, now).settle(&passed(), Keep::AsSet, now);
    let later = now + Duration::from_secs(31);
    for keep in [Keep::Not, Keep::AtMost(Duration::ZERO)] {
        let asking = lead(&all, later);
        let waiting = follow(&all, later);
        asking.settle(&passed(), keep, later);
        assert!(matches!(poll(told(waiting)), Poll::Ready(Some(Told::NotForOthers))));
        assert!(all.stale(&[1; 16], later).is_none(), "and what was kept before is gone");
    }
}

#[test]
fn a_shorter_life_is_obeyed_and_a_longer_one_is_not() {
    let (now, all) = (Instant::now(), decisions());
    let at = |seconds| now + Duration::from_secs(seconds);
    lead(&all, now).settle(&passed(), Keep::AtMost(Duration::from_secs(10)), now);
    assert!(all.fresh(&[1; 16], at(9)).is_some() && all.fresh(&[1; 16], at(10)).is_none());
    lead(&all, at(10)).settle(&passed(), Keep::AtMost(Duration::from_secs(1000)), at(10));
    assert!(all.fresh(&[1; 16], at(39)).is_some() && all.fresh(&[1; 16], at(40)).is_none());
}

#[test]
fn whoever_was_refused_since_never_passes_by_an_older_decision() {
    let (now, all) = (Instant::now(), decisions());
    let at = |seconds| now + Duration::from_secs(seconds);
    lead(&all, now).settle(&passed(), Keep::AsSet, now);
    assert!(all.stale(&[1; 16], at(329)).is_some() && all.stale(&[1; 16], at(330)).is_none());
    lead(&all, at(31)).settle(&Err(Undecided::Timeout), Keep::Not, at(31));
    assert!(all.stale(&[1; 16], at(32)).is_some(), "a failure changes nothing");
    lead(&all, at(33)).settle(&refused(), Keep::AsSet, at(33));
    assert!(all.stale(&[1; 16], at(34)).is_none());
    assert!(
        all.fresh(&[1; 16], at(37)).is_some() && all.fresh(&[1; 16], at(38)).is_none(),
        "refusals are short"
    );
}

#[test]
fn a_flood_of_refusals_pushes_out_nobody_who_passed() {
    let (now, all) = (Instant::now(), decisions());
    lead(&all, now).settle(&passed(), Keep::AsSet, now);
    for n in 0..50_000_u32 {
        let key = blake3::hash(&n.to_le_bytes()).as_bytes()[..16].try_into().expect("16 bytes");
        if let Found::Nobody(asking) = all.find(key, now) {
            asking.settle(&refused(), Keep::AsSet, now);
        }
    }
    assert!(matches!(all.fresh(&[1; 16], now), Some(Decision::Passed(_))));
    let kept = all.kept();
    assert!(kept.passed == 1 && kept.refused <= 1024 && kept.bytes < 1 << 20, "{kept:?}");
}
