//! What happens to levers, as typed events: who moved which, and what a version changes under one.

use super::stream::{Kind, Record};

/// A ramp or a drain was set, cleared or went a step on.
#[derive(Clone, Copy, Debug)]
pub struct RampChanged<'a> {
    /// `set`, `cleared`, `paused`, `resumed`, `step`, `drained` or `ready`.
    pub what: &'a str,
    /// An upstream, or upstream/backend.
    pub target: &'a str,
    /// What it is now; nothing where that did not change.
    pub percent: Option<f64>,
    /// Who did it.
    pub by: &'a str,
    /// Why.
    pub reason: &'a str,
}

impl RampChanged<'_> {
    /// Logs it.
    pub fn emit(self) {
        let RampChanged { what, target, percent, by, reason } = self;
        tracing::info!(what, target, percent, by, reason, "ramp");
        let to = percent.map(|percent| format!(" to {percent} %")).unwrap_or_default();
        let message = match what {
            "drained" | "ready" => format!("{target} is {what}"),
            "step" => format!("the ramp of {target} went{to}"),
            _ => format!("the ramp of {target} was {what}{to}"),
        };
        let record = of_target(Record::new(Kind::Ramp, message), target).with("what", what);
        let record = record.with("by", by).with("reason", reason);
        match percent {
            Some(percent) => record.with("percent", percent).hand_on(),
            None => record.hand_on(),
        }
    }
}

/// A new version means something else under a lever. The log has it among the version's notices.
#[derive(Clone, Copy, Debug)]
pub struct RampConflict<'a> {
    /// What and how; a sentence.
    pub notice: &'a str,
}

impl RampConflict<'_> {
    /// Tells it.
    pub fn emit(self) {
        Record::new(Kind::Ramp, self.notice).with("what", "conflict").hand_on();
    }
}

/// A ramped upstream chooses otherwise whom it serves.
#[derive(Clone, Copy, Debug)]
pub struct CohortChosen<'a> {
    /// The upstream's name.
    pub upstream: &'a str,
    /// `cohort`, `request` or `everyone`.
    pub manner: &'a str,
    /// The part of the clients that is served.
    pub percent: f64,
    /// Clients in the last minute, about.
    pub clients: f64,
}

impl CohortChosen<'_> {
    /// Logs it.
    pub fn emit(self) {
        let CohortChosen { upstream, manner, .. } = self;
        let (percent, clients) = ((self.percent * 10.0).round() / 10.0, self.clients.round());
        let message = match manner {
            "cohort" => format!("{upstream} serves {percent} % of its clients, always the same ones"),
            "request" => format!(
                "{upstream} serves whoever finds room: too few clients to choose among, or one that is most of the traffic"
            ),
            _ => format!("{upstream} serves all of its clients"),
        };
        tracing::info!(upstream, manner, percent, clients, "{message}");
        Record::new(Kind::Ramp, message)
            .with("what", "cohort")
            .with("upstream", upstream)
            .with("manner", manner)
            .with("percent", percent)
            .with("clients", clients)
            .hand_on();
    }
}

/// An upstream, or upstream/backend, as fields; names hold no `/`.
fn of_target(record: Record, target: &str) -> Record {
    match target.split_once('/') {
        Some((upstream, backend)) => record.with("upstream", upstream).with("backend", backend),
        None => record.with("upstream", target),
    }
}
