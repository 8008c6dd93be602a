//! E10: the access log goes into a pipe that nobody reads.

use super::arena::Arena;
use super::judge::{Part, judge};
use super::outcome::Outcome;
use super::{Contender, Scale};

/// How much memory a full log may take beside what is always there: 4 MiB wait, and some more is in hands.
const MORE_KIB: f64 = 16.0 * 1_024.0;

/// As many lines fill the queue of the log, and more.
const MANY_LINES: u64 = 25_000;

/// 60 % of what the fleet can do is asked for. What is judged is that nobody notices, and, in a run that is long
/// enough to fill the queue, that lines were dropped and counted.
pub fn hung_log_sink(contender: &dyn Contender, scale: Scale) -> Outcome {
    let read = measure(contender, scale, false);
    let Measured { outcome, grown_kib, dropped } = measure(contender, scale, true);
    let (goodput, p99, before) = (outcome.goodput, outcome.admitted.p99_ms, read.outcome.admitted.p99_ms);
    let lines: u64 = outcome.statuses.values().sum();
    let mut outcome = outcome
        .neighbour_is_well()
        .at_least("goodput of those who asked", goodput, 1.0)
        .at_most("p99 of the admitted, ms, against 1.1 x with a log that is read", p99, 1.1 * before);
    if let Some(grown) = grown_kib {
        outcome = outcome.at_most("memory grown during the run, KiB", grown, MORE_KIB);
    }
    if let Some(dropped) = dropped.filter(|_| lines > MANY_LINES) {
        outcome = outcome.at_least("lines dropped and counted", dropped, 1.0);
    }
    outcome
}

struct Measured {
    outcome: Outcome,
    grown_kib: Option<f64>,
    dropped: Option<f64>,
}

fn measure(contender: &dyn Contender, scale: Scale, log_hangs: bool) -> Measured {
    let mut arena = Arena::open(contender, scale, log_hangs);
    let before = arena.proxy.memory_kib();
    let rate = 0.6 * arena.capacity;
    let run = arena.run(arena.clients(rate), Vec::new());
    let after = arena.proxy.memory_kib();
    let part = Part::asked(&run, scale.before, scale.end());
    let outcome = judge(("E10", "hung log sink"), contender, &arena, &run, part);
    let grown_kib = before.zip(after).map(|(before, after)| after as f64 - before as f64);
    Measured { outcome, grown_kib, dropped: arena.proxy.log_dropped() }
}
