//! E2: every request takes the backends ten times as long, and holds their workers.

use super::arena::Arena;
use super::judge::{Part, judge};
use super::outcome::Outcome;
use super::{Contender, Scale};

/// How many times as long.
const SLOWER: f64 = 10.0;

/// 60 % of what the fleet could do while it was well is asked for throughout. What is judged is the slow time,
/// once it has settled, against what the slow fleet can do.
pub fn slow_upstream(contender: &dyn Contender, scale: Scale) -> Outcome {
    let mut arena = Arena::open(contender, scale, false);
    let clients = arena.clients(0.6 * arena.capacity);
    let run = arena.run(
        clients,
        vec![
            (scale.before, Box::new(|fleet, _| fleet.set_all(|knobs| knobs.slowdown = SLOWER))),
            (scale.healed(), Box::new(|fleet, _| fleet.set_all(|knobs| knobs.slowdown = 1.0))),
        ],
    );
    let (from, to) = scale.settled(scale.before, scale.healed());
    let part = Part { from, to, possible: arena.capacity / SLOWER };
    let outcome = judge(("E2", "upstream ten times slower"), contender, &arena, &run, part);
    let (goodput, p99) = (outcome.goodput, outcome.admitted.p99_ms);
    outcome
        .neighbour_is_well()
        .at_least("goodput of what the slow fleet can do", goodput, 0.90)
        .at_most(
            "p99 of the admitted, ms, against half of their patience",
            p99,
            scale.patience.as_millis() as f64 / 2.0,
        )
        .recovers_within(3.0)
}
