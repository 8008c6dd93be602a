//! What somebody applies: a checked text from the API, made active on the background thread, one at a time.
//!
//! Whoever asks waits with a deadline of their own: an activation that hangs in a file or a socket goes on, and the
//! next one is told whose it is. The swap comes first and the disk after it, so that a full disk delays nothing.

use crate::config::plan::Plan;
use crate::control::origin::Origin;
use crate::control::{Active, Cause, Control, Outcome};
use crate::telemetry::events::ConfigRefused;
use crate::telemetry::metrics::ApplyOutcome;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, oneshot};

/// A change takes milliseconds: nobody is sent away because another one, or the file's, is just ending.
const SOON: Duration = Duration::from_secs(1);

/// A text to make active.
#[derive(Debug)]
pub struct Order {
    /// The text.
    pub text: String,
    /// What it says; checked.
    pub plan: Box<Plan>,
    /// Who applies it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// The hash that must be active, or the beginning of it.
    pub expected: Option<String>,
}

/// What became active.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// Its number in this process.
    pub number: u64,
    /// Blake3 of its text, hex.
    pub hash: String,
    /// False when the same text was active already.
    pub changed: bool,
    /// It is on disk, and a restart will have it.
    pub persisted: bool,
    /// What a person should know.
    pub notices: Vec<String>,
}

/// Why a text is not active, or not yet.
#[derive(Clone, Debug)]
pub enum Unapplied {
    /// Another version is active than was expected: its hash.
    Stale(String),
    /// Another change is being made active.
    Busy(Busy),
    /// It cannot be made active: a certificate, an address.
    Failed(String),
    /// It is being made active, and takes longer than anyone waits.
    Pending,
    /// The process ends.
    Gone,
}

/// A change that is being made active.
#[derive(Clone, Debug)]
pub struct Busy {
    /// Whose.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    since: Instant,
}

impl Busy {
    /// For how long.
    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }
}

/// An order on its way to the background thread.
#[derive(Debug)]
pub struct Job {
    order: Order,
    turn: Turn,
    answer: oneshot::Sender<Result<Receipt, Unapplied>>,
}

/// Who changes something now.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    busy: Mutex<Option<Busy>>,
    freed: Notify,
}

/// The right to change something, given back when dropped.
#[derive(Debug)]
pub(super) struct Turn(Turns);

impl Turns {
    /// Takes the turn.
    ///
    /// # Errors
    /// Whose it is.
    pub(super) fn take(&self, by: &str, reason: Option<&str>) -> Result<Turn, Busy> {
        let mut busy = self.0.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = &*busy {
            return Err(other.clone());
        }
        *busy = Some(Busy { by: by.to_owned(), reason: reason.map(str::to_owned), since: Instant::now() });
        Ok(Turn(self.clone()))
    }
}

