//! From text to running table: check, build, swap, remember. The one place that changes what the data plane
//! reads, and it does so by one pointer swap.
//!
//! A change is whole or not at all: whatever may fail (files, certificates, sockets) is done before the swap,
//! and a text that fails changes nothing but what the operators are told.

mod activate;
pub mod apply;
pub mod audit;
pub mod baseline;
pub mod build;
pub mod certificates;
pub mod change;
pub mod checks;
pub mod condition;
pub mod file;
pub mod history;
pub mod incidents;
pub mod keyrings;
pub mod limits;
pub mod notify;
pub mod observe;
pub mod origin;
pub mod permits;
pub mod probe;
pub mod plan;
pub mod ramp;
pub mod readdress;
pub mod receipt;
pub mod renew;
pub mod rollout;
pub mod rollback;
pub mod sources;
pub mod spells;
pub mod steering;
pub mod store;
mod target;
pub mod trial;
pub mod trust;
pub mod view;
pub mod watch;
pub mod words;

use crate::config::operators::Settings as AdminSettings;
use crate::config::plan::Plan;
use crate::config::policy::Policy;
use crate::config::public::{Incidents as Thresholds, StatusPage};
use crate::config::{self, Checked, Environment, Fillings};
use crate::control::baseline::Baseline;
use crate::control::build::Builder;
use crate::control::certificates::Ledger;
use crate::control::incidents::Incidents;
use crate::control::keyrings::Keyrings;
use crate::control::notify::Notifier;
use crate::control::origin::{Kept, Origin};
use crate::control::rollback::EndRollout;
use crate::control::steering::Steering;
use crate::control::store::Store;
use crate::control::store::books::Books;
use crate::control::store::materials::Materials;
use crate::control::trial::Trials;
use crate::filters::forwarded::TrustedProxies;
use crate::listener::Listeners;
use crate::routing::table::{Live, Table};
use crate::routing::trial::Tables;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::upstream::discovery::Directory;
use crate::upstream::discovery::directory::Lookups;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// Where a change came from, as the log says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The start of the process.
    Boot,
    /// The file changed.
    Watch,
    /// HUP.
    Signal,
    /// Somebody through the admin side.
    Api,
    /// A version came back.
    Rollback,
}

impl Cause {
    /// The word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::Boot => "boot",
            Cause::Watch => "watch",
            Cause::Signal => "signal",
            Cause::Api => "api",
            Cause::Rollback => "rollback",
        }
    }
}

/// What came of reading the file again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The content is what was last read.
    Unchanged,
    /// It is active.
    Applied,
    /// It is wrong; nothing changed.
    Refused,
}

/// What is active.
#[derive(Clone, Debug)]
pub struct Active {
    /// What it says.
    pub plan: Plan,
    /// Its text, which is checked again when somebody wishes: what fills its placeholders may be new.
    pub text: Arc<str>,
    /// Where it came from.
    pub origin: Origin,
    /// The file's text that it stands over: as long as the file says that, the file is no change.
    pub overruled: Option<blake3::Hash>,
}

impl Active {
    /// What a restart has to know of it.
    pub fn kept(&self) -> Kept {
        Kept::of(&self.text, &self.origin, self.overruled)
    }
}

/// What changes, and what is told of changes.
#[derive(Debug)]
struct State {
    /// Hash of the content that was last read, good or bad. Forgotten when the same text may do better later.
    last_read: Option<blake3::Hash>,
    /// The same, and never forgotten.
    last_seen: Option<blake3::Hash>,
    /// What is active.
    active: Active,
    /// Its number in the state directory.
    number: u64,
    /// What it is made of beside its text.
    materials: Arc<Materials>,
    /// The version before it.
    parent: Option<u64>,
    /// Why the last change was refused, if it was.
    refused: Option<String>,
    /// Why the process runs something else than it was told to, if it does.
    degraded: Option<String>,
    /// Tables that were replaced and may still be read by requests. Dropped here, never on a core.
    retired: Vec<Arc<Table>>,
    /// What is known of certificates.
    certificates: Ledger,
}

