//! The keys of one source, as cores see them and whoever fetches them replaces them, whole.
//!
//! A source that fails, hangs or answers garbage never takes keys away: the last good ones stay. A request waits for a
//! fetch only if it may be the one to cause it, or if there are no keys at all; never longer than it is told, and
//! never together with more than a bound of others.

use super::Head;
use super::keys::{BadSet, KeySet};
use super::pace::Unknown;
use crate::permit::{Counter, Permit};
use crate::runtime::offload::Offload;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};
use tokio::sync::{Notify, watch};

/// Requests that wait for one source's keys at most.
const MAX_WAITING: u32 = 256;
/// Signatures that wait for their turn to be checked at most: at 100 µs each, the last one waits for 25 ms.
const MAX_SIGNATURES: usize = 256;

/// The keys of one source.
#[derive(Debug)]
pub struct Ring {
    held: ArcSwapOption<Held>,
    unknown: Mutex<Unknown>,
    /// Whoever fetches should, now.
    wanted: Arc<Notify>,
    /// Fetches that ended, with whatever outcome.
    ended: watch::Sender<u64>,
    /// How many had ended when one was last asked for.
    asked: AtomicU64,
    waiting: Arc<Counter>,
    /// Where signatures are checked.
    turns: Offload,
    report: Mutex<Report>,
    succeeded: AtomicU64,
    failed: AtomicU64,
}

/// Keys that are held.
#[derive(Debug)]
pub struct Held {
    /// Ready for use.
    pub keys: KeySet,
    /// As they were published.
    pub document: Bytes,
    /// When they were last confirmed by their source.
    pub confirmed: SystemTime,
}

/// What people are told of a source.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Fetches that failed since the last one that succeeded.
    pub failures: u32,
    /// Why the last one failed.
    pub failure: Option<Arc<str>>,
}

/// Why there are no keys to check a token with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoKeys {
    /// There never were any, and the source fails.
    Never,
    /// There never were any, and none came in time.
    Late,
    /// Too many wait for them already.
    Busy,
    /// There are, but not the one that the token names, and the source cannot be asked for it.
    Stuck,
}

