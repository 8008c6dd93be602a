//! What happens to the sinks that people are told by: one that cannot be reached, one that can again, and what was
//! lost on the way. Where a sink is, beyond its host, is never told: its URL is a secret.

use super::stream::{Kind, Record};

/// A sink is not reached, or is reached again.
#[derive(Clone, Copy, Debug)]
pub struct SinkHeard<'a> {
    sink: &'a str,
    host: &'a str,
    /// Why not, and whether what it was told is lost; nothing when it is reached.
    failure: Option<(&'a str, bool)>,
}

impl<'a> SinkHeard<'a> {
    /// It is not reached, or refused what it was told, which is then lost.
    pub fn failed(sink: &'a str, host: &'a str, why: &'a str, lost: bool) -> Self {
        SinkHeard { sink, host, failure: Some((why, lost)) }
    }

    /// It is reached again.
    pub fn again(sink: &'a str, host: &'a str) -> Self {
        SinkHeard { sink, host, failure: None }
    }

    /// Logs it.
    pub fn emit(self) {
        let SinkHeard { sink, host, failure } = self;
        let record = |message: String, what| {
            let record = Record::new(Kind::Notification, message).with("what", what);
            record.with("sink", sink).with("host", host)
        };
        match failure {
            Some((why, lost)) => {
                let then = if lost { "that message is lost" } else { "it is tried again" };
                tracing::error!(sink, host, why, lost, "a notification was not delivered; {then}");
                let message = format!("{sink} ({host}) is not told what happens: {why}; {then}");
                record(message, "failed").with("why", why).with("given_up", lost).hand_on();
            }
            None => {
                tracing::info!(sink, host, "notifications are delivered again");
                record(format!("{sink} ({host}) is told again what happens"), "recovered").hand_on();
            }
        }
    }
}

/// A sink was taken out of the configuration while something waited for it.
#[derive(Clone, Copy, Debug)]
pub struct SinkGone<'a> {
    /// Its name.
    pub sink: &'a str,
    /// Where it was, if that is known: what an earlier process owed says only to whom.
    pub host: Option<&'a str>,
    /// Events that waited.
    pub lost: u64,
}

impl SinkGone<'_> {
    /// Logs it.
    pub fn emit(self) {
        let SinkGone { sink, host, lost } = self;
        tracing::warn!(
            sink,
            host,
            lost,
            "a sink is not in the configuration any more; what waited for it is dropped"
        );
        let place = host.map(|host| format!(" ({host})")).unwrap_or_default();
        let message = format!("{sink}{place} is gone, and was not told {lost} events that waited for it");
        Record::new(Kind::Notification, message)
            .with("what", "dropped")
            .with("sink", sink)
            .with("host", host)
            .with("lost", lost)
            .hand_on();
    }
}

/// Events came faster than the notifier took them.
#[derive(Clone, Copy, Debug)]
pub struct NoticesLost {
    /// How many since it was last told.
    pub lost: u64,
}

impl NoticesLost {
    /// Logs it.
    pub fn emit(self) {
        let lost = self.lost;
        tracing::warn!(lost, "events were lost on their way to the sinks");
        Record::new(Kind::Notification, format!("{lost} events were lost on their way to the sinks"))
            .with("what", "lost")
            .with("lost", lost)
            .hand_on();
    }
}
