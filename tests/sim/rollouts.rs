//! The quality of a rollout's guard (`design.md`, "Guard"): how often it reverts what is as good as the stable version,
//! and how soon what is not.
//!
//! A promise holds from every seed; a rate is printed and held to a bar. The table of powers shows what a small
//! difference costs until it is found: one point beyond what may be is not, in a short bake.

use crate::versions::{Course, Fault, Setting, roll};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;
use tidegate::config::fields::Risk;

/// Seeds of a promise.
const SEEDS: u64 = 64;
/// Longer than any of these rollouts takes when nothing holds it.
const LONG: Duration = Duration::from_secs(240);

/// Seldom enough looks for many rollouts.
const SECOND: Duration = Duration::from_secs(1);

/// Rollouts from many seeds, on all cores.
fn rollouts(seeds: u64, longest: Duration, setting: impl Fn(u64) -> Setting + Sync) -> Vec<Rolled> {
    let (next, rolled) = (AtomicU64::new(1), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed > seeds {
                        break;
                    }
                    let course = roll(&setting(seed), seed, longest);
                    rolled.lock().expect("no rollout panics").push(Rolled { seed, course });
                }
            });
        }
    });
    let mut rolled = rolled.into_inner().expect("no rollout panics");
    rolled.sort_by_key(|it| it.seed);
    rolled
}

struct Rolled {
    seed: u64,
    course: Course,
}

/// How many were reverted; prints that and why the first of them were.
fn reverted(what: &str, rolled: &[Rolled]) -> usize {
    let reverted: Vec<_> = rolled.iter().filter(|it| it.course.reverted()).collect();
    println!("{what}: {} of {} reverted", reverted.len(), rolled.len());
    for Rolled { seed, course } in reverted.iter().take(5) {
        println!(
            "  seed {seed}, {:.1} s, at {}: {}",
            course.elapsed.as_secs_f64(),
            course.share,
            course.told
        );
    }
    reverted.len()
}

/// All of them were reverted, and each as it is to be.
#[track_caller]
fn all_reverted(rolled: &[Rolled], and: impl Fn(&Course) -> bool) {
    for Rolled { seed, course } in rolled {
        let (requests, elapsed, told) = (course.faulty_requests, course.elapsed, &course.told);
        let holds = course.reverted() && and(course);
        assert!(holds, "seed {seed}: {requests} requests, {elapsed:?}, at {}: {told}", course.share);
    }
}

/// Two stages or four, with bakes of ten seconds.
fn two_kinds(seed: u64) -> Setting {
    let stages = if stages(seed) == 2 { vec![0.05, 1.0] } else { vec![0.01, 0.1, 0.5, 1.0] };
    Setting { stages, ..Setting::default() }
}

fn stages(seed: u64) -> u64 {
    if seed.is_multiple_of(2) { 2 } else { 4 }
}

#[test]
fn of_a_thousand_rollouts_of_an_identical_version_at_most_ten_are_reverted() {
    let rolled = rollouts(1_000, LONG, |seed| Setting { look: SECOND, ..two_kinds(seed) });
    assert!(reverted("identical", &rolled) <= 10);
    let mut late: Vec<_> =
        rolled.iter().map(|it| it.course.elapsed.as_secs().saturating_sub(10 * stages(it.seed))).collect();
    late.sort_unstable();
    println!("doubts cost the middle one {} s, nine of ten at most {} s", late[499], late[899]);
    let waiting = rolled.iter().filter(|it| it.course.end.is_none()).count();
    println!("{waiting} wait for a person");
    assert!(waiting <= 10 && late[899] <= 60);
}

#[test]
fn an_identical_version_passes_at_ten_looks_a_second_busy_or_quiet() {
    let settings = |seed: u64| Setting {
        look: Duration::from_millis(100),
        rate: [50.0, 400.0, 3_000.0][seed as usize % 3],
        ..two_kinds(seed / 3)
    };
    assert!(reverted("identical, ten looks a second", &rollouts(24, LONG, settings)) <= 1);
}