impl Turns {
    /// Takes the turn as soon as it is free, if that is soon.
    async fn wait(&self, by: &str, reason: Option<&str>) -> Result<Turn, Busy> {
        let end = Instant::now() + SOON;
        loop {
            // Before the look, so that a turn which comes free after it is heard of.
            let freed = self.0.freed.notified();
            match self.take(by, reason) {
                Ok(turn) => return Ok(turn),
                Err(other) => {
                    tokio::time::timeout_at(end.into(), freed).await.map_err(|_| other)?;
                }
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let shared = &self.0.0;
        *shared.busy.lock().unwrap_or_else(PoisonError::into_inner) = None;
        shared.freed.notify_waiters();
    }
}

/// Where orders are taken: the admin side's end of the background thread.
#[derive(Debug)]
pub struct Desk {
    turns: Turns,
    jobs: mpsc::Sender<Job>,
}

impl Desk {
    /// A desk and the line to whoever does the work.
    pub fn open(control: &Control) -> (Self, mpsc::Receiver<Job>) {
        // One order at a time has the turn, so there is always room for it.
        let (jobs, heard) = mpsc::channel(1);
        (Desk { turns: control.turns.clone(), jobs }, heard)
    }

    /// Hands an order over and waits for what comes of it.
    ///
    /// # Errors
    /// See [`Unapplied`]; after [`Unapplied::Pending`] it goes on.
    pub async fn apply(&self, order: Order, patience: Duration) -> Result<Receipt, Unapplied> {
        let end = Instant::now() + patience;
        let turn = self.turns.wait(&order.by, order.reason.as_deref()).await.map_err(Unapplied::Busy)?;
        let (answer, answered) = oneshot::channel();
        self.jobs.try_send(Job { order, turn, answer }).map_err(|_| Unapplied::Gone)?;
        match tokio::time::timeout_at(end.into(), answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Unapplied::Gone),
            Err(_) => Err(Unapplied::Pending),
        }
    }
}

impl Control {
    /// Does what was ordered, and tells what came of it. Blocks on files and sockets: for the background thread.
    pub fn fulfil(&self, job: Job, told: impl FnOnce(Outcome)) {
        let Job { order, turn, answer } = job;
        let result = self.apply(order);
        let (outcome, counted) = match &result {
            Ok(receipt) if receipt.changed => (Outcome::Applied, ApplyOutcome::Applied),
            Ok(_) => (Outcome::Unchanged, ApplyOutcome::Unchanged),
            Err(_) => (Outcome::Refused, ApplyOutcome::Refused),
        };
        self.metrics.process().apply(counted);
        // Before the answer: whoever has it may look for the new addresses at once.
        told(outcome);
        // Whoever is answered may come again at once.
        drop(turn);
        // Nobody may be waiting any more; the log and the status have it.
        let _ = answer.send(result);
    }

    fn apply(&self, order: Order) -> Result<Receipt, Unapplied> {
        let Order { text, plan, by, reason, expected } = order;
        let rollbacks = self.rollbacks();
        let (same, overruled) = {
            let state = self.state();
            let active = state.active.plan.hash.as_str();
            if expected.as_deref().is_some_and(|expected| !is_named(active, expected)) {
                return Err(Unapplied::Stale(active.to_owned()));
            }
            let own = blake3::hash(text.as_bytes());
            (state.active.plan == *plan, state.last_seen.filter(|seen| *seen != own))
        };
        let origin = Origin::now(Cause::Api, Some(by), reason);
        let active = Active { plan: *plan, text: text.into(), origin, overruled };
        let whole = active.text.clone();
        let failed = |error: String| {
            let error = self.unfilled(&error, &whole);
            ConfigRefused { cause: Cause::Api.as_str(), error: &error }.emit();
            Unapplied::Failed(error)
        };
        if same {
            let persisted = self.refresh(active.clone(), rollbacks).map_err(failed)?;
            let (number, hash) = (self.live.load().number, active.plan.hash);
            return Ok(Receipt { number, hash, changed: false, persisted, notices: active.plan.notices });
        }
        self.activate(active, rollbacks).map_err(failed)
    }
}

/// Whether `name` is a version's hash, or at least the sixteen digits by which people name it.
pub fn is_named(hash: &str, name: &str) -> bool {
    name.len() >= 16 && hash.starts_with(&name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_change_at_a_time_and_the_next_is_told_whose() {
        let turns = Turns::default();
        let turn = turns.take("ops", Some("the fleet is slow")).expect("free");
        let busy = turns.take("dev", None).expect_err("taken");
        assert_eq!((busy.by.as_str(), busy.reason.as_deref()), ("ops", Some("the fleet is slow")));
        drop(turn);
        assert!(turns.take("dev", None).is_ok());
    }

    #[tokio::test]
    async fn a_change_that_is_just_ending_is_waited_for() {
        let turns = Turns::default();
        let turn = turns.take("ops", None).expect("free");
        let end = async {
            tokio::task::yield_now().await;
            drop(turn);
        };
        let (next, ()) = tokio::join!(turns.wait("dev", None), end);
        assert!(next.is_ok());
    }

    #[test]
    fn a_version_is_named_by_its_hash_or_sixteen_digits_of_it() {
        let hash = blake3::hash(b"x").to_hex();
        assert!(is_named(&hash, &hash) && is_named(&hash, &hash[..16].to_uppercase()));
        assert!(!is_named(&hash, &hash[..15]) && !is_named(&hash, "") && !is_named(&hash, &"0".repeat(64)));
    }
}
