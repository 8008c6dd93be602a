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

/// Something happened to a backend that restarted, or to its way back.
#[derive(Clone, Debug)]
pub struct Comeback {
    what: &'static str,
    target: String,
    percent: Option<f64>,
    cause: Option<&'static str>,
    reason: String,
}

impl Comeback {
    /// `incarnation`, `step`, `hold`, `back_off`, `alert`, `done`, `fleet_ramp`, `withdrawn` or `shared`; of whom,
    /// and why, with numbers.
    pub fn new(what: &'static str, target: impl ToString, reason: impl ToString) -> Self {
        let (target, reason) = (target.to_string(), reason.to_string());
        Comeback { what, target, percent: None, cause: None, reason }
    }

    /// What it may carry from now on, in percent.
    pub fn at(self, percent: f64) -> Self {
        Comeback { percent: Some(percent), ..self }
    }

    /// The cause in one word.
    pub fn because(self, cause: &'static str) -> Self {
        Comeback { cause: Some(cause), ..self }
    }

    /// More to say.
    pub fn and(self, more: &str) -> Self {
        Comeback { reason: format!("{}; {more}", self.reason), ..self }
    }

    /// Logs it.
    pub fn emit(self) {
        let Comeback { what, target, percent, cause, reason } = self;
        if matches!(what, "alert" | "back_off" | "fleet_ramp" | "shared") {
            tracing::warn!(what, target, percent, cause, reason, "automatic ramp");
        } else {
            tracing::info!(what, target, percent, cause, reason, "automatic ramp");
        }
        let to = percent.map(|percent| format!(" to {percent} %")).unwrap_or_default();
        let message = match what {
            "incarnation" => format!("{target} restarted: {reason}"),
            "step" => format!("{target} comes back: it went{to}, {reason}"),
            "hold" => format!("{target} does not go up yet: {reason}"),
            "back_off" => format!("{target} went back{to}, {reason}"),
            "done" => format!("{target} is back"),
            "fleet_ramp" => format!("all of {target} comes back at once: {reason}"),
            _ => format!("{target}: {reason}"),
        };
        let record = of_target(Record::new(Kind::Ramp, message), &target).with("what", what);
        let record = record.with("by", "tidegate").with("reason", reason.as_str());
        let record = cause.into_iter().fold(record, |record, cause| record.with("cause", cause));
        percent.into_iter().fold(record, |record, percent| record.with("percent", percent)).hand_on();
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
