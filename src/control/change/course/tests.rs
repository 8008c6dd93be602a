//! The course of changes, in simulated time: every order of events, and never everyone without the stages.

use super::*;
use crate::config::fields::Risk;
use crate::config::policy::Guard;
use crate::control::Cause;
use crate::control::rollout::RouteScope;
use crate::telemetry::tally::Tally;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn change(number: u64, by: Option<&str>, confirm: Option<Duration>) -> Change {
    Change {
        number,
        hash: format!("{number:064}"),
        cause: if by.is_some() { Cause::Api } else { Cause::Watch },
        by: by.map(str::to_owned),
        reason: None,
        risk: Risk::Low,
        incidents: Vec::new(),
        confirm,
        judged: Judged {
            guard: Guard { max_error_increase: 0.01, max_latency_ratio: 2.0, min_requests: 10 },
            routes: vec![RouteScope { name: "r".into(), new: false }],
            longest_timeout: Duration::ZERO,
        },
    }
}

fn staged(approval: bool) -> Way {
    Way::Staged(Staging { stages: vec![0.1, 0.5, 1.0], bake: 2 * SECOND, approval })
}

/// Requests go well on both sides, or fail on the candidate's.
#[derive(Default)]
struct World {
    sample: Sample,
}

impl World {
    fn passes(&mut self, fails: bool) {
        let route = self.sample.routes.entry(Arc::from("r")).or_default();
        let well = |tally: &mut Tally| (0..20).for_each(|_| tally.succeeded(Duration::from_millis(5)));
        well(&mut route.stable);
        match fails {
            true => (0..20).for_each(|_| route.candidate.failed(crate::telemetry::tally::Failure::Backend)),
            false => well(&mut route.candidate),
        }
    }
}

/// Looks until an act comes, or a minute has passed.
fn until(course: &mut Course, world: &mut World, now: &mut Instant, fails: bool) -> Option<Act> {
    (0..600).find_map(|_| {
        *now += SECOND / 10;
        world.passes(fails);
        course.look(*now, &world.sample)
    })
}

#[test]
fn a_change_that_is_well_goes_through_all_stages_and_is_good_a_bake_after_the_last() {
    let (mut course, mut world, mut now) = (Course::default(), World::default(), Instant::now());
    assert_eq!(course.begin(change(7, Some("ops"), None), staged(false)).ok(), Some(Some(Act::Probe(7))));
    assert_eq!(course.probed(7, &[], true, now), Some(Act::Offer(7, 0.1)));
    assert!(course.offered(7, now) && !course.offered(7, now));
    assert_eq!(until(&mut course, &mut world, &mut now, false), Some(Act::Widen(7, 0.5)));
    assert_eq!(until(&mut course, &mut world, &mut now, false), Some(Act::Activate(7)));
    let full = now;
    assert_eq!(course.activated(7, Ok(()), now), None);
    let Some(Act::Good(ended)) = until(&mut course, &mut world, &mut now, false) else { panic!("good") };
    assert_eq!((ended.number, ended.outcome), (7, Outcome::Good));
    assert!(now - full >= 2 * SECOND);
    assert!(course.current().is_none());
}

#[test]
fn a_probe_that_forbids_it_and_an_activation_that_fails_leave_the_stable_version() {
    let (mut course, mut world, mut now) = (Course::default(), World::default(), Instant::now());
    course.begin(change(1, None, None), staged(false)).expect("free");
    let gates = ["auth session does not resolve".to_owned()];
    let Some(Act::Tell(ended)) = course.probed(1, &gates, false, now) else { panic!("told") };
    assert_eq!(ended.outcome, Outcome::Refused);
    assert!(ended.why.contains("does not resolve"));
    course.begin(change(2, None, None), staged(false)).expect("free");
    course.probed(2, &[], true, now);
    course.offered(2, now);
    until(&mut course, &mut world, &mut now, false);
    until(&mut course, &mut world, &mut now, false);
    let failed = course.activated(2, Err("port taken".into()), now);
    assert!(matches!(failed, Some(Act::Withdraw(ended)) if ended.why.contains("port taken")));
}

