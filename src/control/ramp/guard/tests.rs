//! The way back in simulated seconds: up while it is well, not while that is open, back when it fails.

use super::judge::Second;
use super::*;
use proptest::prelude::*;

const STEPS: [f64; 4] = [25.0, 50.0, 75.0, 100.0];
const SECOND: Duration = Duration::from_secs(1);

fn course(dwell: u64) -> Course<'static> {
    Course { steps: &STEPS, dwell: Duration::from_secs(dwell), guarded: true }
}

fn second(well: u64, failed: u64, latency_ms: u64) -> Second {
    Second { well, failed, latency_ns: well * latency_ms * 1_000_000, in_flight: 2 }
}

fn sight(own: Second) -> Sight {
    Sight { own, peers: Second::default(), bar: Duration::from_millis(250), present: true }
}

fn well() -> Sight {
    sight(second(100, 0, 20))
}

fn ramp(course: &Course<'_>) -> GuardedRamp {
    GuardedRamp::begin(course, 1.0, Usual::default())
}

/// Lives through so many seconds; what happened at which of them, and what it carried then.
fn live(
    ramp: &mut GuardedRamp,
    course: &Course<'_>,
    seconds: u64,
    sight: impl Fn(u64) -> Sight,
) -> Vec<(u64, Turn)> {
    (1..=seconds).filter_map(|at| Some((at, ramp.live(course, SECOND, &sight(at))?))).collect()
}

fn steps(turns: &[(u64, Turn)]) -> Vec<(u64, f64)> {
    let to = |(at, turn): &(u64, Turn)| match turn {
        Turn::Step { to, .. } | Turn::BackOff { to, .. } => Some((*at, *to)),
        _ => None,
    };
    turns.iter().filter_map(to).collect()
}

#[test]
fn it_goes_up_a_step_a_dwell_and_is_done_after_one_more() {
    let course = course(5);
    let mut ramp = ramp(&course);
    assert_eq!(ramp.percent(), 25.0);
    let turns = live(&mut ramp, &course, 20, |_| well());
    assert_eq!(steps(&turns), [(5, 50.0), (10, 75.0), (15, 100.0)]);
    assert_eq!(turns.last(), Some(&(20, Turn::Done)));
}

#[test]
fn on_watch_all_of_its_reference_still_binds() {
    let course = course(5);
    let mut ramp = ramp(&course);
    assert_eq!(ramp.bound(), 25.0);
    live(&mut ramp, &course, 15, |_| well());
    assert_eq!(ramp.percent(), 100.0);
    assert!((99.0..100.0).contains(&ramp.bound()), "{}", ramp.bound());
}

#[test]
fn no_success_in_a_dwell_is_hold_and_never_advance() {
    let course = course(5);
    let mut ramp = ramp(&course);
    let turns = live(&mut ramp, &course, 600, |_| sight(Second::default()));
    assert_eq!(turns, [(5, Turn::Held(Hold::NoSuccess))]);
    assert_eq!((ramp.percent(), ramp.is_idle(&course)), (25.0, true));
}

#[test]
fn with_little_traffic_a_dwell_is_four_times_as_long() {
    let course = course(5);
    let mut ramp = ramp(&course);
    let turns = live(&mut ramp, &course, 60, |_| sight(second(1, 0, 20)));
    assert_eq!(steps(&turns), [(20, 50.0), (40, 75.0), (60, 100.0)]);
    assert!(matches!(turns[0], (5, Turn::Held(Hold::FewOutcomes(_)))), "{turns:?}");
}

#[test]
fn a_tenth_that_fails_takes_it_back_by_half_and_the_third_time_alerts() {
    // What E7b is about: it fails above half.
    let course = course(5);
    let mut ramp = ramp(&course);
    let (mut alerts, mut above) = (0, 0);
    for _ in 0..600 {
        let failed = if ramp.percent() > 50.0 { 30 } else { 0 };
        above = if ramp.percent() > 50.0 { above + 1 } else { 0 };
        assert!(above <= 2, "never above half for more than two seconds");
        match ramp.live(&course, SECOND, &sight(second(100 - failed, failed, 20))) {
            Some(Turn::BackOff { from, to, alert, times, .. }) => {
                assert_eq!((from, to, alert), (75.0, 37.5, times >= 3));
                alerts += u32::from(alert);
            }
            Some(Turn::Done) => panic!("it is not well"),
            _ => {}
        }
    }
    assert!((1..=5).contains(&alerts), "{alerts}");
    // It has healed: nobody need be at the keyboard.
    let turns = live(&mut ramp, &course, 300, |_| well());
    assert_eq!(turns.last().map(|(_, turn)| *turn), Some(Turn::Done), "{turns:?}");
}