/// The control plane's end of the pointer.
pub struct Control {
    file: PathBuf,
    environment: Arc<dyn Environment + Send + Sync>,
    live: Arc<Live>,
    steering: Arc<Steering>,
    listeners: Arc<Listeners>,
    builder: Mutex<Builder>,
    /// Every name in use.
    names: Arc<Directory>,
    /// Keys that tokens are checked with.
    keyrings: Arc<Keyrings>,
    /// Who tells people what happens.
    notifier: Arc<Notifier>,
    books: Books,
    incidents: Arc<Incidents>,
    metrics: Arc<Metrics>,
    access_log: AccessLog,
    /// Takes over the admin side's tokens.
    admin: Box<dyn Fn(&AdminSettings) + Send + Sync>,
    /// Rollbacks so far: a change that began before one must not end after it.
    rollbacks: AtomicU64,
    /// Whoever goes back. Locked before the builder, and for less than a second.
    going_back: Mutex<()>,
    /// Ends a live rollout, once there is somebody who runs them.
    rollouts: OnceLock<EndRollout>,
    /// Something changed that files and listeners are looked at for.
    nudge: Notify,
    state: Mutex<State>,
    /// What is tried. Locked after the builder, and never together with the state.
    trials: Mutex<Trials>,
    /// What routes did in the last five minutes.
    baseline: Baseline,
}

/// What a control plane is made of.
pub struct Parts {
    /// The file that is watched.
    pub file: PathBuf,
    /// Where placeholders are filled from.
    pub environment: Arc<dyn Environment + Send + Sync>,
    /// The pointer.
    pub live: Arc<Live>,
    /// The levers that every table follows.
    pub steering: Arc<Steering>,
    /// The street doors.
    pub listeners: Arc<Listeners>,
    /// What built the first table.
    pub builder: Builder,
    /// The names that it builds with.
    pub names: Arc<Directory>,
    /// Keys that tokens are checked with.
    pub keyrings: Arc<Keyrings>,
    /// Who tells people what happens.
    pub notifier: Arc<Notifier>,
    /// What is kept of versions, and where.
    pub books: Books,
    /// Incidents, and who watches for the next.
    pub incidents: Arc<Incidents>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The access log.
    pub access_log: AccessLog,
    /// Takes over the admin side's tokens.
    pub admin: Box<dyn Fn(&AdminSettings) + Send + Sync>,
}

/// Where the boot ended.
#[derive(Debug)]
pub struct Begun {
    /// Hash of the content of the file as it was last read; nothing if the next look is to take it for a change.
    pub read: Option<blake3::Hash>,
    /// Hash of the content of the file as it is, if it could be read.
    pub seen: Option<blake3::Hash>,
    /// What is active.
    pub active: Active,
    /// What it is made of beside its text.
    pub materials: Arc<Materials>,
    /// The version that was active before, in an earlier process.
    pub parent: Option<u64>,
    /// Why another text than the file's is active, if that is a fault.
    pub degraded: Option<String>,
    /// Why the file's text is not active, if it is kept out.
    pub refused: Option<String>,
}

impl Control {
    /// Begins where the boot ended.
    pub fn new(parts: Parts, begun: Begun) -> Self {
        let Begun { read, seen, active, materials, parent, degraded, refused } = begun;
        let state = State {
            active,
            number: parts.live.load().number,
            materials,
            parent,
            last_read: read,
            last_seen: seen,
            refused: refused.or_else(|| degraded.clone()),
            degraded,
            retired: Vec::new(),
            certificates: Ledger::default(),
        };
        let control = Control {
            file: parts.file,
            environment: parts.environment,
            live: parts.live,
            steering: parts.steering,
            listeners: parts.listeners,
            builder: Mutex::new(parts.builder),
            names: parts.names,
            keyrings: parts.keyrings,
            notifier: parts.notifier,
            books: parts.books,
            incidents: parts.incidents,
            baseline: Baseline::new(parts.metrics.clone()),
            metrics: parts.metrics,
            access_log: parts.access_log,
            admin: parts.admin,
            rollbacks: AtomicU64::new(0),
            going_back: Mutex::default(),
            rollouts: OnceLock::new(),
            nudge: Notify::new(),
            state: Mutex::new(state),
            trials: Mutex::default(),
        };
        // So that the first scrape knows of every certificate.
        control.renew();
        control
    }

