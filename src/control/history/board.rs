//! What the thread of the history tells everybody, readable without waiting for it.

use crate::control::audit::AuditView;
use crate::control::audit::head::Head;
use crate::control::audit::refusals::Refusals;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// At one thing for longer than this, the thread holds up whoever waits for it.
const LONG: Duration = Duration::from_millis(500);

/// At one thing for longer than this, the thread is as good as gone until it comes back.
const STUCK: Duration = Duration::from_secs(5);

/// Where the thread writes how it stands.
#[derive(Debug, Default)]
pub struct Board {
    audit: Mutex<AuditView>,
    /// Since when the thread is at something.
    busy_since: Mutex<Option<Instant>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Entries that nobody recorded, since the start of the process.
    pub dropped: AtomicU64,
    /// Refusals that are being counted together.
    pub refusals: Refusals,
}

impl Board {
    /// How the audit stands.
    pub fn audit(&self) -> AuditView {
        held(&self.audit).clone()
    }

    /// It has been at one thing for long, or nothing can be recorded at all.
    pub fn is_held_up(&self) -> bool {
        self.is_deserted()
            || held(&self.audit).unavailable.is_some()
            || held(&self.busy_since).is_some_and(|since| since.elapsed() > LONG)
    }

    /// For how long the thread has been stuck, if it is.
    pub fn stuck(&self) -> Option<Duration> {
        held(&self.busy_since).map(|since| since.elapsed()).filter(|elapsed| *elapsed > STUCK)
    }

    /// The thread begins or ends something.
    pub(super) fn busy(&self, is_busy: bool) {
        *held(&self.busy_since) = is_busy.then(Instant::now);
    }

    /// The chain ends here now.
    pub(super) fn head(&self, head: &Head) {
        let mut audit = held(&self.audit);
        (audit.head, audit.count, audit.segment) = (head.hash.clone(), head.count, head.segment);
    }

    /// So many changes wait in memory.
    pub(super) fn waiting(&self, waiting: usize) {
        held(&self.audit).waiting = waiting as u64;
    }

    /// How the shipped lines stand.
    pub(super) fn lines(&self, behind: u64, failures: u64) {
        let mut audit = held(&self.audit);
        (audit.lines_behind, audit.lines_failures) = (behind, failures);
    }

    /// Nothing can be recorded, or can again. Answers whether that is news.
    pub(super) fn unavailable(&self, why: Option<String>) -> bool {
        let mut audit = held(&self.audit);
        let is_news = audit.unavailable.is_some() != why.is_some();
        audit.open = why.is_none();
        audit.unavailable = why;
        is_news
    }

    /// The thread was there and is no more: a defect, or the end of the process.
    pub fn is_deserted(&self) -> bool {
        held(&self.thread).as_ref().is_some_and(JoinHandle::is_finished)
    }

    pub(super) fn attended_by(&self, thread: JoinHandle<()>) {
        *held(&self.thread) = Some(thread);
    }

    /// The thread lives.
    pub(super) fn is_attended(&self) -> bool {
        held(&self.thread).as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

/// Nothing panics while it holds one of these, and each is whole after every step.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
