//! What rooms hold to count with: one handle for each route, upstream, backend and listener by name.
//!
//! A core counts into its own cells through its `CoreId`; what happens seldom or away from the cores (an
//! accept, an ejection, a configuration) is a shared atomic. Labels are fixed when the handle is made.

use crate::reject::Reason;
use crate::request::Class;
use crate::telemetry::cells::{
    BOUNDS, CoreId, Counter, Histogram, HistogramSum, PerCore, REQUEST_BOUNDS, WAIT_BOUNDS,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

/// A number that any thread may count into; for what happens seldom.
#[derive(Debug, Default)]
pub struct Shared(AtomicU64);

impl Shared {
    /// Adds.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Its value now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Who made an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Source {
    /// This process: refusals, fixed answers, failures on the way.
    Gateway,
    /// A backend.
    Backend,
}

impl Source {
    /// Both, in the order of their numbers.
    pub const ALL: [Source; 2] = [Source::Gateway, Source::Backend];

    /// The word in metrics and the access log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Source::Gateway => "gateway",
            Source::Backend => "backend",
        }
    }
}

/// Values of `code_class`, by the first digit of the status less one.
pub const CODE_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What a route's metrics counted, or what came between two such states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteCounted {
    /// By class of status (index into [`CODE_CLASSES`]) and source.
    pub requests: [[u64; 2]; 5],
    /// By bucket of time, the last without an upper bound.
    pub times: [u64; BOUNDS + 1],
    /// All these times together, in nanoseconds.
    pub times_sum_ns: u64,
}

/// One route's requests; `-` is what matched no route.
#[derive(Debug)]
pub struct RouteMetrics {
    /// Its name.
    pub name: Arc<str>,
    cells: PerCore<RouteCells>,
}

#[derive(Debug, Default)]
struct RouteCells {
    requests: [[Counter; 2]; 5],
    duration: Histogram,
}

impl RouteMetrics {
    pub(super) fn new(name: Arc<str>, cores: usize) -> Self {
        RouteMetrics { name, cells: PerCore::new(cores) }
    }

    /// One exchange ended: its status (what is outside 100 to 599 counts as 5xx), who answered, and its
    /// nanoseconds from the request's head to the last byte.
    #[inline]
    pub fn finished(&self, core: CoreId, code: u16, source: Source, ns: u64) {
        let Some(cells) = self.cells.of(core) else { return };
        let class = usize::from(code / 100).wrapping_sub(1).min(4);
        cells.requests[class][source as usize].add(1);
        cells.duration.record(&REQUEST_BOUNDS, ns);
    }

    /// Exchanges that ended with this class of status (index into `CODE_CLASSES`).
    pub(super) fn requests(&self, class: usize, source: Source) -> u64 {
        self.cells.sum(|cells| cells.requests[class][source as usize].get())
    }

    /// Everything that was counted so far: exchanges by class of status and source, and their times by the buckets of
    /// [`REQUEST_BOUNDS`].
    pub fn counted(&self) -> RouteCounted {
        let HistogramSum { buckets: times, sum_ns: times_sum_ns } = self.duration();
        let mut counted = RouteCounted { times, times_sum_ns, ..RouteCounted::default() };
        for (class, row) in counted.requests.iter_mut().enumerate() {
            *row = Source::ALL.map(|source| self.requests(class, source));
        }
        counted
    }

    pub(super) fn duration(&self) -> HistogramSum {
        let mut sum = HistogramSum::default();
        self.cells.iter().for_each(|cells| sum.add(&cells.duration));
        sum
    }
}

/// How a second try ended, or why there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RetryOutcome {
    /// The backend answered.
    Succeeded,
    /// It failed too.
    Failed,
    /// No retry: a connection that had died while it was idle was replaced by a new one.
    Replaced,
    /// Not tried: the budget is used up, or too many retries are in flight.
    NoBudget,
    /// Not tried: something of the upstream is ramped.
    Ramp,
    /// Not tried: the upstream's limit refused somebody or made somebody wait in the last tick.
    Limited,
    /// Not tried: too little time was left.
    Deadline,
    /// Not tried: no other backend had a place.
    NoBackend,
}