/// Requests of one client fail together, against what the bounds assume: where such a client has a part of a route
/// and lands in a small cohort, the guard cannot tell it from a fault. One such route is rarely hit; of twenty, each
/// with a client that always fails, some are.
#[test]
fn a_client_that_always_fails_seldom_reverts_an_identical_version() {
    let sick = |sick_clients| move |seed| Setting { sick_clients, look: SECOND, ..two_kinds(seed) };
    assert!(reverted("identical, one client always fails", &rollouts(100, LONG, sick(1))) <= 3);
    reverted("identical, clients of twenty routes always fail", &rollouts(SEEDS, LONG, sick(20)));
}

/// Then it cannot tell an outage from a change that hurts everybody.
#[test]
fn outages_of_up_to_ten_seconds_revert_some_of_what_is_identical() {
    let outages = |seed| Setting { burst_seconds: (2.0, 10.0), look: SECOND, ..two_kinds(seed) };
    let rolled = rollouts(SEEDS, LONG, outages);
    assert!(reverted("identical, outages of 2 to 10 s", &rolled) <= SEEDS as usize / 2);
}

/// Beside a stable version that has shown meanwhile that it succeeds: where a first stage has half of the clients it
/// may take two more, as stable is asked as little.
#[test]
fn a_route_that_fails_wholly_reverts_within_ten_of_the_candidates_requests() {
    let settings = |seed: u64| Setting {
        look: Duration::from_millis(50),
        clients: (200.0, 2_000.0),
        bursts: 0.0,
        stages: vec![[0.05, 0.1, 0.15, 0.25][seed as usize % 4], 1.0],
        fault: Fault { first: seed as usize % 8, routes: 1, failing: 1.0, ..Fault::default() },
        ..Setting::default()
    };
    let rolled = rollouts(SEEDS, LONG, settings);
    let worst = rolled.iter().map(|it| it.course.faulty_requests).max();
    println!("a route that fails wholly: after at most {worst:?} requests");
    all_reverted(&rolled, |course| course.faulty_requests <= 10);
}

/// Not every route has a client in a small cohort: such a one is found when the candidate is everyone's.
#[test]
fn a_route_that_fails_wholly_reverts_however_few_of_its_clients_are_in_the_cohort() {
    let fault = |seed: u64| Fault { first: seed as usize % 100, routes: 1, failing: 1.0, ..Fault::default() };
    let rolled =
        rollouts(100, LONG, |seed| Setting { fault: fault(seed), bursts: 0.0, ..Setting::default() });
    let late: Vec<_> = rolled.iter().filter(|it| it.course.share == 1.0).collect();
    let worst = late.iter().map(|it| it.course.at_stage).max();
    println!(
        "of {} routes that fail wholly, {} were found at everyone's, after {worst:?}",
        rolled.len(),
        late.len()
    );
    all_reverted(&rolled, |course| course.at_stage <= Duration::from_secs(10) || course.share < 1.0);
}

#[test]
fn what_fails_wholly_on_a_hundred_routes_that_hardly_anybody_asks_reverts_as_soon() {
    let settings = |_| Setting {
        look: Duration::from_millis(50),
        zipf: 0.0,
        rate: 100.0,
        base: 0.01,
        fault: Fault { routes: 100, failing: 1.0, ..Fault::default() },
        ..Setting::default()
    };
    all_reverted(&rollouts(SEEDS, LONG, settings), |course| {
        course.share < 1.0 && course.faulty_requests <= 12
    });
}

