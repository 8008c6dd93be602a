//! What happened in the last seconds, as operators see it: rates, latencies, and since when something is wrong.

use serde::{Deserialize, Serialize};

/// The last seconds of an upstream or of the process; nothing where they are not known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LatelyView {
    /// That ended, shed ones included.
    pub requests_per_second: Option<f64>,
    /// That were shed.
    pub shed_per_second: Option<f64>,
    /// Half of the answers took no longer, from the request's head to the last byte; sheds left out.
    pub latency_p50_seconds: Option<f64>,
    /// It was that at least: nobody knows how much more.
    pub latency_p50_at_least: bool,
    /// 99 % of the answers took no longer.
    pub latency_p99_seconds: Option<f64>,
    /// It was that at least.
    pub latency_p99_at_least: bool,
    /// For how long it sheds, short pauses included; nothing if it does not.
    pub shedding_seconds: Option<f64>,
    /// For how long it has answered nothing although it holds requests, once that is longer than it usually takes.
    pub silent_seconds: Option<f64>,
    /// Kinds of sheds, the most frequent first; of the process: those of no upstream.
    pub sheds: Vec<ShedView>,
}

/// Sheds of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShedView {
    /// Of which class.
    pub class: String,
    /// For which reason.
    pub reason: String,
    /// How many.
    pub per_second: f64,
}