#[test]
fn it_comes_back_at_any_stage_and_after_the_last() {
    for stages in 0..3 {
        let (mut course, mut world, mut now) = (Course::default(), World::default(), Instant::now());
        course.begin(change(3, None, None), staged(false)).expect("free");
        course.probed(3, &[], true, now);
        course.offered(3, now);
        for _ in 0..stages {
            until(&mut course, &mut world, &mut now, false);
        }
        if stages == 2 {
            course.activated(3, Ok(()), now);
        }
        let act = until(&mut course, &mut world, &mut now, true);
        match act {
            Some(Act::Withdraw(ended)) if stages < 2 => assert_eq!(ended.outcome, Outcome::Reverted),
            Some(Act::Restore(ended)) if stages == 2 => assert_eq!(ended.outcome, Outcome::Reverted),
            other => panic!("after {stages}: {other:?}"),
        }
    }
}

#[test]
fn a_second_person_is_another_than_the_author_and_one_change_goes_at_a_time() {
    let mut course = Course::default();
    assert_eq!(course.begin(change(4, Some("dev"), None), staged(true)).ok(), Some(None));
    assert_eq!(
        course.begin(change(5, Some("ops"), None), staged(false)).err().map(|it| it.change.number),
        Some(4)
    );
    assert_eq!(course.approve(4, "dev"), Err(Not::Author));
    assert_eq!(course.approve(5, "ops"), Err(Not::Another(4)));
    assert_eq!(course.promote(Instant::now()), Err(Not::Held("it waits for somebody's approval".into())));
    assert_eq!(course.approve(4, "ops"), Ok(Act::Probe(4)));
    assert_eq!(course.approve(4, "ops"), Err(Not::NoApproval));
}

#[test]
fn an_unconfirmed_version_goes_back_and_is_never_good_before() {
    let mut now = Instant::now();
    let (mut course, mut world) = (Course::default(), World::default());
    let confirm = Some(60 * SECOND);
    course.begin(change(6, Some("ops"), confirm), Way::AtOnce).expect("free");
    let Some(Act::Tell(ended)) = course.activated(6, Ok(()), now) else { panic!("told") };
    assert_eq!(ended.outcome, Outcome::Unconfirmed);
    assert_eq!(course.look(now + 59 * SECOND, &world.sample), None);
    now += 60 * SECOND;
    let Some(Act::Restore(ended)) = course.look(now, &world.sample) else { panic!("goes back") };
    assert_eq!((ended.number, ended.outcome), (6, Outcome::Lapsed));
    assert_eq!(course.confirm(), Err(Not::NothingToConfirm));
    // Confirmed in time it is good; confirmed in its last bake, it is good after that.
    course.begin(change(7, Some("ops"), confirm), Way::AtOnce).expect("free");
    course.activated(7, Ok(()), now);
    assert!(matches!(course.confirm(), Ok(Some(Act::Good(ended))) if ended.number == 7));
    course.begin(change(8, Some("ops"), confirm), Way::BrokenGlass { bake: SECOND }).expect("free");
    assert_eq!(course.activated(8, Ok(()), now), None);
    assert_eq!(course.confirm(), Ok(None));
    assert!(
        matches!(until(&mut course, &mut world, &mut now, false), Some(Act::Good(ended)) if ended.number == 8)
    );
}

#[test]
fn a_version_that_takes_the_place_of_an_unconfirmed_one_disarms_its_timer_and_a_failed_one_does_not() {
    let now = Instant::now();
    let (mut course, world) = (Course::default(), World::default());
    course.begin(change(1, Some("ops"), Some(60 * SECOND)), Way::AtOnce).expect("free");
    course.activated(1, Ok(()), now);
    course.begin(change(2, Some("ops"), None), Way::AtOnce).expect("free");
    course.activated(2, Err("port taken".into()), now);
    assert!(course.unconfirmed().is_some(), "the first one is still to be confirmed");
    course.begin(change(3, Some("ops"), None), Way::AtOnce).expect("free");
    course.activated(3, Ok(()), now);
    assert_eq!(course.look(now + 120 * SECOND, &world.sample), None);
}

