//! Rollouts look by look: stages, bakes, what holds one and what a person may skip.

use super::*;
use crate::control::rollout::verdict::Finding;
use crate::telemetry::tally::Failure;
use proptest::prelude::*;

const BAKE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);

fn scope(risk: Risk) -> Scope {
    Scope {
        stages: vec![0.05, 0.5, 1.0],
        bake: BAKE,
        guard: policy::Policy::default().guard,
        risk,
        probe_clean: true,
        longest_timeout: Duration::from_secs(1),
        routes: vec![
            RouteScope { name: "old".into(), new: false },
            RouteScope { name: "added".into(), new: true },
        ],
    }
}

/// A rollout and what it is shown; time goes on by looks.
struct Bench {
    rollout: Rollout,
    now: Instant,
    sample: Sample,
}

impl Bench {
    fn new(scope: Scope) -> Self {
        let now = Instant::now();
        let mut sample = Sample::default();
        let mut before = Tally::default();
        (0..3_000).for_each(|_| before.succeeded(Duration::from_millis(20)));
        sample.baseline.insert("old".into(), before);
        sample.routes.insert("old".into(), RouteSample::default());
        Bench { rollout: Rollout::begin(scope, now), now, sample }
    }

    fn route(&mut self, name: &str) -> &mut RouteSample {
        self.sample.routes.entry(name.into()).or_default()
    }

    fn look(&mut self) -> Step {
        self.now += LOOK;
        self.rollout.look(self.now, &self.sample)
    }

    /// Looks, each after these requests of each side, until something but holding comes, or so long.
    fn run(&mut self, longest: Duration, mut each: impl FnMut(&mut RouteSample)) -> (Duration, Option<Step>) {
        let mut elapsed = Duration::ZERO;
        while elapsed < longest {
            elapsed += LOOK;
            each(self.route("old"));
            match self.look() {
                Step::Hold(_) => {}
                step => return (elapsed, Some(step)),
            }
        }
        (elapsed, None)
    }
}

fn well(tally: &mut Tally, count: u32) {
    (0..count).for_each(|_| tally.succeeded(Duration::from_millis(20)));
}

fn failed(tally: &mut Tally, count: u32) {
    (0..count).for_each(|_| tally.failed(Failure::Gateway));
}

fn both_well(route: &mut RouteSample) {
    well(&mut route.candidate, 5);
    well(&mut route.stable, 5);
}

fn finding(step: Option<Step>) -> Finding {
    match step {
        Some(Step::Revert(verdict)) => verdict.finding,
        other => panic!("not reverted but {other:?}"),
    }
}

#[test]
fn it_goes_through_every_stage_and_is_good_after_one_more_bake() {
    let mut bench = Bench::new(scope(Risk::Low));
    assert_eq!((bench.rollout.share(), bench.rollout.stage()), (0.05, 0));
    for step in [Step::Widen { share: 0.5 }, Step::Activate, Step::Good] {
        assert_eq!(bench.run(BAKE * 2, both_well), (BAKE, Some(step)));
    }
    assert_eq!(bench.look(), Step::Good);
    assert_eq!(bench.rollout.promote(bench.now), Err(Refusal::Over));
    assert_eq!(bench.rollout.view(bench.now).state, "good");
}

#[test]
fn a_stage_bakes_at_least_twice_as_long_as_the_longest_timeout() {
    let timeout = Duration::from_secs(30);
    let mut bench = Bench::new(Scope { longest_timeout: timeout, ..scope(Risk::Low) });
    assert_eq!(bench.run(timeout * 3, both_well), (timeout * 2, Some(Step::Widen { share: 0.5 })));
}

#[test]
fn eight_failures_without_a_success_revert_where_stable_succeeds() {
    let mut bench = Bench::new(scope(Risk::Low));
    let (elapsed, step) = bench.run(BAKE, |route| {
        failed(&mut route.candidate, 1);
        well(&mut route.stable, 19);
    });
    let Some(Step::Revert(verdict)) = step else { panic!("{step:?}") };
    assert_eq!((elapsed, verdict.finding), (LOOK * 8, Finding::Wholly { failures: 8 }));
    let told = verdict.to_string();
    for part in
        ["route old", "100.0 % (8 of 8)", "errors of the gateway", "(0 of 152) with the stable", "8 failures"]
    {
        assert!(told.contains(part), "{part:?} not in {told:?}");
    }
    assert_eq!(bench.look(), Step::Revert(verdict));
    assert_eq!(bench.rollout.view(bench.now).state, "reverted");
}

#[test]
fn a_backend_that_is_down_for_both_reverts_nothing_and_goes_nowhere() {
    let mut bench = Bench::new(scope(Risk::Low));
    bench.run(BAKE * 7 / 10, both_well);
    let (_, step) = bench.run(BAKE * 5, |route| {
        failed(&mut route.candidate, 5);
        failed(&mut route.stable, 5);
    });
    assert_eq!((step, bench.rollout.view(bench.now).state), (None, "worse"));
    let refusal = bench.rollout.promote(bench.now).expect_err("the guard finds fault");
    assert!(refusal.to_string().contains("before the rollout"), "{refusal}");
    assert_eq!(bench.run(BAKE, both_well).1, Some(Step::Widen { share: 0.5 }));
}

