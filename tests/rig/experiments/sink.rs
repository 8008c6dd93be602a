//! E10: the access log goes into a pipe that nobody reads.

use super::arena::Arena;
use super::judge::{Part, judge};
use super::outcome::Outcome;
use super::{Contender, Scale};

/// How much memory a full log may take beside what is always there: 4 MiB wait, and some more is in hands.
const MORE_KIB: f64 = 16.0 * 1_024.0;

/// 60 % of what the fleet can do is asked for. What is judged is that nobody notices; that lines were dropped
/// and counted shows only in a run that is long enough to fill the queue.
pub fn hung_log_sink(contender: &dyn Contender, scale: Scale) -> Outcome {
    let well = measure(contender, scale, false).0;
    let (outcome, grown) = measure(contender, scale, true);
    let goodput = outcome.goodput;
    let (p99, before) = (outcome.admitted.p99_ms, well.admitted.p99_ms);
    let outcome = outcome.neighbour_is_well().at_least("goodput of those who asked", goodput, 1.0).at_most(
        "p99 of the admitted, ms, against 1.1 x with a log that is read",
        p99,
        1.1 * before,
    );
    match grown {
        Some(grown) => outcome.at_most("memory grown during the run, KiB", grown, MORE_KIB),
        None => outcome,
    }
}

/// The outcome, and by how many KiB the contender grew.
fn measure(contender: &dyn Contender, scale: Scale, log_hangs: bool) -> (Outcome, Option<f64>) {
    let mut arena = Arena::open(contender, scale, log_hangs);
    let before = arena.proxy.memory_kib();
    let rate = 0.6 * arena.capacity;
    let run = arena.run(arena.clients(rate), Vec::new());
    let after = arena.proxy.memory_kib();
    let (from, to) = (scale.before, scale.end());
    let asked = run.report.stream("main").between(from, to).clients as f64;
    let part = Part { from, to, possible: asked / (to - from).as_secs_f64() };
    let outcome = judge(("E10", "hung log sink"), contender, &arena, &run, part);
    (outcome, before.zip(after).map(|(before, after)| after as f64 - before as f64))
}
