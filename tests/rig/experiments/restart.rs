//! E6, E7, E7b: backends that restart cold: one of them, all of them at once, and one that fails again under load.

use super::super::origin::knobs::{Cold, Knobs};
use super::arena::{Act, Arena};
use super::judge::{Part, judge};
use super::outcome::Outcome;
use super::{Contender, Scale};
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// What is asked for, of what the fleet can do.
const ASKED: f64 = 0.7;
/// Until its cache is filled everything takes three times as long.
const COLD: Cold = Cold { requests: 60, factor: 3.0 };
/// So long at least before the restart: a reference is learned, and a boot id is trusted.
const KNOWN: Duration = Duration::from_secs(7);
/// Between two looks at what a ramp leaves.
const LOOK: Duration = Duration::from_millis(250);
/// Of a ramp, in percent.
const STEPS: [f64; 3] = [25.0, 50.0, 75.0];

/// What was seen at one look.
struct Look {
    at: Instant,
    /// What the ramp of each backend that is watched left, in percent: of the first ones.
    left: Vec<f64>,
    /// What each backend had been sent by then.
    totals: Vec<u64>,
}

type Looks = RefCell<Vec<Look>>;

/// Long enough before.
fn known(scale: Scale) -> Scale {
    Scale { before: scale.before.max(KNOWN), ..scale }
}

/// A new process, with nothing in its cache.
fn restarted(knobs: &mut Knobs) {
    knobs.boot = "2".to_owned();
    knobs.cold = Some(COLD);
}

/// Looks from the restart to the end, at the ramps of the first `watched` backends.
fn looks<'a>(scale: &Scale, watched: usize, seen: &'a Looks) -> Vec<Act<'a>> {
    let many = (scale.end() - scale.before).as_millis() / LOOK.as_millis();
    let at = |n: u128| scale.before + LOOK * (n as u32 + 1);
    let look = |at: Duration| -> Act<'a> {
        (
            at,
            Box::new(move |fleet, proxy| {
                let totals = (0..fleet.addresses().len()).map(|it| fleet.seen(it).total).collect();
                let left = (0..watched).map(|it| proxy.percent(it).unwrap_or(100.0)).collect();
                seen.borrow_mut().push(Look { at: Instant::now(), left, totals });
            }),
        )
    };
    (0..many).map(at).filter(|at| *at < scale.end()).map(look).collect()
}

/// E6. One backend restarts cold. What is judged is everything after: nobody fails for it, the others are as fast as
/// before, and while it is at a quarter it gets about a quarter of what a peer gets.
pub fn one_restarts(contender: &dyn Contender, scale: Scale) -> Outcome {
    let scale = known(scale);
    let mut arena = Arena::open(contender, scale, false);
    let (clients, seen) = (arena.clients(ASKED * arena.capacity), Looks::default());
    let mut acts = looks(&scale, 1, &seen);
    acts.push((scale.before, Box::new(|fleet, _| fleet.set(0, restarted))));
    let run = arena.run(clients, acts);
    let part = Part::asked(&run, scale.before, scale.end());
    let calm = run.report.stream("main").between(scale.before / 2, scale.before);
    let outcome = judge(("E6", "one backend restarts cold"), contender, &arena, &run, part);
    let failed = (outcome.timeouts + outcome.errors + outcome.refused.n) as f64;
    let (asked, p99) = (outcome.possible, outcome.admitted.p99_ms);
    let shares = STEPS.map(|step| (step, share_at(&seen.borrow(), step)));
    let outcome = shares.iter().fold(outcome, |outcome, (step, share)| {
        let off = share.map_or(f64::MAX, |share| (share / (step / 100.0) - 1.0).abs());
        outcome.at_most(&format!("what it got at {step} %, off that of what a peer got"), off, 0.2)
    });
    let share = shares[0].1;
    outcome
        .neighbour_is_well()
        .at_most("requests that failed or were refused, of those asked", failed / asked.max(1.0), 0.001)
        .at_most("p99 of the admitted, ms, against 1.5 x before", p99, 1.5 * calm.ok_ms(0.99))
        .at_most("its share of what a peer got, while it was at 25 %", share.unwrap_or(1.0), 0.45)
}

/// What the first backend got, relative to a peer, between the first and the last look at which it was at `percent`.
fn share_at(looks: &[Look], percent: f64) -> Option<f64> {
    let at: Vec<_> = looks.iter().filter(|look| (look.left[0] - percent).abs() < 1e-9).collect();
    let (first, last) = (&at.first()?.totals, &at.last()?.totals);
    let got: Vec<u64> = last.iter().zip(first).map(|(last, first)| last - first).collect();
    let peers = got.get(1..)?;
    let peer = peers.iter().sum::<u64>() as f64 / peers.len().max(1) as f64;
    (peer > 0.0).then(|| got[0] as f64 / peer)
}

