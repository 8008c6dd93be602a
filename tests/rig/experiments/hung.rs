//! E1: every backend of one upstream accepts and never answers, then is well again.

use super::arena::{Arena, hangs_until};
use super::judge::{Part, at_once, judge, shed};
use super::outcome::Outcome;
use super::{Contender, Scale};
use std::time::Duration;

/// 60 % of what the fleet can do is asked for throughout. What is judged is the time from three seconds after
/// it is well again, and its neighbour meanwhile.
pub fn hung_upstream(contender: &dyn Contender, scale: Scale) -> Outcome {
    let mut arena = Arena::open(contender, scale, false);
    let (hangs, heals) = (scale.before, scale.healed());
    let rate = 0.6 * arena.capacity;
    let run = arena.run(arena.clients(rate), hangs_until(hangs, heals));
    let part = Part::asked(&run, heals + Duration::from_secs(3).min(scale.after / 2), scale.end());
    let mut outcome = judge(("E1", "hung upstream"), contender, &arena, &run, part);
    // Refusals are those of the trouble, once it is known.
    let (from, to) = scale.settled(hangs, heals);
    let trouble = run.report.stream("main").between(from, to);
    (outcome.refused, outcome.refused_at_once) = (shed(&trouble), at_once(&trouble));
    let (goodput, refused) = (outcome.goodput, outcome.refused.n as f64);
    let outcome = match (outcome.slots_held, outcome.slots_limit) {
        (Some(held), Some(limit)) => outcome.at_most("slots held", held, limit),
        _ => outcome,
    };
    outcome
        .neighbour_is_well()
        .refuses_fast()
        .at_least("requests refused instead of kept waiting", refused, 1.0)
        .at_least("goodput after it is well again", goodput, 0.95)
        .recovers_within(3.0)
}
