//! E4: the fleet loses three quarters of what it can do for a moment, and every client asks again and again.

use super::super::load::stream::Retries;
use super::arena::Arena;
use super::judge::{Part, judge};
use super::outcome::Outcome;
use super::{Contender, Scale};
use std::time::Duration;

/// 80 % of what the fleet can do is asked for. The question is whether the storm feeds itself after the fleet is
/// well again: what is judged is the last half of the time after.
pub fn retry_storm(contender: &dyn Contender, scale: Scale) -> Outcome {
    let mut arena = Arena::open(contender, scale, false);
    let rate = 0.8 * arena.capacity;
    let retries = Retries { max: 3, wait: Duration::from_millis(200), at_once: 4_000 };
    let clients = arena.clients(rate).retries(retries);
    let run = arena.run(
        clients,
        vec![
            (scale.before, Box::new(|fleet, _| fleet.set_all(|knobs| knobs.slowdown = 4.0))),
            (scale.healed(), Box::new(|fleet, _| fleet.set_all(|knobs| knobs.slowdown = 1.0))),
        ],
    );
    let (from, to) = (scale.healed() + scale.after / 2, scale.end());
    let late = run.report.stream("main").between(from, to);
    let part = Part::asked(&run, from, to);
    let outcome = judge(("E4", "retry storm"), contender, &arena, &run, part);
    let goodput = outcome.goodput;
    let amplification = late.tries() as f64 / late.clients.max(1) as f64;
    outcome
        .neighbour_is_well()
        .at_least("goodput after the storm, of those who asked", goodput, 0.99)
        .at_most("tries for each client after the storm", amplification, 1.05)
        .recovers_within(5.0)
}
