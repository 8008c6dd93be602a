//! From text to running table: check, build, swap, remember. The one place that changes what the data plane
//! reads, and it does so by one pointer swap.
//!
//! A change is whole or not at all: whatever may fail (files, certificates, sockets) is done before the swap,
//! and a text that fails changes nothing but what the operators are told.
#![expect(clippy::disallowed_methods, reason = "on the background thread")]

pub mod build;
pub mod certificates;
pub mod observe;
pub mod ramp;
pub mod steering;
pub mod renew;
pub mod store;
pub mod trust;
pub mod view;
pub mod watch;

use crate::config::operators::Settings as AdminSettings;
use crate::config::plan::Plan;
use crate::config::{self, Environment};
use crate::control::build::Builder;
use crate::control::certificates::Ledger;
use crate::control::steering::Steering;
use crate::control::store::Store;
use crate::listener::{BindError, Change, Listeners};
use crate::routing::table::{Live, Table};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::events::{ConfigApplied, ConfigRefused, RampConflict};
use crate::telemetry::metrics::{ApplyOutcome, Metrics};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where a change came from, as the log says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The file changed.
    Watch,
    /// HUP.
    Signal,
}

impl Cause {
    /// The word in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Cause::Watch => "watch",
            Cause::Signal => "signal",
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

/// What changes, and what is told of changes.
#[derive(Debug, Default)]
struct State {
    /// Hash of the content that was last read, good or bad.
    last_read: Option<blake3::Hash>,
    /// What is active.
    active: Option<Plan>,
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
    store: Store,
    metrics: Arc<Metrics>,
    access_log: AccessLog,
    /// Takes over the admin side's tokens.
    admin: Box<dyn Fn(&AdminSettings) + Send + Sync>,
    state: Mutex<State>,
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
    pub fn new(parts: Parts, read: Option<&str>, active: Plan, degraded: Option<String>) -> Self {
        let state = State {
            active: Some(active),
            last_read: read.map(|text| blake3::hash(text.as_bytes())),
            refused: degraded.clone(),
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
            store: parts.store,
            metrics: parts.metrics,
            access_log: parts.access_log,
            admin: parts.admin,
            state: Mutex::new(state),
        };
        // So that the first scrape knows of every certificate.
        control.renew();
        control
    }

    /// Reads the file again and makes it active if it is good. Blocks on files and sockets: for the
    /// background thread.
    pub fn reread(&self, cause: Cause) -> Outcome {
        let outcome = match std::fs::read_to_string(&self.file) {
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
        if self.state().last_read.replace(hash) == Some(hash) && cause == Cause::Watch {
            return Ok(Outcome::Unchanged);
        }
        let checked = config::check(text, &self.file, &*self.environment);
        let errors = checked.errors();
        let plan = checked.plan.ok_or_else(|| errors.join("\n"))?;
        if self.state().active.as_ref() == Some(&plan) {
            self.refresh(&plan, text)?;
            return Ok(Outcome::Unchanged);
        }
        // What failed for want of an address or a certificate may pass, so it is tried again at the next look.
        self.activate(plan, text, cause).inspect_err(|_| self.state().last_read = None)?;
        Ok(Outcome::Applied)
    }

    /// The same plan again: only what is outside the text may be new, certificates and moved log files.
    fn refresh(&self, plan: &Plan, text: &str) -> Result<(), String> {
        self.prepare_doors(plan)?.commit();
        self.renew();
        self.access_log.reopen();
        self.settle(text);
        Ok(())
    }

    /// Everything about the street doors that can fail.
    fn prepare_doors(&self, plan: &Plan) -> Result<Change<'_>, String> {
        let errors =
            |errors: Vec<BindError>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        self.listeners.prepare(&plan.listeners).map_err(errors)
    }

    fn activate(&self, plan: Plan, text: &str, cause: Cause) -> Result<(), String> {
        let mut builder = self.builder.lock().unwrap_or_else(PoisonError::into_inner);
        let table = Arc::new(builder.build(&plan)?);
        let doors = self.prepare_doors(&plan)?;
        let number = table.number;
        // Routes before doors: who comes in by a new door finds the routes that name it.
        let before = self.steering.swap(table.clone());
        let warnings = doors.commit();
        builder.commit(&plan);
        (self.admin)(&plan.admin);
        self.access_log.retarget(&plan.access_log.target);
        self.access_log.reopen();
        let mut notices = plan.notices.clone();
        notices.extend(warnings);
        let conflicts = self.steering.conflicts(&before, &table);
        conflicts.iter().for_each(|notice| RampConflict { notice }.emit());
        notices.extend(conflicts);
        notices.extend(self.state().active.iter().flat_map(|before| only_at_start(before, &plan)));
        ConfigApplied { version: number, hash: &plan.hash, cause: cause.as_str(), notices: &notices }.emit();
        {
            let mut state = self.state();
            state.retired.push(before);
            state.active = Some(plan);
        }
        drop(builder);
        self.renew();
        self.settle(text);
        Ok(())
    }

    /// What is active is what the file says.
    fn settle(&self, text: &str) {
        {
            // Before the disk is asked: it may take its time, and the version is active already.
            let mut state = self.state();
            state.refused = None;
            state.degraded = None;
        }
        if let Err(error) = self.store.keep(text) {
            self.not_kept(&error);
        }
    }

    /// The active version is not on disk: a restart may not know it. A reason that was there before stays.
    pub fn not_kept(&self, error: &io::Error) {
        tracing::warn!(%error, "the last good version cannot be kept; a restart will not have it");
        let why = format!("the last good version was not stored: {error}");
        self.state().degraded.get_or_insert(why);
    }

    /// Drops replaced tables that no request reads any more.
    pub fn tidy(&self) {
        let mut state = self.state();
        let (kept, done) =
            std::mem::take(&mut state.retired).into_iter().partition(|t| Arc::strong_count(t) > 1);
        state.retired = kept;
        drop(state);
        let done: Vec<Arc<Table>> = done;
        drop(done);
    }

    /// The levers.
    pub fn steering(&self) -> &Arc<Steering> {
        &self.steering
    }

    /// The hash of the active version's text.
    pub fn active_hash(&self) -> String {
        self.live.load().hash.clone()
    }

    /// Where clients connect.
    pub fn bound(&self) -> Vec<(Arc<str>, SocketAddr)> {
        self.listeners.bound()
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

/// What differs between two plans and is only read when the process starts; a sentence each.
fn only_at_start(before: &Plan, after: &Plan) -> Vec<String> {
    let (gateway, then) = (&after.gateway, &before.gateway);
    let (admin, was) = (&after.admin, &before.admin);
    let drain = (gateway.drain_delay, gateway.drain_timeout) != (then.drain_delay, then.drain_timeout);
    let changed = [
        ("gateway.workers", gateway.workers != then.workers),
        ("gateway.drain_delay and drain_timeout", drain),
        ("admin.address", admin.address != was.address),
        ("admin.state_dir", admin.state_dir != was.state_dir),
        ("admin.socket", admin.socket != was.socket),
    ];
    let changed = changed.into_iter().filter(|(_, differs)| *differs);
    changed
        .map(|(key, _)| format!("{key} is read at the start only: the change waits for a restart"))
        .collect()
}
