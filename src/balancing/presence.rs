//! Which backends of one upstream take part: their health and their ejections together, judged for the upstream as a
//! whole (`overload.md` 2(vi); `design.md`).
//!
//! - A backend that its checks take for dead is out, however many there are; one that is only slow, if no more than
//!   max(1, a tenth) are, because a fleet under load must not be taken apart by its own checks.
//! - At most `max_ejected` of the backends, rounded down, are ejected. What fails beyond that, or as the last one that
//!   is in, gets one request at a time; and once none is in, so do those whose time out is not over. Requests are never
//!   sprayed over backends that fail.
//! - An upstream of one backend has no ejection: there is nowhere else to go, and one broken page must not shed the
//!   rest.
//! - When the checks take *every* backend for dead, the checks are in doubt: a wrong path in the file must not end a
//!   service that works. Then traffic decides: each gets one request at a time, and a success brings it in.
//!
//! Pure: it is told the time, and what was seen.

use crate::balancing::outlier::{Cause, Outlier, Stay, Wish};
use crate::balancing::settings::Ejection;
use crate::balancing::shares::Presence;
use crate::upstream::checkup::Down;
use crate::upstream::vitals::Signs;
use std::time::{Duration, Instant};

/// Of the backends, one in so many may be out for slowness, and one always.
const SLOW_PART: usize = 10;

/// What is known of one backend beside its outcomes.
#[derive(Clone, Debug)]
pub struct Fact {
    /// It has an address.
    pub known: bool,
    /// What its checks found.
    pub down: Option<Down>,
}

/// One backend of an upstream.
#[derive(Debug)]
pub struct Member<'a> {
    /// What its outcomes say.
    pub outlier: &'a mut Outlier,
    /// What was counted.
    pub signs: Signs,
}

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was ejected, for so long.
    Ejected(Duration, Cause),
    /// It would have been ejected, but too many are; it gets one request at a time.
    Held(Cause),
    /// Its time out is over; it gets one request at a time.
    Tried,
    /// It is in again.
    Returned,
}

/// Judges the backends of one upstream, by what was counted since the last look. `doubted`: all fail their checks,
/// and did at the last look.
pub fn judge(
    members: &mut [Member<'_>],
    facts: &[Fact],
    doubted: &mut bool,
    settings: &Ejection,
    now: Instant,
) -> Vec<(usize, Change)> {
    let absent = absent(facts);
    doubt(members, facts, &absent, doubted, now);
    let gone: Vec<bool> = facts.iter().zip(&absent).map(|(fact, absent)| *absent || !fact.known).collect();
    let mut changes = Vec::new();
    for index in 0..members.len() {
        let Member { outlier, signs } = &mut members[index];
        let on_trial = outlier.stay() == Stay::Trial;
        let change = match outlier.look(now, signs, settings) {
            Some(Wish::Tried) => Some(Change::Tried),
            Some(Wish::Returned) => Some(Change::Returned),
            Some(Wish::Eject(cause)) => eject(members, index, cause, &gone, settings, now)
                // On trial it was already, and said so.
                .filter(|change| !on_trial || !matches!(change, Change::Held(_))),
            None => None,
        };
        changes.extend(change.map(|change| (index, change)));
    }
    if !(0..members.len()).any(|index| !gone[index] && members[index].outlier.stay() == Stay::In) {
        for (index, Member { outlier, signs }) in members.iter_mut().enumerate() {
            if !gone[index] && matches!(outlier.stay(), Stay::Ejected { .. }) {
                outlier.try_out(signs);
                changes.push((index, Change::Tried));
            }
        }
    }
    changes
}

/// How each backend takes part.
pub fn presences(stays: &[Stay], facts: &[Fact]) -> Vec<Presence> {
    let absent = absent(facts);
    let presence = |(index, stay): (usize, &Stay)| match stay {
        _ if absent[index] => Presence::Out,
        Stay::In => Presence::In,
        Stay::Ejected { .. } => Presence::Out,
        Stay::Trial => Presence::Probe,
    };
    stays.iter().enumerate().map(presence).collect()
}

/// Every backend that has an address is dead, by its checks.
pub fn all_dead(facts: &[Fact]) -> bool {
    let mut known = facts.iter().filter(|fact| fact.known).peekable();
    known.peek().is_some() && known.all(|fact| fact.down.as_ref().is_some_and(|down| !down.slow))
}

/// Who is out by its checks.
fn absent(facts: &[Fact]) -> Vec<bool> {
    if all_dead(facts) {
        return vec![false; facts.len()];
    }
    let slow = |fact: &Fact| fact.down.as_ref().filter(|down| down.slow).map(|down| down.since);
    let mut absent: Vec<bool> =
        facts.iter().map(|fact| fact.down.as_ref().is_some_and(|down| !down.slow)).collect();
    // Those that are out stay out, so that nobody comes and goes because another one is slower.
    let mut slowest: Vec<_> =
        facts.iter().enumerate().filter_map(|(index, fact)| Some((slow(fact)?, index))).collect();
    slowest.sort_unstable();
    let remains = (0..facts.len()).filter(|index| facts[*index].known && !absent[*index]).count();
    let most = (facts.len() / SLOW_PART).max(1).min(remains.saturating_sub(1));
    slowest.into_iter().take(most).for_each(|(_, index)| absent[index] = true);
    absent
}

/// At the beginning of the doubt all are on trial; at its end whoever is there for it alone is in.
fn doubt(members: &mut [Member<'_>], facts: &[Fact], absent: &[bool], doubted: &mut bool, now: Instant) {
    let before = std::mem::replace(doubted, all_dead(facts));
    for (index, Member { outlier, signs }) in members.iter_mut().enumerate() {
        match outlier.stay() {
            Stay::In if *doubted && !before => outlier.try_out(signs),
            Stay::Trial if !*doubted && !absent[index] && outlier.cause().is_none() => {
                outlier.bring_in(now, signs);
            }
            _ => {}
        }
    }
}

/// Ejects one, if that may be.
fn eject(
    members: &mut [Member<'_>],
    index: usize,
    cause: Cause,
    gone: &[bool],
    settings: &Ejection,
    now: Instant,
) -> Option<Change> {
    let is = |other: &Member<'_>, stay: fn(Stay) -> bool| stay(other.outlier.stay());
    let ejected =
        members.iter().filter(|other| is(other, |stay| matches!(stay, Stay::Ejected { .. }))).count();
    let most = (settings.max_ejected * members.len() as f64) as usize;
    let others = members.iter().enumerate().filter(|(other, _)| *other != index && !gone[*other]);
    let remain = others.filter(|(_, other)| is(other, |stay| stay == Stay::In)).count();
    let alone = members.len() == 1;
    let Member { outlier, signs } = &mut members[index];
    if alone && outlier.stay() == Stay::In {
        return None;
    }
    if ejected < most && remain > 0 {
        return Some(Change::Ejected(outlier.eject(now, cause, settings), cause));
    }
    outlier.hold(cause, signs);
    Some(Change::Held(cause))
}

#[cfg(test)]
mod tests;