    /// What went wrong with a text, without what filled its placeholders.
    pub(in crate::control) fn unfilled(&self, why: &str, text: &str) -> String {
        config::unfill(why, text, self.file.parent().unwrap_or(Path::new("")), &*self.environment)
    }

    /// Tables were replaced. Those that no request reads any more go.
    fn retire(&self, before: Arc<Tables>) {
        let mut state = self.state();
        for table in before.all() {
            if !state.retired.iter().any(|retired| Arc::ptr_eq(retired, table)) {
                state.retired.push(table.clone());
            }
        }
        drop(state);
        drop(before);
        self.drop_unread();
    }

    /// Drops replaced tables that no request reads any more. True if there were any.
    fn drop_unread(&self) -> bool {
        let mut state = self.state();
        let (kept, done) =
            std::mem::take(&mut state.retired).into_iter().partition(|t| Arc::strong_count(t) > 1);
        state.retired = kept;
        drop(state);
        let done: Vec<Arc<Table>> = done;
        !done.is_empty()
    }

    /// Drops replaced tables that no request reads any more, and forgets the names that only they had.
    pub fn tidy(&self) {
        if !self.drop_unread() {
            return;
        }
        let plan = self.state().active.plan.clone();
        self.builder.lock().unwrap_or_else(PoisonError::into_inner).forget_unused(&plan);
    }

    /// What routes did in the last five minutes.
    pub fn baseline(&self) -> &Baseline {
        &self.baseline
    }

    /// Looks at what cores count, ten times a second: what routes usually do, and what is too long for them.
    pub fn look_on(&self, now: Instant) {
        self.baseline.tick(now);
        self.follow_patience(now);
    }

    /// Checks a text as if it stood in the file. Takes long for a long text, and reads local files.
    pub fn check(&self, text: &str) -> Checked {
        config::check(text, &self.file, &*self.environment)
    }

    /// What fills the placeholders of a text that stands in the file. Reads local files.
    pub fn fillings(&self, text: &str) -> Fillings {
        Fillings::of(text, self.file.parent().unwrap_or(Path::new("")), &*self.environment)
    }

    /// How the active version's successor reaches clients.
    pub fn policy(&self) -> Policy {
        self.state().active.plan.rollout.clone()
    }

    /// Incidents.
    pub fn incidents(&self) -> &Arc<Incidents> {
        &self.incidents
    }

    /// When the gateway drafts them, and what a freeze holds.
    pub fn thresholds(&self) -> Thresholds {
        self.state().active.plan.incidents.clone()
    }

    /// The page for everyone, if the active version has one.
    pub fn status_page(&self) -> Option<StatusPage> {
        self.state().active.plan.status_page.clone()
    }

    /// Whose forwarding headers the active version believes.
    pub fn trusted_proxies(&self) -> TrustedProxies {
        TrustedProxies::new(self.state().active.plan.gateway.trusted_proxies.clone())
    }

    /// What the active version says.
    pub fn active_plan(&self) -> Arc<Plan> {
        Arc::new(self.state().active.plan.clone())
    }

    /// The levers.
    pub fn steering(&self) -> &Arc<Steering> {
        &self.steering
    }

    /// The hash of the active version's text.
    pub fn active_hash(&self) -> String {
        self.live.load().hash.clone()
    }

    /// The active version's number, if it has this hash.
    pub fn number_of(&self, hash: &str) -> Option<u64> {
        let table = self.live.load();
        (table.hash == hash).then_some(table.number)
    }

    /// Where clients connect.
    pub fn bound(&self) -> Vec<(Arc<str>, SocketAddr)> {
        self.listeners.bound()
    }

    /// What the lookups of backends' names come to.
    pub fn lookups(&self) -> &Lookups {
        &self.names.lookups
    }

    /// The state directory.
    pub fn store(&self) -> &Store {
        self.books.store()
    }

    /// Who tells people what happens.
    pub fn notifier(&self) -> &Arc<Notifier> {
        &self.notifier
    }

    /// What is kept of versions.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// The active version's number.
    pub fn number(&self) -> u64 {
        self.state().number
    }

    /// Whether this is what runs.
    pub(in crate::control) fn is_active(&self, plan: &Plan) -> bool {
        self.state().active.plan == *plan
    }

    /// Counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The file that is watched.
    pub fn file(&self) -> &PathBuf {
        &self.file
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
