//! What a new version changes under a lever: told to whoever applied it, never decided in silence.
//!
//! Levers belong to names, so a ramp stays when an address changes behind the name, and waits when the name is
//! gone. Both can surprise; neither is refused, because a change must not depend on who has which lever in hand.

use crate::balancing::Group;
use crate::control::ramp::lever::{Levers, Target};
use crate::routing::table::{Table, Upstream};
use std::sync::Arc;

/// At once, in sentences.
const MOST_TOLD: usize = 20;

/// A sentence for each lever that means something else in `after` than in `before`, for the first of them if
/// there are many.
pub fn conflicts(levers: &Levers, before: &Table, after: &Table) -> Vec<String> {
    let sentences = all(levers).filter_map(|(target, lever)| conflict(&target, &lever, before, after));
    the_first(sentences, "levers mean something else in this version")
}

/// A sentence for each lever that acts on nothing in `table`, for the first of them if there are many.
pub fn dormant(levers: &Levers, table: &Table) -> Vec<String> {
    let gone = |target: &Target| find(table, target).is_none();
    let sentences = all(levers).filter(|(target, _)| gone(target)).map(|(target, lever)| {
        format!("{target} is {lever}, but the active version has no such name: it waits, or clear it")
    });
    the_first(sentences, "levers wait for a name that the active version does not have")
}

/// Ten thousand levers are nothing that a person reads, and `/readyz` is asked every second.
fn the_first(mut sentences: impl Iterator<Item = String>, what: &str) -> Vec<String> {
    let mut first: Vec<String> = sentences.by_ref().take(MOST_TOLD).collect();
    let more = sentences.count();
    first.extend((more > 0).then(|| format!("{more} more {what}")));
    first
}

/// Every lever as its target and words for it.
fn all(levers: &Levers) -> impl Iterator<Item = (Target, String)> {
    let ramps = levers
        .ramps()
        .map(|(target, lever)| (target.clone(), format!("at {} % by {}", lever.percent, lever.signature.by)));
    let drained = levers.drained().map(|((upstream, backend), signature)| {
        (Target::Backend(upstream.clone(), backend.clone()), format!("drained by {}", signature.by))
    });
    ramps.chain(drained)
}

fn conflict(target: &Target, lever: &str, before: &Table, after: &Table) -> Option<String> {
    let was = find(before, target);
    let Some((upstream, backend)) = find(after, target) else {
        return was.map(|_| {
            format!("{target} is {lever}, and this version has no such name: the lever waits for it")
        });
    };
    let Some((was_upstream, was_backend)) = was else {
        return Some(format!("{target} is back and is {lever}: the lever acts again"));
    };
    let changed = match (was_backend, backend) {
        (Some(was), Some(now)) => backend_change((was_upstream, was), (upstream, now)),
        _ => upstream_change(was_upstream, upstream),
    };
    changed.map(|what| format!("{target} is {lever}, and this version changes {what}: the lever stays"))
}

fn backend_change((before, was): (&Upstream, &Group), (after, now): (&Upstream, &Group)) -> Option<String> {
    if was.settings.address != now.settings.address {
        return Some(format!("its address from {} to {}", was.settings.address, now.settings.address));
    }
    let cap = |upstream: &Upstream| upstream.cluster.settings.max_in_flight_per_backend;
    if cap(before) != cap(after) {
        return Some(format!("its cap from {} to {}", cap(before), cap(after)));
    }
    let weights = (was.settings.weight, now.settings.weight);
    (weights.0 != weights.1).then(|| format!("its weight from {} to {}", weights.0, weights.1))
}

fn upstream_change(was: &Upstream, now: &Upstream) -> Option<String> {
    let backends = |upstream: &Upstream| -> Vec<_> {
        upstream
            .cluster
            .groups
            .iter()
            .map(|it| (it.settings.name.clone(), it.settings.address.clone()))
            .collect()
    };
    if backends(was) != backends(now) {
        return Some("its backends".to_owned());
    }
    let caps = (was.gate.max_in_flight, now.gate.max_in_flight);
    (caps.0 != caps.1).then(|| format!("its cap from {} to {}", caps.0, caps.1))
}

type FoundTarget<'a> = (&'a Upstream, Option<&'a Group>);

fn find<'a>(table: &'a Table, target: &Target) -> Option<FoundTarget<'a>> {
    let upstream = table.upstreams.iter().find(|upstream| upstream.name == *target.upstream())?;
    let of = |name: &Arc<str>| upstream.cluster.groups.iter().find(|group| group.settings.name == *name);
    match target.backend() {
        None => Some((upstream, None)),
        Some(name) => Some((upstream, Some(of(name)?))),
    }
}
