//! How backends' names resolve. A backend that is configured by its address has none of these: with thousands of them
//! it would be thousands of ones and zeros.

use super::{flag, one};
use crate::control::view::{GatewayView, LookupView};
use crate::telemetry::family::Family;

/// The families of all names, and of the lookups that they share.
pub(super) fn families(view: &GatewayView) -> Vec<Family> {
    let mut addresses = Family::gauge("tidegate_backend_addresses", "Addresses of a backend's name.");
    let mut unused = Family::gauge(
        "tidegate_backend_addresses_unused",
        "Addresses of a backend's name that are too many and not used.",
    );
    let mut failing = Family::gauge(
        "tidegate_backend_lookup_failing",
        "1 while a backend's name does not resolve, or not wholly; its addresses are then old.",
    );
    for upstream in &view.upstreams {
        for backend in &upstream.backends {
            let Some(LookupView { failure, unused: many, .. }) = &backend.lookup else { continue };
            let labels = [("upstream", upstream.name.as_str()), ("backend", backend.name.as_str())];
            addresses.set(&labels, backend.resolved.len() as f64);
            unused.set(&labels, *many as f64);
            failing.set(&labels, flag(failure.is_some()));
        }
    }
    let mut families = vec![addresses, unused, failing];
    families.extend(lookups(view));
    families
}

fn lookups(view: &GatewayView) -> [Family; 4] {
    let lookups = &view.lookups;
    let mut ended =
        Family::counter("tidegate_name_lookups_total", "Lookups of backends' names that ended, by outcome.");
    for (outcome, count) in
        [("found", lookups.found), ("missing", lookups.missing), ("failed", lookups.failed)]
    {
        ended.count(&[("outcome", outcome)], count);
    }
    [
        one(
            "tidegate_name_lookups_inflight",
            "Lookups of backends' names under way.",
            &[],
            f64::from(lookups.in_flight),
        ),
        one("tidegate_name_lookups_limit", "Lookups under way at most.", &[], f64::from(lookups.limit)),
        one(
            "tidegate_name_lookups_waiting",
            "Lookups that wait for another to end.",
            &[],
            f64::from(lookups.waiting),
        ),
        ended,
    ]
}
