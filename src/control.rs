//! From text to running table: check, build, swap, remember. The one place that changes what the data plane
//! reads, and it does so by one pointer swap.
//!
//! A change is whole or not at all: whatever may fail (files, certificates, sockets) is done before the swap,
//! and a text that fails changes nothing but what the operators are told.

mod activate;
pub mod apply;
pub mod baseline;
pub mod build;
pub mod certificates;
pub mod checks;
pub mod keyrings;
pub mod limits;
pub mod observe;
pub mod origin;
pub mod permits;
pub mod ramp;
pub mod readdress;
pub mod renew;
pub mod steering;
pub mod store;
pub mod trial;
pub mod trust;
pub mod view;
pub mod watch;

use crate::config::operators::Settings as AdminSettings;
use crate::config::plan::Plan;
use crate::config::{self, Checked, Environment};
use crate::control::apply::Turns;
use crate::control::baseline::Baseline;
use crate::control::build::Builder;
use crate::control::certificates::Ledger;
use crate::control::origin::{Kept, Origin};
use crate::control::steering::Steering;
use crate::control::store::Store;
use crate::control::trial::Trials;
use crate::listener::Listeners;
use crate::routing::table::{Live, Table};
use crate::routing::trial::Tables;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::events::ConfigRefused;
use crate::telemetry::metrics::{ApplyOutcome, Metrics};
use crate::upstream::discovery::Directory;
use crate::upstream::discovery::directory::Lookups;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

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
}

impl Cause {
    /// The word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::Boot => "boot",
            Cause::Watch => "watch",
            Cause::Signal => "signal",
            Cause::Api => "api",
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
    /// Its number in this process.
    number: u64,
    /// Why the last change was refused, if it was.
    refused: Option<String>,
    /// Why the process runs something else than it was told to, if it does.
    degraded: Option<String>,
    /// Why what is active is not on disk, if it is not.
    unkept: Option<String>,
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
    store: Store,
    metrics: Arc<Metrics>,
    access_log: AccessLog,
    /// Takes over the admin side's tokens.
    admin: Box<dyn Fn(&AdminSettings) + Send + Sync>,
    turns: Turns,
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
    /// The state directory.
    pub store: Store,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The access log.
    pub access_log: AccessLog,
    /// Takes over the admin side's tokens.
    pub admin: Box<dyn Fn(&AdminSettings) + Send + Sync>,
}

impl Control {
    /// Begins where the boot ended: `read` is the content of the file as it was read then, `degraded` why
    /// another text is active, if one is.
    pub fn new(parts: Parts, read: Option<&str>, active: Active, degraded: Option<String>) -> Self {
        let read = read.map(|text| blake3::hash(text.as_bytes()));
        let state = State {
            active,
            number: parts.live.load().number,
            last_read: read,
            last_seen: read,
            refused: degraded.clone(),
            degraded,
            unkept: None,
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
            store: parts.store,
            baseline: Baseline::new(parts.metrics.clone()),
            metrics: parts.metrics,
            access_log: parts.access_log,
            admin: parts.admin,
            turns: Turns::default(),
            state: Mutex::new(state),
            trials: Mutex::default(),
        };
        // So that the first scrape knows of every certificate.
        control.renew();
        control
    }

    /// Reads the file again and makes it active if it is good. Blocks on files and sockets: for the
    /// background thread.
    pub fn reread(&self, cause: Cause) -> Outcome {
        let outcome = match config::read(&self.file) {
            Ok(text) => self.change(&text, cause),
            Err(error) => {
                // The same text coming back is news then.
                self.state().last_read = None;
                Err(format!("{}: {error}", self.file.display()))
            }
        };
        let outcome = outcome.unwrap_or_else(|why| {
            ConfigRefused { cause: cause.as_str(), error: &why }.emit();
            self.state().refused = Some(why);
            Outcome::Refused
        });
        self.metrics.process().apply(match outcome {
            Outcome::Unchanged => ApplyOutcome::Unchanged,
            Outcome::Applied => ApplyOutcome::Applied,
            Outcome::Refused => ApplyOutcome::Refused,
        });
        outcome
    }

    /// A file is a change only if its content differs from what was last read (`design.md`, "Change"). A
    /// signal is a wish, so it is read anyway: what fills its placeholders, or a certificate, may be new.
    fn change(&self, text: &str, cause: Cause) -> Result<Outcome, String> {
        let hash = blake3::hash(text.as_bytes());
        {
            let mut state = self.state();
            state.last_seen = Some(hash);
            let known = state.last_read.replace(hash) == Some(hash);
            if state.active.overruled == Some(hash) {
                // Whatever was wrong with the file meanwhile, it says again what somebody decided against.
                state.refused = None;
                drop(state);
                return if cause == Cause::Watch { Ok(Outcome::Unchanged) } else { self.again() };
            }
            if known && cause == Cause::Watch {
                return Ok(Outcome::Unchanged);
            }
        }
        // The background thread does one thing at a time; this tells others what it is at.
        let _turn = self.turns.take("the file", Some(cause.as_str()));
        self.stand_over_nothing();
        let checked = self.check(text);
        let errors = checked.errors();
        let plan = checked.plan.ok_or_else(|| errors.join("\n"))?;
        let origin = Origin::now(cause, None, None);
        let active = Active { plan, text: text.into(), origin, overruled: None };
        // What failed for want of an address or a certificate may pass, so it is tried again at the next look.
        self.enact(active).inspect_err(|_| self.state().last_read = None)
    }

    /// The active text again, when the file is not what runs: what is outside of it may be new.
    fn again(&self) -> Result<Outcome, String> {
        let active = self.state().active.clone();
        let checked = self.check(&active.text);
        let errors = checked.errors();
        let plan = checked
            .plan
            .ok_or_else(|| format!("the active version cannot be read again: {}", errors.join("\n")))?;
        self.enact(Active { plan, ..active })
    }

    /// The file has another text than the one that the active version stands over: from here on, every text of
    /// it is a change, also after a restart.
    fn stand_over_nothing(&self) {
        let kept = {
            let mut state = self.state();
            if state.active.overruled.take().is_none() {
                return;
            }
            state.active.kept()
        };
        if let Err(error) = self.store.remember(&kept) {
            tracing::warn!(%error, "a restart may not know that the file has changed");
        }
    }

    /// What went wrong with a text, without what filled its placeholders.
    fn unfilled(&self, why: &str, text: &str) -> String {
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
        &self.store
    }

    /// The file that is watched.
    pub fn file(&self) -> &PathBuf {
        &self.file
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
