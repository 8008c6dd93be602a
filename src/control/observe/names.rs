//! A backend whose name has several addresses, as operators see it: one entry under its name, its addresses in it.

use crate::balancing::Group;
use crate::control::view::{BackendView, LookupView, LookupsView, ReferenceView};
use crate::upstream::discovery::directory::Lookups;
use crate::upstream::discovery::{AddressSet, MAX_LOOKUPS};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// One configured backend, from the views of its addresses.
pub(super) fn together(group: &Group, mut members: Vec<BackendView>) -> BackendView {
    let lookup = group.names.as_ref().map(|names| lookup(names, Instant::now()));
    let stale = lookup.as_ref().and_then(stale);
    let is_one = members.len() == 1 && members[0].address == group.settings.address.to_string();
    if is_one && let Some(one) = members.pop() {
        return BackendView { lookup, ..one };
    }
    let state = state(&members, stale);
    let sum = |count: fn(&BackendView) -> u32| members.iter().map(count).fold(0, u32::saturating_add);
    let all = f64::from(sum(|it| it.weight).max(1));
    let weighed = |value: fn(&BackendView) -> f64| {
        members.iter().map(|it| value(it) * f64::from(it.weight)).sum::<f64>() / all
    };
    let times: Vec<f64> = members.iter().filter_map(|it| it.ewma_ms).collect();
    let first = members.first().cloned().unwrap_or_default();
    BackendView {
        name: group.settings.name.to_string(),
        address: group.settings.address.to_string(),
        resolved: members.iter().map(|it| it.address.clone()).collect(),
        up: members.iter().any(|it| it.up),
        state,
        weight: group.settings.weight.get(),
        in_flight: sum(|it| it.in_flight),
        cap: sum(|it| it.cap),
        max_in_flight: sum(|it| it.max_in_flight),
        streams: sum(|it| it.streams),
        max_streams: sum(|it| it.max_streams),
        connecting: sum(|it| it.connecting),
        ewma_ms: (!times.is_empty()).then(|| times.iter().sum::<f64>() / times.len() as f64),
        ramp_percent: weighed(|it| it.ramp_percent),
        reference: reference(&members),
        lookup,
        came_seconds: None,
        addresses: members,
        // What belongs to the name is the same for all of its addresses.
        ..first
    }
}

/// How all lookups go.
pub(super) fn lookups(lookups: &Lookups) -> LookupsView {
    LookupsView {
        in_flight: lookups.in_flight.load(Relaxed),
        limit: MAX_LOOKUPS as u32,
        waiting: lookups.waiting.load(Relaxed),
        found: lookups.found.load(Relaxed),
        missing: lookups.missing.load(Relaxed),
        failed: lookups.failed.load(Relaxed),
    }
}

fn lookup(names: &AddressSet, now: Instant) -> LookupView {
    let looked = names.looked();
    LookupView {
        failure: looked.failure.as_ref().map(ToString::to_string),
        failing_seconds: looked.since.map(|since| now.saturating_duration_since(since).as_secs_f64().round()),
        dropped_in_seconds: looked
            .gives_up_at
            .map(|at| at.saturating_duration_since(now).as_secs_f64().round()),
        unused: looked.unused,
    }
}

/// Why the addresses may be old.
fn stale(lookup: &LookupView) -> Option<String> {
    let failure = lookup.failure.as_ref()?;
    let since = lookup.failing_seconds.unwrap_or_default();
    let until = lookup.dropped_in_seconds.map(|time| format!(", dropped in {time} s")).unwrap_or_default();
    Some(format!("old addresses{until}, for {since} s: {failure}"))
}

/// `ready` when all are; else how many are, and what the first other one has.
fn state(members: &[BackendView], stale: Option<String>) -> String {
    let ready = members.iter().filter(|it| it.state == "ready").count();
    let other = members.iter().find(|it| it.state != "ready");
    let all_alike = members.iter().all(|it| other.is_some_and(|other| it.state == other.state));
    let draining = |it: &BackendView| it.state == "draining" || it.state == "drained";
    let state = match other {
        None => "ready".to_owned(),
        Some(_) if members.iter().all(draining) && !all_alike => "draining".to_owned(),
        Some(other) if all_alike => other.state.clone(),
        Some(other) => format!("{ready} of {} ready; {}: {}", members.len(), other.address, other.state),
    };
    match stale {
        Some(stale) => format!("{state}; {stale}"),
        None => state,
    }
}

/// Together; from the worst of their sources, as old as the oldest.
fn reference(members: &[BackendView]) -> ReferenceView {
    // The best first, as the API says.
    let sources = ["operator", "learned", "first_seconds", "peers", "cap"];
    let rank = |source: &str| sources.iter().position(|known| *known == source);
    let rates: Option<Vec<f64>> = members.iter().map(|it| it.reference.requests_per_second).collect();
    let hundredths = |value: f64| (value * 100.0).round() / 100.0;
    ReferenceView {
        in_flight: hundredths(members.iter().map(|it| it.reference.in_flight).sum()),
        requests_per_second: rates.map(|rates| hundredths(rates.iter().sum())),
        source: members
            .iter()
            .map(|it| it.reference.source.as_str())
            .max_by_key(|source| rank(source))
            .unwrap_or_default()
            .to_owned(),
        age_seconds: members.iter().filter_map(|it| it.reference.age_seconds).reduce(f64::max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(address: &str, state: &str) -> BackendView {
        BackendView { address: address.to_owned(), state: state.to_owned(), ..BackendView::default() }
    }

    #[test]
    fn the_state_of_a_name_says_which_address_is_not_well_and_that_all_are_old() {
        let well = [member("10.0.0.1:80", "ready"), member("10.0.0.2:80", "ready")];
        assert_eq!(state(&well, None), "ready");
        let lookup = LookupView {
            failure: Some("no answer within 2s".to_owned()),
            failing_seconds: Some(40.0),
            ..LookupView::default()
        };
        assert_eq!(state(&well, stale(&lookup)), "ready; old addresses, for 40 s: no answer within 2s");
        let sick = [member("10.0.0.1:80", "ready"), member("10.0.0.2:80", "ejected")];
        assert_eq!(state(&sick, None), "1 of 2 ready; 10.0.0.2:80: ejected");
        let drained = [member("10.0.0.1:80", "drained"), member("10.0.0.2:80", "drained")];
        assert_eq!(state(&drained, None), "drained");
        let draining = [member("10.0.0.1:80", "drained"), member("10.0.0.2:80", "draining")];
        assert_eq!(state(&draining, None), "draining");
    }

    #[test]
    fn the_reference_of_a_name_is_as_good_as_the_worst_of_its_addresses() {
        let with = |in_flight, source: &str, age| {
            let source = source.to_owned();
            let reference = ReferenceView { in_flight, requests_per_second: None, source, age_seconds: age };
            BackendView { reference, ..BackendView::default() }
        };
        let both = reference(&[with(1.5, "learned", Some(7.0)), with(2.5, "peers", None)]);
        assert_eq!((both.in_flight, both.source.as_str(), both.age_seconds), (4.0, "peers", Some(7.0)));
    }
}