/// Bars are far from what is measured: they are to find a guard that went blind.
#[test]
fn a_worse_version_is_found_the_sooner_the_worse_it_is() {
    let fault = |failing, slower, routes| Fault { routes, failing, slower, ..Fault::default() };
    println!("{:>22} {:>9} {:>22} {:>10}", "the candidate", "reverted", "median of requests", "at stage 1");
    for (what, fault, least, most_requests) in [
        ("+2 % everywhere", fault(0.02, 1.0, 100), 0.0, u64::MAX),
        ("+5 % everywhere", fault(0.05, 1.0, 100), 0.9, 3_000),
        ("+20 % everywhere", fault(0.2, 1.0, 100), 1.0, 300),
        ("3 x slower everywhere", fault(0.0, 3.0, 100), 0.9, 6_000),
        ("+5 % on one route", fault(0.05, 1.0, 1), 0.5, u64::MAX),
        ("+20 % on one route", fault(0.2, 1.0, 1), 0.9, 400),
        ("3 x slower on one", fault(0.0, 3.0, 1), 0.9, 1_000),
    ] {
        let rolled = rollouts(SEEDS / 2, LONG, |_| Setting { fault, ..Setting::default() });
        let mut requests: Vec<_> =
            rolled.iter().filter(|it| it.course.reverted()).map(|it| it.course.faulty_requests).collect();
        requests.sort_unstable();
        let early = rolled.iter().filter(|it| it.course.reverted() && it.course.share < 1.0).count();
        let median = requests.get(requests.len() / 2).copied();
        let part = requests.len() as f64 / rolled.len() as f64;
        println!(
            "{what:>22} {:>7.0} % {:>22} {early:>10}",
            part * 100.0,
            median.map_or(String::from("-"), |it| it.to_string())
        );
        assert!(part >= least, "{what}: only {part} were reverted");
        assert!(median.unwrap_or(0) <= most_requests, "{what}: after {median:?}");
    }
}

#[test]
fn a_change_that_hurts_both_sides_from_its_first_stage_is_reverted() {
    let fault = Fault { routes: 30, both: 0.2, ..Fault::default() };
    let rolled = rollouts(SEEDS, LONG, |_| Setting { fault, look: SECOND, ..Setting::default() });
    all_reverted(&rolled, |course| course.share < 1.0 && course.told.contains("before the rollout"));
}

#[test]
fn a_change_that_hurts_only_when_it_is_everyones_is_reverted() {
    let fault = Fault { routes: 30, both: 0.2, from_share: 1.0, ..Fault::default() };
    let rolled = rollouts(SEEDS, LONG, |_| Setting { fault, look: SECOND, ..Setting::default() });
    all_reverted(&rolled, |course| course.share == 1.0);
}

#[test]
fn when_everything_fails_at_everyones_it_is_back_within_seconds() {
    let fault = Fault { routes: 100, both: 1.0, from_share: 1.0, ..Fault::default() };
    let rolled = rollouts(SEEDS / 2, LONG, |_| Setting { fault, ..Setting::default() });
    all_reverted(&rolled, |course| course.share == 1.0 && course.at_stage <= Duration::from_secs(4));
}

#[test]
fn with_hardly_any_traffic_low_risk_goes_on_and_high_risk_waits_for_a_person() {
    let quiet = |risk, probe_clean| {
        move |_| {
            let look = SECOND;
            Setting {
                routes: 8,
                rate: 0.5,
                base: 0.0,
                bursts: 0.0,
                look,
                risk,
                probe_clean,
                ..Setting::default()
            }
        }
    };
    for Rolled { seed, course } in rollouts(SEEDS, LONG, quiet(Risk::Low, true)) {
        let good = course.end.is_some() && !course.reverted();
        assert!(good && course.elapsed >= Duration::from_secs(110), "seed {seed}: {}", course.told);
    }
    for setting in [quiet(Risk::High, true), quiet(Risk::Medium, false)] {
        for Rolled { seed, course } in rollouts(SEEDS, LONG, setting) {
            let waits = course.end.is_none() && course.share < 1.0 && course.told.contains("promote");
            assert!(waits, "seed {seed}: {}", course.told);
        }
    }
}
