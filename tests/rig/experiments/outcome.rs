//! What came of an experiment: figures, and whether they reached their bars.
//!
//! Plain data, written and read as JSON; `judge` fills it in from a run.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One experiment with one contender.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// `E1` and so on.
    pub experiment: String,
    pub title: String,
    pub contender: String,
    pub setting: String,
    pub seed: u64,
    /// What the fleet could do a second while it was well, measured in this run.
    pub capacity: f64,
    /// Clients a second in the part that is judged.
    pub offered: f64,
    /// Good answers that were possible in the part that is judged.
    pub possible: f64,
    /// Good answers.
    pub good: u64,
    /// Good of possible.
    pub goodput: f64,
    pub admitted: Times,
    pub refused: Times,
    /// Those of the refused of whom the contender does not say that they waited for a place.
    pub refused_at_once: Times,
    pub control: Times,
    /// Control traffic without any other.
    pub control_alone: Times,
    /// Control traffic past the contender, at the same time.
    pub control_direct: Times,
    /// The share of control requests that were served, during the trouble.
    pub control_served: f64,
    /// From the end of the trouble until 95 % of those who ask are served; none if that never came.
    pub recovery_s: Option<f64>,
    /// The longest that the machine stood still for the rig itself: whatever is longer than a client's patience says
    /// nothing of the contender.
    #[serde(default)]
    pub stood_still_ms: f64,
    /// The most requests that the contender held for the upstream.
    pub slots_held: Option<f64>,
    pub slots_limit: Option<f64>,
    /// The sum of the most that each backend ever had in its hands.
    pub origin_peak: u64,
    /// Clients that left unserved in the part that is judged.
    pub timeouts: u64,
    /// Connections that broke in it, and answers that are neither good nor a refusal.
    pub errors: u64,
    /// Requests that the generator itself could not send: more than a few, and the run says nothing.
    pub skipped: u64,
    /// Reasons of refusals in the whole run.
    pub reasons: BTreeMap<String, u64>,
    /// Statuses of answers in the whole run.
    pub statuses: BTreeMap<u16, u64>,
    /// How connections broke in the whole run.
    pub broken: BTreeMap<String, u64>,
    pub checks: Vec<Check>,
    /// All checks were reached.
    pub passed: bool,
    /// The curve, in slices of time.
    pub curve: Vec<Point>,
}

/// Latencies in milliseconds, counted from when the request was due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    pub n: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// One figure against its bar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    pub what: String,
    pub seen: f64,
    pub bar: f64,
    pub reached: bool,
}

/// One slice of the curve; rates a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub at_s: f64,
    pub offered: f64,
    pub good: f64,
    pub refused: f64,
    pub failed: f64,
    pub admitted_p99_ms: f64,
}

impl Outcome {
    /// A figure that must not be above its bar.
    pub fn at_most(self, what: &str, seen: f64, bar: f64) -> Outcome {
        self.check(what, seen, bar, seen <= bar)
    }

    /// A figure that must not be below its bar.
    pub fn at_least(self, what: &str, seen: f64, bar: f64) -> Outcome {
        self.check(what, seen, bar, seen >= bar)
    }

    /// What every experiment asks: the neighbour is whole and as fast as alone, and the generator kept up.
    pub fn neighbour_is_well(self) -> Outcome {
        let alone = self.control_alone.p99_ms.max(self.control_direct.p99_ms);
        let (served, p99, skipped) = (self.control_served, self.control.p99_ms, self.skipped as f64);
        self.at_least("share of control requests served", served, 1.0)
            .at_most("control p99, ms, against 1.1 x alone", p99, 1.1 * alone)
            .at_most("requests that the generator skipped", skipped, 0.0)
    }

    /// A refusal that did not wait leaves in under 5 ms.
    pub fn refuses_fast(self) -> Outcome {
        let p99 = self.refused_at_once.p99_ms;
        self.at_most("p99 of the refusals that did not wait, ms", p99, 5.0)
    }

    /// Recovery within so many seconds.
    pub fn recovers_within(self, seconds: f64) -> Outcome {
        let seen = self.recovery_s.unwrap_or(f64::MAX);
        self.at_most("time to recover, s", seen, seconds)
    }

    fn check(mut self, what: &str, seen: f64, bar: f64, reached: bool) -> Outcome {
        self.passed &= reached;
        self.checks.push(Check { what: what.to_owned(), seen, bar, reached });
        self
    }
}
