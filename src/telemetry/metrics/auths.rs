//! What became of requests that an auth judged, and how long that took.

use crate::telemetry::cells::{Bounds, CoreId, Counter, Histogram, HistogramSum, PerCore};
use crate::telemetry::family::Family;
use std::collections::BTreeMap;
use std::sync::Arc;

/// For decisions: 0.5 ms to 10 s, finest around the default timeout of 200 ms.
const DECISION_BOUNDS: Bounds = {
    const MS: u64 = 1_000_000;
    [
        MS / 2,
        MS,
        2 * MS,
        5 * MS,
        10 * MS,
        20 * MS,
        50 * MS,
        100 * MS,
        150 * MS,
        200 * MS,
        250 * MS,
        500 * MS,
        1_000 * MS,
        10_000 * MS,
    ]
};

/// What became of a request that an auth judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AuthResult {
    /// It passed, by a decision made for it or for another like it at the same time.
    Allowed,
    /// It was refused, by a decision made now or kept.
    Denied,
    /// It passed, by a decision that was kept.
    Cached,
    /// It passed, by a decision that is no longer fresh, because there was no other.
    Stale,
    /// It passed unverified, because there was no decision.
    AllowedOnError,
    /// It was refused: no decision in time.
    Timeout,
    /// It was refused: no room for another question, or the service has been silent.
    Overload,
    /// It was refused: the service broke, or its answer decides nothing.
    Error,
}

impl AuthResult {
    /// All, in the order of their numbers.
    pub const ALL: [AuthResult; 8] = [
        AuthResult::Allowed,
        AuthResult::Denied,
        AuthResult::Cached,
        AuthResult::Stale,
        AuthResult::AllowedOnError,
        AuthResult::Timeout,
        AuthResult::Overload,
        AuthResult::Error,
    ];

    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            AuthResult::Allowed => "allowed",
            AuthResult::Denied => "denied",
            AuthResult::Cached => "cached",
            AuthResult::Stale => "stale",
            AuthResult::AllowedOnError => "allowed_on_error",
            AuthResult::Timeout => "timeout",
            AuthResult::Overload => "overload",
            AuthResult::Error => "error",
        }
    }
}

/// One auth's requests.
#[derive(Debug)]
pub struct AuthMetrics {
    /// Its name.
    pub name: Arc<str>,
    cells: PerCore<AuthCells>,
}

#[derive(Debug, Default)]
struct AuthCells {
    results: [Counter; AuthResult::ALL.len()],
    duration: Histogram,
}

impl AuthMetrics {
    pub(super) fn new(name: Arc<str>, cores: usize) -> Self {
        AuthMetrics { name, cells: PerCore::new(cores) }
    }

    /// One request was judged; with the nanoseconds that it waited, unless the decision was there already.
    pub fn judged(&self, core: CoreId, result: AuthResult, waited_ns: Option<u64>) {
        let Some(cells) = self.cells.of(core) else { return };
        cells.results[result as usize].add(1);
        if let Some(ns) = waited_ns {
            cells.duration.record(&DECISION_BOUNDS, ns);
        }
    }

    /// Requests judged so, over all cores.
    pub fn results(&self, result: AuthResult) -> u64 {
        self.cells.sum(|cells| cells.results[result as usize].get())
    }

    fn duration(&self) -> HistogramSum {
        let mut sum = HistogramSum::default();
        self.cells.iter().for_each(|cells| sum.add(&cells.duration));
        sum
    }
}

/// The families of all auths.
pub(super) fn families(auths: &BTreeMap<Arc<str>, Arc<AuthMetrics>>) -> Vec<Family> {
    let mut requests = Family::counter(
        "tidegate_auth_requests_total",
        "Requests that an auth judged, by what became of them; cached are those that passed by a kept decision.",
    );
    let mut duration = Family::histogram(
        "tidegate_auth_duration_seconds",
        "From the wish for a decision to the decision, or to doing without; kept decisions are not timed.",
    );
    for auth in auths.values() {
        let name = ("auth", &*auth.name);
        for result in AuthResult::ALL {
            requests.count(&[name, ("result", result.as_str())], auth.results(result));
        }
        duration.observe(&[name], &DECISION_BOUNDS, &auth.duration());
    }
    vec![requests, duration]
}
