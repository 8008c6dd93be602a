//! E14: 90 % of what the fleet can do, no fault: nobody may be refused.

use super::arena::Arena;
use super::judge::{Part, judge};
use super::outcome::Outcome;
use super::{Contender, Scale};
use std::time::Duration;

/// What is judged is the whole run.
pub fn steady(contender: &dyn Contender, scale: Scale) -> Outcome {
    let mut arena = Arena::open(contender, scale, false);
    let rate = 0.9 * arena.capacity;
    let run = arena.run(arena.clients(rate), Vec::new());
    let whole = run.report.stream("main").whole();
    let part = Part::asked(&run, Duration::ZERO, scale.end());
    let outcome = judge(("E14", "steady at 90 %"), contender, &arena, &run, part);
    let goodput = outcome.goodput;
    outcome.neighbour_is_well().at_most("requests refused", whole.shed as f64, 0.0).at_least(
        "goodput of those who asked",
        goodput,
        1.0,
    )
}
