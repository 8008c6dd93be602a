//! E15: every second client leaves at a random point; nothing may leak.

use super::arena::Arena;
use super::judge::{Part, judge};
use super::outcome::Outcome;
use super::{Contender, Scale};

/// 60 % of what the fleet can do is asked for. What is judged is that those who stay are served, and that
/// nothing is held when all have gone.
pub fn aborts(contender: &dyn Contender, scale: Scale) -> Outcome {
    let mut arena = Arena::open(contender, scale, false);
    let rate = 0.6 * arena.capacity;
    let clients = arena.clients(rate).aborts(0.5, 2 * scale.service);
    let run = arena.run(clients, Vec::new());
    let rests = arena.comes_to_rest();
    let (from, to) = (scale.before, scale.end());
    let part = Part::asked(&run, from, to);
    let outcome = judge(("E15", "clients that leave"), contender, &arena, &run, part);
    let goodput = outcome.goodput;
    outcome.neighbour_is_well().at_least("goodput of those who stayed", goodput, 0.99).at_least(
        "everything returned to zero",
        f64::from(u8::from(rests)),
        1.0,
    )
}
