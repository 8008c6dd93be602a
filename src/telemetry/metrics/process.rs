//! Numbers of the whole process.

use crate::reject::Reason;
use crate::telemetry::cells::{CoreId, Counter, PerCore};
use crate::telemetry::metrics::handles::Shared;
use std::sync::OnceLock;
use tracing_appender::non_blocking::ErrorCounter;

/// How a change of configuration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ApplyOutcome {
    /// It is active.
    Applied,
    /// It changed nothing because it is invalid or cannot be built.
    Refused,
    /// Its text is what was last read.
    Unchanged,
}

impl ApplyOutcome {
    /// All, in the order of their numbers.
    pub const ALL: [ApplyOutcome; 3] =
        [ApplyOutcome::Applied, ApplyOutcome::Refused, ApplyOutcome::Unchanged];

    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            ApplyOutcome::Applied => "applied",
            ApplyOutcome::Refused => "refused",
            ApplyOutcome::Unchanged => "unchanged",
        }
    }
}

/// How a probe of a candidate ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ProbeOutcome {
    /// Nothing looks wrong.
    Clean,
    /// Something does, or there was no time for everything.
    Warned,
    /// Something refuses the candidate.
    Gated,
    /// It did not begin in time: others were under way, or its thread hangs.
    NotBegun,
}

impl ProbeOutcome {
    /// All, in the order of their numbers.
    pub const ALL: [ProbeOutcome; 4] =
        [ProbeOutcome::Clean, ProbeOutcome::Warned, ProbeOutcome::Gated, ProbeOutcome::NotBegun];

    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            ProbeOutcome::Clean => "clean",
            ProbeOutcome::Warned => "warned",
            ProbeOutcome::Gated => "gated",
            ProbeOutcome::NotBegun => "not_begun",
        }
    }
}

/// Why a rollout or a version was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RollbackCause {
    /// Somebody said so.
    Operator,
    /// The guard of a rollout found it worse.
    Guard,
    /// Nobody confirmed it in time.
    Unconfirmed,
    /// The process did not stay up with it.
    CrashLoop,
}

impl RollbackCause {
    /// All, in the order of their numbers.
    pub const ALL: [RollbackCause; 4] =
        [RollbackCause::Operator, RollbackCause::Guard, RollbackCause::Unconfirmed, RollbackCause::CrashLoop];

    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            RollbackCause::Operator => "operator",
            RollbackCause::Guard => "guard",
            RollbackCause::Unconfirmed => "unconfirmed",
            RollbackCause::CrashLoop => "crash_loop",
        }
    }
}

/// The process.
#[derive(Debug)]
pub struct ProcessMetrics {
    /// Access lines that were dropped because the sink is slow or broken.
    pub access_log_dropped: Shared,
    /// Times that a core did not turn for two looks of the watchdog.
    pub stuck_cores: Shared,
    /// Active checks that waited because too many were under way.
    pub checks_delayed: Shared,
    applies: [Shared; 3],
    probes: [Shared; 4],
    rollbacks: [Shared; RollbackCause::ALL.len()],
    log_dropped: OnceLock<ErrorCounter>,
    cells: PerCore<ProcessCells>,
}

#[derive(Debug)]
struct ProcessCells {
    refused: [Counter; Reason::ALL.len()],
    panics: Counter,
    trailers_dropped: Counter,
}

impl Default for ProcessCells {
    fn default() -> Self {
        ProcessCells {
            refused: std::array::from_fn(|_| Counter::default()),
            panics: Counter::default(),
            trailers_dropped: Counter::default(),
        }
    }
}

impl ProcessMetrics {
    pub(super) fn new(cores: usize) -> Self {
        ProcessMetrics {
            access_log_dropped: Shared::default(),
            stuck_cores: Shared::default(),
            checks_delayed: Shared::default(),
            applies: Default::default(),
            probes: Default::default(),
            rollbacks: Default::default(),
            log_dropped: OnceLock::new(),
            cells: PerCore::new(cores),
        }
    }

    /// Exposes the lines that the process's own log drops; the first counter given stays.
    pub fn watch_log(&self, dropped: ErrorCounter) {
        let _ = self.log_dropped.set(dropped);
    }

    pub(super) fn log_lines_dropped(&self) -> u64 {
        self.log_dropped.get().map_or(0, |counter| counter.dropped_lines() as u64)
    }

    /// A change of configuration ended.
    pub fn apply(&self, outcome: ApplyOutcome) {
        self.applies[outcome as usize].add(1);
    }

    /// A probe of a candidate ended.
    pub fn probed(&self, outcome: ProbeOutcome) {
        self.probes[outcome as usize].add(1);
    }

    /// A rollout or a version was taken back.
    pub fn rolled_back(&self, cause: RollbackCause) {
        self.rollbacks[cause as usize].add(1);
    }

    /// The gateway refused, failed or ended one exchange itself: at the door, for want of room, in the
    /// middle.
    #[inline]
    pub fn refused(&self, core: CoreId, reason: Reason) {
        if let Some(cells) = self.cells.of(core) {
            cells.refused[reason as usize].add(1);
        }
    }

    /// A request panicked, and was answered with 500 or cut.
    pub fn panicked(&self, core: CoreId) {
        if let Some(cells) = self.cells.of(core) {
            cells.panics.add(1);
        }
    }

    /// A message lost its trailers because the other side cannot take them.
    pub fn trailers_dropped(&self, core: CoreId) {
        if let Some(cells) = self.cells.of(core) {
            cells.trailers_dropped.add(1);
        }
    }

    pub(super) fn applies(&self, outcome: ApplyOutcome) -> u64 {
        self.applies[outcome as usize].get()
    }

    pub(super) fn probes(&self, outcome: ProbeOutcome) -> u64 {
        self.probes[outcome as usize].get()
    }

    pub(super) fn rollbacks(&self, cause: RollbackCause) -> u64 {
        self.rollbacks[cause as usize].get()
    }

    /// What the gateway refused, failed or ended itself for this reason, ever.
    pub fn refusals(&self, reason: Reason) -> u64 {
        self.cells.sum(|cells| cells.refused[reason as usize].get())
    }

    pub(super) fn panics(&self) -> u64 {
        self.cells.sum(|cells| cells.panics.get())
    }

    pub(super) fn dropped_trailers(&self) -> u64 {
        self.cells.sum(|cells| cells.trailers_dropped.get())
    }
}
