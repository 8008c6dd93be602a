//! E13: several gateways before one fleet, each of them alone with what it knows.

use super::super::load::report::Row;
use super::arena::Arena;
use super::judge::{Part, judge};
use super::outcome::Outcome;
use super::{Contender, Scale};

/// What an upstream's answers may take on average, and what a request may wait for its place before that.
const OBJECTIVE_MS: f64 = 250.0;
const QUEUE_MS: f64 = 50.0;
/// Each gateway's part of the good answers may be so far off, as a part of it.
const UNFAIR: f64 = 0.1;
/// Half of the admitted may take so much longer every minute, as a part of what they took.
const DRIFT: f64 = 0.01;

/// Half as much again as the fleet can do is asked for throughout, of all gateways alike. What is judged is whether
/// they keep the fleet busy and quick together, whether they drift, and whether they share.
pub fn replicas(contender: &dyn Contender, scale: Scale, count: usize) -> Outcome {
    let mut arena = Arena::open_several(contender, scale, count);
    let clients = arena.clients_of_all(1.5 * arena.capacity);
    let run = arena.run_all(clients, Vec::new());
    let (from, to) = scale.settled(scale.before, scale.end());
    let part = Part { from, to, possible: arena.capacity };
    let title = format!("{count} gateways before one fleet");
    let outcome = judge(("E13", &title), contender, &arena, &run, part);

    let third = (to - from) / 3;
    let main = run.report.stream("main");
    let p50 = |row: Row| row.ok_ms(0.5);
    let (early, late) = (p50(main.between(from, from + third)), p50(main.between(to - third, to)));
    let minutes = (2 * third).as_secs_f64() / 60.0;
    let drift = (late - early) / early.max(1.0) / minutes;
    let shares: Vec<f64> = run.each.iter().map(|seen| seen.between(from, to).ok as f64).collect();
    let fair = shares.iter().sum::<f64>() / shares.len() as f64;
    let unfair = shares.iter().map(|share| (share / fair - 1.0).abs()).fold(0.0, f64::max);
    let (goodput, admitted) = (outcome.goodput, outcome.admitted.p50_ms);
    outcome
        .neighbour_is_well()
        .at_least("goodput", goodput, 0.95)
        .at_most("p50 of the admitted, ms", admitted, OBJECTIVE_MS + QUEUE_MS)
        .at_most("drift of that p50, a minute", drift, DRIFT)
        .at_most("a gateway's share, off the others' mean", unfair, UNFAIR)
}
