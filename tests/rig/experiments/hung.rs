//! E1: every backend of one upstream accepts and never answers, then is well again.

use super::super::origin::knobs::Manner;
use super::arena::Arena;
use super::judge::{Part, judge, shed};
use super::outcome::Outcome;
use super::{Contender, Scale};
use std::time::Duration;

/// 60 % of what the fleet can do is asked for throughout. What is judged is the time from three seconds after
/// it is well again, and its neighbour meanwhile.
pub fn hung_upstream(contender: &dyn Contender, scale: Scale) -> Outcome {
    let mut arena = Arena::open(contender, scale, false);
    let (hangs, heals) = (scale.before, scale.healed());
    let rate = 0.6 * arena.capacity;
    let run = arena.run(
        arena.clients(rate),
        vec![
            (hangs, Box::new(|fleet, _| fleet.set_all(|knobs| knobs.manner = Manner::Hangs))),
            (heals, Box::new(|fleet, _| fleet.set_all(|knobs| knobs.manner = Manner::Serves))),
        ],
    );
    let from = heals + Duration::from_secs(3).min(scale.after / 2);
    let part = Part { from, to: scale.end(), possible: rate };
    let mut outcome = judge(("E1", "hung upstream"), contender, &arena, &run, part);
    // Refusals are those of the trouble, once it is known.
    let (from, to) = scale.settled(hangs, heals);
    outcome.refused = shed(&run.report.stream("main").between(from, to));
    // Arrivals are random: what was really asked for is what was possible.
    let part =
        run.report.stream("main").between(heals + Duration::from_secs(3).min(scale.after / 2), scale.end());
    outcome.possible = part.clients as f64;
    outcome.goodput = outcome.good as f64 / outcome.possible.max(1.0);
    let (goodput, refused) = (outcome.goodput, outcome.refused);
    let outcome = match (outcome.slots_held, outcome.slots_limit) {
        (Some(held), Some(limit)) => outcome.at_most("slots held", held, limit),
        _ => outcome,
    };
    outcome
        .neighbour_is_well()
        .at_most("refusals p99, ms", refused.p99_ms, 5.0)
        .at_least("requests refused instead of kept waiting", refused.n as f64, 1.0)
        .at_least("goodput after it is well again", goodput, 0.95)
        .recovers_within(3.0)
}
