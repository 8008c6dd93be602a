//! How the limit that finds itself does as `enforce` on five seeds, in the short form: figures for people, because
//! on them depends whether it may be the default. `.ci/long` has the long form with the bars themselves.
//!
//! `cargo test --test it seeds -- --ignored --nocapture`, some five minutes; a table of Markdown.

use crate::experiments::{ENFORCED, eight, short};
use crate::rig::experiments::outcome::Outcome;
use crate::rig::experiments::{self, Contender, Scale};
use std::panic::catch_unwind;
use std::time::Duration;

type Experiment = fn(&dyn Contender, u64) -> Outcome;

const EXPERIMENTS: [Experiment; 7] = [
    |it, seed| experiments::slow_upstream(it, scale(eight(), 5, 2, seed)),
    |it, seed| experiments::flash_crowd(it, scale(short(), 4, 2, seed), 5.0),
    |it, seed| experiments::flash_crowd(it, scale(short(), 4, 2, seed), 10.0),
    |it, seed| experiments::latency_shift(it, scale(eight(), 6, 2, seed)),
    |it, seed| experiments::scale_out(it, scale(short(), 2, 3, seed)),
    |it, seed| experiments::replicas(it, scale(short(), 5, 2, seed), 2),
    |it, seed| experiments::steady(it, scale(short(), 6, 2, seed)),
];

fn scale(of: Scale, during: u64, after: u64, seed: u64) -> Scale {
    Scale { during: Duration::from_secs(during), after: Duration::from_secs(after), seed, ..of }
}

#[test]
#[ignore = "five minutes of one experiment after the other, for figures and not for a verdict"]
fn seeds_of_the_experiments_of_load_with_enforce() {
    println!(
        "| experiment | seed | goodput | admitted p50/p99 ms | refused | unserved | control | recovery s | stood still ms |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for experiment in EXPERIMENTS {
        for seed in 1..=5 {
            match catch_unwind(|| experiment(&ENFORCED, seed)) {
                Ok(outcome) => row(&outcome),
                Err(_) => println!("| one that was not made | {seed} |"),
            }
        }
    }
}

fn row(outcome: &Outcome) {
    let Outcome { experiment, title, seed, goodput, admitted, refused, timeouts, errors, .. } = outcome;
    let recovery = outcome.recovery_s.map_or("never".to_owned(), |seconds| format!("{seconds:.2}"));
    println!(
        "| {experiment} {title} | {seed} | {:.1} % | {:.0} / {:.0} | {} | {} | {:.1} % | {recovery} | {:.0} |",
        100.0 * goodput,
        admitted.p50_ms,
        admitted.p99_ms,
        refused.n,
        timeouts + errors,
        100.0 * outcome.control_served,
        outcome.stood_still_ms,
    );
    let missed: Vec<_> = outcome.checks.iter().filter(|check| !check.reached).collect();
    for check in missed {
        eprintln!("   missed: {}: {:.3}, bar {:.3}", check.what, check.seen, check.bar);
    }
}
