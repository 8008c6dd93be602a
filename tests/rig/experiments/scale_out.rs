//! E12: twice what the fleet can do is asked for, and two more fleets of its size come.

use super::super::origin::knobs::{Knobs, Service};
use super::arena::Arena;
use super::judge::{Part, judge};
use super::outcome::Outcome;
use super::{Contender, Scale};

/// What is judged is the time after the new backends have come, and how soon 95 % are served.
pub fn scale_out(contender: &dyn Contender, scale: Scale) -> Outcome {
    let mut arena = Arena::open(contender, scale, false);
    let rate = 2.0 * arena.capacity;
    let run = arena.run(
        arena.clients(rate),
        vec![(
            scale.healed(),
            Box::new(|fleet, proxy| {
                for _ in 0..2 * scale.backends {
                    fleet.add(Knobs::new(scale.workers, Service::Constant(scale.service)));
                }
                proxy.stands_before(fleet.addresses());
            }),
        )],
    );
    let (from, to) = (scale.healed() + scale.after / 2, scale.end());
    let part = Part::asked(&run, from, to);
    let outcome = judge(("E12", "scale-out to three times"), contender, &arena, &run, part);
    let goodput = outcome.goodput;
    outcome
        .neighbour_is_well()
        .at_least("goodput with three times the backends", goodput, 0.95)
        .recovers_within(5.0)
}