#[test]
fn what_failed_for_both_before_as_well_keeps_nobody_waiting() {
    let mut bench = Bench::new(scope(Risk::Low));
    let mut before = Tally::default();
    failed(&mut before, 900);
    well(&mut before, 2_100);
    bench.sample.baseline.insert("old".into(), before);
    let third = |tally: &mut Tally| {
        failed(tally, 3);
        well(tally, 7);
    };
    let (elapsed, step) = bench.run(BAKE * 3, |route| {
        third(&mut route.candidate);
        third(&mut route.stable);
    });
    assert_eq!((elapsed, step), (BAKE, Some(Step::Widen { share: 0.5 })));
}

/// The candidate's quick failures are over before its first slow successes.
#[test]
fn slow_successes_of_a_new_stage_are_not_missed() {
    let mut bench = Bench::new(scope(Risk::Low));
    let before = bench.sample.baseline.get_mut("old").expect("put in");
    failed(before, 158);
    let mut looks = 0;
    let (elapsed, step) = bench.run(BAKE * 3, |route| {
        looks += 1;
        failed(&mut route.candidate, 1);
        well(&mut route.candidate, if looks > 9 { 19 } else { 0 });
        failed(&mut route.stable, 19);
        well(&mut route.stable, 361);
    });
    assert_eq!((elapsed, step), (BAKE, Some(Step::Widen { share: 0.5 })));
}

#[test]
fn a_new_route_is_held_to_absolute_bars() {
    for (part, reverts) in [(25, true), (2, false)] {
        let mut bench = Bench::new(scope(Risk::Low));
        let mut looks = 0;
        let step = loop {
            looks += 1;
            both_well(bench.route("old"));
            let added = &mut bench.route("added").candidate;
            if looks % 100 < part {
                failed(added, 1)
            } else {
                well(added, 1)
            }
            match bench.look() {
                Step::Hold(_) | Step::Widen { .. } | Step::Activate => {}
                step => break step,
            }
        };
        assert_eq!(matches!(step, Step::Revert(_)), reverts, "{part} %: {step:?}");
    }
    let mut bench = Bench::new(scope(Risk::Low));
    failed(&mut bench.route("added").candidate, 8);
    assert_eq!(finding(Some(bench.look())), Finding::Wholly { failures: 8 });
}

#[test]
fn three_times_as_slow_reverts_after_three_looks_at_the_latency() {
    let mut bench = Bench::new(scope(Risk::Low));
    let (elapsed, step) = bench.run(BAKE, |route| {
        (0..10).for_each(|_| route.candidate.succeeded(Duration::from_millis(60)));
        well(&mut route.stable, 100);
    });
    assert!(matches!(finding(step), Finding::Slow { before: false, .. }));
    assert!((Duration::from_secs(3)..Duration::from_secs(4)).contains(&elapsed), "{elapsed:?}");
}

#[test]
fn with_too_little_traffic_low_risk_goes_on_after_ten_bakes_unless_something_failed() {
    for (risk, one_failed, overdue, goes_on) in [
        (Risk::Low, false, 0, true),
        (Risk::Medium, false, 0, true),
        (Risk::High, false, 0, false),
        (Risk::Low, true, 0, false),
        (Risk::Low, false, 1, false),
    ] {
        let mut bench = Bench::new(scope(risk));
        bench.sample.overdue_now = overdue;
        well(&mut bench.route("old").candidate, 3);
        failed(&mut bench.route("old").candidate, u32::from(one_failed));
        let (elapsed, step) = bench.run(BAKE * 12, |_| {});
        let expected =
            if goes_on { (BAKE * 10, Some(Step::Widen { share: 0.5 })) } else { (BAKE * 12, None) };
        assert_eq!((elapsed, step), expected, "{risk:?} {one_failed} {overdue}");
        if !goes_on {
            assert_eq!(bench.rollout.view(bench.now).state, "person");
            assert_eq!(bench.rollout.promote(bench.now), Ok(Step::Widen { share: 0.5 }));
        }
    }
}

#[test]
fn patience_ends_after_half_an_hour_at_most() {
    let bake = Duration::from_secs(600);
    let mut bench = Bench::new(Scope { bake, ..scope(Risk::Low) });
    well(&mut bench.route("old").candidate, 1);
    assert_eq!(bench.run(bake * 4, |_| {}).0, Duration::from_secs(1_800));
}

#[test]
fn promote_skips_the_wait_for_traffic_but_not_the_bake() {
    let mut bench = Bench::new(scope(Risk::High));
    bench.run(BAKE / 2, |_| {});
    assert_eq!(bench.rollout.promote(bench.now), Err(Refusal::Baking { left: BAKE / 2 }));
    bench.run(BAKE / 2, |_| {});
    assert_eq!(bench.rollout.view(bench.now).why, "0 of 50 requests; waits 90 s more for them");
    assert_eq!(bench.rollout.promote(bench.now), Ok(Step::Widen { share: 0.5 }));
    assert!(matches!(bench.rollout.promote(bench.now), Err(Refusal::Baking { .. })));
}

