//! What somebody wants of a lever, in bounds; and what they are told when it cannot be.

use crate::control::ramp::lever::{Due, Lever, Signature, Stuck, Target, Then};
use crate::control::words::check_reason;
use crate::routing::table::{Table, Upstream};
use crate::routing::trial::Tables;
use crate::runtime::clock::unix_ms;
use std::time::{Duration, Instant};

/// The longest time to a next step.
pub(super) const MAX_AFTER: Duration = Duration::from_secs(30 * 86_400);

/// What somebody wants of a ramp.
#[derive(Clone, Debug, PartialEq)]
pub struct RampOrder {
    /// 0 to 100.
    pub percent: f64,
    /// The next step, and how long until then.
    pub then: Option<(f64, Duration)>,
    /// In flight that the percentage is of, in place of what was learned: of the whole upstream, or of the backend.
    pub reference: Option<f64>,
    /// Why.
    pub reason: String,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The active version has no such upstream or backend.
    #[error("the active version has no {what} named {name:?}; it has {known}")]
    Unknown {
        /// `upstream` or `backend`.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A number or text outside its range.
    #[error("{0}")]
    Invalid(String),
    /// There is nothing to move so.
    #[error("{0}")]
    Conflict(String),
}

/// The lever that an order asks for, from now on.
pub(super) fn lever(order: RampOrder, by: &str) -> Result<Lever, Refusal> {
    let RampOrder { percent, then, reference, reason } = order;
    let is_percent = |percent: f64| (0.0..=100.0).contains(&percent);
    if !is_percent(percent) || then.is_some_and(|(percent, _)| !is_percent(percent)) {
        return Err(Refusal::Invalid("a ramp is a percentage from 0 to 100".to_owned()));
    }
    if then.is_some_and(|(_, after)| after < Duration::from_secs(1) || after > MAX_AFTER) {
        return Err(Refusal::Invalid("the time to the next step is 1 s to 30 days".to_owned()));
    }
    if reference.is_some_and(|reference| !is_reference(reference)) {
        return Err(Refusal::Invalid(
            "a reference is a number of requests in flight, above 0 and at most 1,000,000".to_owned(),
        ));
    }
    let then = then.map(|(percent, after)| Then { percent, after, due: Due::At(Instant::now() + after) });
    Ok(Lever { percent, then, reference, signature: sign(&reason, by)? })
}

/// A number of requests in flight that a percentage can be of.
pub(super) fn is_reference(reference: f64) -> bool {
    reference > 0.0 && reference <= 1e6
}

/// Who, why and when.
pub(super) fn sign(reason: &str, by: &str) -> Result<Signature, Refusal> {
    check_reason(reason).map_err(Refusal::Invalid)?;
    Ok(Signature { by: by.to_owned(), reason: reason.to_owned(), since_ms: unix_ms() })
}

/// Why a ramp does not move so.
pub(super) fn stuck(target: &Target, why: Stuck) -> Refusal {
    Refusal::Conflict(match why {
        Stuck::None => format!("{target} has no ramp"),
        Stuck::NoStep => {
            format!("the ramp of {target} has no next step whose clock could stand still or run")
        }
        Stuck::Paused => format!("the ramp of {target} is paused already"),
        Stuck::Running => format!("the ramp of {target} is not paused"),
    })
}

/// The upstream of a target, if the target exists in a table.
pub(super) fn known<'a>(table: &'a Table, target: &Target) -> Result<&'a Upstream, Refusal> {
    let upstream = table.upstreams.iter().find(|upstream| upstream.name == *target.upstream());
    let upstream = upstream.ok_or_else(|| Refusal::Unknown {
        what: "upstream",
        name: target.upstream().to_string(),
        known: list(table.upstreams.iter().map(|upstream| &*upstream.name)),
    })?;
    let backends = || upstream.cluster.groups.iter().map(|group| &group.settings.name);
    match target.backend() {
        Some(name) if !backends().any(|known| known == name) => Err(Refusal::Unknown {
            what: "backend",
            name: target.to_string(),
            known: list(backends().map(|name| &**name)),
        }),
        _ => Ok(upstream),
    }
}

/// The upstream of a target, if it exists in what serves: in the stable version, else in the candidate.
pub(super) fn known_in<'a>(tables: &'a Tables, target: &Target) -> Result<&'a Upstream, Refusal> {
    let candidate = || tables.candidate().and_then(|table| known(table, target).ok());
    known(&tables.stable, target).or_else(|why| candidate().ok_or(why))
}

/// Some names, for a sentence.
fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.take(20).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
