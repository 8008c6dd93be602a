//! S8: what waiting in line is worth, with a fixed limit.

use crate::limits::{CAPACITY, capped};
use crate::measure::Measured;
use crate::scene::{Fleet, Scene, Settings};
use crate::seeds::{Verdict, hold, miss};

/// Bursts of 60 ms at 1.5 times the capacity, which is 0.85 times the capacity on average. Ten workers at each backend
/// as in the design's simulation: how rough chance is depends on how many there are.
fn bursts(scene: Scene) -> Scene {
    let fleet = Fleet { workers: |_| 10, ..scene.fleet };
    Scene {
        seconds: 8,
        offered: |at| 2.0 * CAPACITY * if at % 0.12 < 0.06 { 1.5 } else { 0.2 },
        fleet,
        ..scene
    }
}

fn waiting(scene: Scene, max_waiting: u32) -> Scene {
    Scene { gateway: Settings { max_waiting, ..scene.gateway }, ..scene }
}

#[test]
fn s8_short_bursts_wait_instead_of_being_refused() {
    let judge = |it: &Measured, verdict: &mut Verdict| {
        verdict.at_most("refused", it.shed_part(1, 8), 0.001);
        verdict.at_most("p99 ms", it.percentile(1, 8, 0.99), 110.0);
    };
    hold(&bursts(capped(60)), judge);
    miss(&waiting(bursts(capped(60)), 0), judge);
    miss(&waiting(bursts(capped(60)), 10), judge);
}

#[test]
fn s8_lasting_overload_makes_nobody_wait_for_long() {
    let judge = |it: &Measured, verdict: &mut Verdict| {
        verdict.at_least("goodput", it.mean(1, 8, |second| second.answered) / CAPACITY, 0.7);
        verdict.at_most("p50 ms", it.percentile(1, 8, 0.5), 110.0);
        verdict.at_most("p99 ms", it.percentile(1, 8, 0.99), 150.0);
    };
    let lasting = |scene: Scene| Scene {
        seconds: 8,
        offered: |at| CAPACITY * if at % 1.0 < 0.5 { 2.2 } else { 0.4 },
        ..scene
    };
    hold(&lasting(capped(30)), judge);
    let mut unbound = waiting(lasting(capped(30)), u32::MAX);
    unbound.gateway.max_wait = unbound.gateway.timeout;
    miss(&unbound, judge);
}
