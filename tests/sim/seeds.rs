//! Runs a scenario from many seeds, and says from which it failed.
//!
//! Every seed, on every run: a bar that one of 64 misses is missed. `TIDEGATE_SIM_SEED=17` runs that seed alone and
//! tells what happened.

use crate::measure::Measured;
use crate::scene::Scene;
use crate::world;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

/// Seeds of every scenario.
pub const SEEDS: u64 = 64;
/// Seeds of a scene that is to fail.
pub const FEW: u64 = 3;
/// One seed alone.
const ALONE: &str = "TIDEGATE_SIM_SEED";

/// What one run of a scenario is judged by: the sentences that say what was missed.
#[derive(Default)]
pub struct Verdict {
    missed: Vec<String>,
    told: Vec<String>,
}

impl Verdict {
    /// A bar: `value` is to be at least `bar`.
    pub fn at_least(&mut self, what: &str, value: f64, bar: f64) {
        self.bar(what, value, value >= bar, &format!(">= {bar}"));
    }

    /// A bar: `value` is to be at most `bar`.
    pub fn at_most(&mut self, what: &str, value: f64, bar: f64) {
        self.bar(what, value, value <= bar, &format!("<= {bar}"));
    }

    /// A bar: within so many seconds.
    pub fn within(&mut self, what: &str, value: Option<usize>, bar: usize) {
        let value = value.map_or(f64::INFINITY, |value| value as f64);
        self.at_most(what, value, bar as f64);
    }

    fn bar(&mut self, what: &str, value: f64, holds: bool, bar: &str) {
        let line = format!("{what} {value:.4} (to be {bar})");
        self.told.push(line.clone());
        if !holds {
            self.missed.push(line);
        }
    }
}

/// Every seed is to hold every bar.
pub fn hold(scene: &Scene, judge: impl Fn(&Measured, &mut Verdict) + Sync) {
    let failed = failures(scene, SEEDS, &judge);
    assert!(
        failed.is_empty(),
        "{} seeds missed a bar (alone, with what happened: {ALONE}={} cargo test --test sim -- --nocapture):\n{}",
        failed.len(),
        failed[0].0,
        failed.iter().map(|(seed, missed)| format!("seed {seed}: {missed}")).collect::<Vec<_>>().join("\n"),
    );
}

/// Without the mechanism every seed is to miss a bar: so the simulation is known to be able to fail, and the
/// mechanism to be what holds it.
pub fn miss(scene: &Scene, judge: impl Fn(&Measured, &mut Verdict) + Sync) {
    let failed = failures(scene, FEW, &judge);
    let most = if alone().is_some() { 1 } else { FEW as usize };
    assert_eq!(failed.len(), most, "held the bars without what should hold them; these missed: {failed:?}");
}

fn alone() -> Option<u64> {
    let seed = std::env::var(ALONE).ok()?;
    Some(seed.parse().expect("a seed is a number"))
}

/// The seeds that missed a bar, and what they missed.
fn failures(
    scene: &Scene,
    seeds: u64,
    judge: &(impl Fn(&Measured, &mut Verdict) + Sync),
) -> Vec<(u64, String)> {
    if let Some(seed) = alone() {
        let (measured, verdict) = one(scene, seed, judge);
        measured.tell();
        verdict.told.iter().for_each(|line| println!("{line}"));
        return failure(seed, verdict).into_iter().collect();
    }
    let (next, failed) = (AtomicU64::new(1), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed > seeds {
                        break;
                    }
                    let failure = failure(seed, one(scene, seed, judge).1);
                    failed.lock().expect("no judge panics").extend(failure);
                }
            });
        }
    });
    let mut failed = failed.into_inner().expect("no judge panics");
    failed.sort();
    failed
}

fn one(scene: &Scene, seed: u64, judge: &(impl Fn(&Measured, &mut Verdict) + Sync)) -> (Measured, Verdict) {
    let measured = world::run(scene, seed);
    let mut verdict = Verdict::default();
    judge(&measured, &mut verdict);
    (measured, verdict)
}

fn failure(seed: u64, verdict: Verdict) -> Option<(u64, String)> {
    (!verdict.missed.is_empty()).then(|| (seed, verdict.missed.join(", ")))
}
