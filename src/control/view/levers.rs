//! Levers, as operators see them: ramps and drains, whoever or whatever set them.

use crate::control::steering::forecast::Forecast;
use serde::{Deserialize, Serialize};

/// A ramp or a drain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LeverView {
    /// `ramp`, `drain` or `automatic`.
    pub kind: String,
    /// The upstream's name.
    pub upstream: String,
    /// The backend's name, if it is one backend's.
    pub backend: Option<String>,
    /// 0 to 100.
    pub percent: f64,
    /// Its next step, if it has one.
    pub then: Option<ThenView>,
    /// Why it does not go up by itself, in a word, if it is one that does: `dwell`, `few_outcomes`, `no_success`,
    /// `failing`, `slow`, `away` or `paused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// In flight that the percentage is of, if the operator said so.
    pub reference: Option<f64>,
    /// Who set it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// What its upstream will shed now; nothing while the active version has no such upstream.
    pub forecast: Option<Forecast>,
}

impl LeverView {
    /// It does not get on although neither its time nor a person nor want of traffic holds it.
    pub fn is_stuck(&self) -> bool {
        matches!(self.held.as_deref(), Some("no_success" | "failing" | "slow" | "away"))
    }
}

/// A ramp's next step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThenView {
    /// The percentage that it goes to.
    pub percent: f64,
    /// How long until then.
    pub in_seconds: f64,
    /// The clock stands still.
    pub paused: bool,
}
