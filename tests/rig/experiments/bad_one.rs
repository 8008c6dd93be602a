//! E5: one of the backends goes bad, and the others have room for its part.

use super::super::origin::knobs::{Fault, Knobs, Manner, Service};
use super::arena::Arena;
use super::judge::{Part, judge};
use super::outcome::Outcome;
use super::{Contender, Scale};
use std::time::Duration;

/// How it is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// (a) It answers 500 at once.
    FailsFast,
    /// (b) It takes ten times as long.
    Slow,
    /// (c) It answers no SYN.
    BlackHole,
    /// (d) It resets connections instead of answering.
    Resets,
}

/// How long a contender has to isolate it.
const NOTICED: Duration = Duration::from_secs(2);

impl Bad {
    fn name(self) -> (&'static str, &'static str) {
        match self {
            Bad::FailsFast => ("E5a", "one of the backends fails fast"),
            Bad::Slow => ("E5b", "one of the backends is ten times slower"),
            Bad::BlackHole => ("E5c", "one of the backends answers no SYN"),
            Bad::Resets => ("E5d", "one of the backends resets connections"),
        }
    }

    fn befall(self, knobs: &mut Knobs) {
        match self {
            // Failing takes it no time: that is what attracts.
            Bad::FailsFast => {
                (knobs.fault, knobs.slowdown) = (Some((1.0, Fault::Status(500))), 0.05);
            }
            Bad::Slow => knobs.slowdown = 10.0,
            Bad::BlackHole => knobs.manner = Manner::NoSyn,
            Bad::Resets => knobs.fault = Some((1.0, Fault::ResetsBeforeHead)),
        }
    }

    /// Errors that it may cost once it was noticed, of all.
    fn may_cost(self, backends: usize) -> f64 {
        if self == Bad::FailsFast { 0.5 / backends as f64 } else { 0.01 }
    }
}

/// Half of what the fleet can do is asked for throughout. What is judged is the trouble from two seconds on.
pub fn bad_one(contender: &dyn Contender, scale: Scale, bad: Bad) -> Outcome {
    let mut arena = Arena::open(contender, scale, false);
    let clients = arena.clients(0.5 * arena.capacity);
    let well = Knobs::new(scale.workers, Service::Constant(scale.service));
    let run = arena.run(
        clients,
        vec![
            (scale.before, Box::new(|fleet, _| fleet.set(0, |knobs| bad.befall(knobs)))),
            (scale.healed(), Box::new(|fleet, _| fleet.set(0, |knobs| *knobs = well.clone()))),
        ],
    );
    let before = run.report.stream("main").between(Duration::ZERO, scale.before).ok_ms(0.99);
    let part = Part::asked(&run, scale.before + NOTICED, scale.healed());
    let outcome = judge(bad.name(), contender, &arena, &run, part);
    let (lost, p99) = (1.0 - outcome.goodput, outcome.admitted.p99_ms);
    outcome
        .neighbour_is_well()
        .at_most("share of requests lost after two seconds", lost, bad.may_cost(scale.backends))
        .at_most("p99 of the good, ms, against 1.3 x before", p99, 1.3 * before)
        .recovers_within(3.0)
}
