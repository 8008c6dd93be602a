//! What happens to the gateway, as typed events: one struct is one shape of log line and of record in the
//! stream of events.
//!
//! Rooms say what happened; how it looks, and how often it may be said, is decided here. Counting is done by
//! the metrics, so that a line left out loses nothing.

mod audits;
mod auths;
mod certificates;
mod ejections;
mod incidents;
mod keys;
mod limits;
mod names;
mod notifications;
mod probes;
mod ramps;
mod rollouts;
mod rollbacks;
pub mod schema;
mod sheds;
pub mod stream;

pub use audits::{AuditRecorded, AuditUnavailable};
pub use auths::AuthSilence;
pub use certificates::{CertificateExpires, CertificateRefused, CertificateRenewed, KeyReadable};
pub use ejections::{BackendJudged, ChecksDoubted};
pub use incidents::IncidentChanged;
pub use keys::KeysFetched;
pub use limits::{LimitAtFloor, LimitMoved};
pub use names::AddressesChanged;
pub use notifications::{NoticesLost, SinkGone, SinkHeard};
pub use probes::TextProbed;
pub use ramps::{CohortChosen, Comeback, RampChanged, RampConflict};
pub use rollbacks::VersionRolledBack;
pub use rollouts::{GlassBroken, RolloutEnded, RolloutStep};
pub use sheds::{ClassesClosed, ShedNotices, Shedding, Spell};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use stream::{Kind, Record};

/// The process begins.
#[derive(Clone, Copy, Debug)]
pub struct Started<'a> {
    /// The program's version.
    pub program: &'a str,
}

impl Started<'_> {
    /// Logs it.
    pub fn emit(self) {
        let process_id = std::process::id();
        tracing::info!(program = self.program, process_id, "starting");
        Record::new(Kind::Process, "starting")
            .with("step", "start")
            .with("program", self.program)
            .with("process_id", process_id)
            .hand_on();
    }
}

/// Everything is up.
#[derive(Clone, Copy, Debug)]
pub struct Ready<'a> {
    /// Where operators come in.
    pub admin: SocketAddr,
    /// Where clients come in.
    pub listeners: &'a [(Arc<str>, SocketAddr)],
}

impl Ready<'_> {
    /// Logs it.
    pub fn emit(self) {
        tracing::info!(admin = %self.admin, listeners = ?self.listeners, "ready");
        let listeners =
            self.listeners.iter().map(|(name, address)| (name.to_string(), address.to_string().into()));
        Record::new(Kind::Process, "ready")
            .with("step", "ready")
            .with("admin", self.admin.to_string())
            .with("listeners", serde_json::Value::Object(listeners.collect()))
            .hand_on();
    }
}

/// A configuration is active.
#[derive(Clone, Copy, Debug)]
pub struct ConfigApplied<'a> {
    /// Its number in this process.
    pub version: u64,
    /// Blake3 of its text, hex.
    pub hash: &'a str,
    /// Where it came from: `watch`, `signal` or `api`.
    pub cause: &'a str,
    /// Who applied it, if somebody did.
    pub by: Option<&'a str>,
    /// Why, in their words.
    pub reason: Option<&'a str>,
    /// Warnings, a sentence each.
    pub notices: &'a [String],
}

impl ConfigApplied<'_> {
    /// Logs it, and its notices after it.
    pub fn emit(self) {
        tracing::info!(
            version = self.version,
            hash = self.hash,
            cause = self.cause,
            by = self.by,
            reason = self.reason,
            "configuration applied"
        );
        for notice in self.notices {
            tracing::warn!(version = self.version, "{notice}");
        }
        Record::new(Kind::Config, "configuration applied")
            .with("outcome", "applied")
            .with("version", self.version)
            .with("hash", self.hash)
            .with("cause", self.cause)
            .with("by", self.by)
            .with("reason", self.reason)
            .with_list("notices", self.notices)
            .hand_on();
    }
}

/// A configuration was read and changed nothing.
#[derive(Clone, Copy, Debug)]
pub struct ConfigRefused<'a> {
    /// Where it came from: `watch`, `signal` or `api`.
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
        Record::new(Kind::Config, "configuration refused; the active one stays")
            .with("outcome", "refused")
            .with("cause", self.cause)
            .with("error", self.error)
            .hand_on();
    }
}

/// A configuration was read and waits for the end of a freeze; it comes in by itself.
#[derive(Clone, Copy, Debug)]
pub struct ConfigHeld<'a> {
    /// Where it came from: `watch`, `signal` or `api`.
    pub cause: &'a str,
    /// Which freeze, and what to do.
    pub why: &'a str,
}

impl ConfigHeld<'_> {
    /// Logs it.
    pub fn emit(self) {
        tracing::warn!(cause = self.cause, why = self.why, "configuration held by a freeze");
        Record::new(Kind::Config, "configuration held by a freeze")
            .with("outcome", "held")
            .with("cause", self.cause)
            .with("why", self.why)
            .hand_on();
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
        Record::new(Kind::Config, "started degraded, on the last good version")
            .with("outcome", "degraded")
            .with("error", self.reason)
            .with("hash", self.hash)
            .hand_on();
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
        Record::new(Kind::Listener, "accept failed; pausing")
            .with("what", "accept_failed")
            .with("listener", self.listener)
            .with("error", self.error.to_string())
            .with("pause_ms", pause_ms)
            .hand_on();
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
        let (listener, address, message, what) = match self {
            ListenerChanged::Opened { listener, address } => (listener, address, "listener opened", "opened"),
            ListenerChanged::Closed { listener, address } => {
                (listener, address, "listener closed; its connections finish", "closed")
            }
        };
        tracing::info!(listener, %address, "{message}");
        Record::new(Kind::Listener, format!("{listener}: {message}"))
            .with("what", what)
            .with("listener", listener)
            .with("address", address.to_string())
            .hand_on();
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
        let (message, step) = match self.recovered {
            false => ("core is stuck; /readyz fails until it turns", "stuck_core"),
            true => ("core turns again", "core_recovered"),
        };
        Record::new(Kind::Process, message).with("step", step).with("worker", self.worker).hand_on();
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
        let record = |message, step| Record::new(Kind::Process, message).with("step", step);
        match self {
            Drain::Announced(delay) => {
                let delay_s = delay.as_secs_f64();
                let message = "draining: not ready, still accepting";
                tracing::info!(delay_s, "{message}");
                record(message, "draining").with("delay_s", delay_s).hand_on();
            }
            Drain::AcceptingStopped(timeout) => {
                let timeout_s = timeout.as_secs_f64();
                let message = "draining: accepting stopped";
                tracing::info!(timeout_s, "{message}");
                record(message, "accepting_stopped").with("timeout_s", timeout_s).hand_on();
            }
            Drain::Finished => {
                let message = "drained: every request ended";
                tracing::info!("{message}");
                record(message, "drained").hand_on();
            }
            Drain::TimedOut(in_flight) => {
                let message = "drain timeout: cutting what is in flight";
                tracing::warn!(in_flight, "{message}");
                record(message, "drain_timeout").with("in_flight", in_flight).hand_on();
            }
        }
    }
}