impl RetryOutcome {
    /// All, in the order of their numbers.
    pub const ALL: [RetryOutcome; RETRY_OUTCOMES] = [
        RetryOutcome::Succeeded,
        RetryOutcome::Failed,
        RetryOutcome::Replaced,
        RetryOutcome::NoBudget,
        RetryOutcome::Ramp,
        RetryOutcome::Limited,
        RetryOutcome::Deadline,
        RetryOutcome::NoBackend,
    ];

    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            RetryOutcome::Succeeded => "succeeded",
            RetryOutcome::Failed => "failed",
            RetryOutcome::Replaced => "replaced",
            RetryOutcome::NoBudget => "no_budget",
            RetryOutcome::Ramp => "ramp",
            RetryOutcome::Limited => "limited",
            RetryOutcome::Deadline => "deadline",
            RetryOutcome::NoBackend => "no_backend",
        }
    }
}

const RETRY_OUTCOMES: usize = RetryOutcome::NoBackend as usize + 1;

/// Reasons that count as sheds, the first of `Reason::ALL`.
pub(super) const SHED_REASONS: usize = Reason::MissingSecret as usize + 1;

/// One upstream's gate; `-` is what was shed before its upstream was known.
#[derive(Debug)]
pub struct UpstreamMetrics {
    /// Its name.
    pub name: Arc<str>,
    /// A bit for each class that its routes use.
    classes: AtomicU8,
    cells: PerCore<UpstreamCells>,
}

#[derive(Debug, Default)]
struct UpstreamCells {
    shed: [[Counter; SHED_REASONS]; 4],
    queue_wait: Histogram,
    retries: [Counter; RETRY_OUTCOMES],
    zombies_released: Counter,
}

impl UpstreamMetrics {
    pub(super) fn new(name: Arc<str>, cores: usize) -> Self {
        UpstreamMetrics { name, classes: AtomicU8::new(0), cells: PerCore::new(cores) }
    }

    /// Tells which classes its routes use, so that their sheds are exposed as 0 before the first one.
    pub fn use_classes(&self, classes: impl IntoIterator<Item = Class>) {
        let bits = classes.into_iter().fold(0, |bits, class| bits | 1 << class as u8);
        self.classes.store(bits, Relaxed);
    }

    /// One request was refused for want of room. Reasons that are no sheds (`Reason::is_shed`) are ignored.
    #[inline]
    pub fn shed(&self, core: CoreId, class: Class, reason: Reason) {
        let Some(cells) = self.cells.of(core) else { return };
        if let Some(cell) = cells.shed[class as usize].get(reason as usize) {
            cell.add(1);
        }
    }

    /// One request left the queue, with a permit or without, after this many nanoseconds.
    #[inline]
    pub fn queue_wait(&self, core: CoreId, ns: u64) {
        if let Some(cells) = self.cells.of(core) {
            cells.queue_wait.record(&WAIT_BOUNDS, ns);
        }
    }

    /// One second try ended, or was not made.
    #[inline]
    pub fn retry(&self, core: CoreId, outcome: RetryOutcome) {
        if let Some(cells) = self.cells.of(core) {
            cells.retries[outcome as usize].add(1);
        }
    }

    /// A zombie was released early because too many were held.
    #[inline]
    pub fn zombie_released(&self, core: CoreId) {
        if let Some(cells) = self.cells.of(core) {
            cells.zombies_released.add(1);
        }
    }

    pub(super) fn uses(&self, class: Class) -> bool {
        self.classes.load(Relaxed) & (1 << class as u8) != 0
    }

    /// Sheds so far, over all cores; 0 for a reason that is none.
    pub fn sheds(&self, class: Class, reason: Reason) -> u64 {
        self.cells.sum(|cells| cells.shed[class as usize].get(reason as usize).map_or(0, Counter::get))
    }

    /// All sheds so far, over all cores, classes and reasons.
    pub fn all_sheds(&self) -> u64 {
        self.cells.sum(|cells| cells.shed.iter().flatten().map(Counter::get).fold(0, u64::wrapping_add))
    }

    pub(super) fn queue_waits(&self) -> HistogramSum {
        let mut sum = HistogramSum::default();
        self.cells.iter().for_each(|cells| sum.add(&cells.queue_wait));
        sum
    }

    /// Second tries that ended so, or were not made for this, ever.
    pub fn retries(&self, outcome: RetryOutcome) -> u64 {
        self.cells.sum(|cells| cells.retries[outcome as usize].get())
    }

