//! How it goes with each sink, for operators: plain values, and nothing of a URL but its host.

use super::spool::{MAX_WAITING, Spool};
use super::webhook::time;
use crate::config::sinks::{PAGE, Sink};
use crate::control::condition::{About, Condition};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// A sink that takes nothing for so long is a reason in `/readyz`.
const LONG: Duration = Duration::from_secs(120);

/// All sinks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NotifyView {
    /// Each of `[[notify]]`.
    pub sinks: Vec<SinkView>,
    /// Alerts that last.
    pub lasting: usize,
    /// Events that came faster than they were taken, ever.
    pub lost: u64,
    /// Events that waited for a sink when it was taken out of the configuration, ever.
    #[serde(default)]
    pub orphaned: u64,
}

/// One sink.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SinkView {
    /// Its name.
    pub name: String,
    /// `webhook`, `slack` or `alertmanager`.
    pub kind: String,
    /// Where it is, as far as that may be shown.
    pub host: String,
    /// The kinds of events that it is told of.
    pub events: Vec<String>,
    /// Topics that wait, those under way included.
    pub queue_depth: usize,
    /// Topics that may wait.
    pub max_queue: usize,
    /// Events that it took, ever.
    pub sent: u64,
    /// Events that it refused, or that were given up, ever.
    pub failed: u64,
    /// Events that were dropped because too many topics waited, ever.
    pub dropped: u64,
    /// Events that it was told of before, ever.
    pub deduplicated: u64,
    /// Attempts that it took, ever.
    pub attempts_taken: u64,
    /// Attempts that it did not take, ever.
    pub attempts_failed: u64,
    /// When it last took something: UTC, RFC 3339.
    pub last_success: Option<String>,
    /// The same in seconds since 1970.
    pub last_success_seconds: Option<f64>,
    /// When it last did not.
    pub last_failure: Option<String>,
    /// Why it did not.
    pub last_error: Option<String>,
    /// Since when it takes nothing.
    pub failing_since: Option<String>,
    /// For how long.
    pub failing_seconds: Option<f64>,
    /// When it is tried again, in seconds.
    pub next_attempt_seconds: Option<f64>,
}

impl SinkView {
    /// At `now`.
    pub(super) fn of(sink: &Sink, spool: &Spool, now: Instant) -> Self {
        let (counts, health) = (spool.counts, &spool.health);
        SinkView {
            name: sink.name.to_string(),
            kind: sink.form.as_str().to_owned(),
            host: sink.url.host(),
            events: events(sink),
            queue_depth: spool.depth(),
            max_queue: MAX_WAITING,
            sent: counts.sent,
            failed: counts.failed,
            dropped: counts.dropped,
            deduplicated: counts.deduplicated,
            attempts_taken: counts.attempts_taken,
            attempts_failed: counts.attempts_failed,
            last_success: health.last_success.map(time),
            last_success_seconds: health.last_success.map(|at| at.as_millisecond() as f64 / 1000.0),
            last_failure: health.last_failure.as_ref().map(|(at, _)| time(*at)),
            last_error: health.last_failure.as_ref().map(|(_, why)| why.clone()),
            failing_since: health.failing_since.map(|(_, at)| time(at)),
            failing_seconds: health
                .failing_since
                .map(|(since, _)| now.saturating_duration_since(since).as_secs_f64()),
            next_attempt_seconds: spool
                .next_attempt()
                .map(|next| next.saturating_duration_since(now).as_secs_f64()),
        }
    }

    /// Why people may not hear what happens, if that has lasted for some minutes.
    pub fn condition(&self) -> Option<Condition> {
        let seconds = self.failing_seconds.filter(|seconds| *seconds >= LONG.as_secs_f64())?;
        let (name, host) = (&self.name, &self.host);
        let why = self.last_error.as_deref().unwrap_or_default();
        Some(About::SinkFailing.says(format!(
            "{name} ({host}) has not been told what happens for {:.0} min: {why}. hint: tidegate notify test {name}",
            seconds / 60.0
        )))
    }
}

fn events(sink: &Sink) -> Vec<String> {
    let kinds = sink.kinds.iter().map(|kind| kind.as_str());
    Some(PAGE).filter(|_| sink.pages).into_iter().chain(kinds).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_that_takes_nothing_for_minutes_is_a_reason_that_says_what_to_do() {
        let failing = |seconds: f64| SinkView {
            name: "oncall".into(),
            host: "hooks.example.com".into(),
            failing_seconds: Some(seconds),
            last_error: Some("it answered 503 Service Unavailable".into()),
            ..SinkView::default()
        };
        assert_eq!(failing(119.0).condition(), None, "it may pass");
        let expected = "oncall (hooks.example.com) has not been told what happens for 2 min: it answered 503 Service \
                        Unavailable. hint: tidegate notify test oncall";
        assert_eq!(failing(121.0).condition(), Some(About::SinkFailing.says(expected)));
        assert_eq!(SinkView::default().condition(), None);
    }
}