#[test]
fn after_the_third_time_back_a_step_is_tried_once_a_minute_however_little_it_is_asked() {
    let course = course(5);
    let mut ramp = ramp(&course);
    (0..3).for_each(|_| assert!(matches!(ramp.back_off(&course, Setback::Restarted), Turn::BackOff { .. })));
    let turns = live(&mut ramp, &course, 130, |at| sight(second(at % 2, 0, 20)));
    assert_eq!(steps(&turns), [(60, 25.0), (120, 50.0)]);
}

#[test]
fn what_fails_after_it_went_back_may_have_begun_before() {
    let course = course(5);
    let mut ramp = ramp(&course);
    let bad = |_| sight(second(50, 50, 20));
    assert_eq!(steps(&live(&mut ramp, &course, 6, bad)), [(2, 12.5)], "once, not every second");
    // Also where half is a step itself.
    let mut half = GuardedRamp::after(&course, 25.0, 1.0, Usual::default());
    assert_eq!(steps(&live(&mut half, &course, 6, bad)), [(2, 25.0)]);
    // And from there it comes back by the steps.
    let turns = live(&mut ramp, &course, 40, |_| well());
    assert_eq!(steps(&turns)[0].1, 25.0);
}

#[test]
fn the_second_in_which_it_began_is_not_its_own() {
    let course = course(5);
    let mut ramp = ramp(&course);
    let turns = live(&mut ramp, &course, 5, |at| if at == 1 { sight(second(0, 100, 20)) } else { well() });
    assert_eq!(steps(&turns), [(5, 50.0)]);
}

#[test]
fn some_failures_and_slow_answers_hold_it() {
    let course = course(5);
    let mut ramp = ramp(&course);
    let turns = live(&mut ramp, &course, 60, |_| sight(second(95, 5, 20)));
    assert!(matches!(turns[..], [(5, Turn::Held(Hold::Failing(_)))]), "{turns:?}");
    let Some(Hold::Failing(verdict)) = ramp.held() else { panic!("{:?}", ramp.held()) };
    assert_eq!(verdict.failing().to_string(), "5.0 % fail (5 of 100); 2.0 % may");
    let turns = live(&mut ramp, &course, 60, |_| sight(second(100, 0, 300)));
    assert!(matches!(turns[..], [(1, Turn::Held(Hold::Slow(_)))]), "{turns:?}");
    assert_eq!(
        ramp.held().map(|held| held.to_string()).as_deref(),
        Some("answers take 300 ms on average; 250 ms are allowed")
    );
    assert_eq!(steps(&live(&mut ramp, &course, 1, |_| well())), [(1, 50.0)]);
}

#[test]
fn warm_peers_that_are_no_better_hold_nobody() {
    let course = course(5);
    let beside = |own, peers| Sight { peers, ..sight(own) };
    let mut ramp = ramp(&course);
    let turns = live(&mut ramp, &course, 5, |_| beside(second(97, 3, 400), second(290, 10, 300)));
    assert_eq!(steps(&turns), [(5, 50.0)]);
    let mut ramp = GuardedRamp::begin(&course, 1.0, Usual::default());
    let turns = live(&mut ramp, &course, 9, |_| beside(second(98, 2, 20), second(300, 0, 20)));
    assert!(matches!(turns[..], [(5, Turn::Held(Hold::Failing(_)))]), "beside well ones 1 % may: {turns:?}");
}

#[test]
fn what_was_usual_before_the_restart_holds_nobody_for_ever() {
    let course = course(5);
    let usual = Usual { failing: 0.08, latency_ns: 900_000_000 };
    let mut ramp = GuardedRamp::begin(&course, 1.0, usual);
    let turns = live(&mut ramp, &course, 20, |_| sight(second(88, 12, 1_200)));
    assert_eq!(steps(&turns), [(5, 50.0), (10, 75.0), (15, 100.0)], "{turns:?}");
}

