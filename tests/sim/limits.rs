//! S0 to S6 and SM: what the limit that finds itself does with what happens to a fleet of four backends.
//!
//! Half of the workers of the design's simulation, and the same times: five workers of 20 ms each at four backends
//! are 1,000 a second. The cap is what the defaults give four backends; the limit finds itself below it. Bars are
//! those of `overload.md` 3 and 4; where one is lower, the reason stands beside it.

use crate::backend::Start;
use crate::measure::Measured;
use crate::scene::{Fleet, Limits, Scene, Settings};
use crate::seeds::{Verdict, hold, miss};
use std::time::Duration;
use tidegate::admission::settings::{Adaptive, Mode};

/// Requests a second that the fleet can serve.
pub const CAPACITY: f64 = 1_000.0;
/// What is taken for an answer's time: three times its usual one.
const OBJECTIVE: Duration = Duration::from_millis(60);

/// Four backends that are well, at 60 % of their capacity, behind one gateway.
pub fn calm() -> Scene {
    let timeout = Duration::from_secs(1);
    let adaptive = Adaptive { mode: Mode::Enforce, objective: OBJECTIVE, ceiling: timeout / 2 };
    Scene {
        seconds: 20,
        offered: |_| 0.6 * CAPACITY,
        client_retries: 0,
        backoff: (0.05, 0.15),
        fleet: Fleet {
            backends: 4,
            workers: |_| 5,
            service: |_| 0.02,
            delay: |_| 0.0,
            hangs: None,
            restart: None,
            start: Start::Warm,
            dies_above: usize::MAX,
            database: 1.0,
            boot_ids: true,
        },
        gateways: 1,
        gateway: Settings {
            cap: 256,
            backend_cap: 64,
            max_waiting: 512,
            max_wait: Duration::from_millis(50),
            timeout,
            limit: Limits::Adaptive(adaptive),
            zombies: true,
            ramp: None,
        },
    }
}

/// The same without the limit that finds itself, with a cap of so many.
pub fn capped(cap: u32) -> Scene {
    let mut scene = calm();
    scene.gateway.cap = cap;
    scene.gateway.backend_cap = cap;
    scene.gateway.max_waiting = 2 * cap;
    scene.gateway.limit = Limits::Cap;
    scene
}

#[test]
fn s0_nothing_is_refused_while_nothing_is_wrong() {
    let judge = |it: &Measured, verdict: &mut Verdict| {
        // From when the first limit has found what 90 % take.
        verdict.at_most("refused", it.shed_part(6, 16), 0.0001);
        verdict.at_most("p99 ms", it.percentile(6, 16, 0.99), 150.0);
    };
    hold(&Scene { seconds: 16, ..calm() }, judge);
    hold(&Scene { seconds: 16, offered: |_| 0.9 * CAPACITY, ..calm() }, judge);
    // A cap below what is needed in flight refuses.
    miss(&Scene { seconds: 16, ..capped(12) }, judge);
}

#[test]
fn s1_a_flash_crowd_is_served_at_capacity_and_in_time() {
    let crowd = |scene: Scene| Scene {
        seconds: 14,
        offered: |at| if (4.0..10.0).contains(&at) { 5.0 * CAPACITY } else { 0.6 * CAPACITY },
        ..scene
    };
    let judge = |it: &Measured, verdict: &mut Verdict| {
        verdict.at_least("goodput", it.mean(5, 10, |second| second.answered) / CAPACITY, 0.95);
        verdict.at_most("p99 ms", it.percentile(6, 10, 0.99), 250.0);
        verdict.at_most("p99 ms of the first second", it.percentile(4, 6, 0.99), 500.0);
        verdict.within("recovery s", it.recovered(10, 0.93), 1);
    };
    hold(&crowd(calm()), judge);
    // Without a bound everything is late.
    let mut unbound = crowd(capped(100_000));
    unbound.gateway.zombies = false;
    miss(&unbound, judge);
}

#[test]
fn s1b_sustained_overload_does_not_make_it_drift() {
    let judge = |it: &Measured, verdict: &mut Verdict| {
        let (early, end) = (it.percentile(6, 14, 0.5), it.percentile(22, 30, 0.5));
        verdict.at_least("goodput", it.mean(22, 30, |second| second.answered) / CAPACITY, 0.95);
        // The objective, the longest wait, and a window's worth of noise.
        verdict.at_most("p50 ms at the end", end, 60.0 + 50.0 + 10.0);
        verdict.at_most("p50 later, of before", end / early, 1.3);
    };
    let offered = |at| if at > 3.0 { 1.5 * CAPACITY } else { 0.6 * CAPACITY };
    hold(&Scene { seconds: 30, offered, ..calm() }, judge);
}

