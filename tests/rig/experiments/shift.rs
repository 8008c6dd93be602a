//! E11: answers take 180 ms longer on their way, and the fleet can do as much as before.

use super::arena::Arena;
use super::judge::{Part, judge};
use super::outcome::Outcome;
use super::{Contender, Scale};
use std::time::Duration;

/// 60 % of what the fleet can do is asked for throughout. A limiter that takes latency for overload makes an
/// outage of this. What is judged is the whole time with more latency.
pub fn latency_shift(contender: &dyn Contender, scale: Scale) -> Outcome {
    let mut arena = Arena::open(contender, scale, false);
    let rate = 0.6 * arena.capacity;
    let more = Duration::from_millis(180);
    let run = arena.run(
        arena.clients(rate),
        vec![
            (scale.before, Box::new(move |fleet, _| fleet.set_all(|knobs| knobs.latency = more))),
            (scale.healed(), Box::new(|fleet, _| fleet.set_all(|knobs| knobs.latency = Duration::ZERO))),
        ],
    );
    let (from, to) = (scale.before, scale.healed());
    let main = run.report.stream("main");
    let part = Part::asked(&run, from, to);
    let outcome = judge(("E11", "latency shift"), contender, &arena, &run, part);
    let split = (from + Duration::from_secs(10)).min(to);
    let share = |from, to| {
        let row = main.between(from, to);
        row.ok as f64 / row.clients.max(1) as f64
    };
    let outcome = outcome.neighbour_is_well().at_least("goodput of the first 10 s", share(from, split), 0.80);
    if split < to { outcome.at_least("goodput after 10 s", share(split, to), 0.99) } else { outcome }
}