    pub(super) fn zombies_released(&self) -> u64 {
        self.cells.sum(|cells| cells.zombies_released.get())
    }
}

/// How an active check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CheckOutcome {
    /// It is well.
    Ok,
    /// It is not.
    Failed,
    /// No answer in time, while requests were answered.
    Slow,
    /// Not made: no descriptor was left, or the gateway itself was late.
    Skipped,
}

impl CheckOutcome {
    /// All, in the order of their numbers.
    pub const ALL: [CheckOutcome; 4] =
        [CheckOutcome::Ok, CheckOutcome::Failed, CheckOutcome::Slow, CheckOutcome::Skipped];

    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            CheckOutcome::Ok => "ok",
            CheckOutcome::Failed => "failed",
            CheckOutcome::Slow => "slow",
            CheckOutcome::Skipped => "skipped",
        }
    }
}

/// One backend of an upstream, or one address of its name.
#[derive(Debug)]
pub struct BackendMetrics {
    /// Its upstream's name.
    pub upstream: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Times it was taken out for failing.
    pub ejections: Shared,
    /// Restarts that were noticed.
    pub incarnations: Shared,
    /// What its addresses counted that are gone.
    gone: Gone,
    /// Somebody checks it, or did.
    is_checked: AtomicBool,
    checks: [Shared; 4],
    cells: PerCore<BackendCells>,
}

/// Counts of addresses that a name had.
#[derive(Debug, Default)]
struct Gone {
    dials: [Shared; 2],
    outcomes: [Shared; 2],
}

#[derive(Debug, Default)]
struct BackendCells {
    connected: Counter,
    connects_failed: Counter,
    answered: Counter,
    failed: Counter,
}

impl BackendMetrics {
    pub(super) fn new(upstream: Arc<str>, name: Arc<str>, cores: usize) -> Self {
        BackendMetrics {
            upstream,
            name,
            ejections: Shared::default(),
            incarnations: Shared::default(),
            gone: Gone::default(),
            is_checked: AtomicBool::new(false),
            checks: Default::default(),
            cells: PerCore::new(cores),
        }
    }

    /// It is checked from now on: its checks are exposed as 0 before the first one, and those of others not at all.
    pub fn expect_checks(&self) {
        self.is_checked.store(true, Relaxed);
    }

    pub(super) fn is_checked(&self) -> bool {
        self.is_checked.load(Relaxed)
    }

    /// One active check ended.
    pub fn checked(&self, outcome: CheckOutcome) {
        self.checks[outcome as usize].add(1);
    }

    pub(super) fn checks(&self, outcome: CheckOutcome) -> u64 {
        self.checks[outcome as usize].get()
    }

    /// One dial ended, TLS included.
    #[inline]
    pub fn dialled(&self, core: CoreId, connected: bool) {
        let Some(cells) = self.cells.of(core) else { return };
        if connected { cells.connected.add(1) } else { cells.connects_failed.add(1) }
    }

    /// One try ended: with an answer below 500, or with one above, none in time, or a broken connection.
    #[inline]
    pub fn answered(&self, core: CoreId, well: bool) {
        let Some(cells) = self.cells.of(core) else { return };
        if well { cells.answered.add(1) } else { cells.failed.add(1) }
    }

    /// Tries that ended so, ever.
    pub fn outcomes(&self, well: bool) -> u64 {
        let gone = self.gone.outcomes[usize::from(well)].get();
        gone + self.cells.sum(|cells| if well { cells.answered.get() } else { cells.failed.get() })
    }

    pub(super) fn dials(&self, connected: bool) -> u64 {
        let gone = self.gone.dials[usize::from(connected)].get();
        gone + self
            .cells
            .sum(|cells| if connected { cells.connected.get() } else { cells.connects_failed.get() })
    }

    /// Counts on where an address of this name, which nobody uses any more, has ended.
    pub(super) fn inherit(&self, address: &BackendMetrics) {
        for (index, yes) in [false, true].into_iter().enumerate() {
            self.gone.dials[index].add(address.dials(yes));
            self.gone.outcomes[index].add(address.outcomes(yes));
        }
        for outcome in CheckOutcome::ALL {
            self.checks[outcome as usize].add(address.checks(outcome));
        }
        if address.is_checked() {
            self.expect_checks();
        }
        self.ejections.add(address.ejections.get());
        self.incarnations.add(address.incarnations.get());
    }
}