#[test]
fn overdue_requests_count_as_failed() {
    let course = course(5);
    let mut ramp = ramp(&course);
    let hung = Second { in_flight: 12, ..Second::default() };
    let turns = live(&mut ramp, &course, 10, |_| sight(hung));
    assert!(matches!(turns[..], [(_, Turn::BackOff { to: 12.5, .. }), ..]), "{turns:?}");
    let Some((_, Turn::BackOff { why, .. })) = turns.first() else { panic!("{turns:?}") };
    assert!(why.to_string().contains("12 of them overdue"), "{why}");
    // A few that take their time beside many that do not are none.
    let mut ramp = GuardedRamp::begin(&course, 1.0, Usual::default());
    let turns = live(&mut ramp, &course, 5, |_| sight(Second { in_flight: 40, ..second(30, 0, 20) }));
    assert_eq!(steps(&turns), [(5, 50.0)]);
}

#[test]
fn its_clock_stands_still_while_it_is_away_or_paused() {
    let course = course(5);
    let mut ramp = ramp(&course);
    live(&mut ramp, &course, 4, |_| well());
    let away = Sight { present: false, ..well() };
    assert_eq!(live(&mut ramp, &course, 100, |_| away), [(1, Turn::Held(Hold::Away))]);
    assert!(ramp.pause() && !ramp.pause());
    assert_eq!(live(&mut ramp, &course, 100, |_| well()), []);
    assert!(ramp.resume() && !ramp.resume());
    assert_eq!(steps(&live(&mut ramp, &course, 2, |_| well())), [(2, 50.0)]);
}

#[test]
fn a_restart_on_the_way_begins_at_the_first_step_at_most() {
    let course = course(5);
    let mut ramp = ramp(&course);
    live(&mut ramp, &course, 10, |_| well());
    assert_eq!(ramp.percent(), 75.0);
    ramp.back_off(&course, Setback::Restarted);
    assert_eq!((ramp.percent(), ramp.back_offs()), (25.0, 1));
    ramp.back_off(&course, Setback::Restarted);
    assert_eq!(ramp.percent(), 12.5);
}

#[test]
fn without_a_guard_it_is_a_matter_of_time_alone() {
    let course = Course { guarded: false, ..course(5) };
    let mut ramp = ramp(&course);
    let turns = live(&mut ramp, &course, 20, |_| sight(second(0, 100, 20)));
    assert_eq!(steps(&turns), [(5, 50.0), (10, 75.0), (15, 100.0)]);
}

#[test]
fn what_was_written_down_goes_on_where_it_was() {
    let course = course(5);
    let mut ramp = ramp(&course);
    live(&mut ramp, &course, 8, |_| well());
    let text = serde_json::to_string(&ramp).expect("plain numbers");
    let mut again: GuardedRamp = serde_json::from_str(&text).expect("what was written");
    again = again.read().expect("it makes sense");
    assert_eq!((again.percent(), again.next(&course)), (50.0, (75.0, Duration::from_secs(2))));
    assert_eq!(steps(&live(&mut again, &course, 3, |_| well())), [(2, 75.0)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_comes_it_stays_within_its_bounds_and_never_skips_a_step(
        seconds in prop::collection::vec((0_u64..200, 0_u64..50, 1_u64..2_000, prop::bool::ANY), 1..400),
        dwell in 1_u64..10,
    ) {
        let course = course(dwell);
        let mut ramp = ramp(&course);
        let mut lasted = 0;
        for (at, (well, failed, latency, present)) in seconds.iter().copied().enumerate() {
            let before = ramp.percent();
            lasted += 1;
            // Up to five seconds are judged together: those before may have been when it was sore.
            let fails = seconds[at.saturating_sub(4)..=at].iter().any(|second| second.1 > 0);
            match ramp.live(&course, SECOND, &Sight { present, ..sight(second(well, failed, latency)) }) {
                Some(Turn::Step { from, to }) => {
                    prop_assert!(present && from == before && lasted >= dwell);
                    prop_assert_eq!(Some(&to), STEPS.iter().find(|step| **step > from));
                    lasted = 0;
                }
                Some(Turn::BackOff { from, to, .. }) => {
                    prop_assert!(present && fails && (to - (from / 2.0).max(LEAST)).abs() < 1e-9);
                    lasted = 0;
                }
                Some(Turn::Done) => return Ok(()),
                Some(Turn::Held(_)) | None => prop_assert_eq!(ramp.percent(), before),
            }
            prop_assert!((LEAST..=100.0).contains(&ramp.percent()));
        }
    }
}