/// What was let in while the ramps left about so much, for each of `STEPS` in its order: the percentage, and the requests
/// relative to what was left of `reference`, the requests a second before.
fn let_in_at_steps(looks: &[Look], reference: f64) -> Vec<(f64, f64)> {
    let mut steps = STEPS.map(|step| (step, 0.0, 0.0));
    for pair in looks.windows(2) {
        let (from, to) = (&pair[0], &pair[1]);
        let left = from.left.iter().sum::<f64>() / from.left.len().max(1) as f64;
        let Some(step) = steps.iter_mut().rev().find(|(step, ..)| *step <= left && left < 100.0) else {
            continue;
        };
        let sent = |look: &Look| look.totals.iter().sum::<u64>();
        step.1 += (sent(to) - sent(from)) as f64;
        step.2 += left / 100.0 * reference * (to.at - from.at).as_secs_f64();
    }
    let seen = |(step, sent, most): (f64, f64, f64)| (most > 0.0).then(|| (step, sent / most));
    steps.into_iter().filter_map(seen).collect()
}

/// E7. All backends restart cold at once. What is judged is what was let in while they came back, and how soon
/// everybody is served again.
pub fn fleet_restarts(contender: &dyn Contender, scale: Scale) -> Outcome {
    let scale = known(scale);
    let mut arena = Arena::open(contender, scale, false);
    let (clients, seen) = (arena.clients(ASKED * arena.capacity), Looks::default());
    let mut acts = looks(&scale, scale.backends, &seen);
    acts.push((
        scale.before,
        Box::new(|fleet, _| {
            fleet.set_all(restarted);
            fleet.forget_peaks();
        }),
    ));
    let run = arena.run(clients, acts);
    let part = Part::asked(&run, scale.healed(), scale.end());
    let outcome = judge(("E7", "the whole fleet restarts cold"), contender, &arena, &run, part);
    let least = seen.borrow().iter().flat_map(|look| look.left.clone()).fold(100.0, f64::min);
    let calm = run.report.stream("main").between(scale.before / 2, scale.before);
    let reference = calm.ok as f64 / (scale.before - scale.before / 2).as_secs_f64();
    let steps = let_in_at_steps(&seen.borrow(), reference);
    let (timeouts, goodput) = (outcome.timeouts as f64, outcome.goodput);
    let outcome = steps.iter().fold(outcome, |outcome, (step, part)| {
        let what = |bound: &str| format!("let in at {step} %, of what that leaves, at {bound}");
        outcome.at_least(&what("least"), *part, 0.8).at_most(&what("most"), *part, 1.0)
    });
    outcome
        .neighbour_is_well()
        .at_most("the least that the ramp left, percent", least, 25.0)
        .at_most("clients that left unserved after it", timeouts, 0.0)
        .at_least("goodput after it, of those who asked", goodput, 0.99)
        .recovers_within(30.0)
}

/// E7b. One backend restarts and leaks: with more than `most` in its hands it fails. What is judged is how long it was
/// left more than half at a time, and that it was taken back.
pub fn fails_after_restart(contender: &dyn Contender, scale: Scale, most: u64) -> Outcome {
    let scale = known(scale);
    let mut arena = Arena::open(contender, scale, false);
    let (clients, seen) = (arena.clients(ASKED * arena.capacity), Looks::default());
    let mut acts = looks(&scale, scale.backends, &seen);
    acts.push((
        scale.before,
        Box::new(move |fleet, _| {
            fleet.set_all(|knobs| {
                restarted(knobs);
                knobs.leaks_above = Some(most);
            });
        }),
    ));
    let run = arena.run(clients, acts);
    let part = Part::asked(&run, scale.before, scale.end());
    let outcome = judge(("E7b", "it fails again under load"), contender, &arena, &run, part);
    // It fails everywhere: whichever backend was the first to be taken back.
    let (mut above, mut backs) = (0, 0);
    for backend in 0..scale.backends {
        let left: Vec<f64> = seen.borrow().iter().map(|look| look.left[backend]).collect();
        let since = left.iter().position(|left| *left < 100.0).unwrap_or(0);
        above = left[since..].split(|left| *left <= 50.0).map(<[f64]>::len).max().unwrap_or(0).max(above);
        backs += left.windows(2).filter(|pair| pair[1] < pair[0]).count();
    }
    outcome
        .neighbour_is_well()
        .at_most("the longest that it was left more than half, s", above as f64 * LOOK.as_secs_f64(), 2.5)
        .at_least("times that it was taken back", backs as f64, 2.0)
}
