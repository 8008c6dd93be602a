//! E3: many times as many clients as the fleet can serve, from one moment to the next.

use super::arena::Arena;
use super::judge::{Part, judge};
use super::outcome::Outcome;
use super::{Contender, Scale};

/// Half of what the fleet can do is asked for, then `multiple` times what it can do, then half again. What is
/// judged is the crowd, against what the fleet can do. Goodput of 95 % is the bar up to five times, then 90 %.
pub fn flash_crowd(contender: &dyn Contender, scale: Scale, multiple: f64) -> Outcome {
    let mut arena = Arena::open(contender, scale, false);
    let usual = arena.capacity / 2.0;
    let clients = arena.clients(usual);
    let clients = clients.then(scale.before, multiple * arena.capacity).then(scale.healed(), usual);
    let run = arena.run(clients, Vec::new());
    let part = Part { from: scale.before, to: scale.healed(), possible: arena.capacity };
    let title = format!("flash crowd, {multiple} times");
    let outcome = judge(("E3", &title), contender, &arena, &run, part);
    let (goodput, p99) = (outcome.goodput, outcome.admitted.p99_ms);
    outcome
        .neighbour_is_well()
        .at_least("goodput", goodput, if multiple <= 5.0 { 0.95 } else { 0.90 })
        .at_most("p99 of the admitted, ms", p99, 250.0)
        .refuses_fast()
        .recovers_within(3.0)
}
