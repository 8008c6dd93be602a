//! What health checks and outcomes decide about backends, as typed events.

use super::stream::{Kind, Record};
use std::time::Duration;

/// A backend went out, came on trial, or came back.
#[derive(Clone, Copy, Debug)]
pub struct BackendJudged<'a> {
    /// `ejected`, `probing`, `returned`, `down` or `up`.
    pub what: &'a str,
    /// Its upstream.
    pub upstream: &'a str,
    /// Its name.
    pub backend: &'a str,
    /// Why; empty for what needs no reason.
    pub reason: &'a str,
    /// How long it will be out, or was.
    pub lasts: Option<Duration>,
}

impl BackendJudged<'_> {
    /// Logs it.
    pub fn emit(self) {
        let BackendJudged { what, upstream, backend, reason, lasts } = self;
        let seconds = lasts.map(|lasts| (lasts.as_secs_f64() * 10.0).round() / 10.0);
        let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let message = match (what, seconds) {
            ("ejected", Some(seconds)) => format!("{upstream}/{backend} is ejected for {seconds} s{why}"),
            ("up", Some(seconds)) => format!("{upstream}/{backend} is up again after {seconds} s{why}"),
            ("returned", Some(seconds)) => format!("{upstream}/{backend} is back after {seconds} s{why}"),
            ("probing", _) => format!("{upstream}/{backend} is tried with one request at a time{why}"),
            _ => format!("{upstream}/{backend} is {what}{why}"),
        };
        if matches!(what, "returned" | "up") {
            tracing::info!(what, upstream, backend, reason, seconds, "{message}");
        } else {
            tracing::warn!(what, upstream, backend, reason, seconds, "{message}");
        }
        let record = Record::new(Kind::Ejection, message)
            .with("what", what)
            .with("upstream", upstream)
            .with("backend", backend)
            .with("reason", reason);
        match seconds {
            Some(seconds) => record.with("seconds", seconds).hand_on(),
            None => record.hand_on(),
        }
    }
}

/// The checks take every backend of an upstream for dead, or no longer do.
#[derive(Clone, Copy, Debug)]
pub struct ChecksDoubted<'a> {
    /// The upstream.
    pub upstream: &'a str,
    /// They do.
    pub doubted: bool,
}

impl ChecksDoubted<'_> {
    /// Logs it.
    pub fn emit(self) {
        let ChecksDoubted { upstream, doubted } = self;
        let (what, message) = match doubted {
            true => (
                "checks_doubted",
                format!(
                    "every backend of {upstream} fails its checks: the checks are in doubt, and traffic decides. \
                     hint: is the path of health right?"
                ),
            ),
            false => ("checks_believed", format!("the checks of {upstream} are believed again")),
        };
        if doubted {
            tracing::error!(what, upstream, "{message}");
        } else {
            tracing::info!(what, upstream, "{message}");
        }
        Record::new(Kind::Ejection, message).with("what", what).with("upstream", upstream).hand_on();
    }
}