#[test]
fn what_goes_by_stages_beside_an_unconfirmed_version_gives_way_when_that_goes_back_and_not_in_silence() {
    let now = Instant::now();
    let (mut course, world) = (Course::default(), World::default());
    course.begin(change(1, Some("ops"), Some(60 * SECOND)), Way::AtOnce).expect("free");
    course.activated(1, Ok(()), now);
    course.begin(change(2, None, None), staged(false)).expect("free");
    course.probed(2, &[], true, now);
    assert!(course.is_offering(2) && !course.is_offering(1));
    course.offered(2, now);
    let Some(Act::Restore(ended)) = course.look(now + 60 * SECOND, &world.sample) else {
        panic!("goes back")
    };
    assert_eq!((ended.number, ended.outcome), (1, Outcome::Lapsed));
    let ended = course.rolled_back(Outcome::Superseded, "version 1 went back".into()).expect("it is told");
    assert_eq!((ended.number, ended.outcome.bars()), (2, false));
    assert!(course.current().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever comes in whatever order, a version is made active only after all of its stages lasted their bake.
    #[test]
    fn no_order_of_events_makes_a_version_active_without_its_stages(
        events in proptest::collection::vec((0_u8..10, any::<bool>(), 1_u64..40), 1..400)
    ) {
        let (mut course, mut world, mut now) = (Course::default(), World::default(), Instant::now());
        let mut number = 0;
        // Of the version under way: stages that were begun, and when the last one was.
        let (mut steps, mut since) = (Vec::new(), now);
        for (event, flag, ticks) in events {
            let act = match event {
                0 => {
                    let next = change(number + 1, flag.then_some("ops"), flag.then_some(5 * SECOND));
                    course.begin(next, staged(flag)).ok().and_then(|act| { number += 1; act })
                }
                1 => course.approve(number, if flag { "ops" } else { "boss" }).ok(),
                2 => course.probed(number, &[], flag, now),
                9 => { if course.offered(number, now) { since = now; } None }
                3 => course.promote(now).ok().flatten(),
                4 => course.abort(Outcome::Aborted, "so".into()).ok(),
                5 => course.confirm().ok().flatten(),
                6 => { course.rolled_back(Outcome::RolledBack, "so".into()); None }
                7 => course.activated(number, if flag { Ok(()) } else { Err("so".into()) }, now),
                _ => {
                    now += Duration::from_millis(100) * ticks as u32;
                    if flag { world.passes(false); }
                    course.look(now, &world.sample)
                }
            };
            match act {
                Some(Act::Offer(_, share)) => { steps = vec![share]; since = now; }
                Some(Act::Widen(_, share)) => {
                    prop_assert!(now - since >= 2 * SECOND);
                    steps.push(share);
                    since = now;
                }
                Some(Act::Activate(_)) => {
                    prop_assert!(now - since >= 2 * SECOND);
                    prop_assert_eq!(&steps, &vec![0.1, 0.5]);
                }
                _ => {}
            }
        }
    }
}

#[test]
fn nobody_is_the_second_person_by_another_door() {
    let approval = |author, by| {
        let mut course = Course::default();
        course.begin(change(7, Some(author), None), staged(true)).expect("free");
        course.approve(7, by)
    };
    for (author, by) in [
        ("ops", "ops"),
        ("loopback", "socket (user 0)"),
        ("socket (user 0)", "loopback"),
        ("socket", "socket (user 1000)"),
        ("socket (user 0)", "socket (user 0)"),
    ] {
        assert_eq!(approval(author, by), Err(Not::Author), "{author}, {by}");
    }
    for (author, by) in
        [("ops", "dev"), ("ops", "socket (user 0)"), ("socket (user 0)", "socket (user 1000)")]
    {
        assert_eq!(approval(author, by), Ok(Act::Probe(7)), "{author}, {by}");
    }
}