#[test]
fn a_machine_that_slept_has_watched_nothing_meanwhile() {
    let mut bench = Bench::new(scope(Risk::Low));
    both_well(bench.route("old"));
    bench.look();
    well(&mut bench.route("old").candidate, 1_000);
    for _ in 0..9 {
        bench.now += Duration::from_secs(3_600);
        assert!(matches!(bench.look(), Step::Hold(Waiting::Baking { .. })));
    }
    // And a clock that stood still has not either.
    let before = bench.rollout.view(bench.now).watched_seconds;
    (0..1_000).for_each(|_| drop(bench.rollout.look(bench.now, &bench.sample)));
    assert_eq!(bench.rollout.view(bench.now).watched_seconds, before);
}

#[test]
fn who_reads_the_view_knows_since_when_it_serves_clients() {
    let bench = Bench::new(scope(Risk::Low));
    let guard = serde_json::json!(bench.rollout.view(bench.now + Duration::from_secs(7)));
    let told = crate::control::change::view::RolloutView { guard, ..Default::default() };
    assert_eq!(told.began_seconds().map(f64::round), Some(7.0));
    assert_eq!(crate::control::change::view::RolloutView::default().began_seconds(), None);
}

#[test]
fn without_a_stage_below_everyone_it_is_everyones_at_once_and_bakes_once() {
    let mut bench = Bench::new(Scope { stages: vec![1.0], ..scope(Risk::Low) });
    assert!(bench.rollout.is_full());
    assert_eq!(bench.run(BAKE * 2, both_well), (BAKE, Some(Step::Good)));
}

/// What a look may bring.
fn any_look() -> impl Strategy<Value = (u64, [u32; 4], bool, u64)> {
    (0..20_000_u64, [0..40_u32, 0..3_u32, 0..200_u32, 0..3_u32], any::<bool>(), 0..3_u64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_sequence_of_looks_activates_without_every_stage_for_its_bake(
        looks in proptest::collection::vec(any_look(), 1..400),
        stages in proptest::collection::vec(0.01..1.2_f64, 0..4),
        risk in prop_oneof![Just(Risk::Low), Just(Risk::High)],
    ) {
        let mut bench = Bench::new(Scope { stages, ..scope(risk) });
        let (mut share, mut since, mut over) = (bench.rollout.share(), bench.now, false);
        for (millis, [well_own, failed_own, well_other, failed_other], promotes, overdue) in looks {
            bench.now += Duration::from_millis(millis);
            bench.sample.overdue_now = overdue;
            let route = bench.sample.routes.values_mut().next().expect("put in above");
            well(&mut route.candidate, well_own);
            failed(&mut route.candidate, failed_own);
            well(&mut route.stable, well_other);
            failed(&mut route.stable, failed_other);
            let step = match promotes {
                true => bench.rollout.promote(bench.now).ok(),
                false => Some(bench.rollout.look(bench.now, &bench.sample)),
            };
            match step {
                Some(Step::Widen { .. } | Step::Activate) => {
                    prop_assert!(!over && share < 1.0 && bench.now - since >= BAKE);
                    prop_assert!(bench.rollout.share() > share);
                    (share, since) = (bench.rollout.share(), bench.now);
                }
                Some(Step::Good) => {
                    prop_assert!(share == 1.0 && bench.now - since >= BAKE);
                    over = true;
                }
                Some(Step::Revert(_)) => over = true,
                Some(Step::Hold(_)) => prop_assert!(!over),
                None => {}
            }
        }
    }
}

#[test]
fn the_view_has_the_numbers_of_every_route_and_the_worst_comes_first() {
    let mut bench = Bench::new(scope(Risk::Low));
    well(&mut bench.route("old").candidate, 40);
    well(&mut bench.route("old").stable, 400);
    well(&mut bench.route("bad").candidate, 9);
    failed(&mut bench.route("bad").candidate, 1);
    well(&mut bench.route("bad").stable, 10);
    bench.route("silent");
    bench.look();
    let routes = bench.rollout.view(bench.now).routes;
    let names: Vec<_> = routes.iter().map(|route| route.route.as_str()).collect();
    assert_eq!(names, ["bad", "old"], "nobody asked for the third");
    assert_eq!(
        (routes[0].candidate.requests, routes[0].candidate.failed, routes[0].stable.failed),
        (10, 1, 0)
    );
    let p90 = routes[1].candidate_p90_seconds.expect("good answers");
    assert!((0.018..0.023).contains(&p90), "{p90}");
    for nth in 0..30 {
        well(&mut bench.route(&format!("r{nth}")).stable, 1);
    }
    bench.look();
    assert_eq!(bench.rollout.view(bench.now).routes.len(), 20, "as many as somebody reads");
}
