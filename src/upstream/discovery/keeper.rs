//! Keeps every name of a directory resolved: when to ask, how many at once, and for how long.
//!
//! Lookups are bounded in number and in time, so a name server that hangs holds sixteen of them for two seconds and
//! nothing else. A quarter of them is for names that were never asked for, which would else wait behind all others
//! while nobody answers.

use crate::upstream::discovery::directory::{Lookups, Wanted};
use crate::upstream::discovery::history::History;
use crate::upstream::discovery::resolver::{Bounds, Resolver};
use crate::upstream::discovery::{AddressSet, Answer, Directory};
use arc_swap::ArcSwapOption;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::task::JoinSet;

/// Lookups in flight at most; a name server that hangs must not collect them.
pub const MAX_LOOKUPS: usize = 16;
/// Of these, for names that were never asked for.
const FOR_NEWCOMERS: usize = 4;

/// How often names are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between lookups of one name while they are answered, ± 20 %.
    pub refresh: Duration,
    /// After the first failure; doubles with each further one.
    pub retry_min: Duration,
    /// Between lookups at most.
    pub retry_max: Duration,
    /// For one lookup.
    pub deadline: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            refresh: Duration::from_secs(5),
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(30),
            deadline: Duration::from_secs(2),
        }
    }
}

impl Pace {
    /// Until the next lookup after `failures` in a row; `chance` in 0..1 spreads the names.
    pub(super) fn wait(&self, failures: u32, chance: f64) -> Duration {
        let base = match failures {
            0 => self.refresh,
            n => self.retry_min.saturating_mul(1 << (n - 1).min(16)).min(self.retry_max),
        };
        base.mul_f64(0.8 + 0.4 * chance).min(self.retry_max.max(self.refresh))
    }
}

/// Looks after every name of `directory`, for ever. Belongs on a thread where nobody waits: reading the system's
/// configuration and hosts file blocks, and so may what it names. Needs a runtime of one thread.
pub async fn keep_resolved(directory: Arc<Directory>, pace: Pace) {
    let asking = Arc::new(Asking {
        directory: directory.clone(),
        resolver: ArcSwapOption::empty(),
        pace,
        slots: Slots {
            all: Semaphore::new(MAX_LOOKUPS - FOR_NEWCOMERS),
            newcomers: Semaphore::new(FOR_NEWCOMERS),
        },
        renewed: Notify::new(),
    });
    let mut servers = None;
    let mut tasks = JoinSet::new();
    loop {
        let wanted = directory.servers();
        if servers.as_ref() != Some(&wanted) {
            asking.ask(&wanted);
            servers = Some(wanted);
        }
        for (wanted, set) in directory.take_added() {
            tasks.spawn_local(keep(asking.clone(), wanted, set));
        }
        tokio::select! {
            () = directory.work.notified() => {}
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// What all names have in common.
pub(super) struct Asking {
    directory: Arc<Directory>,
    resolver: ArcSwapOption<Resolver>,
    pace: Pace,
    slots: Slots,
    /// Others are asked now: rung for those who wait because the ones before did not answer.
    renewed: Notify,
}

struct Slots {
    all: Semaphore,
    newcomers: Semaphore,
}

/// A lookup under way.
struct Slot<'a> {
    _permit: Option<SemaphorePermit<'a>>,
    _in_flight: Gauge<'a>,
}

/// One more, as long as it is held.
struct Gauge<'a>(&'a AtomicU32);

impl<'a> Gauge<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Relaxed);
        Gauge(count)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Asking {
    fn ask(&self, servers: &[SocketAddr]) {
        let resolver = if servers.is_empty() { Resolver::system() } else { Resolver::asking(servers) };
        match resolver {
            Ok(resolver) => {
                self.resolver.store(Some(Arc::new(resolver)));
                self.renewed.notify_waiters();
            }
            Err(error) => tracing::error!(error, "these name servers cannot be asked"),
        }
    }

    async fn slot(&self, newcomer: bool) -> Slot<'_> {
        let Lookups { waiting, in_flight, .. } = &self.directory.lookups;
        let waits = Gauge::new(waiting);
        // Never closed.
        let permit = if newcomer {
            tokio::select! {
                permit = self.slots.newcomers.acquire() => permit.ok(),
                permit = self.slots.all.acquire() => permit.ok(),
            }
        } else {
            self.slots.all.acquire().await.ok()
        };
        drop(waits);
        Slot { _permit: permit, _in_flight: Gauge::new(in_flight) }
    }

    async fn look_up(&self, wanted: &Wanted, newcomer: bool) -> Answer {
        let Some(resolver) = self.resolver.load_full() else {
            return Answer::Failed("there is no name server to ask".to_owned());
        };
        let answer = resolver.addresses(&Turn { asking: self, newcomer }, &wanted.0).await;
        let Lookups { found, missing, failed, .. } = &self.directory.lookups;
        match &answer {
            Answer::Found(..) => found,
            Answer::Missing(_) => missing,
            Answer::Partly(..) | Answer::Failed(_) => failed,
        }
        .fetch_add(1, Relaxed);
        answer
    }
}

/// The questions of one lookup.
struct Turn<'a> {
    asking: &'a Asking,
    newcomer: bool,
}

impl Bounds for Turn<'_> {
    async fn bounded<T>(&self, question: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        let _slot = self.asking.slot(self.newcomer).await;
        let deadline = self.asking.pace.deadline;
        match tokio::time::timeout(deadline, question).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {deadline:?}")),
        }
    }
}

/// Looks after one name for as long as anybody uses it.
async fn keep(asking: Arc<Asking>, wanted: Wanted, set: Weak<AddressSet>) {
    let Some(first) = set.upgrade().map(|set| set.load().list.clone()) else { return };
    let mut history = History::new(wanted.1, &first);
    while let Some(set) = set.upgrade() {
        let answer = asking.look_up(&wanted, !set.was_tried()).await;
        let failing = history.looked().failure.is_some();
        history.take_in(answer, Instant::now());
        tell(&wanted, &history, failing);
        let changed = set.replace(history.addresses());
        set.note(history.looked().clone());
        if changed {
            asking.directory.note_change(&wanted.0, &set.load().list);
        }
        drop(set);
        let pause = history.wait(&asking.pace, fastrand::f64(), Instant::now());
        let _ = tokio::time::timeout(pause, asking.renewed.notified()).await;
    }
}

/// Logs when a name begins to fail and when it resolves again, not every lookup between.
fn tell(wanted: &Wanted, history: &History, failing: bool) {
    let (name, addresses) = (wanted.0.to_string(), history.addresses().len());
    match &history.looked().failure {
        Some(error) if !failing => {
            tracing::warn!(name, %error, addresses, "a backend's name does not resolve");
        }
        None if failing => tracing::info!(name, addresses, "a backend's name resolves again"),
        _ => {}
    }
}
