//! E9: the service that says who may pass accepts and never answers, then is well again.

use super::arena::{Arena, hangs_until};
use super::judge::{Part, at_once, judge, shed};
use super::outcome::Outcome;
use super::{Contender, Scale};
use std::time::Duration;

/// How much longer than its 200 ms a request may take that waited for a decision in vain.
const LATE: f64 = 1.15;
/// Questions in flight at most.
const QUESTIONS: f64 = 256.0;

/// 60 % of what the service can do is asked for throughout, beside public traffic. What is judged is the time from
/// three seconds after it is well again, and the public traffic and the refusals meanwhile.
pub fn silent_auth(contender: &dyn Contender, scale: Scale) -> Outcome {
    let mut arena = Arena::judged(contender, scale);
    let (hangs, heals) = (scale.before, scale.healed());
    let rate = 0.6 * arena.capacity;
    let run = arena.run(arena.clients(rate), hangs_until(hangs, heals));
    let part = Part::asked(&run, heals + Duration::from_secs(3).min(scale.after / 2), scale.end());
    let mut outcome = judge(("E9", "silent auth"), contender, &arena, &run, part);
    let main = run.report.stream("main");
    let first = main.between(hangs, hangs + (scale.during / 2).min(Duration::from_secs(1)));
    let (from, to) = scale.settled(hangs, heals);
    let trouble = main.between(from, to);
    (outcome.refused, outcome.refused_at_once) = (shed(&trouble), at_once(&trouble));
    let (goodput, refused, told) = (outcome.goodput, outcome.refused.n as f64, shed(&first).p99_ms);
    let outcome = match outcome.slots_held {
        Some(held) => outcome.at_most("questions in flight", held, QUESTIONS),
        None => outcome,
    };
    outcome
        .neighbour_is_well()
        .refuses_fast()
        .at_most("p99 of the first refusals, ms", told, 200.0 * LATE)
        .at_least("requests refused instead of kept waiting", refused, 1.0)
        .at_least("goodput after it is well again", goodput, 0.95)
        .recovers_within(3.0)
}