impl Ring {
    /// With the keys of an earlier process, or without any; `wanted` is told when a token names another.
    pub fn wanting(held: Option<Held>, wanted: Arc<Notify>) -> Self {
        Ring {
            held: ArcSwapOption::from_pointee(held),
            unknown: Mutex::default(),
            wanted,
            ended: watch::Sender::new(0),
            asked: AtomicU64::new(u64::MAX),
            waiting: Arc::default(),
            turns: Offload::with_queue(turns(), MAX_SIGNATURES),
            report: Mutex::default(),
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// With keys that never change.
    pub fn fixed(keys: KeySet) -> Self {
        let held = Held { keys, document: Bytes::new(), confirmed: SystemTime::now() };
        Ring::wanting(Some(held), Arc::default())
    }

    /// Where signatures are checked.
    pub fn turns(&self) -> &Offload {
        &self.turns
    }

    /// What is held now.
    pub fn held(&self) -> Option<Arc<Held>> {
        self.held.load_full()
    }

    /// The keys to check a token with; where the one that it names is not among them, after having asked for it if
    /// that is not asked too often.
    ///
    /// # Errors
    /// See [`NoKeys`].
    pub async fn keys_for(&self, head: &Head, until: Instant) -> Result<Arc<Held>, NoKeys> {
        let held = self.held();
        let may_ask = match &held {
            Some(held) if held.keys.knows(head) => return Ok(held.clone()),
            Some(_) => self.may_ask(head),
            None => true,
        };
        // While a fetch is under way everybody waits for it: where a key was rotated, all clients come with the new one.
        if may_ask || self.is_asked() {
            self.ask(until, may_ask && held.is_some()).await?;
        }
        match self.held() {
            Some(now) if now.keys.knows(head) || !self.is_failing() => Ok(now),
            Some(_) => Err(NoKeys::Stuck),
            None if !self.is_failing() => Err(NoKeys::Late),
            None => Err(NoKeys::Never),
        }
    }

    /// Waits for the end of a fetch; with `wish`, of one that is wanted now. Without any keys it is the one that is
    /// under way or due, which is at its own pace: whoever shows tokens cannot quicken it.
    async fn ask(&self, until: Instant, wish: bool) -> Result<(), NoKeys> {
        let Some(_place) = Permit::try_new(self.waiting.clone(), MAX_WAITING) else {
            return Err(NoKeys::Busy);
        };
        let mut ended = self.ended.subscribe();
        let seen = *ended.borrow_and_update();
        if wish {
            self.asked.store(seen, Relaxed);
            self.wanted.notify_one();
        } else if self.is_failing() && !self.is_asked() {
            return Ok(());
        }
        let end = ended.wait_for(|ended| *ended > seen);
        // Too late is told by what is held then.
        let _ = tokio::time::timeout_at(until.into(), end).await;
        Ok(())
    }

    /// A fetch was asked for and has not ended.
    fn is_asked(&self) -> bool {
        self.asked.load(Relaxed) == *self.ended.borrow()
    }

    /// Never waits: while another core looks, this name is as good as remembered.
    fn may_ask(&self, head: &Head) -> bool {
        let name = xxhash_rust::xxh3::xxh3_64(head.kid.as_deref().unwrap_or_default().as_bytes());
        self.unknown.try_lock().is_ok_and(|mut unknown| unknown.may_ask(name, Instant::now()))
    }

    /// Takes in what the source answered.
    ///
    /// # Errors
    /// What is wrong with it; what was held stays.
    pub fn found(&self, document: Bytes, now: SystemTime) -> Result<Changed, BadSet> {
        let before = self.held();
        let same = before.as_ref().filter(|held| held.document == document);
        let keys = match same {
            Some(held) => held.keys.clone(),
            None => KeySet::parse(&document)?,
        };
        let changed = same.is_none();
        self.held.store(Some(Arc::new(Held { keys, document, confirmed: now })));
        *self.report() = Report::default();
        self.succeeded.fetch_add(1, Relaxed);
        self.ended.send_modify(|ended| *ended += 1);
        Ok(Changed(changed))
    }

    /// A fetch brought nothing. Returns how many that were in a row.
    pub fn failed(&self, why: &str) -> u32 {
        let failures = {
            let mut report = self.report();
            report.failures = report.failures.saturating_add(1);
            report.failure = Some(why.into());
            report.failures
        };
        self.failed.fetch_add(1, Relaxed);
        self.ended.send_modify(|ended| *ended += 1);
        failures
    }

    /// What people are told.
    pub fn told(&self) -> Report {
        self.report().clone()
    }

    /// Fetches ever, as they succeeded and failed.
    pub fn fetches(&self) -> (u64, u64) {
        (self.succeeded.load(Relaxed), self.failed.load(Relaxed))
    }

    fn is_failing(&self) -> bool {
        self.report().failures > 0
    }

    /// Held for a few instructions, by whoever has no keys or an unknown one.
    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Signatures that are checked at the same time: half of the cores' worth, so that a flood of tokens leaves the other
/// half to everything else.
fn turns() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}

/// Whether keys are other ones than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed(pub bool);

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::Algorithm::EdDSA;
    use std::time::Duration;

    fn set(kid: &str) -> Bytes {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        format!("{{\"keys\":[{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"{kid}\",\"x\":\"{x}\"}}]}}")
            .into()
    }

    fn head(kid: &str) -> Head {
        Head { algorithm: EdDSA, kid: Some(kid.into()) }
    }

    fn ring(kid: &str) -> (Ring, Arc<Notify>) {
        let wanted = Arc::new(Notify::new());
        let ring = Ring::wanting(None, wanted.clone());
        ring.found(set(kid), SystemTime::now()).expect("keys");
        (ring, wanted)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test]
    async fn everybody_with_a_new_key_waits_for_the_one_fetch_that_brings_it() {
        let (ring, wanted) = ring("old");
        let (first, second, new) = (head("new"), head("new"), head("other"));
        let fetch = async {
            wanted.notified().await;
            tokio::task::yield_now().await;
            ring.found(set("new"), SystemTime::now()).expect("keys");
        };
        let (first, second, other, ()) = tokio::join!(
            ring.keys_for(&first, soon()),
            ring.keys_for(&second, soon()),
            ring.keys_for(&new, soon()),
            fetch
        );
        assert!(
            [first, second].iter().all(|keys| keys.as_ref().is_ok_and(|held| held.keys.knows(&head("new"))))
        );
        assert!(
            other.is_ok_and(|held| !held.keys.knows(&head("other"))),
            "and who is wrong is told at its end"
        );
        assert_eq!(ring.fetches(), (2, 0));
    }

    #[tokio::test]
    async fn an_unknown_key_is_not_waited_for_when_nobody_fetches() {
        let (ring, _wanted) = ring("a");
        assert!(ring.keys_for(&head("x"), Instant::now()).await.is_ok(), "asked for, and too late");
        ring.found(set("a"), SystemTime::now()).expect("keys");
        // Another one at once: it would wait for ever.
        assert!(ring.keys_for(&head("y"), Instant::now() + Duration::from_secs(600)).await.is_ok());
    }

    #[tokio::test]
    async fn without_keys_a_failure_is_told_at_once_and_with_keys_it_is_no_refusal() {
        let none = Ring::wanting(None, Arc::default());
        assert_eq!(none.keys_for(&head("a"), Instant::now()).await.err(), Some(NoKeys::Late));
        assert_eq!(none.failed("it is gone"), 1);
        assert_eq!(none.failed("it is gone"), 2);
        assert_eq!(none.keys_for(&head("a"), soon()).await.err(), Some(NoKeys::Never));
        let (some, _wanted) = ring("a");
        some.failed("it is gone");
        assert!(some.keys_for(&head("a"), soon()).await.is_ok());
        assert!(some.found(Bytes::from_static(b"<html>"), SystemTime::now()).is_err());
        assert!(some.keys_for(&head("a"), soon()).await.is_ok(), "garbage takes no key away");
        assert_eq!(some.keys_for(&head("x"), Instant::now()).await.err(), Some(NoKeys::Stuck));
    }
}
