//! E8: the name server of every backend's name says nothing, then that there is no such name, then that it has no
//! address.

use super::super::name_server::{Manner, NameServer};
use super::arena::Arena;
use super::judge::{Part, judge};
use super::outcome::Outcome;
use super::{Contender, Scale};
use std::net::Ipv4Addr;

/// Lookups under way at most.
const LOOKUPS: f64 = 16.0;

/// 60 % of what the fleet can do is asked for. What is judged is that nobody notices: those who have an address are
/// served all the time. The trouble should be some times longer than names are kept without being asked for (5 s).
pub fn name_server_outage(contender: &dyn Contender, scale: Scale) -> Outcome {
    let server = NameServer::start(Manner::Says(vec![Ipv4Addr::LOCALHOST]));
    let mut arena = Arena::open_by_name(contender, scale, server.address());
    let third = scale.during / 3;
    let turn = |at, manner| -> super::arena::Act<'_> {
        let server = &server;
        (at, Box::new(move |_, _| server.behaves("", manner)))
    };
    let asked = server.asked("");
    let run = arena.run(
        arena.clients(0.6 * arena.capacity),
        vec![
            turn(scale.before, Manner::Silent),
            turn(scale.before + third, Manner::NoSuchName),
            turn(scale.before + 2 * third, Manner::Empty),
            turn(scale.healed(), Manner::Says(vec![Ipv4Addr::LOCALHOST])),
        ],
    );
    let part = Part::asked(&run, scale.before, scale.end());
    let outcome = judge(("E8", "name server outage"), contender, &arena, &run, part);
    let (goodput, errors) = (outcome.goodput, outcome.errors as f64 + outcome.refused.n as f64);
    let again = (server.asked("") - asked) as f64;
    let outcome = outcome
        .neighbour_is_well()
        .at_least("goodput of those who asked", goodput, 1.0)
        .at_most("errors and refusals at backends that have addresses", errors, 0.0)
        .at_least("questions during the run", again, 1.0);
    match arena.proxy.lookups() {
        Some(most) => outcome.at_most("lookups under way", most, LOOKUPS),
        None => outcome,
    }
}
