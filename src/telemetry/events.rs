//! What happens to the gateway, as typed events: one struct is one shape of log line.
//!
//! Rooms say what happened; how it looks, and how often it may be said, is decided here. Counting is done by
//! the metrics, so that a line left out loses nothing.

use crate::reject::Reason;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A configuration is active.
#[derive(Clone, Copy, Debug)]
pub struct ConfigApplied<'a> {
    /// Its number in this process.
    pub version: u64,
    /// Blake3 of its text, hex.
    pub hash: &'a str,
    /// Where it came from: `watch` or `signal`.
    pub cause: &'a str,
    /// Warnings, a sentence each.
    pub notices: &'a [String],
}

impl ConfigApplied<'_> {
    /// Logs it, and its notices after it.
    pub fn emit(self) {
        tracing::info!(version = self.version, hash = self.hash, cause = self.cause, "configuration applied");
        for notice in self.notices {
            tracing::warn!(version = self.version, "{notice}");
        }
    }
}

/// A configuration was read and changed nothing.
#[derive(Clone, Copy, Debug)]
pub struct ConfigRefused<'a> {
    /// Where it came from: `watch` or `signal`.
    pub cause: &'a str,
    /// What is wrong with it; may have several lines.
    pub error: &'a str,
}

impl ConfigRefused<'_> {
    /// Logs it.
    pub fn emit(self) {
        tracing::error!(
            cause = self.cause,
            error = self.error,
            "configuration refused; the active one stays. hint: `tidegate check FILE` shows every error"
        );
    }
}

/// The process started on something other than what it was told to run.
#[derive(Clone, Copy, Debug)]
pub struct BootDegraded<'a> {
    /// Why.
    pub reason: &'a str,
    /// Blake3 of the text that runs instead, hex.
    pub hash: &'a str,
}

impl BootDegraded<'_> {
    /// Logs it.
    pub fn emit(self) {
        tracing::error!(reason = self.reason, hash = self.hash, "started degraded, on the last good version");
    }
}

/// A listener could not accept and pauses.
#[derive(Clone, Copy, Debug)]
pub struct AcceptFailed<'a> {
    /// The listener's name.
    pub listener: &'a str,
    /// What the system said.
    pub error: &'a std::io::Error,
    /// How long it pauses.
    pub pause: Duration,
}

impl AcceptFailed<'_> {
    /// Logs it.
    pub fn emit(self) {
        let pause_ms = self.pause.as_millis() as u64;
        tracing::warn!(listener = self.listener, error = %self.error, pause_ms, "accept failed; pausing");
    }
}

/// A listener's address changed.
#[derive(Clone, Copy, Debug)]
pub enum ListenerChanged<'a> {
    /// Clients can connect here.
    Opened {
        /// The listener's name.
        listener: &'a str,
        /// Where.
        address: SocketAddr,
    },
    /// Nobody can connect here any more; whoever did is asked to leave.
    Closed {
        /// The listener's name.
        listener: &'a str,
        /// Where.
        address: SocketAddr,
    },
}

impl ListenerChanged<'_> {
    /// Logs it.
    pub fn emit(self) {
        match self {
            ListenerChanged::Opened { listener, address } => {
                tracing::info!(listener, %address, "listener opened");
            }
            ListenerChanged::Closed { listener, address } => {
                tracing::info!(listener, %address, "listener closed; its connections finish");
            }
        }
    }
}

/// A core did not turn for two looks of the watchdog, or turns again.
#[derive(Clone, Copy, Debug)]
pub struct CoreStuck {
    /// Its number.
    pub worker: usize,
    /// It turns again.
    pub recovered: bool,
}

impl CoreStuck {
    /// Logs it.
    pub fn emit(self) {
        match self.recovered {
            false => tracing::error!(worker = self.worker, "core is stuck; /readyz fails until it turns"),
            true => tracing::info!(worker = self.worker, "core turns again"),
        }
    }
}

/// A step on the way out.
#[derive(Clone, Copy, Debug)]
pub enum Drain {
    /// `/readyz` fails; still accepting for this long.
    Announced(Duration),
    /// No more connections are accepted; requests may end for this long.
    AcceptingStopped(Duration),
    /// Every request ended.
    Finished,
    /// Time is up with this many requests in flight.
    TimedOut(u32),
}

impl Drain {
    /// Logs it.
    pub fn emit(self) {
        match self {
            Drain::Announced(delay) => {
                tracing::info!(delay_s = delay.as_secs_f64(), "draining: not ready, still accepting");
            }
            Drain::AcceptingStopped(timeout) => {
                tracing::info!(timeout_s = timeout.as_secs_f64(), "draining: accepting stopped");
            }
            Drain::Finished => tracing::info!("drained: every request ended"),
            Drain::TimedOut(in_flight) => {
                tracing::warn!(in_flight, "drain timeout: cutting what is in flight");
            }
        }
    }
}

/// One upstream's sheds in the log: at most one line for each reason a second, however many are shed.
#[derive(Debug)]
pub struct ShedNotices {
    upstream: Arc<str>,
    start: Instant,
    /// For each reason, the second after the start (from 1) in which it was last logged.
    last: [AtomicU64; Reason::ALL.len()],
}

impl ShedNotices {
    /// For an upstream by its name; shared by all cores.
    pub fn new(upstream: Arc<str>) -> Self {
        let last = std::array::from_fn(|_| AtomicU64::new(0));
        ShedNotices { upstream, start: Instant::now(), last }
    }

    /// Something was shed; logs it unless the same was logged within this second. Cheap when it was: one
    /// load of a line that seldom changes.
    pub fn shed(&self, reason: Reason, now: Instant) {
        if self.is_due(reason, now) {
            tracing::warn!(upstream = &*self.upstream, reason = reason.as_str(), "shedding");
        }
    }

    fn is_due(&self, reason: Reason, now: Instant) -> bool {
        let second = now.saturating_duration_since(self.start).as_secs() + 1;
        let last = &self.last[reason as usize];
        let seen = last.load(Relaxed);
        seen < second && last.compare_exchange(seen, second, Relaxed, Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_sheds_is_one_line_a_second_for_each_reason() {
        let notices = ShedNotices::new("orders".into());
        let start = notices.start;
        let due = |reason, ms| notices.is_due(reason, start + Duration::from_millis(ms));
        assert!(due(Reason::QueueFull, 0));
        assert!(!due(Reason::QueueFull, 999));
        assert!(due(Reason::UpstreamLimit, 999));
        assert!(due(Reason::QueueFull, 1000));
        assert!(!due(Reason::QueueFull, 1001));
    }
}
