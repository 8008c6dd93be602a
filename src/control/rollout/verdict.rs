//! What the guard found, with the numbers it was found by, as a sentence for whoever is on call.

use crate::control::rollout::counts::Counts;
use crate::control::rollout::progress::SideView;
use crate::telemetry::tally::Failure;
use serde::Serialize;
use std::fmt;

/// A finding.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Nothing: all routes together.
    pub route: Option<String>,
    /// What was found.
    pub finding: Finding,
    /// The failure that is most of it: `gateway`, `backend`, `shed`, `auth`, `overdue`.
    pub kind: Option<&'static str>,
    /// The new version, over the time that was judged.
    pub candidate: SideView,
    /// The old one over the same time, where it served the route.
    pub stable: Option<SideView>,
    /// The five minutes before the rollout, where they are known.
    pub before: Option<SideView>,
}

/// What was found. Parts are 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Finding {
    /// Nothing succeeds with the candidate.
    Wholly {
        /// In a row.
        failures: u64,
    },
    /// More fails than beside the stable version.
    Failing {
        /// The lower 99 % bound of the difference, corrected for routes and looks.
        bound: f64,
        /// What may be.
        bar: f64,
    },
    /// More fails than may on a route that only the candidate has.
    FailingNew {
        /// The lower 99 % bound of its failed part, corrected for routes and looks.
        bound: f64,
        /// What may be.
        bar: f64,
    },
    /// More seems to fail than may; chance could still do it.
    Unsure {
        /// What may be beyond the stable version; on a route that only the candidate has, at all.
        bar: f64,
    },
    /// More fails than before the rollout, without a stable version beside it that tells why.
    FailingBefore {
        /// The lower bound of the failed part.
        bound: f64,
        /// What may be: what failed before, and the policy's increase.
        bar: f64,
        /// For so long.
        lasted_seconds: f64,
    },
    /// Answers take longer than with the stable version, or than before.
    Slow {
        /// 90 % of the answers take at most so long.
        own_p90_ms: f64,
        /// And those it is compared with.
        other_p90_ms: f64,
        /// The policy's ratio.
        max_ratio: f64,
        /// It is compared with the five minutes before.
        before: bool,
    },
}

impl Finding {
    /// The larger, the graver.
    pub const fn weight(&self) -> u8 {
        match self {
            Finding::Unsure { .. } => 0,
            Finding::Slow { .. } => 1,
            Finding::FailingBefore { .. } => 2,
            Finding::Failing { .. } | Finding::FailingNew { .. } => 3,
            Finding::Wholly { .. } => 4,
        }
    }
}

impl Verdict {
    /// With these numbers.
    pub fn new(route: Option<&str>, finding: Finding, kind: Option<Failure>, candidate: Counts) -> Self {
        Verdict {
            route: route.map(str::to_owned),
            finding,
            kind: kind.map(Failure::as_str),
            candidate: candidate.into(),
            stable: None,
            before: None,
        }
    }

    /// Beside what the stable version did over the same time.
    pub fn beside(mut self, stable: Counts) -> Self {
        self.stable = (stable.requests > 0).then(|| stable.into());
        self
    }

    /// After what was before the rollout.
    pub fn after(mut self, before: Option<Counts>) -> Self {
        self.before = before.filter(|before| before.requests > 0).map(SideView::from);
        self
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.route {
            Some(route) => write!(f, "on route {route} ")?,
            None => f.write_str("on all routes together ")?,
        }
        self.numbers(f)?;
        self.bars(f)
    }
}

impl Verdict {
    fn numbers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Finding::Slow { own_p90_ms, other_p90_ms, before, .. } = self.finding {
            let other = if before { "before the rollout" } else { "with the stable version" };
            return write!(
                f,
                "90 % of answers take up to {own_p90_ms:.0} ms, and {other_p90_ms:.0} ms {other}"
            );
        }
        let whose =
            if matches!(self.finding, Finding::FailingBefore { .. }) { "all" } else { "the candidate's" };
        write!(f, "{} of {whose} requests fail", Parts(&self.candidate))?;
        if let Some(kind) = self.kind {
            write!(f, ", most by {}", told(kind))?;
        }
        if let Some(stable) = &self.stable {
            write!(f, "; {} with the stable version", Parts(stable))?;
        }
        if let Some(before) = &self.before {
            write!(f, "; {} before the rollout", Parts(before))?;
        }
        Ok(())
    }

    fn bars(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.finding {
            Finding::Wholly { failures } => write!(f, ": {failures} failures and no success"),
            Finding::Failing { bound, bar } => write!(
                f,
                ": with 99 % certainty at least {} points more; {} may be (max_error_increase)",
                percent(bound),
                percent(bar)
            ),
            Finding::FailingNew { bound, bar } => write!(
                f,
                ": with 99 % certainty at least {} %; {} % may on a new route",
                percent(bound),
                percent(bar)
            ),
            Finding::Unsure { bar } => {
                write!(f, ": {} points more may be (max_error_increase)", percent(bar))
            }
            Finding::FailingBefore { bound, bar, lasted_seconds } => write!(
                f,
                ": for {lasted_seconds:.0} s at least {} %, and {} % may after what was before",
                percent(bound),
                percent(bar)
            ),
            Finding::Slow { max_ratio, .. } => {
                write!(f, "; {max_ratio} times as much may be (max_latency_ratio), on three looks")
            }
        }
    }
}

/// "12.5 % (5 of 40)".
struct Parts<'a>(&'a SideView);

impl fmt::Display for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SideView { requests, failed } = *self.0;
        write!(f, "{} % ({failed} of {requests})", percent(failed as f64 / requests.max(1) as f64))
    }
}

fn percent(part: f64) -> String {
    format!("{:.1}", part * 100.0)
}

/// What a kind of failure means to an operator.
fn told(kind: &str) -> &str {
    match kind {
        "gateway" => "errors of the gateway (5xx)",
        "backend" => "backends' 5xx",
        "shed" => "want of room (shed)",
        "auth" => "an auth that could not decide",
        _ => "being overdue",
    }
}
