//! What somebody applies: a checked text from the API, made active on the background thread, one at a time.
//!
//! Whoever asks waits with a deadline of their own: an activation that hangs in a file or a socket goes on, and the
//! next one is told whose it is. The swap comes first and the disk after it, so that a full disk delays nothing.

use crate::config::fields::Risk;
use crate::config::plan::Plan;
use crate::control::change::Conductor;
use crate::control::change::rules::{Refusal, Wish};
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
    /// It goes back unless somebody confirms it within this time of being fully active.
    pub confirm: Option<Duration>,
    /// What another environment's gateway says of it.
    pub receipt: Option<String>,
    /// The way that is wished for.
    pub wish: Wish,
}

/// What came of an order.
#[derive(Clone, Debug)]
pub enum Accepted {
    /// It is active.
    Active(Receipt),
    /// It goes by stages, or waits for somebody.
    UnderWay(Begun),
}

/// A version that began to go by stages.
#[derive(Clone, Debug)]
pub struct Begun {
    /// Its number.
    pub number: u64,
    /// Blake3 of its text, hex.
    pub hash: String,
    /// How dangerous it is.
    pub risk: Risk,
    /// What a person should know.
    pub notices: Vec<String>,
}

/// A change that is under way, for whoever comes second.
#[derive(Clone, Debug)]
pub struct Other {
    /// The version's number.
    pub number: u64,
    /// Blake3 of its text, hex.
    pub hash: String,
    /// Who asked for it; nothing where the file did.
    pub by: Option<String>,
    /// Why, in their words.
    pub reason: Option<String>,
    /// How far it is, as `/v1/rollout` has it.
    pub state: &'static str,
}

impl Other {
    /// In a sentence, with what to do.
    pub fn told(&self) -> String {
        let by = self.by.as_deref().map_or_else(|| "from the file".to_owned(), |by| format!("by {by}"));
        let reason = self.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        format!(
            "Another change is under way: version {} {by}{reason}, {}. hint: wait for it (`tidegate status`), or \
             `tidegate abort`",
            self.number,
            self.state.replace('_', " ")
        )
    }
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
    /// How dangerous that was, if it was a change that somebody asked for.
    pub risk: Option<Risk>,
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
    /// Another change goes by stages.
    UnderWay(Other),
    /// The policy of the active version forbids it.
    Refused(Refusal),
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
    pub(super) order: Order,
    pub(super) turn: Turn,
    pub(super) answer: oneshot::Sender<Result<Accepted, Unapplied>>,
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
    pub fn open(conductor: &Conductor) -> (Self, mpsc::Receiver<Job>) {
        // One order at a time has the turn, so there is always room for it.
        let (jobs, heard) = mpsc::channel(1);
        (Desk { turns: conductor.turns().clone(), jobs }, heard)
    }

    /// Hands an order over and waits for what comes of it.
    ///
    /// # Errors
    /// See [`Unapplied`]; after [`Unapplied::Pending`] it goes on.
    pub async fn apply(&self, order: Order, patience: Duration) -> Result<Accepted, Unapplied> {
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