#[test]
fn sm_four_gateways_before_one_fleet_do_not_drift() {
    let judge = |it: &Measured, verdict: &mut Verdict| {
        let (early, end) = (it.percentile(6, 14, 0.5), it.percentile(22, 30, 0.5));
        verdict.at_least("goodput", it.mean(22, 30, |second| second.answered) / CAPACITY, 0.95);
        verdict.at_most("p50 ms at the end", end, 60.0 + 50.0 + 10.0);
        verdict.at_most("p50 later, of before", end / early, 1.3);
    };
    let offered = |at| if at > 3.0 { 1.5 * CAPACITY } else { 0.6 * CAPACITY };
    hold(&Scene { seconds: 30, offered, gateways: 4, ..calm() }, judge);
}

#[test]
fn s2_answers_that_take_longer_for_good_are_not_taken_for_a_queue() {
    let judge = |it: &Measured, verdict: &mut Verdict| {
        let part =
            |from, to| it.sum(from, to, |second| second.answered) / it.sum(from, to, |second| second.offered);
        // A limit of 32 must learn that it takes 120, from answers that come 200 ms late.
        verdict.at_least("goodput in the first ten seconds", part(4, 14), 0.65);
        verdict.within("80 % after s", it.recovered(4, 0.8), 10);
        verdict.at_least("goodput after", part(14, 22), 0.985);
    };
    let shifted = |scene: Scene| {
        let fleet = Fleet { delay: |at| if at >= 4.0 { 0.18 } else { 0.0 }, ..scene.fleet };
        Scene { seconds: 22, fleet, ..scene }
    };
    hold(&shifted(calm()), judge);
    // A limit that does not doubt itself makes the outage.
    let mut unguarded = shifted(calm());
    if let Limits::Adaptive(adaptive) = unguarded.gateway.limit {
        unguarded.gateway.limit = Limits::Unguarded(adaptive);
    }
    miss(&unguarded, judge);
    // And so does a cap that was right before.
    miss(&shifted(capped(30)), judge);
}

#[test]
fn s3_a_fleet_that_becomes_ten_times_slower_gives_what_it_can() {
    let slow = |scene: Scene| {
        let service = |at: f64| if (4.0..16.0).contains(&at) { 0.2 } else { 0.02 };
        // All ten workers: half of them finish too few a second for a window to say much.
        let fleet = Fleet { service, workers: |_| 10, ..scene.fleet };
        Scene { seconds: 20, offered: |_| 1.2 * CAPACITY, fleet, ..scene }
    };
    let judge = |it: &Measured, verdict: &mut Verdict| {
        verdict.at_least("goodput", it.mean(7, 16, |second| second.answered) / (2.0 * CAPACITY / 10.0), 0.85);
        verdict.within("recovery s", it.recovered(16, 0.93), 1);
    };
    hold(&slow(calm()), judge);
    miss(&slow(capped(1_024)), judge);
}

#[test]
fn s4_a_fleet_that_grows_is_used() {
    let judge = |it: &Measured, verdict: &mut Verdict| {
        verdict.at_least(
            "goodput in the next eight seconds",
            it.mean(6, 14, |second| second.answered),
            0.9 * 2.0 * CAPACITY,
        );
        verdict.within("t95 s", it.recovered(6, 0.95), 5);
    };
    let grown = |scene: Scene| {
        let fleet = Fleet { workers: |at| if at >= 6.0 { 15 } else { 5 }, ..scene.fleet };
        Scene { seconds: 14, offered: |_| 2.0 * CAPACITY, fleet, ..scene }
    };
    hold(&grown(calm()), judge);
    miss(&grown(capped(30)), judge);
}

#[test]
fn s5_a_fleet_that_hangs_costs_little_and_is_back_at_once() {
    let judge = |it: &Measured, verdict: &mut Verdict| {
        verdict.at_most("timeouts a second", it.mean(7, 14, |second| second.late), 20.0);
        verdict.within("recovery s", it.recovered(14, 0.93), 2);
    };
    let hung = |scene: Scene| {
        let fleet = Fleet { hangs: Some((4.0, 14.0)), ..scene.fleet };
        Scene { seconds: 20, fleet, ..scene }
    };
    hold(&hung(calm()), judge);
    let mut unbound = hung(capped(100_000));
    unbound.gateway.zombies = false;
    miss(&unbound, judge);
}

#[test]
fn s6_a_storm_of_retries_blows_over() {
    let judge = |it: &Measured, verdict: &mut Verdict| {
        let part = |count: fn(&crate::measure::Second) -> u32| {
            it.sum(12, 18, count) / it.sum(12, 18, |second| second.offered)
        };
        verdict.at_least("goodput", part(|second| second.answered), 0.99);
        verdict.at_most("arrivals of what is offered", part(|second| second.arrived), 1.05);
    };
    let storm = |scene: Scene| {
        let service = |at: f64| if (4.0..7.0).contains(&at) { 0.08 } else { 0.02 };
        let fleet = Fleet { service, ..scene.fleet };
        Scene { seconds: 18, offered: |_| 0.8 * CAPACITY, client_retries: 3, fleet, ..scene }
    };
    hold(&storm(calm()), judge);
    let mut unbound = storm(capped(100_000));
    unbound.gateway.zombies = false;
    miss(&unbound, judge);
}
